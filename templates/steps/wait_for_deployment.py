"""Waits until a deployment of another project has come as far as wanted."""

from __future__ import annotations

from datetime import timedelta
from typing import Optional, Sequence

from generator.runtime.activities import StepState, find_step, has_come_to
from generator.runtime.api import Api
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.deployments import (
    Deployment,
    ReleaseNumbers,
    active_deployments,
    find_latest,
    find_successor,
)
from generator.runtime.lookup import Place, find_place
from generator.runtime.moments import spoken
from generator.runtime.parameters import Parameters, reads
from generator.runtime.record import Record
from generator.runtime.releases import ReleaseChoice, parse_wanted_release
from generator.runtime.step import (
    CANCELLED,
    CHILD_FAILED,
    MISCONFIGURED,
    REFUSED,
    REFUSED_BY_SERVER,
    TIMED_OUT,
    Step,
)
from generator.runtime.tasks import Task, utc_now
from generator.runtime.waiting import Limits, Waiter, Watch, cause_of_failure, poll_interval

STEP_GOALS = ("reached_step", "passed_step")


class Goal(Record):
    """What is waited for, where, and of which release."""

    place: Place
    until: str
    step_name: str
    passes_skipped: bool
    wanted: Optional[ReleaseChoice]
    max_age: Optional[timedelta]

    def __str__(self) -> str:
        return {
            "ended": "has ended",
            "succeeded": "has succeeded",
            "reached_step": f"has reached the step {self.step_name}",
            "passed_step": f"has passed the step {self.step_name}",
            "idle": "is idle",
        }[self.until]

    def is_met_by(self, steps: Sequence[StepState]) -> bool:
        state = find_step(list(steps), self.step_name)
        skipped = state is not None and state.status == "Skipped"
        return has_come_to(state, passed=self.until == "passed_step") or (skipped and self.passes_skipped)

    def is_lost_for(self, watch: Watch) -> bool:
        """Whether this task can no longer meet the goal: it has ended, or the step was skipped or did not succeed."""
        state = find_step(watch.steps, self.step_name)
        settled = state is not None and state.status in ("Skipped", "Failed", "Canceled")
        return not watch.is_alive or (settled and not self.is_met_by(watch.steps))


class Vigil:
    """One wait with everything it needs; `spent` is the unpaused time of all deployments that were followed one after another."""

    def __init__(self, parameters: Parameters, api: Api, goal: Goal) -> None:
        self.parameters = parameters
        self.step: Step = parameters.step
        self.api = api
        self.goal = goal
        self.numbers = ReleaseNumbers(api)
        self.spent = timedelta()

    def matches(self, deployment: Deployment) -> bool:
        """Whether the deployment is one of those that count, by its release and its age."""
        task, max_age = deployment.task, self.goal.max_age
        ended = task.completed if not task.is_alive else None
        if max_age is not None and ended is not None and utc_now(self.api) - ended > max_age:
            return False
        return self.goal.wanted is None or self.goal.wanted.admits(self.numbers.of(deployment))

    def find_active(self) -> list[Deployment]:
        return [one for one in active_deployments(self.api, self.goal.place) if self.matches(one)]

    def label(self, deployment: Deployment) -> str:
        return f"{self.numbers.of(deployment)} of {self.goal.place}"

    def limits(self) -> Limits:
        """What is left of both limits together bounds each."""
        parameters = self.parameters
        queue, run = parameters.queue_limit, parameters.run_limit
        left = max(timedelta(), queue + run - self.spent)
        return Limits(min(queue, left), min(run, left))

    def follow(self, deployments: Sequence[Deployment]) -> tuple[list[Watch], list[Watch]]:
        """The watches of these deployments as the goal was met or could no longer be, and those whose limit has come."""
        watches = [Watch(self.label(one), one.task.id, one.link) for one in deployments]
        for watch in watches:
            self.step.log.info(f"Following {watch}")
        waiter = Waiter(self.api, self.step.log, watches, self.limits())
        if self.goal.until in STEP_GOALS:
            waiter.stop = lambda seen: (
                any(self.goal.is_met_by(watch.steps) for watch in seen)
                or all(self.goal.is_lost_for(watch) for watch in seen)
                or not waiter.shows_details
            )
        late = waiter.wait()
        self.spent += timedelta(seconds=max(watch.in_queue + watch.running for watch in watches))
        if self.goal.until in STEP_GOALS:
            for watch in watches:
                if watch.detailed_at < watch.changed_at and not watch.is_alive:
                    waiter.read_details(watch)
            if not waiter.shows_details:
                self.step.fail(REFUSED_BY_SERVER, "the steps of the task cannot be read: that takes TaskView")
        return watches, late

    def report(self, deployment: Optional[Deployment], state: str, words: str, status: str = "") -> None:
        """The goal is met: the line that matters, and the outputs."""
        self.step.log.highlight(words)
        self.set_outputs(deployment, state, status)

    def set_outputs(
        self, deployment: Optional[Deployment], state: str, status: str = "", timed_out: bool = False
    ) -> None:
        self.step.output("State", state)
        self.step.output("Version", self.numbers.of(deployment) if deployment else "")
        self.step.output("DeploymentId", deployment.id if deployment else "")
        self.step.output("TaskId", deployment.task.id if deployment else "")
        self.step.output("Link", deployment.link if deployment else "")
        self.step.output("StepStatus", status)
        self.step.output("TimedOut", str(timed_out))

    def time_out(self, deployment: Optional[Deployment], state: str, words: str) -> None:
        parameters = self.parameters
        self.set_outputs(deployment, state, timed_out=True)
        if parameters.on_timeout == "fail":
            self.step.fail(TIMED_OUT, words)
        self.step.log.warning(f"Timed out, and going on as told: {words}")


