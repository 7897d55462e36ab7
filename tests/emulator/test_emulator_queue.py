"""The queue: task cap, concurrency tags, schedules, cancelling, people who are asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from world import Json, World, lasting, python, step, variable

from generator.emulator.clock import iso

OPEN = "#" + "{"
LONG = 100_000.0


def running(world: World, name: str, environment: Json, **fields: object) -> Json:
    """A deployment of a new project that is executing and will not end by itself soon."""
    deployment = world.deploy(world.release(world.project(name, lasting(LONG))), environment, **fields)
    world.until_state(deployment, "Executing")
    return deployment


def queued_like(world: World, deployment: Json, environment: Json, version: str) -> Json:
    """Another deployment of the same project there, which has to wait."""
    project = world.get(f"projects/{deployment['ProjectId']}")
    return world.deploy(world.release(project, version), environment)


@pytest.mark.emulator(task_cap=2)
def test_the_task_cap_is_kept(world: World) -> None:
    environment = world.environment()
    first, second = (running(world, name, environment) for name in ("A", "B"))
    third = world.deploy(world.release(world.project("C", step("One"))), environment)
    task = world.get(f"tasks/{third['TaskId']}")
    assert ("Queued", False, "Queued...", None) == (
        task["State"],
        task["HasBeenPickedUpByProcessor"],
        task["Completed"],
        task["StartTime"],
    )
    behind = world.get(f"tasks/{third['TaskId']}/queued-behind")["Items"]
    assert {first["TaskId"], second["TaskId"]} == {item["Id"] for item in behind}
    world.post(f"tasks/{first['TaskId']}/cancel")
    assert "Success" == world.ended(third)["State"]
    assert 0 == world.get(f"tasks/{third['TaskId']}/queued-behind")["TotalResults"]


def test_one_deployment_at_a_time_in_one_cell(world: World) -> None:
    test, other = world.environment("Test"), world.environment("Other")
    lifecycle = world.get("lifecycles/all")[0]
    world.put(f"lifecycles/{lifecycle['Id']}", {**lifecycle, "Phases": [{"Name": "All"}]})
    first = running(world, "Web", test)
    same = queued_like(world, first, test, "1.1.0")
    elsewhere = queued_like(world, first, other, "1.2.0")
    world.until_state(elsewhere, "Executing")
    assert "Queued" == world.get(f"tasks/{same['TaskId']}")["State"]
    assert [first["TaskId"]] == [
        item["Id"] for item in world.get(f"tasks/{same['TaskId']}/queued-behind")["Items"]
    ]
    world.post(f"tasks/{first['TaskId']}/cancel")
    world.until_state(same, "Executing")


def test_a_concurrency_tag_holds_projects_apart(world: World) -> None:
    """docs, System variables: `Octopus.Task.ConcurrencyTag`."""
    environment = world.environment()
    deployments = []
    for name in ("A", "B"):
        project = world.project(name, lasting(LONG))
        world.set_variables(
            project, variable("Octopus.Task.ConcurrencyTag", OPEN + "Octopus.Environment.Id}")
        )
        deployments.append(world.deploy(world.release(project), environment))
    first, second = deployments
    world.until_state(first, "Executing")
    assert "Queued" == world.get(f"tasks/{second['TaskId']}")["State"]
    world.post(f"tasks/{first['TaskId']}/cancel")
    world.until_state(second, "Executing")


@pytest.mark.emulator(task_cap=1)
def test_moved_to_the_top_goes_first(world: World) -> None:
    environment = world.environment()
    blocker = running(world, "A", environment)
    second = world.deploy(world.release(world.project("B", lasting(LONG))), environment)
    third = world.deploy(world.release(world.project("C", lasting(LONG))), environment)
    world.post(f"tasks/{third['TaskId']}/prioritize")
    world.post(f"tasks/{blocker['TaskId']}/cancel")
    world.until_state(third, "Executing")
    assert "Queued" == world.get(f"tasks/{second['TaskId']}")["State"]


def later(world: World, seconds: float) -> str:
    return str(iso(world.emulator.state.clock.now() + seconds))


def test_a_scheduled_deployment_waits_for_its_time(world: World) -> None:
    environment = world.environment()
    release = world.release(world.project("Web", step("One")))
    deployment = world.deploy(release, environment, QueueTime=later(world, 120))
    assert "Queued" == world.get(f"tasks/{deployment['TaskId']}")["State"]
    task = world.ended(deployment)
    assert "Success" == task["State"]
    assert deployment["QueueTime"] == task["QueueTime"] <= task["StartTime"]


@pytest.mark.emulator(task_cap=1)
def test_a_deployment_that_did_not_start_in_time_times_out(world: World) -> None:
    environment = world.environment()
    running(world, "A", environment)
    deployment = world.deploy(
        world.release(world.project("B", step("One"))), environment, QueueTimeExpiry=later(world, 60)
    )
    task = world.ended(deployment)
    assert ("TimedOut", "Timed out", False, True) == (
        task["State"],
        task["Completed"],
        task["FinishedSuccessfully"],
        task["IsCompleted"],
    )


def test_a_senseless_schedule_is_refused(world: World) -> None:
    environment = world.environment()
    release = world.release(world.project("Web", step("One")))
    for fields in ({"QueueTime": "soon"}, {"QueueTimeExpiry": later(world, -60)}):
        body = {"ReleaseId": release["Id"], "EnvironmentId": environment["Id"], **fields}
        answer = world.api.post("deployments", json=body)
        assert (400, "Deployment Schedule is invalid.") == (answer.status_code, answer.json()["Errors"][0])


# --- superseding ---------------------------------------------------------------------------------------------------


def test_a_newer_deployment_takes_the_place_of_a_queued_one(world: World) -> None:
    """docs, Superseded tasks: on for new projects."""
    environment = world.environment()
    first = running(world, "Web", environment)
    second = queued_like(world, first, environment, "1.1.0")
    third = queued_like(world, first, environment, "1.2.0")
    task = world.ended(second)
    assert ("Canceled", f"superseded by {third['TaskId']}") == (task["State"], task["ErrorMessage"])
    assert ("Executing", "Queued") == (
        world.get(f"tasks/{first['TaskId']}")["State"],
        world.get(f"tasks/{third['TaskId']}")["State"],
    )
    events = world.get("events", regarding=second["TaskId"], eventCategories="TaskCanceled")["Items"]
    assert ["system"] == [item["Username"] for item in events]


def test_superseding_can_be_switched_off(world: World) -> None:
    environment = world.environment()
    first = running(world, "Web", environment)
    path = f"projects/{first['ProjectId']}/deploymentsettings"
    world.put(path, {**world.get(path), "CancelQueuedTasks": False})
    second = queued_like(world, first, environment, "1.1.0")
    queued_like(world, first, environment, "1.2.0")
    assert "Queued" == world.get(f"tasks/{second['TaskId']}")["State"]


# --- cancelling ----------------------------------------------------------------------------------------------------


def test_a_queued_task_is_cancelled_at_once(world: World) -> None:
    environment = world.environment()
    first = running(world, "Web", environment)
    second = queued_like(world, first, environment, "1.1.0")
    answer = world.post(f"tasks/{second['TaskId']}/cancel")
    assert ("Canceled", True, False) == (
        answer["State"],
        answer["IsCompleted"],
        answer["HasBeenPickedUpByProcessor"],
    )


def test_cancelling_kills_the_script_and_its_children(world: World, tmp_path: Path) -> None:
    """Process.Kill(entireProcessTree: true): nothing of it lives on, and no handler of the script runs."""
    pids, mark = tmp_path / "pids", tmp_path / "mark"
    body = (
        "import os, pathlib, signal, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"signal.signal(signal.SIGTERM, lambda *_: pathlib.Path({str(mark)!r}).write_text('told'))\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        "updateprogress(1, 'ready')\n"
        f"try:\n    while True: pass\nfinally:\n    pathlib.Path({str(mark)!r}).write_text('told')\n"
    )
    environment = world.environment()
    project = world.project("Web", python(body), step("Then", Condition="Always"))
    deployment = world.deploy(world.release(project), environment)
    world.until_state(deployment, "Executing")
    while "ready" not in [node.progress_message for _, node in world.task(deployment).root.walk()]:
        assert world.task(deployment).state == "Executing"
    answer = world.post(f"tasks/{deployment['TaskId']}/cancel")
    assert answer["State"] in ("Cancelling", "Canceled")
    task = world.ended(deployment)
    assert "Canceled" == task["State"]
    assert {"Do": "Canceled", "Then": "Canceled"} == world.steps(task)
    for pid in pids.read_text().split():
        assert not alive(int(pid)), pid
    assert not mark.exists()


def alive(pid: int) -> bool:
    """A zombie whose parent has not looked yet is dead."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_cancelling_an_ended_task_changes_nothing(world: World) -> None:
    task = world.deployed(step("One"))
    assert task == world.post(f"tasks/{task['Id']}/cancel")


