"""Octopus - Run Runbook: which snapshot, where, with which answers; and as exactly once as a deployment."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import is_running, needs_proc, script_processes, watchdog_of
from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Stage

RUN = "Octopus - Run Runbook"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """*Tidy* succeeds at once, *Broken* fails, *Slow* takes an hour, *Draft* was never published; all are Shop's."""
    with open_scene(speed=20, task_cap=20) as scene:
        scene.make_project("Shop")
        for name, steps in {
            "Tidy": [own_step("Sweep"), own_step("Polish")],
            "Broken": [own_step("Break", outcome="failure")],
            "Slow": [own_step("Sleep", seconds=3600)],
        }.items():
            scene.make_runbook("Shop", name, steps)
        scene.make_runbook("Shop", "Draft", [own_step("Think")], publish=False)
        yield Stage(scene)


def values(runbook: str, **more: Any) -> dict[str, Any]:
    return {"project": "Shop", "runbook": runbook, **more}


def runs(scene: Scene, runbook: str) -> list[Document]:
    """What the server lists of this runbook, newest first."""
    return [run for run in scene.client.pages("runbookRuns") if run["RunbookName"] == runbook]


def test_a_run_is_awaited_and_reported(stage: Stage) -> None:
    run = stage.run(RUN, values("Tidy"))
    [made, *_] = runs(stage.scene, "Tidy")
    assert ("Success", "Success", "First", "True") == (
        run.state,
        run.outputs["State"],
        run.outputs["Snapshot"],
        run.outputs["Changed"],
    ), run.log
    assert (made["Id"], made["TaskId"]) == (run.outputs["RunbookRunId"], run.outputs["TaskId"])
    assert run.outputs["Link"].endswith(made["Id"]) and run.outputs["Link"] in run.log
    assert re.search(
        r"^Triggered by Parent .* \[octosteps [0-9a-f]{24} 1 awaited by http\S+\]$", made["Comments"]
    )
    [child] = run.children
    assert {
        "environment": "Test",
        "tenant": "",
        "snapshot": "First",
        "run": made["Id"],
    }.items() <= child.items()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        pytest.param(
            {"runbook": "Tdy"},
            "misconfigured: there is no runbook of Shop 'Tdy' that this account can see (did you mean Tidy?)",
            id="runbook",
        ),
        pytest.param(
            {"runbook": "Draft"},
            "misconfigured: Draft has no published snapshot: publish one, or name one",
            id="unpublished",
        ),
        pytest.param(
            {"snapshot": "Frist"},
            "misconfigured: there is no snapshot of Tidy 'Frist' that this account can see (did you mean First?)",
            id="snapshot",
        ),
        pytest.param(
            {"skip_steps": ["Polsh"]},
            "misconfigured: there is no step to skip 'Polsh' (did you mean Polish?)",
            id="step",
        ),
        pytest.param(
            {"runbook": "Broken"},
            "child failed: First of Broken of Shop in Test: Failed: The step 'Break' failed; failed at Step 1: Break",
            id="a run that fails",
        ),
        pytest.param(
            {"runbook": "Slow", "run_limit": "20s"},
            "timed out: First of Slow of Shop in Test has run for 20 s; it was cancelled",
            id="a run that takes too long",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(stage: Stage, changes: dict[str, Any], error: str) -> None:
    run = stage.run(RUN, {**values("Tidy"), **changes})
    assert "Failed" == run.state
    assert run.error.startswith(error), run.error


def test_a_snapshot_by_name(stage: Stage) -> None:
    """Also one that was never published."""
    found = stage.scene.client.pages(f"projects/{stage.scene.projects['Shop']['Id']}/runbooks")
    [draft] = [one for one in found if one["Name"] == "Draft"]
    assert not draft["PublishedRunbookSnapshotId"]
    run = stage.run(RUN, values("Draft", snapshot="first"))
    assert ("Success", "First") == (run.state, run.outputs["Snapshot"]), run.log


def test_steps_are_skipped_and_prompts_answered(stage: Stage) -> None:
    scene = stage.scene
    prompt = {
        "Name": "Colour",
        "Value": "",
        "Type": "String",
        "Scope": {},
        "Prompt": {"Label": "Which colour", "Required": True},
    }
    scene.make_project("Paint")
    scene.set_variables(scene.projects["Paint"]["VariableSetId"], [prompt])
    scene.make_runbook("Paint", "Wall", [own_step("Sand"), own_step("Paint")])
    missing = stage.run(RUN, {"project": "Paint", "runbook": "Wall"})
    assert (
        "misconfigured: Wall of Paint in Test: the prompted variable Which colour needs a value"
        == missing.error
    )
    assert [] == runs(scene, "Wall")
    run = stage.run(
        RUN, {"project": "Paint", "runbook": "Wall", "variables": {"Colour": "green"}, "skip_steps": ["Sand"]}
    )
    assert "Success" == run.state, run.log
    [made] = runs(scene, "Wall")
    assert ["green"] == list(made["FormValues"].values())
    assert 1 == len(made["SkipActions"])


def test_what_if_runs_nothing(stage: Stage) -> None:
    before = len(runs(stage.scene, "Tidy"))
    run = stage.run(RUN, values("Tidy", environment=["Test", "Production"], what_if=True))
    assert ("Success", "WhatIf") == (run.state, run.outputs["State"])
    assert (
        "First is to be run: Tidy of Shop in Test; First is to be run: Tidy of Shop in Production" in run.log
    )
    assert "steps: 1 Sweep, 2 Polish" in run.log
    assert before == len(runs(stage.scene, "Tidy"))


def test_several_environments_and_without_waiting(stage: Stage) -> None:
    run = stage.run(RUN, values("Tidy", environment=["Test", "Production"], wait=False))
    assert "Success" == run.state, run.log
    made = runs(stage.scene, "Tidy")[:2]
    assert {"Test", "Production"} == {child["environment"] for child in run.children}
    assert {one["Id"] for one in made} == set(run.outputs["RunbookRunId"].split(", "))
    assert all(" left by http" in one["Comments"] for one in made)


def test_a_cancelled_parent_takes_its_run_with_it_and_no_other(stage: Stage) -> None:
    """Two runbooks in one place: the second stands in the queue until the first has been cancelled, and is carried out."""
    slow = stage.begin(RUN, values("Slow"))
    stage.scene.wait_until(lambda: alive(stage.scene, "Slow"), "the slow run is there", slow)
    tidy = stage.begin(RUN, values("Tidy"))
    stage.scene.wait_until(lambda: alive(stage.scene, "Tidy"), "the other is there", tidy)
    stage.scene.client.post(f"tasks/{slow}/cancel")
    assert "Success" == stage.end(tidy).state
    assert "Canceled" == stage.scene.task(runs(stage.scene, "Slow")[0]["TaskId"])["State"]


def alive(scene: Scene, runbook: str) -> list[Document]:
    return [run for run in runs(scene, runbook) if not scene.task(run["TaskId"])["IsCompleted"]]


def test_a_lost_answer_leaves_one_run(stage: Stage) -> None:
    before = len(runs(stage.scene, "Tidy"))
    fault = stage.scene.emulator.faults.add(method="POST", path=r"/runbookRuns$", kind="lost_answer")
    run = stage.run(RUN, values("Tidy"))
    assert ("Success", 1) == (run.state, fault.hits), run.log
    assert before + 1 == len(runs(stage.scene, "Tidy"))


@needs_proc
def test_a_killed_and_retried_parent_leaves_one_run(stage: Stage) -> None:
    scene = stage.scene
    scene.make_runbook("Shop", "Brief", [own_step("Nap", seconds=100)])
    step = scene.step(
        RUN,
        "Ours",
        values("Brief"),
        **{"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"},
    )
    scene.make_project("Retried", steps=[step], releases=["1.0.0"])
    parent = scene.deploy("Retried", "1.0.0")["TaskId"]
    scene.wait_until(lambda: runs(scene, "Brief"), "the run is there", parent)
    [script] = script_processes()
    watchdog = watchdog_of(script)
    assert watchdog is not None
    os.kill(script, signal.SIGKILL)
    assert "Success" == scene.wait(parent)["State"], scene.log(parent)
    [made] = runs(scene, "Brief")
    assert "Success" == scene.task(made["TaskId"])["State"]
    scene.wait_until(lambda: not is_running(watchdog), "the first watchdog has ended")