@reads(release=parse_wanted_release, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    if parameters.until in STEP_GOALS and not parameters.step_name:
        step.fail(MISCONFIGURED, f"{parameters.label('step_name')}: a value is required to wait for a step")
    if parameters.until not in STEP_GOALS and parameters.step_name:
        step.fail(MISCONFIGURED, f"{parameters.label('step_name')}: only a wait for a step can have one")
    api = connect(parameters, parameters.queue_limit + parameters.run_limit)
    place = find_place(api, parameters.project, parameters.environment, parameters.tenant)
    wanted = parameters.release and parameters.release.resolved(step.variable("Octopus.Release.Number"))
    goal = Goal(
        place,
        parameters.until,
        parameters.step_name or "",
        parameters.if_skipped == "pass",
        wanted,
        parameters.max_age,
    )
    step.log.info(f"Waiting until {place} {goal}" + (f" (release {wanted})" if wanted else ""))
    vigil = Vigil(parameters, api, goal)
    if goal.until == "idle":
        wait_until_idle(vigil)
    else:
        wait_for_goal(vigil)


def wait_until_idle(vigil: Vigil) -> None:
    """Until nothing that counts is active; what becomes active meanwhile is waited for as well."""
    place = vigil.goal.place
    while True:
        active = vigil.find_active()
        if not active:
            vigil.report(None, "Idle", f"{place} is idle.")
            return
        _, late = vigil.follow(active)
        if late:
            words = f"{late[0]} keeps {place} busy: {late[0].state_in_words()}"
            vigil.time_out(one_of(active, late[0]), "Active", words)
            return


def wait_for_goal(vigil: Vigil) -> None:
    deployments = vigil.find_active()
    if not deployments:
        latest = find_latest(vigil.api, vigil.goal.place, vigil.matches)
        latest = latest or await_first(vigil)
        if latest is None:
            return
        deployments = [latest]
    while True:
        watches, late = vigil.follow(deployments)
        followed = [
            one._replace(task=watch.task)
            for one, watch in zip(deployments, watches)
            if watch.task is not None
        ]
        if late:
            words = f"{late[0]} has not come as far: {late[0].state_in_words()}, but {vigil.goal} was wanted"
            deployment = one_of(followed, late[0])
            vigil.time_out(deployment, deployment.task.state, words)
            return
        if vigil.goal.until in STEP_GOALS:
            for one, watch in zip(followed, watches):
                if vigil.goal.is_met_by(watch.steps):
                    status = status_of(vigil.goal, watch)
                    words = f"{watch}: {vigil.goal.step_name} is {status}"
                    vigil.report(one, one.task.state, words, status)
                    return
        newest, watch = max(zip(followed, watches), key=lambda pair: pair[0].number)
        successor = find_successor(vigil.api, vigil.goal.place, newest)
        if successor is None or not vigil.matches(successor):
            judge_end(vigil, newest, watch, successor)
            return
        vigil.step.log.info(f"{watch} was superseded.")
        deployments = [successor]


def one_of(deployments: Sequence[Deployment], watch: Watch) -> Deployment:
    [found] = [one for one in deployments if one.task.id == watch.task_id]
    return found


def status_of(goal: Goal, watch: Watch) -> str:
    state = find_step(watch.steps, goal.step_name)
    return state.status if state else ""


def judge_end(vigil: Vigil, deployment: Deployment, watch: Watch, successor: Optional[Deployment]) -> None:
    """The newest of those that were followed has ended, or can no longer meet the goal."""
    goal, state = vigil.goal, deployment.task.state
    status = status_of(goal, watch)
    if goal.until == "ended" or (goal.until == "succeeded" and state == "Success"):
        vigil.report(deployment, state, f"{watch}: {watch.state_in_words()}")
        return
    vigil.set_outputs(deployment, state, status)
    if successor is not None:
        number = vigil.numbers.of(successor)
        vigil.step.fail(CANCELLED, f"{watch} was superseded by {number}: {successor.link or successor.id}")
    kind = CANCELLED if state == "Canceled" else CHILD_FAILED
    if goal.until == "succeeded":
        cause = cause_of_failure(watch)
        vigil.step.fail(kind, f"{watch}: {state}" + (f": {cause}" if cause else ""))
    if status:
        vigil.step.fail(kind, f"{watch}: the step {goal.step_name} is {status}, and the task is {state}")
    names = ", ".join(step.name for step in watch.steps) or "none"
    vigil.step.fail(kind, f"{watch} ended as {state} without the step {goal.step_name}; its steps: {names}")


def await_first(vigil: Vigil) -> Optional[Deployment]:
    """Nothing that counts was ever deployed: the first one that appears, or None when the step is to go on without."""
    goal, api, parameters = vigil.goal, vigil.api, vigil.parameters
    if parameters.when_none != "wait":
        words = f"{goal.place} has no deployment that counts"
        if parameters.when_none == "fail":
            vigil.set_outputs(None, "None")
            vigil.step.fail(REFUSED, words)
        vigil.report(None, "None", f"{words}, and is not waited for.")
        return None
    vigil.step.log.waiting(f"There is no deployment of {goal.place} that counts: waiting for one to appear.")
    begun = api.clock()
    limit = parameters.queue_limit.total_seconds()
    before = None
    while True:
        seen = look_of_queue(vigil)
        if seen != before:
            before = seen
            active = vigil.find_active()
            found = active[0] if active else find_latest(api, goal.place, vigil.matches)
            if found is not None:
                vigil.spent += timedelta(seconds=api.clock() - begun)
                return found
        age = api.clock() - begun
        if age >= limit:
            words = f"no deployment of {goal.place} that counts has appeared within {spoken(parameters.queue_limit)}"
            vigil.time_out(None, "None", words)
            return None
        interval = poll_interval(age, queued=True, rich=True, usual_left=None) * (0.9 + api.chance() / 5)
        api.sleep(min(limit - age, max(interval, api.advised_pause)))


def look_of_queue(vigil: Vigil) -> list[tuple[str, str, bool]]:
    """The newest tasks of the place in one request: as long as this stays the same, nothing has appeared."""
    now = utc_now(vigil.api)
    page = vigil.api.get("tasks", take=10, **vigil.goal.place.task_query())
    tasks = [Task(item) for item in page.get("Items") or ()]
    return [(task.id, task.state, task.is_scheduled(now)) for task in tasks]
