"""Deadlocks as graphs: none in graphs without one, however they change while they are read; every real one found."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from generator.runtime.announcements import (
    MOST_ANNOUNCED,
    Announcement,
    Target,
    announced_waits,
    parse_announcement,
    still_needs,
)
from generator.runtime.deadlocks import (
    NEEDS_ALL,
    NEEDS_ANY,
    NEEDS_LOCK,
    NEEDS_SLOT,
    STANDS_BEHIND,
    Edge,
    chain_in_words,
    find_deadlock,
    persistent,
)

HARD = (NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND)
MIXED = (NEEDS_ALL, NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND, NEEDS_SLOT, NEEDS_ANY)


def edges(*words: str, **changes: object) -> list[Edge]:
    """`A all B` as an edge; the wait is named after its waiter, and began the later the later its name comes."""
    made = []
    for word in words:
        waiter, need, target = word.split()
        wait = "" if need in (STANDS_BEHIND, NEEDS_SLOT) else f"wait of {waiter}"
        made.append(Edge(waiter, target, need, wait, ord(waiter[0]) if wait else 0))
    return made


@pytest.mark.parametrize(
    ("words", "youngest"),
    [
        pytest.param(["A all B", "B all A"], "B", id="two that wait for each other"),
        pytest.param(["A all B", "B lock A"], "B", id="a lock held by one that waits for the asker"),
        pytest.param(["A all Q", "Q behind A"], "A", id="a child behind its own parent"),
        pytest.param(
            ["A all Q", "Q behind R", "R behind A"], "A", id="a child behind one that is behind its parent"
        ),
        pytest.param(["A all Q", "Q slot A"], "A", id="a task cap of one"),
        pytest.param(
            ["A all Q", "Q slot A", "Q slot B", "B all R", "R slot A", "R slot B"],
            "B",
            id="a cap full of waiters",
        ),
        pytest.param(["A all B", "A all X", "B all A"], "B", id="one of several that all are needed"),
        pytest.param(["A all B", "B all C", "C all D", "D all E", "E all A"], "E", id="a chain of five"),
        pytest.param(["A all B", "B all C", "C all B"], "C", id="outside of the circle"),
    ],
)
def test_is_found(words: Sequence[str], youngest: str) -> None:
    deadlock = find_deadlock(edges(*words), "A")
    assert deadlock is not None
    assert deadlock.is_certain
    assert f"wait of {youngest}" == deadlock.waits[0][1]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["A all B", "B any A"], id="any never counts"),
        pytest.param(["A all B", "B all C"], id="C works"),
        pytest.param(["A all Q", "Q slot A", "Q slot B"], id="another one in a slot works"),
        pytest.param(
            ["A all Q", "Q slot A", "Q slot B", "B all C"],
            id="another one in a slot waits for one that works",
        ),
        pytest.param(["B all C", "C all B", "A any B"], id="any into a circle"),
        pytest.param([], id="nothing is known"),
    ],
)
def test_is_no_deadlock(words: Sequence[str]) -> None:
    assert find_deadlock(edges(*words), "A") is None


def test_a_guess_makes_a_suspicion() -> None:
    wait, slot = edges("A all Q", "Q slot A")
    deadlock = find_deadlock([wait, slot._replace(is_sure=False)], "A")
    assert deadlock is not None
    assert not deadlock.is_certain


def test_the_chain_leads_into_the_circle_and_around() -> None:
    deadlock = find_deadlock(edges("A all B", "B all C", "C lock B"), "A")
    assert deadlock is not None
    assert (
        "this task waits for Bee (B), which waits for Cee (C), which waits for a lock that is held by Bee (B)"
        == chain_in_words(deadlock.chain, {"B": "Bee", "C": "Cee"}, "A")
    )
    assert deadlock.rank_of("wait of A") is None


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        pytest.param(["A all B", "B all C"], ["A all B"], ["A all B"], id="what has ended meanwhile"),
        pytest.param(["A all B"], ["A all B", "B all C"], ["A all B"], id="what has begun meanwhile"),
        pytest.param(["Q slot A", "Q slot B"], ["Q slot A", "Q slot C"], [], id="another one in a slot"),
        pytest.param(
            ["Q slot A", "Q behind B"], ["Q slot C", "Q behind B"], ["Q behind B"], id="a tag stays"
        ),
    ],
)
def test_persistent(first: Sequence[str], second: Sequence[str], left: Sequence[str]) -> None:
    assert edges(*left) == persistent(edges(*first), edges(*second))


def test_another_wait_for_the_same_is_another_edge() -> None:
    [before] = edges("A all B")
    assert [] == persistent([before], [before._replace(wait="another")])


# --- random graphs ---------------------------------------------------------------------------------------------------


class World:
    """Tasks that wait for each other and go on, one event after the other. A wait begins only where everybody can still come to
    an end: so there never is a deadlock, though whoever reads it piece by piece may see circles."""

    def __init__(self, seed: int, size: int, needs: Sequence[str] = MIXED) -> None:
        self.chance = random.Random(seed)
        self.needs = needs
        self.tasks = [f"T{number}" for number in range(size)]
        self.waits: dict[str, tuple[str, str, list[str]]] = {}  # need, wait id, targets
        self.ended: set[str] = set()
        self.count = 0
        for _ in range(size):
            self.begin_wait()

    def begin_wait(self) -> None:
        waiter = self.chance.choice(self.tasks)
        if waiter in self.waits or waiter in self.ended:
            return
        need = self.chance.choice(self.needs)
        self.count += 1
        self.waits[waiter] = (
            need,
            f"wait {self.count}",
            self.chance.sample(self.tasks, self.chance.randint(1, 3)),
        )
        if not self.all_can_end():
            del self.waits[waiter]

    def all_can_end(self) -> bool:
        can_end = set(self.ended)
        while more := {task for task in self.tasks if task not in can_end and self.is_free(task, can_end)}:
            can_end |= more
        return len(can_end) == len(self.tasks)

    def step(self) -> None:
        """Something happens: another wait begins; one ends before its target does, for a lock was released, a step passed or a
        limit has come; or a task that nothing holds goes on, and perhaps ends."""
        event = self.chance.random()
        if event < 0.5:
            self.begin_wait()
            return
        if event < 0.8 and self.waits:
            del self.waits[self.chance.choice(list(self.waits))]
            return
        free = [task for task in self.tasks if task not in self.ended and self.is_free(task, self.ended)]
        if free:
            task = self.chance.choice(free)
            self.waits.pop(task, None)
            if self.chance.random() < 0.2:
                self.ended.add(task)

    def is_free(self, task: str, ended: set[str]) -> bool:
        """Whether its wait, if it has one, is over once those have ended."""
        if task not in self.waits:
            return True
        need, _, targets = self.waits[task]
        done = [target in ended for target in targets]
        return any(done) if need in (NEEDS_ANY, NEEDS_SLOT) else all(done)

    def edges_of(self, task: str) -> list[Edge]:
        if task in self.ended or task not in self.waits:
            return []
        need, wait, targets = self.waits[task]
        if need in (NEEDS_ANY, NEEDS_SLOT) and self.is_free(task, self.ended):
            return []  # a task for which there is a slot does not stand in line any more
        return [Edge(task, target, need, wait) for target in targets if target not in self.ended]

    def read(self) -> list[Edge]:
        """One pass in any order, while the world goes on."""
        found: list[Edge] = []
        for task in self.chance.sample(self.tasks, len(self.tasks)):
            found.extend(self.edges_of(task))
            for _ in range(self.chance.randint(0, 4)):
                self.step()
        return found


def is_deadlocked(found: Iterable[Edge], tasks: Iterable[str]) -> bool:
    known = list(found)
    return any(find_deadlock(known, task) is not None for task in tasks)


def test_a_thousand_worlds_without_a_deadlock_give_no_alarm() -> None:
    """Waits end and begin while they are read, and *any* waits lead back: one pass may look like a circle, two never do."""
    looked_like = 0
    for seed in range(1000):
        world = World(seed, 3 + seed % 5)
        first = world.read()
        second = world.read()
        looked_like += is_deadlocked(first, world.tasks)
        assert not is_deadlocked(persistent(first, second), world.tasks), f"seed {seed}"
    assert looked_like  # otherwise the second pass would not be what is tested here


def test_every_circle_among_a_thousand_is_found_and_one_of_it_gives_way() -> None:
    for seed in range(1000):
        chance = random.Random(seed)
        size = chance.randint(1, 6)
        tasks = [f"C{number}" for number in range(size)]
        circle = []
        for place, task in enumerate(tasks):
            need = NEEDS_ALL if place == 0 else chance.choice(HARD)
            wait = "" if need == STANDS_BEHIND else f"wait {task}"
            circle.append(Edge(task, tasks[(place + 1) % size], need, wait, chance.randint(1, 9)))
        others = [
            Edge(
                f"T{number}",
                chance.choice([*tasks, "T0", "T1", "T9"]),
                chance.choice([*HARD, NEEDS_ANY]),
                f"wait T{number}",
            )
            for number in range(4)
        ]
        found = [*circle, *others]
        chance.shuffle(found)
        deadlocks = {task: find_deadlock(found, task) for task in tasks}
        assert all(deadlocks.values()), f"seed {seed}"
        firsts = {deadlock.waits[0][1] for deadlock in deadlocks.values() if deadlock is not None}
        assert len(firsts) == 1, f"seed {seed}: all name the same one"
        [youngest] = firsts
        assert youngest in {edge.wait for edge in circle if edge.wait}, f"seed {seed}"


# --- announcements ---------------------------------------------------------------------------------------------------


def test_an_announcement_is_read_as_it_was_written() -> None:
    made = Announcement(
        "0a1b2c3d", 1800000000, "all", [Target("ServerTasks-5"), Target("ServerTasks-6", "Web / 2] ü", True)]
    )
    assert made == parse_announcement(f"1 of 2 ended {made}")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "1 of 2 ended",
        "[octosteps waits 0a1b2c3d since 1 for all: ServerTasks-5",
        "[octosteps waits 0a1b2c3d since 1 for all: Projects-5]",
        "[octosteps waits 0a1b2c3d since 1 for some: ServerTasks-5]",
    ],
)
def test_what_is_no_announcement(message: str) -> None:
    assert parse_announcement(message) is None


def test_a_long_announcement_leaves_targets_out() -> None:
    made = Announcement("0a1b2c3d", 1, "all", [Target(f"ServerTasks-{number}") for number in range(100)])
    read = parse_announcement(str(made))
    assert read is not None
    assert MOST_ANNOUNCED == len(read.targets)


def details(*steps: tuple[str, str, str]) -> dict[str, object]:
    """A task whose steps have these (title, status, progress message)."""
    children = [
        {"Name": name, "Status": status, "ProgressMessage": message} for name, status, message in steps
    ]
    return {"ActivityLogs": [{"Children": children}]}


def test_only_running_activities_announce() -> None:
    told = "[octosteps waits 0a1b2c3d since 1 for all: ServerTasks-5]"
    log = details(("Step 1: A", "Success", told), ("Step 2: B", "Running", told))
    assert ["Step 2: B"] == [one.step for one in announced_waits(log)]


@pytest.mark.parametrize(
    ("status", "needs"),
    [
        pytest.param("Pending", True, id="is to come"),
        pytest.param("Running", False, id="has begun"),
        pytest.param("Success", False, id="has succeeded"),
        pytest.param("Skipped", False, id="was skipped"),
    ],
)
def test_a_wait_for_a_step(status: str, needs: bool) -> None:
    log = details(("Step 1: A", "Running", ""), ("Step 2: B", status, ""))
    assert needs == still_needs(Target("ServerTasks-1", "B"), log, ["Step 1: A"])


def test_a_wait_until_a_step_has_passed_that_waits_itself() -> None:
    log = details(("Step 1: A", "Running", ""), ("Step 2: B", "Running", ""))
    assert still_needs(Target("ServerTasks-1", "A", True), log, ["Step 1: A"])
    assert not still_needs(Target("ServerTasks-1", "B", True), log, ["Step 1: A"])
