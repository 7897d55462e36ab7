"""Exactly once: one intention of a step leads to one deployment that is carried out, whatever gets lost or runs twice.

Every deployment made here carries a marker in its Comments: a key that names the intention, and the attempt. The list of the
server's deployments is read before a POST, after it, and before the result is told. Of several with one key and attempt the
lowest id that is alive or has succeeded stands; the others are cancelled while they are queued.

A step retry shows itself by an ended, unsuccessful deployment of the own key that was there before this process made any:
the own task still runs the same action, so Octopus or a person started the step again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError, LostAnswer
from generator.runtime.deployments import (
    Deployment,
    deployments_since,
    find_current,
    find_successor,
    join_tasks,
    living_deployments,
    read_release_of,
)
from generator.runtime.log import Log
from generator.runtime.lookup import Place
from generator.runtime.markers import AWAITED, LEFT, Marker, ParentTask, read_marker
from generator.runtime.moments import moment_or_none
from generator.runtime.record import Record
from generator.runtime.releases import is_newer
from generator.runtime.step import CANCELLED, GAVE_UP, MISCONFIGURED, StepFailure
from generator.runtime.tasks import Task, cancel_task, utc_now

CLOCK_MARGIN = timedelta(minutes=10)  # own server and the children's may be two servers
LOOK_FOR_LOST = 60.0
LOOK_INTERVAL = 5.0
LATE_WRITE = 600.0  # a write whose answer was lost may be carried out later than it was repeated
LATE_WRITE_INTERVAL = 20.0
MOST_POSTS = 5
MOST_ROUNDS = 4

ALWAYS, IF_NOT_CURRENT, IF_NEWER = "always", "if_not_current", "if_newer"


class Intention(Record):
    """What a step wants carried out once. `since`: nothing of ours can be older. `sentence`: the comment for people."""

    place: Place
    release: Mapping[str, Any]
    condition: str
    deploys_again: bool  # on a step retry, when the earlier child ended without success
    key: str
    since: Optional[datetime]
    sentence: str
    own_task: ParentTask
    is_awaited: bool
    settings: Mapping[str, Any] = {}  # further fields of the deployment, as the API names them
    channel_id: Optional[str] = None  # within which the condition compares; None: whatever the channel
    freezes: Sequence[str] = ()  # ids of deployment freezes that are overridden, for `freeze_reason`
    freeze_reason: str = ""

    def comments(self, attempt: int) -> str:
        stance = AWAITED if self.is_awaited else LEFT
        return f"{self.sentence} {Marker(self.key, attempt, stance, self.own_task)}"


class Decision(Record):
    """What is to be done: create, adopt, join or skip; why, in words; and `horizon`, the newest deployment number seen."""

    action: str
    reason: str
    deployment: Optional[Deployment] = None
    attempt: int = 1
    horizon: int = 0


class Child(Record):
    """The deployment that counts as this step's. `is_ours`: made under the own key, so that it may be cancelled."""

    deployment: Deployment
    is_ours: bool


def intention_key(parts: Sequence[str]) -> str:
    """The same text for the same parts, and for nothing else."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:24]


def own_identity(step: Any) -> list[str]:
    """Server, task, action, and the machine of a step that runs for targets: what stays the same when a step is retried.

    A worker is no part of it, for a retry may run on another one. Outside a task every run is an intention of its own.
    """
    import os

    task = step.variable("Octopus.Task.Id") or "no task " + os.urandom(12).hex()
    on_worker = step.variable("Octopus.Action.RunOnServer").lower() == "true"
    for_targets = bool(step.variable("Octopus.Action.TargetRoles")) or not on_worker
    machine = step.variable("Octopus.Machine.Id") if for_targets else ""
    server = step.variable("Octopus.Web.ServerUri").rstrip("/").lower()
    return [server, task, step.variable("Octopus.Action.Id") or step.variable("Octopus.Action.Name"), machine]


def own_queue_time(api: Api, step: Any) -> Optional[datetime]:
    """When the running task was queued: by its variable, else by the server; None when neither tells."""
    told = moment_or_none(step.variable("Octopus.Task.QueueTime"))
    task = step.variable("Octopus.Task.Id")
    if told is not None or not task or step.variable("Octopus.Web.ServerUri").rstrip("/") != api.url:
        return told
    found = api.by_ids("tasks", [task])
    return Task(found[0]).queued if found else None


def marked_attempt(deployment: Deployment, key: str) -> int:
    """The attempt that the deployment's marker names under `key`, 0 for every other deployment."""
    marker = read_marker(deployment.document)
    return marker.attempt if marker is not None and marker.key == key else 0


