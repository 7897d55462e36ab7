"""Promise 7: what a cancelled or killed step awaited does not go on without it, and what it did not await does.

The scripts are the rendered ones, run and killed by the emulator as Octopus' runner does it. Moments are the server's own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from generator.emulator.interpreters import Interpreter
from tests.processes import (
    environment_of,
    is_running,
    needs_proc,
    open_files,
    parent_of,
    script_processes,
    watchdog_of,
    words_of,
)
from tests.scene import Document, Scene, open_scene, own_step

pytestmark = needs_proc
DEPLOY = "Octopus - Deploy Release"
NO_WATCHDOG = {"more": {"watchdog": "off"}}
RETRIED = {"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"}


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A child that takes five minutes, on a clock twenty times as fast."""
    with open_scene(speed=20, task_cap=20) as opened:
        make_child(opened)
        yield opened


def make_child(scene: Scene, name: str = "Child", *, seconds: float = 300) -> None:
    scene.make_project(name, steps=[own_step("Work", seconds=seconds)], releases=["1.0.0"])


def begin(
    scene: Scene, child: str = "Child", *, then: Any = (), properties: Any = None, **values: Any
) -> str:
    """The task of a parent with one Deploy Release step, whose child has begun."""
    step = scene.step(DEPLOY, "Deploy Child", {"project": child, **values}, **(properties or {}))
    scene.make_project("Parent", steps=[step, *then], releases=["1.0.0"])
    before = len(scene.deployments(child))
    task: str = scene.deploy("Parent", "1.0.0")["TaskId"]
    scene.wait_until(
        lambda: len(scene.deployments(child)) > before and scene.states(child)[-1] == "Executing",
        "the child has begun",
        task,
    )
    return task


def guarded_script(scene: Scene) -> tuple[int, int]:
    """The one script that runs, and its watchdog."""
    [script] = script_processes()
    return script, scene.wait_until(lambda: watchdog_of(script), "the script has a watchdog")


def cancel(scene: Scene, task: str) -> None:
    scene.client.post(f"tasks/{task}/cancel")


def child_task(scene: Scene) -> Document:
    return scene.task(scene.deployments("Child")[0]["TaskId"])


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def until_gone(scene: Scene, watchdog: int) -> None:
    scene.wait_until(lambda: not is_running(watchdog), "the watchdog has ended")


def test_a_cancelled_parent_takes_its_child_with_it(interpreter: Interpreter, python: str) -> None:
    """Within 15 seconds, without a process that stays, under every Python; and the watchdog shows no secret meanwhile."""
    with open_scene(interpreter=python, speed=10) as scene:
        make_child(scene)
        parent = begin(scene)
        script, watchdog = guarded_script(scene)
        assert parent_of(watchdog) not in (script, os.getpid())
        assert all(scene.emulator.api_key not in word for word in words_of(watchdog))
        assert scene.emulator.api_key not in environment_of(watchdog)
        files, streams = open_files(watchdog), open_files(script)
        assert files[0].startswith("pipe:") and files[0] != streams[0]
        assert {files[1], files[2]} == {"/dev/null"}
        assert {streams[1], streams[2]}.isdisjoint(files.values())
        cancel(scene, parent)
        ended = scene.wait(parent)
        child = scene.wait(child_task(scene)["Id"])
        assert (ended["State"], child["State"]) == ("Canceled", "Canceled"), scene.log(parent)
        assert seconds_between(ended["CompletedTime"], child["CompletedTime"]) <= 15
        until_gone(scene, watchdog)


def test_a_step_that_ends_by_itself_ends_its_watchdog(scene: Scene) -> None:
    """What a time-out left alone on purpose goes on."""
    parent = begin(scene, run_limit="20s", on_timeout="leave")
    _, watchdog = guarded_script(scene)
    assert scene.wait(parent)["State"] == "Failed"
    until_gone(scene, watchdog)
    assert child_task(scene)["State"] == "Executing"


def test_a_retry_keeps_its_child(scene: Scene) -> None:
    """The script is killed, Octopus starts the step again, and the first watchdog must not cancel what the second run awaits."""
    make_child(scene, "Brief", seconds=100)
    parent = begin(scene, "Brief", properties=RETRIED)
    script, watchdog = guarded_script(scene)
    os.kill(script, signal.SIGKILL)
    ended = scene.wait(parent)
    assert ended["State"] == "Success", scene.log(parent)
    assert scene.states("Brief") == ["Success"]
    until_gone(scene, watchdog)


