"""Promises 1 and 4 with everything that goes wrong: real scripts on the emulator, the server's list as witness."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from generator.emulator.clock import iso
from generator.emulator.runner import LogLine, ResultMessage, RunningScript, ScriptJob, start_script
from tests.processes import needs_proc, script_processes, watchdog_of
from tests.scene import Document, Scene, known, open_scene, own_step
from tests.test_exactly_once import carried_out, variables_of

DEPLOY = "Octopus - Deploy Release"
SPEED = 15
RETRIED = {"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene(speed=SPEED, task_cap=10) as opened:
        yield opened


def make_child(scene: Scene, *, seconds: float = 100, outcome: str = "success") -> None:
    scene.make_project(
        "Child", steps=[own_step("Work", seconds=seconds, outcome=outcome)], releases=["1.0.0"]
    )


def begin(scene: Scene, *, properties: Mapping[str, str] | None = None, **values: Any) -> str:
    """The task of a parent that deploys the child."""
    step = scene.step(DEPLOY, "Deploy Child", {"project": "Child", **values}, **(properties or {}))
    scene.make_project("Parent", steps=[step], releases=["1.0.0"])
    return str(scene.deploy("Parent", "1.0.0")["TaskId"])


def until_the_child_runs(scene: Scene, parent: str | None = None) -> None:
    scene.wait_until(lambda: "Executing" in scene.states("Child"), "the child has begun", parent)


class Elsewhere:
    """A Deploy Release step that runs on another machine than the server: it outlives a restart of that."""

    def __init__(self, scene: Scene, parent: Document, **form: str) -> None:
        self.lines: list[str] = []
        self.error = ""
        variables = variables_of(scene, parent)
        variables.update({f"DeployRelease.{name}": value for name, value in form.items()})
        self.script: RunningScript = start_script(
            ScriptJob(
                script=known()[DEPLOY].script,
                variables=variables,
                sensitive=frozenset({"DeployRelease.ApiKey"}),
                speed=SPEED,
                started_at=scene.emulator.state.clock.now(),
            ),
            self.note,
        )

    def note(self, event: object) -> None:
        if isinstance(event, LogLine):
            self.lines.append(event.text)
        if isinstance(event, ResultMessage):
            self.error = event.text

    def end(self) -> int:
        exit_code = self.script.wait(timeout=60).exit_code
        self.script.close()
        return exit_code

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


# --- exactly once ----------------------------------------------------------------------------------------------------


def test_an_answer_that_comes_after_a_minute(scene: Scene) -> None:
    make_child(scene, seconds=30)
    # The first of the two creations that follow is the parent's own.
    fault = scene.emulator.faults.add(
        method="POST", path=r"/deployments$", kind="slow", delay=60 / SPEED, after=1
    )
    parent = begin(scene)
    ended = scene.wait(parent)
    assert ended["State"] == "Success", scene.log(parent)
    assert (fault.hits, scene.states("Child")) == (1, ["Success"])


@pytest.mark.parametrize(
    "is_slow",
    [pytest.param(False, id="in step"), pytest.param(True, id="one between two requests of the other")],
)
def test_two_copies_that_create_leave_one_release_and_one_child(scene: Scene, is_slow: bool) -> None:
    """One task's step runs twice at the same moment; each is to create a release and deploy it. Or one of them has found none of
    its own, and asks for the next number when the other has made it: that is another one by then."""
    if is_slow:
        scene.emulator.faults.add(
            method="GET", path=r"/deploymentprocesses/[^/]+/template$", kind="slow", delay=2
        )
    make_child(scene, seconds=30)
    scene.make_project("Parent", steps=[own_step("Work", seconds=600)], releases=["1.0.0"])
    parent = scene.deploy("Parent", "1.0.0")
    copies = [Elsewhere(scene, parent, Release="create") for _ in range(2)]
    told = "\n--- the other\n".join([f"{copy.end()}\n{copy.log}" for copy in copies])
    releases = scene.client.get(f"projects/{scene.projects['Child']['Id']}/releases")["Items"]
    assert sorted(release["Version"] for release in releases) == ["1.0.0", "1.0.1"], told
    assert len(carried_out(scene)) == 1, told
    assert set(scene.states("Child")) <= {"Success", "Canceled"}, told
    assert "Success" in scene.states("Child"), told
    scene.client.post(f"tasks/{parent['TaskId']}/cancel")


@needs_proc
def test_a_worker_that_dies_and_the_deployment_is_run_again(scene: Scene) -> None:
    """Script and watchdog die together, and the parent fails. The second deployment joins what the first left on its way."""
    make_child(scene)
    parent = begin(scene, when="if_not_current")
    until_the_child_runs(scene, parent)
    [script] = script_processes()
    watchdog = scene.wait_until(lambda: watchdog_of(script), "the script has a watchdog")
    for process in (watchdog, script):
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
    assert scene.wait(parent)["State"] == "Failed"
    assert scene.states("Child") == ["Executing"]
    again = scene.run("Parent", "1.0.0")
    assert again["State"] == "Success", scene.log(again["Id"])
    assert "and is joined" in scene.log(again["Id"])
    assert scene.states("Child") == ["Success"]


@pytest.mark.parametrize(
    ("on_retry", "state", "children"),
    [
        pytest.param("deploy_again", "Success", ["Failed", "Success"], id="deployed again"),
        pytest.param("keep", "Failed", ["Failed"], id="reported as it is"),
    ],
)
def test_an_earlier_child_failed(scene: Scene, on_retry: str, state: str, children: list[str]) -> None:
    """Octopus starts the step again after its child failed."""
    make_child(scene, seconds=5, outcome="failure, success")
    parent = begin(scene, properties=RETRIED, on_retry=on_retry)
    assert scene.wait(parent)["State"] == state, scene.log(parent)
    assert scene.states("Child") == children, scene.log(parent)


# --- patience --------------------------------------------------------------------------------------------------------


def test_a_server_that_is_away_for_a_minute(scene: Scene) -> None:
    """Nobody answers for 60 seconds in the middle of a wait: the step goes on, and ends right."""
    make_child(scene)
    parent = begin(scene)
    until_the_child_runs(scene, parent)
    scene.emulator.go_away(60 / SPEED)
    scene.wait_until(lambda: not scene.emulator.app.is_away, "the server is back")
    ended = scene.wait(parent)
    log = scene.log(parent)
    assert (ended["State"], scene.states("Child")) == ("Success", ["Success"]), log
    assert "Trying again in" in log


def test_a_server_that_is_restarted(scene: Scene) -> None:
    """Its running tasks are lost: a step that runs elsewhere finds the server again, and tells that its child failed."""
    make_child(scene, seconds=600)
    scene.make_project("Parent", steps=[own_step("Work", seconds=600)], releases=["1.0.0"])
    step = Elsewhere(scene, scene.deploy("Parent", "1.0.0"))
    until_the_child_runs(scene)
    scene.emulator.go_away(60 / SPEED, restart=True)
    assert step.end() != 0
    assert step.error.startswith("child failed: 1.0.0 of Child in Test"), step.log
    assert "The Octopus Server was restarted" in step.error
    assert scene.states("Child") == ["Failed"]


TROUBLE: list[dict[str, Any]] = [
    {"kind": "html", "status": 502},
    {"kind": "status", "status": 429, "retry_after": 5},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "truncated"},
]


def test_trouble_in_the_middle_of_a_wait(scene: Scene) -> None:
    """Proxy pages, 429, 503, resets and halves of answers, in turn, while the child runs: the step reports what became of it."""
    make_child(scene, seconds=110)
    parent = begin(scene)
    until_the_child_runs(scene, parent)
    polls = r"/tasks(/[^/]+/details)?$"
    faults = [
        scene.emulator.faults.add(method="GET", path=polls, after=after, **trouble)
        for after, trouble in enumerate(TROUBLE)
    ]
    ended = scene.wait(parent)
    assert ended["State"] == "Success", scene.log(parent)
    assert [fault.hits for fault in faults] == [1] * len(TROUBLE), scene.log(parent)
    assert scene.states("Child") == ["Success"]


def test_a_key_that_is_withdrawn_in_the_middle_of_a_wait(scene: Scene) -> None:
    """One sentence that names the fault and the child, at once; the child goes on, for nobody may cancel it."""
    make_child(scene)
    key = scene.emulator.add_key()
    parent = begin(scene, api_key=key)
    scene.wait_until(lambda: "Child in Test: Executing" in scene.log(parent), "the wait has begun", parent)
    with scene.emulator.state.lock:
        del scene.emulator.state.keys[key]
    ended = scene.wait(parent)
    error = ended["ErrorMessage"]
    assert error.startswith("refused by the server: GET "), error
    assert "the API key or access token is wrong, or has expired" in error
    assert "no longer watched: 1.0.0 of Child in Test (http" in error
    assert scene.states("Child") == ["Executing"]
    assert "Traceback" not in scene.log(parent)


# --- the queue -------------------------------------------------------------------------------------------------------


def stop_the_queue(scene: Scene) -> None:
    space = scene.client.get("/api/spaces/Spaces-1")
    scene.client.put("/api/spaces/Spaces-1", {**space, "TaskQueueStopped": True})


def occupy(scene: Scene) -> None:
    """Somebody else's deployment runs where the child is to go."""
    scene.deploy("Child", "1.0.0")
    until_the_child_runs(scene)


