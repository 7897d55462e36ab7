"""What *Octopus - Deploy Release* tells while its child runs, and what it leaves for later steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Run, Stage

DEPLOY = "Octopus - Deploy Release"


def python_step(name: str, script: str) -> Document:
    return {
        "Name": name,
        "Properties": {},
        "Actions": [
            {
                "Name": name,
                "ActionType": "Octopus.Script",
                "Properties": {
                    "Octopus.Action.RunOnServer": "true",
                    "Octopus.Action.Script.ScriptSource": "Inline",
                    "Octopus.Action.Script.Syntax": "Python",
                    "Octopus.Action.Script.ScriptBody": script,
                },
            }
        ],
    }


def manual(name: str, instructions: str) -> Document:
    properties = {"Octopus.Action.Manual.Instructions": instructions, "Octopus.Action.RunOnServer": "true"}
    return {
        "Name": name,
        "Properties": {},
        "Actions": [{"Name": name, "ActionType": "Octopus.Manual", "Properties": properties}],
    }


SPEAK = (
    "set_octopusvariable('Url', 'https://shop.example')\n"
    "set_octopusvariable('Token', 'very-secret', True)\n"
    "set_octopusvariable('Noise', 'x')\n"
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_scene(speed=20, task_cap=20) as scene:
        scene.make_project("Speaking", steps=[python_step("Migrate", SPEAK)], releases=["1.0.0"])
        scene.make_project(
            "Speaking and failing",
            steps=[python_step("Migrate", SPEAK), own_step("Break", outcome="failure")],
            releases=["1.0.0"],
        )
        scene.make_project(
            "Warning",
            steps=[
                python_step(
                    "Look", "import sys\nprintwarning('disk is nearly full')\nprint('odd', file=sys.stderr)\n"
                )
            ],
            releases=["1.0.0"],
        )
        yield Stage(scene)


@pytest.mark.parametrize("project", ["Speaking", "Speaking and failing"])
def test_the_childs_outputs(stage: Stage, project: str) -> None:
    """Those of the allow-list, also when the child failed; secrets are named and not handed on."""
    run = stage.run(DEPLOY, {"project": project, "more": {"outputs": "migrate.url, *.Token"}})
    assert ("Success" if project == "Speaking" else "Failed") == run.state, run.log
    handed = {name: value for name, value in run.outputs.items() if name.startswith("Deployment[")}
    assert {"Deployment[Migrate].Url": "https://shop.example"} == handed
    assert "sensitive output variables cannot be handed on: Migrate.Token" in run.log
    assert "very-secret" not in run.log


def test_outputs_that_match_nothing_are_told(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Speaking", "more": {"outputs": "Migrate.Uri"}})
    assert "Warning: No output variable of the other project matches: Migrate.Uri" in run.log


@pytest.mark.parametrize(
    ("more", "state"),
    [
        pytest.param({}, "Success", id="as it stands"),
        pytest.param({"warnings": "fail"}, "Failed", id="warnings count as failure"),
    ],
)
def test_success_with_warnings(stage: Stage, more: Mapping[str, str], state: str) -> None:
    """The child's warnings and errors are told with their level; success with warnings is not the same as success."""
    run = stage.run(DEPLOY, {"project": "Warning", "more": dict(more)})
    assert (state, "Success") == (run.state, run.outputs["State"]), run.log
    assert "Warning: 1.0.0 of Warning in Test: Step 1: Look: disk is nearly full" in run.log
    assert "Error: 1.0.0 of Warning in Test: Step 1: Look: odd" in run.log
    assert "with warnings" in run.log
    if state == "Failed":
        assert (
            run.error.startswith("child failed: 1.0.0 of Warning in Test: Success")
            and "takes for a failure" in run.error
        )


def test_notes_of_every_release_between(stage: Stage) -> None:
    scene: Scene = stage.scene
    scene.make_project("Noted", steps=[own_step("Work")])
    for version, notes in (("1.0.0", "One"), ("1.1.0", "Two"), ("1.2.0", None), ("1.3.0", "Four")):
        scene.make_release("Noted", version, ReleaseNotes=notes)
    first = stage.run(DEPLOY, {"project": "Noted", "release": "1.0.0", "more": {"notes": "on"}})
    assert "## 1.0.0\n\nOne" == first.outputs["ReleaseNotes"], first.log
    run = stage.run(DEPLOY, {"project": "Noted", "release": "1.2.0", "more": {"notes": "on"}})
    assert "## 1.2.0\n\nNo notes.\n\n## 1.1.0\n\nTwo" == run.outputs["ReleaseNotes"]
    assert "Ours.release-notes.md" in run.artifacts
    assert "" == stage.run(DEPLOY, {"project": "Noted"}).outputs["ReleaseNotes"]


def answer(scene: Scene, interruption: Document, result: str) -> None:
    scene.client.post(f"interruptions/{interruption['Id']}/submit", {"Notes": "", "Result": result})


