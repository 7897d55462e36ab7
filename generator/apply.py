"""Carries out a plan: a loop over its units, and nothing that the plan does not say.

How a unit is written is given as a function, by `library` or `processes`. What was written before something went wrong stays
and is told; running it again goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from generator.errors import Refusal
from generator.outcome import Progress
from generator.plan import Change, Plan, by_unit

SIDE_BY_SIDE = 6
"""How many units are written at the same time: enough to hide the distance to a server, few enough for its rate limit."""

Write = Callable[[Sequence[Change]], Sequence[str]]
"""Writes the changes of one unit and gives back what a person must be told about it: foreign edits that were overwritten."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What was written; `alarms` are sentences about edits of others; `faults` are why units were not written."""

    written: Sequence[Change]
    alarms: Sequence[str] = ()
    faults: Sequence[str] = ()

    @property
    def went_well(self) -> bool:
        return not self.alarms and not self.faults


def apply(plan: Plan, write: Write, *, progress: Progress) -> Applied:
    """Write every unit of the plan. After the first fault no further unit is begun. A plan with conflicts is refused."""
    if plan.conflicts:
        names = ", ".join(change.name for change in plan.conflicts)
        raise Refusal(f"nothing was written: in conflict: {names}")
    units = list(by_unit(plan.writes).values())
    if not units:
        return Applied(written=())
    written: list[Change] = []
    alarms: list[str] = []
    faults: list[str] = []
    with ThreadPoolExecutor(max_workers=min(SIDE_BY_SIDE, len(units))) as pool:
        begun: list[tuple[Sequence[Change], Future[Sequence[str]]]] = [
            (unit, pool.submit(write, unit)) for unit in units
        ]
        try:
            for unit, future in progress(begun, "Writing"):
                if future.cancelled():
                    continue
                try:
                    alarms.extend(future.result())
                    written.extend(unit)
                except Refusal as error:
                    faults.append(str(error))
                    cancel_waiting(begun)
        except BaseException:
            cancel_waiting(begun)
            raise
    return Applied(written=tuple(written), alarms=tuple(alarms), faults=tuple(dict.fromkeys(faults)))


def cancel_waiting(begun: Sequence[tuple[Sequence[Change], Future[Sequence[str]]]]) -> None:
    """Keep what has not begun from beginning; what runs is left to end, so that nothing is cut off in the middle."""
    for _, future in begun:
        future.cancel()
