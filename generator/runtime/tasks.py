"""Server tasks as Octopus describes them: states, reading many at once, cancelling. Waiting for them is waiting's business."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Iterable, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError, LostAnswer
from generator.runtime.moments import moment_or_none

ALIVE_STATES = ("Queued", "Executing", "Cancelling")
RUNNING_STATES = ("Executing", "Cancelling")
CLOCK_TOLERANCE = timedelta(seconds=30)  # between the worker's clock and the server's
LONGEST_CANCEL = (
    120.0  # seconds; a task may hang in Cancelling for ever (source: docs, Abandoning stuck tasks)
)
CANCEL_INTERVAL = 3.0


class Task:
    """One server task. Its state alone does not tell whether a person is asked: `is_paused` does."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.id: str = document["Id"]
        self.state: str = document["State"]
        self.description: str = document.get("Description") or self.id
        self.error: str = document.get("ErrorMessage") or ""
        arguments = document.get("Arguments") or {}
        self.deployment_id: str = arguments.get("DeploymentId") or ""
        self.runbook_run_id: str = arguments.get("RunbookRunId") or ""
        self.space_id: str = document.get("SpaceId") or ""
        # Approvals outside of Octopus, by type; servers that know none leave them out.
        self.preconditions: Sequence[str] = document.get("PendingPreconditionTypes") or ()
        self.is_paused: bool = bool(document.get("HasPendingInterruptions")) and self.is_alive
        self.has_warnings: bool = bool(document.get("HasWarningsOrErrors"))
        self.queued = moment_or_none(document.get("QueueTime"))
        self.started = moment_or_none(document.get("StartTime"))
        self.completed = moment_or_none(document.get("CompletedTime"))
        self.was_picked_up: bool = (
            bool(document.get("HasBeenPickedUpByProcessor")) or self.started is not None
        )

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE_STATES

    @property
    def is_waiting_in_queue(self) -> bool:
        """Queued, and nothing of it has begun: a task that waits for a person reads Queued as well."""
        return self.state == "Queued" and not self.is_paused and not self.was_picked_up

    @property
    def never_began(self) -> bool:
        return self.started is None and not self.was_picked_up

    def is_scheduled(self, now: datetime) -> bool:
        """Queued for a time that has not come."""
        return self.is_waiting_in_queue and self.queued is not None and self.queued > now + CLOCK_TOLERANCE

    def is_active(self, now: datetime) -> bool:
        """Executing, Cancelling, waiting for a person, or Queued and due."""
        return self.is_alive and not self.is_scheduled(now)

    @property
    def queue_time(self) -> Optional[timedelta]:
        return self.started - self.queued if self.started and self.queued else None

    @property
    def run_time(self) -> Optional[timedelta]:
        return self.completed - self.started if self.started and self.completed else None


def utc_now(api: Api) -> datetime:
    return datetime.fromtimestamp(api.wall_clock(), timezone.utc)


def id_number(document_id: str) -> int:
    """The order in which the server made documents of one kind: the 12 of `Deployments-12`."""
    return int(document_id.rsplit("-", 1)[-1])


def read_tasks(api: Api, ids: Iterable[str], *, patience: Optional[float] = None) -> dict[str, Task]:
    """The tasks that the server returns of `ids`, by id; without ids nothing is asked, for that would mean all tasks."""
    return {item["Id"]: Task(item) for item in api.by_ids("tasks", list(ids), patience=patience)}


def ask_to_cancel(api: Api, task_id: str) -> Task:
    """Asks the server to cancel, and leaves the waiting to others; the task as last read. Raises ApiError when it is refused.

    A lost answer or a refusal is decided by looking: a task that has ended needs no cancelling.
    """
    deadline = api.clock() + LONGEST_CANCEL
    while True:
        task = Task(api.get(f"tasks/{task_id}"))
        if not task.is_alive or task.state == "Cancelling" or api.clock() >= deadline:
            return task
        # A second cancel of a task in Cancelling used to mark it failed (source: docs, Manually fail a task).
        try:
            api.post(f"tasks/{task_id}/cancel", {})
            return Task(api.get(f"tasks/{task_id}"))
        except LostAnswer as error:
            api.tell(f"{error}. Looking whether the task was cancelled.")
        except ApiError as error:
            if error.status != 429 and Task(api.get(f"tasks/{task_id}")).is_alive:
                raise
        api.sleep(CANCEL_INTERVAL)


def cancel_task(api: Api, task_id: str, *, longest: float = LONGEST_CANCEL) -> Task:
    """The same, and waits until the task has ended or `longest` seconds have gone."""
    deadline = api.clock() + longest
    task = ask_to_cancel(api, task_id)
    while task.is_alive and api.clock() < deadline:
        api.sleep(min(CANCEL_INTERVAL, deadline - api.clock()))
        task = Task(api.get(f"tasks/{task_id}"))
    return task