def freeze(scene: Scene) -> None:
    """Somebody else's deployment runs there; and before that ends, a freeze begins."""
    occupy(scene)
    begins = scene.emulator.state.clock.now() + 30
    scope = {scene.projects["Child"]["Id"]: list(scene.environments.values())}
    body = {
        "Name": "Holidays",
        "Start": iso(begins),
        "End": iso(begins + 86400),
        "ProjectEnvironmentScope": scope,
    }
    with scene.by_hand() as client:
        client.post("/api/deploymentfreezes", body)


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        pytest.param(
            stop_the_queue, "Queued (the task queue of the space Default is stopped)", id="a stopped queue"
        ),
        pytest.param(
            occupy,
            "Queued behind Deploy Child release 1.0.0 to Test "
            "(one at a time in the same project, environment and tenant)",
            id="the same project and environment",
        ),
        pytest.param(
            freeze,
            "(one at a time in the same project, environment and tenant); the deployment freeze Holidays holds there until",
            id="and a freeze",
        ),
    ],
)
def test_a_child_that_never_leaves_the_queue(
    scene: Scene, hold: Callable[[Scene], None], reason: str
) -> None:
    """The reason stands in the log, and in the sentence with which the queue limit ends the wait; the child is cancelled."""
    make_child(scene, seconds=400)
    scene.make_project("Parent", steps=[own_step("Work", seconds=600)], releases=["1.0.0"])
    parent = scene.deploy("Parent", "1.0.0")
    scene.wait_until(lambda: scene.task(parent["TaskId"])["State"] == "Executing", "the parent has begun")
    hold(scene)
    step = Elsewhere(scene, parent, QueueLimit="100s")
    assert step.end() != 0
    assert reason in step.log
    assert step.error.startswith("timed out: 1.0.0 of Child in Test"), step.error
    assert reason.partition("(")[2] in step.error, step.error
    assert scene.states("Child")[-1] == "Canceled"


@pytest.mark.parametrize(
    ("version", "state", "error"),
    [
        pytest.param("1.0.0", "Success", "", id="the same release is followed"),
        pytest.param("1.0.1", "Failed", "cancelled: Child in Test was superseded by 1.0.1", id="another one"),
    ],
)
def test_a_child_that_is_superseded(scene: Scene, version: str, state: str, error: str) -> None:
    """While it stands in the queue, somebody queues another deployment there, and the server cancels it."""
    make_child(scene, seconds=60)
    scene.make_release("Child", "1.0.1")
    occupy(scene)
    parent = begin(scene, release="1.0.0")
    scene.wait_until(lambda: "Queued" in scene.states("Child"), "the child is queued", parent)
    scene.deploy("Child", version)
    ended = scene.wait(parent)
    assert ended["State"] == state, scene.log(parent)
    assert ended["ErrorMessage"].startswith(error), ended["ErrorMessage"]
    assert scene.states("Child")[1] == "Canceled"
