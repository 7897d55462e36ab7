"""Carries out plans: a loop over their units, and nothing that the plans do not say.

How a unit is written is given as a function, by `publication` or `importer`. What was written before something went wrong stays
and is told; running it again goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from generator.errors import Refusal
from generator.outcome import Progress
from generator.plan import Change, Plan, by_unit

SIDE_BY_SIDE = 6
"""How many units of one target are written at the same time: enough to hide the distance to a server. How many requests its rate
limit allows is the client's business."""
MOST_AT_ONCE = 24

Write = Callable[[Sequence[Change]], Sequence[str]]
"""Writes the changes of one unit and gives back what a person must be told about it: foreign edits that were overwritten."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What was written; `alarms` are sentences about edits of others; `faults` are why units were not written."""

    written: Sequence[Change] = ()
    alarms: Sequence[str] = ()
    faults: Sequence[str] = ()

    @property
    def went_well(self) -> bool:
        return not self.alarms and not self.faults


@dataclass
class Account:
    """What has become of one plan so far."""

    written: list[Change] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def close(self) -> Applied:
        return Applied(
            written=tuple(self.written),
            alarms=tuple(self.alarms),
            faults=tuple(dict.fromkeys(self.faults)),
        )


Begun = Sequence[tuple[int, Sequence[Change], Future[Sequence[str]]]]
"""Units with the number of their plan."""


def apply(plan: Plan, write: Write, *, progress: Progress) -> Applied:
    """Write every unit of one plan. A plan with conflicts is refused."""
    if plan.conflicts:
        names = ", ".join(change.name for change in plan.conflicts)
        raise Refusal(f"nothing was written: in conflict: {names}")
    [applied] = apply_all([(plan, write)], progress=progress)
    return applied


def apply_all(plans: Sequence[tuple[Plan, Write]], *, progress: Progress) -> tuple[Applied, ...]:
    """Write every unit of the plans, those of several targets side by side. After a target's first fault none of its further
    units is begun; the other targets go on. A bug while writing is raised."""
    accounts = [Account() for _ in plans]
    units = list(interleaved([list(by_unit(plan.writes).values()) for plan, _ in plans]))
    if not units:
        return tuple(account.close() for account in accounts)
    workers = min(SIDE_BY_SIDE * len(plans), MOST_AT_ONCE, len(units))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        begun: Begun = [(number, unit, pool.submit(plans[number][1], unit)) for number, unit in units]
        try:
            for number, unit, future in progress(begun, "Writing"):
                if future.cancelled():
                    continue
                try:
                    accounts[number].alarms.extend(future.result())
                    accounts[number].written.extend(unit)
                except Refusal as error:
                    accounts[number].faults.append(str(error))
                    cancel_waiting(begun, of=number)
        except BaseException:
            cancel_waiting(begun)
            raise
    return tuple(account.close() for account in accounts)


def interleaved(groups: Sequence[Sequence[Sequence[Change]]]) -> Sequence[tuple[int, Sequence[Change]]]:
    """The units of all plans in turn, so that no target waits for another one to be done."""
    ranked: Mapping[int, list[tuple[int, Sequence[Change]]]] = {
        place: [(number, group[place]) for number, group in enumerate(groups) if place < len(group)]
        for place in range(max(map(len, groups), default=0))
    }
    return [unit for place in sorted(ranked) for unit in ranked[place]]


def cancel_waiting(begun: Begun, *, of: int | None = None) -> None:
    """Keep what has not begun from beginning; what runs is left to end, so that nothing is cut off in the middle."""
    for number, _, future in begun:
        if of is None or of == number:
            future.cancel()
