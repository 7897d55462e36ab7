"""Gives back a lock that this task holds."""

from __future__ import annotations

from datetime import timedelta

from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.lock_claims import held_for, lock_of, own_claim
from generator.runtime.lock_set import find_lock_set
from generator.runtime.lock_state import EXCLUSIVE, parse_lock_name
from generator.runtime.locks import LONGEST_RELEASE, give_back, other_locks_of
from generator.runtime.moments import spoken
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import Step


@reads(lock=parse_lock_name, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    name = lock_of(step, parameters.lock, parameters.scope)
    api = connect(parameters, timedelta(seconds=LONGEST_RELEASE))
    own = own_claim(api, step, EXCLUSIVE, is_to_last=False)
    locks = find_lock_set(api)
    held = give_back(api, locks, name, own)
    fence = max((claim.fence for claim in held), default=0)
    length = max((held_for(api, claim) for claim in held), default=timedelta())
    step.output("Lock", name)
    step.output("Released", str(bool(held)))
    step.output("Fence", str(fence) if held else "")
    step.output("Held", str(round(length.total_seconds())))
    step.result["lock"] = {"name": name, "released": [claim.to_json() for claim in held]}
    if held:
        step.log.highlight(f"The lock {name} is given back, held for {spoken(length)}. Fence {fence}.")
        return
    others = other_locks_of(locks, own)
    told = f" It holds: {', '.join(others)}." if others else ""
    step.log.info(f"This task does not hold the lock {name}: there is nothing to give back.{told}")
