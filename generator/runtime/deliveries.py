"""Several deployments of one step: begun in turn, awaited together by one poll, and each judged by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError, ApiUnreachable
from generator.runtime.deployments import Deployment, read_release_of, recent_deployments
from generator.runtime.guidance import Guidance, Responder
from generator.runtime.log import Log
from generator.runtime.lookup import Place
from generator.runtime.moments import spoken
from generator.runtime.once import Child, Decision, Errand
from generator.runtime.record import Record
from generator.runtime.step import CANCELLED, CHILD_FAILED, DEADLOCK, TIMED_OUT, StepFailure
from generator.runtime.tasks import Task, ask_to_cancel
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits, Waiter, Watch, cause_of_failure

GO_ON, STOP, CANCEL = "go_on", "stop", "cancel"
NOT_BEGUN = "NotBegun"
MOST_TOLD = 5


class Terms(Record):
    """How the deliveries of one step go together. `at_once`: how many may be on their way, None for all."""

    limits: Limits
    waits: bool
    cancels_late: bool
    if_one_fails: str = GO_ON
    at_once: Optional[int] = None
    warnings_fail: bool = False
    attempts: int = 1  # how often a child that fails is made, at most
    guidance: Optional[Guidance] = None


class Delivery:
    """One place: the release for it, what was decided, and what became of it. Without an errand nothing is to be done there."""

    def __init__(
        self, place: Place, release: Mapping[str, Any], errand: Optional[Errand], *, skipped: str = ""
    ) -> None:
        self.place = place
        self.release = release
        self.errand = errand
        self.decision: Optional[Decision] = None
        self.child: Optional[Child] = None
        self.watch: Optional[Watch] = None
        self.skipped = skipped
        self.given_up = ""  # why this step asked to cancel the child
        self.kind_given_up = TIMED_OUT
        self.failure: Optional[StepFailure] = None
        self.is_settled = errand is None
        self.attempts = 1
        self.is_left = False  # its time was out, and it goes on
        self.earlier: Mapping[
            str, Any
        ] = {}  # answers to prompts that an earlier deployment got, by form element
        self.about: Mapping[str, str] = {}  # what the step tells of it beside what it tells of every child

    @property
    def deployment(self) -> Optional[Deployment]:
        if self.child is not None:
            return self.child.deployment
        return self.decision.deployment if self.decision is not None else None

    @property
    def state(self) -> str:
        """The state of the task, or Skipped, or NotBegun."""
        if self.skipped:
            return "Skipped"
        if self.child is None:
            return NOT_BEGUN
        seen = self.watch.task if self.watch is not None else None
        return (seen or self.child.deployment.task).state

    @property
    def is_moving(self) -> bool:
        """Begun, and not judged yet."""
        return self.child is not None and not self.is_settled

    @property
    def changed(self) -> bool:
        return self.child is not None and self.child.is_ours

    def skip(self, reason: str) -> None:
        self.skipped, self.is_settled = reason, True

    def fail(self, kind: str, sentence: str) -> None:
        self.failure, self.is_settled = StepFailure(kind, sentence), True


def decide_all(api: Api, deliveries: Sequence[Delivery]) -> None:
    """What is to be done at each place, by reading alone: one list for all of them."""
    listed = read_recent(api, deliveries)
    for delivery in deliveries:
        if delivery.errand is not None:
            delivery.decision = delivery.errand.decide(listed)


def read_recent(api: Api, deliveries: Sequence[Delivery]) -> list[Deployment]:
    """What may concern them of the deployments that the server lists."""
    errands = [delivery.errand for delivery in deliveries if delivery.errand is not None]
    if not errands:
        return []
    return recent_deployments(api, [errand.place for errand in errands], errands[0].since)


class Attendant(Waiter):
    """A Waiter that has what people are asked answered as well, where it has an `answer`."""

    answer: Optional[Callable[[Watch, Mapping[str, Any]], None]] = None

    def tell_interruption(self, watch: Watch, item: Mapping[str, Any]) -> None:
        super().tell_interruption(watch, item)
        if self.answer is not None:
            self.answer(watch, item)


class Fanout:
    """Carries out decided deliveries. `tell` is called whenever the step's outputs have changed, before a wait too."""

    def __init__(
        self,
        api: Api,
        log: Log,
        deliveries: Sequence[Delivery],
        terms: Terms,
        *,
        tell: Callable[[], None] = lambda: None,
        lookout: Optional[Lookout] = None,
    ) -> None:
        self.api = api
        self.log = log
        self.deliveries = list(deliveries)
        self.terms = terms
        self.tell = tell
        self.line = [delivery for delivery in deliveries if not delivery.is_settled]
        self.stopped = ""
        self.waiter = Attendant(
            api, log, [], terms.limits, stop=self.is_something_new, aside=self.look_for_late, lookout=lookout
        )
        if terms.guidance is not None:
            self.responder = Responder(api, log, terms.guidance)
            self.waiter.answer = self.answer

    def run(self) -> None:
        """Returns when every delivery is settled; without waiting, as soon as each has begun."""
        self.begin_more()
        if self.moving() and self.waiter.usual is None:
            self.waiter.usual = usual_run_time(self.api, self.moving()[0].place)
        while self.moving():
            # Here the wait begins: everything that is awaited has its watch, and the outputs are set.
            for watch in self.waiter.wait():
                self.give_up(watch)
            self.judge_ended()
            self.begin_more()

    def moving(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.is_moving]

    def is_something_new(self, watches: Sequence[Watch]) -> bool:
        return any(delivery.watch is not None and not delivery.watch.is_alive for delivery in self.moving())

    def answer(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """For the own children alone."""
        if any(one.watch is watch and one.changed for one in self.deliveries):
            self.responder.answer(watch, item)

    def look_for_late(self) -> None:
        for delivery in self.moving():
            assert delivery.errand is not None and delivery.child is not None
            delivery.errand.look_for_late(delivery.child)

    # --- beginning -------------------------------------------------------------------------------------------------

    def begin_more(self) -> None:
        """Begins as many of those in line as may be on their way at once."""
        while self.line and not self.stopped:
            begins_first = not any(delivery.child for delivery in self.deliveries)
            room = len(self.line)
            if self.terms.at_once is not None:
                room = min(room, self.terms.at_once - len(self.moving()))
            if room <= 0:
                return
            batch, self.line = self.line[:room], self.line[room:]
            if not begins_first:  # time has gone since they were decided
                decide_all(self.api, batch)
            self.begin(batch)
            self.tell()
        for delivery in self.line:
            delivery.skip(f"not begun, for {self.stopped}")
        self.line = []

    def begin(self, batch: Sequence[Delivery]) -> None:
        """Every one of `batch` as a child, or failed. When the API is lost, those that have begun are named."""
        begun: list[Delivery] = []
        try:
            for delivery in batch:
                if self.begin_one(delivery):
                    begun.append(delivery)
            listed = None
            if len(begun) > 1:
                listed = read_recent(self.api, begun)
            for delivery in begun:
                assert delivery.errand and delivery.child and delivery.decision
                delivery.child = delivery.errand.settle(delivery.child, delivery.decision, listed)
        except StepFailure as failure:
            others = [delivery for delivery in self.moving() if delivery.child and delivery.child.is_ours]
            if len(self.deliveries) == 1 or not others:
                raise
            links = ", ".join(
                str(one.deployment.link or one.deployment.id) for one in others if one.deployment
            )
            raise StepFailure(failure.kind, f"{failure.sentence}; begun before that: {links}") from failure
        for delivery in begun:
            self.watch(delivery)

    def begin_one(self, delivery: Delivery) -> bool:
        """Whether there is a child now. A refusal concerns this place alone; a lost API concerns all."""
        assert delivery.errand is not None and delivery.decision is not None
        if delivery.decision.action == "skip":
            delivery.skip(delivery.decision.reason)
            self.log.highlight(f"Skipped: {delivery.decision.reason}.")
            return False
        if self.stopped:
            delivery.skip(f"not begun, for {self.stopped}")
            return False
        try:
            delivery.child = delivery.errand.begin(delivery.decision)
        except ApiError as error:
            if error.status == 401 or len(self.deliveries) == 1:
                raise
            self.fail(delivery, error.kind, f"{delivery.place}: {error.sentence}")
            return False
        return True

    def watch(self, delivery: Delivery) -> None:
        """Tells where the child is, link first, and has it awaited."""
        child = delivery.child
        assert child is not None
        delivery.release = release_of(self.api, delivery.release, child)
        number, deployment = delivery.release["Version"], child.deployment
        self.log.info(f"{delivery.place}: {number}: {deployment.link or deployment.id}")
        self.log.verbose(f"{deployment.id}, task {deployment.task.id}")
        delivery.watch = None
        if not self.terms.waits:
            self.log.highlight(
                f"{delivery.place}: {number} is {deployment.task.state}, and is not waited for."
            )
            delivery.is_settled = True
            return
        delivery.watch = Watch(f"{number} of {delivery.place}", deployment.task.id, deployment.link)
        self.waiter.watches.append(delivery.watch)

    # --- ending ----------------------------------------------------------------------------------------------------

    def judge_ended(self) -> None:
        """What became of those whose task has ended: another deployment to follow, a success, or a failure."""
        ended = [
            one
            for one in self.moving()
            if one.watch and one.watch.task is not None and not one.watch.is_alive
        ]
        try:
            listed = read_recent(self.api, ended) if len(ended) > 1 else None
        except (ApiError, ApiUnreachable) as error:
            for delivery in ended:
                assert delivery.watch is not None and delivery.watch.task is not None
                state = delivery.watch.task.state
                self.fail(
                    delivery,
                    error.kind,
                    f"{error.sentence}; before that, {delivery.watch} had ended as {state}",
                )
            return
        for delivery in ended:
            self.judge(delivery, listed)
        if ended:
            self.tell()

    def judge(self, delivery: Delivery, listed: Optional[Sequence[Deployment]]) -> None:
        watch, child = delivery.watch, delivery.child
        assert delivery.errand and child and watch and watch.task
        try:
            after = delivery.errand.recheck(child, watch.task, listed)
        except (ApiError, ApiUnreachable) as error:
            had = f"before that, {watch} had ended as {watch.task.state}"
            return self.fail(delivery, error.kind, f"{error.sentence}; {had}")
        except StepFailure as failure:
            return self.fail(delivery, failure.kind, failure.sentence)
        delivery.child = after
        if after.deployment.id != child.deployment.id:
            self.waiter.watches.remove(watch)
            return self.watch(delivery)
        state = watch.task.state
        if state == "Success":
            return self.judge_success(delivery, watch)
        if delivery.given_up:
            return self.fail(delivery, delivery.kind_given_up, f"{delivery.given_up}; it was cancelled")
        cause = cause_of_failure(watch)
        kind = CANCELLED if state == "Canceled" else CHILD_FAILED
        words = f"{watch}: {state}" + (f": {cause}" if cause else "")
        if (
            state == "Failed"
            and delivery.changed
            and delivery.attempts < self.terms.attempts
            and not self.stopped
        ):
            return self.try_again(delivery, watch, words)
        return self.fail(delivery, kind, words)

    def try_again(self, delivery: Delivery, watch: Watch, words: str) -> None:
        """Another attempt of the same intention, at once: what was said of the start was said of the first."""
        assert delivery.errand is not None and delivery.child is not None
        delivery.attempts += 1
        self.log.warning(f"{words}. Attempt {delivery.attempts} of {self.terms.attempts}.")
        self.waiter.watches.remove(watch)
        delivery.decision = delivery.errand.decide_again(delivery.child)
        delivery.child = delivery.watch = None
        self.begin([delivery])

    def judge_success(self, delivery: Delivery, watch: Watch) -> None:
        if self.terms.warnings_fail and watch.task is not None and watch.task.has_warnings:
            words = f"{watch}: {watch.state_in_words()}, which this step takes for a failure"
            return self.fail(delivery, CHILD_FAILED, words)
        delivery.is_settled = True
        self.log.highlight(f"{watch}: {watch.state_in_words()}")
        return None

    def give_up(self, watch: Watch) -> None:
        """A limit has come for this one, or it can never end: it is cancelled and followed to its end, or left alone."""
        delivery = next(one for one in self.moving() if one.watch is watch)
        assert delivery.child is not None and watch.task is not None
        if watch.cancelling is not None:
            words = f"{delivery.given_up}; cancelling it has not ended yet, it is {watch.task.state}"
            return self.fail(delivery, delivery.kind_given_up, words)
        limits, kind = self.terms.limits, TIMED_OUT
        if watch.deadlock:
            words, kind = f"{watch} can never end: {watch.deadlock}", DEADLOCK
        elif watch.task.is_waiting_in_queue:
            words = f"{watch} has stood in the queue for {spoken(limits.queue)}"
            words += "".join(f", {why}" for why in (watch.queue_reason, self.waiter.suspicion) if why)
        elif watch.task.is_paused:
            words = f"{watch} has waited for a person for {spoken(timedelta(seconds=watch.paused))}"
        else:
            words = f"{watch} has run for {spoken(limits.run)}"
        if self.terms.cancels_late and delivery.child.is_ours:
            return self.cancel(delivery, watch, kind, words)
        delivery.is_left = delivery.child.is_ours
        reason = "as the step is told" if delivery.child.is_ours else "for somebody else started it"
        return self.fail(delivery, kind, f"{words}; it goes on, {reason}")

    def cancel(self, delivery: Delivery, watch: Watch, kind: str, words: str) -> None:
        """Has the child cancelled; what became of it is judged when it has ended."""
        delivery.given_up, delivery.kind_given_up, watch.cancelling = words, kind, 0.0
        try:
            watch.task = ask_to_cancel(self.api, watch.task_id)
        except ApiError as error:
            self.fail(delivery, kind, f"{words}; it could not be cancelled: {error.sentence}")

    def fail(self, delivery: Delivery, kind: str, sentence: str) -> None:
        """Settles `delivery`, and does with the others what the step is told."""
        delivery.fail(kind, sentence)
        if delivery.watch is not None and delivery.watch.is_alive and delivery.watch in self.waiter.watches:
            self.waiter.watches.remove(delivery.watch)
        if len(self.deliveries) > 1:
            self.log.warning(f"{kind}: {sentence}")
        if self.stopped or self.terms.if_one_fails == GO_ON:
            return
        self.stopped = f"{delivery.place} failed"
        if self.terms.if_one_fails == CANCEL:
            for other in self.moving():
                if other.changed and other.watch is not None and other.watch.is_alive and not other.given_up:
                    self.cancel(
                        other,
                        other.watch,
                        CANCELLED,
                        f"{other.watch} is not wanted any more, for {self.stopped}",
                    )


def release_of(api: Api, release: Mapping[str, Any], child: Child) -> Mapping[str, Any]:
    """An adopted or joined deployment may carry another release than the one that was chosen now."""
    if child.deployment.release_id == release["Id"]:
        return release
    return read_release_of(api, child.deployment)


def usual_run_time(api: Api, place: Place) -> Optional[timedelta]:
    """How long the last successful deployment there ran: when the end may be expected."""
    for item in api.get("tasks", take=1, states="Success", **place.task_query()).get("Items") or ():
        return Task(item).run_time
    return None


def failure_of(deliveries: Sequence[Delivery]) -> Optional[StepFailure]:
    """One failure for all of them: the only one as it is, several in one sentence under the kind of the first."""
    failures = [delivery.failure for delivery in deliveries if delivery.failure is not None]
    if len(deliveries) == 1 or not failures:
        return failures[0] if failures else None
    told = "; ".join(str(failure) for failure in failures[:MOST_TOLD])
    more = f"; and {len(failures) - MOST_TOLD} more" if len(failures) > MOST_TOLD else ""
    return StepFailure(failures[0].kind, f"{len(failures)} of {len(deliveries)} failed: {told}{more}")