def test_a_task_that_pretends_is_cancelled_in_the_middle(world: World) -> None:
    deployment = running(world, "Web", world.environment())
    world.post(f"tasks/{deployment['TaskId']}/cancel")
    assert "Canceled" == world.ended(deployment)["State"]


# --- people --------------------------------------------------------------------------------------------------------

MANUAL: Json = {"Octopus.Action.Manual.Instructions": OPEN + "Octopus.Project.Name} ready?"}


def paused(world: World, *after: Json, properties: Json | None = None) -> tuple[Json, Json]:
    """A deployment that waits for a person, and its interruption."""
    manual = step("Ask", kind="Octopus.Manual", properties={**MANUAL, **(properties or {})})
    project = world.project("Web", manual, *after)
    deployment = world.deploy(world.release(project), world.environment())
    world.until(lambda: world.task(deployment).interruptions)
    [interruption] = world.get("interruptions", regarding=deployment["TaskId"], pendingOnly="true")["Items"]
    return deployment, interruption


def answer(world: World, interruption: Json, result: str, notes: str = "") -> None:
    world.put(f"interruptions/{interruption['Id']}/responsible")
    world.post(f"interruptions/{interruption['Id']}/submit", {"Result": result, "Notes": notes})


def test_a_manual_intervention_pauses_the_task_outside_its_slot(world: World) -> None:
    """OctopusDeploy/Issues 4564, 5666, 5675, 10041."""
    deployment, interruption = paused(
        world, python("print(get_octopusvariable('Octopus.Action[Ask].Output.Manual.Notes'))", "Then")
    )
    task = world.get(f"tasks/{deployment['TaskId']}")
    assert ("Queued", True, ["ManualIntervention"]) == (
        task["State"],
        task["HasPendingInterruptions"],
        task["PendingInterruptionTypes"],
    )
    assert "Web ready?" == interruption["Form"]["Elements"][0]["Control"]["Text"]
    answer(world, interruption, "Proceed", "go on")
    task = world.ended(deployment)
    assert ("Success", False, ["go on"]) == (
        task["State"],
        task["HasPendingInterruptions"],
        [line for line in world.printed(task) if line == "go on"],
    )


