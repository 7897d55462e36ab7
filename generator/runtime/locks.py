"""Taking a lock, waiting for one, and giving it back: what the two lock steps do.

A claim on a lock counts until its step takes it away, or until the server returns the claim's task as ended. A task that the
server does not return says nothing: it was deleted, or this account may not see it. That a task was cancelled does not prove that
its process has stopped (source: docs, Abandoning stuck tasks); that is what the fence is for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Iterable, Mapping, Optional, Sequence

from generator.runtime.announcements import Target
from generator.runtime.api import Api, ApiError
from generator.runtime.deadlocks import NEEDS_LOCK
from generator.runtime.lock_claims import claim_in_words, iso_now
from generator.runtime.lock_set import LockSet
from generator.runtime.lock_state import (
    LOCK_FORMAT_VARIABLE,
    Attempt,
    LockClaim,
    LockState,
    attempt_lock,
    certain_blockers,
    claims_of_task,
    has_room,
)
from generator.runtime.log import Log
from generator.runtime.moments import moment_or_none, spoken
from generator.runtime.step import CANCELLED, DEADLOCK, MISCONFIGURED, REFUSED, TIMED_OUT, StepFailure
from generator.runtime.tasks import Task, utc_now
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import (
    LEAST_PATIENCE,
    PROGRESS_INTERVAL,
    REQUESTS_PER_MINUTE,
    RESERVE,
    SHORTEST_INTERVAL,
    RequestBudget,
)

ENDED_STATES = ("Success", "Failed", "Canceled", "TimedOut")
LONGEST_RICH_INTERVAL = 11.0
# A living waiter looks every 25 s or so. One that leaves a free lock alone for so long was killed while its task goes on.
PASS_OVER_AFTER = 90.0
LONGEST_RELEASE = 300.0


class LockWaiter:
    """One step that wants a lock. `take` gives back its claim as a holder, and raises StepFailure for everything else.

    `limit`: how long it may wait. Without `waits` it does not. `break_after`: how old a holder's claim must be to count no more
    when the server does not return its task; None keeps it. A `lookout` tells others
    for whom it waits, and finds out when that could never end.
    """

    def __init__(
        self,
        api: Api,
        log: Log,
        locks: LockSet,
        name: str,
        own: LockClaim,
        *,
        limit: timedelta,
        waits: bool = True,
        break_after: Optional[timedelta] = None,
        lookout: Optional[Lookout] = None,
    ) -> None:
        self.api = api
        self.log = log
        self.locks = locks
        self.name = name
        self.own = own
        self.limit = limit.total_seconds()
        self.waits = waits
        self.break_after = break_after
        self.lookout = lookout
        self.begun = self.changed_at = self.idle_since = api.clock()
        self.known = False
        self.behind: tuple[LockClaim, ...] = ()
        self.tasks: dict[str, Task] = {}  # of those in `behind`, as last returned
        self.gone: set[str] = set()  # nonces of claims that count no more
        self.passed: set[str] = set()  # of those that are passed over, at the next try only
        self.told: set[str] = set()
        self.told_state = ""
        self.told_progress = ""
        self.progress_at = -PROGRESS_INTERVAL
        self.budget = RequestBudget(api)

    @property
    def waited(self) -> float:
        return self.api.clock() - self.begun

    def blockers(self) -> tuple[LockClaim, ...]:
        """The holders in other tasks that keep this step out for as long as they are there: the edges of a graph of waits."""
        certain = certain_blockers(self.behind, self.own)
        return tuple(claim for claim in certain if claim.fence and claim.task != self.own.task)

    def take(self) -> LockClaim:
        while True:
            held = self.try_to_enter()
            if held is None and self.look_at_owners():
                held = self.try_to_enter()
            if held is not None:
                return held
            if not self.waits:
                raise StepFailure(REFUSED, f"{self.in_words()}, and this step does not wait")
            self.tell()
            if self.waited >= self.limit:
                self.leave()
                raise StepFailure(
                    TIMED_OUT, f"not within {spoken(timedelta(seconds=self.limit))}: {self.in_words()}"
                )
            self.look_for_deadlocks()
            self.api.sleep(self.interval())

    def look_for_deadlocks(self) -> None:
        """Tells others for whom this step waits, and gives way where that could never end."""
        if self.lookout is None:
            return
        holders = dict.fromkeys(claim.task for claim in self.blockers())
        self.lookout.announce(NEEDS_LOCK, [Target(task) for task in holders])
        sentence = self.lookout.look(self.budget.level)
        if sentence:
            self.leave()
            raise StepFailure(DEADLOCK, f"this step could never take the lock {self.name}: {sentence}")

    def try_to_enter(self) -> Optional[LockClaim]:
        """One look at the lock, with whatever it takes to change it: the own claim once it holds."""
        before = self.behind
        result = self.locks.change(self.name, self.decide, deadline=self.begun + self.limit)
        self.passed.clear()
        if result.rival is not None:
            self.leave()
            raise StepFailure(
                MISCONFIGURED,
                f"the lock {self.name} is held by another step of this task ({result.rival.about.get('step')}), which would "
                "wait for itself: give it back first, or let both steps be one",
            )
        if result.successor is not None:
            raise StepFailure(
                CANCELLED, f"a later run of this step has taken its place at the lock {self.name}"
            )
        self.known = self.waits and result.held is None
        self.behind = result.behind
        if result.behind != before or not self.only_line_is_ahead():
            self.idle_since = self.api.clock()
        if result.behind != before:
            self.changed_at = self.api.clock()
        return result.held

    def decide(self, state: LockState) -> Attempt:
        return attempt_lock(
            state,
            self.own,
            now=iso_now(self.api),
            gone=self.gone | self.passed,
            known=self.known,
            waits=self.waits,
        )

    def only_line_is_ahead(self) -> bool:
        """Whether the lock itself is free for this step, and only those in front of it leave it there."""
        holders = [claim for claim in self.behind if claim.fence]
        return len(holders) < len(self.behind) and has_room([*holders, self.own])

    def look_at_owners(self) -> bool:
        """Whether some of those in front were found to count no more."""
        before = len(self.gone)
        others = [claim for claim in self.behind if claim.task != self.own.task]
        for space in list(dict.fromkeys(claim.space for claim in others)):
            if self.budget.level() >= 1 or space == others[0].space:
                self.judge([claim for claim in others if claim.space == space])
        self.pass_over()
        return len(self.gone) > before or bool(self.passed)

    def judge(self, claims: Sequence[LockClaim]) -> None:
        """Notes which of the claims, all of one space, have outlived their tasks."""
        found = self.read_tasks(claims[0].space, [claim.task for claim in claims])
        for claim in claims:
            task = found.get(claim.task)
            if task is None:
                self.judge_unseen(claim)
                continue
            self.tasks[claim.task] = task
            if task.state in ENDED_STATES:
                self.gone.add(claim.nonce)
                self.log.info(
                    f"The lock {self.name}: {claim} has ended as {task.state} without giving its place back, and loses it."
                )

    def judge_unseen(self, claim: LockClaim) -> None:
        """A task that the server does not return: only an explicit limit ends its claim."""
        since = moment_or_none(claim.since)
        now = utc_now(self.api)
        if self.break_after is not None and since is not None and now - since > self.break_after:
            self.gone.add(claim.nonce)
            self.log.warning(
                f"The lock {self.name}: {claim} is broken, for its task is not to be seen and it is older than "
                f"{spoken(self.break_after)}. Whether its process still runs nobody knows."
            )
        elif claim.nonce not in self.told:
            self.told.add(claim.nonce)
            self.log.warning(
                f"The lock {self.name}: the server does not show this account the task of {claim_in_words(self.api, claim)}: it "
                f"was deleted, or TaskView is missing for its project in {claim.space}. It keeps its place; if it runs no "
                f"more, `octosteps locks --break` frees the lock."
            )

    def read_tasks(self, space: str, ids: Iterable[str]) -> Mapping[str, Task]:
        """What the server returns of these tasks; a space that the account may not see returns none."""
        wanted = list(dict.fromkeys(ids))
        patience = max(LEAST_PATIENCE, self.limit - self.waited)
        try:
            items = self.api.by_ids(f"/api/{space}/tasks", wanted, patience=patience)
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            return {}
        return {item["Id"]: Task(item) for item in items}

    def pass_over(self) -> None:
        """The first in line loses its place when it has left a free lock alone for too long; the further behind, the later."""
        line = [claim for claim in self.behind if not claim.fence]
        if self.only_line_is_ahead() and self.api.clock() - self.idle_since >= PASS_OVER_AFTER * len(line):
            for claim in line:
                self.passed.add(claim.nonce)
                self.log.info(
                    f"The lock {self.name} is free, and {claim} has left it alone for a long time: it is passed over."
                )

    def leave(self) -> None:
        """Gives up the own place in line. What cannot be written now is cleared by others once this task has ended."""
        try:
            self.locks.change(
                self.name, lambda state: Attempt(state.without([self.own.nonce])), deadline=self.api.clock()
            )
        except StepFailure as failure:
            self.log.verbose(f"The place in line for {self.name} stays until this task has ended: {failure}")

    def interval(self) -> float:
        """Seconds until the next look, within the budget: one request for the lock, one for each space of its owners."""
        cost = 1 + len({claim.space for claim in self.behind})
        if self.budget.level() >= cost + RESERVE:
            seconds = min(
                LONGEST_RICH_INTERVAL, max(SHORTEST_INTERVAL, (self.api.clock() - self.changed_at) / 5)
            )
        else:
            seconds = cost * 60 / REQUESTS_PER_MINUTE
        seconds = max(seconds * (0.9 + self.api.chance() / 5), self.api.advised_pause)
        return max(0.1, min(seconds, self.limit - self.waited))

    # --- What people are told ---

    def in_words(self) -> str:
        """Who has the lock, or who comes first."""
        holders = [claim for claim in self.behind if claim.fence]
        line = [claim for claim in self.behind if not claim.fence]
        parts = [f"the lock {self.name} is held by {self.claim_with_state(claim)}" for claim in holders[:1]]
        if holders[1:]:
            parts.append(f"and {len(holders) - 1} more")
        if not holders and line:
            parts.append(f"the lock {self.name} goes first to {self.claim_with_state(line[0])}")
        words = " ".join(parts) or f"the lock {self.name} is free"
        return words + (f"; {len(line)} in front" if line else "")

    def claim_with_state(self, claim: LockClaim) -> str:
        task = self.tasks.get(claim.task)
        state = ""
        if task is not None and task.is_paused:
            state = ", waits for a person"
        elif task is not None and task.state == "Queued" and task.was_picked_up:
            state = ", waits for a free slot of the task cap to go on"  # as after a person has answered
        elif task is not None and task.state != "Executing":
            state = f", {task.state}"
        return claim_in_words(self.api, claim) + state

    def tell(self) -> None:
        """Prints what is new, and moves the progress message at most twice a minute."""
        words = self.in_words()
        if words != self.told_state:
            tell = self.log.info if self.told_state else self.log.waiting
            tell(f"Waiting: {words}.")
            self.told_state = words
        place = 1 + sum(1 for claim in self.behind if not claim.fence)
        holder = self.behind[0].about.get("project") or self.behind[0].task if self.behind else "nobody"
        shown = f"waits for the lock {self.name}, number {place} in line, behind {holder}"
        now = self.api.clock()
        if shown != self.told_progress and now - self.progress_at >= PROGRESS_INTERVAL:
            self.told_progress, self.progress_at = shown, now
            tell_progress = self.lookout.announcer.tell if self.lookout is not None else self.log.progress
            tell_progress(0, shown)


def give_back(api: Api, locks: LockSet, name: str, own: LockClaim) -> list[LockClaim]:
    """Takes the claims of the own task out of the lock, those in line included; what it held.

    A step that runs on a machine gives back what steps on that machine took, one on no machine all that its task has.
    """
    held: list[LockClaim] = []

    def decide(state: LockState) -> Attempt:
        ours = claims_of_task(state, own.task, own.machine)
        if ours:  # after a lost answer there may be nothing left to see
            held[:] = [claim for claim in ours if claim.fence]
        return Attempt(state.without([claim.nonce for claim in ours]))

    locks.change(name, decide, deadline=api.clock() + LONGEST_RELEASE)
    return held


def other_locks_of(locks: LockSet, own: LockClaim) -> list[str]:
    """The names of all locks that the own task holds."""
    document = locks.read()
    names = [str(one["Name"]) for one in document["Variables"] if one["Name"] != LOCK_FORMAT_VARIABLE]
    return [
        name for name in names if any(one.task == own.task for one in readable_holders(locks, document, name))
    ]


def readable_holders(locks: LockSet, document: Mapping[str, Any], name: str) -> tuple[LockClaim, ...]:
    try:
        return locks.lock(document, name).holders
    except StepFailure:  # whatever is wrong with somebody else's lock
        return ()
