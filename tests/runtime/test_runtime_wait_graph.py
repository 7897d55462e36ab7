"""Looking for deadlocks while waiting: in time, within the budget, and never where somebody still works. Time is virtual."""

from __future__ import annotations

import json
import random
import re
from datetime import timedelta
from typing import Any

import pytest
from runtime_fakes import FakeDeployment, FakeOctopus, FakeServer, VirtualTime, make_api
from test_runtime_deadlocks import World

from generator.runtime.announcements import Announcement, Target
from generator.runtime.deadlocks import NEEDS_ALL, NEEDS_ANY, NEEDS_LOCK
from generator.runtime.step import Step
from generator.runtime.transport import HttpAnswer, HttpRequest
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits, Waiter, Watch

OWN = "ServerTasks-1"
OURS = {
    "Octopus.Task.Id": OWN,
    "Octopus.Space.Id": "Spaces-1",
    "Octopus.Web.ServerUri": "http://octopus.example",
}
OLD, YOUNG = 1, 4_000_000_000  # when a wait began: before or after the own one


class Scene:
    """A task of ours, number 1, that waits for number 2; the test says what the others wait for."""

    def __init__(
        self, *, need: str = NEEDS_ALL, targets: tuple[Target, ...] = (Target("ServerTasks-2"),)
    ) -> None:
        self.time = VirtualTime()
        self.server = FakeServer(self.time)
        self.server.add(starts=0)
        self.octopus = FakeOctopus(OURS)
        self.need, self.targets = need, targets

    def add(self, *targets: str, need: str = NEEDS_ALL, since: int = OLD, **timeline: Any) -> FakeDeployment:
        """Another task that executes, and waits for those."""
        number = len(self.server.deployments) + 1
        told = str(Announcement(f"{number:08x}", since, need, [Target(target) for target in targets]))
        timeline = {"starts": 0, "steps": [("Wait", 0, float("inf"), "Success")], **timeline}
        return self.server.add(announces=told if targets else "", **timeline)

    def wait(self) -> list[Watch]:
        """Those that the wait returned: late, or never to end."""
        api = make_api(self.time, self.server)
        step = Step(self.octopus.log(), {"name": "Ours"})
        watches = [Watch(f"Child {target.task}", target.task, "") for target in self.targets]
        for watch, target in zip(watches, self.targets, strict=True):
            watch.target = target
        limits = Limits(timedelta(hours=1), timedelta(hours=1))
        waiter = Waiter(api, step.log, watches, limits, lookout=Lookout(api, step), need=self.need)
        return waiter.wait()

    def requests(self, first: float, last: float) -> int:
        return sum(1 for at in self.server.times if first <= at < last)


def ring(scene: Scene, size: int) -> None:
    """Tasks 2 to `size`, each of which waits for the next, and the last for ours."""
    for number in range(2, size + 1):
        scene.add(f"ServerTasks-{number % size + 1}")


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_chain_is_named_within_three_minutes_and_the_budget(size: int) -> None:
    scene = Scene()
    ring(scene, size)
    [watch] = scene.wait()
    assert "gives way" in watch.deadlock
    assert all(f"ServerTasks-{number}" in watch.deadlock for number in range(2, size + 1))
    assert scene.time.now <= 180
    assert len(scene.server.requests) <= 26 + 6 * scene.time.now / 60  # a burst, and six a minute


def test_a_younger_wait_gives_way_first_and_then_the_next() -> None:
    """The chain is told at once. The younger one has its turn; when it does not use it, for four minutes, it is ours."""
    scene = Scene()
    scene.add(OWN, since=YOUNG)
    [watch] = scene.wait()
    [warning] = scene.octopus.texts("warning")
    assert (
        "Deadlock: this task waits for Deploy release Releases-1 (ServerTasks-2), which waits for this task"
        in warning
    )
    assert "It is for Deploy release Releases-1 (ServerTasks-2) to give way" in warning
    assert "gives way" in watch.deadlock
    assert 280 <= scene.time.now <= 600


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"need": NEEDS_ANY}, id="it will do with another one"),
        pytest.param({"paused": [(0, 10000)]}, id="a person is asked there"),
        pytest.param(
            {"steps": [("Wait", 0, 65, "Success"), ("Work", 65, 4000, "Success")]},
            id="its wait ends between two looks",
        ),
    ],
)
def test_no_deadlock(changes: dict[str, Any]) -> None:
    """The child waits for us, or seems to, but comes to an end by itself."""
    scene = Scene()
    scene.add(OWN, ends=3000, **changes)
    assert [] == scene.wait()
    assert [] == scene.octopus.texts("warning")


