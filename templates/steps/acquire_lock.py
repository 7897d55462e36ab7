"""Takes a lock, so that no other step that asks for it goes on before it is given back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Optional

from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.lock_claims import lock_of, own_claim
from generator.runtime.lock_set import find_lock_set
from generator.runtime.lock_state import EXCLUSIVE, LockClaim, parse_lock_name
from generator.runtime.locks import LockWaiter
from generator.runtime.moments import spoken
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import Step, StepFailure
from generator.runtime.wait_graph import Lookout

SHARED = re.compile(r"shared(?:\s+by)?(?:\s+up\s+to)?\s+([0-9]{1,6})", re.IGNORECASE)


def parse_mode(text: str) -> int:
    """How many may hold the lock together: 1 for `exclusive`, n for `shared by up to n`."""
    if text.lower() == "exclusive":
        return EXCLUSIVE
    match = SHARED.fullmatch(text)
    if match is None or int(match.group(1)) < 1:
        raise ValueError(f"{text!r} is neither exclusive nor like: shared by up to 3")
    return int(match.group(1))


@reads(lock=parse_lock_name, mode=parse_mode, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    name = lock_of(step, parameters.lock, parameters.scope)
    waits = parameters.when_busy == "wait"
    api = connect(parameters, parameters.wait_limit if waits else timedelta())
    waiter = LockWaiter(
        api,
        step.log,
        find_lock_set(api),
        name,
        own_claim(api, step, parameters.mode, is_to_last=True),
        limit=parameters.wait_limit if waits else timedelta(),
        waits=waits,
        break_after=parameters.break_after,
        lookout=Lookout(api, step) if waits else None,
    )
    try:
        held = waiter.take()
    except StepFailure:
        set_outputs(step, waiter, None)
        raise
    set_outputs(step, waiter, held)
    shared = f", shared by up to {held.share}" if held.share > EXCLUSIVE else ""
    waited = f" after {spoken(timedelta(seconds=waiter.waited))} of waiting" if waiter.told_state else ""
    step.log.highlight(f"This task holds the lock {name}{shared}{waited}. Fence {held.fence}.")


def set_outputs(step: Step, waiter: LockWaiter, held: Optional[LockClaim]) -> None:
    first = waiter.behind[0].task if held is None and waiter.behind else ""
    step.output("Lock", waiter.name)
    step.output("Fence", str(held.fence) if held else "")
    step.output("Since", held.since if held else "")
    step.output("Waited", str(round(waiter.waited)))
    step.output("HeldBy", first)
    claims = [claim.to_json() for claim in waiter.behind] if held is None else []
    step.result["lock"] = {"name": waiter.name, "held": held and held.to_json(), "behind": claims}
