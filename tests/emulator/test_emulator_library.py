"""Community templates, scripts by hand, and updating steps: in bulk, in Git, and when a package is still needed."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, good, step

from generator.emulator.resources import community

HELLO = {
    "Octopus.Action.Script.ScriptSource": "Inline",
    "Octopus.Action.Script.Syntax": "Python",
    "Octopus.Action.Script.ScriptBody": "print('hello ' + get_octopusvariable('Greet.Who'))\n",
}
WHO = {
    "Name": "Greet.Who",
    "DefaultValue": "world",
    "DisplaySettings": {"Octopus.ControlType": "SingleLineText"},
}
FILE = {
    "Id": "5d9a4b1e-0b52-4d0f-9a51-f5a1a7a2b7c3", "Name": "Greet", "Description": "Says hello", "ActionType": "Octopus.Script",
    "Version": 7, "Properties": HELLO, "Parameters": [{**WHO, "Id": "8e5b3c6e-7a40-4f6c-8a92-0c2f0f9f5e11"}],
    "LastModifiedBy": "somebody", "$Meta": {"Type": "ActionTemplate"},
}  # fmt: skip


def template(world: World, **fields: Any) -> Json:
    body = {
        "Name": "Greet",
        "ActionType": "Octopus.Script",
        "Properties": HELLO,
        "Parameters": [WHO],
        **fields,
    }
    return world.post("actiontemplates", body)


def using(held: Json, name: str = "Greet", **values: str) -> Json:
    """A step made from the template as it is now."""
    marks = {
        "Octopus.Action.Template.Id": held["Id"],
        "Octopus.Action.Template.Version": str(held["Version"]),
    }
    defaults = {item["Name"]: item["DefaultValue"] for item in held["Parameters"]}
    return step(
        name,
        properties={**held["Properties"], **defaults, **values, **marks},
        action={"Packages": held["Packages"]},
    )


# --- community templates -------------------------------------------------------------------------------------------


def test_a_community_template_is_installed_into_a_space_and_linked(world: World) -> None:
    """docs, API reference, community-action-templates."""
    assert 0 == good(world.web.get("/api/communityactiontemplates"))["TotalResults"]
    community.publish(world.emulator.state, FILE)
    [listed] = good(world.web.get("/api/communityactiontemplates"))["Items"]
    assert ("Greet", 7, "somebody") == (listed["Name"], listed["Version"], listed["Author"])
    assert listed == good(world.web.get(listed["Links"]["Self"]))
    installation = listed["Links"]["Installation"].replace("{/spaceId}", "/Spaces-1")
    installed = listed["Links"]["InstalledTemplate"].replace("{/spaceId}", "/Spaces-1")
    assert 404 == world.web.get(installed).status_code
    refused = world.web.put(installation)
    assert (400, ["Action template not yet installed."]) == (refused.status_code, refused.json()["Errors"])
    answer = world.web.post(installation)
    assert 201 == answer.status_code
    made = answer.json()
    assert (listed["Id"], 0) == (made["CommunityActionTemplateId"], made["Version"])
    assert made == good(world.web.get(installed)) == world.get(f"actiontemplates/{made['Id']}")
    assert [made["Id"]] == [
        item["Id"] for item in world.get("actiontemplates", isCommunityActionTemplate="true")["Items"]
    ]
    again = world.web.post(installation)
    assert (400, ["Action Template already installed."]) == (again.status_code, again.json()["Errors"])


def test_an_installed_template_is_updated_from_the_library_only(world: World) -> None:
    known = community.publish(world.emulator.state, FILE)
    path = f"/api/communityactiontemplates/{known['Id']}/installation"
    made = good(world.web.post(path))
    refused = world.api.put(f"actiontemplates/{made['Id']}", json={**made, "Description": "mine"})
    assert ["Only custom templates can be directly updated"] == refused.json()["Errors"]
    community.publish(world.emulator.state, {**FILE, "Version": 8, "Description": "Says hello twice"})
    updated = good(world.web.put(path))
    assert (1, "Says hello twice") == (updated["Version"], updated["Description"])


def test_a_community_template_goes_into_the_space_in_the_path(world: World) -> None:
    known = community.publish(world.emulator.state, FILE)
    body = {"Name": "Other", "SpaceManagersTeams": ["teams-administrators"]}
    other = good(world.web.post("/api/spaces", json=body))
    path = f"/api/communityactiontemplates/{known['Id']}"
    assert other["Id"] == good(world.web.post(f"{path}/installation/{other['Id']}"))["SpaceId"]
    assert 404 == world.web.get(f"{path}/actiontemplate").status_code
    assert 404 == world.web.get(f"{path}/actiontemplate/Spaces-99").status_code


# --- by hand -------------------------------------------------------------------------------------------------------


def by_hand(world: World, **arguments: Any) -> Json:
    body = {"Name": "AdHocScript", "Description": "By hand", "Arguments": arguments}
    answer = world.api.post("tasks", json=body)
    assert 201 == answer.status_code, answer.text
    return {"TaskId": answer.json()["Id"]}


@pytest.mark.emulator(speed=1)
def test_a_template_is_run_by_hand_on_a_worker(world: World) -> None:
    """OctopusClients, TaskRepository.ExecuteActionTemplate."""
    held = template(world)
    task = world.ended(
        by_hand(
            world,
            ActionTemplateId=held["Id"],
            Properties={"Greet.Who": "you"},
            TargetType="WorkerPools",
            WorkerPoolIds=["WorkerPools-1"],
        )
    )
    assert ("Success", ["hello you"]) == (task["State"], world.printed(task))
    assert (held["Id"], True) == (task["Arguments"]["ActionTemplateId"], task["CanRerun"])
    again = world.post(f"tasks/rerun/{task['Id']}")
    assert again["Id"] != task["Id"]
    assert ["hello you"] == world.printed(world.ended({"TaskId": again["Id"]}))


@pytest.mark.emulator(speed=1)
def test_a_script_is_run_by_hand_on_each_machine(world: World) -> None:
    environment = world.environment()
    for name in ("a", "b", "c"):
        roles = ["web"] if name != "c" else ["db"]
        world.post("machines", {"Name": name, "Roles": roles, "EnvironmentIds": [environment["Id"]]})
    body = "import sys\nprint(get_octopusvariable('Octopus.Machine.Name'))\n"
    made = by_hand(
        world,
        ScriptBody=body,
        Syntax="Python",
        TargetType="Environments",
        EnvironmentIds=[environment["Id"]],
        TargetRoles=["web"],
    )
    task = world.ended(made)
    assert ("Success", ["a", "b"]) == (task["State"], world.printed(task))


def test_a_script_that_fails_fails_its_task(world: World) -> None:
    made = by_hand(world, ScriptBody="failstep('no')", Syntax="Python")
    task = world.ended(made)
    assert ("Failed", "no") == (task["State"], task["ErrorMessage"])
    nowhere = world.ended(
        by_hand(world, ScriptBody="1", Syntax="Python", TargetType="Machines", MachineIds=[])
    )
    assert "Failed" == nowhere["State"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"Name": "AdHocScript"}, id="no description"),
        pytest.param({"Name": "AdHocScript", "Description": "x"}, id="no script"),
        pytest.param({"Name": "Dance", "Description": "x"}, id="unknown task"),
        pytest.param(
            {
                "Name": "AdHocScript",
                "Description": "x",
                "Arguments": {"ActionTemplateId": "ActionTemplates-9"},
            },
            id="unknown template",
        ),
        pytest.param(
            {"Name": "AdHocScript", "Description": "x", "Arguments": {"ScriptBody": "1", "MachineIds": [1]}},
            id="machines that are no texts",
        ),
    ],
)
def test_refused_tasks(world: World, body: Json) -> None:
    assert 400 == world.api.post("tasks", json=body).status_code
    assert 0 == world.get("tasks")["TotalResults"]


def test_a_chore_of_the_server_finds_nothing_to_do(world: World) -> None:
    made = world.post("tasks", {"Name": "Health", "Description": "Check health"})
    assert "Success" == world.ended({"TaskId": made["Id"]})["State"]


# --- updating steps ------------------------------------------------------------------------------------------------


def named(project: Json, process: Json, version: int, **fields: Any) -> Json:
    ids = [action["Id"] for item in process["Steps"] for action in item["Actions"]]
    one = {"ProcessType": "Deployment", "ProcessId": project["DeploymentProcessId"], "ActionIds": ids,
           "ProjectId": project["Id"], **fields}  # fmt: skip
    return {"Version": version, "ActionsToUpdate": [one], "DefaultPropertyValues": {}, "Overrides": {}}


def saved(world: World, held: Json, **fields: Any) -> Json:
    return world.put(f"actiontemplates/{held['Id']}", {**held, **fields})


def test_steps_are_updated_in_bulk_by_a_task(world: World) -> None:
    """docs, API reference, action-templates."""
    held = template(world)
    project = world.project("Web", using(held))
    path = f"deploymentprocesses/{project['DeploymentProcessId']}"
    new = saved(world, held, Properties={**HELLO, "new": "1"})
    answer = world.post(
        f"actiontemplates/{held['Id']}/actionsUpdate/bulk", named(project, world.get(path), new["Version"])
    )
    assert ("Success", ["Success"], []) == (
        answer["Outcome"], [item["Outcome"] for item in answer["Results"]], answer["ValidationFailures"],
    )  # fmt: skip
    assert "Success" == world.get(f"tasks/{answer['TaskId']}")["State"]
    assert "1" == world.get(path)["Steps"][0]["Actions"][0]["Properties"]["new"]


def test_what_cannot_be_updated_is_told_in_bulk(world: World) -> None:
    held = template(world)
    project = world.project("Web", using(held))
    path = f"deploymentprocesses/{project['DeploymentProcessId']}"
    before = world.get(path)
    more = {
        "Name": "Greet.How",
        "DefaultValue": "",
        "DisplaySettings": {"Octopus.ControlType": "SingleLineText"},
    }
    new = saved(world, held, Parameters=[*held["Parameters"], more])
    answer = world.post(
        f"actiontemplates/{held['Id']}/actionsUpdate/bulk", named(project, before, new["Version"])
    )
    assert ("Failed", ["DefaultParamterValueMissing"]) == (
        answer["Outcome"], [item["Outcome"] for item in answer["Results"]],
    )  # fmt: skip
    assert before == world.get(path)


@pytest.mark.parametrize("user", ["ProjectVersionStrategy", "ProjectReleaseCreationStrategy", "ChannelRule"])
def test_a_package_that_is_still_needed_cannot_be_removed(world: World, user: str) -> None:
    """docs, Updating step templates: the fourth outcome."""
    package = {"Name": "Tool", "PackageId": "tool", "FeedId": "feeds-builtin", "Properties": {}}
    held = template(world, Packages=[package])
    project = world.project("Web", using(held))
    reference = {"DeploymentAction": "Greet", "PackageReference": "Tool"}
    [channel] = world.get(f"projects/{project['Id']}/channels")["Items"]
    if user == "ChannelRule":
        rule = {"VersionRange": "[1,2)", "ActionPackages": [reference]}
        world.put(f"channels/{channel['Id']}", {**channel, "Rules": [rule]})
    else:
        fields = {
            "ProjectVersionStrategy": {"VersioningStrategy": {"Template": None, "DonorPackage": reference}},
            "ProjectReleaseCreationStrategy": {
                "ReleaseCreationStrategy": {"ReleaseCreationPackage": reference}
            },
        }[user]
        world.put(f"projects/{project['Id']}", {**project, **fields})
    new = saved(world, held, Packages=[])
    process = world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")
    answer = world.api.post(
        f"actiontemplates/{held['Id']}/actionsUpdate", json=named(project, process, new["Version"])
    )
    assert 400 == answer.status_code
    [outcome] = answer.json()["Details"].values()
    owner = channel if user == "ChannelRule" else project
    expected = {
        "PackageReference": "Tool",
        "UsedBy": user,
        "UsedById": owner["Id"],
        "UsedByName": owner["Name"],
    }
    assert ("RemovedPackageInUse", [expected]) == (outcome["Outcome"], outcome["RemovedPackageUsages"])
    assert process == world.get(f"deploymentprocesses/{project['DeploymentProcessId']}")


def test_a_package_that_nothing_needs_goes(world: World) -> None:
    held = template(world, Packages=[{"Name": "Tool", "PackageId": "tool", "FeedId": "feeds-builtin"}])
    project = world.project("Web", using(held))
    new = saved(world, held, Packages=[])
    path = f"deploymentprocesses/{project['DeploymentProcessId']}"
    world.post(f"actiontemplates/{held['Id']}/actionsUpdate", named(project, world.get(path), new["Version"]))
    assert [] == world.get(path)["Steps"][0]["Actions"][0]["Packages"]


def in_git(world: World, held: Json) -> Json:
    project = world.project("Web", using(held))
    settings = {"Url": "https://git.example.com/web.git", "DefaultBranch": "main"}
    world.post(f"projects/{project['Id']}/git/convert", {"VersionControlSettings": settings})
    return project


def test_steps_in_git_are_updated_on_their_branch(world: World) -> None:
    """docs, API reference, action-templates: `GitRef` of `ActionsToUpdate`."""
    held = template(world)
    project = in_git(world, held)
    main = f"projects/{project['Id']}/main/deploymentprocesses"
    world.post(f"projects/{project['Id']}/git/branches/v2", {"BaseGitRef": "main", "NewBranchName": "try"})
    new = saved(world, held, Properties={**HELLO, "new": "1"})
    path = f"actiontemplates/{held['Id']}/actionsUpdate"
    world.post(path, named(project, world.get(main), new["Version"], GitRef="refs/heads/try"))
    properties = [
        world.get(f"projects/{project['Id']}/{name}/deploymentprocesses")["Steps"][0]["Actions"][0][
            "Properties"
        ]
        for name in ("main", "try")
    ]
    assert [None, "1"] == [item.get("new") for item in properties]
    refused = world.api.post(path, json=named(project, world.get(main), new["Version"]))
    assert 400 == refused.status_code, "without a ref"


def test_usage_in_git_is_searched_in_releases_only(world: World) -> None:
    """docs, Custom step templates: up to twenty recent releases, as they were when they were created."""
    held = template(world)
    project = in_git(world, held)
    path = f"actiontemplates/{held['Id']}/usage"
    assert [] == world.get(path)
    for number in range(22):
        world.release(project, f"1.{number}.0", VersionControlReference={"GitRef": "main"})
    found = world.get(path)
    assert 20 == len(found)
    assert ("refs/heads/main", "1.2.0", "Web", project["DeploymentProcessId"]) == (
        found[0]["Branch"], found[0]["Release"], found[0]["ProjectName"], found[0]["ProcessId"],
    )  # fmt: skip


# --- around --------------------------------------------------------------------------------------------------------


def test_twins_wrap_the_same_answer(world: World) -> None:
    """docs, API reference: the `/v1` pages."""
    held = template(world)
    assert {"ActionTemplate": held} == world.get(f"actiontemplates/{held['Id']}/v1")
    library = world.post("libraryvariablesets", {"Name": "Shared"})
    assert {"LibraryVariableSets": [library]} == world.get("libraryvariablesets/all/v1")
    body = {
        "ReleaseId": world.release(world.project("Web", step()))["Id"],
        "EnvironmentId": world.environment()["Id"],
    }
    answer = world.api.post("deployments/v1", json=body)
    assert (201, ["Deployment"]) == (answer.status_code, list(answer.json()))
    gone = world.api.delete(f"actiontemplates/{held['Id']}/v1")
    assert (200, {}) == (gone.status_code, gone.json())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("version", "satisfied", "errors"),
    [("1.5.0", (True, True), 0), ("2.5.0", (False, True), 0), ("1.5.0-beta", (True, False), 0)],
)
def test_a_version_is_tried_on_a_rule(
    world: World, method: str, version: str, satisfied: tuple[bool, bool], errors: int
) -> None:
    given = {"version": version, "versionRange": "[1.0,2.0)", "preReleaseTag": "^$"}
    answer = good(
        world.api.request(method, "channels/rule-test", **{"params" if method == "GET" else "json": given})
    )
    assert (*satisfied, errors) == (
        answer["SatisfiesVersionRange"], answer["SatisfiesPreReleaseTag"], len(answer["Errors"]),
    )  # fmt: skip
    bad = good(world.api.get("channels/rule-test", params={**given, "versionRange": "[oops"}))
    assert (False, 1) == (bad["SatisfiesVersionRange"], len(bad["Errors"]))


def test_a_feed_lists_versions_by_range_and_tag(world: World) -> None:
    """go-octopusdeploy, uritemplates/links.go; cli asks so for the newest version that a channel admits."""
    for version in ("1.0.0", "1.5.0", "1.6.0-beta", "2.0.0"):
        good(world.api.post("packages/raw", files={"file": (f"web.{version}.zip", b"x")}))
    query = {"packageId": "web", "versionRange": "[1.0,2.0)", "preReleaseTag": "^$", "take": 1}
    found = world.get("feeds/feeds-builtin/packages/versions", **query)
    assert (["1.5.0"], 2) == ([item["Version"] for item in found["Items"]], found["TotalResults"])