def test_a_wait_that_begins_anew_between_two_looks_is_no_proof() -> None:
    """The other one's waits are short, one after another: each has an id of its own."""
    scene = Scene()
    other = scene.add(OWN, ends=900)
    asked = 0

    def renew(request: HttpRequest) -> HttpAnswer | None:
        nonlocal asked
        if "/details" in request.url:
            asked += 1
            other.announces = str(Announcement(f"{asked:08x}", OLD, NEEDS_ALL, [Target(OWN)]))
        return None

    scene.server.faults.append(renew)
    assert [] == scene.wait()
    assert asked > 10
    assert [] == scene.octopus.texts("warning")


@pytest.mark.parametrize("need", [NEEDS_ANY])
def test_a_wait_for_any_gives_no_way(need: str) -> None:
    scene = Scene(need=need)
    scene.add(OWN, ends=600)
    assert [] == scene.wait()
    assert [] == scene.octopus.texts("warning")


@pytest.mark.parametrize(
    ("step", "is_found"),
    [
        pytest.param("Last", True, id="a step that is to come after the waiting one"),
        pytest.param("First", False, id="a step that runs beside the waiting one"),
    ],
)
def test_a_wait_for_a_step(step: str, is_found: bool) -> None:
    """The child's step *Wait* waits for us, while we wait until another of its steps has passed."""
    scene = Scene(targets=(Target("ServerTasks-2", step, True),))
    child = scene.add(OWN, ends=900)
    child.steps = [("First", 0, 900, "Success"), ("Wait", 0, 900, "Success"), ("Last", 900, 900, "Success")]
    found = scene.wait()
    assert is_found == bool(found and found[0].deadlock)


def test_an_announcement_is_current_and_taken_back() -> None:
    """Everybody can read in the progress message whom this step waits for; at the end nobody."""
    scene = Scene(targets=(Target("ServerTasks-2"), Target("ServerTasks-3")))
    scene.server.add(starts=0, ends=60)
    scene.server.add(starts=0, ends=120)
    assert [] == scene.wait()
    told = [message for _, message in scene.octopus.progress]
    assert any(message.endswith("for all: ServerTasks-2 ServerTasks-3]") for message in told)
    assert any(message.endswith("for all: ServerTasks-3]") for message in told)
    ids = {message.partition("[octosteps waits ")[2][:8] for message in told if "[octosteps" in message}
    assert 1 == len(ids)
    assert "[octosteps" not in told[-1]


def test_a_lock_step_looks_without_a_waiter() -> None:
    """What Acquire Lock does: announces the holder, and looks once a poll."""
    scene = Scene()
    scene.add(OWN)
    api = make_api(scene.time, scene.server)
    lookout = Lookout(api, Step(scene.octopus.log(), {"name": "Ours"}))
    sentence = ""
    while not sentence and scene.time.now < 180:
        lookout.announce(NEEDS_LOCK, [Target("ServerTasks-2")])
        sentence = lookout.look()
        scene.time.sleep(10)
    assert sentence.startswith(
        "this task waits for a lock that is held by Deploy release Releases-1 (ServerTasks-2), which"
    )


def test_outside_of_a_task_nothing_is_announced() -> None:
    scene = Scene()
    scene.octopus.variables.clear()
    scene.add(OWN, ends=300)
    assert [] == scene.wait()
    assert not any("[octosteps" in message for _, message in scene.octopus.progress)


def test_fifty_children_that_wait_for_others_cost_no_more() -> None:
    """An hour, six requests a minute, and the end noticed within 15 s, however much there is to look through."""
    scene = Scene(targets=tuple(Target(f"ServerTasks-{number}") for number in range(2, 52)))
    for _ in range(50):
        scene.add("ServerTasks-60", "ServerTasks-61", ends=3600)
    assert [] == scene.wait()
    assert len(scene.server.requests) <= 360
    assert 3600 <= scene.time.now <= 3615


