"""Which release *Octopus - Deploy Release* chooses or creates, and what it refuses before anything is queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from generator.emulator import repositories
from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Run, Stage

DEPLOY = "Octopus - Deploy Release"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A lifecycle of Dev, Test, an optional Soak and Production; *Web* goes along it, *Free* goes everywhere."""
    names = ("Dev", "Test", "Soak", "Production")
    with open_scene(environments=names, speed=30, task_cap=20) as scene:
        phases = [
            {
                "Name": name,
                "OptionalDeploymentTargets": [scene.environments[name]],
                "IsOptionalPhase": name == "Soak",
            }
            for name in names
        ]
        line = scene.client.post("lifecycles", {"Name": "Line", "Phases": phases})
        wide = scene.client.post(
            "lifecycles",
            {
                "Name": "Wide",
                "Phases": [{"Name": "All", "OptionalDeploymentTargets": list(scene.environments.values())}],
            },
        )
        scene.wide = wide["Id"]  # type: ignore[attr-defined]
        scene.make_project(
            "Web",
            steps=[own_step("Work")],
            releases=["1.0.0", "1.1.0", "2.0.0-beta.1"],
            LifecycleId=line["Id"],
        )
        for release, environments in (("1.0.0", ("Dev", "Test")), ("1.1.0", ("Dev",))):
            for name in environments:
                assert scene.run("Web", release, name)["State"] == "Success"
        scene.make_project("Free", steps=[own_step("Work")], releases=["1.0.0"], LifecycleId=wide["Id"])
        yield Stage(scene)


def deploy(stage: Stage, environment: str = "Dev", **values: Any) -> Run:
    return stage.run(DEPLOY, {"project": "Web", "environment": environment, **values}, "Dev")


@pytest.mark.parametrize(
    ("environment", "values", "version", "how"),
    [
        pytest.param(
            "Dev", {"release": "latest"}, "2.0.0-beta.1", "latest: by creation, the newest first", id="latest"
        ),
        pytest.param(
            "Dev",
            {"release": "highest", "more": {"pre_release": "none"}},
            "1.1.0",
            "highest: by semantic versioning, the greatest first",
            id="no pre-release",
        ),
        pytest.param(
            "Dev",
            {"release": "latest", "more": {"pre_release": "none"}},
            "1.1.0",
            "latest: by creation",
            id="latest final",
        ),
        pytest.param(
            "Dev",
            {"release": "highest", "more": {"pre_release": "b*"}},
            "2.0.0-beta.1",
            "highest",
            id="beta only",
        ),
        pytest.param(
            "Test", {"release": "in Dev"}, "1.1.0", "in Dev: what succeeded last in Dev", id="what is in Dev"
        ),
        pytest.param(
            "Test",
            {"release": "in previous phase"},
            "1.1.0",
            "what succeeded last in Dev",
            id="previous phase",
        ),
        pytest.param(
            "Production",
            {"release": "in previous phase"},
            "1.0.0",
            "what succeeded last in Test, for nothing has in Soak",
            id="back over an optional phase",
        ),
        pytest.param(
            "Production",
            {"release": "IN soak"},
            "1.0.0",
            "Test, for nothing has in Soak",
            id="back from a named one",
        ),
        pytest.param(
            "Dev", {"release": "1.0.0"}, "1.0.0", "1.0.0: exactly this number", id="again where it has been"
        ),
    ],
)
def test_which(stage: Stage, environment: str, values: dict[str, Any], version: str, how: str) -> None:
    run = deploy(stage, environment, what_if=True, **values)
    assert ("Success", version) == (run.state, run.outputs["Version"]), run.log
    assert f"Release: {version} of Web (" in run.log
    assert how in run.log


@pytest.mark.parametrize(
    ("environment", "values", "error"),
    [
        pytest.param(
            "Test",
            {"release": "2.0.0-beta.1"},
            "refused: Web in Test: the lifecycle does not let 2.0.0-beta.1 go there now (it may go to Dev)",
            id="lifecycle",
        ),
        pytest.param(
            "Dev",
            {"release": "in Production"},
            "misconfigured: nothing of Web that counts has succeeded in Production",
            id="nothing there",
        ),
        pytest.param(
            "Dev",
            {"release": "in previous phase"},
            "misconfigured: Dev is in no phase of the lifecycle that has one before it",
            id="no phase before",
        ),
        pytest.param(
            "Dev",
            {"release": "latest", "more": {"pre_release": "rc*"}},
            "misconfigured: Web has no release that the pre-release filter admits",
            id="filter admits nothing",
        ),
    ],
)
def test_refused_before_anything_is_queued(
    stage: Stage, environment: str, values: dict[str, Any], error: str
) -> None:
    before = len(stage.scene.deployments("Web"))
    run = deploy(stage, environment, **values)
    assert ("Failed", error, before) == (run.state, run.error, len(stage.scene.deployments("Web"))), run.log


