"""Outputs on several machines, time limits and retries, snapshots of variables, answers to prompts, and what the audit tells."""

from __future__ import annotations

from datetime import datetime

import pytest
from world import Json, World, good, lasting, python, secret, step, variable

from generator.emulator.clock import iso

ON_WEB = {"Octopus.Action.TargetRoles": "web"}
COMMAND = {
    "SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web", "ReleaseVersion": "1.0.0",
    "EnvironmentNames": ["Test"],
}  # fmt: skip


def machines(world: World, environment: Json, *names: str) -> None:
    for name in names:
        world.post("machines", {"Name": name, "Roles": ["web"], "EnvironmentIds": [environment["Id"]]})


# --- outputs -------------------------------------------------------------------------------------------------------


@pytest.mark.emulator(speed=1)
def test_each_machine_has_an_output_of_its_own(world: World) -> None:
    """docs, Output variables: by machine, and without a machine the value of one of them (here the last: unconfirmed)."""
    environment = world.environment()
    machines(world, environment, "a", "b")
    sets = "set_octopusvariable('At', get_octopusvariable('Octopus.Machine.Name'))"
    names = [f"Octopus.Action[Each].Output{part}At" for part in ("[a].", "[b].", ".")] + ["At"]
    reads = "\n".join(f"print(get_octopusvariable({name!r}))" for name in names)
    project = world.project("Web", python(sets, "Each", step_properties=ON_WEB), python(reads, "Read"))
    task = world.ended(world.deploy(world.release(project), environment))
    assert ["a", "b", "b", "b"] == world.printed(task), world.log(task)


def test_outputs_are_seen_once_the_step_has_ended(world: World) -> None:
    """docs, Output variables: steps that run side by side do not see each other's."""
    reads = "print('saw', get_octopusvariable('Octopus.Action[Set].Output.Color'))"
    task = world.deployed(
        python("set_octopusvariable('Color', 'red')", "Set"),
        python(reads, "Beside", StartTrigger="StartWithPrevious"),
        python(reads, "After"),
    )
    assert ["saw ", "saw red"] == world.printed(task)


def test_outputs_of_a_failed_step_are_kept(world: World) -> None:
    """What the runs-always step of the documentation's examples relies on; that failed steps' outputs stay is unconfirmed."""
    reads = python(
        "print(get_octopusvariable('Octopus.Action[Set].Output.Color'))", "Read", Condition="Always"
    )
    task = world.deployed(python("set_octopusvariable('Color', 'red')\nfailstep('no')", "Set"), reads)
    assert ["red"] == world.printed(task)


# --- limits and retries --------------------------------------------------------------------------------------------


@pytest.mark.emulator(speed=600)
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        pytest.param("Octopus.Script", "Failed", id="a script"),
        pytest.param("Octopus.TentaclePackage", "Failed", id="a package"),
        pytest.param("Octopus.Email", "Success", id="an email has none"),
        pytest.param("Octopus.HealthCheck", "Success", id="a health check has none"),
        pytest.param("Octopus.DeployRelease", "Success", id="deploy a release has none"),
    ],
)
def test_time_limits_of_steps_that_pretend(world: World, kind: str, state: str) -> None:
    """docs, Conditions; OctopusDeploy/Issues 8776 for the sentence."""
    properties = {"octosteps.emulator.duration": "90", "Octopus.Action.ExecutionTimeout.Minutes": "1"}
    task = world.deployed(step(properties=properties, kind=kind))
    expected = "" if state == "Success" else (
        "Execution timeout of 1 minute(s) reached. Action Do has been cancelled."
    )  # fmt: skip
    assert (state, expected) == (task["State"], task["ErrorMessage"])


@pytest.mark.emulator(speed=600)
def test_a_step_that_ran_out_of_time_is_tried_again(world: World) -> None:
    properties = {
        "octosteps.emulator.duration": "90",
        "Octopus.Action.ExecutionTimeout.Minutes": "1",
        "Octopus.Action.AutoRetry.MaximumCount": "1",
    }
    task = world.deployed(step(properties=properties))
    assert 1 == sum(category == "Warning" for category, _ in world.log(task))


@pytest.mark.emulator(speed=600)
def test_a_retry_waits_for_its_back_off(world: World) -> None:
    """docs, Conditions, Retries: the minimum wait between attempts, in seconds."""
    properties = {
        "octosteps.emulator.outcome": "failure,success",
        "Octopus.Action.AutoRetry.MaximumCount": "1",
        "Octopus.Action.AutoRetry.MinimumBackoff": "120",
    }
    task = world.deployed(step(properties=properties))
    assert "Success" == task["State"]
    [root] = world.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
    lines = root["Children"][0]["Children"][0]["LogElements"]
    moments = {
        line["MessageText"].split(" ")[0]: datetime.fromisoformat(line["OccurredAt"]) for line in lines
    }
    assert (moments["The"] - moments["Retrying"]).total_seconds() >= 120, "the second attempt's first line"


