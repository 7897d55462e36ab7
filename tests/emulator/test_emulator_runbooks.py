"""Runbooks, their snapshots and runs, and deployment freezes."""

from __future__ import annotations

from typing import Any

import pytest
from world import World, good, lasting, python, step, variable

Json = dict[str, Any]


def runbook(world: World, project: Json, *steps: Json, name: str = "Backup", **fields: Any) -> Json:
    made = world.post("runbooks", {"Name": name, "ProjectId": project["Id"], **fields})
    path = f"runbookProcesses/{made['RunbookProcessId']}"
    world.put(path, {**world.get(path), "Steps": list(steps)})
    return made


def published(world: World, book: Json, name: str = "First") -> Json:
    body = {"ProjectId": book["ProjectId"], "RunbookId": book["Id"], "Name": name}
    return good(world.api.post("runbookSnapshots", params={"publish": "true"}, json=body))


def run(world: World, snapshot: Json, environment: Json, **fields: Any) -> Json:
    return world.post(
        "runbookRuns",
        {
            "RunbookId": snapshot["RunbookId"],
            "RunbookSnapshotId": snapshot["Id"],
            "EnvironmentId": environment["Id"],
            **fields,
        },
    )


@pytest.mark.emulator(speed=1)
def test_a_run_has_the_variables_of_a_runbook_and_none_of_a_release(world: World) -> None:
    """docs, System variables: a runbook run has no Octopus.Deployment.Id and no release."""
    names = (
        "Octopus.Runbook.Name", "Octopus.RunbookSnapshot.Name", "Octopus.RunbookRun.Id", "Octopus.Task.Name",
        "Octopus.Deployment.Id", "Octopus.Release.Number", "Colour",
    )  # fmt: skip
    body = "".join(f"print(octopusvariables.get({name!r}))\n" for name in names)
    project = world.project("Web")
    world.set_variables(project, variable("Colour", "green"))
    made = run(
        world, published(world, runbook(world, project, python(body))), world.environment(), Comments="c"
    )
    task = world.ended(made)
    assert "Success" == task["State"], world.log(task)
    assert ["Backup", "First", made["Id"], "RunbookRun", "None", "None", "green"] == world.printed(task)
    assert ("RunbookRun", {"RunbookRunId": made["Id"]}) == (task["Name"], task["Arguments"])


def test_a_run_uses_what_was_published_not_what_is_edited(world: World) -> None:
    book = runbook(world, world.project("Web"), step("Old"))
    published(world, book)
    path = f"runbookProcesses/{book['RunbookProcessId']}"
    world.put(path, {**world.get(path), "Steps": [step("New")]})
    [made] = world.post(f"runbooks/{book['Id']}/run", {"EnvironmentIds": [world.environment()["Id"]]})
    assert {"Old": "Success"} == world.steps(world.ended(made))


def test_an_unpublished_runbook_is_not_run(world: World) -> None:
    book = runbook(world, world.project("Web"), step())
    answer = world.api.post(
        f"runbooks/{book['Id']}/run", json={"EnvironmentIds": [world.environment()["Id"]]}
    )
    assert (400, ["Runbook has no published snapshot."]) == (answer.status_code, answer.json()["Errors"])


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("All", ["Test", "Production"]), ("Specified", ["Production"]), ("FromProjectLifecycles", ["Test"])],
)
def test_the_environment_scope_decides_where_it_may_run(world: World, scope: str, allowed: list[str]) -> None:
    environments = {name: world.environment(name) for name in ("Test", "Production")}
    phase = {"Name": "Only", "OptionalDeploymentTargets": [environments["Test"]["Id"]]}
    project = world.project("Web", LifecycleId=world.lifecycle(phase)["Id"])
    chosen = [environments["Production"]["Id"]]
    book = runbook(world, project, step(), EnvironmentScope=scope, Environments=chosen)
    snapshot = published(world, book)
    assert allowed == [item["Name"] for item in world.get(f"runbooks/{book['Id']}/environments")]
    template = world.get(f"runbookSnapshots/{snapshot['Id']}/runbookRuns/template")
    assert allowed == [item["Name"] for item in template["PromoteTo"]]
    for name, environment in environments.items():
        body = {
            "RunbookId": book["Id"],
            "RunbookSnapshotId": snapshot["Id"],
            "EnvironmentId": environment["Id"],
        }
        expected = 201 if name in allowed else 400
        assert expected == world.api.post("runbookRuns", json=body).status_code, name


def test_a_newer_run_takes_the_place_of_a_queued_one_only_of_its_own_runbook(world: World) -> None:
    environment, project = world.environment(), world.project("Web")
    slow = published(world, runbook(world, project, lasting(3600), name="Slow"))
    other = published(world, runbook(world, project, lasting(3600), name="Other"))
    first = run(world, slow, environment)
    world.until_state(first, "Executing")
    second, stranger, third = run(world, slow, environment), run(world, other, environment), None
    third = run(world, slow, environment)
    assert "Canceled" == world.until_state(second, "Canceled")["State"]
    assert "Queued" == world.get(f"tasks/{stranger['TaskId']}")["State"]
    assert "Queued" == world.get(f"tasks/{third['TaskId']}")["State"]


