"""What *Octopus - Deploy Release* does about children that fail: answers to guided failures, further attempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scene import Document, open_scene, own_step
from tests.stage import Run, Stage

DEPLOY = "Octopus - Deploy Release"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_scene(speed=30, task_cap=20) as scene:
        yield Stage(scene)


def make(stage: Stage, name: str, outcome: str, *, required: bool = False) -> None:
    """A project whose step ends as the words of `outcome` say, one for each time that it runs."""
    step = own_step("Work", outcome=outcome)
    step["Actions"][0]["IsRequired"] = required
    stage.scene.make_project(name, steps=[step], releases=["1.0.0"])


def deploy(stage: Stage, project: str, **more: str) -> Run:
    return stage.run(DEPLOY, {"project": project, "more": more})


def answers(stage: Stage, task_id: str) -> list[str]:
    found = stage.scene.client.pages("interruptions", regarding=task_id)
    return [one["Form"]["Values"].get("Guidance") or "" for one in found][::-1]


@pytest.mark.parametrize(
    ("outcome", "rule", "required", "given", "state"),
    [
        pytest.param(
            "failure,failure,success",
            "retry 2 then abort",
            False,
            ["Retry", "Retry"],
            "Success",
            id="retried",
        ),
        pytest.param(
            "failure", "retry 1 then abort", False, ["Retry", "Fail"], "Failed", id="retried in vain"
        ),
        pytest.param("failure", "Retry 1 then Ignore", False, ["Retry", "Ignore"], "Success", id="ignored"),
        pytest.param("failure", "ignore", True, ["Fail"], "Failed", id="what is required is not ignored"),
    ],
)
def test_guided_failures_are_answered(
    stage: Stage, outcome: str, rule: str, required: bool, given: list[str], state: str
) -> None:
    name = f"Guided {rule} {outcome} {required}"
    make(stage, name, outcome, required=required)
    run = deploy(stage, name, guided_failure=rule)
    [child] = stage.scene.deployments(name)
    assert (given, state) == (answers(stage, child["TaskId"]), run.outputs["State"]), run.log
    assert child["UseGuidedFailure"]
    for number, value in enumerate(given, start=1):
        count = f", retry {number} of {rule.split()[1]}" if value == "Retry" else ""
        assert f"Guided failure: Work: answered with {value}{count}." in run.log


def test_people_answer_what_is_no_guided_failure(stage: Stage) -> None:
    """A manual intervention in the same child is told, and waits for a person."""
    scene = stage.scene
    ask: Document = {
        "Name": "Approve",
        "Actions": [
            {
                "Name": "Approve",
                "ActionType": "Octopus.Manual",
                "Properties": {"Octopus.Action.Manual.Instructions": "May we?"},
            }
        ],
    }
    scene.make_project("Asks", steps=[own_step("Work", outcome="failure,success"), ask], releases=["1.0.0"])
    values = {"project": "Asks", "more": {"guided_failure": "retry 3 then abort"}}
    parent = stage.begin(DEPLOY, values)
    scene.wait_until(lambda: "May we?" in scene.log(parent), "a person is asked", parent)
    [pending] = scene.client.pages("interruptions", pendingOnly="true")
    assert ("ManualIntervention", None) == (pending["Type"], pending["ResponsibleUserId"])
    scene.client.put(f"interruptions/{pending['Id']}/responsible", {})
    scene.client.post(f"interruptions/{pending['Id']}/submit", {"Notes": "", "Result": "Proceed"})
    run = stage.end(parent)
    assert ("Success", 1) == (run.outputs["State"], run.log.count("answered with")), run.log


@pytest.mark.parametrize(
    ("attempts", "states"),
    [
        pytest.param(3, ["Failed", "Failed", "Success"], id="until it succeeds"),
        pytest.param(2, ["Failed", "Failed"], id="no more often than asked"),
    ],
)
def test_a_child_that_fails_is_deployed_again(stage: Stage, attempts: int, states: list[str]) -> None:
    name = f"Fails, {attempts} attempts"
    outcomes = "failure,failure,success"
    make(stage, name, outcomes)
    run = deploy(stage, name, attempts=str(attempts))
    assert states == stage.scene.states(name), run.log
    assert states[-1] == run.outputs["State"]
    numbers = [
        made["Comments"].partition("[octosteps ")[2].split()[1] for made in stage.scene.deployments(name)
    ]
    assert [str(number) for number in range(len(states), 0, -1)] == numbers
    assert f"Attempt 2 of {attempts}." in run.log
    assert 1 == len(run.children)


def test_a_lost_answer_to_a_further_attempt_makes_one(stage: Stage) -> None:
    make(stage, "Lost", "failure,success")
    fault = stage.scene.emulator.faults.add(method="POST", path=r"/deployments$", kind="lost_answer", after=2)
    run = deploy(stage, "Lost", attempts="2")
    assert (["Failed", "Success"], 1) == (stage.scene.states("Lost"), fault.hits), run.log


@pytest.mark.parametrize(
    ("more", "error"),
    [
        pytest.param(
            {"compare": "channel"}, "compare = channel says nothing where it is always deployed", id="idle"
        ),
        pytest.param(
            {"attempts": "2", "wait": False}, "take a step that waits", id="attempts without waiting"
        ),
        pytest.param(
            {"guided_failure": "ignore", "wait": False},
            "take a step that waits",
            id="answers without waiting",
        ),
        pytest.param(
            {"guided_failure": "retry often"},
            "guided_failure: 'retry often' is none of: on, off, default, abort, ignore, retry 2 then abort",
            id="no rule",
        ),
        pytest.param({"attempts": "0"}, "attempts: '0' is not a whole number from 1", id="no attempt"),
        pytest.param({"compare": "tenant"}, "compare: 'tenant' is none of: all, channel", id="no comparison"),
    ],
)
def test_what_is_no_rule(stage: Stage, more: dict[str, Any], error: str) -> None:
    if "Any" not in stage.scene.projects:
        make(stage, "Any", "success")
    waits = more.pop("wait", True)
    run = stage.run(DEPLOY, {"project": "Any", "more": more, "wait": waits})
    assert error in run.error, run.log
    assert [] == stage.scene.deployments("Any")