@pytest.mark.emulator(task_cap=1)
def test_others_run_while_it_waits(world: World) -> None:
    paused(world)
    environment = world.get("environments/all")[0]
    assert (
        "Success"
        == world.ended(world.deploy(world.release(world.project("B", step("One"))), environment))["State"]
    )


def test_it_blocks_its_own_cell_only_when_asked(world: World) -> None:
    deployment, interruption = paused(
        world, properties={"Octopus.Action.Manual.BlockConcurrentDeployments": "True"}
    )
    environment = world.get("environments/all")[0]
    second = queued_like(world, deployment, environment, "1.1.0")
    assert "Queued" == world.get(f"tasks/{second['TaskId']}")["State"]
    answer(world, interruption, "Proceed")
    world.ended(deployment)
    world.until(lambda: world.task(second).interruptions)


def test_abort_fails_the_deployment(world: World) -> None:
    deployment, interruption = paused(world, step("Then"))
    answer(world, interruption, "Abort")
    task = world.ended(deployment)
    assert ("Failed", {"Ask": "Failed", "Then": "Skipped"}) == (task["State"], world.steps(task))


def test_an_interruption_is_answered_once_by_who_took_it(world: World) -> None:
    deployment, interruption = paused(world)
    path = f"interruptions/{interruption['Id']}"
    refused = world.api.post(f"{path}/submit", json={"Result": "Proceed"})
    assert "You must take responsibility for this interruption" in refused.json()["ErrorMessage"]
    world.put(f"{path}/responsible")
    assert "admin" == world.get(f"{path}/responsible")["Username"]
    other = world.client(key=world.emulator.add_key(user="somebody"))
    assert (
        "Someone else has taken responsibility"
        in other.post(f"{path}/submit", json={"Result": "Proceed"}).json()["ErrorMessage"]
    )
    assert 400 == world.api.post(f"{path}/submit", json={"Result": "Maybe"}).status_code
    world.post(f"{path}/submit", {"Result": "Proceed"})
    assert 400 == world.api.post(f"{path}/submit", json={"Result": "Proceed"}).status_code
    assert "Success" == world.ended(deployment)["State"]


