"""`octosteps apply`: publish the library's step templates or, with coordination files, import their steps into the projects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from generator import saved_plan
from generator.apply import MOST_AT_ONCE, Applied, apply_all
from generator.commands.plan import (
    Prepared,
    Readings,
    Sought,
    plans_of,
    prepare,
    show,
    target_json,
)
from generator.errors import Problems, Refusal
from generator.outcome import Confirm, Outcome, Progress, quiet
from generator.plan import SIGNS, Change, checksum_of, to_json, visible
from generator.saved_plan import SavedPlan, Wish
from generator.targets import Reading

Tell = Callable[[str], None]
DONE: Mapping[str, str] = {"create": "created", "update": "updated", "remove": "removed"}
NOTHING = Applied()


def run(
    *,
    root: Path,
    files: Sequence[Path] = (),
    names: Sequence[str] = (),
    environ: Mapping[str, str],
    targets: Sequence[str] = (),
    all_targets: bool = False,
    space: str | None = None,
    force: bool = False,
    prune: bool = False,
    thorough: bool = False,
    delete: Sequence[str] = (),
    plan_file: Path | None = None,
    confirm: Confirm | None = None,
    tell: Tell | None = None,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Outcome:
    """Plan, ask by `confirm` (not at all when it is None), write, and read back. `plan.run` tells what the arguments mean.

    `delete` names templates to delete instead of publishing any. `plan_file` was saved by `plan`: it says everything, was
    reviewed, and is not asked about again. `tell` gets the plan before anything is written, so that a run that is killed has
    said what it was about to do; without it the outcome holds the plan.

    Exit code 1 when something was not written because of a conflict or a no, when something went wrong on the way, and when
    somebody else's edit was found to be covered by ours.
    """
    wish = Wish(files=tuple(map(str, files)), names=tuple(names), force=force, prune=prune, thorough=thorough)
    sought = Sought(names=targets, every=all_targets, space=space)
    saved = None
    if plan_file is not None:
        if wish != Wish() or sought != Sought() or delete:
            raise Refusal(
                "--plan: the file says everything: give no names, files, targets or --force besides"
            )
        saved, confirm = saved_plan.read(plan_file), None
        wish = saved.wish
    with prepare(
        wish,
        root=root,
        environ=environ,
        sought=sought,
        saved=saved.targets if saved else (),
        delete=delete,
        progress=progress,
        http=http,
    ) as readings:
        if saved:
            refuse_moved(saved, readings)
        return carry_out(readings, confirm=confirm, tell=tell, progress=progress)


def refuse_moved(saved: SavedPlan, readings: Readings) -> None:
    """Refusal when any target's plan is not what was saved: nothing is written anywhere."""
    moves = []
    for target, reading in zip(saved.targets, readings, strict=True):
        if reading.result is None:
            moves.append(f"{reading.title} cannot be read: {reading.fault}")
        else:
            moves += saved_plan.tell_moves(target, reading.result.plan)
    if moves:
        lines = "".join(f"\n  {visible(move)}" for move in moves)
        raise Refusal(f"nothing was written: this is not what was planned; plan again{lines}")


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one target. `hindrance` says why nothing was written there."""

    reading: Reading[Prepared]
    hindrance: str = ""
    applied: Applied = NOTHING
    faults: Sequence[str] = ()

    @property
    def went_well(self) -> bool:
        is_read = self.reading.result is not None
        return is_read and not (self.hindrance or self.applied.alarms or self.faults)


def carry_out(
    readings: Readings, *, confirm: Confirm | None, tell: Tell | None, progress: Progress
) -> Outcome:
    """Write what can be written, after a yes; a target in conflict gets nothing, the others do."""
    ready = [
        one for reading in readings if (one := reading.result) and one.plan.writes and not hindrance_of(one)
    ]
    told = tuple(show(readings))
    if not ready:
        done = [Done(reading=reading, hindrance=hindrance_of(reading.result)) for reading in readings]
        return outcome(done, (*told, *(line for one in done for line in tell_hindrance(one))))
    if confirm is not None:
        if not confirm("\n".join((*told, *tell_left_out(readings), "Write this?"))):
            refused = [Done(reading=reading) for reading in readings]
            return outcome(refused, ("Nothing was written.",), exit_code=1)
        told = ()
    elif tell is not None:
        for part in told:
            tell(part)
        told = ()
    results = apply_all([(one.plan, one.job.write) for one in ready], progress=progress)
    applied = {id(one): result for one, result in zip(ready, results, strict=True)}
    written = [one for one in ready if applied[id(one)].written]
    with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(written) or 1)) as pool:
        backs = pool.map(lambda one: tuple(read_back(one, applied[id(one)])), written)
        unlike = {id(one): back for one, back in zip(written, backs, strict=True)}
    done = [
        Done(
            reading=reading,
            hindrance=hindrance_of(reading.result),
            applied=applied.get(id(reading.result), NOTHING),
            faults=(
                *applied.get(id(reading.result), NOTHING).faults,
                *unlike.get(id(reading.result), ()),
            ),
        )
        for reading in readings
    ]
    return outcome(done, (*told, *(line for one in done for line in tell_done(one, among=len(done)))))


def hindrance_of(prepared: Prepared | None) -> str:
    """Why nothing may be written to a target although its plan has changes; "" when nothing hinders."""
    if prepared is None:
        return ""
    if prepared.plan.conflicts:
        return "resolve the conflicts first, or leave those out"
    if prepared.plan.writes and prepared.lack:
        return str(prepared.lack)
    return ""


def tell_left_out(readings: Readings) -> Iterator[str]:
    """Before the question: where a yes will write nothing."""
    for reading in readings:
        hindrance = hindrance_of(reading.result)
        if hindrance or reading.result is None:
            yield f"{reading.title} is left out: {hindrance or 'it cannot be read'}."


def read_back(prepared: Prepared, applied: Applied) -> Iterator[str]:
    """What the server does not hold as it was written."""
    written = {change.name for change in applied.written}
    try:
        again = prepared.job.plan_again()
    except (Refusal, Problems) as error:
        yield f"what was written could not be read back: {error}"
        return
    for change in again.changes:
        if change.name in written and change.action != "leave":
            yield f"{change.name}: read back, it is not what was written: {change.reason}"


# --- telling --------------------------------------------------------------------------------------------------------------


def outcome(done: Sequence[Done], parts: Sequence[str], *, exit_code: int = 0) -> Outcome:
    """What came of it in every form. Each sentence about when a change takes effect is told once."""
    written = [change for one in done for change in one.applied.written]
    effects = dict.fromkeys(visible(change.effect) for change in written if change.effect)
    return Outcome(
        data=document(done),
        parts=(*parts, *effects),
        lines=[change.name for change in written],
        exit_code=exit_code or (0 if all(one.went_well for one in done) else 1),
    )


def tell_hindrance(done: Done) -> Iterator[str]:
    if done.hindrance:
        yield f"Nothing was written: {done.hindrance}."


def tell_done(done: Done, *, among: int) -> Iterator[str]:
    """What came of one target. When all went well it is what the plan said; otherwise each thing that was written is told."""
    applied, place = done.applied, f"{done.reading.title}: " if among > 1 else ""
    if done.reading.result is None:
        yield f"{place}nothing was written: it cannot be read."
        return
    if done.hindrance:
        yield f"{place}nothing was written: {done.hindrance}."
        return
    for change in applied.written if done.faults else ():
        yield visible(f"  {SIGNS[change.action]} {DONE[change.action]} {change.kind} {change.name}")
    for sentence in (*applied.alarms, *done.faults):
        yield visible(f"  ! {sentence}")
    if applied.faults:
        yield f"{place}{len(applied.written)} written, then stopped: run it again, it goes on from here."
    elif applied.written or among == 1:
        yield f"{place}{count(applied.written)}, and read back."
    else:
        yield f"{place}nothing to do."


def count(written: Sequence[Change]) -> str:
    removed = sum(change.action == "remove" for change in written)
    if removed and removed == len(written):
        return f"{removed} removed"
    return f"{len(written)} written"


def document(done: Sequence[Done]) -> dict[str, object]:
    """The outcome as JSON: the plan, and what became of it; several targets are in a list."""
    if len(done) == 1:
        return done_json(done[0])
    plans = plans_of([one.reading for one in done])
    return {"checksum": checksum_of(plans), "targets": [done_json(one) for one in done]}


def done_json(done: Done) -> dict[str, object]:
    if done.reading.result is None:
        return target_json(done.reading)
    return {
        "plan": to_json(done.reading.result.plan),
        "written": [change.name for change in done.applied.written],
        "effects": list(dict.fromkeys(one.effect for one in done.applied.written if one.effect)),
        "hindrance": done.hindrance,
        "alarms": list(done.applied.alarms),
        "faults": list(done.faults),
    }
