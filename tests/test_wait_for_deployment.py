"""Wait For Deployment: steps by name, number and slug, several projects, what is not there yet, and every way it ends early."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Run, Stage

WAIT = "Octopus - Wait For Deployment"
STEP = {"until": "passed_step"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """*Quick* succeeds at once, *Broken* fails in its second step and skips its third; the step of *Renamed* was renamed."""
    with open_scene(speed=30, task_cap=30) as scene:
        scene.make_project("Quick", steps=[own_step("Work")], releases=["1.0.0", "2.0.0"])
        scene.make_project(
            "Broken",
            steps=[own_step("Work"), own_step("Break", outcome="failure"), own_step("Clean")],
            releases=["1.0.0"],
        )
        scene.make_project("Renamed", steps=[own_step("Old name")], releases=["1.0.0"])
        rename_step(scene, "Renamed", "Old name", "New name")
        scene.make_release("Renamed", "2.0.0")
        scene.make_project(
            "Slow", steps=[own_step("Begin"), own_step("Long", seconds=3600)], releases=["1.0.0"]
        )
        scene.make_project("Never", steps=[own_step("Work")], releases=["1.0.0"])
        for project, version in (("Quick", "1.0.0"), ("Broken", "1.0.0"), ("Renamed", "2.0.0")):
            scene.run(project, version)
        yield Stage(scene)


def rename_step(scene: Any, project: str, old: str, new: str) -> None:
    """As a person does it in the portal: the slug stays."""
    steps = scene.process(project)["Steps"]
    for step in steps:
        if step["Name"] == old:
            step["Name"] = step["Actions"][0]["Name"] = new
    scene.put_steps(project, steps)


def lines(*texts: str) -> dict[str, str]:
    return {"projects": "\n".join(texts)}


def awaited(run: Run) -> list[Document]:
    found: list[Document] = json.loads(run.outputs["Awaited"])
    assert found == run.artifacts["Ours.result.json"]["awaited"]
    return found


def begin(stage: Stage, values: dict[str, str], told: str) -> str:
    """A waiting parent, once its log holds `told`."""
    waiter = stage.begin(WAIT, values)
    until_told(stage.scene, waiter, told)
    return waiter


def until_told(scene: Scene, task: str, told: str) -> None:
    scene.wait_until(lambda: told in scene.log(task), f"it tells {told!r}", task)


@contextmanager
def running(stage: Stage, project: str = "Slow", version: str = "1.0.0") -> Iterator[str]:
    """The task of a deployment that runs for the time of the block."""
    task = stage.deploy(project, version)
    try:
        stage.until_executing(task)
        yield task
    finally:
        stage.scene.client.post(f"tasks/{task}/cancel")
        stage.scene.wait(task)


# --- steps ---------------------------------------------------------------------------------------------------------


def test_a_step_by_name_title_number_and_slug(stage: Stage) -> None:
    run = stage.run(
        WAIT,
        {
            "project": "Broken",
            "until": "passed_step",
            "step_name": "WORK",
            **lines(
                "Broken; step = Step 1: Work",
                "Broken; step = 1",
                "Broken; until = reached step; step = 2",
                "Broken; until = reached_step; step = break",
                "Broken; step = 3; if_skipped = pass",
                "Renamed; step = New name",
                "Renamed; step = old-name",
                "Renamed; step = step 1",
                "Quick; until = ended",
            ),
        },
    )
    assert "" == run.error, run.log
    found = awaited(run)
    assert ["Success"] * 3 + ["Failed"] * 2 + ["Skipped"] + ["Success"] * 3 + [""] == [
        one["step_status"] for one in found
    ]
    assert all(one["met"] for one in found)
    assert "Highlight: 2.0.0 of Renamed in Test (http" in run.log and "): New name is Success" in run.log


def test_every_way_in_which_a_step_never_comes(stage: Stage) -> None:
    """Failed, skipped, renamed, missing: each is told apart, and none is waited for until a limit."""
    run = stage.run(
        WAIT,
        {
            "project": "Broken",
            "until": "passed_step",
            "step_name": "Break",
            "how_many": "any",
            **lines(
                "Broken; step = Clean",
                "Renamed; step = Old name",
                "Broken; step = 4",
                "Broken; until = succeeded",
                "Never; until = ended; when_none = fail",
            ),
        },
    )
    assert (
        "misconfigured: none of 6 has come as far: "
        "1.0.0 of Broken in Test: the step Break is Failed, and the task is Failed; "
        "1.0.0 of Broken in Test: the step Clean is Skipped, and the task is Failed; "
        "2.0.0 of Renamed in Test has no step 'Old name'; its steps: 1 New name; "
        "1.0.0 of Broken in Test has no step '4'; its steps: 1 Work, 2 Break, 3 Clean; "
        "1.0.0 of Broken in Test: Failed: The step 'Break' failed; failed at Step 2: Break; "
        "Never in Test has no deployment that counts"
    ) == sorted_as_asked(run), run.error
    kinds = ["child failed", "child failed", "misconfigured", "misconfigured", "child failed", "refused"]
    assert kinds == [one["failure"].partition(":")[0] for one in awaited(run)]


def sorted_as_asked(run: Run) -> str:
    kind = run.error.partition(":")[0]
    assert kind in ("child failed", "misconfigured", "refused")
    return run.error.replace(kind, "misconfigured", 1)


def test_a_step_that_runs_and_one_that_is_tried_again(stage: Stage) -> None:
    """While the task runs: *Slow step* has begun and then passed; *Flaky* fails once and is run again by its retry setting."""
    scene = stage.scene
    flaky = own_step("Flaky", seconds=5, outcome="failure, success")
    flaky["Actions"][0]["Properties"]["Octopus.Action.AutoRetry.MaximumCount"] = "1"
    scene.make_project("Live", steps=[own_step("Slow step", seconds=30), flaky, own_step("Long", seconds=3600)],
                       releases=["1.0.0"])  # fmt: skip
    with running(stage, "Live") as task:
        run = stage.run(
            WAIT,
            {"project": "Live", "until": "reached_step", "step_name": "Slow step"}
            | lines(
                "Live; until = passed_step",
                "Live; until = passed_step; step = Flaky",
                "Live; until = started",
            ),
        )
        assert ("Success", "") == (run.state, run.error), run.log
        statuses = [one["step_status"] for one in awaited(run)]
        assert statuses[0] in ("Running", "Success")
        assert ["Success", "SuccessWithWarning", ""] == statuses[1:], run.log
        assert 1 == run.log.count("Following 1.0.0 of Live"), (
            "one task is followed once, for however many lines"
        )
        assert "Executing" == scene.task(task)["State"]
        assert "Attempt 1 failed" in scene.log(task)


def test_a_step_of_a_task_that_ends_without_it(stage: Stage) -> None:
    """The account may not read processes, so that nobody can tell that there is no such step until the task has ended."""
    scene = stage.scene
    scene.make_project("Hidden", steps=[own_step("Work", seconds=20)], releases=["1.0.0"])
    key = scene.emulator.add_key(
        permissions=["ProjectView", "EnvironmentView", "ReleaseView", "DeploymentView", "TaskView"]
    )
    task = stage.deploy("Hidden", "1.0.0")
    run = stage.run(WAIT, {"project": "Hidden", **STEP, "step_name": "Word", "api_key": key})
    assert (
        "child failed: 1.0.0 of Hidden in Test ended as Success without the step Word; its steps: Work"
    ) == run.error, run.log
    by_number = stage.run(WAIT, {"project": "Hidden", **STEP, "step_name": "1", "api_key": key})
    assert ("", "Success") == (by_number.error, by_number.outputs["StepStatus"])
    assert "Success" == scene.task(task)["State"]


# --- several, all or any -------------------------------------------------------------------------------------------


def test_any_goes_on_with_the_first(stage: Stage) -> None:
    with running(stage):
        run = stage.run(
            WAIT,
            {"project": "Slow", "how_many": "any", "queue_limit": "5h", "run_limit": "5h"}
            | lines("Never", "Broken", "Quick; release = 1.*"),
        )
        assert "" == run.error, run.log
        assert [("Slow", False), ("Never", False), ("Broken", False), ("Quick", True)] == [
            (one["project"], one["met"]) for one in awaited(run)
        ]
        assert "Warning: child failed: 1.0.0 of Broken in Test" in run.log
        assert "Any one of these will do." in run.log


def test_all_fails_as_soon_as_one_cannot_come(stage: Stage) -> None:
    with running(stage) as slow:
        scene = stage.scene
        scene.make_project(
            "Failing", steps=[own_step("Work", seconds=20, outcome="failure")], releases=["1.0.0"]
        )
        failing = stage.deploy("Failing", "1.0.0")
        run = stage.run(
            WAIT,
            {"project": "Slow", "queue_limit": "5h", "run_limit": "5h"} | lines("Quick", "Failing", "Never"),
        )
        assert (
            "child failed: 1.0.0 of Failing in Test: Failed: The step 'Work' failed; failed at Step 1: Work; "
            "no longer waited for: Slow in Test, Never in Test"
        ) == run.error, run.log
        assert "Failed" == scene.task(failing)["State"]
        assert "Executing" == scene.task(slow)["State"]


def test_a_limit_may_be_no_failure(stage: Stage) -> None:
    with running(stage):
        limits = {"run_limit": "20s", "queue_limit": "20s", "on_timeout": "warn"}
        run = stage.run(WAIT, {"project": "Slow", **limits} | lines("Quick", "Never"))
        assert ("Success", "True") == (run.state, run.outputs["TimedOut"])
        assert [(False, True), (True, False), (False, True)] == [
            (one["met"], one["timed_out"]) for one in awaited(run)
        ]
        assert "no deployment of Never in Test that counts has appeared within 20 s" in run.log
        late = stage.run(
            WAIT, {"project": "Slow", **limits, "on_timeout": "fail", "how_many": "any"} | lines("Never")
        )
        assert late.error.startswith("timed out: none of 2 has come as far: "), late.error


@pytest.mark.parametrize("how_many", ["all", "any"])
def test_one_of_several_that_waits_for_the_waiter(how_many: str) -> None:
    """With *all* that is a deadlock, and one of the two gives way. With *any* it is none: the other one may come."""
    with open_scene(speed=30, task_cap=10) as scene:
        scene.make_project("Slow", steps=[own_step("Long", seconds=36000)], releases=["1.0.0"])
        patient = {"queue_limit": "5h", "run_limit": "5h"}
        mutual = scene.step(WAIT, "Ours", {"project": "Asker", "counts": "active", **patient})
        scene.make_project("Mutual", steps=[mutual], releases=["1.0.0"])
        values = {"project": "Slow", "until": "ended", "how_many": how_many, "counts": "active", **patient}
        asker = scene.step(WAIT, "Ours", {**values, **lines("Mutual")})
        scene.make_project("Asker", steps=[asker], releases=["1.0.0"])
        tasks = {name: str(scene.deploy(name, "1.0.0")["TaskId"]) for name in ("Slow", "Asker", "Mutual")}
        until_told(scene, tasks["Asker"], "Following 1.0.0 of Mutual")
        until_told(scene, tasks["Mutual"], "Following 1.0.0 of Asker")
        if how_many == "any":
            both = scene.emulator.state.clock.now()
            scene.wait_until(lambda: scene.emulator.state.clock.now() > both + 120, "they had time to look")
        else:
            waiting = [tasks["Asker"], tasks["Mutual"]]
            scene.wait_until(
                lambda: any(scene.task(task)["IsCompleted"] for task in waiting), "one gives way"
            )
        scene.client.post(f"tasks/{tasks['Slow']}/cancel")
        errors = {name: scene.wait(tasks[name])["ErrorMessage"] or "" for name in ("Asker", "Mutual")}
    if how_many == "any":
        assert {"Asker": "", "Mutual": ""} == errors
        return
    [gives_way] = [name for name, error in errors.items() if error.startswith("deadlock: ")]
    assert "can never come as far: " in errors[gives_way], errors


# --- what is not there yet -----------------------------------------------------------------------------------------


def test_not_yet_started_but_will_be(stage: Stage) -> None:
    """What ended before does not count; what is deployed now is found and followed while others are followed already."""
    scene = stage.scene
    scene.make_project("Later", steps=[own_step("Work", seconds=10)], releases=["1.0.0", "1.1.0"])
    scene.make_project("Longer", steps=[own_step("Work", seconds=90)], releases=["1.0.0"])
    scene.run("Later", "1.0.0")
    longer = stage.deploy("Longer", "1.0.0")
    stage.until_executing(longer)
    waiter = begin(
        stage,
        {"project": "Later", "counts": "active", "queue_limit": "10m"} | lines("Longer; counts = last"),
        "There is no deployment of Later in Test that counts: waiting for one to appear.",
    )
    began = scene.emulator.state.clock.now()
    scene.wait_until(lambda: scene.emulator.state.clock.now() > began + 20, "some time has gone")
    assert not scene.task(waiter)["IsCompleted"]
    stage.deploy("Later", "1.1.0")
    run = stage.end(waiter)
    assert ("", "1.1.0, 1.0.0") == (run.error, run.outputs["Version"]), run.log


def test_what_is_not_there_is_no_hindrance(stage: Stage) -> None:
    """*If B is running, wait for it*: it is not, and its last deployment failed."""
    run = stage.run(
        WAIT, {"project": "Broken", "counts": "active", "when_none": "pass", **STEP, "step_name": "3"}
    )
    assert ("", "None") == (run.error, run.outputs["State"])
    since = stage.run(WAIT, {"project": "Quick", "counts": "since_queued", "when_none": "fail"})
    assert "refused: Quick in Test has no deployment that counts" == since.error


def test_counts_what_ended_since_the_own_deployment_was_queued(stage: Stage) -> None:
    """The parent stands in line behind another deployment of itself, while Quick is deployed and ends."""
    scene = stage.scene
    step = scene.step(WAIT, "Ours", {"project": "Quick", "counts": "since_queued", "when_none": "fail"})
    scene.make_project("Queuer", steps=[own_step("First", seconds=40), step], releases=["1.0.0"])
    parent = scene.deploy("Queuer", "1.0.0")["TaskId"]
    stage.until_executing(parent)
    scene.run("Quick", "2.0.0")
    run = stage.end(parent)
    assert ("", "2.0.0") == (run.error, run.outputs["Version"]), run.log


def test_a_scheduled_deployment_is_followed_once_it_is_due(stage: Stage) -> None:
    from datetime import datetime, timezone

    scene = stage.scene
    scene.make_project("Nightly", steps=[own_step("Work")], releases=["1.0.0"])
    at = datetime.fromtimestamp(scene.emulator.state.clock.now() + 150, timezone.utc)
    scene.deploy("Nightly", "1.0.0", QueueTime=at.isoformat())
    run = stage.run(WAIT, {"project": "Nightly", "counts": "active", "queue_limit": "10m"})
    assert ("", "Success") == (run.error, run.outputs["State"]), run.log
    assert f"1.0.0 of Nightly in Test is scheduled for {at:%Y-%m-%d %H:%M} UTC." in run.log


# --- people, superseding, idleness ---------------------------------------------------------------------------------


def asking(name: str) -> Document:
    ask = {
        "Name": name,
        "ActionType": "Octopus.Manual",
        "Properties": {"Octopus.Action.Manual.Instructions": "May we?", "Octopus.Action.RunOnServer": "true"},
    }
    return {"Name": name, "Properties": {}, "Actions": [ask]}


def test_paused_for_a_person(stage: Stage) -> None:
    """Longer than both limits together; neither clock runs, and the log says what is asked."""
    scene = stage.scene
    scene.make_project("Asking", steps=[asking("Approve"), own_step("Work")], releases=["1.0.0"])
    stage.deploy("Asking", "1.0.0")
    waiter = begin(
        stage,
        {"project": "Asking", **STEP, "step_name": "Work", "queue_limit": "10s", "run_limit": "10s"},
        "waits for a person",
    )
    at = scene.emulator.state.clock.now()
    scene.wait_until(lambda: scene.emulator.state.clock.now() > at + 60, "a minute has gone")
    assert not scene.task(waiter)["IsCompleted"], scene.log(waiter)
    [pending] = list(scene.client.pages("interruptions", pendingOnly="true"))
    scene.client.put(f"interruptions/{pending['Id']}/responsible", {})
    scene.client.post(f"interruptions/{pending['Id']}/submit", {"Notes": "", "Result": "Proceed"})
    run = stage.end(waiter)
    assert ("", "Success") == (run.error, run.outputs["StepStatus"]), run.log
    assert "ManualIntervention: " in run.log and "May we?" in run.log


@pytest.mark.parametrize(
    ("release", "error", "version"),
    [
        pytest.param("", "", "1.1.0", id="whatever is active: the newer one is followed"),
        pytest.param(
            "1.0.0", "cancelled: 1.0.0 of NAME in Test was superseded by 1.1.0:", "1.0.0", id="that release"
        ),
    ],
)
def test_superseded(stage: Stage, release: str, error: str, version: str) -> None:
    """The awaited one stands in the queue; somebody queues a newer one, and the server cancels the older."""
    scene = stage.scene
    name = "Crowded" + release.replace(".", "")
    scene.make_project(name, steps=[own_step("Work", seconds=3600)], releases=["0.9.0"])
    scene.put_steps(name, [own_step("Work", seconds=5)])
    for version_made in ("1.0.0", "1.1.0"):
        scene.make_release(name, version_made)
    with running(stage, name, "0.9.0"):
        scene.deploy(name, "1.0.0")
        waiter = begin(stage, {"project": name, "release": release or "[1.0,)"}, "Following 1.0.0")
        scene.deploy(name, "1.1.0")
    run = stage.end(waiter)
    assert run.error.startswith(error.replace("NAME", name)) and bool(error) is bool(run.error), run.log
    assert version == run.outputs["Version"]


def test_idle_waits_for_what_becomes_active_meanwhile(stage: Stage) -> None:
    scene = stage.scene
    scene.make_project("Busy", steps=[own_step("Work", seconds=3600)], releases=["1.0.0"])
    scene.put_steps("Busy", [own_step("Work", seconds=20)])
    scene.make_release("Busy", "1.1.0")
    with running(stage, "Busy"):
        waiter = begin(
            stage, {"project": "Never", "until": "idle"} | lines("Busy"), "Following 1.0.0 of Busy"
        )
        second = stage.deploy("Busy", "1.1.0")
    run = stage.end(waiter)
    assert ("", "Idle, Idle") == (run.error, run.outputs["State"])
    assert "Success" == scene.task(second)["State"]
    assert "Following 1.1.0 of Busy in Test" in run.log


def test_idle_but_for_the_own_deployment(stage: Stage) -> None:
    run = stage.run(WAIT, {"project": "#{Octopus.Project.Name}", "until": "idle", "run_limit": "10s"})
    assert ("", "Idle") == (run.error, run.outputs["State"])


# --- bad input -----------------------------------------------------------------------------------------------------


def test_every_fault_of_the_lines_in_one_run(stage: Stage) -> None:
    run = stage.run(
        WAIT,
        {"project": "Quick"}
        | lines("Quick; untill = ended", "Quick; until = done", "Never; release = latest", "Slow; counts"),
    )
    assert (
        "misconfigured: More projects: line 1 (Quick): there is no option 'untill' (did you mean until?); "
        "line 2 (Quick): until: 'done' is none of: ended, succeeded, started, reached_step, passed_step, idle; "
        "line 3 (Never): release: 'latest' says nothing here: write a release number, a range, or same; "
        "line 4 (Slow): 'counts' is not of the form: name = value"
    ) == run.error
    steps = stage.run(WAIT, {"project": "Quick"} | lines("Quick; until = passed_step", "Slow; step = Long"))
    assert (
        "misconfigured: More projects: line 1 (Quick): step: a value is required to wait for a step; "
        "More projects: line 2 (Slow): step: only a wait for a step can have one"
    ) == steps.error
    names = stage.run(WAIT, {"project": "Quik"} | lines("Slw; environment = Tst"))
    assert (
        "misconfigured: there is no project 'Quik' that this account can see (did you mean Quick?); "
        "there is no project 'Slw' that this account can see (did you mean Slow?); "
        "there is no environment 'Tst' that this account can see (did you mean Test?)"
    ) == names.error


# --- the budget ----------------------------------------------------------------------------------------------------


def test_however_many_are_awaited_six_requests_a_minute_are_enough() -> None:
    """Half an hour of the emulator's time: five are followed, one is looked for."""
    with open_scene(speed=600, task_cap=20) as scene:
        stage = Stage(scene)
        for number in range(6):
            scene.make_project(
                f"P{number}", steps=[own_step("Begin"), own_step("Long", seconds=7200)], releases=["1.0.0"]
            )
        for number in range(5):
            stage.until_executing(stage.deploy(f"P{number}", "1.0.0"))
        values = {"project": "P0", "on_timeout": "warn", "run_limit": "30m", "queue_limit": "30m"}
        waiter = begin(
            stage, values | lines(*(f"P{number}" for number in range(1, 6))), "waiting for one to appear"
        )
        with scene.by_hand():
            began = scene.emulator.state.clock.now()
            scene.wait_until(
                lambda: scene.emulator.state.clock.now() > began + 1700, "half an hour has gone", waiter
            )
            end = scene.emulator.state.clock.now()
            seen = [one for one in list(scene.emulator.app.seen) if began + 120 <= one.at <= end]
            ours = [one for one in seen if f"/tasks/{waiter}" not in one.path]
        lists = [one for one in ours if one.path.endswith(("/tasks", "/deployments"))]
        assert len(lists) > 60, "it polled"
        assert len(ours) <= 6 * (end - began - 120) / 60 + 20, len(ours)
        with scene.by_hand() as client:
            client.post(f"tasks/{waiter}/cancel")
