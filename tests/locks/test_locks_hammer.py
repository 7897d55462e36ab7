"""Real scripts hammer one lock while processes are killed, tasks cancelled, answers lost, servers restarted.

`OCTOSTEPS_LOCK_ACQUISITIONS=200` plays the whole size: twenty deployments of five projects at any time. The suite plays a
smaller one. A witness outside the lock sees who is inside.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import suppress

import pytest
from lock_scene import LockScene, add_variable, cancel, open_lock_scene, script_step, variables
from witness import Witness

from generator.octopus import OctopusError
from generator.runtime.lock_state import LockState
from tests.processes import needs_proc, script_processes
from tests.scene import Document

ACQUISITIONS = int(os.environ.get("OCTOSTEPS_LOCK_ACQUISITIONS", "6"))
WHOLE = ACQUISITIONS >= 100
PROJECTS, ENVIRONMENTS = (
    (5, 4) if WHOLE else (2, 2)
)  # one at a time in each: that many deployments run side by side
SHARES = (1, 3) if WHOLE else (1,)  # that others share is played in virtual time as well
SPEED = 40
KILLS, CANCELS, RESTARTS = (ACQUISITIONS // 8, ACQUISITIONS // 12, 2) if WHOLE else (2, 1, 1)
LONGEST = 1800.0 if WHOLE else 85.0
SET = r"/variables/variableset-Lib"


class Hammer:
    """Keeps all places busy with deployments until enough have been inside, and makes trouble meanwhile."""

    def __init__(self, locks: LockScene, witness: Witness, *, share: int, seed: int) -> None:
        self.locks, self.scene, self.witness = locks, locks.scene, witness
        self.lot = random.Random(seed)
        self.running: dict[tuple[str, str], str] = {}
        self.tasks: list[str] = []
        self.struck: list[tuple[str, int]] = []
        self.killed = self.cancelled = self.restarted = self.edited = 0
        mode = "exclusive" if share == 1 else f"shared by up to {share}"
        self.projects = [f"Project {number}" for number in range(PROJECTS)]
        for name in self.projects:
            self.scene.make_project(name)
        ids = {name: self.scene.projects[name]["Id"] for name in self.projects}
        # Its key does not see the first project's tasks: whose claims it cannot judge.
        blind = locks.emulator.add_key(projects=[ids[name] for name in self.projects[1:]])
        for name in self.projects:
            key = {"api_key": blind} if name == self.projects[-1] else {}
            self.scene.put_steps(name, self.steps(mode, key))
            self.scene.make_release(name, "1.0.0")

    def steps(self, mode: str, key: dict[str, str]) -> list[Document]:
        take = self.locks.take(mode=mode, wait_limit="1d", **key)
        take["Actions"][0]["Properties"]["Octopus.Action.AutoRetry.MaximumCount"] = "1"
        take["Actions"][0]["Properties"]["Octopus.Action.AutoRetry.MinimumBackoff"] = "1"
        return [take, script_step("Work", self.witness.script(4)), self.locks.give_back(**key)]

    def play(self) -> None:
        faults = self.locks.emulator.faults
        chance = 0.06
        faults.add(path=SET, method="PUT", kind="lost_answer", count=None, probability=chance, seed=1)
        faults.add(path=SET, method="PUT", kind="status", status=503, count=None, probability=chance, seed=2)
        faults.add(path=SET, method="PUT", kind="truncated", count=None, probability=chance, seed=3)
        faults.add(path=SET, method="GET", kind="reset", count=None, probability=chance, seed=4)
        faults.add(
            path=r"/tasks$", method="GET", kind="status", status=502, count=None, probability=chance, seed=5
        )
        deadline = time.monotonic() + LONGEST
        while len(self.witness.entries) < ACQUISITIONS:
            assert time.monotonic() < deadline, f"only {len(self.witness.entries)} got in\n{self.state()}"
            self.keep_busy()
            self.trouble()
            time.sleep(0.1)
        self.struck = [(fault.kind, fault.hits) for fault in faults.rules]
        faults.clear()
        # Those who cannot see the dead wait for one who can, as they would for a person: such ones come again and again.
        while self.alive():
            assert time.monotonic() < deadline + 120, f"somebody still waits\n{self.state()}"
            if not any(place[0] != self.projects[-1] for place in self.alive()):
                self.start((self.projects[0], next(iter(self.scene.environments))))
            time.sleep(0.2)

    def keep_busy(self) -> None:
        alive = self.alive()
        for name in self.projects:
            for environment in self.scene.environments:
                if (name, environment) not in alive:
                    self.start((name, environment))

    def start(self, place: tuple[str, str]) -> None:
        with suppress(OctopusError):  # the server is just away
            self.running[place] = self.locks.begin(*place)
            self.tasks.append(self.running[place])

    def alive(self) -> dict[tuple[str, str], str]:
        tasks = self.locks.emulator.state.tasks
        return {place: task for place, task in self.running.items() if not tasks[task].is_completed}

    def trouble(self) -> None:
        """In its share of the whole, each kind of trouble: by how far the game has come."""
        share = len(self.witness.entries) / ACQUISITIONS
        if self.killed < KILLS * share + 0.5 and (victims := script_processes()):
            with suppress(ProcessLookupError):
                os.kill(self.lot.choice(victims), signal.SIGKILL)
                self.killed += 1
        if self.cancelled < CANCELS * share and (alive := self.alive()):
            with suppress(OctopusError):
                cancel(self.scene, self.lot.choice(list(alive.values())))
                self.cancelled += 1
        if self.restarted < RESTARTS * share - 0.4:
            self.locks.emulator.go_away(0.5, restart=True)
            self.restarted += 1
        if self.lot.random() < 0.2:
            with suppress(OctopusError):  # a person who edits the set now and then, and is sometimes too late
                add_variable(self.scene, {"Name": f"Foreign {self.edited}", "Value": "x", "Scope": {}})
                self.edited += 1

    def state(self) -> str:
        alive = self.alive()
        return "\n".join(
            [
                f"{len(alive)} run; the lock: {self.locks.lock()}",
                *(self.scene.log(task) for task in list(alive.values())[:3]),
            ]
        )


@needs_proc
@pytest.mark.parametrize("share", SHARES, ids="shared by {}".format)
def test_hammered(share: int) -> None:
    """Never more inside than agreed, everybody gets through, nothing is left behind, fences only grow."""
    environments = [f"Environment {number}" for number in range(ENVIRONMENTS)]
    options = {"environments": environments, "speed": SPEED, "task_cap": PROJECTS * ENVIRONMENTS + 2}
    with Witness() as witness, open_lock_scene(**options) as locks:
        hammer = Hammer(locks, witness, share=share, seed=share)
        hammer.play()
        entries = witness.entries
        logs = {task: locks.scene.log(task) for task in hammer.tasks}
        story = (
            f"{len(entries)} got in by {len(hammer.tasks)} deployments; {hammer.killed} killed, {hammer.cancelled} cancelled, "
            f"{witness.vanished} of them inside; {hammer.restarted} restarts, {hammer.edited} foreign edits, faults: "
            f"{hammer.struck}"
        )
        print(story)
        assert witness.most <= share, (witness.crowds, story)
        assert witness.most == share or not WHOLE, story  # else it would have shown nothing
        fences = [fence for _, fence in entries]
        assert len(set(fences)) == len(fences), story
        assert share > 1 or fences == sorted(fences), story
        assert not any("timed out" in log or "misconfigured" in log for log in logs.values()), story
        assert hammer.killed >= 1 and hammer.restarted == RESTARTS, story
        # Whoever comes next finds the lock free, and leaves it so.
        last = locks.begin(hammer.projects[0], environments[0])
        assert locks.scene.wait(last)["State"] == "Success", locks.scene.log(last)
        assert locks.lock() == LockState(locks.lock().fence), story
        names = {one["Name"] for one in variables(locks.scene)[1]}
        assert {f"Foreign {number}" for number in range(hammer.edited)} <= names, story
        assert threading.active_count() < 200
