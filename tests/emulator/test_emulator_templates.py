"""Action templates: versions, the name trap, secrets, usage, updating steps."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, step

TEMPLATE: Json = {
    "Name": "Octopus - Wait",
    "ActionType": "Octopus.Script",
    "SpaceId": "Spaces-1",
    "Properties": {"Octopus.Action.Script.ScriptBody": "print(1)", "own.marker": "7"},
    "Parameters": [
        {
            "Name": "Wait.Project",
            "Label": "Project",
            "DisplaySettings": {"Octopus.ControlType": "SingleLineText"},
        },
    ],
}


def parameter(name: str, default: object = None, control: str = "SingleLineText") -> Json:
    return {"Name": name, "DefaultValue": default, "DisplaySettings": {"Octopus.ControlType": control}}


def made(world: World, **fields: Any) -> Json:
    return world.post("actiontemplates", {**TEMPLATE, **fields})


def saved(world: World, template: Json, **fields: Any) -> Json:
    return world.put(f"actiontemplates/{template['Id']}", {**template, **fields})


def test_the_first_version_is_0_and_every_save_adds_1(world: World) -> None:
    template = made(world)
    assert 0 == template["Version"]
    assert 1 == saved(world, template)["Version"], "a save without a change"
    changed = saved(world, template, Description="new")
    assert (2, "new") == (changed["Version"], changed["Description"])


def test_there_is_no_check_of_the_version_sent(world: World) -> None:
    template = made(world)
    saved(world, template, Description="theirs")
    assert "ours" == saved(world, template, Version=0, Description="ours")["Description"]


def test_old_versions_can_be_read(world: World) -> None:
    template = made(world, Description="first")
    saved(world, template, Description="second")
    versions = world.get(f"actiontemplates/{template['Id']}/versions")
    assert [(0, "first"), (1, "second")] == [(item["Version"], item["Description"]) for item in versions]
    assert "first" == world.get(f"actiontemplates/{template['Id']}/versions/0")["Description"]
    assert 404 == world.api.get(f"actiontemplates/{template['Id']}/versions/9").status_code


def test_the_action_type_never_changes(world: World) -> None:
    assert "Octopus.Script" == saved(world, made(world), ActionType="Octopus.Manual")["ActionType"]


def test_ids_are_given_to_parameters_and_packages(world: World) -> None:
    template = made(world, Packages=[{"Name": "Tool", "PackageId": None, "FeedId": None}])
    assert template["Parameters"][0]["Id"]
    assert template["Packages"][0]["Id"]
    kept = saved(world, template)
    assert template["Parameters"][0]["Id"] == kept["Parameters"][0]["Id"]


def test_unknown_properties_stay(world: World) -> None:
    assert "7" == made(world)["Properties"]["own.marker"]


def test_a_secret_default_is_never_shown_and_kept_when_sent_back_closed(world: World) -> None:
    template = made(
        world, Parameters=[parameter("Wait.Key", {"HasValue": True, "NewValue": "s3cret"}, "Sensitive")]
    )
    [key] = template["Parameters"]
    assert {"HasValue": True, "NewValue": None, "Hint": None} == key["DefaultValue"]
    saved(world, template)
    stored = world.emulator.state.get("ActionTemplates", template["Id"])["Parameters"][0]["DefaultValue"]
    assert "s3cret" == stored.value
    assert "s3cret" not in world.api.get("actiontemplates/all").text
    assert "s3cret" not in repr(world.emulator.state.collections)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"Name": ""}, "The Name field is required.", id="no name"),
        pytest.param({"ActionType": None}, "The ActionType field is required.", id="no action type"),
        pytest.param({"Name": "octopus - WAIT"}, "already in use", id="name taken, case aside"),
        pytest.param(
            {"Name": "New", "Packages": [{"Name": "", "FeedId": "Feeds-99"}]},
            "The following Feed Ids cannot be found: Feeds-99",
            id="unknown feed",
        ),
        pytest.param(
            {"Name": "New", "Parameters": [{"Label": "x"}]},
            "The Name field is required.",
            id="parameter without name",
        ),
    ],
)
def test_refused_templates(world: World, fields: Json, expected: str) -> None:
    made(world)
    answer = world.api.post("actiontemplates", json={**TEMPLATE, **fields})
    assert 400 == answer.status_code
    assert expected in answer.json()["Errors"][0]
    assert 1 == world.get("actiontemplates")["TotalResults"]


def test_a_name_that_was_used_before_can_be_created_but_not_saved_again(world: World) -> None:
    """OctopusDeploy/Issues 4001, 7316, 9185."""
    old = made(world, Name="My Step")
    saved(world, old, Name="Old")
    new = made(world, Name="My Step")
    assert 400 == world.api.put(f"actiontemplates/{new['Id']}", json=new).status_code
    assert 200 == world.api.delete(f"actiontemplates/{old['Id']}").status_code
    assert 1 == saved(world, new)["Version"], "free again once the old one is gone"


def test_a_template_with_one_name_all_its_life_is_saved_often(world: World) -> None:
    template = made(world)
    for number in range(1, 6):
        assert number == saved(world, template)["Version"]


# --- usage ---------------------------------------------------------------------------------------------------------


def using(template: Json, name: str = "Wait", version: int | None = None, **properties: object) -> Json:
    copied = {**template["Properties"], **properties}
    copied["Octopus.Action.Template.Id"] = template["Id"]
    copied["Octopus.Action.Template.Version"] = str(template["Version"] if version is None else version)
    return step(name, properties=copied)


def test_usage_names_the_steps_that_hold_a_copy(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template), step("Other"))
    [usage] = world.get(f"actiontemplates/{template['Id']}/usage")
    assert ("Deployment", "Wait", "Web", project["Id"], "0", project["DeploymentProcessId"]) == tuple(
        usage[name]
        for name in ("ProcessType", "StepName", "ProjectName", "ProjectId", "Version", "ProcessId")
    )


def test_a_used_template_cannot_be_deleted(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template))
    answer = world.api.delete(f"actiontemplates/{template['Id']}")
    assert 400 == answer.status_code
    assert "Web" in answer.json()["Errors"][0]
    world.set_steps(project)
    assert 200 == world.api.delete(f"actiontemplates/{template['Id']}").status_code


def test_a_release_keeps_its_copy_of_the_step(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template))
    release = world.release(project)
    world.set_steps(project, step("Other"))
    frozen = world.get(f"deploymentprocesses/{release['ProjectDeploymentProcessSnapshotId']}")
    assert ["Wait"] == [item["Name"] for item in frozen["Steps"]]
    assert 400 == world.api.put(f"deploymentprocesses/{frozen['Id']}", json=frozen).status_code


# --- updating ------------------------------------------------------------------------------------------------------


def update(world: World, template: Json, project: Json, **fields: Any) -> Any:
    process = world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")
    ids = [action["Id"] for item in process["Steps"] for action in item["Actions"]]
    body = {
        "Version": world.get(f"actiontemplates/{template['Id']}")["Version"],
        "ActionsToUpdate": [{"ProcessType": "Deployment", "ProcessId": process["Id"], "ActionIds": ids}],
        **fields,
    }
    return world.api.post(f"actiontemplates/{template['Id']}/actionsUpdate", json=body)


def properties_of(world: World, project: Json) -> Json:
    process = world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")
    return process["Steps"][0]["Actions"][0]["Properties"]


def test_an_update_overwrites_the_templates_properties_and_keeps_the_values(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template, **{"Wait.Project": "Shop", "somebody.else": "1"}))
    newer = {**template["Properties"], "Octopus.Action.Script.ScriptBody": "print(2)"}
    saved(world, template, Properties=newer)
    answer = update(world, template, project)
    assert ["Success"] == [item["Outcome"] for item in answer.json()]
    now = properties_of(world, project)
    assert ("print(2)", "Shop", "1", "1") == tuple(
        now[name]
        for name in (
            "Octopus.Action.Script.ScriptBody",
            "Wait.Project",
            "somebody.else",
            "Octopus.Action.Template.Version",
        )
    )


def test_a_value_that_was_the_default_follows_the_new_default(world: World) -> None:
    template = made(world, Parameters=[parameter("Wait.Limit", "30m")])
    project = world.project("Web", using(template, **{"Wait.Limit": "30m"}))
    saved(world, template, Parameters=[{**template["Parameters"][0], "DefaultValue": "1h"}])
    update(world, template, project)
    assert "1h" == properties_of(world, project)["Wait.Limit"]


@pytest.mark.parametrize(
    ("parameters", "fields", "outcome"),
    [
        pytest.param([parameter("Wait.New", "x")], {}, "Success", id="new parameter with a default"),
        pytest.param(
            [parameter("Wait.New")], {}, "DefaultParamterValueMissing", id="new parameter without default"
        ),
        pytest.param(
            [parameter("Wait.New")],
            {"DefaultPropertyValues": {"Wait.New": "x"}},
            "Success",
            id="its value comes with the request",
        ),
        pytest.param(
            [parameter("Wait.Project", "", "Checkbox")], {}, "ManualMergeRequired", id="control type changed"
        ),
    ],
)
def test_outcomes_of_an_update(world: World, parameters: list[Json], fields: Json, outcome: str) -> None:
    template = made(world)
    project = world.project("Web", using(template))
    before = properties_of(world, project)
    saved(world, template, Parameters=parameters)
    answer = update(world, template, project, **fields)
    if outcome == "Success":
        assert [outcome] == [item["Outcome"] for item in answer.json()]
        assert "x" == properties_of(world, project)["Wait.New"]
    else:
        assert (400, "Request failed. Please check Details property for more information.") == (
            answer.status_code,
            answer.json()["ErrorMessage"],
        )
        assert [outcome] == [item["Outcome"] for item in answer.json()["Details"].values()]
        assert before == properties_of(world, project)


def test_the_older_shape_of_an_update_works_too(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template))
    saved(world, template)
    [usage] = world.get(f"actiontemplates/{template['Id']}/usage")
    body = {"Version": 1, "ActionIdsByProcessId": {project["DeploymentProcessId"]: [usage["ActionId"]]}}
    world.post(f"actiontemplates/{template['Id']}/actionsUpdate", body)
    assert "1" == properties_of(world, project)["Octopus.Action.Template.Version"]


def test_a_step_copied_from_a_lost_version_needs_a_person(world: World) -> None:
    template = made(world)
    project = world.project("Web", using(template, version=17))
    assert 400 == update(world, template, project).status_code
