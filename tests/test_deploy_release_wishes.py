"""How *Octopus - Deploy Release* has its child deployed: prompted variables, steps, machines, schedule, snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Run, Stage

DEPLOY = "Octopus - Deploy Release"
SECRET = "hunter2-and-more"
OPENER = "#" + "{"


def prompt(
    name: str, label: str, *, required: bool = False, value: str = "", sensitive: bool = False
) -> Document:
    return {
        "Name": name,
        "Value": value,
        "Type": "Sensitive" if sensitive else "String",
        "IsSensitive": sensitive,
        "Prompt": {"Label": label, "Required": required},
        "Scope": {},
    }


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """*Asking* prompts for a ticket (required), notes and a password, and runs two steps on a worker and one on machines."""
    with open_scene(speed=30, task_cap=20) as scene:
        for name in ("web01", "web02"):
            scene.client.post(
                "machines",
                {
                    "Name": name,
                    "EnvironmentIds": [scene.environments["Test"]],
                    "Roles": ["web"],
                    "Endpoint": {"CommunicationStyle": "None"},
                },
            )
        ship = own_step("Ship")
        ship["Properties"] = {"Octopus.Action.TargetRoles": "web"}
        ship["Actions"][0]["Properties"]["Octopus.Action.RunOnServer"] = "false"
        required = own_step("Audit")
        required["Actions"][0]["IsRequired"] = True
        project = scene.make_project("Asking", steps=[own_step("Work"), ship, required])
        scene.set_variables(
            project["VariableSetId"],
            [
                prompt("Ticket", "Ticket number", required=True),
                prompt("Notes", "Notes"),
                prompt("Password", "The password", sensitive=True),
            ],
        )
        scene.make_release("Asking", "1.0.0")
        library = scene.client.get(f"libraryvariablesets/{scene.library_set_id}")
        secrets = {
            "Coordination.ApiKey": scene.emulator.api_key,
            "Shop.Secret": SECRET,
            "Shop.Broken": "Ticket = T-1\nPassword " + SECRET,
        }
        scene.set_variables(
            library["VariableSetId"],
            [
                {"Name": name, "Value": value, "Type": "Sensitive", "IsSensitive": True, "Scope": {}}
                for name, value in secrets.items()
            ],
        )
        scene.make_project("Quiet", steps=[own_step("Work")], releases=["1.0.0"])
        yield Stage(scene)


def deploy(stage: Stage, **values: Any) -> Run:
    return stage.run(DEPLOY, {"project": "Asking", "variables": {"Ticket": "T-1"}, **values})


def child_of(stage: Stage, run: Run) -> Document:
    found: Document = stage.scene.client.get(f"deployments/{run.outputs['DeploymentId']}")
    return found


def test_prompted_variables(stage: Stage) -> None:
    """By name or label; with =, of several lines, and secret."""
    values = {
        "ticket NUMBER": "T=7 = seven",
        "Notes": "first\nEND\n\n last",
        "Password": OPENER + "Shop.Secret}",
    }
    run = deploy(stage, variables=values)
    assert "Success" == run.state, run.log
    answers = child_of(stage, run)["FormValues"]
    assert {"T=7 = seven", "first\nEND\n\n last", None} == set(answers.values())
    values_of = stage.scene.emulator.state.get("Deployments", run.outputs["DeploymentId"])["FormValues"]
    assert SECRET in [str(getattr(value, "value", value)) for value in values_of.values()]
    assert SECRET not in run.log
    assert "seven" not in run.log.split("Step 1: Ours", 1)[1]
    assert SECRET not in str(run.artifacts)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param(
            {"variables": {"Ticket": "T-1", "Tickets": "x"}},
            "misconfigured: there is no prompted variable 'Tickets' (did you mean Ticket number?)",
            id="unknown prompt",
        ),
        pytest.param(
            {"variables": ""},
            "misconfigured: Asking in Test: the prompted variable Ticket number needs a value",
            id="required prompt",
        ),
        pytest.param(
            {"variables": {"Ticket": ""}},
            "misconfigured: Asking in Test: the prompted variable Ticket number needs a value",
            id="required prompt, given empty",
        ),
        pytest.param(
            {"variables": OPENER + "Shop.Broken}"},
            "misconfigured: Prompted variables: line 2 is not of the form: name = value",
            id="a broken line is not shown",
        ),
        pytest.param(
            {"variables": {"Ticket": OPENER + "Typo}"}},
            "misconfigured: Prompted variables: " + OPENER + "Typo} was not resolved",
            id="unresolved",
        ),
        pytest.param(
            {"skip_steps": "Wrok"},
            "misconfigured: there is no step to skip 'Wrok' (did you mean Work?)",
            id="unknown step",
        ),
        pytest.param(
            {"skip_steps": "Audit"},
            "misconfigured: Asking in Test: the step Audit cannot be skipped",
            id="required step",
        ),
        pytest.param(
            {"more": {"machines": "web01, web09"}},
            "misconfigured: there is no machine in use there 'web09' (did you mean web02 or web01?)",
            id="unknown machine",
        ),
        pytest.param(
            {"start": "2001-01-01T00:00Z"},
            "misconfigured: Start: '2001-01-01T00:00Z' lies in the past",
            id="the past",
        ),
        pytest.param(
            {"variables": {"Nope": "x"}, "skip_steps": "7"},
            "misconfigured: there is no prompted variable 'Nope' (did you mean Notes?); "
            "there is no step to skip '7' (there are: Work, Ship, Audit); "
            "Asking in Test: the prompted variable Ticket number needs a value",
            id="all of it together",
        ),
    ],
)
def test_what_matches_nothing_is_an_error(stage: Stage, values: dict[str, Any], error: str) -> None:
    before = len(stage.scene.deployments("Asking"))
    run = deploy(stage, **values)
    assert ("Failed", error) == (run.state, run.error), run.log
    assert before == len(stage.scene.deployments("Asking"))
    assert SECRET not in run.log


def test_steps_and_machines(stage: Stage) -> None:
    run = deploy(stage, skip_steps="1", more={"machines": "WEB01"})
    assert "Success" == run.state, run.log
    child = child_of(stage, run)
    assert 1 == len(child["SkipActions"]) == len(child["SpecificMachineIds"])
    log = stage.scene.log(child["TaskId"])
    assert "Step 1: Work: Skipped" in log and "web01" in log and "web02" not in log, log
    excluded = child_of(stage, deploy(stage, more={"exclude_machines": "web01"}))
    assert ([], 1) == (excluded["SpecificMachineIds"], len(excluded["ExcludedMachineIds"]))


def test_an_empty_selection_never_widens(stage: Stage) -> None:
    run = deploy(stage, more={"machines": "web01", "exclude_machines": "web01"})
    assert ("Success", "Skipped") == (run.state, run.outputs["State"]), run.log
    assert "Asking in Test: of the machines that the step names none is left there" == run.outputs["Skipped"]


def test_the_parents_machines(stage: Stage) -> None:
    """Narrowed to those that the child can use; skipped when none of them is left."""
    machines = {one["Name"]: one["Id"] for one in stage.scene.client.pages("machines")}
    other = stage.scene.client.post(
        "machines",
        {
            "Name": "db01",
            "EnvironmentIds": [stage.scene.environments["Test"]],
            "Roles": ["db"],
            "Endpoint": {"CommunicationStyle": "None"},
        },
    )
    values = {"project": "Asking", "variables": {"Ticket": "T-1"}, "more": {"machines": "inherit"}}
    both = stage.run(DEPLOY, values, SpecificMachineIds=[machines["web02"], other["Id"]])
    assert [machines["web02"]] == child_of(stage, both)["SpecificMachineIds"], both.log
    none = stage.run(DEPLOY, values, SpecificMachineIds=[other["Id"]])
    assert ("Skipped", "Asking in Test: of the machines of the own deployment none is left there") == (
        none.outputs["State"],
        none.outputs["Skipped"],
    )
    free = stage.run(DEPLOY, values)
    assert [] == child_of(stage, free)["SpecificMachineIds"]


def test_rare_fields(stage: Stage) -> None:
    more = {"guided failure": "on", "force package download": "on", "priority": "on", "expire": "1h"}
    child = child_of(stage, deploy(stage, more=more))
    assert (True, True, "On") == (child["UseGuidedFailure"], child["ForcePackageDownload"], child["Priority"])
    assert child["QueueTimeExpiry"]


def test_a_scheduled_start(stage: Stage) -> None:
    """The queue limit counts from the start."""
    run = deploy(stage, start="+2m", queue_limit="30s")
    assert "Success" == run.state, run.log
    task = stage.scene.task(run.outputs["TaskId"])
    child = child_of(stage, run)
    assert child["Created"] < task["QueueTime"] <= task["StartTime"]
    assert "Queued until" in run.log


def test_variables_are_refreshed_only_when_they_have_changed(stage: Stage) -> None:
    scene: Scene = stage.scene
    values = {"project": "Quiet", "more": {"refresh_variables": "on"}}
    assert "The variables of 1.0.0 are up to date." in stage.run(DEPLOY, values).log
    scene.set_variables(
        scene.projects["Quiet"]["VariableSetId"],
        [{"Name": "Colour", "Value": "blue", "Type": "String", "Scope": {}}],
    )

    def snapshot() -> Any:
        path = f"projects/{scene.projects['Quiet']['Id']}/releases/1.0.0"
        return scene.client.get(path)["ProjectVariableSetSnapshotId"]

    before = snapshot()
    planned = stage.run(DEPLOY, {**values, "what_if": True})
    assert "have changed since it was made, and would be brought up to date" in planned.log
    assert before == snapshot()
    run = stage.run(DEPLOY, values)
    assert "which changes the release for every later deployment of it" in run.log
    assert before != snapshot()


def test_what_if_lists_what_would_run(stage: Stage) -> None:
    run = deploy(stage, skip_steps="Work", what_if=True, more={"exclude_machines": "web02"})
    assert "Asking in Test: steps: 1 Work (skipped), 2 Ship, 3 Audit" in run.log
    assert "Asking in Test: machines: web01" in run.log
    assert (
        "Asking in Test: prompted variables: Ticket (given), Notes (default), Password (default)" in run.log
    )
