"""The server away: connections refused, tasks lost or not, chance that repeats itself."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from world import LIMIT, World, lasting, python, step

from generator.emulator.faults import Faults

AWAY = 0.4


def open_http(world: World) -> httpx.Client:
    headers = {"X-Octopus-ApiKey": world.emulator.api_key}
    return httpx.Client(base_url=f"{world.emulator.url}/api/Spaces-1/", headers=headers, timeout=10)


def until_back(world: World) -> None:
    """Until the server answers on its socket again."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            httpx.get(f"{world.emulator.url}/api", timeout=10)
        except httpx.ConnectError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.02)
        else:
            return


def test_a_server_that_refuses_goes_on_with_its_tasks(world: World) -> None:
    """One request is reset, new connections are refused, and afterwards everything is as it went on meanwhile."""
    project = world.project("Web", lasting(3600))
    running = world.deploy(world.release(project), world.environment())
    world.until_state(running, "Executing")
    world.emulator.faults.add(path="lifecycles", kind="refused", delay=AWAY)
    with open_http(world) as http:
        with pytest.raises(httpx.NetworkError):
            http.get("lifecycles")
        with pytest.raises(httpx.ConnectError):
            http.get("lifecycles")
        with pytest.raises(ConnectionRefusedError):
            world.api.get("lifecycles")
        until_back(world)
        assert 200 == http.get("lifecycles").status_code
    assert "Executing" == world.get(f"tasks/{running['TaskId']}")["State"]
    world.post(f"tasks/{running['TaskId']}/cancel")


def test_open_connections_do_not_survive(world: World) -> None:
    """A client's kept connection is as dead as the server that held it."""
    with open_http(world) as http:
        assert 200 == http.get("lifecycles").status_code
        world.emulator.go_away(60)
        with pytest.raises(httpx.NetworkError):
            http.get("lifecycles")


@pytest.mark.emulator(task_cap=2)
def test_a_restart_fails_what_ran_and_keeps_the_queue(world: World, tmp_path: Path) -> None:
    """OctopusDeploy/Issues 5174 and 3309: running tasks are Failed when the server is back; queued ones then run."""
    alive = tmp_path / "alive"
    script = f"import pathlib, time\npathlib.Path({str(alive)!r}).write_text('yes')\ntime.sleep(36000)"
    where = world.environment()
    first = world.deploy(world.release(world.project("Script", python(script), step("After"))), where)
    second = world.deploy(world.release(world.project("Pretends", lasting(36000))), where)
    third = world.deploy(world.release(world.project("Waits", step("Quick"))), where)
    world.until_state(second, "Executing")
    deadline = time.monotonic() + LIMIT
    while not alive.exists():
        assert time.monotonic() < deadline, "the script did not start"
        time.sleep(0.02)
    assert "Queued" == world.task(third).state
    world.emulator.go_away(AWAY, restart=True)
    until_back(world)
    for lost in (first, second):
        task = world.get(f"tasks/{lost['TaskId']}")
        assert ("Failed", "The Octopus Server was restarted while this task was running.") == (
            task["State"],
            task["ErrorMessage"],
        )
    assert {"Do": "Canceled", "After": "Canceled"} == world.steps(world.get(f"tasks/{first['TaskId']}"))
    assert "Success" == world.ended(third)["State"]


def test_a_restart_keeps_who_waits_for_a_person(world: World) -> None:
    """A paused task holds no slot and is not running: after the restart it can still be answered."""
    project = world.project("Web", step("Approve", kind="Octopus.Manual"), step("After"))
    paused = world.deploy(world.release(project), world.environment())
    world.until(lambda: bool(world.task(paused).interruptions))
    world.emulator.go_away(0.05, restart=True)
    until_back(world)
    [interruption] = world.get("interruptions", pendingOnly="true")["Items"]
    world.put(f"interruptions/{interruption['Id']}/responsible")
    world.post(f"interruptions/{interruption['Id']}/submit", {"Result": "Proceed"})
    assert "Success" == world.ended(paused)["State"]


def test_a_task_that_was_being_cancelled_ends_canceled(world: World) -> None:
    running = world.deploy(world.release(world.project("Web", lasting(36000))), world.environment())
    world.until_state(running, "Executing")
    with world.emulator.state.lock:  # the restart comes before the cancelled step has noticed
        world.post(f"tasks/{running['TaskId']}/cancel")
        world.emulator.go_away(0.05, restart=True)
    until_back(world)
    assert "Canceled" == world.ended(running)["State"]


def test_it_can_be_stopped_while_it_is_away(world: World) -> None:
    world.emulator.go_away(3600, restart=True)
    world.emulator.stop()


# --- chance --------------------------------------------------------------------------------------------------------


def strikes(seed: int, *, asked: int = 200) -> list[bool]:
    faults = Faults()
    faults.add(path="tasks", probability=0.25, seed=seed, count=None)
    return [faults.take("GET", "/api/tasks") is not None for _ in range(asked)]


def test_chance_strikes_about_as_often_as_it_says() -> None:
    assert 25 <= sum(strikes(1)) <= 75


def test_the_same_seed_strikes_the_same_requests() -> None:
    assert strikes(7) == strikes(7)
    assert strikes(7) != strikes(8)


def test_what_chance_lets_pass_counts_no_hit_and_meets_the_next_rule() -> None:
    faults = Faults()
    rare = faults.add(path="tasks", probability=1e-9, count=1)
    always = faults.add(path="tasks", status=500, count=None)
    assert [always, always] == [faults.take("GET", "/api/tasks") for _ in range(2)]
    assert 0 == rare.hits


@pytest.mark.parametrize("probability", [0.0, -1.0, 1.5])
def test_an_impossible_probability_is_a_mistake_of_the_test(probability: float) -> None:
    with pytest.raises(ValueError, match="not possible"):
        Faults().add(probability=probability)