# --- snapshots of variables ----------------------------------------------------------------------------------------

SAY = "print(get_octopusvariable('Say'), get_octopusvariable('Shared'))"


def changed(world: World) -> tuple[Json, Json]:
    """(release, environment) of a project whose variables changed after the release was made."""
    library = world.post("libraryvariablesets", {"Name": "Library"})
    world.set_variables(library, variable("Shared", "old"))
    project = world.project("Web", python(SAY), IncludedLibraryVariableSetIds=[library["Id"]])
    world.set_variables(project, variable("Say", "old"))
    release, environment = world.release(project), world.environment()
    world.set_variables(project, variable("Say", "new"))
    world.set_variables(library, variable("Shared", "new"))
    return release, environment


def test_a_release_keeps_its_variables(world: World) -> None:
    """docs, Releases; API reference, releases (what the template says of them)."""
    release, environment = changed(world)
    template = world.get(f"releases/{release['Id']}/deployments/template")
    assert (True, True, False) == (
        template["IsVariableSetModified"], template["IsLibraryVariableSetModified"], template["IsDeploymentProcessModified"],
    )  # fmt: skip
    assert ["old old"] == world.printed(world.ended(world.deploy(release, environment)))


@pytest.mark.parametrize("how", ["snapshot-variables", "snapshot-variables-by-name", "command"])
def test_the_snapshot_is_refreshed_for_the_release(world: World, how: str) -> None:
    """Swagger of Octopus Server 2020.5; docs, API reference, deployments: it changes the release for later deployments, too."""
    release, environment = changed(world)
    if how == "command":
        answer = world.post("deployments/create/untenanted/v1", {**COMMAND, "UpdateVariableSnapshot": True})
        world.ended({"TaskId": answer["DeploymentServerTasks"][0]["ServerTaskId"]})
    else:
        world.post(f"releases/{release['Id']}/{how}")
    template = world.get(f"releases/{release['Id']}/deployments/template")
    assert (False, False) == (template["IsVariableSetModified"], template["IsLibraryVariableSetModified"])
    assert ["new new"] == world.printed(world.ended(world.deploy(release, environment)))


# --- prompts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "default", "values", "printed"),
    [
        pytest.param({"Required": True}, "", {}, None, id="required and missing"),
        pytest.param({"Required": True}, "", {"Reason": ""}, None, id="required and empty"),
        pytest.param({"Required": True}, "why not", {}, "why not", id="required, with a default"),
        pytest.param({"Required": True}, "", {"Reason": "because"}, "because", id="answered"),
        pytest.param({"Required": True}, "", {"REASON": "because"}, "because", id="whatever the case"),
        pytest.param({"Required": False}, "", {}, "", id="optional"),
        pytest.param({"Required": True}, "x", {"Nobody": "asked"}, "x", id="an unknown name is dropped"),
        pytest.param({"Required": False}, "", {"Reason": "one\ntwo"}, "one|two", id="several lines"),
    ],
)
def test_answers_to_prompts(
    world: World, prompt: Json, default: str, values: Json, printed: str | None
) -> None:
    """docs, API reference, deployments: a required one without a value fails the command and is named."""
    project = world.project("Web", python("print(get_octopusvariable('Reason').replace('\\n', '|'))"))
    world.set_variables(project, variable("Reason", default, Prompt=prompt))
    world.release(project)
    world.environment()
    answer = world.api.post("deployments/create/untenanted/v1", json={**COMMAND, "Variables": values})
    if printed is None:
        assert (400, True) == (answer.status_code, "'Reason'" in answer.text)
        assert 0 == world.get("tasks")["TotalResults"]
        return
    task = world.ended({"TaskId": good(answer)["DeploymentServerTasks"][0]["ServerTaskId"]})
    assert [printed] == world.printed(task)


def test_a_prompt_is_asked_where_its_scope_says(world: World) -> None:
    test, other = world.environment("Test"), world.environment("Other")
    project = world.project("Web", step())
    prompt = {"Required": True}
    world.set_variables(project, variable("Reason", "", Prompt=prompt, Scope={"Environment": [other["Id"]]}))
    release = world.release(project)
    assert "Success" == world.ended(world.deploy(release, test))["State"]
    body = {"ReleaseId": release["Id"], "EnvironmentId": other["Id"]}
    assert "'Reason'" in world.api.post("deployments", json=body).text


