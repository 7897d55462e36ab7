"""What a step can wait for at one place, and whether a deployment there has come so far, or no longer can."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.activities import StepState, find_step, has_come_to
from generator.runtime.api import Api, ApiError
from generator.runtime.deployments import Deployment, ReleaseNumbers
from generator.runtime.lookup import Place
from generator.runtime.moments import parse_duration
from generator.runtime.options import Option, one_of
from generator.runtime.record import Record
from generator.runtime.releases import ReleaseChoice, parse_wanted_release
from generator.runtime.waiting import Watch

ENDED, SUCCEEDED, STARTED, IDLE = "ended", "succeeded", "started", "idle"
REACHED_STEP, PASSED_STEP = "reached_step", "passed_step"
STEP_GOALS = (REACHED_STEP, PASSED_STEP)
ANY_RELEASE = "any"


def awaited_table() -> Mapping[str, Option]:
    """What a line may say beside its project; what it does not say is as the other fields of the form have it."""
    return {
        "environment": Option(str, ""),
        "tenant": Option(str, ""),
        "until": Option(one_of(ENDED, SUCCEEDED, STARTED, REACHED_STEP, PASSED_STEP, IDLE)),
        "step": Option(str, ""),
        "if_skipped": Option(one_of("fail", "pass"), "fail"),
        "release": Option(parse_admitted),
        "max_age": Option(parse_duration),
        "counts": Option(one_of("last", "since_queued", "active"), "last"),
        "when_none": Option(one_of("wait", "pass", "fail"), "wait"),
    }


def parse_admitted(text: str) -> Optional[ReleaseChoice]:
    """Which releases count; None for `any`."""
    return None if text.strip().lower() == ANY_RELEASE else parse_wanted_release(text)


class Goal(Record):
    """What is awaited at one place. What ended before `cutoff` does not count. `impossible`: why nothing can come there."""

    place: Place
    until: str
    step: str
    passes_skipped: bool
    wanted: Optional[ReleaseChoice]
    max_age: Optional[timedelta]
    cutoff: Optional[datetime]
    when_none: str
    impossible: str

    @property
    def needs_steps(self) -> bool:
        return self.until in STEP_GOALS

    @property
    def is_passed(self) -> bool:
        return self.until == PASSED_STEP

    def __str__(self) -> str:
        return {
            ENDED: "has ended",
            SUCCEEDED: "has succeeded",
            STARTED: "has begun",
            REACHED_STEP: f"has reached the step {self.step}",
            PASSED_STEP: f"has passed the step {self.step}",
            IDLE: "is idle",
        }[self.until]

    def counts(self, deployment: Deployment, now: datetime) -> bool:
        """Whether its age lets it count; what has not ended always does."""
        ended = deployment.task.completed
        if deployment.task.is_alive or ended is None:
            return True
        too_old = self.max_age is not None and now - ended > self.max_age
        return not too_old and (self.cutoff is None or ended >= self.cutoff)


class Followed:
    """A deployment that may bring what is awaited. `step` is the awaited step's name in its process, as far as it is known."""

    def __init__(self, deployment: Deployment, watch: Watch, step: str) -> None:
        self._deployment = deployment
        self.watch = watch
        self.step = step
        self._before = watch.in_queue + watch.running

    @property
    def used(self) -> float:
        """Seconds of waiting for it that count."""
        return self.watch.in_queue + self.watch.running - self._before

    @property
    def deployment(self) -> Deployment:
        """As it was last seen."""
        task = self.watch.task
        return self._deployment if task is None else self._deployment._replace(task=task)

    def step_state(self) -> Optional[StepState]:
        number = f"step {self.step.lower()}: "
        for state in self.watch.steps:  # where the process cannot be read a number is not known by its name
            if state.title.lower().startswith(number):
                return find_step(self.watch.steps, self.step) or state
        return find_step(self.watch.steps, self.step)

    @property
    def step_status(self) -> str:
        state = self.step_state()
        return state.status if state else ""

    def has_met(self, goal: Goal) -> bool:
        """Of a step goal."""
        state = self.step_state()
        skipped = state is not None and state.status == "Skipped"
        return has_come_to(state, passed=goal.is_passed) or (skipped and goal.passes_skipped)

    def is_lost(self, goal: Goal) -> bool:
        """Whether this task can no longer bring the step: it has ended, or the step was skipped or did not succeed."""
        settled = self.step_status in ("Skipped", "Failed", "Canceled")
        return not self.watch.is_alive or (settled and not self.has_met(goal))

    @property
    def has_begun(self) -> bool:
        task = self.watch.task
        return task is not None and not task.never_began