def test_a_retry_that_leaves_its_child_alone_has_the_last_word(scene: Scene) -> None:
    """The second run's time-out leaves the child alone and fails the parent: the first run's watchdog does not cancel it."""
    parent = begin(scene, properties=RETRIED, run_limit="40s", on_timeout="leave")
    script, watchdog = guarded_script(scene)
    os.kill(script, signal.SIGKILL)
    assert scene.wait(parent)["State"] == "Failed"
    until_gone(scene, watchdog)
    assert child_task(scene)["State"] == "Executing"


def test_a_cancelled_retry_takes_its_child_with_it(scene: Scene) -> None:
    """Killed once, started again, and then cancelled: two watchdogs, and the child is cancelled."""
    parent = begin(scene, properties=RETRIED)
    script, first = guarded_script(scene)
    os.kill(script, signal.SIGKILL)
    scene.wait_until(lambda: script_processes() not in ([], [script]), "the step runs again", parent)
    _, second = guarded_script(scene)
    cancel(scene, parent)
    assert scene.wait(child_task(scene)["Id"])["State"] == "Canceled", scene.log(parent)
    assert scene.states("Child") == ["Canceled"]
    until_gone(scene, first)
    until_gone(scene, second)


def test_a_killed_step_leaves_its_child_until_the_task_has_ended(scene: Scene) -> None:
    """Steps for the case of failure still run: the child goes on until they are done, and is cancelled then."""
    clean = own_step("Clean up", seconds=60, Condition="Failure")
    parent = begin(scene, then=[clean])
    script, watchdog = guarded_script(scene)
    os.kill(script, signal.SIGKILL)
    ended = scene.wait(parent)
    child = scene.wait(child_task(scene)["Id"])
    assert (ended["State"], child["State"]) == ("Failed", "Canceled"), scene.log(parent)
    assert 0 <= seconds_between(ended["CompletedTime"], child["CompletedTime"]) <= 15
    until_gone(scene, watchdog)


def test_a_creation_under_way_is_found(scene: Scene) -> None:
    """The script is killed while its creation is answered late: nobody had been told the child's id, and it is cancelled."""
    # The first of the two creations that follow is the parent's own.
    scene.emulator.faults.add(method="POST", path=r"/deployments$", kind="slow", delay=5, after=1)
    parent = begin(scene)
    _, watchdog = guarded_script(scene)
    cancel(scene, parent)
    assert scene.wait(child_task(scene)["Id"])["State"] == "Canceled"
    until_gone(scene, watchdog)


def test_all_children_of_a_cancelled_parent_are_cancelled(scene: Scene) -> None:
    """Several places in one step; what somebody else started goes on."""
    lifecycle = scene.client.get(f"lifecycles/{scene.lifecycle_id}")
    phase = {"Name": "Everywhere", "OptionalDeploymentTargets": list(scene.environments.values())}
    scene.client.put(f"lifecycles/{scene.lifecycle_id}", {**lifecycle, "Phases": [phase]})
    other = scene.deploy("Child", "1.0.0", "Production")["TaskId"]
    parent = begin(scene, environment=["Test", "Production"], when="if_not_current")
    _, watchdog = guarded_script(scene)
    cancel(scene, parent)
    until_gone(scene, watchdog)
    states = {made["TaskId"]: scene.task(made["TaskId"])["State"] for made in scene.deployments("Child")}
    assert states.pop(other) == "Executing"
    assert list(states.values()) == ["Canceled"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(NO_WATCHDOG, id="switched off"),
        pytest.param({"wait": False}, id="nothing is awaited"),
    ],
)
def test_without_a_watchdog_the_child_goes_on(scene: Scene, values: dict[str, Any]) -> None:
    then = [own_step("Work on", seconds=300)]
    parent = begin(scene, then=then, **values)
    assert [watchdog_of(script) for script in script_processes()] in ([], [None])
    cancel(scene, parent)
    scene.wait(parent)
    assert child_task(scene)["State"] == "Executing"


def test_an_account_that_cannot_see_the_parent_is_told(scene: Scene) -> None:
    """Without the right to see its own task a watchdog could never know: a warning says what that means, and the step works."""
    key = scene.emulator.add_key(projects={scene.projects["Child"]["Id"]})
    parent = begin(scene, api_key=key, run_limit="20s")
    assert [watchdog_of(script) for script in script_processes()] == [None]
    scene.wait(parent)
    assert "There is no watchdog" in scene.log(parent) and "(that takes TaskView" in scene.log(parent)
    assert child_task(scene)["State"] == "Canceled"
