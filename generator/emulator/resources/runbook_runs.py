"""Runs of runbooks: a snapshot in an environment, and for a tenant; each is carried out by a task named RunbookRun.

Source: docs, API reference, runbook-runs; Swagger of Octopus Server 2020.5 (`runbooks/{id}/run`); Library,
run-octopus-runbook.json (what its body holds); api-client.ts, src/features/projects/runbooks/runs.
"""

from __future__ import annotations

from typing import Any

from generator.emulator import refusals, runs
from generator.emulator.documents import Document, same_name
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import queueing, releases
from generator.emulator.resources.promotion import library_changed, preview_of, run_item
from generator.emulator.resources.runbooks import environment_ids, runbook_of, snapshot_of


def list_page(request: Request) -> Document:
    """Newest first."""
    query = request.query
    filters = {
        "ProjectId": query.all("projects"),
        "EnvironmentId": query.all("environments"),
        "TenantId": query.all("tenants"),
        "RunbookId": query.all("runbooks"),
    }
    if "snapshot" in request.arguments:
        filters["RunbookSnapshotId"] = (snapshot_of(request)["Id"],)
    states = {state.casefold() for state in query.all("taskState")}
    chosen = [
        item
        for item in reversed(request.visible("RunbookRuns"))
        if all(not wanted or item[name] in wanted for name, wanted in filters.items())
        if not states or request.state.task_of(item).state.casefold() in states
    ]
    return request.page_of("RunbookRun", "RunbookRuns", narrowed(request, chosen))


def get(request: Request) -> Document:
    return request.show("RunbookRuns", request.find("RunbookRuns", request.argument("id")))


def delete(request: Request) -> Document:
    run = request.find("RunbookRuns", request.argument("id"))
    request.refuse_running("RunbookRun", id=run["TaskId"])
    del request.state.collection("RunbookRuns")[run["Id"]]
    return {}


# --- creating ------------------------------------------------------------------------------------------------------


def create(request: Request) -> Answer:
    """The classic way: ids, 201."""
    body = request.document()
    snapshot = request.reference("RunbookSnapshots", "RunbookSnapshotId", body.get("RunbookSnapshotId"))
    if body.get("RunbookId", snapshot["RunbookId"]) != snapshot["RunbookId"]:
        raise refusals.UNKNOWN_REFERENCE(field="RunbookId", value=body["RunbookId"])
    environment = request.reference("Environments", "EnvironmentId", body.get("EnvironmentId"))
    tenant = request.reference("Tenants", "TenantId", body["TenantId"]) if body.get("TenantId") else None
    run = _new(request, snapshot, environment, tenant, body=body, values=body.get("FormValues"))
    return created(request.show("RunbookRuns", run))


def run_published(request: Request) -> Answer:
    """`runbooks/{id}/run`: the published snapshot (or the one named) in each environment, for each tenant; 201, an array."""
    body, runbook = request.document(), runbook_of(request)
    named = body.get("RunbookSnapshotId")
    if named:
        snapshot = request.reference("RunbookSnapshots", "RunbookSnapshotId", named)
    else:
        snapshot = _published(request, runbook)
    environments = [
        request.reference("Environments", "EnvironmentIds", item)
        for item in _several(body, "EnvironmentIds", "EnvironmentId")
    ]
    tenants: list[Document | None] = [
        request.reference("Tenants", "TenantIds", item) for item in _several(body, "TenantIds", "TenantId")
    ]
    made = [
        _new(request, snapshot, environment, tenant, body=body, values=body.get("FormValues"))
        for environment in environments
        for tenant in tenants or [None]
    ]
    return created(request.show_all("RunbookRuns", made))


def _several(body: Document, many: str, one: str) -> list[Any]:
    return list(body.get(many) or ([body[one]] if body.get(one) else []))


def _published(request: Request, runbook: Document) -> Document:
    snapshot = request.state.find("RunbookSnapshots", runbook["PublishedRunbookSnapshotId"])
    if snapshot is None:
        raise refusals.NO_PUBLISHED_SNAPSHOT()
    return snapshot


def _new(
    request: Request,
    snapshot: Document,
    environment: Document,
    tenant: Document | None,
    *,
    body: Document,
    values: Document | None,
) -> Document:
    state = request.state
    runbook, project = (
        state.get("Runbooks", snapshot["RunbookId"]),
        state.get("Projects", snapshot["ProjectId"]),
    )
    queueing.check_tenant(runbook["MultiTenancyMode"], project, environment, tenant)
    if environment["Id"] not in environment_ids(state, runbook):
        raise refusals.RUNBOOK_ENVIRONMENT(runbook=runbook["Name"], environment=environment["Name"])
    return queueing.queued(
        request,
        runs.RUNBOOK_RUN,
        {
            "RunbookId": runbook["Id"],
            "RunbookName": runbook["Name"],
            "RunbookSnapshotId": snapshot["Id"],
            "FrozenRunbookProcessId": snapshot["FrozenRunbookProcessId"],
            "Name": f"Run {runbook['Name']} in {environment['Name']}",
        },
        environment=environment,
        tenant=tenant,
        body=body,
        values=dict(values or {}),
        description=f"Run runbook {runbook['Name']} snapshot {snapshot['Name']} in {environment['Name']}",
    )


