"""What is deployed where, as the dashboard shows it.

`IsCurrent` is the latest attempt in a cell whatever its state, `IsPrevious` the last successful one before it: inferred from
the names and from clients, unconfirmed.
"""

from __future__ import annotations

from collections.abc import Iterable

from generator.emulator.documents import Document
from generator.emulator.requests import Request, by_name
from generator.emulator.resources.promotion import progress_item
from generator.emulator.state import State
from generator.emulator.tasks import SUCCESS


def dashboard(request: Request) -> Document:
    query = request.query
    project, release = query.first("projectId"), query.first("releaseId")
    projects = [item for item in request.visible("Projects") if project in (None, item["Id"])]
    environments = request.state.environments(request.space_id)
    return _document(request, projects, environments, include_previous=True, release_id=release)


def dynamic(request: Request) -> Document:
    """Deprecated but there (source: docs, API reference, dashboard)."""
    query = request.query
    projects, environments = query.all("projects"), query.all("environments")
    return _document(
        request,
        [item for item in request.visible("Projects") if not projects or item["Id"] in projects],
        [
            item
            for item in request.state.environments(request.space_id)
            if not environments or item["Id"] in environments
        ],
        include_previous=query.flag("includePrevious") is True,
        release_id=None,
    )


def _document(
    request: Request,
    projects: Iterable[Document],
    environments: list[Document],
    *,
    include_previous: bool,
    release_id: str | None,
) -> Document:
    state = request.state
    shown = sorted(projects, key=by_name)
    items = [
        item
        for project in shown
        for environment in environments
        for item in cell(state, project["Id"], environment["Id"], include_previous=include_previous)
        if release_id in (None, item["ReleaseId"])
    ]
    tenants = {item["TenantId"] for item in items if item["TenantId"]}
    return {
        "Projects": [
            {
                "Id": project["Id"],
                "Name": project["Name"],
                "Slug": project["Slug"],
                "IsDisabled": project["IsDisabled"],
                "ProjectGroupId": project["ProjectGroupId"],
                "EnvironmentIds": [environment["Id"] for environment in environments],
                "TenantedDeploymentMode": project["TenantedDeploymentMode"],
                "CanPerformUntenantedDeployment": project["TenantedDeploymentMode"] != "Tenanted",
                "Links": request.show("Projects", project)["Links"],
            }
            for project in shown
        ],
        "ProjectGroups": [
            {
                "Id": item["Id"],
                "Name": item["Name"],
                "EnvironmentIds": [],
                "Links": request.show("ProjectGroups", item)["Links"],
            }
            for item in sorted(request.visible("ProjectGroups"), key=by_name)
        ],
        "Environments": [
            {"Id": item["Id"], "Name": item["Name"], "Links": request.show("Environments", item)["Links"]}
            for item in environments
        ],
        "Tenants": [
            {"Id": item["Id"], "Name": item["Name"], "TenantTags": item["TenantTags"]}
            for item in request.visible("Tenants")
            if item["Id"] in tenants
        ],
        "Items": items,
        "ProjectLimit": None,
        "IsFiltered": False,
        "Links": {},
    }


def cell(state: State, project_id: str, environment_id: str, *, include_previous: bool) -> list[Document]:
    """The items of one project in one environment: the current deployment of each tenant, and the one before."""
    rows: dict[str | None, list[Document]] = {}
    for deployment in reversed(state.collection("Deployments").values()):
        if deployment["ProjectId"] == project_id and deployment["EnvironmentId"] == environment_id:
            rows.setdefault(deployment["TenantId"], []).append(deployment)
    items = []
    for current, *older in rows.values():
        items.append({**progress_item(state, current), "IsCurrent": True, "IsPrevious": False})
        previous = next((item for item in older if state.task_of(item).state == SUCCESS), None)
        if include_previous and previous is not None:
            items.append({**progress_item(state, previous), "IsCurrent": False, "IsPrevious": True})
    return items
