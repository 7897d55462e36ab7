"""Promise 1: however often a Deploy Release step starts, one deployment is carried out. The server's list is the witness.

The scripts are the rendered ones, run by the emulator as Octopus' runner does it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from generator.emulator.runner import ScriptJob, start_script
from tests.processes import is_running, needs_proc, script_processes, watchdog_of
from tests.scene import Document, Scene, known, open_scene, own_step

DEPLOY = "Octopus - Deploy Release"


@pytest.fixture
def scene() -> Iterator[Scene]:
    """A child that takes half a minute, on a clock ten times as fast."""
    with open_scene(speed=10) as opened:
        opened.make_project("Child", steps=[own_step("Work", seconds=30)], releases=["1.0.0"])
        yield opened


def carried_out(scene: Scene, project: str = "Child") -> list[str]:
    """The ids of the project's deployments whose task has begun."""
    return [made["Id"] for made in scene.deployments(project) if scene.task(made["TaskId"])["StartTime"]]


@needs_proc
def test_a_killed_and_retried_parent_leaves_one_child(scene: Scene) -> None:
    """The step's process is killed while it waits; Octopus retries the step; it finds its child and waits on."""
    step = scene.step(
        DEPLOY,
        "Deploy Child",
        {"project": "Child"},
        **{"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"},
    )
    scene.make_project("Parent", steps=[step], releases=["1.0.0"])
    parent = scene.deploy("Parent", "1.0.0")
    scene.wait_until(lambda: carried_out(scene), "the child has begun", parent["TaskId"])
    [victim] = script_processes()
    watchdog = watchdog_of(victim)
    assert watchdog is not None
    os.kill(victim, signal.SIGKILL)
    ended = scene.wait(parent["TaskId"])
    log = scene.log(parent["TaskId"])
    assert ended["State"] == "Success", log
    assert len(scene.deployments("Child")) == 1, log
    assert scene.states("Child") == ["Success"], log
    scene.wait_until(lambda: not is_running(watchdog), "the first run's watchdog has seen the end")


def test_two_parents_at_the_same_moment_leave_one_child(scene: Scene) -> None:
    """Two projects need the same release at the same moment, and neither finds it current: it is carried out once."""
    values = {"project": "Child", "when": "if_not_current"}
    for name in ("Left", "Right"):
        scene.make_project(name, steps=[scene.step(DEPLOY, "Child is there", values)], releases=["1.0.0"])
    parents = [scene.deploy(name, "1.0.0") for name in ("Left", "Right")]
    states = [scene.wait(parent["TaskId"])["State"] for parent in parents]
    logs = "\n".join(scene.log(parent["TaskId"]) for parent in parents)
    assert states == ["Success", "Success"], logs
    assert len(carried_out(scene)) == 1, logs
    assert set(scene.states("Child")) <= {"Success", "Canceled"}, logs


def test_two_copies_of_one_parent_leave_one_child(scene: Scene) -> None:
    """One task's step runs twice at the same time, as it happened to people with several server nodes: one child."""
    scene.make_project("Parent", steps=[own_step("Work", seconds=120)], releases=["1.0.0"])
    parent = scene.deploy("Parent", "1.0.0")
    logs: list[list[str]] = [[], []]
    copies = [
        start_script(
            ScriptJob(
                script=known()[DEPLOY].script,
                variables=variables_of(scene, parent),
                sensitive=frozenset({"DeployRelease.ApiKey"}),
                speed=10,
                started_at=scene.emulator.state.clock.now(),
            ),
            lambda event, log=log: log.append(str(event)),  # type: ignore[misc]
        )
        for log in logs
    ]
    exit_codes = [copy.wait(timeout=60).exit_code for copy in copies]
    for copy in copies:
        copy.close()
    told = "\n".join(["--- one copy", *logs[0], "--- the other", *logs[1]])
    assert exit_codes == [0, 0], told
    assert len(carried_out(scene)) == 1, told
    assert set(scene.states("Child")) <= {"Success", "Canceled"}, told
    scene.client.post(f"tasks/{parent['TaskId']}/cancel")


def variables_of(scene: Scene, parent: Document) -> dict[str, str]:
    """What Octopus hands to a Deploy Release step of this task."""
    spec = known()[DEPLOY].spec
    form = {parameter.variable: parameter.default or "" for parameter in spec.parameters}
    return {
        **form,
        "DeployRelease.Project": "Child",
        "DeployRelease.ApiKey": scene.emulator.api_key,
        "Octopus.Action.Id": "5f2d3c1e-0000-4000-8000-000000000001",
        "Octopus.Action.Name": "Deploy Child",
        "Octopus.Action.RunOnServer": "true",
        "Octopus.Environment.Name": "Test",
        "Octopus.Project.Name": "Parent",
        "Octopus.Release.Number": "1.0.0",
        "Octopus.Space.Id": str(parent["SpaceId"]),
        "Octopus.Task.Id": str(parent["TaskId"]),
        "Octopus.Task.QueueTime": str(scene.task(parent["TaskId"])["QueueTime"]),
        "Octopus.Web.ServerUri": scene.emulator.url,
    }


def test_a_new_deployment_of_the_parent_is_a_new_intention(scene: Scene) -> None:
    """What a person asks for twice is done twice."""
    scene.make_project(
        "Parent", steps=[scene.step(DEPLOY, "Deploy Child", {"project": "Child"})], releases=["1.0.0"]
    )
    for _ in range(2):
        assert scene.run("Parent", "1.0.0")["State"] == "Success"
    assert scene.states("Child") == ["Success", "Success"]


def test_a_lost_answer_leaves_one_child(scene: Scene) -> None:
    """The server queued the deployment and its answer was lost: the step finds it instead of asking again."""
    scene.make_project(
        "Parent", steps=[scene.step(DEPLOY, "Deploy Child", {"project": "Child"})], releases=["1.0.0"]
    )
    # The first of the two creations that follow is the parent's own.
    fault = scene.emulator.faults.add(method="POST", path=r"/deployments$", kind="lost_answer", after=1)
    parent = scene.deploy("Parent", "1.0.0")
    ended = scene.wait(parent["TaskId"])
    log = scene.log(parent["TaskId"])
    assert ended["State"] == "Success", log
    assert scene.states("Child") == ["Success"], log
    assert fault.hits == 1, log
