"""Processes and variable sets: whole documents with a version, completed by the server."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, secret, step, variable

STALE_PROCESS = "Changes to this deployment process could not be saved, because another user has made changes"
STALE_VARIABLES = "Changes to these variables could not be saved, because another user has made changes"


def process(world: World, project: Json) -> Json:
    return world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")


def test_the_server_fills_ids_slugs_and_defaults(world: World) -> None:
    project = world.project("Web", step("Deploy Child!"))
    [found] = process(world, project)["Steps"]
    assert ("deploy-child", "Success", "StartAfterPrevious") == (
        found["Slug"],
        found["Condition"],
        found["StartTrigger"],
    )
    assert found["Id"]
    [action] = found["Actions"]
    assert (False, [], "Success") == (action["IsDisabled"], action["Environments"], action["Condition"])


def test_ids_stay_when_they_are_sent_back(world: World) -> None:
    project = world.project("Web", step("One"))
    before = process(world, project)["Steps"]
    world.set_steps(project, step("Zero"), *before)
    after = process(world, project)["Steps"]
    assert before[0] == after[1]


@pytest.mark.parametrize(
    "path",
    [
        "deploymentprocesses/{DeploymentProcessId}",
        "projects/{Id}/deploymentprocesses",
        "projects/{Slug}/deploymentProcesses",
    ],
)
def test_a_process_is_read_and_written_by_each_address(world: World, path: str) -> None:
    project = world.project("Web", step("One"))
    address = path.format(**project)
    found = world.get(address)
    assert found["Version"] + 1 == world.put(address, found)["Version"]


def test_a_stale_version_is_refused_in_the_recorded_words(world: World) -> None:
    project = world.project("Web", step("One"))
    stale = process(world, project)
    world.set_steps(project, step("Theirs"))
    answer = world.api.put(f"deploymentprocesses/{stale['Id']}", json=stale)
    assert 400 == answer.status_code
    assert answer.json()["ErrorMessage"].startswith(STALE_PROCESS)
    assert ["Theirs"] == [item["Name"] for item in process(world, project)["Steps"]]


def test_unknown_properties_stay_and_unknown_fields_go(world: World) -> None:
    project = world.project(
        "Web", step("One", properties={"octosteps.step": "a"}, action={"Teapot": 1}, Kettle=2)
    )
    [found] = process(world, project)["Steps"]
    assert "a" == found["Actions"][0]["Properties"]["octosteps.step"]
    assert "Kettle" not in found
    assert "Teapot" not in found["Actions"][0]


def test_property_names_keep_their_case(world: World) -> None:
    project = world.project("Web", step("One", properties={"deployRelease.apiKey": "x"}))
    assert "x" == process(world, project)["Steps"][0]["Actions"][0]["Properties"]["deployRelease.apiKey"]


def test_a_secret_property_is_closed_and_kept(world: World) -> None:
    project = world.project(
        "Web", step("One", properties={"Own.Key": {"HasValue": True, "NewValue": "s3cret"}})
    )
    found = process(world, project)
    assert {"HasValue": True, "NewValue": None, "Hint": None} == found["Steps"][0]["Actions"][0][
        "Properties"
    ]["Own.Key"]
    again = world.set_steps(project, *found["Steps"])
    stored = world.emulator.state.get("DeploymentProcesses", again["Id"])
    assert "s3cret" == stored["Steps"][0]["Actions"][0]["Properties"]["Own.Key"].value


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(
            [step("One"), step("ONE")], "Step name 'ONE' is already in use", id="step name twice, case aside"
        ),
        pytest.param(
            [step("One"), step("Two", action={"Name": "one"})],
            "Action name 'one' is already in use",
            id="action name twice",
        ),
        pytest.param([step("Really?")], "characters that are not allowed", id="question mark in a name"),
        pytest.param([{"Name": "One", "Actions": []}], "at least one action", id="step without actions"),
        pytest.param([{"Actions": []}], "The Name field is required.", id="step without name"),
        pytest.param([step("One", kind="")], "The ActionType field is required.", id="action without type"),
        pytest.param([step("One", Condition="Maybe")], "Condition must be one of", id="unknown condition"),
        pytest.param("nonsense", "The field Steps must be a list", id="steps are no list"),
    ],
)
def test_refused_processes(world: World, steps: Any, expected: str) -> None:
    project = world.project("Web", step("Before"))
    found = process(world, project)
    answer = world.api.put(f"deploymentprocesses/{found['Id']}", json={**found, "Steps": steps})
    assert 400 == answer.status_code
    assert expected in answer.json()["ErrorMessage"] + " ".join(answer.json()["Errors"])
    assert found == process(world, project)


def test_a_process_needs_its_version(world: World) -> None:
    project = world.project()
    answer = world.api.put(f"deploymentprocesses/{project['DeploymentProcessId']}", json={"Steps": []})
    assert 400 == answer.status_code


def test_a_clone_has_steps_and_variables_of_its_own(world: World) -> None:
    donor = world.project("Web", step("One", properties={"octosteps.step": "a"}))
    world.set_variables(donor, variable("A", "1"))
    clone = world.post(
        f"projects?clone={donor['Id']}",
        {"Name": "Copy", "LifecycleId": donor["LifecycleId"], "ProjectGroupId": donor["ProjectGroupId"]},
    )
    assert donor["Id"] == clone["ClonedFromProjectId"]
    assert ["One"] == [item["Name"] for item in process(world, clone)["Steps"]]
    world.set_steps(clone)
    assert ["One"] == [item["Name"] for item in process(world, donor)["Steps"]]


# --- variables -----------------------------------------------------------------------------------------------------


def variables(world: World, owner: Json) -> Json:
    return world.get(f"variables/{owner['VariableSetId']}")


def test_variables_are_a_compare_and_swap(world: World) -> None:
    library = world.post("libraryvariablesets", {"Name": "Locks"})
    assert f"/api/Spaces-1/variables/{library['VariableSetId']}" == library["Links"]["Variables"]
    before = variables(world, library)
    after = world.set_variables(library, variable("Lock", "{}"))
    assert before["Version"] + 1 == after["Version"]
    answer = world.api.put(
        f"variables/{before['Id']}", json={**before, "Variables": [variable("Lock", "mine")]}
    )
    assert 400 == answer.status_code
    assert answer.json()["ErrorMessage"].startswith(STALE_VARIABLES)
    assert "{}" == variables(world, library)["Variables"][0]["Value"]


def test_a_sensitive_value_reads_as_null_and_is_kept(world: World) -> None:
    project = world.project()
    world.set_variables(project, secret("Key", "s3cret"))
    [found] = variables(world, project)["Variables"]
    assert (None, True, "Sensitive") == (found["Value"], found["IsSensitive"], found["Type"])
    world.set_variables(project, found)
    stored = world.emulator.state.get("Variables", project["VariableSetId"])
    assert "s3cret" == stored["Variables"][0]["Value"].value
    assert "s3cret" not in world.api.get(f"variables/{project['VariableSetId']}").text


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(
            [variable("A", "1", Id="x"), variable("B", "2", Id="x")],
            "Variable ids must be unique.",
            id="one id twice",
        ),
        pytest.param(
            [variable("A", "1", Prompt={"Label": "A"}, Scope={"Channel": ["Channels-1"]})],
            "Prompted variables cannot be scoped to anything except an environment.",
            id="prompted and scoped to a channel",
        ),
        pytest.param([variable("", "1")], "The Name field is required.", id="no name"),
        pytest.param([variable("A", "1", Type="Teapot")], "Type must be one of", id="unknown type"),
        pytest.param("nonsense", "The field Variables must be a list", id="no list"),
    ],
)
def test_refused_variables(world: World, sent: Any, expected: str) -> None:
    project = world.project()
    before = variables(world, project)
    answer = world.api.put(f"variables/{before['Id']}", json={**before, "Variables": sent})
    assert 400 == answer.status_code
    assert expected in answer.json()["ErrorMessage"] + " ".join(answer.json()["Errors"])
    assert before == variables(world, project)


def test_the_projects_own_address_answers_an_empty_object(world: World) -> None:
    project = world.project()
    found = world.get(f"projects/{project['Id']}/variables")
    assert {} == world.put(
        f"projects/{project['Id']}/variables", {**found, "Variables": [variable("A", "1")]}
    )
    assert ["A"] == world.get("variables/names", project=project["Id"])


def test_scope_values_name_what_could_be_chosen(world: World) -> None:
    environment = world.environment()
    project = world.project("Web", step("One"))
    values = variables(world, project)["ScopeValues"]
    assert [{"Id": environment["Id"], "Name": "Test"}] == values["Environments"]
    assert ["One"] == [item["Name"] for item in values["Actions"]]


def test_library_sets_by_kind(world: World) -> None:
    world.post("libraryvariablesets", {"Name": "Values"})
    world.post("libraryvariablesets", {"Name": "Module", "ContentType": "ScriptModule"})
    assert 2 == world.get("libraryvariablesets")["TotalResults"]
    assert ["Module"] == [
        item["Name"] for item in world.get("libraryvariablesets/all", contentType="ScriptModule")
    ]


def test_a_library_set_that_is_included_cannot_be_deleted(world: World) -> None:
    library = world.post("libraryvariablesets", {"Name": "Values"})
    project = world.project(IncludedLibraryVariableSetIds=[library["Id"]])
    [usage] = world.get(f"libraryvariablesets/{library['Id']}/usages")["Projects"]
    assert project["Id"] == usage["ProjectId"]
    assert 400 == world.api.delete(f"libraryvariablesets/{library['Id']}").status_code
    world.put(f"projects/{project['Id']}", {**project, "IncludedLibraryVariableSetIds": []})
    assert 200 == world.api.delete(f"libraryvariablesets/{library['Id']}").status_code
