"""Many tasks and many clients at once: no wrong answer, no lost task."""

from __future__ import annotations

import threading
import time
from collections import Counter

import httpx
import pytest
from world import World, lasting, python

PLACES, SCRIPTS, CLIENTS = 64, 10, 50
TASKS = 3 * PLACES + SCRIPTS
PAUSE = 0.5  # real seconds between a client's polls: steps poll far more seldom
ORDER = {"Queued": 0, "Executing": 1, "Success": 2, "Failed": 2, "Canceled": 2}


class Poller(threading.Thread):
    """A client over the socket that asks for all tasks, and for one at a time, until all have ended."""

    def __init__(self, world: World, wanted: dict[str, str], start: int) -> None:
        super().__init__(daemon=True)
        self.world, self.wanted, self.offset = world, wanted, start
        self.faults: list[str] = []
        self.asked = self.most = 0

    def run(self) -> None:
        headers = {"X-Octopus-ApiKey": self.world.emulator.api_key}
        base = f"{self.world.emulator.url}/api/Spaces-1/"
        ids = sorted(self.wanted)
        last: dict[str, str] = {}
        try:
            with httpx.Client(base_url=base, headers=headers, timeout=60) as http:
                while len(last) < len(ids) or any(ORDER[state] < 2 for state in last.values()):
                    answer = http.get("tasks", params={"ids": ",".join(ids), "take": 2147483647})
                    found = {task["Id"]: task for task in answer.raise_for_status().json()["Items"]}
                    if sorted(found) != ids:
                        self.faults.append(f"asked for {len(ids)} tasks, got {len(found)}")
                    running = sum(task["State"] == "Executing" for task in found.values())
                    self.most = max(self.most, running)
                    one = ids[self.offset % len(ids)]
                    found[one] = http.get(f"tasks/{one}").raise_for_status().json()
                    self.offset += 7
                    self.asked += 2
                    for identifier, task in found.items():
                        self._check(task, last.get(identifier, "Queued"))
                        last[identifier] = task["State"]
                    time.sleep(PAUSE)
        except Exception as error:
            self.faults.append(repr(error))

    def _check(self, task: dict[str, object], before: str) -> None:
        state = str(task["State"])
        if ORDER[state] < ORDER[before]:
            self.faults.append(f"{task['Id']} was {before} and then {state}")
        if task["IsCompleted"] != (ORDER[state] == 2) or task["FinishedSuccessfully"] != (state == "Success"):
            self.faults.append(f"{task['Id']} contradicts itself")
        if ORDER[state] == 2 and self.wanted[str(task["Id"])] != state:
            self.faults.append(f"{task['Id']} ended {state}, wanted {self.wanted[str(task['Id'])]}")
        if (task["StartTime"] is None) != (state == "Queued") and state != "Canceled":
            self.faults.append(f"{task['Id']} is {state} and was started at {task['StartTime']}")


@pytest.mark.emulator(speed=20.0, task_cap=TASKS)
def test_two_hundred_tasks_side_by_side_with_fifty_clients(world: World) -> None:
    """Every client sees every task go forwards only, and end once, as its steps say."""
    outcomes = {
        "Good": [lasting(40), lasting(20, "More")],
        "Bad": [lasting(30, outcome="failure"), lasting(5, "More")],
        "Real": [python("print('real')"), lasting(40, "More")],
    }
    where = [world.environment(f"E{number}") for number in range(PLACES)]
    world.emulator.engine.suspend()  # so that they begin together
    wanted: dict[str, str] = {}
    lifecycle = world.lifecycle({"Name": "All", "OptionalDeploymentTargets": [item["Id"] for item in where]})
    for project, name, expected in (
        ("A", "Good", "Success"), ("B", "Good", "Success"), ("C", "Bad", "Failed"), ("D", "Real", "Success"),
    ):  # fmt: skip
        release = world.release(world.project(project, *outcomes[name], LifecycleId=lifecycle["Id"]))
        # Real processes are few: two processors start some ten of them a second.
        for environment in where if name != "Real" else where[:SCRIPTS]:
            wanted[world.deploy(release, environment)["TaskId"]] = expected
    clients = [Poller(world, wanted, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    world.emulator.engine.resume()
    for client in clients:
        client.join(timeout=120)
        assert not client.is_alive(), "a client waits for ever"
    assert [] == [fault for client in clients for fault in client.faults][:10]
    assert len(wanted) == TASKS >= 200
    assert max(client.most for client in clients) > 150, "they ran side by side"
    assert sum(client.asked for client in clients) >= 2 * CLIENTS
    tasks = world.get("tasks", take=2147483647)["Items"]
    assert Counter(wanted.values()) == Counter(task["State"] for task in tasks)
    assert len(wanted) == len({task["Arguments"]["DeploymentId"] for task in tasks})
