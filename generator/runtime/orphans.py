"""Children on their way that our steps made, and which of them nobody awaits any more.

An orphan is a child whose marker says `awaited` and whose parent task has ended. What was made to be left alone is none, nor
is a child whose parent the server does not return: whether that has ended, nobody here can tell.
"""

from __future__ import annotations

from typing import Any, Container, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError, ApiUnreachable
from generator.runtime.markers import AWAITED, Marker, ParentTask, own_task, read_marker
from generator.runtime.moments import moment_or_none
from generator.runtime.record import Record
from generator.runtime.tasks import Task

# A task's name, its argument that names what it carries out, and the collection of those documents.
CARRIERS: Sequence[tuple[str, str, str]] = (
    ("Deploy", "DeploymentId", "deployments"),
    ("RunbookRun", "RunbookRunId", "runbookRuns"),
)
ORPHANED, ACCOMPANIED, LEFT_ALONE, UNCERTAIN = "orphaned", "accompanied", "left alone", "uncertain"
RESULT_ENDING = ".result.json"
RESULT_PATIENCE = 10.0  # seconds; what is no JSON is not ours
SAME_MOMENT = 1.0  # seconds between two writings of one queue time


class MarkedChild(Record):
    """A deployment or runbook run on its way, with the marker that one of our steps gave it."""

    marker: Marker
    task: Task
    link: str

    @property
    def is_awaited(self) -> bool:
        return self.marker.stance == AWAITED

    def __str__(self) -> str:
        return self.task.description + (f" ({self.link})" if self.link else "")


class Finding(Record):
    """What is to be thought of a child, and why. `parent` is its parent's task where the server returns it."""

    child: MarkedChild
    verdict: str
    reason: str
    parent: Optional[Task] = None


def marked_children(api: Api, **query: Any) -> list[MarkedChild]:
    """What is on its way in the space and carries our marker, newest first; `query` narrows the list of tasks."""
    items = list(api.pages("tasks", active="true", **query))
    documents: dict[str, Mapping[str, Any]] = {}
    for name, argument, collection in CARRIERS:
        ids = [(item.get("Arguments") or {}).get(argument) for item in items if item.get("Name") == name]
        for document in api.by_ids(collection, [one for one in ids if one]):
            documents[document.get("TaskId") or ""] = document
    found = []
    for task in map(Task, items):
        marker = read_marker(documents.get(task.id, {}))
        if marker is not None and task.is_alive:
            found.append(MarkedChild(marker, task, api.web_link(documents[task.id])))
    return found


def read_parents(api: Api, children: Sequence[MarkedChild]) -> dict[ParentTask, Task]:
    """Of the children's parents those that this server returns: one request for each space that they are in."""
    wanted = list(dict.fromkeys(child.marker.parent for child in children if child.marker.parent.is_known))
    found: dict[ParentTask, Task] = {}
    for space in dict.fromkeys(parent.space for parent in wanted):
        within = [parent for parent in wanted if parent.space == space]
        try:
            documents = api.by_ids(f"/api/{space}/tasks", [parent.id for parent in within])
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            continue  # a space that the account may not see
        tasks = {document["Id"]: Task(document) for document in documents}
        found.update((parent, tasks[parent.id]) for parent in within if parent.id in tasks)
    return found


def judge_children(api: Api, children: Sequence[MarkedChild], servers: Container[str]) -> list[Finding]:
    """A finding for each child. `servers` are the addresses of the server in `api`: task ids of others mean something else."""
    here = [child for child in children if child.is_awaited and child.marker.parent.server in servers]
    parents = read_parents(api, here)
    return [judge_child(child, parents.get(child.marker.parent), servers) for child in children]


def judge_child(child: MarkedChild, parent: Optional[Task], servers: Container[str]) -> Finding:
    marked = child.marker.parent
    if not child.is_awaited:
        return Finding(child, LEFT_ALONE, "the step that made it was told not to wait")
    if not marked.is_known:
        return Finding(child, UNCERTAIN, "it was made outside Octopus, where nobody can tell who waits")
    if marked.server not in servers:
        return Finding(child, UNCERTAIN, f"its parent {marked.id} is on another server, {marked.server}")
    if parent is None:
        return Finding(
            child,
            UNCERTAIN,
            f"its parent {marked.id} in {marked.space} was deleted, or this account may not see it (that takes TaskView)",
        )
    if parent.is_alive:
        return Finding(child, ACCOMPANIED, f"its parent is {parent.state}", parent)
    return Finding(child, ORPHANED, f"its parent ended as {parent.state}", parent)


def spare_left(api: Api, findings: Sequence[Finding]) -> list[Finding]:
    """The findings, but orphans that their own step left alone when their time was out are no orphans.

    Comments cannot be changed, so that the marker still says awaited; the step's result, an artifact of the parent, names them.
    """
    left: dict[ParentTask, set[str]] = {}
    judged = []
    for finding in findings:
        parent = finding.child.marker.parent
        if finding.verdict == ORPHANED:
            if parent not in left:
                left[parent] = read_left(api, parent)
            if finding.child.task.id in left[parent]:
                reason = "the step that awaited it left it alone when its time was out"
                finding = Finding(finding.child, LEFT_ALONE, reason, finding.parent)
        judged.append(finding)
    return judged


def read_left(api: Api, parent: ParentTask) -> set[str]:
    """The tasks that the steps of `parent` left alone; none where the account may not see the artifacts (ArtifactView)."""
    try:
        found: set[str] = set()
        for artifact in api.pages(f"/api/{parent.space}/artifacts", regarding=parent.id):
            if str(artifact.get("Filename") or "").endswith(RESULT_ENDING):
                path = f"/api/{parent.space}/artifacts/{artifact['Id']}/content"
                result = api.get(path, patience=RESULT_PATIENCE)
                found.update(map(str, result.get("left") or ()) if isinstance(result, dict) else ())
        return found
    except (ApiError, ApiUnreachable) as error:
        if getattr(error, "status", 404) not in (403, 404):
            raise
        return set()


def read_own_task(api: Api, step: Any) -> Optional[Task]:
    """The task that runs this step as the server of `api` returns it; None on another server, and without the right to see it.

    One server may have several addresses, and two servers the same ids: where the addresses differ the queue time decides.
    """
    own = own_task(step)
    if not own.space or not own.id:
        return None
    try:
        found = [
            Task(item) for item in api.by_ids(f"/api/{own.space}/tasks", [own.id]) if item["Id"] == own.id
        ]
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return None
    if not found or api.url.lower() == own.server:
        return found[0] if found else None
    told, seen = moment_or_none(step.variable("Octopus.Task.QueueTime")), found[0].queued
    same = told is not None and seen is not None and abs((told - seen).total_seconds()) <= SAME_MOMENT
    return found[0] if same else None


def addresses(api: Api, step: Any) -> tuple[str, ...]:
    """How the server of `api` may be called in a marker: by its own address, and by the one that this step's task knows."""
    ours = own_task(step).server
    if ours in ("", api.url.lower()) or read_own_task(api, step) is None:
        return (api.url.lower(),)
    return (api.url.lower(), ours)
