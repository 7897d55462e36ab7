"""What each built-in step template does, case by case: the rendered scripts, run by the emulator as Octopus' runner does it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.scene import open_scene, own_step
from tests.stage import Stage

DEPLOY, WAIT, VERIFY = (
    "Octopus - Deploy Release",
    "Octopus - Wait For Deployment",
    "Octopus - Verify Deployment",
)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """*Quick* succeeds at once, *Broken* fails in its second step, *Slow* takes an hour of the emulator's time."""
    with open_scene(speed=30, task_cap=20) as scene:
        scene.make_project(
            "Quick", steps=[own_step("Work")], releases=["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"]
        )
        scene.make_project(
            "Broken",
            steps=[own_step("Work"), own_step("Break", outcome="failure"), own_step("Clean")],
            releases=["1.0.0"],
        )
        scene.make_project(
            "Slow", steps=[own_step("First"), own_step("Long", seconds=3600)], releases=["1.0.0"]
        )
        scene.make_project("Never", releases=["1.0.0"])
        yield Stage(scene)


@pytest.mark.parametrize(
    ("release", "version"),
    [
        pytest.param("latest", "2.0.0-rc.1", id="latest is the one created last"),
        pytest.param("highest", "2.0.0-rc.1", id="highest by semantic versioning"),
        pytest.param("[1.0,1.99)", "1.10.0", id="highest of a range"),
        pytest.param("1.9.*", "1.9.0", id="wildcard"),
        pytest.param("1.9.0", "1.9.0", id="exact"),
        pytest.param("same", "1.0.0", id="same as the parent's"),
    ],
)
def test_which_release(stage: Stage, release: str, version: str) -> None:
    run = stage.run(DEPLOY, {"project": "Quick", "release": release})
    assert ("Success", version, "True", "Success") == (
        run.state,
        run.outputs["Version"],
        run.outputs["Changed"],
        run.outputs["State"],
    ), run.log


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param(
            {"project": "Qick"},
            "misconfigured: there is no project 'Qick' that this account can see (did you mean Quick?)",
            id="project",
        ),
        pytest.param(
            {"project": "Quick", "environment": "Tst"},
            "misconfigured: there is no environment 'Tst' that this account can see (did you mean Test?)",
            id="environment",
        ),
        pytest.param(
            {"project": "Quick", "tenant": "Acme"},
            "misconfigured: Quick is not deployed for tenants, but the step names some",
            id="tenant",
        ),
        pytest.param(
            {"project": "Quick", "release": "7.7.7"},
            "misconfigured: Quick has no release 7.7.7 that this account can see (that takes ReleaseView)",
            id="release",
        ),
        pytest.param(
            {"project": "Quick", "release": "[3.0,4.0)"},
            "misconfigured: Quick has no release that is [3.0,4.0): looked at 4 releases",
            id="range",
        ),
        pytest.param(
            {"project": "Quick", "channel": "Beta"},
            "misconfigured: there is no channel of Quick 'Beta' that this account can see (none has a similar name)",
            id="channel",
        ),
        pytest.param(
            {"project": "Quick", "space": "Elsewhere"},
            "misconfigured: there is no space 'Elsewhere' that this account can see (none has a similar name)",
            id="space",
        ),
        pytest.param(
            {"project": "Quick", "release": "[2,1]", "server": "octopus", "environment": "#" + "{Typo}"},
            "misconfigured: Release: no version lies in the range '[2,1]'; Environment: #"
            + "{Typo} was not resolved; "
            "Server: 'octopus' is not an address such as https://octopus.example.com",
            id="all bad values together",
        ),
        pytest.param(
            {"project": "Quick", "api_key": "API-WRONG"},
            "refused by the server: GET /api/Spaces-1/projects?skip=0&take=100&partialName=Quick: 401 You must be logged in "
            "to perform this action. Please provide a valid API key or log in again. (the API key or access token is wrong, "
            "or has expired)",
            id="key",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(stage: Stage, values: dict[str, str], error: str) -> None:
    before = len(stage.scene.deployments("Quick"))
    run = stage.run(DEPLOY, values)
    assert ("Failed", error) == (run.state, run.error), run.log
    assert before == len(stage.scene.deployments("Quick"))


def test_child_that_fails(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Broken"})
    assert run.error.startswith("child failed: 1.0.0 of Broken in Test: Failed: "), run.error
    assert "failed at Step 2: Break" in run.error
    assert ("Failed", "Failed", "True") == (run.state, run.outputs["State"], run.outputs["Changed"])


def test_what_if_changes_nothing(stage: Stage) -> None:
    before = len(stage.scene.deployments("Quick"))
    run = stage.run(DEPLOY, {"project": "Quick", "release": "1.9.0", "what_if": True})
    assert ("Success", "WhatIf", "1.9.0", "False", "") == (
        run.state,
        run.outputs["State"],
        run.outputs["Version"],
        run.outputs["Changed"],
        run.outputs["DeploymentId"],
    )
    assert "Highlight: What-if: 1.9.0 is to be deployed: Quick in Test. Nothing was changed." in run.log
    assert before == len(stage.scene.deployments("Quick"))


def test_skip_what_is_current(stage: Stage) -> None:
    assert stage.scene.run("Quick", "1.9.0")["State"] == "Success"
    values = {"project": "Quick", "release": "1.9.0", "when": "if_not_current"}
    run = stage.run(DEPLOY, values)
    assert ("Skipped", "1.9.0 is current in Quick in Test") == (run.outputs["State"], run.outputs["Skipped"])
    run = stage.run(DEPLOY, {**values, "release": "1.0.0", "when": "if_newer"})
    assert "1.0.0 is not newer than 1.9.0, current in Quick in Test" == run.outputs["Skipped"]
    run = stage.run(DEPLOY, {**values, "release": "1.10.0", "when": "if_newer"})
    assert ("Success", "1.10.0") == (run.outputs["State"], run.outputs["Version"])


def test_without_waiting(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Slow", "wait": False})
    assert "Success" == run.state, run.log
    task = run.outputs["TaskId"]
    assert not stage.scene.task(task)["IsCompleted"]
    assert "left by http" in stage.scene.deployments("Slow")[0]["Comments"]
    stage.scene.client.post(f"tasks/{task}/cancel")
    stage.scene.wait(task)


def test_run_limit_cancels(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Slow", "run_limit": "20s"})
    assert ("Failed", "timed out: 1.0.0 of Slow in Test has run for 20 s; it was cancelled") == (
        run.state,
        run.error,
    )
    assert ("Canceled", "Canceled") == (run.outputs["State"], stage.scene.states("Slow")[-1])


def test_run_limit_leaves(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Slow", "run_limit": "20s", "on_timeout": "leave"})
    assert "timed out: 1.0.0 of Slow in Test has run for 20 s; it goes on, as the step is told" == run.error
    assert "Executing" == stage.scene.task(run.outputs["TaskId"])["State"]
    queued = stage.run(DEPLOY, {"project": "Slow", "queue_limit": "20s"})
    assert (
        "timed out: 1.0.0 of Slow in Test has stood in the queue for 20 s, behind Deploy Slow release 1.0.0 to Test "
        "(one at a time in the same project, environment and tenant); it was cancelled" == queued.error
    )
    assert "Queued behind Deploy Slow release 1.0.0 to Test" in queued.log
    joined = stage.run(DEPLOY, {"project": "Slow", "run_limit": "20s", "when": "if_not_current"})
    assert (
        "timed out: 1.0.0 of Slow in Test has run for 20 s; it goes on, for somebody else started it"
        == joined.error
    )
    assert ("False", run.outputs["TaskId"]) == (joined.outputs["Changed"], joined.outputs["TaskId"])
    stage.scene.client.post(f"tasks/{run.outputs['TaskId']}/cancel")
    stage.scene.wait(run.outputs["TaskId"])


def test_child_that_somebody_cancels(stage: Stage) -> None:
    parent = stage.begin(DEPLOY, {"project": "Slow"})
    [child] = stage.scene.wait_until(
        lambda: [
            one
            for one in stage.scene.deployments("Slow")
            if not stage.scene.task(one["TaskId"])["IsCompleted"]
        ],
        "the child is there",
        parent,
    )
    stage.until_executing(child["TaskId"])
    stage.scene.client.post(f"tasks/{child['TaskId']}/cancel")
    run = stage.end(parent)
    assert run.error.startswith("cancelled: 1.0.0 of Slow in Test: Canceled"), run.error


def test_the_lifecycle_is_asked_before_queueing(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Never", "environment": "Production"})
    assert (
        "refused: Never in Production: the lifecycle does not let 1.0.0 go there now (it may go to Test)"
        == run.error
    )


def test_comments_tell_people_who_asked(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Quick"})
    comments = stage.scene.deployments("Quick")[0]["Comments"]
    assert re.fullmatch(
        r"Triggered by Parent \d+ 1\.0\.0 \(step Ours\) http\S+ "
        r"\[octosteps [0-9a-f]{24} 1 awaited by http\S+/Spaces-1/ServerTasks-\d+\]",
        comments,
    ), comments
    assert run.outputs["Link"] in run.log


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param({}, "", id="any version"),
        pytest.param({"version": "1.10"}, "", id="exact, as a version"),
        pytest.param({"version": "[1.0,2.0)", "max_age": "1h"}, "", id="range and age"),
        pytest.param(
            {"version": "[2.0,3.0)"},
            "refused: Quick in Production is at 1.10.0, wanted [2.0,3.0)",
            id="another version",
        ),
        pytest.param(
            {"version": "same"}, "refused: Quick in Production is at 1.10.0, wanted 1.0.0", id="same"
        ),
    ],
)
def test_verify(stage: Stage, values: dict[str, str], error: str) -> None:
    if not any(
        one["EnvironmentId"] == stage.scene.environments["Production"]
        for one in stage.scene.deployments("Quick")
    ):
        for environment in ("Test", "Production"):
            assert stage.scene.run("Quick", "1.10.0", environment)["State"] == "Success"
    run = stage.run(VERIFY, {"project": "Quick", "environment": "Production", **values})
    assert error == run.error, run.log
    assert (str(not error), "1.10.0") == (run.outputs["Verified"], run.outputs["Version"])


def test_verify_what_was_never_deployed(stage: Stage) -> None:
    run = stage.run(VERIFY, {"project": "Never", "version": "1.0.0"})
    assert ("refused: Never in Test has never been deployed", "") == (run.error, run.outputs["Version"])


def test_verify_what_failed_last(stage: Stage) -> None:
    stage.scene.run("Broken", "1.0.0")
    run = stage.run(VERIFY, {"project": "Broken"})
    assert "refused: Broken in Test ended as Failed at its last deployment (1.0.0," in run.error
    warned = stage.run(VERIFY, {"project": "Broken", "on_mismatch": "warn"})
    assert ("Success", "False", "") == (warned.state, warned.outputs["Verified"], warned.error)
    assert "Warning: Broken in Test ended as Failed" in warned.log


def test_verify_what_is_being_replaced(stage: Stage) -> None:
    task = stage.deploy("Slow", "1.0.0")
    stage.until_executing(task)
    run = stage.run(VERIFY, {"project": "Slow"})
    assert re.search(r"is being (replaced by|deployed:) 1.0.0 \(Executing", run.error), run.error
    stage.scene.client.post(f"tasks/{task}/cancel")
    stage.scene.wait(task)


def test_verify_age(stage: Stage) -> None:
    stage.scene.run("Quick", "1.10.0")
    before = stage.scene.emulator.state.clock.now()
    stage.scene.wait_until(
        lambda: stage.scene.emulator.state.clock.now() > before + 10, "ten seconds have gone"
    )
    run = stage.run(VERIFY, {"project": "Quick", "max_age": "5s"})
    assert re.fullmatch(r"refused: Quick in Test was deployed \d+ s ago, wanted at most 5 s", run.error), (
        run.error
    )


@pytest.mark.parametrize(
    ("project", "values", "error", "state"),
    [
        pytest.param("Broken", {"until": "ended"}, "", "Failed", id="has ended, however"),
        pytest.param(
            "Broken",
            {"until": "succeeded"},
            "child failed: 1.0.0 of Broken in Test: Failed",
            "Failed",
            id="failed",
        ),
        pytest.param(
            "Broken",
            {"until": "passed_step", "step_name": "work"},
            "",
            "Failed",
            id="passed before it failed",
        ),
        pytest.param(
            "Broken",
            {"until": "reached_step", "step_name": "Break"},
            "",
            "Failed",
            id="reached, and failed there",
        ),
        pytest.param(
            "Broken",
            {"until": "passed_step", "step_name": "Break"},
            "child failed: 1.0.0 of Broken in Test: the step Break is Failed, and the task is Failed",
            "Failed",
            id="the step failed",
        ),
        pytest.param(
            "Broken",
            {"until": "reached_step", "step_name": "Clean"},
            "child failed: 1.0.0 of Broken in Test: the step Clean is Skipped, and the task is Failed",
            "Failed",
            id="the step was skipped",
        ),
        pytest.param(
            "Broken",
            {"until": "passed_step", "step_name": "Clean", "if_skipped": "pass"},
            "",
            "Failed",
            id="the step was skipped, which will do",
        ),
        pytest.param(
            "Broken",
            {"until": "passed_step", "step_name": "Brake"},
            "misconfigured: 1.0.0 of Broken in Test has no step 'Brake'; its steps: 1 Work, 2 Break, 3 Clean",
            "Failed",
            id="there is no such step",
        ),
        pytest.param("Broken", {"until": "idle"}, "", "Idle", id="idle"),
        pytest.param("Never", {"until": "idle"}, "", "Idle", id="never deployed is idle"),
        pytest.param("Never", {"when_none": "pass"}, "", "None", id="never deployed, which will do"),
        pytest.param(
            "Never",
            {"when_none": "fail"},
            "refused: Never in Test has no deployment that counts",
            "None",
            id="never deployed",
        ),
        pytest.param(
            "Never",
            {"queue_limit": "10s"},
            "timed out: no deployment of Never in Test that counts has appeared within 10 s",
            "None",
            id="none appears",
        ),
        pytest.param(
            "Broken",
            {"release": "2.*", "when_none": "fail"},
            "refused: Broken in Test has no",
            "None",
            id="of no such release",
        ),
        pytest.param(
            "Quick",
            {"until": "passed_step"},
            "misconfigured: Step: a value is required to wait for a step",
            None,
            id="no step",
        ),
    ],
)
def test_wait_for_what_has_ended(
    stage: Stage, project: str, values: dict[str, str], error: str, state: str | None
) -> None:
    if not stage.scene.deployments("Broken"):
        stage.scene.run("Broken", "1.0.0")
    run = stage.run(WAIT, {"project": project, **values})
    assert run.error.startswith(error) and bool(run.error) is bool(error), run.error
    assert state == run.outputs.get("State"), run.log


def test_wait_for_a_step_of_a_running_deployment(stage: Stage) -> None:
    """The step has begun but will not end for an hour: reached, not passed; a limit may come first."""
    task = stage.deploy("Slow", "1.0.0")
    stage.until_executing(task)
    reached = stage.run(WAIT, {"project": "Slow", "until": "reached_step", "step_name": "Long"})
    assert ("Success", "Executing", "Running") == (
        reached.state,
        reached.outputs["State"],
        reached.outputs["StepStatus"],
    )
    late = stage.run(
        WAIT, {"project": "Slow", "until": "passed_step", "step_name": "Long", "run_limit": "15s"}
    )
    assert late.error.startswith("timed out: 1.0.0 of Slow in Test has not come as far: Executing"), (
        late.error
    )
    warned = stage.run(WAIT, {"project": "Slow", "until": "idle", "run_limit": "15s", "on_timeout": "warn"})
    assert ("Success", "True", "Active") == (
        warned.state,
        warned.outputs["TimedOut"],
        warned.outputs["State"],
    )
    assert "1.0.0 of Slow in Test keeps Slow in Test busy" in " ".join(
        re.sub(r"\(http\S+\) ", "", warned.log).split()
    )
    stage.scene.client.post(f"tasks/{task}/cancel")
    stage.scene.wait(task)


def test_wait_ends_with_what_it_waits_for(stage: Stage) -> None:
    task = stage.deploy("Slow", "1.0.0")
    stage.until_executing(task)
    waiters = [
        stage.begin(WAIT, {"project": "Slow", "until": until}) for until in ("ended", "succeeded", "idle")
    ]
    for waiter in waiters:
        stage.scene.wait_until(
            lambda waiter=waiter: "Following" in stage.scene.log(waiter), "it waits", waiter
        )
    stage.scene.client.post(f"tasks/{task}/cancel")
    ended, succeeded, idle = [stage.end(waiter) for waiter in waiters]
    assert ("", "Canceled") == (ended.error, ended.outputs["State"])
    assert succeeded.error.startswith("cancelled: 1.0.0 of Slow in Test: Canceled"), succeeded.error
    assert ("", "Idle") == (idle.error, idle.outputs["State"])


def test_wait_for_the_first_deployment_to_appear(stage: Stage) -> None:
    stage.scene.make_project("Late", steps=[own_step("Work", seconds=5)], releases=["1.0.0", "2.0.0"])
    waiter = stage.begin(WAIT, {"project": "Late", "release": "2.0.0"})
    stage.scene.wait_until(lambda: "waiting for one to appear" in stage.scene.log(waiter), "it waits", waiter)
    stage.scene.run("Late", "1.0.0")
    assert not stage.scene.task(waiter)["IsCompleted"]
    stage.deploy("Late", "2.0.0")
    run = stage.end(waiter)
    assert ("Success", "2.0.0", "Success") == (run.state, run.outputs["Version"], run.outputs["State"])


def test_wait_ignores_what_ended_long_ago(stage: Stage) -> None:
    before = stage.scene.emulator.state.clock.now()
    stage.scene.run("Quick", "1.0.0")
    stage.scene.wait_until(lambda: stage.scene.emulator.state.clock.now() > before + 15, "time has gone")
    run = stage.run(WAIT, {"project": "Quick", "max_age": "10s", "when_none": "fail"})
    assert "refused: Quick in Test has no deployment that counts" == run.error
    run = stage.run(WAIT, {"project": "Quick", "max_age": "10h", "when_none": "fail"})
    assert ("", "1.0.0") == (run.error, run.outputs["Version"])


def test_an_outage_in_the_middle_of_a_wait(stage: Stage) -> None:
    """Bad gateways, resets and truncated answers: the step goes on, and ends right."""
    stage.scene.make_project("Steady", steps=[own_step("Work", seconds=60)], releases=["1.0.0"])
    parent = stage.begin(DEPLOY, {"project": "Steady"})
    stage.scene.wait_until(lambda: stage.scene.deployments("Steady"), "the child is there", parent)
    child = stage.scene.deployments("Steady")[0]["TaskId"]
    stage.until_executing(child)
    for kind in ("status", "reset", "truncated", "html"):
        stage.scene.emulator.faults.add(method="GET", path=rf"/tasks/{child}/details", kind=kind)
    run = stage.end(parent)
    stage.scene.emulator.faults.clear()
    assert ("Success", "Success") == (run.state, run.outputs["State"]), run.log
    assert 4 == run.log.count("Trying again in")


def test_virtual_directory() -> None:
    with open_scene(speed=30, virtual_directory="/octopus") as scene:
        scene.make_project("Quick", steps=[own_step("Work")], releases=["1.0.0"])
        run = Stage(scene).run(DEPLOY, {"project": "Quick"})
        assert "Success" == run.state, run.log
        assert run.outputs["Link"].startswith(scene.emulator.url + "/app#/Spaces-1/deployments/")


def test_time_in_which_a_person_is_asked_does_not_count(stage: Stage) -> None:
    """The child waits for an approval for longer than both limits together, and is shown as waiting for a person."""
    scene = stage.scene
    ask = {
        "Name": "Approve",
        "ActionType": "Octopus.Manual",
        "Properties": {"Octopus.Action.Manual.Instructions": "May we?", "Octopus.Action.RunOnServer": "true"},
    }
    manual = {"Name": "Approve", "Properties": {}, "Actions": [ask]}
    scene.make_project("Asking", steps=[manual, own_step("Work")], releases=["1.0.0"])
    parent = stage.begin(DEPLOY, {"project": "Asking", "queue_limit": "10s", "run_limit": "10s"})
    [pending] = scene.wait_until(
        lambda: list(scene.client.pages("interruptions", pendingOnly="true")), "it asks", parent
    )
    asked_at = scene.emulator.state.clock.now()
    scene.wait_until(lambda: scene.emulator.state.clock.now() > asked_at + 60, "a minute has gone")
    assert not scene.task(parent)["IsCompleted"], scene.log(parent)
    scene.client.put(f"interruptions/{pending['Id']}/responsible", {})
    scene.client.post(f"interruptions/{pending['Id']}/submit", {"Notes": "", "Result": "Proceed"})
    run = stage.end(parent)
    assert ("Success", "Success") == (run.state, run.outputs["State"]), run.log
    assert "waits for a person" in run.log
    assert "Wait: 1.0.0 of Asking in Test: ManualIntervention: " in run.log
