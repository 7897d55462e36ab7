"""What *Octopus - Redeploy Previous Release* returns to, and that it does so once. The server's list is the witness."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import needs_proc, script_processes
from tests.scene import Document, open_scene, own_step
from tests.stage import Run, Stage

REDEPLOY = "Octopus - Redeploy Previous Release"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with open_scene(speed=30, task_cap=30) as scene:
        both = [scene.environments["Test"], scene.environments["Production"]]
        wide = {"Name": "Wide", "Phases": [{"Name": "Everywhere", "OptionalDeploymentTargets": both}]}
        scene.lifecycle_id = scene.client.post("lifecycles", wide)["Id"]
        yield Stage(scene)


def make(
    stage: Stage, name: str, *versions: str, broken: str = "", seconds: float = 1, **fields: Any
) -> None:
    """A project with these releases; the deployments of `broken` fail."""
    stage.scene.make_project(name, steps=[own_step("Work", seconds=seconds)], releases=versions, **fields)
    if broken:
        stage.scene.put_steps(name, [own_step("Work", outcome="failure")])
        stage.scene.make_release(name, broken)


def past(stage: Stage, name: str, *versions: str, environment: str = "Test", **fields: Any) -> list[Document]:
    """These deployments, one after the other."""
    return [
        stage.scene.wait(stage.scene.deploy(name, version, environment, **fields)["TaskId"])
        for version in versions
    ]


def redeploy(stage: Stage, project: str, **values: Any) -> Run:
    return stage.run(REDEPLOY, {"project": project, **values})


def releases(stage: Stage, project: str, *, last: int) -> list[tuple[str, str]]:
    """Of the last deployments that the server lists the release and the state, oldest first."""
    scene = stage.scene
    return [
        (
            scene.client.get(f"releases/{made['ReleaseId']}")["Version"],
            scene.task(made["TaskId"])["State"],
        )
        for made in reversed(scene.deployments(project)[:last])
    ]


def test_what_had_succeeded_before(stage: Stage) -> None:
    """A release that was deployed twice counts once; a second run returns to where the first one began."""
    make(stage, "Web", "1.0.0", "2.0.0")
    past(stage, "Web", "1.0.0", "2.0.0", "2.0.0")
    run = redeploy(stage, "Web")
    assert ("Success", "2.0.0", "1.0.0", "True") == tuple(
        run.outputs[name] for name in ("State", "From", "To", "Changed")
    ), run.log
    assert "Web in Test: from 2.0.0 back to 1.0.0" in run.log
    [child] = run.children
    assert ("2.0.0", "1.0.0", "Success") == (child["from"], child["version"], child["state"])
    back = redeploy(stage, "Web")
    assert ("1.0.0", "2.0.0") == (back.outputs["From"], back.outputs["To"])
    assert [("1.0.0", "Success"), ("2.0.0", "Success")] == releases(stage, "Web", last=2)


def test_further_back_and_after_a_failure(stage: Stage) -> None:
    """What failed is current too, for it may have changed everything; a walk further back counts other releases only."""
    make(stage, "Api", "1.0.0", "2.0.0", broken="3.0.0")
    past(stage, "Api", "1.0.0", "2.0.0", "3.0.0")
    planned = redeploy(stage, "Api", back=2, what_if=True)
    assert ("3.0.0", "1.0.0", "WhatIf") == tuple(planned.outputs[name] for name in ("From", "To", "State"))
    assert 3 == len(stage.scene.deployments("Api"))
    run = redeploy(stage, "Api")
    assert ("3.0.0", "2.0.0") == (run.outputs["From"], run.outputs["To"])
    far = redeploy(stage, "Api", back=3)
    assert (
        "refused: Api in Test: only one other release had succeeded there before 2.0.0, and 3 back is asked for"
        == far.error
    )
    assert 4 == len(stage.scene.deployments("Api"))


@pytest.mark.parametrize(
    ("project", "values", "error"),
    [
        pytest.param("Never", {}, "refused: Never in Test: nothing has ever been deployed there", id="never"),
        pytest.param(
            "Once",
            {},
            "refused: Once in Test: no other release had succeeded there before 1.0.0",
            id="only one",
        ),
        pytest.param(
            "Once",
            {"back": 0},
            "misconfigured: How many releases back: 0 is not a number from 1 to 100",
            id="no way back",
        ),
    ],
)
def test_refused_when_there_is_none(stage: Stage, project: str, values: dict[str, Any], error: str) -> None:
    if project not in stage.scene.projects:
        make(stage, project, "1.0.0")
        past(stage, project, *(["1.0.0"] if project == "Once" else []))
    before = len(stage.scene.deployments(project))
    run = redeploy(stage, project, **values)
    assert ("Failed", error) == (run.state, run.error)
    assert before == len(stage.scene.deployments(project))


def test_each_tenant_and_environment_by_itself(stage: Stage) -> None:
    make(stage, "Shared", "1.0.0", "2.0.0", "3.0.0", TenantedDeploymentMode="TenantedOrUntenanted")
    everywhere = {stage.scene.projects["Shared"]["Id"]: list(stage.scene.environments.values())}
    tenants = {
        name: stage.scene.client.post("tenants", {"Name": name, "ProjectEnvironments": everywhere})["Id"]
        for name in ("Acme", "Bolt")
    }
    past(stage, "Shared", "1.0.0", "2.0.0", TenantId=tenants["Acme"])
    past(stage, "Shared", "2.0.0", "3.0.0", TenantId=tenants["Bolt"])
    past(stage, "Shared", "1.0.0", "3.0.0", TenantId=tenants["Acme"], environment="Production")
    past(stage, "Shared", "3.0.0", TenantId=tenants["Bolt"], environment="Production")
    values = {"environment": ["Test", "Production"], "tenant": ["Acme", "Bolt"]}
    refused = redeploy(stage, "Shared", **values)
    assert (
        "refused: Shared in Production for Bolt: no other release had succeeded there before 3.0.0"
        == refused.error
    )
    run = redeploy(stage, "Shared", **values, more={"not_found": "skip"})
    assert [
        ("Test", "Acme", "2.0.0", "1.0.0", "Success"),
        ("Test", "Bolt", "3.0.0", "2.0.0", "Success"),
        ("Production", "Acme", "3.0.0", "1.0.0", "Success"),
        ("Production", "Bolt", "3.0.0", "", "Skipped"),
    ] == sorted(
        (
            (child["environment"], child["tenant"], child.get("from", ""), child["version"], child["state"])
            for child in run.children
        ),
        key=lambda row: (row[0] != "Test", row[1]),
    ), run.log
    assert ("2.0.0, 3.0.0", "1.0.0, 2.0.0") == (run.outputs["From"], run.outputs["To"])


def test_prompted_values_are_taken_over(stage: Stage) -> None:
    """Those of the deployment that is repeated; own ones go before; without the option what is required is missing."""
    scene = stage.scene
    project = scene.make_project("Asking", steps=[own_step("Work")])
    prompts = [("Ticket", True), ("Notes", False)]
    scene.set_variables(
        project["VariableSetId"],
        [
            {
                "Name": name,
                "Value": "",
                "Type": "String",
                "Scope": {},
                "Prompt": {"Label": name, "Required": need},
            }
            for name, need in prompts
        ],
    )
    for version in ("1.0.0", "2.0.0"):
        release = scene.make_release("Asking", version)
        preview = scene.client.get(
            f"releases/{release['Id']}/deployments/preview/{scene.environments['Test']}"
        )
        names = {one["Control"]["Name"]: one["Name"] for one in preview["Form"]["Elements"]}
        answers = {names["Ticket"]: f"T-{version}", names["Notes"]: f"N-{version}"}
        past(stage, "Asking", version, FormValues=answers)
    bare = redeploy(stage, "Asking", take_over=False)
    assert "misconfigured: Asking in Test: the prompted variable Ticket needs a value" == bare.error, bare.log
    run = redeploy(stage, "Asking", variables={"notes": "own"})
    assert "Success" == run.state, run.log
    [made, *_] = scene.deployments("Asking")
    assert {"T-1.0.0", "own"} == set(made["FormValues"].values())
    assert "T-1.0.0" not in run.log


@needs_proc
def test_a_retry_returns_to_the_same_release(stage: Stage) -> None:
    """Killed after its deployment has succeeded or while it runs: the retry finds it, and does not go back once more."""
    make(stage, "Slow", "1.0.0", "2.0.0", seconds=40)
    past(stage, "Slow", "1.0.0", "2.0.0")
    step = stage.scene.step(
        REDEPLOY,
        "Ours",
        {"project": "Slow"},
        **{"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"},
    )
    stage.scene.make_project("Retried", steps=[step], releases=["1.0.0"])
    parent = stage.scene.deploy("Retried", "1.0.0")["TaskId"]
    stage.scene.wait_until(lambda: len(stage.scene.deployments("Slow")) == 3, "it was begun", parent)
    [victim] = script_processes()
    os.kill(victim, signal.SIGKILL)
    run = stage.end(parent)
    assert ("Success", "2.0.0", "1.0.0") == (run.state, run.outputs["From"], run.outputs["To"]), run.log
    assert [("2.0.0", "Success"), ("1.0.0", "Success")] == releases(stage, "Slow", last=2)
    assert 3 == len(stage.scene.deployments("Slow"))


def test_a_lost_answer_leaves_one_deployment(stage: Stage) -> None:
    make(stage, "Lost", "1.0.0", "2.0.0")
    past(stage, "Lost", "1.0.0", "2.0.0")
    # The first of the two creations that follow is the parent's own.
    fault = stage.scene.emulator.faults.add(method="POST", path=r"/deployments$", kind="lost_answer", after=1)
    run = redeploy(stage, "Lost")
    assert ("Success", 3) == (run.state, len(stage.scene.deployments("Lost"))), run.log
    assert fault.hits == 1


def test_taken_back_when_one_of_several_fails(stage: Stage) -> None:
    """The recipe of the documentation: what this run has changed goes back, what its turn never came for stays."""
    make(stage, "Good", "1.0.0", "2.0.0")
    make(stage, "Bad", "1.0.0", broken="2.0.0")
    make(stage, "Later", "1.0.0", "2.0.0")
    scene, names = stage.scene, ("Good", "Bad", "Later")
    steps = []
    for name in names:
        past(stage, name, "1.0.0")
        steps.append(scene.step("Octopus - Deploy Release", f"Deploy {name}", {"project": name}))
    for name in names:
        changed = f'Octopus.Action[Deploy {name}].Output.Changed == "True"'
        back = scene.step(REDEPLOY, f"Take back {name}", {"project": name})
        back["Condition"] = "Variable"
        opener = "#" + "{"
        back["Properties"]["Octopus.Step.ConditionVariableExpression"] = (
            f"{opener}if Octopus.Deployment.Error}}{opener}if {changed}}}True{opener}/if}}{opener}/if}}"
        )
        steps.append(back)
    scene.make_project("Train", steps=steps, releases=["1.0.0"])
    ended = scene.run("Train", "1.0.0")
    log = scene.log(ended["Id"])
    assert "Failed" == ended["State"], log
    assert [("2.0.0", "Success"), ("1.0.0", "Success")] == releases(stage, "Good", last=2), log
    assert [("2.0.0", "Failed"), ("1.0.0", "Success")] == releases(stage, "Bad", last=2), log
    assert 1 == len(scene.deployments("Later")), log


def test_a_project_that_takes_itself_back(stage: Stage) -> None:
    """Without waiting: the earlier release comes when the deployment that asks for it has ended."""
    scene = stage.scene
    values = {"project": "Self", "wait": False}
    back = {**scene.step(REDEPLOY, "Take back", values), "Condition": "Failure"}
    scene.make_project("Self", steps=[own_step("Work"), back], releases=["1.0.0"])
    scene.put_steps("Self", [own_step("Work", outcome="failure"), back])
    scene.make_release("Self", "2.0.0")
    past(stage, "Self", "1.0.0", "2.0.0")
    scene.wait_until(lambda: scene.states("Self") == ["Success", "Failed", "Success"], "it is taken back")
    assert [("2.0.0", "Failed"), ("1.0.0", "Success")] == releases(stage, "Self", last=2)
