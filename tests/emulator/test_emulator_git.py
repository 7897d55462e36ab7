"""Version-controlled projects: refs, a process on each branch, releases that name a commit."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from world import Json, World, good, step

from generator.emulator import repositories

MAIN = "refs/heads/main"


def in_git(world: World, *steps: Json, name: str = "Web", **settings: Any) -> Json:
    project = world.project(name, *steps)
    sent = {
        "Type": "VersionControlled",
        "Url": "https://git.example.com/web.git",
        "DefaultBranch": "main",
        "BasePath": ".octopus",
        "Credentials": {"Type": "Anonymous"},
        **settings,
    }
    body = {"CommitMessage": "Begin", "VersionControlSettings": sent}
    assert {"Messages": []} == world.post(f"projects/{project['Id']}/git/convert", body)
    return world.get(f"projects/{project['Id']}")


def at(project: Json, ref: str, what: str = "deploymentprocesses") -> str:
    return f"projects/{project['Id']}/{quote(ref, safe='')}/{what}"


def names(process: Json) -> list[str]:
    return [item["Name"] for item in process["Steps"]]


def branch(world: World, project: Json, name: str, base: str = MAIN) -> Json:
    body = {"BaseGitRef": base, "NewBranchName": name}
    return world.post(f"projects/{project['Id']}/git/branches/v2", body)


def test_a_converted_project_is_described_as_recorded(world: World) -> None:
    """cli, test/fixtures/projects.go."""
    project = in_git(world, step("One"))
    own = f"/api/Spaces-1/projects/{project['Id']}"
    assert (True, None) == (project["IsVersionControlled"], project["VersioningStrategy"])
    assert ("VersionControlled", "main") == (
        project["PersistenceSettings"]["Type"],
        project["PersistenceSettings"]["DefaultBranch"],
    )
    assert {"VariablesAreInGit": False, "RunbooksAreInGit": False} == project["PersistenceSettings"][
        "ConversionState"
    ]
    links = project["Links"]
    assert f"{own}/{{gitRef}}/deploymentprocesses" == links["DeploymentProcess"]
    assert {"Branches", "Tags", "Commits"} <= set(links)
    process = world.get(at(project, MAIN))
    assert (f"deploymentprocess-{project['Id']}", ["One"]) == (process["Id"], names(process))


@pytest.mark.parametrize("ref", ["main", MAIN], ids=["short", "canonical"])
@pytest.mark.parametrize("prefix", ["/api/Spaces-1/", "/api/", "/api/spaces/default/"])
def test_a_ref_stands_encoded_in_every_spelling_of_the_path(world: World, ref: str, prefix: str) -> None:
    project = in_git(world, step("One"))
    answer = world.web.get(prefix + at(project, ref))
    assert 200 == answer.status_code, answer.text
    assert 200 == world.web.get(prefix + at(project, ref) + "/template").status_code
    assert 200 == world.web.get(prefix + at(project, ref, "deploymentsettings")).status_code


def test_each_branch_has_its_own_process(world: World) -> None:
    project = in_git(world, step("One"))
    made = branch(world, project, "octosteps/new-steps")
    assert ("octosteps/new-steps", "refs/heads/octosteps/new-steps", False) == (
        made["Name"],
        made["CanonicalName"],
        made["IsProtected"],
    )
    path = at(project, made["CanonicalName"])
    process = world.get(path)
    body = {**process, "Steps": [*process["Steps"], step("Two")], "ChangeDescription": "Add Two"}
    answer = good(world.web.put(process["Links"]["Self"], json=body))
    assert (["One", "Two"], process["Version"] + 1) == (names(answer), answer["Version"])
    assert ["One"] == names(world.get(at(project, "main")))
    assert ["One", "Two"] == names(world.get(path))
    listed = world.get(f"projects/{project['Id']}/git/branches")
    assert ("GitBranch", ["main", "octosteps/new-steps"]) == (
        listed["ItemType"],
        [item["Name"] for item in listed["Items"]],
    )
    found = world.get(f"projects/{project['Id']}/git/branches", searchByName="NEW")["Items"]
    assert [made["CanonicalName"]] == [item["CanonicalName"] for item in found]
    one = world.get(f"projects/{project['Id']}/git/branches/{quote(made['Name'], safe='')}")
    assert made == one


def test_settings_stand_on_the_branch_too(world: World) -> None:
    project = in_git(world, step("One"))
    branch(world, project, "other")
    path = at(project, "other", "deploymentsettings")
    strategy = {"Template": "7.#{Octopus.Version.NextMinor}", "DonorPackage": None}
    world.put(
        path, {**world.get(path), "VersioningStrategy": strategy, "ChangeDescription": "Number by seven"}
    )
    assert strategy == world.get(path)["VersioningStrategy"]
    assert strategy != world.get(at(project, "main", "deploymentsettings"))["VersioningStrategy"]
    assert "7.1" == world.get(at(project, "other") + "/template")["NextVersionIncrement"]


def test_a_commit_has_the_message_of_its_change(world: World) -> None:
    project = in_git(world, step("One"))
    process = world.get(at(project, "main"))
    world.put(at(project, "main"), {**process, "ChangeDescription": "Say it again"})
    release = world.release(project, VersionControlReference={"GitRef": MAIN})
    commit = release["VersionControlReference"]["GitCommit"]
    assert "Say it again" == world.get(f"projects/{project['Id']}/git/commits/{commit}")["Message"]


@pytest.mark.parametrize(
    ("ref", "fields", "status", "words"),
    [
        pytest.param("main", {"Version": 99}, 400, "another user has made changes", id="stale"),
        pytest.param("nowhere", {}, 404, "not found", id="unknown ref"),
        pytest.param("secured", {}, 400, "Cannot commit to protected branches", id="protected branch"),
        pytest.param("refs/tags/v1", {}, 400, "is not a branch", id="tag"),
    ],
)
def test_refused_commits(world: World, ref: str, fields: Json, status: int, words: str) -> None:
    from generator.emulator import repositories

    project = in_git(world, step("One"), ProtectedBranchNamePatterns=["sec*"])
    branch(world, project, "secured")
    repositories.add_tag(world.emulator.state.get("Projects", project["Id"]), "main", "v1")
    body = {**world.get(at(project, "main")), **fields}
    answer = world.api.put(at(project, ref), json=body)
    assert (status, True) == (answer.status_code, words in answer.text), answer.text
    assert ["v1"] == [item["Name"] for item in world.get(f"projects/{project['Id']}/git/tags")["Items"]]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"BaseGitRef": "nowhere", "NewBranchName": "x"}, id="unknown base"),
        pytest.param({"BaseGitRef": MAIN, "NewBranchName": "main"}, id="name taken"),
        pytest.param({"BaseGitRef": MAIN}, id="no name"),
        pytest.param({"CurrentBranchName": MAIN, "NewBranchName": "x"}, id="the field of older servers"),
    ],
)
def test_refused_branches(world: World, body: Json) -> None:
    project = in_git(world)
    assert 400 == world.api.post(f"projects/{project['Id']}/git/branches/v2", json=body).status_code


def test_without_a_ref_the_process_is_not_given(world: World) -> None:
    project = in_git(world, step("One"))
    for path in (
        f"projects/{project['Id']}/deploymentprocesses",
        f"deploymentprocesses/{project['DeploymentProcessId']}",
    ):
        assert 400 == world.api.get(path).status_code
    other = world.project("Other")
    for path in (at(other, "main"), f"projects/{other['Id']}/git/branches"):
        assert 400 == world.api.get(path).status_code


def test_a_release_keeps_the_process_of_its_commit(world: World) -> None:
    project = in_git(world, step("Old"))
    environment = world.environment()
    first = world.release(project, "1.0.0", VersionControlReference={"GitRef": "main"})
    commit = first["VersionControlReference"]["GitCommit"]
    assert MAIN == first["VersionControlReference"]["GitRef"]
    process = world.get(at(project, "main"))
    world.put(at(project, "main"), {**process, "Steps": [step("New")]})
    assert world.get(f"releases/{first['Id']}/deployments/template")["IsDeploymentProcessModified"]
    second = world.release(project, "2.0.0", VersionControlReference={"GitRef": "main"})
    again = world.release(project, "1.1.0", VersionControlReference={"GitRef": "main", "GitCommit": commit})
    ran = [set(world.steps(world.ended(world.deploy(item, environment)))) for item in (first, second, again)]
    assert [{"Old"}, {"New"}, {"Old"}] == ran
    assert first["ProjectDeploymentProcessSnapshotId"] == again["ProjectDeploymentProcessSnapshotId"]


def test_a_release_needs_a_ref_in_git_and_takes_none_elsewhere(world: World) -> None:
    """The texts are of the Swagger of Octopus Server 2020.5."""
    project = in_git(world, step("One"))
    body = {"ProjectId": project["Id"], "Version": "1.0.0"}
    answer = world.api.post("releases", json=body)
    assert "Creating a release for a version controlled process requires GitRef" in answer.json()["Errors"][0]
    unknown = world.api.post("releases", json={**body, "VersionControlReference": {"GitRef": "nowhere"}})
    assert 400 == unknown.status_code
    other = {"ProjectId": world.project("Other")["Id"], "Version": "1.0.0"}
    answer = world.api.post("releases", json={**other, "VersionControlReference": {"GitRef": "main"}})
    assert "Unexpected VersionControlReference provided." in answer.json()["Errors"][0]
    assert 201 == world.api.post("releases", json={**other, "VersionControlReference": None}).status_code


def test_the_create_command_needs_the_ref_too(world: World) -> None:
    """docs, API reference, releases: required for Git projects, forbidden for database projects."""
    in_git(world, step("One"))
    world.project("Other")
    command = {"SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web"}
    assert 400 == world.api.post("releases/create/v1", json=command).status_code
    answer = good(world.api.post("releases/create/v1", json={**command, "gitRef": "main"}))
    assert MAIN == world.get(f"releases/{answer['ReleaseId']}")["VersionControlReference"]["GitRef"]
    other = {**command, "ProjectName": "Other", "GitRef": "main"}
    assert 400 == world.api.post("releases/create/v1", json=other).status_code


def test_a_password_of_the_repository_is_closed(world: World) -> None:
    credentials = {
        "Type": "UsernamePassword",
        "Username": "me",
        "Password": {"HasValue": True, "NewValue": "s3cret"},
    }
    project = in_git(world, Credentials=credentials)
    shown = project["PersistenceSettings"]["Credentials"]
    assert ("me", {"HasValue": True, "NewValue": None, "Hint": None}) == (
        shown["Username"],
        shown["Password"],
    )


def test_converting_twice_is_refused(world: World) -> None:
    project = in_git(world)
    body = {"CommitMessage": "", "VersionControlSettings": {"Url": "https://git.example.com/x.git"}}
    assert 400 == world.api.post(f"projects/{project['Id']}/git/convert", json=body).status_code


def test_the_first_commit_may_go_to_another_branch(world: World) -> None:
    """go-octopusdeploy, pkg/projects/convert_to_vcs.go: needed when the default branch is protected."""
    project = world.project("Web", step("One"))
    body = {
        "CommitMessage": "Begin",
        "VersionControlSettings": {"Url": "https://git.example.com/web.git", "ProtectedDefaultBranch": True},
        "InitialCommitBranchName": "octopus-vcs-conversion",
    }
    world.post(f"projects/{project['Id']}/git/convert", body)
    assert ["One"] == names(world.get(at(project, "octopus-vcs-conversion")))
    assert [] == names(world.get(at(project, "main")))


def test_a_merge_brings_a_branch_and_keeps_what_the_other_has_since(world: World) -> None:
    """As somebody does with Git: no request of the API merges."""
    project = in_git(world, step("One"), step("Two"))
    path = at(project, branch(world, project, "work")["CanonicalName"])
    process = world.get(path)
    changed = {**process, "Steps": [process["Steps"][0], step("New"), process["Steps"][1]]}
    world.put(path, changed)
    main = world.get(at(project, MAIN))
    main["Steps"][1]["Condition"] = "Always"
    world.put(at(project, MAIN), main)
    stored = world.emulator.state.get("Projects", project["Id"])
    repositories.merge(world.emulator.state, stored, "work", "main")
    merged = world.get(at(project, MAIN))
    assert ["One", "New", "Two"] == names(merged)
    assert "Always" == merged["Steps"][2]["Condition"]
    assert repositories.merge(world.emulator.state, stored, "work", "main") == stored["_git"]["refs"][MAIN]


def test_a_merge_of_what_both_have_changed_is_a_conflict(world: World) -> None:
    project = in_git(world, step("One"))
    path = at(project, branch(world, project, "work")["CanonicalName"])
    for place, condition in ((path, "Always"), (at(project, MAIN), "Failure")):
        process = world.get(place)
        process["Steps"][0]["Condition"] = condition
        world.put(place, process)
    stored = world.emulator.state.get("Projects", project["Id"])
    with pytest.raises(ValueError, match="both sides have changed the step 'One'"):
        repositories.merge(world.emulator.state, stored, "work", "main")
