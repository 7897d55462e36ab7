"""Waiting for tasks: bounded by two clocks, cheap by one request a poll, telling only what changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable, Mapping, Optional, Sequence

from generator.runtime.activities import StepState, Trouble, step_states, troubles
from generator.runtime.announcements import Target, announced_waits
from generator.runtime.api import Api, ApiError, ApiUnreachable
from generator.runtime.deadlocks import NEEDS_ALL
from generator.runtime.log import Log
from generator.runtime.moments import spoken
from generator.runtime.queues import Queues
from generator.runtime.record import Record
from generator.runtime.step import REFUSED_BY_SERVER, StepFailure
from generator.runtime.tasks import CANCEL_INTERVAL, LONGEST_CANCEL, RUNNING_STATES, Task, read_tasks, utc_now
from generator.runtime.wait_graph import Lookout, Seen

SHORTEST_INTERVAL = 2.0
LONGEST_INTERVAL = 13.3  # with jitter below 15 s
LONGEST_SCHEDULED_INTERVAL = 60.0
BURST = 26.0
REQUESTS_PER_MINUTE = 5.4  # so that an hour with its first burst stays within 6 a minute
RESERVE = 10.0  # of them, kept for questions about the queue and about deadlocks
QUEUE_REASON_INTERVAL = 60.0
LATER_REASON_INTERVAL = 180.0
PROGRESS_INTERVAL = 30.0
LEAST_PATIENCE = 30.0
LOG_TAIL = 30  # lines of each activity, read again and again: what comes faster than that is not shown
MOST_TROUBLES = 100
ASK_AGAIN_INTERVAL = 60.0
LONGEST_PAUSE_FOR_A_PERSON = timedelta(days=7)


class Limits(Record):
    """How long a task may wait in the queue, and how long it may run; neither runs while a person is asked."""

    queue: timedelta
    run: timedelta


class RequestBudget:
    """How many requests may still be made: a burst at first, then a steady trickle."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._level = BURST
        self._seen = api.requests
        self._at = api.clock()

    def level(self) -> float:
        now = self._api.clock()
        earned = (now - self._at) * REQUESTS_PER_MINUTE / 60
        spent = self._api.requests - self._seen
        self._level = max(-5.0, min(BURST, self._level + earned) - spent)
        self._at, self._seen = now, self._api.requests
        return self._level


class Watch:
    """One awaited task: what was last seen of it, and its clocks in seconds, counted from when the wait began."""

    def __init__(self, label: str, task_id: str, link: str) -> None:
        self.label = label
        self.task_id = task_id
        self.link = link
        self.target = Target(
            task_id
        )  # with a step where only that is waited for: this is what others are told
        self.task: Optional[Task] = None
        self.details: Optional[Mapping[str, Any]] = None
        self.steps: list[StepState] = []
        self.in_queue = 0.0
        self.running = 0.0
        self.paused = 0.0
        self.cancelling: Optional[float] = None  # how long since somebody here asked to cancel it
        self.absences = 0
        self.changed_at = 0.0
        self.detailed_at = -1.0
        self.reason_due = 0.0
        self.queue_reason = ""
        self.deadlock = ""  # why this can never end, when it is for this step to give way
        self.told = ""
        self.told_steps: dict[str, str] = {}
        self.told_interruptions: dict[str, str] = {}  # who has taken each, "" for nobody
        self.asked_at = 0.0
        self.troubles: list[Trouble] = []
        self.told_troubles: set[str] = set()

    @property
    def is_alive(self) -> bool:
        return self.task is None or self.task.is_alive

    @property
    def succeeded(self) -> bool:
        return self.task is not None and self.task.state == "Success"

    def left(self, limits: Limits) -> float:
        """Seconds until the clock that now runs reaches its limit."""
        if self.cancelling is not None:
            return LONGEST_CANCEL - self.cancelling
        if self.deadlock:
            return 0.0
        if self.task is not None and self.task.is_paused:
            return LONGEST_PAUSE_FOR_A_PERSON.total_seconds() - self.paused
        if self.task is not None and not self.task.is_waiting_in_queue:
            return limits.run.total_seconds() - self.running
        return limits.queue.total_seconds() - self.in_queue

    def state_in_words(self) -> str:
        task = self.task
        if task is None:
            return "not seen yet"
        if task.is_paused:
            return f"{task.state}, waits for a person"
        if task.state in RUNNING_STATES and task.queue_time:
            return f"{task.state} after {spoken(task.queue_time)} in the queue"
        if not task.is_alive:
            ran = f", ran {spoken(task.run_time)}" if task.run_time else ", never began"
            return (
                task.state
                + ran
                + (", with warnings" if task.has_warnings and task.state == "Success" else "")
            )
        return task.state

    def __str__(self) -> str:
        return self.label + (f" ({self.link})" if self.link else "")


