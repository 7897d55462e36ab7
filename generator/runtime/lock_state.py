"""A lock as data: who holds it, who waits, and what a step may make of it. Reading and writing it is `lock_set`'s business.

Locks are variables of one library variable set that no project includes. The tool shares these names, and makes the set.
"""

from __future__ import annotations

import json
from typing import Any, Collection, Mapping, Optional, Sequence

from generator.runtime.record import Record

LOCK_SET_NAME = "octosteps locks"
LOCK_SET_DESCRIPTION = (
    "Who holds which lock, and who waits for it: kept by the steps Octopus - Acquire Lock and Octopus - Release Lock. "
    "Include it in no project and leave its variables alone; `octosteps locks` shows and breaks locks."
)
# An unscoped variable that every such set has. Whoever is not shown it may not see unscoped variables, and so no locks.
LOCK_FORMAT_VARIABLE = "octosteps.locks"
LOCK_FORMAT = "1"
LONGEST_LOCK_NAME = 200
LONGEST_TEXT = 100
EXCLUSIVE = 1
ABOUT = ("project", "release", "environment", "step", "link")


class LockClaim(Record):
    """One holder of a lock, or one that waits for it: task, action and machine say which step it is, the nonce which run of it.

    `share`: beside how many, itself included, it may hold the lock; 1 is exclusive. `since`: when it came to hold or to wait, by
    its worker's clock (ISO 8601). `fence`: 0 while it waits. `about`: for people, see ABOUT; `link` is a path on the server.
    """

    nonce: str
    space: str
    task: str
    action: str
    machine: str
    share: int
    since: str
    fence: int
    about: Mapping[str, str]

    def is_step_of(self, other: LockClaim) -> bool:
        """Whether both are runs of the same step, on the same machine if it runs on machines."""
        return (self.task, self.action, self.machine) == (other.task, other.action, other.machine)

    def is_rival_in_task(self, other: LockClaim) -> bool:
        """Whether both are different steps of one task. Task ids are unique on a server."""
        return self.task == other.task and self.action != other.action

    def to_json(self) -> dict[str, Any]:
        own = {name: value for name, value in self._asdict().items() if name != "about"}
        return {**own, **self.about}

    def __str__(self) -> str:
        """For people, without the link: `Shop 1.2.3 to Production, step Migrate (ServerTasks-7)`."""
        about = self.about
        what = " ".join(part for part in (about.get("project"), about.get("release")) if part)
        where = f" to {about['environment']}" if about.get("environment") else ""
        step = f", step {about['step']}" if about.get("step") else ""
        return f"{what or 'a task'}{where}{step} ({self.task})"


class LockState(Record):
    """`waiters` in the order in which they came. `fence` is the number of the last time that somebody came to hold it."""

    fence: int
    holders: tuple[LockClaim, ...] = ()
    waiters: tuple[LockClaim, ...] = ()

    def without(self, nonces: Collection[str]) -> LockState:
        """The lock once those have left it."""
        return self._replace(
            holders=tuple(one for one in self.holders if one.nonce not in nonces),
            waiters=tuple(one for one in self.waiters if one.nonce not in nonces),
        )


class Attempt(Record):
    """What came of one look at a lock. `state` is the lock as it is to be from now on, the same if nothing changes.

    `held`: the own claim once it holds. `behind`: whom it has to wait for otherwise, holders and then those in front.
    `rival`: the claim of another step of the own task that holds it. `successor`: a later run of the own step.
    """

    state: LockState
    held: Optional[LockClaim] = None
    behind: tuple[LockClaim, ...] = ()
    rival: Optional[LockClaim] = None
    successor: Optional[LockClaim] = None