def test_a_sensitive_prompt_is_kept_closed(world: World) -> None:
    project = world.project("Web", python("print(len(get_octopusvariable('Key')))"))
    world.set_variables(project, secret("Key", None, Prompt={"Required": True}))
    deployment = world.deploy(world.release(project), world.environment(), FormValues={"Key": "abcde"})
    assert {"Key": None} == deployment["FormValues"]
    assert ["5"] == world.printed(world.ended(deployment))


# --- the audit -----------------------------------------------------------------------------------------------------


def told(world: World, task_id: str) -> list[str]:
    """Categories of the events about the task, oldest first."""
    items = world.get("events", regardingAny=task_id, take=100)["Items"]
    return [item["Category"] for item in reversed(items)]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        pytest.param(step(), ["DeploymentQueued", "DeploymentStarted", "DeploymentSucceeded"], id="success"),
        pytest.param(
            lasting(0, outcome="failure"),
            ["DeploymentQueued", "DeploymentStarted", "DeploymentFailed"],
            id="failure",
        ),
    ],
)
def test_the_audit_tells_the_life_of_a_deployment(world: World, one: Json, expected: list[str]) -> None:
    """OctopusDeploy-Api, REST/PowerShell (names of the categories)."""
    assert expected == told(world, world.deployed(one)["Id"])


def test_the_audit_tells_who_cancelled(world: World) -> None:
    environment = world.environment()
    deployment = world.deploy(world.release(world.project("Web", lasting(100_000))), environment)
    world.until_state(deployment, "Executing")
    other = world.emulator.add_key(user="operator")
    good(world.client(key=other).post(f"tasks/{deployment['TaskId']}/cancel"))
    world.ended(deployment)
    assert ["DeploymentQueued", "DeploymentStarted", "TaskCanceled"] == told(world, deployment["TaskId"])
    [event] = world.get("events", regarding=deployment["TaskId"], eventCategories="TaskCanceled")["Items"]
    assert "operator" == event["Username"]


def test_the_audit_tells_what_was_superseded(world: World) -> None:
    environment = world.environment()
    project = world.project("Web", lasting(100_000))
    first = world.deploy(world.release(project, "1.0.0"), environment)
    world.until_state(first, "Executing")
    old, new = (world.deploy(world.release(project, f"1.{n}.0"), environment) for n in (1, 2))
    world.ended(old)
    assert ["DeploymentQueued", "TaskCanceled"] == told(world, old["TaskId"])
    [event] = world.get("events", regarding=old["TaskId"], eventCategories="TaskCanceled")["Items"]
    assert ("system", True) == (event["Username"], f"superseded by {new['TaskId']}" in event["Message"])
    assert "DeploymentStarted" in told(world, first["TaskId"])


@pytest.mark.parametrize(
    ("one", "fields", "answer", "kind", "end"),
    [
        pytest.param(step(kind="Octopus.Manual"), {}, {"Result": "Proceed"}, "ManualIntervention", "Succeeded", id="manual"),
        pytest.param(
            lasting(0, outcome="failure"), {"UseGuidedFailure": True}, {"Guidance": "Fail"}, "GuidedFailure", "Failed",
            id="guided",
        ),
    ],
)  # fmt: skip
def test_the_audit_tells_who_answered(
    world: World, one: Json, fields: Json, answer: Json, kind: str, end: str
) -> None:
    """OctopusDeploy/Issues 3208 (the message); the names of the categories are unconfirmed."""
    deployment = world.deploy(world.release(world.project("Web", one)), world.environment(), **fields)
    world.until(lambda: world.task(deployment).interruptions)
    [asked] = world.get("interruptions", pendingOnly="true")["Items"]
    world.put(f"interruptions/{asked['Id']}/responsible")
    world.post(f"interruptions/{asked['Id']}/submit", {**answer, "Notes": "it is fine"})
    world.ended(deployment)
    assert [
        "DeploymentQueued", "DeploymentStarted", f"{kind}InterruptionRaised", "InterruptionSubmitted", f"Deployment{end}",
    ] == told(world, deployment["TaskId"])  # fmt: skip
    [event] = world.get("events", regarding=deployment["TaskId"], eventCategories="InterruptionSubmitted")[
        "Items"
    ]
    assert ("admin", f"Submitted interruption {asked['Title']} with notes: it is fine") == (
        event["Username"], event["Message"],
    )  # fmt: skip


def test_the_audit_tells_what_ran_out_of_its_time(world: World) -> None:
    environment = world.environment()
    blocking = world.deploy(world.release(world.project("Web", lasting(100_000))), environment)
    world.until_state(blocking, "Executing")
    project = world.get("projects/Projects-1")
    soon = iso(world.emulator.state.clock.now() + 30)
    late = world.deploy(world.release(project, "2.0.0"), environment, QueueTimeExpiry=soon)
    assert "TimedOut" == world.ended(late)["State"]
    assert ["DeploymentQueued", "TaskCanceled"] == told(world, late["TaskId"])