def test_two_interventions_in_one_child(stage: Stage) -> None:
    """Each is told with its text, and who has taken it."""
    scene: Scene = stage.scene
    scene.make_project(
        "Approving",
        steps=[manual("Approve", "May we begin?"), own_step("Work"), manual("Accept", "Is it good?")],
        releases=["1.0.0"],
    )
    parent = stage.begin(DEPLOY, {"project": "Approving"})
    for text in ("May we begin?", "Is it good?"):
        [pending] = scene.wait_until(
            lambda: list(scene.client.pages("interruptions", pendingOnly="true")), "it asks", parent
        )
        scene.wait_until(lambda text=text: text in scene.log(parent), "the question is told", parent)
        scene.client.put(f"interruptions/{pending['Id']}/responsible", {})
        if text == "May we begin?":
            scene.wait_until(lambda: "Approve: taken by " in scene.log(parent), "the taker is told", parent)
        answer(scene, pending, "Proceed")
        scene.wait_until(
            lambda pending=pending: not scene.client.get(f"interruptions/{pending['Id']}")["IsPending"],
            "it was answered",
        )
    run = stage.end(parent)
    assert ("Success", "Success") == (run.state, run.outputs["State"]), run.log


def test_a_second_question_while_the_first_is_open(stage: Stage) -> None:
    """The task is paused all the time, so that its state does not tell that somebody else is asked now."""
    scene: Scene = stage.scene
    machine = {"Name": "web01", "EnvironmentIds": [scene.environments["Test"]], "Roles": ["web"]}
    scene.client.post("machines", {**machine, "Endpoint": {"CommunicationStyle": "None"}})
    later = own_step("Work", seconds=60)
    later["StartTrigger"] = "StartWithPrevious"
    later["Properties"] = {"Octopus.Action.TargetRoles": "web"}
    later["Actions"] += manual("Accept", "Is it good?")["Actions"]
    scene.make_project("Crowd", steps=[manual("Approve", "May we begin?"), later], releases=["1.0.0"])
    parent = stage.begin(DEPLOY, {"project": "Crowd"})
    scene.wait_until(lambda: "Is it good?" in scene.log(parent), "both questions are told", parent)
    log = scene.log(parent)
    assert log.index("May we begin?") < log.index("Is it good?")
    for pending in list(scene.client.pages("interruptions", pendingOnly="true")):
        scene.client.put(f"interruptions/{pending['Id']}/responsible", {})
        answer(scene, pending, "Proceed")
    run = stage.end(parent)
    assert ("Success", 1) == (run.outputs["State"], run.log.count("Is it good?")), run.log


def test_progress_of_several_children(stage: Stage) -> None:
    """How many have ended, as the portal shows it beside the step."""
    scene: Scene = stage.scene
    both = list(scene.environments.values())
    wide = scene.client.post(
        "lifecycles", {"Name": "Both", "Phases": [{"Name": "All", "OptionalDeploymentTargets": both}]}
    )
    quick, slow = own_step("Quick"), own_step("Slow", seconds=600)
    slow["Actions"][0]["Environments"] = both[1:]
    scene.make_project("Uneven", steps=[quick, slow], releases=["1.0.0"], LifecycleId=wide["Id"])
    values = {"project": "Uneven", "environment": "\n".join(scene.environments)}
    parent = stage.begin(DEPLOY, values)

    def told() -> bool:
        details = scene.client.get(f"tasks/{parent}/details")
        text = json.dumps(details["ActivityLogs"])
        return f"1 of {len(both)} ended" in text

    scene.wait_until(told, "one has ended", parent)
    for made in scene.deployments("Uneven"):
        if scene.task(made["TaskId"])["State"] == "Executing":
            scene.client.post(f"tasks/{made['TaskId']}/cancel")
    assert "Failed" == stage.end(parent).state


def test_why_it_is_queued(stage: Stage) -> None:
    scene: Scene = stage.scene
    scene.make_project("Slow", steps=[own_step("Work", seconds=600)], releases=["1.0.0"])
    running = scene.deploy("Slow", "1.0.0")
    stage.until_executing(running["TaskId"])
    run: Run = stage.run(DEPLOY, {"project": "Slow", "queue_limit": "20s"})
    assert (
        "behind Deploy Slow release 1.0.0 to Test (one at a time in the same project, environment and tenant)"
        in run.log
    ), run.log
    scene.client.post(f"tasks/{running['TaskId']}/cancel")
    scene.wait(running["TaskId"])


@pytest.mark.parametrize("outcome", ["Success", "Failed", "Canceled", "TimedOut"])
def test_every_final_state(stage: Stage, outcome: str) -> None:
    scene: Scene = stage.scene
    name = f"Ends {outcome}"
    step: dict[str, Any] = own_step("Work", seconds=600, outcome="success")
    if outcome in ("Success", "Failed"):
        step = own_step("Work", outcome={"Success": "success", "Failed": "failure"}[outcome])
    scene.make_project(name, steps=[step], releases=["1.0.0"])
    if outcome == "TimedOut":  # what has not begun when its time to begin is over
        blocking = scene.deploy(name, "1.0.0")
        stage.until_executing(blocking["TaskId"])
        run = stage.run(DEPLOY, {"project": name, "more": {"expire": "30s"}})
        scene.client.post(f"tasks/{blocking['TaskId']}/cancel")
        scene.wait(blocking["TaskId"])
    else:
        parent = stage.begin(DEPLOY, {"project": name})
        if outcome == "Canceled":
            [child] = scene.wait_until(lambda: scene.deployments(name), "the child is there", parent)
            stage.until_executing(child["TaskId"])
            scene.client.post(f"tasks/{child['TaskId']}/cancel")
        run = stage.end(parent)
    assert outcome == run.outputs["State"], run.log
    assert ("Success" if outcome == "Success" else "Failed") == run.state
    kind = {"Success": "", "Failed": "child failed", "Canceled": "cancelled", "TimedOut": "child failed"}[
        outcome
    ]
    assert kind == run.error.partition(":")[0]