def test_templates_know_the_runbook_steps_that_use_them(world: World) -> None:
    template = world.post(
        "actiontemplates", {"Name": "T", "ActionType": "Octopus.Script", "Properties": {"A": "1"}}
    )
    copied = {"Octopus.Action.Template.Id": template["Id"], "Octopus.Action.Template.Version": "0", "A": "1"}
    book = runbook(world, world.project("Web"), step("Do", properties=copied))
    world.put(f"actiontemplates/{template['Id']}", {**template, "Properties": {"A": "2"}})
    [usage] = world.get(f"actiontemplates/{template['Id']}/usage")
    assert ("Runbook", book["Id"], "Backup", "0") == tuple(
        usage[name] for name in ("ProcessType", "RunbookId", "RunbookName", "Version")
    )
    update = {
        "Version": 1,
        "ActionsToUpdate": [
            {"ProcessType": "Runbook", "ProcessId": usage["ProcessId"], "ActionIds": [usage["ActionId"]]}
        ],
    }
    [outcome] = world.post(f"actiontemplates/{template['Id']}/actionsUpdate", update)
    assert "Success" == outcome["Outcome"]
    [changed] = world.get(f"runbookProcesses/{usage['ProcessId']}")["Steps"]
    assert "2" == changed["Actions"][0]["Properties"]["A"]


def test_a_stale_process_is_refused(world: World) -> None:
    book = runbook(world, world.project("Web"), step())
    path = f"runbookProcesses/{book['RunbookProcessId']}"
    stale = {**world.get(path), "Version": 0}
    answer = world.api.put(path, json=stale)
    assert 400 == answer.status_code
    assert answer.json()["ErrorMessage"].startswith("Changes to this deployment process could not be saved")


def test_events_tell_the_life_of_a_run(world: World) -> None:
    made = run(
        world,
        published(world, runbook(world, world.project("Web"), step())),
        world.environment(),
    )
    world.ended(made)
    events = world.get("events", regarding=made["Id"])["Items"]
    assert ["RunbookRunSucceeded", "RunbookRunStarted", "RunbookRunQueued"] == [
        item["Category"] for item in events
    ]


def test_the_progression_shows_the_newest_run_of_each_environment(world: World) -> None:
    environment = world.environment()
    snapshot = published(world, runbook(world, world.project("Web"), step()))
    world.ended(run(world, snapshot, environment))
    newest = run(world, snapshot, environment)
    world.ended(newest)
    rows = world.get(f"progression/runbooks/{snapshot['RunbookId']}")["RunbookRuns"]
    assert {environment["Id"]: [newest["Id"]]} == {
        name: [item["Id"] for item in items] for name, items in rows.items()
    }


def test_deleting_a_runbook_takes_its_runs_along(world: World) -> None:
    snapshot = published(world, runbook(world, world.project("Web"), step()))
    made = run(world, snapshot, world.environment())
    world.ended(made)
    good(world.api.delete(f"runbooks/{snapshot['RunbookId']}"))
    for path in (f"runbookRuns/{made['Id']}", f"runbookSnapshots/{snapshot['Id']}"):
        assert 404 == world.api.get(path).status_code


# --- freezes -------------------------------------------------------------------------------------------------------

ALWAYS = {"Start": "2000-01-01T00:00:00Z", "End": "2100-01-01T00:00:00Z"}


def freeze(world: World, project: Json, environment: Json, **fields: Any) -> Json:
    body = {
        "Name": "Holidays",
        **ALWAYS,
        "ProjectEnvironmentScope": {project["Id"]: [environment["Id"]]},
        **fields,
    }
    return good(world.web.post("/api/deploymentfreezes", json=body))


def test_a_freeze_prevents_deployments_until_it_is_overridden_with_a_reason(world: World) -> None:
    environment, project = world.environment(), world.project("Web", step())
    release, made = world.release(project), freeze(world, project, environment)
    command = {"ReleaseId": release["Id"], "EnvironmentId": environment["Id"], "Comments": "urgent"}
    refused = world.api.post("deployments", json=command)
    assert 400 == refused.status_code and "Holidays" in refused.json()["Errors"][0]
    body = {"CreateDeploymentCommand": command, "FreezeIds": [made["Id"]], "Reason": " "}
    assert 400 == world.api.post("deployments/override", json=body).status_code
    answer = world.api.post("deployments/override", json={**body, "Reason": "fire"})
    assert 201 == answer.status_code
    assert "Success" == world.ended(answer.json()["Deployment"])["State"]


def test_a_deployment_that_begins_in_a_freeze_fails(world: World) -> None:
    """docs, Deployment freezes: "Any existing deployments that start executing during the freeze will fail"."""
    environment = world.environment()
    project = world.project("Web", lasting(3600))
    deployment = world.deploy(
        world.release(project), environment, QueueTime=world.emulator.state.now()[:4] + "-12-31T23:59:59Z"
    )
    freeze(world, project, environment)
    task = world.task(deployment)
    with world.emulator.state.changed:
        task.queue_time = world.emulator.state.clock.now()
        world.emulator.state.changed.notify_all()
    ended = world.ended(deployment)
    assert "Failed" == ended["State"] and "Holidays" in ended["ErrorMessage"]


def test_freezes_are_listed_by_what_they_stop(world: World) -> None:
    environment, project = world.environment(), world.project("Web")
    freeze(world, project, environment)
    freeze(
        world, project, environment, Name="Long ago", Start="2000-01-01T00:00:00Z", End="2001-01-01T00:00:00Z"
    )

    def names(**query: str) -> list[str]:
        answer = good(world.web.get("/api/deploymentfreezes", params={"skip": 0, "take": 10, **query}))
        assert answer["Count"] == len(answer["DeploymentFreezes"])
        return [item["Name"] for item in answer["DeploymentFreezes"]]

    assert ["Holidays"] == names()
    assert ["Holidays", "Long ago"] == names(includeComplete="true")
    assert ["Holidays"] == names(projectIds=project["Id"])
    assert [] == names(projectIds="Projects-99")