def all_ended(watches: Sequence[Watch]) -> bool:
    return not any(watch.is_alive for watch in watches)


def poll_interval(age: float, *, queued: bool, rich: bool, usual_left: Optional[float]) -> float:
    """Seconds until the next poll, before jitter.

    `age`: seconds since something last changed. `rich`: the budget allows quick polls. `usual_left`: seconds until the task
    would end if it took as long as last time: nothing is to be seen long before, much around it.
    """
    if not rich:
        return LONGEST_INTERVAL
    if usual_left is not None and age > 20:
        if usual_left > 40:
            return min(LONGEST_INTERVAL, usual_left / 3)
        if usual_left > -60:
            return 4.0
    slowly = age / 3 + 1 if queued else age / 5
    return max(SHORTEST_INTERVAL, min(LONGEST_INTERVAL, slowly))


class Waiter:
    """Follows `watches` by one batched request a poll; what the budget leaves goes to steps, queue reasons, interruptions.

    `aside` is called once a poll while something is still awaited. With a `lookout` the wait is announced to others and looked
    through for deadlocks; `need` says whether all of the tasks are waited for or any.
    """

    def __init__(
        self,
        api: Api,
        log: Log,
        watches: Sequence[Watch],
        limits: Limits,
        *,
        stop: Callable[[Sequence[Watch]], bool] = all_ended,
        aside: Callable[[], None] = lambda: None,
        usual: Optional[timedelta] = None,
        lookout: Optional[Lookout] = None,
        need: str = NEEDS_ALL,
    ) -> None:
        self.api = api
        self.log = log
        self.lookout = lookout
        self.need = need
        self.queues = lookout.queues if lookout is not None else Queues(api)
        self.watches = list(watches)
        self.limits = limits
        self.stop = stop
        self.aside = aside
        self.usual = usual
        self.budget = RequestBudget(api)
        self.changed_at = self.looked_at = self.poll_began = api.clock()
        self.progress_at = -PROGRESS_INTERVAL
        self.progress_told = ""
        self.percentage = 0
        self.quoted: list[str] = []  # what was told of the awaited ones' warnings and errors
        self.shows_details = True
        self.shows_interruptions = True

    def wait(self) -> list[Watch]:
        """Returns when `stop` says so (then without watches), or with those whose limit has come, or that can never end: see
        `Watch.deadlock`. Never sleeps after the end."""
        if not self.alive():
            return []
        try:
            if all(watch.task is not None for watch in self.alive()):  # this is not the first call
                self.api.sleep(self.interval())
            while True:
                self.look()
                self.announce()
                self.tell_changes()
                if self.stop(self.watches):
                    return []
                self.look_for_deadlocks()
                late = [watch for watch in self.alive() if watch.left(self.limits) <= 0]
                if late:
                    return late
                self.aside()
                self.api.sleep(self.interval())
        except StepFailure as failure:
            left_behind = ", ".join(str(watch) for watch in self.alive())
            if self.lookout is not None:
                self.lookout.announce(self.need, [])
            raise StepFailure(
                failure.kind, f"{failure.sentence}; no longer watched: {left_behind}"
            ) from failure

    def alive(self) -> list[Watch]:
        return [watch for watch in self.watches if watch.is_alive]

    def interval(self) -> float:
        now, alive = utc_now(self.api), self.alive()
        left = max(0.1, min(watch.left(self.limits) for watch in alive))
        due = [
            watch.task.queued - now
            for watch in alive
            if watch.task and watch.task.is_scheduled(now) and watch.task.queued
        ]
        if len(due) == len(alive):
            return max(SHORTEST_INTERVAL, min(LONGEST_SCHEDULED_INTERVAL, min(due).total_seconds()))
        if any(watch.cancelling is not None for watch in alive):
            return min(left, CANCEL_INTERVAL)
        usual_left = None
        if self.usual is not None and any(watch.running for watch in alive):
            usual_left = self.usual.total_seconds() - max(watch.running for watch in alive)
        seconds = poll_interval(
            self.api.clock() - self.changed_at,
            queued=all(watch.task is not None and watch.task.is_waiting_in_queue for watch in alive),
            rich=self.budget.level() >= RESERVE,
            usual_left=usual_left,
        )
        seconds *= 0.9 + self.api.chance() / 5
        return min(left, max(seconds, self.api.advised_pause))

    def look(self) -> None:
        """One poll: the state of every task that is still alive, then what else the budget allows."""
        alive, self.poll_began = self.alive(), self.api.clock()
        patience = max(LEAST_PATIENCE, min(watch.left(self.limits) for watch in alive))
        found = self.look_closely(alive[0], patience) if len(alive) == 1 else {}
        if not found:
            found = read_tasks(self.api, [watch.task_id for watch in alive], patience=patience)
        now = self.api.clock()
        self.count(alive, now - self.looked_at)
        self.looked_at = now
        for watch in alive:
            task = found.get(watch.task_id)
            watch.absences = 0 if task else watch.absences + 1
            if watch.absences >= 2:
                raise StepFailure(
                    REFUSED_BY_SERVER,
                    f"{watch} is no longer among the tasks that the server returns: it was deleted, "
                    "or the account may not see it any more (TaskView)",
                )
            if task is None:
                continue
            if watch.task is None or (watch.task.state, watch.task.is_paused) != (task.state, task.is_paused):
                watch.changed_at = self.changed_at = now
            watch.task = task
        self.look_around(now)

    def count(self, alive: Sequence[Watch], seconds: float) -> None:
        """Adds the time since the last poll to the clock that ran according to that poll."""
        moment = utc_now(self.api)
        for watch in alive:
            task = watch.task
            if watch.cancelling is not None:
                watch.cancelling += seconds
            if task is None or task.is_scheduled(moment):
                continue
            if task.is_paused:
                watch.paused += seconds
            elif task.is_waiting_in_queue:
                watch.in_queue += seconds
            else:
                watch.running += seconds

    def look_closely(self, watch: Watch, patience: float) -> dict[str, Task]:
        """State and steps of one running task in one request; nothing when the details are not to be had or not worth it."""
        if not self.shows_details or watch.task is None or watch.task.is_waiting_in_queue:
            return {}
        details = self.read_details(watch, patience)
        document = (details or {}).get("Task") or {}
        return {watch.task_id: Task(document)} if document.get("Id") == watch.task_id else {}

    def read_details(self, watch: Watch, patience: Optional[float] = None) -> Any:
        """The task's details, its steps noted; None from then on when the account may not read them."""
        try:
            details = self.api.get(
                f"tasks/{watch.task_id}/details", patience=patience, verbose="false", tail=LOG_TAIL
            )
        except ApiError as error:
            if error.status == 401:
                raise
            self.shows_details = False
            self.log.verbose(f"The steps of {watch.label} are not shown: {error.sentence}")
            return None
        watch.details = details
        watch.steps = step_states(details)
        watch.troubles = troubles(details)
        watch.detailed_at = self.api.clock()
        progress = details.get("Progress") or {}
        self.percentage = max(self.percentage, int(progress.get("ProgressPercentage") or 0))
        return details

    def look_around(self, now: float) -> None:
        """Spends what the budget leaves: interruptions, then steps (changed tasks first, then round robin), then the queue."""
        alive = self.alive()
        asked = [
            watch
            for watch in alive
            if watch.task and watch.task.is_paused
            if watch.changed_at == now or now - watch.asked_at >= ASK_AGAIN_INTERVAL
        ]
        if asked and self.shows_interruptions and self.budget.level() >= 1:
            self.tell_interruptions(asked)
        waiting = [watch for watch in alive if watch.task and watch.task.is_waiting_in_queue]
        detailed = [
            watch for watch in self.watches if watch.task and watch not in waiting and watch.detailed_at < now
        ]
        detailed = [watch for watch in detailed if watch.is_alive or watch.detailed_at < watch.changed_at]
        for watch in sorted(detailed, key=lambda one: (-one.changed_at, one.detailed_at)):
            if not self.shows_details or self.budget.level() < RESERVE:
                break
            self.read_details(watch)
        moment = utc_now(self.api)
        for watch in sorted(waiting, key=lambda one: one.reason_due):
            if watch.task and watch.task.queued and watch.task.is_scheduled(moment):
                watch.queue_reason = (
                    f"until {watch.task.queued:%Y-%m-%d %H:%M} UTC, for which it is scheduled"
                )
            elif self.budget.level() >= RESERVE - 4 and now >= watch.reason_due:
                self.read_queue_reason(watch, now)

    def read_queue_reason(self, watch: Watch, now: float) -> None:
        """The first is soon out of date; from the second on the place in the queue is told at a low rate."""
        watch.reason_due = now + (LATER_REASON_INTERVAL if watch.queue_reason else QUEUE_REASON_INTERVAL)
        assert watch.task is not None
        try:
            standing = self.queues.read(watch.task)
        except ApiUnreachable:
            return
        if standing is not None:
            watch.queue_reason = str(standing)

    @property
    def suspicion(self) -> str:
        """What looks like a deadlock, and cannot be proved."""
        return self.lookout.suspicion if self.lookout is not None else ""

    def announce(self) -> None:
        """Tells others what this step waits for now."""
        if self.lookout is not None:
            targets = [watch.target for watch in self.alive() if watch.cancelling is None]
            self.lookout.announce(self.need, targets)

    def look_for_deadlocks(self) -> None:
        """Marks those whose end this step could await for ever, when it is for this step to give way."""
        alive = [watch for watch in self.alive() if watch.task is not None and watch.cancelling is None]
        if self.lookout is None:
            return
        suspects = [watch for watch in alive if watch.task and self.may_wait_itself(watch)]
        fresh = {
            watch.task_id: Seen(watch.task, watch.details if watch.detailed_at >= self.poll_began else None)
            for watch in alive
            if watch.task is not None
        }
        sentence = self.lookout.look(
            self.budget.level, suspects=[watch.target for watch in suspects], fresh=fresh
        )
        for watch in suspects:
            if sentence and watch.task_id in self.lookout.held:
                watch.deadlock = sentence

    def may_wait_itself(self, watch: Watch) -> bool:
        """Whether the awaited stands in the queue, or announced a wait when its log was last read, or was never read yet."""
        if watch.task is None or watch.task.is_waiting_in_queue:
            return True
        return watch.details is None or bool(announced_waits(watch.details))

    def tell_interruptions(self, asked: Sequence[Watch]) -> None:
        """What people are asked, by one list for all tasks."""
        try:
            pending = list(self.api.pages("interruptions", pendingOnly="true"))
        except ApiError as error:
            if error.status == 401:
                raise
            self.shows_interruptions = False
            self.log.verbose(f"What is asked is not shown: {error.sentence}")
            return
        for watch in asked:
            watch.asked_at = self.api.clock()
            for item in pending:
                if item.get("TaskId") == watch.task_id:
                    self.tell_interruption(watch, item)

    def tell_interruption(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """What is asked, once; and who has taken it, when somebody has."""
        taker = item.get("ResponsibleUserId") or ""
        if item["Id"] not in watch.told_interruptions:
            text = question_of(item)
            words = f"{watch.label}: {item.get('Type')}: {item.get('Title')} {watch.link}".rstrip()
            self.log.waiting(words + (f"\n{text}" if text else ""))
            watch.told_interruptions[item["Id"]] = ""
        if taker and watch.told_interruptions[item["Id"]] != taker:
            watch.told_interruptions[item["Id"]] = taker
            self.log.waiting(f"{watch.label}: {item.get('Title')}: taken by {self.name_of_user(taker)}")

    def name_of_user(self, user_id: str) -> str:
        try:
            user = self.api.get(f"/api/users/{user_id}")
        except ApiError as error:
            if error.status == 401:
                raise
            return user_id
        return str(user.get("DisplayName") or user.get("Username") or user_id)

    def tell_changes(self) -> None:
        """Prints what is new: states, steps, the reason for standing in the queue; and moves the progress bar."""
        for watch in self.watches:
            # What leads to the end is told before it, what follows from a beginning after it.
            if watch.is_alive:
                self.tell_state(watch)
            for step in watch.steps:
                if step.status != "Pending" and watch.told_steps.get(step.title) != step.status:
                    watch.told_steps[step.title] = step.status
                    self.log.info(f"{watch.label}: {step}")
            self.tell_troubles(watch)
            if not watch.is_alive:
                self.tell_state(watch)
        self.tell_progress()

    def tell_troubles(self, watch: Watch) -> None:
        """The child's new warnings and errors, at their level."""
        for trouble in watch.troubles:
            if trouble.key in watch.told_troubles or len(watch.told_troubles) > MOST_TROUBLES:
                continue
            watch.told_troubles.add(trouble.key)
            if len(watch.told_troubles) > MOST_TROUBLES:
                self.log.warning(f"{watch.label}: more warnings and errors are not shown here: {watch.link}")
                continue
            if self.is_own_echo(trouble.text):
                continue
            tell = self.log.warning if trouble.level == "Warning" else self.log.error
            line = ": ".join(part for part in (watch.label, trouble.where, trouble.text) if part)
            self.quoted.append(line)
            tell(line)

    def is_own_echo(self, text: str) -> bool:
        """Whether the awaited one quotes what this step wrote, for it awaits this task: to quote it again would never end."""
        own = [*self.quoted, *(self.lookout.told if self.lookout is not None else ())]
        return any(one in text for one in own)

    def tell_state(self, watch: Watch) -> None:
        words = watch.state_in_words()
        if watch.queue_reason and watch.task and watch.task.is_waiting_in_queue:
            words += f" {watch.queue_reason}"
        if words != watch.told:
            watch.told = words
            self.log.info(f"{watch.label}: {words}")

    def tell_progress(self) -> None:
        ended = len(self.watches) - len(self.alive())
        if len(self.watches) == 1:
            message, percentage = (
                f"{self.watches[0].label}: {self.watches[0].state_in_words()}",
                self.percentage,
            )
        else:
            message, percentage = f"{ended} of {len(self.watches)} ended", 100 * ended // len(self.watches)
        now = self.api.clock()
        shown = f"{percentage} {message}"
        if shown != self.progress_told and now - self.progress_at >= PROGRESS_INTERVAL:
            self.progress_told, self.progress_at = shown, now
            if self.lookout is not None:
                self.lookout.announcer.tell(percentage, message)
            else:
                self.log.progress(percentage, message)


def question_of(interruption: Mapping[str, Any]) -> str:
    """The text that a person is shown: the paragraphs of the form (source: go-octopusdeploy, test/e2e/interruption_test.go)."""
    form = interruption.get("Form") or {}
    texts = []
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        if control.get("Type") == "Paragraph":
            texts.append(
                str(control.get("Text") or (form.get("Values") or {}).get(element.get("Name")) or "")
            )
    return "\n".join(text.strip() for text in texts if text.strip())


def cause_of_failure(watch: Watch) -> str:
    """Why a task did not succeed, in one clause: its error and the steps that failed."""
    task = watch.task
    failed = [step.title for step in watch.steps if step.status == "Failed"]
    parts = [task.error.strip()] if task is not None and task.error.strip() else []
    if failed:
        parts.append("failed at " + ", ".join(failed))
    return "; ".join(parts)
