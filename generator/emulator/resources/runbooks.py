"""Runbooks with their processes and snapshots. Running them is `runbook_runs`.

Source: Swagger of Octopus Server 2020.5 (paths, fields); OctopusClients, Model/RunbookResource.cs and RunbookSnapshotResource.cs;
api-client.ts, src/features/projects/runbooks (the paths below a project).
"""

from __future__ import annotations

from generator.emulator import lifecycles, refusals
from generator.emulator.documents import Document, same_name
from generator.emulator.kinds import RUNBOOKS
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.resources import processes, release_packages, releases, variables
from generator.emulator.resources.projects import MODES, project_of
from generator.emulator.state import State

SCOPES = ("All", "Specified", "FromProjectLifecycles")


def list_page(request: Request) -> Document:
    return request.page_of("Runbook", "Runbooks", _runbooks(request))


def list_all(request: Request) -> list[Document]:
    return request.show_all("Runbooks", _runbooks(request))


def _runbooks(request: Request) -> list[Document]:
    projects = set(request.query.all("projectIds"))
    if "project" in request.arguments:
        projects = {project_of(request)["Id"]}
    return [
        item
        for item in sorted(narrowed(request, request.visible("Runbooks")), key=by_name)
        if not projects or item["ProjectId"] in projects
    ]


def runbook_of(request: Request) -> Document:
    """The runbook in the path, by id or slug."""
    within = {"ProjectId": project_of(request)["Id"]} if "project" in request.arguments else {}
    runbook = request.find_named("Runbooks", request.argument("runbook"), **within)
    if any(runbook[name] != value for name, value in within.items()):
        raise refusals.NOT_FOUND()
    return runbook


def get(request: Request) -> Document:
    return request.show("Runbooks", runbook_of(request))


def create(request: Request) -> Answer:
    """201, with an empty process of its own."""
    body, state = request.document(), request.state
    if "project" in request.arguments:
        body = {**body, "ProjectId": project_of(request)["Id"]}
    project = request.reference("Projects", "ProjectId", body.get("ProjectId"))
    fields = RUNBOOKS.fields({**body, "PublishedRunbookSnapshotId": None})
    _check(request, fields)
    identifier = state.next_id("Runbooks")
    runbook = {
        "SpaceId": project["SpaceId"],
        **fields,
        "Slug": state.free_slug("Runbooks", fields["Name"], ProjectId=project["Id"]),
        "RunbookProcessId": f"RunbookProcess-{identifier}",
    }
    state.add("Runbooks", runbook, identifier=identifier)
    process = {
        "SpaceId": project["SpaceId"],
        "ProjectId": project["Id"],
        "RunbookId": identifier,
        "Version": 0,
        "LastSnapshotId": None,
        "Steps": [],
    }
    state.add("RunbookProcesses", process, identifier=runbook["RunbookProcessId"])
    return created(request.show("Runbooks", runbook))


def modify(request: Request) -> Document:
    runbook = runbook_of(request)
    after = RUNBOOKS.fields({**request.document(), "ProjectId": runbook["ProjectId"]}, runbook)
    _check(request, after, besides=runbook["Id"])
    published = after["PublishedRunbookSnapshotId"]
    if (
        published
        and request.reference("RunbookSnapshots", "PublishedRunbookSnapshotId", published)["RunbookId"]
        != runbook["Id"]
    ):
        raise refusals.UNKNOWN_REFERENCE(field="PublishedRunbookSnapshotId", value=published)
    runbook.update(after)
    request.state.changed.notify_all()
    return request.show("Runbooks", runbook)


def _check(request: Request, fields: Document, *, besides: str | None = None) -> None:
    if not isinstance(fields["Name"], str) or not fields["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    request.refuse_duplicate(
        "Runbook", "Runbooks", fields["Name"], besides=besides, ProjectId=fields["ProjectId"]
    )
    if fields["EnvironmentScope"] not in SCOPES:
        raise refusals.BAD_REQUEST(reason=f"EnvironmentScope must be one of {', '.join(SCOPES)}.")
    if fields["MultiTenancyMode"] not in MODES:
        raise refusals.BAD_REQUEST(reason=f"MultiTenancyMode must be one of {', '.join(MODES)}.")
    for identifier in fields["Environments"]:
        request.reference("Environments", "Environments", identifier)


