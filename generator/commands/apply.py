"""`octosteps apply`: publish the library's step templates or, with coordination files, import their steps into the projects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from generator.apply import Applied, apply
from generator.commands.plan import Prepared, prepare
from generator.outcome import Confirm, Outcome, Progress, quiet
from generator.plan import SIGNS, Change, Plan, to_json, to_parts

DONE: Mapping[str, str] = {"create": "created", "update": "updated", "remove": "removed"}


def run(
    *,
    root: Path,
    files: Sequence[Path] = (),
    names: Sequence[str] = (),
    environ: Mapping[str, str],
    target: str | None = None,
    space: str | None = None,
    force: bool = False,
    prune: bool = False,
    confirm: Confirm | None = None,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Outcome:
    """Plan, ask by `confirm` (not at all when it is None), write, and read back. `plan.run` tells what the arguments mean.

    Exit code 1 when nothing was written because of a conflict or a no, when something went wrong on the way, and when somebody
    else's edit was found to be covered by ours.
    """
    with prepare(
        root=root,
        files=files,
        names=names,
        environ=environ,
        target=target,
        space=space,
        force=force,
        prune=prune,
        progress=progress,
        http=http,
    ) as prepared:
        plan = prepared.plan
        if plan.conflicts:
            return refuse(plan, "Nothing was written: resolve the conflicts first, or leave those out.")
        if not plan.writes:
            return Outcome(data=document(plan), parts=tuple(to_parts(plan)))
        told: tuple[str, ...] = tuple(str(part) for part in to_parts(plan))
        if confirm is not None:
            if not confirm("\n".join((*told, "Write this?"))):
                return Outcome(data=document(plan), parts=("Nothing was written.",), exit_code=1)
            told = ()
        applied = apply(plan, prepared.write, progress=progress)
        faults = (*applied.faults, *read_back(prepared, applied))
    parts = [*told, *tell(applied.written, applied.alarms, faults)]
    parts += dict.fromkeys(change.effect for change in applied.written if change.effect)
    return Outcome(
        data=document(plan, applied, faults),
        parts=parts,
        lines=[change.name for change in applied.written],
        exit_code=1 if applied.alarms or faults else 0,
    )


def refuse(plan: Plan, sentence: str) -> Outcome:
    return Outcome(data=document(plan), parts=(*to_parts(plan), sentence), exit_code=1)


def read_back(prepared: Prepared, applied: Applied) -> Iterator[str]:
    """What the server does not hold as it was written."""
    if not applied.written:
        return
    written = {change.name for change in applied.written}
    for change in prepared.plan_again().changes:
        if change.name in written and change.action != "leave":
            yield f"{change.name}: read back, it is not what was written: {change.reason}"


def tell(written: Sequence[Change], alarms: Sequence[str], faults: Sequence[str]) -> Iterator[str]:
    """What came of it. When all went well it is what the plan said; otherwise each thing that was written is told."""
    for change in written if faults else ():
        yield f"  {SIGNS[change.action]} {DONE[change.action]} {change.kind} {change.name}"
    for sentence in (*alarms, *faults):
        yield f"  ! {sentence}"
    if faults:
        yield f"{len(written)} written, then stopped: run it again, it goes on from here."
    else:
        yield f"{len(written)} written, and read back."


def document(plan: Plan, applied: Applied | None = None, faults: Sequence[str] = ()) -> dict[str, object]:
    """The outcome as JSON: the plan, and what became of it."""
    return {
        "plan": to_json(plan),
        "written": [change.name for change in applied.written] if applied else [],
        "alarms": list(applied.alarms) if applied else [],
        "faults": list(faults),
    }
