"""Server tasks and their logs: the data, and the documents that describe it. Who runs them is the engine's business.

Source of every field: docs, API reference, tasks; OctopusClients, CannedResponses of machines' tasks (recorded) and
Model/ActivityElement.cs, ActivityLogElement.cs.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from generator.emulator.clock import Clock, iso, spoken, spoken_duration
from generator.emulator.documents import Document

QUEUED, EXECUTING, CANCELLING = "Queued", "Executing", "Cancelling"
SUCCESS, FAILED, CANCELED, TIMED_OUT = "Success", "Failed", "Canceled", "TimedOut"
ACTIVE = frozenset({QUEUED, EXECUTING, CANCELLING})
RUNNING = frozenset({EXECUTING, CANCELLING})
STATES = frozenset({"New", QUEUED, EXECUTING, CANCELLING, SUCCESS, FAILED, CANCELED, TIMED_OUT})

TROUBLE = frozenset({"Warning", "Error", "Fatal"})


@dataclass(frozen=True)
class LogElement:
    category: str
    occurred: float
    text: str
    number: int


@dataclass
class Activity:
    """One node of the log: the task itself, a step, an action on a machine."""

    id: str
    name: str
    status: str = "Pending"
    started: float | None = None
    ended: float | None = None
    progress: int = 0
    progress_message: str = ""
    elements: list[LogElement] = field(default_factory=list)
    has_trouble: bool = False
    children: list[Activity] = field(default_factory=list)

    def child(self, name: str) -> Activity:
        node = Activity(id=f"{self.id}/{uuid.uuid4().hex}", name=name)
        self.children.append(node)
        return node

    def begin(self, now: float) -> None:
        self.status, self.started = "Running", now

    def end(self, status: str, now: float) -> None:
        self.status, self.ended, self.progress_message = status, now, ""

    def walk(self) -> Iterator[tuple[int, Activity]]:
        """This node and all below it with their depth, in the order of the log."""
        yield 0, self
        for child in self.children:
            for depth, node in child.walk():
                yield depth + 1, node

    @property
    def troubled(self) -> bool:
        """A warning or an error stands in its log or below."""
        return any(node.has_trouble for _, node in self.walk())

    def document(self, *, verbose: bool = True, tail: int | None = None) -> Document:
        """`tail` limits the entries of each node, `verbose=False` drops those of category Verbose."""
        elements = [item for item in self.elements if verbose or item.category != "Verbose"]
        if tail is not None:
            elements = elements[-tail:] if tail > 0 else []
        return {
            "Id": self.id,
            "Name": self.name,
            "Status": self.status,
            "Started": iso(self.started),
            "Ended": iso(self.ended),
            "ShowAtSummaryLevel": True,
            "ProgressPercentage": self.progress,
            "ProgressMessage": self.progress_message,
            "LogElements": [
                {
                    "Category": item.category,
                    "OccurredAt": iso(item.occurred),
                    "MessageText": item.text,
                    "Detail": None,
                    "Number": item.number,
                }
                for item in elements
            ],
            "Children": [child.document(verbose=verbose, tail=tail) for child in self.children],
        }


@dataclass
class Task:
    id: str
    space_id: str
    name: str
    description: str
    arguments: Document
    queue_time: float
    queued_at: float
    queue_time_expiry: float | None = None
    state: str = QUEUED
    started: float | None = None
    completed: float | None = None
    updated: float = 0.0
    picked_up: bool = False
    moved_to_top: bool = False
    # Asked for by the run itself or by a phase of its lifecycle.
    is_priority: bool = False
    # Where it stands among tasks of its kind: its number, or that of one whose place it took.
    place: int = field(init=False)
    error: str = ""
    project_id: str | None = None
    environment_id: str | None = None
    tenant_id: str | None = None
    runbook_id: str | None = None
    # Two tasks with one tag never run together; None = no restriction.
    tag: str | None = None
    # The ids of those that wait for an answer, each with its type.
    interruptions: dict[str, str] = field(default_factory=dict)
    root: Activity = field(init=False)
    cancel: threading.Event = field(default_factory=threading.Event)
    canceled_by: str = ""
    # Why it ended with the server that ran it; empty = it did not.
    lost: str = ""
    # Called (with the state locked) when a running task is cancelled; must not wait for anything.
    on_cancel: list[Callable[[], None]] = field(default_factory=list)
    # While a paused task waits outside its slot: set by the engine when it may go on.
    resume: threading.Event | None = None
    blocks_while_paused: bool = False
    _lines: int = 0

    def __post_init__(self) -> None:
        self.root = Activity(id=f"{self.id}_{uuid.uuid4().hex[:10].upper()}", name=self.description)
        self.updated = self.queued_at
        self.place = int(self.id.rsplit("-", 1)[-1])

    @property
    def has_priority(self) -> bool:
        return self.moved_to_top or self.is_priority

    @property
    def is_completed(self) -> bool:
        return self.state not in ACTIVE

    def log(self, node: Activity, category: str, text: str, now: float) -> None:
        self._lines += 1
        node.elements.append(LogElement(category, now, text, self._lines))
        node.has_trouble = node.has_trouble or category in TROUBLE
        self.updated = now

    def document(self, clock: Clock) -> Document:
        now = clock.now()
        return {
            "Id": self.id,
            "SpaceId": self.space_id,
            "Name": self.name,
            "Description": self.description,
            "Arguments": dict(self.arguments),
            "State": self.state,
            "Completed": self._completed_text(),
            "QueueTime": iso(self.queue_time),
            "QueueTimeExpiry": iso(self.queue_time_expiry),
            "StartTime": iso(self.started),
            "LastUpdatedTime": iso(self.updated),
            "CompletedTime": iso(self.completed),
            "ServerNode": "OCTOSTEPS-EMULATOR" if self.picked_up else None,
            "Duration": spoken_duration((self.completed or now) - (self.started or self.completed or now)),
            "ErrorMessage": self.error,
            "HasBeenPickedUpByProcessor": self.picked_up,
            "IsCompleted": self.is_completed,
            "FinishedSuccessfully": self.state == SUCCESS,
            "HasPendingInterruptions": bool(self.interruptions),
            "PendingInterruptionTypes": sorted(set(self.interruptions.values())),
            "HasPendingPreconditions": False,
            "PendingPreconditionTypes": [],
            # A deployment cannot be re-run (source: Swagger of Octopus Server 2020.5, "This task cannot be re-run.").
            "CanRerun": self.is_completed and self.name not in ("Deploy", "RunbookRun"),
            "HasWarningsOrErrors": self.root.troubled,
            "ProjectId": self.project_id,
            "EstimatedRemainingQueueDurationSeconds": 0,
        }

    def _completed_text(self) -> str:
        """Source: docs, API reference, tasks ("Queued...", "Executing...", "Timed out" or a formatted time)."""
        if self.state == TIMED_OUT:
            return "Timed out"
        if self.completed is not None:
            return spoken(self.completed)
        return {QUEUED: "Queued...", EXECUTING: "Executing...", CANCELLING: "Cancelling..."}[self.state]

    def details(self, clock: Clock, *, verbose: bool, tail: int | None) -> Document:
        steps = self.root.children
        done = sum(1 for step in steps if step.ended is not None)
        percentage = 100 if self.is_completed else (100 * done // len(steps) if steps else 0)
        return {
            "PhysicalLogSize": sum(len(item.text) for _, node in self.root.walk() for item in node.elements),
            "Progress": {"ProgressPercentage": percentage, "EstimatedTimeRemaining": ""},
            "ActivityLogs": [self.root.document(verbose=verbose, tail=tail)],
        }

    def raw(self, clock: Clock, version: str) -> str:
        """The log as plain text, all levels. The layout follows what people paste from Octopus; details unconfirmed."""
        related = ", ".join(str(value) for value in self.arguments.values() if isinstance(value, str))
        lines = [
            f"Task ID:        {self.id}",
            f"Related IDs:    {related}",
            f"Task status:    {self.state}",
            f"Task queued:    {spoken(self.queue_time)}",
            f"Task started:   {spoken(self.started) if self.started else ''}".rstrip(),
            f"Task completed: {spoken(self.completed) if self.completed else ''}".rstrip(),
            f"Task duration:  {self.document(clock)['Duration']}",
            f"Server version: {version}",
            "",
        ]
        for depth, node in self.root.walk():
            indent = "  " * depth
            lines.append(f"{'':20}| {indent}== {node.status}: {node.name} ==")
            for item in node.elements:
                stamp = str(iso(item.occurred))[11:19]
                for line in item.text.splitlines() or [""]:
                    lines.append(f"{stamp}   {item.category:<9}| {indent}  {line}".rstrip())
        return "\n".join(lines) + "\n"
