"""A child in another space, or on another server, than the step that deploys it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from generator.octopus.client import connect
from tests.scene import open_scene, own_step
from tests.stage import Stage

DEPLOY = "Octopus - Deploy Release"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with open_scene(speed=30) as scene:
        yield Stage(scene)


def test_another_space(stage: Stage) -> None:
    """Every name is looked up there; the watchdog still sees the parent, which is in its own space."""
    scene = stage.scene
    with scene.by_hand() as client:
        space = client.post("/api/spaces", {"Name": "Elsewhere", "SpaceManagersTeams": ["teams-everyone"]})
    with connect(scene.emulator.url, api_key=scene.emulator.api_key, space="Elsewhere") as there:
        [lifecycle], [group] = there.pages("lifecycles"), there.pages("projectgroups")
        live = there.post("environments", {"Name": "Live"})
        project = there.post(
            "projects", {"Name": "Child", "LifecycleId": lifecycle["Id"], "ProjectGroupId": group["Id"]}
        )
        there.post("releases", {"ProjectId": project["Id"], "Version": "4.2.0"})
        run = stage.run(DEPLOY, {"space": "Elsewhere", "project": "Child", "environment": "Live"})
        [made] = there.pages("deployments", projects=project["Id"])
    assert ("Success", "4.2.0") == (run.outputs["State"], run.outputs["Version"]), run.log
    assert (space["Id"], live["Id"]) == (made["SpaceId"], made["EnvironmentId"])
    assert f" by {scene.emulator.url}/Spaces-1/ServerTasks-" in made["Comments"]
    assert "There is no watchdog" not in run.log


def test_another_server(stage: Stage) -> None:
    """Its key goes there and nowhere else; nobody there can see the parent, and the step says what that means."""
    with open_scene(speed=30, environments=("Abroad",)) as far:
        far.make_project("Child", steps=[own_step("Work")], releases=["7.0.0"])
        values = {
            "server": far.emulator.url,
            "api_key": far.emulator.api_key,
            "space": "Default",
            "project": "Child",
            "environment": "Abroad",
        }
        run = stage.run(DEPLOY, values)
        [made] = far.deployments("Child")
        assert ["Success"] == far.states("Child")
    assert ("Success", "7.0.0", made["TaskId"]) == tuple(
        run.outputs[name] for name in ("State", "Version", "TaskId")
    ), run.log
    assert f"{far.emulator.url}/app" in run.outputs["Link"]
    assert "There is no watchdog" in run.log
    assert far.emulator.api_key not in run.log