def test_a_place_for_which_nothing_is_found_may_be_skipped(stage: Stage) -> None:
    run = deploy(stage, release="in Production", more={"not_found": "skip"})
    assert ("Success", "Skipped") == (run.state, run.outputs["State"])
    assert "nothing of Web that counts has succeeded in Production" in run.outputs["Skipped"]


def test_blocked_progression(stage: Stage) -> None:
    scene = stage.scene
    release = scene.client.get(f"projects/{scene.projects['Web']['Id']}/releases/1.0.0")
    scene.client.post(f"releases/{release['Id']}/defects", {"Description": "Loses orders"})
    run = deploy(stage, "Production", release="1.0.0")
    scene.client.post(f"releases/{release['Id']}/defects/resolve", {})
    assert "refused: Web in Production: the progression of 1.0.0 is blocked: Loses orders" == run.error, (
        run.log
    )


def test_freeze(stage: Stage) -> None:
    scene = stage.scene
    state = scene.emulator.state
    with state.lock:
        freeze = state.add(
            "DeploymentFreezes",
            {
                "Name": "Stocktaking",
                "Start": "2020-01-01T00:00:00+00:00",
                "End": "2099-01-01T00:00:00+00:00",
                "ProjectEnvironmentScope": {scene.projects["Free"]["Id"]: [scene.environments["Test"]]},
                "TenantProjectEnvironmentScope": [],
            },
        )
    try:
        run = stage.run(DEPLOY, {"project": "Free", "environment": "Dev\nTest"}, "Dev")
        assert (
            "refused: Free in Test: the deployment freeze Stocktaking holds until 2099-01-01 00:00 UTC"
            == run.error
        ), run.log
        assert [] == scene.deployments("Free")  # the other place was not begun either
    finally:
        with state.lock:
            del state.collection("DeploymentFreezes")[freeze["Id"]]


def test_a_freeze_is_overridden_for_a_reason(stage: Stage) -> None:
    """By the command that names it; the marker is in there too, so that a lost answer is found."""
    scene = stage.scene
    state = scene.emulator.state
    fields = {
        "Name": "Holidays",
        "Start": "2020-01-01T00:00:00+00:00",
        "End": "2099-01-01T00:00:00+00:00",
        "ProjectEnvironmentScope": {scene.projects["Free"]["Id"]: [scene.environments["Test"]]},
        "TenantProjectEnvironmentScope": [],
    }
    with state.lock:
        freeze = state.add("DeploymentFreezes", fields)
    fault = scene.emulator.faults.add(method="POST", path=r"/deployments/override$", kind="lost_answer")
    try:
        values = {"project": "Free", "environment": "Test", "more": {"override_freezes": "security fix 42"}}
        run = stage.run(DEPLOY, values, "Dev")
    finally:
        with state.lock:
            del state.collection("DeploymentFreezes")[freeze["Id"]]
    assert ("Success", 1) == (run.outputs["State"], fault.hits), run.log
    assert (
        "Warning: Free in Test: the deployment freeze Holidays holds until 2099-01-01 00:00 UTC, and is overridden: "
        "security fix 42"
    ) in run.log
    assert 1 == len(scene.deployments("Free"))


