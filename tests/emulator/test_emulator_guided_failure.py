"""Guided failure: a person decides whether a failed step is tried again, ignored, or ends the deployment."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, lasting, step

ROLES = {"Octopus.Action.TargetRoles": "web"}


def failing(name: str = "Do", *, outcomes: str = "failure", **action: Any) -> Json:
    return lasting(0, name, outcome=outcomes, action=action)


def started(world: World, *steps: Json, guided: bool | None = True) -> Json:
    fields = {} if guided is None else {"UseGuidedFailure": guided}
    return world.deploy(world.release(world.project("Web", *steps)), world.environment(), **fields)


def asked(world: World, deployment: Json) -> Json:
    world.until(lambda: world.task(deployment).interruptions)
    [found] = world.get("interruptions", regarding=deployment["Id"], pendingOnly="true")["Items"]
    return found


def answer(world: World, deployment: Json, guidance: str, **fields: Any) -> None:
    found = asked(world, deployment)
    world.put(f"interruptions/{found['Id']}/responsible")
    world.post(f"interruptions/{found['Id']}/submit", {"Guidance": guidance, **fields})


def test_a_failure_becomes_an_interruption(world: World) -> None:
    """docs, Guided failures; API reference, interruptions. The state while it waits is unconfirmed."""
    deployment = started(world, failing())
    found = asked(world, deployment)
    assert "GuidedFailure" == found["Type"]
    elements = {item["Name"]: item["Control"] for item in found["Form"]["Elements"]}
    assert {"Instructions", "Notes", "Guidance"} == set(elements)
    assert "The step 'Do' failed" == elements["Instructions"]["Text"]
    task = world.get(f"tasks/{deployment['TaskId']}")
    assert ("Executing", True, ["GuidedFailure"], False) == (
        task["State"], task["HasPendingInterruptions"], task["PendingInterruptionTypes"], task["IsCompleted"],
    )  # fmt: skip
    nodes = {node.id for _, node in world.task(deployment).root.walk()}
    assert found["CorrelationId"] in nodes


@pytest.mark.parametrize(
    ("guidance", "outcomes", "state", "later"),
    [
        pytest.param("Fail", "failure", "Failed", "Skipped", id="fail"),
        pytest.param("Abort", "failure", "Failed", "Skipped", id="abort, as Chain Deployment says"),
        pytest.param("Retry", "failure,success", "Success", "Success", id="retry"),
        pytest.param("Ignore", "failure", "Success", "Success", id="ignore"),
    ],
)
def test_what_the_person_decides(world: World, guidance: str, outcomes: str, state: str, later: str) -> None:
    deployment = started(world, failing(outcomes=outcomes), step("Later"))
    answer(world, deployment, guidance, Notes="because")
    task = world.ended(deployment)
    assert (state, later) == (task["State"], world.steps(task)["Later"])
    assert not task["HasPendingInterruptions"]
    [event] = world.get("events", regarding=task["Id"], eventCategories="InterruptionSubmitted")["Items"]
    assert "because" in event["Message"]


def test_each_failure_asks_again(world: World) -> None:
    deployment = started(world, failing(outcomes="failure,failure,success"))
    answer(world, deployment, "Retry")
    answer(world, deployment, "Retry")
    assert "Success" == world.ended(deployment)["State"]
    assert 2 == world.get("interruptions", regarding=deployment["Id"])["TotalResults"]


def test_automatic_retries_come_first(world: World) -> None:
    again = {**failing(outcomes="failure,failure,success")}
    again["Actions"][0]["Properties"]["Octopus.Action.AutoRetry.MaximumCount"] = "2"
    assert "Success" == world.ended(started(world, again))["State"]
    assert 0 == world.get("interruptions")["TotalResults"]


def buttons(found: Json) -> list[str]:
    control = next(item["Control"] for item in found["Form"]["Elements"] if item["Name"] == "Guidance")
    return [button["Value"] for button in control["Buttons"]]


@pytest.mark.parametrize(
    ("required", "machine", "offered"),
    [
        pytest.param(False, False, ["Fail", "Retry", "Ignore"], id="on a worker"),
        pytest.param(False, True, ["Fail", "Retry", "Ignore", "Exclude"], id="on a machine"),
        pytest.param(True, True, ["Fail", "Retry"], id="required"),
    ],
)
def test_a_required_step_cannot_be_ignored(
    world: World, required: bool, machine: bool, offered: list[str]
) -> None:
    environment = world.environment()
    world.post("machines", {"Name": "web01", "Roles": ["web"], "EnvironmentIds": [environment["Id"]]})
    one = {**failing(IsRequired=required), "Properties": ROLES if machine else {}}
    deployment = world.deploy(world.release(world.project("Web", one)), environment, UseGuidedFailure=True)
    found = asked(world, deployment)
    assert offered == buttons(found)
    if required:
        world.put(f"interruptions/{found['Id']}/responsible")
        refused = world.api.post(f"interruptions/{found['Id']}/submit", json={"Guidance": "Ignore"})
        assert (400, "There were errors with the form.") == (
            refused.status_code,
            refused.json()["ErrorMessage"],
        )


def test_an_excluded_machine_is_left_out_from_then_on(world: World) -> None:
    environment = world.environment()
    for name in ("web01", "web02"):
        world.post("machines", {"Name": name, "Roles": ["web"], "EnvironmentIds": [environment["Id"]]})
    first = {**failing("First", outcomes="failure,success"), "Properties": ROLES}
    second = {**step("Second"), "Properties": ROLES}
    deployment = world.deploy(
        world.release(world.project("Web", first, second)), environment, UseGuidedFailure=True
    )
    answer(world, deployment, "Exclude")
    task = world.ended(deployment)
    assert "Success" == task["State"]
    [root] = world.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
    ran = {child["Name"]: [place["Name"] for place in child["Children"]] for child in root["Children"]}
    assert {"Step 1: First": ["web01", "web02"], "Step 2: Second": ["web02"]} == ran


@pytest.mark.parametrize(
    ("environment", "project", "deployment", "guided"),
    [
        pytest.param(False, "EnvironmentDefault", None, False, id="off everywhere"),
        pytest.param(True, "EnvironmentDefault", None, True, id="the environment"),
        pytest.param(True, "Off", None, False, id="the project beats the environment"),
        pytest.param(False, "On", None, True, id="the project, too"),
        pytest.param(True, "On", False, False, id="the deployment beats both"),
        pytest.param(False, "Off", True, True, id="the deployment, too"),
    ],
)
@pytest.mark.parametrize("where", ["project", "settings"])
def test_three_switches(
    world: World, environment: bool, project: str, deployment: bool | None, guided: bool, where: str
) -> None:
    """docs, Guided failures: environment, project, and each deployment."""
    place = world.post("environments", {"Name": "Test", "UseGuidedFailure": environment})
    made = world.project("Web", failing())
    path = f"projects/{made['Id']}" + ("/deploymentsettings" if where == "settings" else "")
    world.put(path, {**world.get(path), "DefaultGuidedFailureMode": project})
    release = world.release(made)
    if deployment is None:
        preview = world.get(f"releases/{release['Id']}/deployments/preview/{place['Id']}")
        assert guided == preview["UseGuidedFailureModeByDefault"]
    run = world.deploy(release, place, **({} if deployment is None else {"UseGuidedFailure": deployment}))
    assert guided == run["UseGuidedFailure"]
    if guided:
        answer(world, run, "Fail")
    assert "Failed" == world.ended(run)["State"]


def test_an_unknown_mode_is_refused(world: World) -> None:
    project = world.project()
    body = {**project, "DefaultGuidedFailureMode": "Sometimes"}
    assert 400 == world.api.put(f"projects/{project['Id']}", json=body).status_code


def test_one_who_is_asked_can_be_cancelled(world: World) -> None:
    deployment = started(world, failing())
    found = asked(world, deployment)
    world.post(f"tasks/{deployment['TaskId']}/cancel")
    assert "Canceled" == world.ended(deployment)["State"]
    assert not world.get(f"interruptions/{found['Id']}")["IsPending"]


def test_an_aborted_intervention_asks_nobody(world: World) -> None:
    deployment = started(world, step("Approve", kind="Octopus.Manual"))
    found = asked(world, deployment)
    world.put(f"interruptions/{found['Id']}/responsible")
    world.post(f"interruptions/{found['Id']}/submit", {"Result": "Abort"})
    assert "Failed" == world.ended(deployment)["State"]
    assert 1 == world.get("interruptions")["TotalResults"]
