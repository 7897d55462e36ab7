"""One wait for several places, all of them or any: found by lists for all, followed by one poll, each judged by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Mapping, Optional, Sequence

from generator.runtime.announcements import Target
from generator.runtime.api import Api
from generator.runtime.awaited import (
    ENDED,
    IDLE,
    STARTED,
    SUCCEEDED,
    Awaited,
    Followed,
    Outcome,
    StepNames,
    match_step,
)
from generator.runtime.deadlocks import NEEDS_ALL, NEEDS_ANY
from generator.runtime.deployments import Deployment, ReleaseNumbers, find_successor
from generator.runtime.log import Log
from generator.runtime.lookup import Place
from generator.runtime.moments import spoken
from generator.runtime.record import Record
from generator.runtime.step import (
    CANCELLED,
    CHILD_FAILED,
    DEADLOCK,
    MISCONFIGURED,
    REFUSED,
    REFUSED_BY_SERVER,
    TIMED_OUT,
    StepFailure,
)
from generator.runtime.survey import cell_key, filters_of, latest_at, living_at
from generator.runtime.tasks import utc_now
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits, Waiter, Watch, cause_of_failure, poll_interval

PROBE_INTERVAL = 60.0
PROBED = 10


class WaitTerms(Record):
    """How the places of one wait go together: all of them or any. `goes_on_late`: a limit is no failure."""

    limits: Limits
    needs_any: bool
    goes_on_late: bool

    @property
    def longest(self) -> float:
        return (self.limits.queue + self.limits.run).total_seconds()


class Vigil:
    """Keeps watch until what is awaited has come, or can come no more."""

    def __init__(
        self,
        api: Api,
        log: Log,
        everything: Sequence[Awaited],
        terms: WaitTerms,
        *,
        lookout: Optional[Lookout],
    ) -> None:
        self.api = api
        self.log = log
        self.everything = list(everything)
        self.terms = terms
        self.numbers = ReleaseNumbers(api)
        self.step_names = StepNames(api)
        self.waiter = Waiter(
            api, log, [], terms.limits, stop=self.has_news, aside=self.look_aside, lookout=lookout
        )
        self.news = False
        self.probed: Optional[list[str]] = None
        self.probed_at = api.clock()

    def keep(self) -> None:
        """Returns when it is decided: every place then has its outcome, or is not waited for any more."""
        self.find(self.open())
        while not self.is_decided():
            self.waiter.need = self.need()
            if self.waiter.alive():
                for watch in self.waiter.wait():
                    self.give_up(watch)
            elif any(one.is_looking for one in self.open()):
                self.pause()
            self.judge()
            if not self.is_decided():
                self.find_again()
        if self.waiter.lookout is not None:
            self.waiter.lookout.announce(self.waiter.need, [])

    def open(self) -> list[Awaited]:
        return [one for one in self.everything if one.is_open]

    def is_decided(self) -> bool:
        outcomes = [one.outcome for one in self.everything if one.outcome is not None]
        if len(outcomes) == len(self.everything):
            return True
        if self.terms.needs_any:
            return any(not outcome.kind for outcome in outcomes)
        return any(self.is_fatal(outcome) for outcome in outcomes)

    def is_fatal(self, outcome: Outcome) -> bool:
        return bool(outcome.kind) and not (outcome.is_late and self.terms.goes_on_late)

    def need(self) -> str:
        """What is told to those who look for deadlocks: where one of several will do, nobody can say that it never ends."""
        either = self.terms.needs_any and len(self.open()) > 1
        steps = any(one.goal.needs_steps and len(one.followed) > 1 for one in self.open())
        return NEEDS_ANY if either or steps or any(one.is_looking for one in self.open()) else NEEDS_ALL

    # --- finding what is to be followed ----------------------------------------------------------------------------

    def find(self, places: Sequence[Awaited]) -> None:
        """Begins to follow what is there, or ends the wait where nothing is and nothing is to be waited for."""
        possible = []
        for one in places:
            if one.goal.impossible:
                self.judge_absence(one)
            else:
                possible.append(one)
        if not possible:
            return
        now = utc_now(self.api)
        own = self.waiter.lookout.own if self.waiter.lookout is not None else ""
        living = living_at(self.api, [one.goal.place for one in possible], own)
        self.numbers.learn(
            [deployment for some in living.values() for deployment in some if deployment.task.is_active(now)]
        )
        without: list[Awaited] = []
        for one in possible:
            here = living[cell_key(one.goal.place)]
            active = [found for found in here if found.task.is_active(now) and self.is_admitted(one, found)]
            if active:
                self.follow(one, active)
            elif one.goal.until == IDLE:
                self.meet(one, None, "Idle", f"{one.goal.place} is idle.")
            else:
                without.append(one)
                self.note_scheduled(one, here)
        latest = self.find_latest(without, now)
        for one in without:
            found = latest.get(id(one))
            if found is not None:
                self.follow(one, [found])
            else:
                self.judge_absence(one)

    def find_latest(self, places: Sequence[Awaited], now: datetime) -> dict[int, Deployment]:
        """What has ended last and counts, by the id of the object: several may be of one place and want different ones."""
        found: dict[int, Deployment] = {}
        left = list(places)
        while left:
            batch = {cell_key(one.goal.place): one for one in reversed(left)}
            for cell, deployment in self.latest_of(batch, now).items():
                found[id(batch[cell])] = deployment
            left = [one for one in left if one not in batch.values()]
        return found

    def latest_of(self, batch: Mapping[str, Awaited], now: datetime) -> dict[str, Deployment]:
        return latest_at(
            self.api,
            [one.goal.place for one in batch.values()],
            lambda place, deployment: self.is_wanted(batch[cell_key(place)], deployment, now),
            self.numbers.learn,
        )

    def is_wanted(self, one: Awaited, deployment: Deployment, now: datetime) -> bool:
        return one.goal.counts(deployment, now) and self.is_admitted(one, deployment)

    def is_admitted(self, one: Awaited, deployment: Deployment) -> bool:
        return one.goal.wanted is None or one.goal.wanted.admits(self.numbers.of(deployment))

    def note_scheduled(self, one: Awaited, living: Sequence[Deployment]) -> None:
        """Remembers when the next one is to begin, and tells each once."""
        moments = [(found.task.queued, found) for found in living if found.task.queued is not None]
        one.due = min((queued for queued, _ in moments), default=None)
        for queued, found in moments if one.looks_since is None else ():
            self.log.info(
                f"{self.label(one.goal.place, found)} is scheduled for {queued:%Y-%m-%d %H:%M} UTC."
            )

    def judge_absence(self, one: Awaited) -> None:
        """Nothing counts there: an end, or the beginning of a search."""
        goal = one.goal
        if one.looks_since is not None:
            return
        words = f"{goal.place} has no deployment that counts"
        if goal.impossible:
            words += f": {goal.impossible}"
        if goal.until == IDLE:
            self.meet(one, None, "Idle", f"{goal.place} is idle.")
        elif goal.when_none == "pass":
            self.meet(one, None, "None", f"{words}, and is not waited for.")
        elif goal.when_none == "fail" or goal.impossible:
            self.lose(one, REFUSED, words, None, "None")
        else:
            one.looks_since = self.api.clock()
            self.log.waiting(
                f"There is no deployment of {goal.place} that counts: waiting for one to appear."
            )

    def follow(self, one: Awaited, deployments: Sequence[Deployment]) -> None:
        """From now on these are watched; what was watched before is not."""
        if one.looks_since is not None:
            one.spent += self.api.clock() - one.looks_since
            one.looks_since = None
        self.drop(one)
        missing = []
        for deployment in deployments:
            label, step = self.label(one.goal.place, deployment), one.goal.step
            if one.goal.needs_steps:
                steps = self.step_names.steps_of(deployment)
                match = match_step(steps, step) if steps is not None else None
                if steps is not None and match is None:
                    names = ", ".join(str(known) for known in steps)
                    missing.append((deployment, f"{label} has no step {step!r}; its steps: {names}"))
                    continue
                step = match.names[0] if match is not None else step
            watch = next((old for old in self.waiter.watches if old.task_id == deployment.task.id), None)
            if watch is None:
                watch = Watch(label, deployment.task.id, deployment.link)
                self.log.info(f"Following {watch}")
                self.waiter.watches.append(watch)
            one.followed.append(Followed(deployment, watch, step))
            self.aim(watch)
        if missing and not one.followed:
            deployment, words = missing[-1]
            self.lose(one, MISCONFIGURED, words, deployment, deployment.task.state)

    def aim(self, watch: Watch) -> None:
        """Says what is waited for in a task that several lines may name: all of it, or one of the steps."""
        needs = [(one.goal, found) for one in self.open() for found in one.followed if found.watch is watch]
        goal, followed = next((need for need in needs if not need[0].needs_steps), needs[0])
        step = followed.step if goal.needs_steps else ""
        watch.target = Target(watch.task_id, step, bool(step) and goal.is_passed)

    def drop(self, one: Awaited) -> None:
        """Watches no more what was followed there, unless it is for the sake of another line."""
        one.spent = one.used()
        watched, one.followed = [followed.watch for followed in one.followed], []
        for watch in watched:
            if any(found.watch is watch for other in self.open() for found in other.followed):
                self.aim(watch)
            elif watch in self.waiter.watches:
                self.waiter.watches.remove(watch)

    def label(self, place: Place, deployment: Deployment) -> str:
        return f"{self.numbers.of(deployment)} of {place}"

    # --- while nothing is there yet --------------------------------------------------------------------------------

    def pause(self) -> None:
        """Until the next look for a first deployment, when there is nothing else to watch."""
        now = self.api.clock()
        begun = min(one.looks_since for one in self.open() if one.looks_since is not None)
        interval = poll_interval(
            now - begun, queued=True, rich=self.waiter.budget.level() >= 5, usual_left=None
        )
        interval = max(interval * (0.9 + self.api.chance() / 5), self.api.advised_pause)
        left = [self.time_left(one) for one in self.open() if one.is_looking]
        if self.probed is not None:
            self.api.sleep(max(0.1, min([interval, *left])))
        self.probe()

    def time_left(self, one: Awaited) -> float:
        """Seconds for which a first deployment is still looked for."""
        assert one.looks_since is not None
        return self.terms.limits.queue.total_seconds() - (self.api.clock() - one.looks_since)

    def look_aside(self) -> None:
        """Once a poll while others are followed: a look for a first deployment, as the budget allows."""
        if not any(one.is_looking for one in self.open()):
            return
        if self.probed is None or self.waiter.budget.level() >= 3 or self.is_probe_due():
            self.probe()

    def is_probe_due(self) -> bool:
        return self.api.clock() - self.probed_at >= PROBE_INTERVAL

    def probe(self) -> None:
        """One request: as long as the newest deployments stay the same, nothing has appeared."""
        looking = [one.goal.place for one in self.open() if one.is_looking]
        page = self.api.get("deployments", take=PROBED, **filters_of(looking))
        seen = [item["Id"] for item in page.get("Items") or ()]
        self.probed_at = self.api.clock()
        now = utc_now(self.api)
        begins = any(one.due is not None and now >= one.due for one in self.open() if one.is_looking)
        if seen != self.probed or begins:
            self.probed, self.news = seen, True

    def find_again(self) -> None:
        """Looks for what has appeared, where nothing is followed."""
        idle = [one for one in self.open() if not one.followed and not one.is_looking]
        looking = [one for one in self.open() if one.is_looking] if self.news else []
        self.news = False
        self.find([*idle, *looking])

    # --- judging ---------------------------------------------------------------------------------------------------

    def has_news(self, watches: Sequence[Watch]) -> bool:
        return (
            self.news
            or not self.waiter.shows_details
            or not self.waiter.alive()
            or any(one.can_be_judged() or self.is_late(one) for one in self.open())
        )

    def is_late(self, one: Awaited) -> bool:
        """Whether the queue limit has come with nothing there, or both limits together, however many were followed."""
        if one.is_looking:
            return self.time_left(one) <= 0
        return one.used() >= self.terms.longest and not one.all_ended()

    def judge(self) -> None:
        for one in self.open():
            if one.goal.needs_steps and one.followed:
                self.read_last_steps(one)
            if one.is_open and one.can_be_judged():
                self.judge_followed(one)
            elif one.is_open and self.is_late(one):
                self.time_out(one)

    def read_last_steps(self, one: Awaited) -> None:
        """The steps of what has ended, as they stood at the end."""
        for followed in one.followed:
            watch = followed.watch
            unread = watch.detailed_at < watch.changed_at and not watch.is_alive
            if unread and self.waiter.shows_details:
                self.waiter.read_details(watch)
        if not self.waiter.shows_details:
            raise StepFailure(REFUSED_BY_SERVER, "the steps of the task cannot be read: that takes TaskView")

    def judge_followed(self, one: Awaited) -> None:
        goal = one.goal
        if goal.until == IDLE:
            self.drop(one)  # what has become active meanwhile is found again
            return None
        for followed in one.followed:
            if goal.needs_steps and followed.has_met(goal):
                status, state = followed.step_status, followed.deployment.task.state
                words = f"{followed.watch}: {followed.step} is {status}"
                return self.meet(one, followed.deployment, state, words, status)
            if goal.until == STARTED and followed.has_begun:
                words = f"{followed.watch}: {followed.watch.state_in_words()}"
                return self.meet(one, followed.deployment, followed.deployment.task.state, words)
        newest = one.newest()
        successor = find_successor(self.api, goal.place, newest.deployment)
        if successor is not None and self.is_admitted(one, successor):
            self.log.info(f"{newest.watch} was superseded.")
            self.follow(one, [successor])
            return None
        return self.judge_end(one, newest, successor)

    def judge_end(self, one: Awaited, newest: Followed, successor: Optional[Deployment]) -> None:
        """The newest of those that were followed has ended, or can no longer bring what is awaited."""
        goal, deployment, watch, status = one.goal, newest.deployment, newest.watch, newest.step_status
        state = deployment.task.state
        if goal.until == ENDED or (goal.until == SUCCEEDED and state == "Success"):
            return self.meet(one, deployment, state, f"{watch}: {watch.state_in_words()}")
        if successor is not None:
            number = self.numbers.of(successor)
            words = f"{watch} was superseded by {number}: {successor.link or successor.id}"
            return self.lose(one, CANCELLED, words, deployment, state, status)
        kind = CANCELLED if state == "Canceled" else CHILD_FAILED
        if goal.until == SUCCEEDED:
            if watch.detailed_at < watch.changed_at and self.waiter.shows_details:
                self.waiter.read_details(watch)  # of several the steps may not have been read at the end
            cause = cause_of_failure(watch)
            words = f"{watch}: {state}" + (f": {cause}" if cause else "")
        elif goal.until == STARTED:
            words = f"{watch}: {state}, and never began"
        elif status:
            words = f"{watch}: the step {newest.step} is {status}, and the task is {state}"
        else:
            names = ", ".join(step.name for step in watch.steps) or "none"
            words = f"{watch} ended as {state} without the step {newest.step}; its steps: {names}"
        return self.lose(one, kind, words, deployment, state, status)

    def give_up(self, watch: Watch) -> None:
        """A limit has come for this one, or it can never end."""
        for one in self.open():
            for followed in [found for found in one.followed if found.watch is watch]:
                self.time_out(one, followed)

    def time_out(self, one: Awaited, followed: Optional[Followed] = None) -> None:
        goal = one.goal
        if one.is_looking:
            limit = spoken(self.terms.limits.queue)
            words = f"no deployment of {goal.place} that counts has appeared within {limit}"
            return self.settle(one, Outcome(TIMED_OUT, words, "None", None, "", True))
        late = followed or one.newest()
        watch, deployment = late.watch, late.deployment
        if watch.deadlock:
            words = f"{watch} can never come as far: {watch.deadlock}"
            return self.lose(one, DEADLOCK, words, deployment, deployment.task.state)
        state = watch.state_in_words()
        for why in (
            watch.queue_reason if watch.task and watch.task.is_waiting_in_queue else "",
            self.waiter.suspicion,
        ):
            state += f", {why}" if why else ""
        if goal.until == IDLE:
            words = f"{watch} keeps {goal.place} busy: {state}"
            return self.settle(one, Outcome(TIMED_OUT, words, "Active", deployment, "", True))
        words = f"{watch} has not come as far: {state}, but {goal} was wanted"
        return self.settle(one, Outcome(TIMED_OUT, words, deployment.task.state, deployment, "", True))

    def meet(
        self, one: Awaited, deployment: Optional[Deployment], state: str, words: str, status: str = ""
    ) -> None:
        self.log.highlight(words)
        self.settle(one, Outcome("", words, state, deployment, status, False))

    def lose(
        self,
        one: Awaited,
        kind: str,
        words: str,
        deployment: Optional[Deployment],
        state: str,
        status: str = "",
    ) -> None:
        self.settle(one, Outcome(kind, words, state, deployment, status, False))

    def settle(self, one: Awaited, outcome: Outcome) -> None:
        self.drop(one)
        one.outcome = outcome
        one.looks_since = None
        if outcome.kind and len(self.everything) > 1:
            self.log.warning(f"{outcome.kind}: {outcome.words}")
