"""Deployments of one project to one place: what was deployed there, what is on its way, and how they are told apart.

The same for the runs of a runbook, where the place has one: then "release" is its snapshot.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Container, Iterator, Mapping, Optional, Sequence

from generator.runtime.api import PAGE_SIZE, Api
from generator.runtime.lookup import Place
from generator.runtime.moments import moment_or_none
from generator.runtime.record import Record
from generator.runtime.tasks import Task, id_number, read_tasks

HISTORY_PAGE = 30
MOST_TENANTS_IN_A_FILTER = 50


class Deployment(Record):
    """A deployment with its task, for the result of a deployment is its task's."""

    document: Mapping[str, Any]
    task: Task
    link: str

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def number(self) -> int:
        """Its place in the order of creation."""
        return id_number(self.id)

    @property
    def release_id(self) -> str:
        return str(self.document.get("RunbookSnapshotId") or self.document["ReleaseId"])

    @property
    def comments(self) -> str:
        return self.document.get("Comments") or ""

    @property
    def created(self) -> Optional[datetime]:
        return moment_or_none(self.document.get("Created"))

    @property
    def began(self) -> bool:
        """Whether it may have changed anything."""
        return not self.task.never_began


def join_tasks(api: Api, documents: list[Mapping[str, Any]]) -> list[Deployment]:
    """The deployments whose task the server returns, in the same order."""
    tasks = read_tasks(api, [document["TaskId"] for document in documents if document.get("TaskId")])
    return [
        Deployment(document, tasks[document["TaskId"]], api.web_link(document))
        for document in documents
        if document.get("TaskId") in tasks
    ]


def history(api: Api, place: Place) -> Iterator[Deployment]:
    """Every deployment there, newest first, read page by page as far as somebody asks."""
    page: list[Mapping[str, Any]] = []
    for seen, document in enumerate(api.pages(place.collection, take=HISTORY_PAGE, **place.query()), start=1):
        if place.holds(document):
            page.append(document)
        if seen % HISTORY_PAGE == 0:
            yield from join_tasks(api, page)
            page = []
    yield from join_tasks(api, page)


def deployments_since(api: Api, place: Place, since: Optional[datetime]) -> list[Deployment]:
    """Those created at or after `since` (all without it), newest first."""
    return recent_deployments(api, [place], since)


def recent_deployments(api: Api, places: Sequence[Place], since: Optional[datetime]) -> list[Deployment]:
    """Those of one project to any of `places`, created at or after `since` (all without it), newest first: one list for all."""
    query: dict[str, Any] = {
        "projects": places[0].project["Id"],
        "environments": list(dict.fromkeys(place.environment["Id"] for place in places)),
    }
    tenants = list(dict.fromkeys(place.tenant_id for place in places))
    # Where an untenanted place is among them no filter will do; many tenants would make the address too long.
    if None not in tenants and len(tenants) <= MOST_TENANTS_IN_A_FILTER:
        query["tenants"] = tenants
    if places[0].runbook is not None:
        query["runbooks"] = places[0].runbook["Id"]
    recent: list[Mapping[str, Any]] = []
    take = HISTORY_PAGE if len(places) == 1 else PAGE_SIZE
    for document in api.pages(places[0].collection, take=take, **query):
        created = moment_or_none(document.get("Created"))
        if since is not None and created is not None and created < since:
            break
        if any(place.holds(document) for place in places):
            recent.append(document)
    return join_tasks(api, recent)


def living_deployments(api: Api, place: Place) -> list[Deployment]:
    """Those that have not ended, scheduled ones included, oldest first."""
    items = api.pages("tasks", active="true", **place.task_query())
    tasks = {task.deployment_id: task for task in map(Task, items) if task.deployment_id and task.is_alive}
    if not tasks:
        return []
    found = [
        Deployment(document, tasks[document["Id"]], api.web_link(document))
        for document in api.by_ids("deployments", list(tasks))
        if place.holds(document)
    ]
    return sorted(found, key=lambda deployment: deployment.number)


def succeeded_deployments(api: Api, place: Place, channel_id: Optional[str]) -> Iterator[Deployment]:
    """Every deployment there that succeeded, of that channel if one is given, newest first."""
    query = {**place.query(), "channels": channel_id, "taskState": "Success"}
    for document in api.pages("deployments", take=HISTORY_PAGE, **query):
        if place.holds(document):
            yield from (one for one in join_tasks(api, [document]) if one.task.state == "Success")


def find_current(api: Api, place: Place, channel_id: Optional[str] = None) -> Optional[Deployment]:
    """The newest that succeeded: what runs there now, as far as the server knows."""
    return next(succeeded_deployments(api, place, channel_id), None)


def find_successor(
    api: Api, place: Place, deployment: Deployment, *, ignored: Container[str] = ()
) -> Optional[Deployment]:
    """The newer deployment to the same place for which the server cancelled this one, if that is what happened.

    Queueing a deployment cancels older queued ones, its success older paused ones (source: docs, Superseded tasks, since
    2026.2). The server names no cause: whatever was created before the cancelling, and later than this one, counts.
    """
    ended = deployment.task.completed
    if deployment.task.state != "Canceled" or ended is None:
        return None
    newer = [
        other
        for other in deployments_since(api, place, deployment.created)
        if other.number > deployment.number and other.id not in ignored
        if other.created is not None and other.created <= ended
    ]
    return max(newer, key=lambda other: other.number) if newer else None


class ReleaseNumbers:
    """The numbers of deployments' releases, each release asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, str] = {}

    def of(self, deployment: Deployment) -> str:
        if deployment.release_id not in self._known:
            self._known[deployment.release_id] = read_release_of(self._api, deployment)["Version"]
        return self._known[deployment.release_id]

    def learn(self, deployments: Sequence[Deployment]) -> None:
        """Asks at once for all those that are not known yet."""
        unknown = [one.release_id for one in deployments if one.release_id not in self._known]
        if unknown:
            for release in self._api.by_ids("releases", unknown):
                self._known[release["Id"]] = release["Version"]


def read_release_of(api: Api, deployment: Deployment) -> Mapping[str, Any]:
    """The release; of a runbook run its snapshot, with the name as `Version`."""
    if "RunbookSnapshotId" in deployment.document:
        return numbered(api.get(f"runbookSnapshots/{deployment.release_id}"))
    document: Mapping[str, Any] = api.get(f"releases/{deployment.release_id}")
    return document


def numbered(snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
    """A runbook's snapshot as what a release is elsewhere."""
    return {**snapshot, "Version": snapshot["Name"]}