def test_a_paused_task_can_be_cancelled(world: World) -> None:
    deployment, interruption = paused(world)
    world.post(f"tasks/{deployment['TaskId']}/cancel")
    assert "Canceled" == world.ended(deployment)["State"]
    assert not world.get(f"interruptions/{interruption['Id']}")["IsPending"]


def test_a_child_step_keeps_the_task_executing(world: World) -> None:
    rolling = {
        "Name": "Roll",
        "Actions": [
            {"Name": "Ask", "ActionType": "Octopus.Manual", "Properties": MANUAL},
            {"Name": "Then", "ActionType": "Octopus.Script"},
        ],
    }
    project = world.project("Web", rolling)
    deployment = world.deploy(world.release(project), world.environment())
    world.until(lambda: world.task(deployment).interruptions)
    task = world.get(f"tasks/{deployment['TaskId']}")
    assert ("Executing", True) == (task["State"], task["HasPendingInterruptions"])
    [interruption] = world.get("interruptions", pendingOnly="true")["Items"]
    answer(world, interruption, "Proceed")
    assert "Success" == world.ended(deployment)["State"]


# --- lists of tasks ------------------------------------------------------------------------------------------------


def test_tasks_are_filtered(world: World) -> None:
    environment = world.environment()
    done = world.ended(world.deploy(world.release(world.project("A", step("One"))), environment))
    failed = world.ended(
        world.deploy(world.release(world.project("B", lasting(0, outcome="failure"))), environment)
    )
    live = running(world, "C", environment)["TaskId"]

    def found(**query: object) -> list[str]:
        return [item["Id"] for item in world.get("tasks", **query)["Items"]]

    everything = [live, failed["Id"], done["Id"]]
    assert (
        everything == found() == found(ids="") == found(environment=environment["Id"]) == found(name="Deploy")
    )
    assert [failed["Id"], done["Id"]] == found(ids=f"{done['Id']},{failed['Id']}")
    assert [failed["Id"], done["Id"]] == found(ids=[done["Id"], failed["Id"]])
    assert [failed["Id"], done["Id"]] == found(states="Success,Failed") == found(states=["success", "Failed"])
    assert [live] == found(active="true") == found(running="true") == found(states="Executing")
    assert [done["Id"]] == found(project=done["ProjectId"])
    assert [] == found(name="RunbookRun") == found(ids="ServerTasks-99")
    assert [failed["Id"]] == found(hasWarningsOrErrors="true")
    assert [live] == found(take="1")
    assert 400 == world.api.get("tasks?states=Teapot").status_code


def test_deployments_are_filtered_by_the_state_of_their_task(world: World) -> None:
    environment = world.environment()
    project = world.project("A", step("One"))
    done = world.deploy(world.release(project), environment)
    world.ended(done)
    world.set_steps(project, lasting(0, outcome="failure"))
    failed = world.deploy(world.release(project, "1.1.0"), environment)
    world.ended(failed)

    def found(**query: object) -> list[str]:
        return [item["Id"] for item in world.get("deployments", **query)["Items"]]

    assert [failed["Id"], done["Id"]] == found(projects=project["Id"], environments=environment["Id"])
    assert [done["Id"]] == found(taskState="Success", take="1")
    assert [] == found(projects="Projects-99") == found(tenants="Tenants-1")


