"""What is on its way and what was deployed last at many places: some lists for all of them, not some for each."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, Optional, Sequence

from generator.runtime.api import IDS_PER_REQUEST, PAGE_SIZE, Api
from generator.runtime.deployments import HISTORY_PAGE, MOST_TENANTS_IN_A_FILTER, Deployment, join_tasks
from generator.runtime.destinations import find_destinations
from generator.runtime.lookup import NotFound, Place, absence, best_match, find_named
from generator.runtime.record import Record
from generator.runtime.step import MISCONFIGURED, StepFailure
from generator.runtime.tasks import Task, utc_now

FEW = 3


class Recall(Api):
    """An Api that asks for everything once: for looking up names, where many lines name the same things."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._answers: dict[str, Any] = {}

    def get(self, path: str, *, patience: Optional[float] = None, **query: Any) -> Any:
        key = repr((path, sorted(query.items())))
        if key not in self._answers:
            self._answers[key] = self._api.get(path, patience=patience, **query)
        return self._answers[key]


def find_projects(api: Api, names: Iterable[str]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """The projects by the names that people wrote, and a sentence for each that there is not."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, Mapping[str, Any]] = {}
    faults = []
    everything = list(api.pages("projects")) if len(wanted) > FEW else None
    for name in wanted:
        try:
            if everything is None:
                found[name] = find_named(api, "projects", "project", name)
                continue
            match = best_match(everything, name)
            if match is None:
                raise NotFound(absence("project", name, [project["Name"] for project in everything]))
            found[name] = match
        except NotFound as missing:
            faults.append(missing.sentence)
    return found, faults


class Spot(Record):
    """A place, and why nothing can be deployed there; "" where it can."""

    place: Place
    impossible: str = ""


def find_spots(
    api: Api, wanted: Iterable[tuple[str, str, str]], own_tenant: str
) -> dict[tuple[str, str, str], list[Spot]]:
    """The places by (project, environment, tenant) as people wrote them; the tenant is a name, `Set/Tag`, `*`, or "".

    A tenant that is named but not connected there makes an impossible one; of a tag or `*` only those count that are.
    Raises one NotFound that tells every name that leads nowhere.
    """
    keys = list(dict.fromkeys(wanted))
    recall = Recall(api)
    projects, faults = find_projects(recall, [project for project, _, _ in keys])
    environments = {}
    for name in dict.fromkeys(environment for _, environment, _ in keys):
        try:
            environments[name] = find_named(recall, "environments", "environment", name)
        except NotFound as missing:
            faults.append(missing.sentence)
    found: dict[tuple[str, str, str], list[Spot]] = {}
    for key in keys:
        project, environment, tenant = key
        if project not in projects or environment not in environments:
            continue
        try:
            found[key] = spots_for(recall, projects[project], environments[environment], tenant, own_tenant)
        except StepFailure as failure:
            if failure.kind != MISCONFIGURED:
                raise
            faults.append(failure.sentence)
    if faults:
        raise NotFound("; ".join(dict.fromkeys(faults)))
    return found


def spots_for(
    api: Api, project: Mapping[str, Any], environment: Mapping[str, Any], tenant: str, own_tenant: str
) -> list[Spot]:
    there = find_destinations(api, project, [environment], [tenant] if tenant else None, own_tenant)
    spots = [Spot(place) for place in there.places]
    if "/" not in tenant:
        return spots + [Spot(place, reason) for place, reason in there.left_out]
    if not spots:
        where = f"{project['Name']} in {environment['Name']}"
        raise NotFound(f"no tenant with the tag {tenant} is connected to {where}")
    return spots


def cell_key(place: Place) -> str:
    """One text for each project, environment and tenant."""
    return f"{place.project['Id']} {place.environment['Id']} {place.tenant_id or ''}".rstrip()


def cell_key_of(document: Mapping[str, Any]) -> str:
    return f"{document['ProjectId']} {document['EnvironmentId']} {document.get('TenantId') or ''}".rstrip()


def active_at(api: Api, places: Sequence[Place], own_task: str) -> dict[str, list[Deployment]]:
    """Those executing, cancelling, waiting for a person, or queued and due, by cell, oldest first. Scheduled ones are not."""
    now = utc_now(api)
    found = living_at(api, places, own_task)
    return {cell: [one for one in some if one.task.is_active(now)] for cell, some in found.items()}


def living_at(api: Api, places: Sequence[Place], own_task: str) -> dict[str, list[Deployment]]:
    """Those that have not ended, scheduled ones included, by cell, oldest first. Every place has its cell.

    The own task is no other: a step that looks at its own project means what else there is.
    """
    found: dict[str, list[Deployment]] = {cell_key(place): [] for place in places}
    if not places:
        return found
    projects = {place.project["Id"] for place in places}
    query: dict[str, Any] = {
        "project": only(place.project["Id"] for place in places),
        "environment": only(place.environment["Id"] for place in places),
        "tenant": only(place.tenant_id for place in places),
    }
    tasks: dict[str, Task] = {}
    # The server filters by one project: of several, the tasks of all are read and sorted out here.
    for item in api.pages("tasks", active="true", name="Deploy", **query):
        task = Task(item)
        if (
            task.id != own_task
            and task.deployment_id
            and task.is_alive
            and item.get("ProjectId") in (None, *projects)
        ):
            tasks[task.deployment_id] = task
    for document in api.by_ids("deployments", list(tasks)) if tasks else ():
        cell = cell_key_of(document)
        if cell in found:
            found[cell].append(Deployment(document, tasks[document["Id"]], api.web_link(document)))
    for some in found.values():
        some.sort(key=lambda deployment: deployment.number)
    return found


def only(values: Iterable[Optional[str]]) -> Optional[str]:
    """The value if all are the same."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def latest_at(
    api: Api,
    places: Sequence[Place],
    wanted: Callable[[Place, Deployment], bool] = lambda place, deployment: True,
    prepare: Callable[[Sequence[Deployment]], None] = lambda deployments: None,
) -> dict[str, Deployment]:
    """By cell the newest `wanted` deployment that has ended and may have changed something; no entry where there is none.

    `prepare` is called with those about which `wanted` may be asked next.

    One list, newest first, has the deployments of all places (source: docs, API reference, deployments). Whatever was deployed
    often lately is found on its first page; then it is asked for the others alone, so that these stand on the first page.
    """
    found: dict[str, Deployment] = {}
    for group in alike(places):
        left = {cell_key(place): place for place in group}
        skip = 0
        while left:
            query = filters_of(list(left.values()))
            take = PAGE_SIZE if len(left) > 1 else HISTORY_PAGE
            page = api.get("deployments", skip=skip, take=take, **query)
            items = page.get("Items") or []
            before = len(left)
            fitting = join_tasks(api, [item for item in items if cell_key_of(item) in left])
            ended = [one for one in fitting if not one.task.is_alive and one.began]
            prepare(ended)
            for deployment in ended:
                cell = cell_key_of(deployment.document)
                if cell in left and wanted(left[cell], deployment):
                    found[cell] = deployment
                    del left[cell]
            skip += len(items)
            if not items or skip >= page.get("TotalResults", 0):
                break
            if len(left) < before:
                skip = 0
    return found


def alike(places: Sequence[Place]) -> list[list[Place]]:
    """Places that one list with filters can have: of one environment, all for tenants or all untenanted, not too many."""
    groups: dict[str, list[Place]] = {}
    for place in {cell_key(place): place for place in places}.values():
        groups.setdefault(f"{place.environment['Id']} {place.tenant is None}", []).append(place)
    return [
        group[start : start + IDS_PER_REQUEST]
        for group in groups.values()
        for start in range(0, len(group), IDS_PER_REQUEST)
    ]


def filters_of(places: Sequence[Place]) -> dict[str, Any]:
    """What every deployment at one of `places` satisfies, as filters for the list of deployments."""
    query: dict[str, Any] = {
        "projects": list(dict.fromkeys(place.project["Id"] for place in places)),
        "environments": list(dict.fromkeys(place.environment["Id"] for place in places)),
    }
    tenants = list(dict.fromkeys(place.tenant_id for place in places))
    # There is no filter for untenanted ones; many tenants would make the address too long.
    if None not in tenants and len(tenants) <= MOST_TENANTS_IN_A_FILTER:
        query["tenants"] = tenants
    return query