class Outcome(Record):
    """How the wait at one place ended. `kind` is "" when the goal is met, else the kind of the failure."""

    kind: str
    words: str
    state: str
    deployment: Optional[Deployment]
    status: str
    is_late: bool


class Awaited:
    """One place with its goal: what is followed there, and how it ended."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.followed: list[Followed] = []
        self.outcome: Optional[Outcome] = None
        self.spent = 0.0  # seconds, unpaused, of what was followed before, and in which nothing was there to be followed
        self.looks_since: Optional[float] = None  # since when there is nothing to be followed
        self.due: Optional[datetime] = None  # when a deployment that is scheduled there is to begin

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    @property
    def is_looking(self) -> bool:
        return self.is_open and self.looks_since is not None

    def used(self) -> float:
        """Seconds of waiting that count."""
        return self.spent + max(
            (one.watch.in_queue + one.watch.running for one in self.followed), default=0.0
        )

    def all_ended(self) -> bool:
        return not any(one.watch.is_alive for one in self.followed)

    def newest(self) -> Followed:
        return max(self.followed, key=lambda one: one.deployment.number)

    def can_be_judged(self) -> bool:
        """Whether what was read last decides it."""
        goal = self.goal
        if not self.followed:
            return False
        if goal.needs_steps:
            return any(one.has_met(goal) for one in self.followed) or all(
                one.is_lost(goal) for one in self.followed
            )
        if goal.until == STARTED and any(one.has_begun for one in self.followed):
            return True
        return self.all_ended()


class ProcessStep(Record):
    """A step, or an action of a step that has several, as the log numbers it."""

    number: str
    names: Sequence[str]
    slugs: Sequence[str]

    def __str__(self) -> str:
        return f"{self.number} {self.names[0]}"


def process_steps(process: Mapping[str, Any]) -> list[ProcessStep]:
    """The steps of a deployment process (source: docs, API reference, deployment processes)."""
    found = []
    for number, step in enumerate(process.get("Steps") or (), start=1):
        actions = step.get("Actions") or ()
        alone = actions if len(actions) == 1 else ()
        found.append(
            ProcessStep(str(number), said(step, alone, "Name"), said(step, alone, "Slug")),
        )
        for position, action in enumerate(actions if not alone else (), start=1):
            found.append(
                ProcessStep(f"{number}.{position}", said(action, (), "Name"), said(action, (), "Slug"))
            )
    return found


def said(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """What the documents have in that field, each once."""
    return list(dict.fromkeys(str(one[field]) for one in (document, *others) if one.get(field)))


def match_step(steps: Sequence[ProcessStep], text: str) -> Optional[ProcessStep]:
    """The step that is meant by its name, `Step 3: Name`, its number or its slug; names go first, and case does not matter."""
    wanted = text.strip().lower()
    for step in steps:
        titles = [f"step {step.number}: {name}" for name in step.names]
        if wanted in [name.lower() for name in [*step.names, *titles]]:
            return step
    for step in steps:
        if wanted in (step.number, f"step {step.number}"):
            return step
    for step in steps:
        if wanted in [slug.lower() for slug in step.slugs]:
            return step
    return None


class StepNames:
    """Awaited steps by the process that a deployment really runs: the release's, which may differ from the project's of today."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._processes: dict[str, Optional[list[ProcessStep]]] = {}

    def steps_of(self, deployment: Deployment) -> Optional[list[ProcessStep]]:
        """None where this account may not read the process."""
        identifier = deployment.document.get("DeploymentProcessId") or ""
        if identifier not in self._processes:
            self._processes[identifier] = self._read(identifier) if identifier else None
        return self._processes[identifier]

    def _read(self, identifier: str) -> Optional[list[ProcessStep]]:
        try:
            return process_steps(self._api.get(f"deploymentprocesses/{identifier}")) or None
        except ApiError as error:
            if error.status == 401:
                raise
            return None


def describe_awaited(one: Awaited, numbers: ReleaseNumbers) -> dict[str, Any]:
    """One place of the wait, for the result and the output."""
    place, outcome = one.goal.place, one.outcome
    deployment = outcome.deployment if outcome else None
    return {
        "project": place.project["Name"],
        "environment": place.environment["Name"],
        "tenant": place.tenant["Name"] if place.tenant else "",
        "until": one.goal.until,
        "state": outcome.state if outcome else "",
        "version": numbers.of(deployment) if deployment else "",
        "deployment": deployment.id if deployment else "",
        "task": deployment.task.id if deployment else "",
        "link": deployment.link if deployment else "",
        "step_status": outcome.status if outcome else "",
        "met": outcome is not None and not outcome.kind,
        "timed_out": outcome is not None and outcome.is_late,
        "failure": f"{outcome.kind}: {outcome.words}" if outcome and outcome.kind else "",
    }