def delete(request: Request) -> Document:
    runbook, state = runbook_of(request), request.state
    request.refuse_running("Runbook", runbook_id=runbook["Id"])
    for name in ("RunbookRuns", "RunbookSnapshots", "RunbookProcesses"):
        for document in state.where(name, RunbookId=runbook["Id"]):
            del state.collection(name)[document["Id"]]
    del state.collection("Runbooks")[runbook["Id"]]
    return {}


def environments(request: Request) -> list[Document]:
    """The environments in which the runbook may run."""
    ids = environment_ids(request.state, runbook_of(request))
    found = [item for item in request.state.environments(request.space_id) if item["Id"] in ids]
    return request.show_all("Environments", found)


def environment_ids(state: State, runbook: Document) -> set[str]:
    """Source: docs, Runbooks, environment scope; OctopusClients, Model/RunbookEnvironmentScope.cs."""
    everywhere = {item["Id"] for item in state.environments(runbook["SpaceId"])}
    if runbook["EnvironmentScope"] == "Specified":
        return everywhere & set(runbook["Environments"])
    if runbook["EnvironmentScope"] == "FromProjectLifecycles":
        project = state.get("Projects", runbook["ProjectId"])
        channels = state.where("Channels", ProjectId=project["Id"])
        used = [lifecycles.lifecycle_of(state, project, channel) for channel in channels]
        return {
            environment
            for lifecycle in used
            if lifecycle is not None
            for phase in lifecycles.phases_of(state, lifecycle)
            for environment in phase.environments
        }
    return everywhere


# --- processes -----------------------------------------------------------------------------------------------------


def list_processes(request: Request) -> Document:
    found = [item for item in request.visible("RunbookProcesses") if not item.get("_frozen")]
    return request.page_of("RunbookProcess", "RunbookProcesses", narrowed(request, found))


def get_process(request: Request) -> Document:
    return request.show("RunbookProcesses", _process(request))


def modify_process(request: Request) -> Document:
    return request.show("RunbookProcesses", processes.replace_steps(request, _process(request)))


def _process(request: Request) -> Document:
    process = request.find("RunbookProcesses", request.argument("id"))
    if "project" in request.arguments and process["ProjectId"] != project_of(request)["Id"]:
        raise refusals.NOT_FOUND()
    return process


# --- snapshots -----------------------------------------------------------------------------------------------------


def list_snapshots(request: Request) -> Document:
    within = {}
    if "runbook" in request.arguments:
        within["RunbookId"] = runbook_of(request)["Id"]
    elif "project" in request.arguments:
        within["ProjectId"] = project_of(request)["Id"]
    part = (request.query.first("searchByName") or "").casefold()
    found = [
        item
        for item in narrowed(request, reversed(request.visible("RunbookSnapshots", **within)))
        if part in item["Name"].casefold()
    ]
    return request.page_of("RunbookSnapshot", "RunbookSnapshots", found)


def snapshot_of(request: Request) -> Document:
    """The snapshot in the path: by id, below a project by name too."""
    wanted = request.argument("snapshot")
    if "project" not in request.arguments:
        return request.find("RunbookSnapshots", wanted)
    for item in request.visible("RunbookSnapshots", ProjectId=project_of(request)["Id"]):
        if item["Id"] == wanted or same_name(item["Name"], wanted):
            return item
    raise refusals.NOT_FOUND()


def get_snapshot(request: Request) -> Document:
    return request.show("RunbookSnapshots", snapshot_of(request))


def create_snapshot(request: Request) -> Answer:
    """201; `publish=true` makes it the one that is run when none is named."""
    body = request.document()
    runbook = request.reference("Runbooks", "RunbookId", body.get("RunbookId"))
    name = body.get("Name") or next_name(request.state, runbook)
    for item in request.state.where("RunbookSnapshots", RunbookId=runbook["Id"]):
        if same_name(item["Name"], name):
            raise refusals.DUPLICATE_NAME(kind="RunbookSnapshot", name=name)
    snapshot = _new_snapshot(request, runbook, name=name, body=body)
    if request.query.flag("publish"):
        runbook["PublishedRunbookSnapshotId"] = snapshot["Id"]
    return created(request.show("RunbookSnapshots", snapshot))


