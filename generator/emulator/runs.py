"""What a task carries out: the deployment of a release, or the run of a runbook's snapshot. One table for both.

A "run" here is either document: both have ProjectId, EnvironmentId, TenantId, TaskId and ManifestVariableSetId, and both
were made from something frozen (source: api-client.ts, src/features/projects/execution.ts, their common base).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from generator.emulator.documents import Document
from generator.emulator.state import State
from generator.emulator.tasks import Task


@dataclass(frozen=True, kw_only=True)
class RunKind:
    """`frozen` and `process` are (collection, the run's field with the id). `events` begins the categories of its events."""

    task_name: str
    collection: str
    argument: str
    frozen: tuple[str, str]
    process: tuple[str, str]
    events: str


DEPLOYMENT = RunKind(
    task_name="Deploy",
    collection="Deployments",
    argument="DeploymentId",
    frozen=("Releases", "ReleaseId"),
    process=("DeploymentProcesses", "DeploymentProcessId"),
    events="Deployment",
)
RUNBOOK_RUN = RunKind(
    task_name="RunbookRun",
    collection="RunbookRuns",
    argument="RunbookRunId",
    frozen=("RunbookSnapshots", "RunbookSnapshotId"),
    process=("RunbookProcesses", "FrozenRunbookProcessId"),
    events="RunbookRun",
)


def kind_of(run: Document) -> RunKind:
    return RUNBOOK_RUN if "RunbookId" in run else DEPLOYMENT


def kind_of_task(task: Task) -> RunKind:
    return RUNBOOK_RUN if task.name == RUNBOOK_RUN.task_name else DEPLOYMENT


def events_of(task: Task) -> str | None:
    """How the categories of the task's events begin, None for tasks that are neither deployment nor runbook run."""
    return next((kind.events for kind in (DEPLOYMENT, RUNBOOK_RUN) if kind.task_name == task.name), None)


def run_of(state: State, task: Task) -> Document:
    """The deployment or runbook run that the task carries out."""
    kind = kind_of_task(task)
    return state.get(kind.collection, task.arguments[kind.argument])


def frozen_of(state: State, run: Document) -> Document:
    """The release or snapshot that it was made from."""
    collection, field = kind_of(run).frozen
    return state.get(collection, run[field])


def process_of(state: State, run: Document) -> Document:
    """The frozen process with the steps to run."""
    collection, field = kind_of(run).process
    return state.get(collection, run[field])


def frozen_process(state: State, frozen: Document) -> Document:
    """The process in a release or a snapshot."""
    if "RunbookId" in frozen:
        return state.get("RunbookProcesses", frozen["FrozenRunbookProcessId"])
    return state.get("DeploymentProcesses", frozen["ProjectDeploymentProcessSnapshotId"])


def settings_of(state: State, run: Document) -> Document:
    """The document whose `CancelQueuedTasks` and `CancelRunningTasks` rule over it: the runbook, or the project's settings."""
    if "RunbookId" in run:
        return state.get("Runbooks", run["RunbookId"])
    return state.get("DeploymentSettings", f"deploymentsettings-{run['ProjectId']}")


def guided_by_default(state: State, frozen: Document, environment: Document) -> bool:
    """Whether a run of the release or snapshot there asks a person about failures, unless it says otherwise itself.

    Source: docs, Guided failures: the project's (or runbook's) mode, which by default is the environment's.
    """
    mode = settings_of(state, frozen).get("DefaultGuidedFailureMode")
    return mode == "On" or (mode != "Off" and bool(environment["UseGuidedFailure"]))


def in_same_cell(state: State, run: Document) -> Iterator[Document]:
    """Runs of the same thing to the same environment and tenant, newest first, itself included."""
    names = ("ProjectId", "RunbookId", "EnvironmentId", "TenantId")
    cell = [run.get(name) for name in names]
    for other in reversed(state.collection(kind_of(run).collection).values()):
        if [other.get(name) for name in names] == cell:
            yield other