def attempt_lock(
    state: LockState,
    own: LockClaim,
    *,
    now: str,
    gone: Collection[str] = (),
    known: bool = False,
    waits: bool = True,
) -> Attempt:
    """What the step `own` can make of the lock `now`.

    `gone`: the nonces of claims that count no more. `known`: an earlier look of this run has made it a waiter. Without `waits`
    it does not get into line. Steps of one task never wait for each other, for they would wait for ever.
    """
    state = state.without(gone)
    for holder in state.holders:
        if holder.nonce == own.nonce:  # it was written, and the answer lost
            return Attempt(state, held=holder)
        if holder.is_step_of(own):
            return Attempt(state, successor=holder) if known else reentry(state, own, holder)
        if holder.is_rival_in_task(own):
            return Attempt(state, rival=holder)
    place = next((index for index, one in enumerate(state.waiters) if one.is_step_of(own)), None)
    if place is not None and known and state.waiters[place].nonce != own.nonce:
        return Attempt(state, successor=state.waiters[place])
    ahead = tuple(one for one in state.waiters[:place] if not one.is_rival_in_task(own))
    others = tuple(one for one in state.waiters if not one.is_step_of(own))
    if has_room([*state.holders, *ahead, own]):
        held = own._replace(fence=state.fence + 1, since=now)
        return Attempt(LockState(held.fence, (*state.holders, held), others), held=held)
    behind = (*state.holders, *ahead)
    if not waits:
        return Attempt(state._replace(waiters=others), behind=behind)
    if place is None:
        waiters = (*state.waiters, own)
    else:
        waiter = own._replace(since=state.waiters[place].since)
        waiters = (*state.waiters[:place], waiter, *state.waiters[place + 1 :])
    return Attempt(state._replace(waiters=waiters), behind=behind)


def reentry(state: LockState, own: LockClaim, earlier: LockClaim) -> Attempt:
    """The step holds the lock from an earlier run, which was killed or has lost the answer: it holds on, with a new fence."""
    held = own._replace(fence=state.fence + 1, since=earlier.since, share=earlier.share)
    holders = tuple(held if one is earlier else one for one in state.holders)
    others = tuple(one for one in state.waiters if not one.is_step_of(own))
    return Attempt(LockState(held.fence, holders, others), held=held)


def has_room(claims: Sequence[LockClaim]) -> bool:
    """Whether all of them may hold a lock together: no more than each of them allows."""
    return len(claims) <= min(claim.share for claim in claims)


def certain_blockers(behind: Sequence[LockClaim], own: LockClaim) -> tuple[LockClaim, ...]:
    """Those of `behind` that keep `own` out for as long as they are there. Sharers are none: any one that leaves makes room."""
    return tuple(one for one in behind if not has_room([one, own]))


def claims_of_task(state: LockState, task: str, machine: str) -> tuple[LockClaim, ...]:
    """What a release step gives back: the claims of its own machine; one that runs on no machine, all of its task."""
    return tuple(
        one
        for one in (*state.holders, *state.waiters)
        if one.task == task and (not machine or one.machine == machine)
    )


def lock_to_text(state: LockState) -> str:
    """The value of a lock's variable."""
    document = {
        "fence": state.fence,
        "holders": [claim.to_json() for claim in state.holders],
        "waiters": [claim.to_json() for claim in state.waiters],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def parse_lock(text: Any) -> LockState:
    """The reverse of `lock_to_text`; ValueError for everything else."""
    try:
        document = json.loads(text)
        fence = parse_number(document["fence"])
        holders, waiters = (tuple(map(parse_claim, document[part])) for part in ("holders", "waiters"))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    nonces = [claim.nonce for claim in (*holders, *waiters)]
    if len(set(nonces)) != len(nonces):
        raise ValueError("a nonce stands in it twice")
    return LockState(fence, holders, waiters)


def parse_claim(document: Mapping[str, Any]) -> LockClaim:
    claim = LockClaim(
        nonce=str(document["nonce"]),
        space=str(document["space"]),
        task=str(document["task"]),
        action=str(document["action"]),
        machine=str(document["machine"]),
        share=parse_number(document["share"]),
        since=str(document["since"]),
        fence=parse_number(document["fence"]),
        about={name: str(document.get(name) or "") for name in ABOUT},
    )
    if not claim.nonce or not claim.task or claim.share < 1:
        raise ValueError("a claim has no nonce, no task or no share")
    return claim


def parse_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def scoped_name(name: str, environment: str = "", tenant: str = "") -> str:
    """The whole name of a lock that each environment, or each tenant, has for itself: `Shop (in Production, for Acme)`."""
    scope = ", ".join(
        part for part in (environment and f"in {environment}", tenant and f"for {tenant}") if part
    )
    return f"{name} ({scope})" if scope else name


def parse_lock_name(text: str) -> str:
    """The name with its blanks tidied; ValueError when it cannot be a lock's. Case does not tell locks apart."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_LOCK_NAME or not name.isprintable():
        raise ValueError(f"a lock's name has 1 to {LONGEST_LOCK_NAME} letters that can be seen")
    if name.lower() == LOCK_FORMAT_VARIABLE:
        raise ValueError(f"{LOCK_FORMAT_VARIABLE} cannot be the name of a lock")
    return name