def _new_snapshot(request: Request, runbook: Document, *, name: str, body: Document) -> Document:
    state = request.state
    process = state.get("RunbookProcesses", runbook["RunbookProcessId"])
    packages = release_packages.selected_packages(process, body.get("SelectedPackages") or [])
    own, *library = variables.live_sets(state, state.get("Projects", runbook["ProjectId"]))
    frozen = variables.snapshot(state, own)["Id"]
    return state.add(
        "RunbookSnapshots",
        {
            "SpaceId": runbook["SpaceId"],
            "ProjectId": runbook["ProjectId"],
            "RunbookId": runbook["Id"],
            "Name": name,
            "Notes": body.get("Notes"),
            "Assembled": state.now(),
            "FrozenRunbookProcessId": processes.snapshot(state, process, "RunbookProcesses")["Id"],
            "FrozenProjectVariableSetId": frozen,
            "ProjectVariableSetSnapshotId": frozen,
            "LibraryVariableSetSnapshotIds": [variables.snapshot(state, item)["Id"] for item in library],
            "SelectedPackages": packages,
            "SelectedGitResources": body.get("SelectedGitResources") or [],
        },
    )


def next_name(state: State, runbook: Document) -> str:
    """`Snapshot 2` after `Snapshot 1`. The server's own pattern is unconfirmed."""
    names = [item["Name"] for item in state.where("RunbookSnapshots", RunbookId=runbook["Id"])]
    number = len(names) + 1
    while any(same_name(name, f"Snapshot {number}") for name in names):
        number += 1
    return f"Snapshot {number}"


def modify_snapshot(request: Request) -> Document:
    snapshot, body = snapshot_of(request), request.document()
    name = body.get("Name") or snapshot["Name"]
    for item in request.state.where("RunbookSnapshots", RunbookId=snapshot["RunbookId"]):
        if item is not snapshot and same_name(item["Name"], name):
            raise refusals.DUPLICATE_NAME(kind="RunbookSnapshot", name=name)
    snapshot.update(Name=name, Notes=body.get("Notes", snapshot["Notes"]))
    return request.show("RunbookSnapshots", snapshot)


def delete_snapshot(request: Request) -> Document:
    snapshot, state = snapshot_of(request), request.state
    runs = state.where("RunbookRuns", RunbookSnapshotId=snapshot["Id"])
    for run in runs:
        request.refuse_running("RunbookSnapshot", id=run["TaskId"])
    for run in runs:
        del state.collection("RunbookRuns")[run["Id"]]
    runbook = state.get("Runbooks", snapshot["RunbookId"])
    if runbook["PublishedRunbookSnapshotId"] == snapshot["Id"]:
        runbook["PublishedRunbookSnapshotId"] = None
    del state.collection("RunbookSnapshots")[snapshot["Id"]]
    return {}


def update_snapshot_variables(request: Request) -> Document:
    snapshot = releases.refresh_variables(request.state, snapshot_of(request))
    snapshot["FrozenProjectVariableSetId"] = snapshot["ProjectVariableSetSnapshotId"]
    return request.show("RunbookSnapshots", snapshot)


def snapshot_template(request: Request) -> Document:
    """What a new snapshot needs (source: Swagger of Octopus Server 2020.5)."""
    state = request.state
    if "runbook" in request.arguments:
        runbook = runbook_of(request)
    else:
        runbook = state.get("Runbooks", _process(request)["RunbookId"])
    process = state.get("RunbookProcesses", runbook["RunbookProcessId"])
    return {
        "Id": None,
        "RunbookId": runbook["Id"],
        "RunbookProcessId": process["Id"],
        "NextNameIncrement": next_name(state, runbook),
        "Packages": release_packages.template_packages(process),
        "GitResources": [],
        "Links": {},
    }