def standing(group: Sequence[Deployment]) -> Optional[Deployment]:
    """Of deployments with one key and attempt the one that counts: a success, else the lowest id alive."""
    ordered = sorted(group, key=lambda deployment: deployment.number)
    for deployment in ordered:
        if deployment.task.state == "Success":
            return deployment
    for deployment in ordered:
        if deployment.task.is_alive:
            return deployment
    return None


def wants_guided_failure(place: Place) -> bool:
    """What the portal would preselect: the project's or runbook's default, or else the environment's."""
    mode = (place.runbook or place.project).get("DefaultGuidedFailureMode") or "EnvironmentDefault"
    return mode == "On" or (mode == "EnvironmentDefault" and bool(place.environment.get("UseGuidedFailure")))


class Errand:
    """Carries out one Intention. `withdrawn` are deployments that this process cancelled before they began."""

    def __init__(self, api: Api, log: Log, intention: Intention) -> None:
        self.api = api
        self.log = log
        self.intention = intention
        self.place = intention.place
        self.withdrawn: set[str] = set()
        self.rounds = 0
        self.lost_at: Optional[float] = None
        self.looked_for_late_at = 0.0

    def refine(self, settings: Mapping[str, Any]) -> None:
        """Adds fields of the deployment."""
        self.intention = self.intention._replace(settings={**self.intention.settings, **settings})

    def decide(self, listed: Optional[Sequence[Deployment]] = None) -> Decision:
        """What to do, by reading alone. `listed`: the recent deployments, when they were just read for several errands."""
        listed = self.recent(listed)
        horizon = max([deployment.number for deployment in listed], default=0)
        attempt, group = self.newest_attempt(listed)
        ours = standing(group)
        if ours is not None:
            done = "has succeeded already" if ours.task.state == "Success" else f"is {ours.task.state}"
            return Decision("adopt", f"an earlier run of this step made it, and it {done}", ours, attempt)
        if self.intention.condition != ALWAYS:
            decision = self.check_condition()
            if decision is not None:
                return decision
        if not group:
            return Decision("create", "", None, 1, horizon)
        last = max(group, key=lambda deployment: deployment.number)
        reason = f"the step was started again after attempt {attempt} ended as {last.task.state}"
        if not self.intention.deploys_again:
            return Decision("adopt", f"{reason}, and is not to be repeated", last, attempt)
        return Decision("create", reason, None, attempt + 1, horizon)

    def decide_again(self, failed: Child) -> Decision:
        """The attempt after one that failed while it was awaited. The start that was asked for has been."""
        settings = dict(self.intention.settings)
        for name in ("QueueTime", "QueueTimeExpiry"):
            settings.pop(name, None)
        self.intention = self.intention._replace(settings=settings)
        attempt = marked_attempt(failed.deployment, self.intention.key)
        return Decision("create", "", None, attempt + 1, failed.deployment.number)

    def recent(self, listed: Optional[Sequence[Deployment]]) -> list[Deployment]:
        """Of those `listed` for several errands the ones that concern this one; read anew when none are given."""
        if listed is None:
            return self.list_recent()
        return [one for one in listed if self.place.holds(one.document) and one.id not in self.withdrawn]

    @property
    def since(self) -> Optional[datetime]:
        """Nothing older can be ours."""
        return self.intention.since - CLOCK_MARGIN if self.intention.since else None

    def list_recent(self) -> list[Deployment]:
        listed = deployments_since(self.api, self.place, self.since)
        return [deployment for deployment in listed if deployment.id not in self.withdrawn]

    def newest_attempt(self, listed: Sequence[Deployment]) -> tuple[int, list[Deployment]]:
        """The highest attempt under the own key, 0 without any, and the deployments that carry it."""
        attempts = [(marked_attempt(deployment, self.intention.key), deployment) for deployment in listed]
        highest = max([attempt for attempt, _ in attempts], default=0)
        return highest, [deployment for attempt, deployment in attempts if highest and attempt == highest]

    def check_condition(self) -> Optional[Decision]:
        """Under `if not current` and `if newer`: join what is on its way, skip what is there; None when it is to be deployed."""
        number, now = self.intention.release["Version"], utc_now(self.api)
        channel = self.intention.channel_id
        for other in living_deployments(self.api, self.place):
            if not other.task.is_active(now) or other.id in self.withdrawn:
                continue
            if other.release_id == self.intention.release["Id"]:
                return Decision(
                    "join", f"{number} is being deployed there already ({other.task.state})", other
                )
            version = read_release_of(self.api, other)["Version"]
            counts = channel in (None, other.document.get("ChannelId"))
            if self.intention.condition == IF_NEWER and counts and is_newer(number, version) is False:
                return Decision(
                    "join", f"{version} is being deployed there, and {number} is not newer", other
                )
            self.log.warning(f"{version} is being deployed to {self.place} now: {other.link}")
        current = find_current(self.api, self.place, channel)
        if current is None:
            return None
        if current.release_id == self.intention.release["Id"]:
            return Decision("skip", f"{number} is current in {self.place}", current)
        if self.intention.condition == IF_NEWER:
            version = read_release_of(self.api, current)["Version"]
            newer = is_newer(number, version)
            if newer is None:
                raise StepFailure(
                    MISCONFIGURED, f"{number} and {version} cannot be compared: both must be versions"
                )
            if not newer:
                return Decision(
                    "skip", f"{number} is not newer than {version}, current in {self.place}", current
                )
        return None

    def carry_out(self, decision: Decision) -> Child:
        """The deployment that counts after `decision` has been put into effect; a skipped one counts as it is."""
        return self.settle(self.begin(decision), decision)

    def begin(self, decision: Decision) -> Child:
        """The first half of `carry_out`: a deployment is there. Which one counts is for `settle` to say."""
        self.rounds += 1
        if decision.deployment is not None:
            return Child(decision.deployment, decision.action == "adopt")
        return Child(self.create(decision.attempt), True)

    def settle(
        self, child: Child, decision: Decision, listed: Optional[Sequence[Deployment]] = None
    ) -> Child:
        """The second half: of several copies one stands, a rival's that came first is joined. `listed`: read after `begin`."""
        if decision.deployment is not None:
            return child
        made = child.deployment
        try:
            return self.settle_among(made, decision, self.recent(listed))
        except StepFailure as failure:
            raise StepFailure(
                failure.kind, f"{failure.sentence}; made before that: {made.link or made.id}"
            ) from failure

    def create(self, attempt: int) -> Deployment:
        """Posts until the server lists a deployment with the own key and `attempt`; a lost answer is looked for first."""
        body: dict[str, Any] = {
            self.place.frozen_field: self.intention.release["Id"],
            "EnvironmentId": self.place.environment["Id"],
            "Comments": self.intention.comments(attempt),
            "UseGuidedFailure": wants_guided_failure(self.place),
            **self.intention.settings,
        }
        if self.place.tenant_id:
            body["TenantId"] = self.place.tenant_id
        if self.place.runbook is not None:
            body["RunbookId"] = self.place.runbook["Id"]
        collection = self.place.collection
        for _ in range(MOST_POSTS):
            try:
                found = join_tasks(self.api, [self.post(collection, body)])
                if found:
                    return found[0]
                raise LostAnswer(f"POST {collection}: the answer's task is not among the server's tasks")
            except LostAnswer as error:
                self.log.warning(
                    f"{error.sentence}. Looking for {LOOK_FOR_LOST:.0f} s whether it was made all the same."
                )
                self.lost_at = self.looked_for_late_at = self.api.clock()
                lost = self.look_for_lost(attempt)
                if lost is not None:
                    self.log.info(f"It was made: {lost.link or lost.id}")
                    return lost
            except ApiError as error:
                if error.status != 429:  # then nothing was executed (source: docs, Rate limiting)
                    raise
                self.api.sleep(max(LOOK_INTERVAL, min(error.retry_after, LOOK_FOR_LOST)))
        raise StepFailure(
            GAVE_UP,
            f"the order for {self.place} was sent {MOST_POSTS} times, and the server lists none of them",
        )

    def post(self, collection: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The deployment as made. Freezes are overridden by another command (source: docs, API reference, deployment-freeze)."""
        if self.intention.freezes:
            collection = "deployments/override"
            body = {
                "CreateDeploymentCommand": {**body, "SpaceId": self.api.space},
                "FreezeIds": list(self.intention.freezes),
                "Reason": self.intention.freeze_reason,
                "SpaceId": self.api.space,
            }
        made: Mapping[str, Any] = self.api.post(collection, body)
        return made.get("Deployment") or made

    def look_for_lost(self, attempt: int) -> Optional[Deployment]:
        """The deployment whose answer was lost, if one appears within a minute of the first list that could be read."""
        deadline: Optional[float] = None
        while True:
            group = [one for one in self.list_recent() if marked_attempt(one, self.intention.key) == attempt]
            if group:
                return standing(group) or min(group, key=lambda deployment: deployment.number)
            deadline = self.api.clock() + LOOK_FOR_LOST if deadline is None else deadline
            if self.api.clock() >= deadline:
                return None
            self.api.sleep(LOOK_INTERVAL)

    def settle_among(self, made: Deployment, decision: Decision, listed: Sequence[Deployment]) -> Child:
        group = [one for one in listed if marked_attempt(one, self.intention.key) == decision.attempt]
        ours = standing(group) or made
        self.withdraw_all(group, ours)
        if self.intention.condition == ALWAYS:
            return Child(ours, True)
        rivals = [one for one in listed if self.is_rival(one, ours, decision.horizon)]
        if not rivals:
            return Child(ours, True)
        first = min(rivals, key=lambda deployment: deployment.number)
        if self.withdraw(ours):
            self.log.info(
                f"Somebody else's deployment of the same release came first and is joined: {first.link}"
            )
            return Child(first, False)
        self.log.warning(f"Two deployments of the same release had begun: {ours.link} and {first.link}")
        return Child(ours, True)

    def is_rival(self, other: Deployment, ours: Deployment, horizon: int) -> bool:
        """Whether `other` is another one's deployment of the release that came between our decision and our own."""
        same = other.release_id == ours.release_id and not marked_attempt(other, self.intention.key)
        alive = other.task.is_active(utc_now(self.api))
        return same and other.number < ours.number and (alive or self.is_fresh_success(other, horizon))

    def is_fresh_success(self, other: Deployment, horizon: int) -> bool:
        return other.task.state == "Success" and other.number > horizon

    def look_for_late(self, child: Child) -> None:
        """Finds what a lost write brings about after all while `child` is awaited: once that has ended, the other would begin."""
        now = self.api.clock()
        attempt = marked_attempt(child.deployment, self.intention.key)
        if self.lost_at is None or not attempt or now - self.lost_at > LATE_WRITE:
            return
        if now - self.looked_for_late_at >= LATE_WRITE_INTERVAL:
            self.looked_for_late_at = now
            group = [one for one in self.list_recent() if marked_attempt(one, self.intention.key) == attempt]
            self.withdraw_all(group, child.deployment)

    def withdraw_all(self, group: Sequence[Deployment], ours: Deployment) -> None:
        for other in group:
            if other.id != ours.id and other.task.is_alive and not self.withdraw(other):
                self.log.warning(
                    f"A second deployment for this step had begun: {other.link} beside {ours.link}"
                )

    def withdraw(self, deployment: Deployment) -> bool:
        """Whether `deployment` could be cancelled before it began. One that has begun is left alone."""
        task = Task(self.api.get(f"tasks/{deployment.task.id}"))
        if not task.is_waiting_in_queue:
            return False
        try:
            task = cancel_task(self.api, task.id)
        except ApiError as error:
            self.log.warning(f"{deployment.link} is one too many, and cannot be cancelled: {error.sentence}")
            return False
        if task.state != "Canceled" or not task.never_began:
            return False
        self.withdrawn.add(deployment.id)
        self.log.info(f"{deployment.link} was one too many, and was cancelled before it began.")
        return True

    def recheck(self, child: Child, task: Task, listed: Optional[Sequence[Deployment]] = None) -> Child:
        """What counts now that `child` has ended as `task`: itself, or another one to be followed. Called before reporting."""
        ended = child.deployment._replace(task=task)
        child = Child(ended, child.is_ours)
        attempt = marked_attempt(ended, self.intention.key)
        if attempt:
            group = [one for one in self.recent(listed) if marked_attempt(one, self.intention.key) == attempt]
            ours = standing(group) or ended
            self.withdraw_all(group, ours)
            if ours.id != ended.id:
                return Child(ours, True)
        if ended.task.state == "Canceled":
            return self.follow(child)
        return child

    def follow(self, child: Child) -> Child:
        """The deployment of the same release for which the server gave up `child`, or `child` itself."""
        ended = child.deployment
        successor = find_successor(self.api, self.place, ended, ignored=self.withdrawn)
        if successor is not None and successor.release_id != ended.release_id:
            number = read_release_of(self.api, successor)["Version"]
            raise StepFailure(
                CANCELLED, f"{self.place} was superseded by {number}: {successor.link or successor.id}"
            )
        heir = self.find_heir(ended) if successor is not None else None
        if heir is not None:
            self.log.info(
                f"The server gave it up for another one of the same release, which is followed: {heir.link}"
            )
            return Child(heir, bool(marked_attempt(heir, self.intention.key)))
        nobody_did = successor is not None or (not child.is_ours and bool(self.withdrawn))
        if (
            nobody_did
            and not ended.began
            and self.intention.condition != ALWAYS
            and self.rounds < MOST_ROUNDS
        ):
            # Ours made way for another one that was then cancelled before it began: look at everything anew.
            self.withdrawn.add(ended.id)
            return self.carry_out(self.decide())
        if successor is not None:
            link = successor.link or successor.id
            raise StepFailure(
                CANCELLED,
                f"{self.place} was superseded by one of the same release, which was cancelled too: {link}",
            )
        return child

    def find_heir(self, ended: Deployment) -> Optional[Deployment]:
        """The deployment of the release that lives, or has succeeded since `ended` was given up."""
        deadline = self.api.clock() + LOOK_FOR_LOST / 2
        while True:
            now = utc_now(self.api)
            others = [
                one for one in self.list_recent() if one.release_id == ended.release_id and one.id != ended.id
            ]
            heir = standing([one for one in others if one.task.is_active(now) or has_ended_since(one, ended)])
            if heir is not None or self.api.clock() >= deadline:
                return heir
            self.api.sleep(LOOK_INTERVAL)


def has_ended_since(one: Deployment, other: Deployment) -> bool:
    ours, theirs = one.task.completed, other.task.completed
    return ours is not None and theirs is not None and ours >= theirs