def test_compared_within_the_channel(stage: Stage) -> None:
    """By default what is there counts whatever its channel; a hotfix that is asked for so is compared with hotfixes alone."""
    scene = stage.scene
    project = scene.make_project("Lanes", steps=[own_step("Work")], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    channel = scene.client.post("channels", {"Name": "Hotfix", "ProjectId": project["Id"]})
    scene.make_release("Lanes", "2.0.0")
    for version in ("1.0.0", "1.0.1"):
        scene.make_release("Lanes", version, ChannelId=channel["Id"])
    for version in ("1.0.0", "2.0.0"):
        scene.run("Lanes", version, "Test")
    values = {"project": "Lanes", "environment": "Test", "channel": "Hotfix", "when": "if_newer"}
    run = stage.run(DEPLOY, values, "Dev")
    assert "1.0.1 is not newer than 2.0.0, current in Lanes in Test" == run.outputs["Skipped"], run.log
    lane = stage.run(DEPLOY, {**values, "more": {"compare": "channel"}}, "Dev")
    assert ("1.0.1", "Success", "True") == tuple(
        lane.outputs[name] for name in ("Version", "State", "Changed")
    )
    scene.run("Lanes", "2.0.0", "Test")
    again = stage.run(DEPLOY, {**values, "when": "if_not_current", "more": {"compare": "channel"}}, "Dev")
    assert "1.0.1 is current in Lanes in Test" == again.outputs["Skipped"]


def test_what_succeeded_elsewhere_by_tenant(stage: Stage) -> None:
    """Each tenant gets what it has proved itself; who has nothing there is an error, or is skipped."""
    scene = stage.scene
    project = scene.make_project(
        "Proved",
        steps=[own_step("Work")],
        releases=["1.0.0", "2.0.0"],
        LifecycleId=scene.wide,  # type: ignore[attr-defined]
        TenantedDeploymentMode="TenantedOrUntenanted",
    )
    everywhere = {project["Id"]: list(scene.environments.values())}
    tenants = {
        name: scene.client.post("tenants", {"Name": name, "ProjectEnvironments": everywhere})["Id"]
        for name in ("Acme", "Bolt", "Cask")
    }
    for name, version in (("Acme", "2.0.0"), ("Acme", "1.0.0"), ("Bolt", "2.0.0")):
        scene.run("Proved", version, "Test", TenantId=tenants[name])
    values = {
        "project": "Proved",
        "environment": "Production",
        "release": "in Test",
        "tenant": ["Acme", "Bolt", "Cask"],
    }
    refused = stage.run(DEPLOY, values, "Dev")
    assert "misconfigured: nothing of Proved that counts has succeeded in Test for Cask" == refused.error
    run = stage.run(DEPLOY, {**values, "more": {"not_found": "skip"}}, "Dev")
    assert [("Acme", "1.0.0", "Success"), ("Bolt", "2.0.0", "Success"), ("Cask", "", "Skipped")] == sorted(
        (child["tenant"], child["version"], child["state"]) for child in run.children
    ), run.log
    assert "in Test: what succeeded last in Test for Bolt" in run.log


def test_the_same_number_in_several_places(stage: Stage) -> None:
    """The parents of these tests deploy their release 1.0.0."""
    scene = stage.scene
    scene.make_project(
        "Twin",
        steps=[own_step("Work")],
        releases=["1.0.0", "3.0.0"],
        LifecycleId=scene.wide,  # type: ignore[attr-defined]
    )
    values = {"project": "Twin", "environment": "Dev\nTest\nProduction", "release": "same"}
    run = stage.run(DEPLOY, values, "Dev")
    assert [(name, "1.0.0", "Success") for name in ("Dev", "Test", "Production")] == [
        (child["environment"], child["version"], child["state"]) for child in run.children
    ], run.log
    assert ("1.0.0", 1) == (run.outputs["Version"], run.log.count("Release: 1.0.0 of Twin ("))


def test_later_environments_of_one_after_the_other(stage: Stage) -> None:
    """The lifecycle lets a release into Test only once it is in Dev: one after the other, that is where it gets to."""
    stage.scene.make_release("Web", "3.0.0")
    values = {"project": "Web", "environment": "Dev\nTest", "release": "3.0.0"}
    assert "the lifecycle does not let 3.0.0 go there now" in stage.run(DEPLOY, values, "Dev").error
    run = stage.run(DEPLOY, {**values, "more": {"at_once": "1", "if_one_fails": "stop"}}, "Dev")
    assert ["Success", "Success"] == [child["state"] for child in run.children], run.log


# --- creating ------------------------------------------------------------------------------------------------------


def numbers(scene: Scene, project: str) -> list[str]:
    return [
        one["Version"] for one in scene.client.pages(f"projects/{scene.projects[project]['Id']}/releases")
    ]


def test_create_the_next_number(stage: Stage) -> None:
    scene = stage.scene
    scene.make_project("Growing", steps=[own_step("Work")], releases=["1.4.0"], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    planned = stage.run(DEPLOY, {"project": "Growing", "release": "create", "what_if": True}, "Dev")
    assert ("1.4.1", ["1.4.0"]) == (planned.outputs["Version"], numbers(scene, "Growing")), planned.log
    assert "to be created: 1.4.1 in the channel Default" in planned.log
    made = stage.run(
        DEPLOY, {"project": "Growing", "release": "create", "more": {"release_notes": "By hand"}}, "Dev"
    )
    assert ("Success", "1.4.1", ["1.4.1", "1.4.0"]) == (
        made.state,
        made.outputs["Version"],
        numbers(scene, "Growing"),
    ), made.log
    notes = scene.client.get(f"releases/{made.outputs['ReleaseId']}")["ReleaseNotes"]
    assert notes.startswith("By hand\n\nTriggered by Parent")


@pytest.mark.parametrize(
    ("release", "version", "after"),
    [
        pytest.param("create 2.5.0", "2.5.0", 2, id="a number that is missing"),
        pytest.param("create 1.4.0", "1.4.0", 1, id="a number that exists"),
        pytest.param("create same", "1.0.0", 2, id="the own number"),
    ],
)
def test_create_when_missing(stage: Stage, release: str, version: str, after: int) -> None:
    scene = stage.scene
    name = f"Missing {version}"
    scene.make_project(name, steps=[own_step("Work")], releases=["1.4.0"], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    run = stage.run(DEPLOY, {"project": name, "release": release}, "Dev")
    assert ("Success", version, after) == (run.state, run.outputs["Version"], len(numbers(scene, name))), (
        run.log
    )


def test_a_retried_step_creates_one_release(stage: Stage) -> None:
    """The child fails and Octopus starts the step again: the same release is deployed again, not a next one."""
    scene = stage.scene
    scene.make_project("Once", steps=[own_step("Break", outcome="failure")], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    retry = {"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"}
    step = scene.step(DEPLOY, "Ours", {"project": "Once", "release": "create"}, **retry)
    scene.make_project("Retrying", steps=[step], releases=["1.0.0"])
    ended = scene.run("Retrying", "1.0.0", "Dev")
    assert "Failed" == ended["State"]
    assert 1 == len(numbers(scene, "Once")), scene.log(ended["Id"])
    assert ["Failed", "Failed"] == scene.states("Once")


def test_a_lost_answer_creates_one_release(stage: Stage) -> None:
    scene = stage.scene
    scene.make_project("Lost", steps=[own_step("Work")], releases=["1.0.0"], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    parent = scene.make_project(
        "Losing",
        steps=[scene.step(DEPLOY, "Ours", {"project": "Lost", "release": "create"})],
        releases=["1.0.0"],
    )
    assert parent
    fault = scene.emulator.faults.add(method="POST", path=r"/releases$", kind="lost_answer")
    run = stage.end(scene.deploy("Losing", "1.0.0", "Dev")["TaskId"])
    assert ("Success", "1.0.1", 2, 1) == (
        run.state,
        run.outputs["Version"],
        len(numbers(scene, "Lost")),
        fault.hits,
    ), run.log


def test_packages_by_the_channels_rule(stage: Stage) -> None:
    scene = stage.scene
    step: Document = own_step("Ship")
    step["Actions"][0]["Packages"] = [{"Name": "", "PackageId": "Shop.Web", "FeedId": builtin_feed(scene)}]
    scene.make_project("Shipping", steps=[step], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    for version in ("1.0.0", "1.5.0", "2.0.0"):
        upload(scene, f"Shop.Web.{version}.zip")
    rule = {
        "VersionRange": "[1.0,2.0)",
        "Tag": "",
        "ActionPackages": [{"DeploymentAction": "Ship", "PackageReference": ""}],
    }
    scene.client.post(
        "channels", {"ProjectId": scene.projects["Shipping"]["Id"], "Name": "Stable", "Rules": [rule]}
    )
    values = {"project": "Shipping", "release": "create"}
    made = stage.run(DEPLOY, {**values, "channel": "Stable"}, "Dev")
    assert "Success" == made.state, made.log
    assert ["1.5.0"] == package_versions(scene, made)
    named = stage.run(DEPLOY, {**values, "more": {"packages": "Ship:1.0.0"}}, "Dev")
    assert ["1.0.0"] == package_versions(scene, named)
    unknown = stage.run(DEPLOY, {**values, "more": {"packages": "Sail:1.0.0"}}, "Dev")
    assert (
        "misconfigured: the process has no package for Sail:1.0.0 (steps with packages: Ship)"
        == unknown.error
    )
    none = stage.run(DEPLOY, {**values, "more": {"packages": "Ship:9.9.9"}}, "Dev")
    assert "9.9.9" in none.error and none.error.startswith("refused"), none.error


def builtin_feed(scene: Scene) -> str:
    [feed] = [one for one in scene.client.pages("feeds") if one["FeedType"] == "BuiltIn"]
    return str(feed["Id"])


def upload(scene: Scene, filename: str) -> None:
    import httpx

    answer = httpx.post(
        f"{scene.emulator.url}/api/Spaces-1/packages/raw",
        files={"file": (filename, b"PK")},
        headers={"X-Octopus-ApiKey": scene.emulator.api_key},
    )
    assert answer.status_code == 201, answer.text


def package_versions(scene: Scene, run: Run) -> list[str]:
    release = scene.client.get(f"releases/{run.outputs['ReleaseId']}")
    return [one["Version"] for one in release["SelectedPackages"]]


def test_create_in_a_version_controlled_project(stage: Stage) -> None:
    """From the default branch, from a branch, and not from one that is not there."""
    scene = stage.scene
    project = scene.make_project("Coded", steps=[own_step("Work")], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    settings = {
        "Type": "VersionControlled",
        "Url": "https://git.example.com/coded.git",
        "DefaultBranch": "main",
        "BasePath": ".octopus",
        "Credentials": {"Type": "Anonymous"},
    }
    state = scene.emulator.state
    with state.lock:
        stored = state.get("Projects", project["Id"])
        repositories.begin(state, stored, settings=settings, message="Begin", branch=None)
        refs = stored["_git"]["refs"]
        refs["refs/heads/next"] = refs["refs/heads/main"]
    values = {"project": "Coded", "release": "create"}
    made = stage.run(DEPLOY, values, "Dev")
    assert "Success" == made.state, made.log
    branched = stage.run(DEPLOY, {**values, "more": {"git_ref": "next"}}, "Dev")
    references = [
        scene.client.get(f"releases/{run.outputs['ReleaseId']}")["VersionControlReference"]["GitRef"]
        for run in (made, branched)
    ]
    assert ["refs/heads/main", "refs/heads/next"] == references
    commit = refs["refs/heads/main"]
    path = f"projects/{project['Id']}/main/deploymentprocesses"
    process = scene.client.get(path)
    process["Steps"].append(own_step("Later"))
    scene.client.put(path, {**process, "ChangeDescription": "Move on"})
    with state.lock:
        moved = state.get("Projects", project["Id"])["_git"]["refs"]["refs/heads/main"]
    exact = stage.run(DEPLOY, {**values, "more": {"git_commit": commit}}, "Dev")
    release = scene.client.get(f"releases/{exact.outputs['ReleaseId']}")
    assert commit == release["VersionControlReference"]["GitCommit"] != moved, exact.log
    missing = stage.run(DEPLOY, {**values, "more": {"git_ref": "gone"}}, "Dev")
    assert ("Failed", 3) == (missing.state, len(numbers(scene, "Coded"))), missing.log
    plain = stage.run(DEPLOY, {**values, "project": "Free", "more": {"git_ref": "main"}}, "Dev")
    assert "misconfigured: Free is not version-controlled: it has no git_ref" == plain.error


def test_packages_that_the_feed_has_no_longer(stage: Stage) -> None:
    scene = stage.scene
    step: Document = own_step("Ship")
    step["Actions"][0]["Packages"] = [{"Name": "", "PackageId": "Shop.Gone", "FeedId": builtin_feed(scene)}]
    scene.make_project("Emptied", steps=[step], LifecycleId=scene.wide)  # type: ignore[attr-defined]
    upload(scene, "Shop.Gone.1.0.0.zip")
    scene.make_release("Emptied", "1.0.0", SelectedPackages=[{"ActionName": "Ship", "Version": "1.0.0"}])
    state = scene.emulator.state
    with state.lock:
        for identifier, package in list(state.collection("Packages").items()):
            if package["PackageId"] == "Shop.Gone":
                del state.collection("Packages")[identifier]
    run = stage.run(DEPLOY, {"project": "Emptied"}, "Dev")
    assert "refused: 1.0.0 needs packages that its feeds do not have: Shop.Gone 1.0.0" == run.error, run.log
    assert [] == scene.deployments("Emptied")