def create_by_command(request: Request) -> Document:
    """`runbook-runs/create/v1`: names, 200. Without a `Snapshot` the published one; without tenants an untenanted run."""
    body = request.document()
    for name in ("SpaceId", "SpaceIdOrName", "ProjectName", "RunbookName"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    project = releases.named(request, "Projects", "Project", body["ProjectName"])
    runbook = releases.named(request, "Runbooks", "Runbook", body["RunbookName"], ProjectId=project["Id"])
    snapshot = (
        _named_snapshot(request, runbook, body["Snapshot"])
        if body.get("Snapshot")
        else _published(request, runbook)
    )
    classic = queueing.by_command(request, runs.frozen_process(request.state, snapshot))
    made = []
    for name in body.get("EnvironmentNames") or ():
        environment = releases.named(request, "Environments", "Environment", name)
        tenanted = body.get("Tenants") or body.get("TenantTags")
        tenants = queueing.tenants_by_command(request, project, environment) if tenanted else [None]
        made += [
            _new(request, snapshot, environment, tenant, body=classic, values=body.get("Variables"))
            for tenant in tenants
        ]
    return {
        "RunbookRunServerTasks": [
            {"RunbookRunId": item["Id"], "ServerTaskId": item["TaskId"]} for item in made
        ]
    }


def _named_snapshot(request: Request, runbook: Document, wanted: str) -> Document:
    for item in request.state.where("RunbookSnapshots", RunbookId=runbook["Id"]):
        if item["Id"] == wanted or same_name(item["Name"], wanted):
            return item
    raise refusals.NAME_NOT_FOUND(kind="RunbookSnapshot", name=wanted)


# --- what would run, and what did ----------------------------------------------------------------------------------


def preview(request: Request) -> Document:
    """Of a snapshot, or of a runbook: its published snapshot (without one, 400)."""
    if "snapshot" in request.arguments:
        snapshot = snapshot_of(request)
    else:
        snapshot = _published(request, runbook_of(request))
    environment = request.find("Environments", request.argument("environment"))
    tenant = request.find("Tenants", request.arguments["tenant"]) if "tenant" in request.arguments else None
    return preview_of(request.state, snapshot, environment, tenant)


def template(request: Request) -> Document:
    """Where a snapshot may be run now (source: Swagger of Octopus Server 2020.5)."""
    state = request.state
    if "snapshot" in request.arguments:
        snapshot = snapshot_of(request)
    else:
        snapshot = _published(request, runbook_of(request))
    runbook = state.get("Runbooks", snapshot["RunbookId"])
    project = state.get("Projects", runbook["ProjectId"])
    process = state.get("RunbookProcesses", runbook["RunbookProcessId"])
    own = state.get("Variables", project["VariableSetId"])
    frozen_own = state.get("Variables", snapshot["ProjectVariableSetSnapshotId"])
    allowed = environment_ids(state, runbook)
    preview_link = (
        f"{request.prefix}/api/{runbook['SpaceId']}/runbookSnapshots/{snapshot['Id']}/runbookRuns/preview"
    )
    promote = [
        {
            "Id": item["Id"],
            "Name": item["Name"],
            "Links": {"RunbookRunPreview": f"{preview_link}/{item['Id']}"},
        }
        for item in state.environments(runbook["SpaceId"])
        if item["Id"] in allowed
    ]
    return {
        "Id": None,
        "IsRunbookProcessModified": runs.frozen_process(state, snapshot)["Version"] != process["Version"],
        "IsVariableSetModified": frozen_own["Version"] != own["Version"],
        "IsLibraryVariableSetModified": library_changed(state, snapshot, project),
        "PromoteTo": promote,
        "TenantPromotions": [
            {
                "Id": tenant["Id"],
                "Name": tenant["Name"],
                "PromoteTo": [
                    {**item, "Links": {"RunbookRunPreview": f"{preview_link}/{item['Id']}/{tenant['Id']}"}}
                    for item in promote
                    if item["Id"] in tenant["ProjectEnvironments"][project["Id"]]
                ],
            }
            for tenant in request.visible("Tenants")
            if project["Id"] in tenant["ProjectEnvironments"]
        ],
        "Links": {},
    }


def progression(request: Request) -> Document:
    """The newest run of the runbook in each environment and for each tenant (source: as `template`)."""
    runbook, state = runbook_of(request), request.state
    newest: dict[str, dict[str | None, Document]] = {}
    for run in reversed(state.where("RunbookRuns", RunbookId=runbook["Id"])):
        newest.setdefault(run["EnvironmentId"], {}).setdefault(run["TenantId"], run)
    return {
        "Id": None,
        "Environments": [
            {"Id": item["Id"], "Name": item["Name"]}
            for item in state.environments(runbook["SpaceId"])
            if item["Id"] in environment_ids(state, runbook)
        ],
        "RunbookRuns": {
            environment: [_item(request, run) for run in cells.values()]
            for environment, cells in newest.items()
        },
        "Links": {},
    }


def task_runs(request: Request) -> Document:
    """`progression/runbooks/taskRuns?ids=<tasks>`: the runs that these tasks carry out."""
    ids = request.query.all("ids")
    found = [
        item
        for item in reversed(request.visible("RunbookRuns"))
        if not ids or item["TaskId"] in ids or item["Id"] in ids
    ]
    return request.page("RunbooksDashboardItem", found, lambda run: _item(request, run))


def _item(request: Request, run: Document) -> Document:
    snapshot = request.state.get("RunbookSnapshots", run["RunbookSnapshotId"])
    return {
        **run_item(request.state, run),
        "RunbookId": run["RunbookId"],
        "RunbookSnapshotId": snapshot["Id"],
        "RunbookSnapshotName": snapshot["Name"],
        "RunbookSnapshotNotes": snapshot["Notes"],
        "RunBy": run["DeployedBy"],
        "Links": request.show("RunbookRuns", run)["Links"],
    }
