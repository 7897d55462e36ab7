"""Deadlocks among tasks, as a question about a graph: who cannot go on before whom, and whether that leads back.

Pure: `wait_graph` reads the edges from the server. What is not known to wait is taken to go on, so that missing knowledge hides
a deadlock and never makes one up. Edges are read one after another while waits end; only what stands in two passes, the second
begun after the first was complete, stood at one moment in between (`persistent`).
"""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Sequence

from generator.runtime.record import Record

# What a waiter needs of its targets. Those that count by themselves, those that count together, and the one that never counts.
NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND = "all", "lock", "behind"
NEEDS_SLOT = "slot"
NEEDS_ANY = "any"
HARD_NEEDS = (NEEDS_ALL, NEEDS_LOCK, STANDS_BEHIND)


class Edge(Record):
    """`waiter` cannot go on before `target` has (task ids).

    `need` all: it waits for the end of each target, or for a step of it; lock: the target holds it; behind: it is queued behind
    one with the same concurrency tag; slot: it is queued for one of the slots that the targets hold, and the first to end gives
    it way; any: one of several targets will do. `wait` names the announced wait, "" for a queued task; `since` is when that
    began, in seconds since 1970. `is_sure` is False for a guess. `why` explains the edge to people.
    """

    waiter: str
    target: str
    need: str
    wait: str = ""
    since: int = 0
    is_sure: bool = True
    why: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.waiter, self.target, self.need, self.wait


class Deadlock(Record):
    """A circle of waits. `chain` leads from the asking task into the circle and once around; `waits` are the announced ones in
    it, the one that began last first, as (since, wait id, task)."""

    chain: Sequence[Edge]
    waits: Sequence[tuple[int, str, str]]
    is_certain: bool

    def rank_of(self, wait: str) -> Optional[int]:
        """0 for the wait that is to give way, 1 for the next, None for one outside of the circle."""
        ids = [one for _, one, _ in self.waits]
        return ids.index(wait) if wait in ids else None


def persistent(first: Iterable[Edge], second: Sequence[Edge]) -> list[Edge]:
    """The edges that both passes have. Those for slots stay together: another holder may end first."""
    before = {edge.identity for edge in first}
    slots_before: dict[str, set[str]] = {}
    for waiter, target, need, _ in before:
        if need == NEEDS_SLOT:
            slots_before.setdefault(waiter, set()).add(target)
    slots: dict[str, set[str]] = {}
    for edge in second:
        if edge.need == NEEDS_SLOT:
            slots.setdefault(edge.waiter, set()).add(edge.target)
    return [
        edge
        for edge in second
        if edge.identity in before
        and (edge.need != NEEDS_SLOT or slots[edge.waiter] == slots_before[edge.waiter])
    ]


def find_deadlock(edges: Sequence[Edge], task: str) -> Optional[Deadlock]:
    """The deadlock in which `task` is, or for which it waits; None when nothing proves one.

    A guess makes it a suspicion only if there is none without guesses.
    """
    sure = [edge for edge in edges if edge.is_sure]
    return find_knot(sure, task, certain=True) or find_knot(edges, task, certain=False)


def find_knot(edges: Sequence[Edge], task: str, *, certain: bool) -> Optional[Deadlock]:
    blocked = blocked_tasks(edges)
    if task not in blocked:
        return None
    after: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.need != NEEDS_ANY and edge.waiter in blocked and edge.target in blocked:
            after.setdefault(edge.waiter, []).append(edge)
    chain = chain_from(after, task)
    circle = reachable(after, chain[-1].target)
    waits = {
        (edge.since, edge.wait, edge.waiter)
        for one in circle
        for edge in after[one]
        if edge.wait and edge.target in circle and one in reachable(after, edge.target)
    }
    return Deadlock(chain, sorted(waits, reverse=True), certain)


def blocked_tasks(edges: Iterable[Edge]) -> set[str]:
    """The tasks that cannot go on: each needs another one of them, or stands in line for slots that they hold."""
    needs: dict[str, list[Edge]] = {}
    for edge in edges:
        needs.setdefault(edge.waiter, []).append(edge)
    blocked = set(needs)
    while True:
        free = {task for task in blocked if not is_held(needs[task], blocked)}
        if not free:
            return blocked
        blocked -= free


def is_held(needs: Sequence[Edge], blocked: set[str]) -> bool:
    slots = [edge.target in blocked for edge in needs if edge.need == NEEDS_SLOT]
    return (bool(slots) and all(slots)) or any(
        edge.need in HARD_NEEDS and edge.target in blocked for edge in needs
    )


def chain_from(after: Mapping[str, Sequence[Edge]], task: str) -> list[Edge]:
    """The edges from `task` back to itself by the shortest way; where none leads back, to a circle and once around it."""
    way = shortest_way(after, task, task)
    if way:
        return way
    seen: list[str] = []
    chain: list[Edge] = []
    here = task
    while here not in seen:  # each blocked task has a blocked one after it
        seen.append(here)
        circle = shortest_way(after, here, here)
        if circle:
            return chain + circle
        chain.append(after[here][0])
        here = after[here][0].target
    return chain


def shortest_way(after: Mapping[str, Sequence[Edge]], start: str, end: str) -> list[Edge]:
    """The edges from `start` to `end`, at least one; none when there is no way."""
    ways: list[list[Edge]] = [[edge] for edge in after.get(start, ())]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        here = way[-1].target
        if here == end:
            return way
        if here not in seen:
            seen.add(here)
            ways.extend([*way, edge] for edge in after.get(here, ()))
    return []


def reachable(after: Mapping[str, Sequence[Edge]], task: str) -> set[str]:
    """`task` and all to which edges lead from it."""
    found, left = {task}, [task]
    while left:
        for edge in after.get(left.pop(), ()):
            if edge.target not in found:
                found.add(edge.target)
                left.append(edge.target)
    return found


def chain_in_words(chain: Sequence[Edge], names: Mapping[str, str], own: str) -> str:
    """`this task waits for X (ServerTasks-2), which waits for this task`."""

    def name(task: str) -> str:
        if task == own:
            return "this task"
        return f"{names[task]} ({task})" if task in names else task

    parts = []
    for place, edge in enumerate(chain):
        subject = name(edge.waiter) if place == 0 else "which"
        parts.append(f"{subject} {verb_of(edge)} {name(edge.target)}{' ' if edge.why else ''}{edge.why}")
    return ", ".join(parts)


def verb_of(edge: Edge) -> str:
    return {
        NEEDS_LOCK: "waits for a lock that is held by",
        STANDS_BEHIND: "stands in the queue behind",
        NEEDS_SLOT: "stands in the queue behind",
    }.get(edge.need, "waits for")
