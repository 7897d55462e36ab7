"""Moving steps to another version of their template: what the request may say, in the database and in Git."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from world import Json, World, step

TEXT = {"Octopus.ControlType": "SingleLineText"}
MAIN = "refs/heads/main"


def template(world: World, *names: str, **fields: Any) -> Json:
    parameters = [{"Name": name, "DisplaySettings": TEXT} for name in names]
    body = {"Name": "Greet", "ActionType": "Octopus.Script", "SpaceId": "Spaces-1", "Parameters": parameters}
    return world.post("actiontemplates", {**body, **fields})


def saved(world: World, held: Json, **fields: Any) -> Json:
    return world.put(f"actiontemplates/{held['Id']}", {**held, **fields})


def using(held: Json, name: str = "Greet", **fields: Any) -> Json:
    copied = {
        "Octopus.Action.Template.Id": held["Id"],
        "Octopus.Action.Template.Version": str(held["Version"]),
    }
    made = step(name, properties={**copied, **fields.pop("values", {})})
    made["Actions"][0].update(fields)
    return made


def updated(world: World, held: Json, project: Json, process: Json, **fields: Any) -> Any:
    ids = [action["Id"] for item in process["Steps"] for action in item["Actions"]]
    one = {"ProcessType": "Deployment", "ProcessId": process["Id"], "ActionIds": ids}
    git_ref = fields.pop("GitRef", None)
    version = world.get(f"actiontemplates/{held['Id']}")["Version"]
    body = {"Version": version, "ActionsToUpdate": [{**one, "GitRef": git_ref}], **fields}
    return world.api.post(f"actiontemplates/{held['Id']}/actionsUpdate", json=body)


def action_of(world: World, project: Json, ref: str | None = None) -> Json:
    path = f"deploymentprocesses/{project['DeploymentProcessId']}"
    if ref:
        path = f"projects/{project['Id']}/{quote(ref, safe='')}/deploymentprocesses"
    return world.get(path)["Steps"][0]["Actions"][0]


def process_of(world: World, project: Json) -> Json:
    return world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")


def test_overrides_are_by_the_names_of_properties(world: World) -> None:
    """OctopusClients, Model/ActionsUpdateResource.cs: one dictionary for all the steps of the request."""
    held = template(world, "Greet.Name")
    project = world.project("Web", using(held, values={"Greet.Name": "Ann"}), using(held, "Again"))
    saved(world, held)
    answer = updated(world, held, project, process_of(world, project), Overrides={"Greet.Name": "Bob"})
    assert ["Success", "Success"] == [item["Outcome"] for item in answer.json()]
    values = [
        action["Properties"]["Greet.Name"]
        for item in process_of(world, project)["Steps"]
        for action in item["Actions"]
    ]
    assert ["Bob", "Bob"] == values


def test_a_package_that_is_chosen_in_the_step_stays_chosen(world: World) -> None:
    """`SelectionMode` deferred; one that the template names follows the template."""
    deferred = {
        "Name": "Tool",
        "PackageId": None,
        "FeedId": None,
        "Properties": {"SelectionMode": "deferred"},
    }
    fixed = {"Name": "Fixed", "PackageId": "one", "FeedId": "feeds-builtin", "Properties": {}}
    held = template(world, Packages=[deferred, fixed])
    chosen = [{**deferred, "PackageId": "hammer", "FeedId": "feeds-builtin"}, fixed]
    project = world.project("Web", using(held, Packages=chosen))
    saved(world, held, Packages=[deferred, {**fixed, "PackageId": "two"}])
    assert 200 == updated(world, held, project, process_of(world, project)).status_code
    packages = {item["Name"]: item["PackageId"] for item in action_of(world, project)["Packages"]}
    assert {"Tool": "hammer", "Fixed": "two"} == packages


def in_git(world: World, held: Json, **settings: Any) -> Json:
    project = world.project("Web", using(held))
    body = {
        "CommitMessage": "Begin",
        "VersionControlSettings": {"Url": "https://git.example.com/web.git", **settings},
    }
    world.post(f"projects/{project['Id']}/git/convert", body)
    return world.get(f"projects/{project['Id']}")


def at_main(world: World, project: Json) -> Json:
    return world.get(f"projects/{project['Id']}/{quote(MAIN, safe='')}/deploymentprocesses")


def test_steps_of_a_branch_are_updated_by_a_commit(world: World) -> None:
    """Without `ProjectId` too, which OctopusClients does not know."""
    held = template(world)
    project = in_git(world, held)
    saved(world, held)
    process = at_main(world, project)
    answer = updated(world, held, project, process, GitRef=MAIN)
    assert (200, "1") == (
        answer.status_code,
        action_of(world, project, MAIN)["Properties"]["Octopus.Action.Template.Version"],
    )
    assert process["Version"] + 1 == at_main(world, project)["Version"]


def test_a_protected_branch_takes_no_update(world: World) -> None:
    """OctopusDeploy/Issues 9456, with its words."""
    held = template(world)
    project = in_git(world, held, ProtectedDefaultBranch=True)
    saved(world, held)
    answer = updated(world, held, project, at_main(world, project), GitRef=MAIN)
    assert 400 == answer.status_code
    assert answer.json()["Errors"] == [
        "refs/heads/main is a protected branch. Cannot commit to protected branches. "
        "Please create a new branch before committing."
    ]
    assert "0" == action_of(world, project, MAIN)["Properties"]["Octopus.Action.Template.Version"]


def test_a_removed_package_in_use_is_found_in_the_settings_of_the_branch(world: World) -> None:
    package = {"Name": "Tool", "PackageId": "tool", "FeedId": "feeds-builtin", "Properties": {}}
    held = template(world, Packages=[package])
    project = in_git(world, held)
    path = f"projects/{project['Id']}/{quote(MAIN, safe='')}/deploymentsettings"
    donor = {"DeploymentAction": "Greet", "PackageReference": "Tool"}
    world.put(path, {**world.get(path), "VersioningStrategy": {"Template": None, "DonorPackage": donor}})
    saved(world, held, Packages=[])
    answer = updated(world, held, project, at_main(world, project), GitRef=MAIN)
    assert 400 == answer.status_code
    [outcome] = answer.json()["Details"].values()
    assert "RemovedPackageInUse" == outcome["Outcome"]


@pytest.mark.parametrize("branch", ["main", MAIN, "other"])
def test_usages_can_be_narrowed_to_a_branch(world: World, branch: str) -> None:
    held = template(world)
    project = in_git(world, held)
    world.release(project, VersionControlReference={"GitRef": "main"})
    found = world.get(f"actiontemplates/{held['Id']}/usage", branch=branch)
    assert (0 if branch == "other" else 1) == len(found)


@pytest.mark.parametrize(("permission", "status"), [("ProcessEdit", 200), ("RunbookEdit", 403)])
def test_an_update_needs_the_permission_to_edit_the_process(
    world: World, permission: str, status: int
) -> None:
    held = template(world)
    project = world.project("Web", using(held))
    saved(world, held)
    [usage] = world.get(f"actiontemplates/{held['Id']}/usage")
    key = world.emulator.add_key(permissions={"ActionTemplateEdit", permission})
    one = {"ProcessType": "Deployment", "ProcessId": usage["ProcessId"], "ActionIds": [usage["ActionId"]]}
    body = {"Version": 1, "ActionsToUpdate": [one]}
    answer = world.client(key=key).post(f"actiontemplates/{held['Id']}/actionsUpdate", json=body)
    assert status == answer.status_code
    assert project["Id"] == usage["ProjectId"]