def test_the_legacy_path_finds_tasks_of_every_space(world: World) -> None:
    task = world.deployed(step("One"))
    assert task == world.web.get(f"/api/tasks/{task['Id']}").json()
    assert 1 == world.web.get("/api/tasks?spaces=Spaces-1").json()["TotalResults"]
    assert 0 == world.web.get("/api/tasks?spaces=Spaces-2").json()["TotalResults"]


def test_details_can_be_shortened(world: World) -> None:
    task = world.deployed(python("for n in range(5): print(n)\nprintverbose('quiet')"))
    path = f"tasks/{task['Id']}/details"

    def elements(**query: str) -> list[str]:
        [root] = world.get(path, **query)["ActivityLogs"]
        return [item["MessageText"] for item in root["Children"][0]["Children"][0]["LogElements"]]

    assert "quiet" in elements() and "quiet" not in elements(verbose="false")
    assert ["3", "4"] == elements(verbose="false", tail="2")
    raw = world.web.get(task["Links"]["Raw"])
    assert raw.headers["Content-Type"].startswith("text/plain")
    assert "quiet" in raw.text and f"Task ID:        {task['Id']}" in raw.text


def test_the_state_of_a_task_is_edited_only_once_it_has_ended(world: World) -> None:
    task = world.deployed(step("One"))
    path = f"tasks/{task['Id']}/state"
    assert "Failed" == world.post(path, {"State": "Failed", "Reason": "it lied"})["State"]
    for body, expected in (
        ({"State": "Failed", "Reason": "again"}, "The task is already in the state."),
        (
            {"State": "Executing", "Reason": "x"},
            "The task can not be put into the state.  Valid states are: Canceled, Failed, Success.",
        ),
        ({"State": "Success"}, "No body/reason/state was provided."),
    ):
        assert expected == world.api.post(path, json=body).json()["ErrorMessage"]
    live = running(world, "B", world.get("environments/all")[0])
    refused = world.api.post(f"tasks/{live['TaskId']}/state", json={"State": "Success", "Reason": "x"})
    assert "The task state can not be changed" in refused.json()["ErrorMessage"]


def test_a_deployment_cannot_be_run_again(world: World) -> None:
    task = world.deployed(step("One"))
    assert not task["CanRerun"]
    assert "This task cannot be re-run." == world.web.post(task["Links"]["Rerun"]).json()["ErrorMessage"]


def test_stopping_the_emulator_kills_what_runs(tmp_path: Path) -> None:
    from generator.emulator import Emulator

    pid = tmp_path / "pid"
    body = (
        f"import os, pathlib\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "updateprogress(1, 'ready')\nwhile True: pass"
    )
    with Emulator() as emulator:
        world = World(emulator)
        deployment = world.deploy(world.release(world.project("Web", python(body))), world.environment())
        world.until_state(deployment, "Executing")
        while "ready" not in [node.progress_message for _, node in world.task(deployment).root.walk()]:
            assert world.task(deployment).state == "Executing"
    assert not alive(int(pid.read_text()))


def test_what_a_live_task_needs_is_not_deleted(world: World) -> None:
    deployment = running(world, "Web", world.environment())
    paths = [
        f"projects/{deployment['ProjectId']}",
        f"releases/{deployment['ReleaseId']}",
        f"deployments/{deployment['Id']}",
    ]
    assert [400, 400, 400] == [world.api.delete(path).status_code for path in paths]
    world.post(f"tasks/{deployment['TaskId']}/cancel")
    world.ended(deployment)
    assert 200 == world.api.delete(f"releases/{deployment['ReleaseId']}").status_code
    assert 404 == world.api.get(f"tasks/{deployment['TaskId']}").status_code
    assert 200 == world.api.delete(f"projects/{deployment['ProjectId']}").status_code
    assert 200 == world.web.get("/").status_code