def test_what_the_awaited_quotes_of_us_is_not_quoted_again() -> None:
    """Two that wait for each other would tell each other's warnings back and forth, each time longer."""
    scene = Scene()
    child = scene.add(OWN, since=YOUNG)
    details = child.details

    def quoting(now: float) -> dict[str, Any]:
        """The child tells our warnings as its own, as a step of ours does."""
        document = details(now)
        ours = scene.octopus.texts("warning")
        lines = ["disk is nearly full", *(f"Parent: Step 1: {text}" for text in ours)]
        document["ActivityLogs"][0]["LogElements"] = [
            {"Category": "Warning", "MessageText": text, "Number": number}
            for number, text in enumerate(lines)
        ]
        return document

    child.details = quoting  # type: ignore[method-assign]
    scene.wait()
    warnings = scene.octopus.texts("warning")
    assert ["Child ServerTasks-2: disk is nearly full"] == [text for text in warnings if "disk" in text]
    assert 2 == len(warnings), warnings


def test_a_chain_through_queues_is_named_in_time() -> None:
    """Ours waits for 2, in line behind 3, which waits for 4, in line behind 5, which waits for ours."""
    scene = Scene()
    scene.server.add(behind=["ServerTasks-3"])
    scene.add("ServerTasks-4")
    scene.server.add(behind=["ServerTasks-5"])
    scene.add(OWN)
    [watch] = scene.wait()
    assert (
        "which stands in the queue behind Deploy release Releases-1 (ServerTasks-3) (one at a time"
        in watch.deadlock
    )
    assert scene.time.now <= 180
    assert len(scene.server.requests) <= 26 + 6 * scene.time.now / 60


class Shifting:
    """A server whose tasks begin and end waits between any two requests: those of a `World`, where there never is a deadlock."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, 4 + seed % 3, needs=(NEEDS_ALL, NEEDS_ALL, NEEDS_LOCK, NEEDS_ANY))
        self.chance = random.Random(seed)

    def __call__(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        number = re.search(r"/api/tasks/ServerTasks-(\d+)/details", request.url)
        assert number is not None, request.url
        task = f"T{number.group(1)}"
        ended = task in self.world.ended
        told = ""
        if not ended and task in self.world.waits:
            need, wait, targets = self.world.waits[task]
            ids = [
                Target(f"ServerTasks-{target[1:]}") for target in targets if target not in self.world.ended
            ]
            told = str(Announcement(f"{int(wait.split()[1]):08x}", OLD, need, ids)) if ids else ""
        step = {"Name": "Step 1: Wait", "Status": "Running", "ProgressMessage": told, "Children": []}
        document = {
            "Task": {"Id": f"ServerTasks-{task[1:]}", "State": "Success" if ended else "Executing"},
            "ActivityLogs": [{"Children": [step]}],
        }
        for _ in range(self.chance.randint(0, 6)):
            self.world.step()
        return HttpAnswer(200, {}, json.dumps(document).encode())


def test_reading_a_world_that_moves_gives_no_alarm() -> None:
    """The same as for bare graphs, through everything that reads: announcements, logs, two passes."""
    suspected = 0
    for seed in range(300):
        server = Shifting(seed)
        time = VirtualTime()
        octopus = FakeOctopus({**OURS, "Octopus.Task.Id": "ServerTasks-0"})
        lookout = Lookout(make_api(time, server), Step(octopus.log(), {"name": "Ours"}))
        for _ in range(12):
            waits = server.world.waits.get("T0")
            need, targets = (
                (waits[0], waits[2]) if waits and "T0" not in server.world.ended else (NEEDS_ALL, [])
            )
            alive = [Target(f"ServerTasks-{one[1:]}") for one in targets if one not in server.world.ended]
            lookout.announce(need, alive)
            assert lookout.look() == "", f"seed {seed}"
            suspected += lookout.is_proving
            time.sleep(20)
        assert octopus.texts("warning") == [], f"seed {seed}"
    assert suspected, "no single pass was ever misled, so that nothing was tested"
