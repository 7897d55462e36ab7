"""Deployments: a release to an environment, and for a tenant; each is carried out by a task."""

from __future__ import annotations

from generator.emulator import refusals, runs
from generator.emulator.documents import Document, same_name
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import queueing, releases
from generator.emulator.resources.promotion import allowed_environments


def list_page(request: Request) -> Document:
    """Newest first (source: docs, API reference, deployments)."""
    query = request.query
    filters = {
        "ProjectId": query.all("projects"),
        "EnvironmentId": query.all("environments"),
        "TenantId": query.all("tenants"),
        "ChannelId": query.all("channels"),
    }
    states = {state.casefold() for state in query.all("taskState")}
    chosen = [
        item
        for item in reversed(request.visible("Deployments"))
        if all(not wanted or item[name] in wanted for name, wanted in filters.items())
        if not states or request.state.task_of(item).state.casefold() in states
    ]
    return request.page_of("Deployment", "Deployments", narrowed(request, chosen))


def list_of_release(request: Request) -> Document:
    release = releases.release_of(request)
    items = list(reversed(request.visible("Deployments", ReleaseId=release["Id"])))
    return request.page_of("Deployment", "Deployments", items)


def get(request: Request) -> Document:
    return request.show("Deployments", request.find("Deployments", request.argument("id")))


def delete(request: Request) -> Document:
    deployment = request.find("Deployments", request.argument("id"))
    request.refuse_running("Deployment", id=deployment["TaskId"])
    del request.state.collection("Deployments")[deployment["Id"]]
    return {}


# --- creating ------------------------------------------------------------------------------------------------------


def create(request: Request) -> Answer:
    """The classic way: ids, 201."""
    return created(request.show("Deployments", _create(request, request.document())))


def create_despite_freeze(request: Request) -> Answer:
    """The classic command inside one that names freezes and a reason (source: docs, API reference, deployment-freeze)."""
    body = request.document()
    command = body.get("CreateDeploymentCommand")
    if not isinstance(command, dict):
        raise refusals.REQUIRED(field="CreateDeploymentCommand")
    merged = {**command, "FreezeIds": body.get("FreezeIds"), "Reason": body.get("Reason")}
    return created({"Deployment": request.show("Deployments", _create(request, merged))})


def _create(request: Request, body: Document) -> Document:
    release = request.reference("Releases", "ReleaseId", body.get("ReleaseId"))
    environment = request.reference("Environments", "EnvironmentId", body.get("EnvironmentId"))
    tenant = request.reference("Tenants", "TenantId", body["TenantId"]) if body.get("TenantId") else None
    values = dict(body.get("FormValues") or {})
    return new_deployment(request, release, environment, tenant, body=body, values=values)


def new_deployment(
    request: Request,
    release: Document,
    environment: Document,
    tenant: Document | None,
    *,
    body: Document,
    values: Document,
) -> Document:
    """A stored deployment with its queued task. `values` = answers to prompted variables by id or by name.

    Errors: Refused, and nothing is created.
    """
    project = request.state.get("Projects", release["ProjectId"])
    queueing.check_tenant(project["TenantedDeploymentMode"], project, environment, tenant)
    _check_lifecycle(request, release, environment, tenant)
    return queueing.queued(
        request,
        runs.DEPLOYMENT,
        {
            "ReleaseId": release["Id"],
            "ChannelId": release["ChannelId"],
            "DeploymentProcessId": release["ProjectDeploymentProcessSnapshotId"],
            "Name": f"Deploy to {environment['Name']}",
            "Changes": [],
            "ForcePackageRedeployment": bool(body.get("ForcePackageRedeployment")),
        },
        environment=environment,
        tenant=tenant,
        body=body,
        values=values,
        description=f"Deploy {project['Name']} release {release['Version']} to {environment['Name']}",
    )


def _check_lifecycle(
    request: Request, release: Document, environment: Document, tenant: Document | None
) -> None:
    """A release that is or was there already may go there again (source: OctopusDeploy/Issues 2449)."""
    state = request.state
    allowed = allowed_environments(state, release, tenant["Id"] if tenant else None)
    if environment["Id"] in allowed:
        return
    reached = {item["EnvironmentId"] for item in state.where("Deployments", ReleaseId=release["Id"])}
    if environment["Id"] in reached:
        return
    names = ", ".join(state.get("Environments", item)["Name"] for item in allowed) or "none"
    raise refusals.NOT_DEPLOYABLE(
        version=release["Version"],
        environment=environment["Name"],
        reason=f"the lifecycle allows it to go to: {names}.",
    )


# --- by command ----------------------------------------------------------------------------------------------------


def create_untenanted(request: Request) -> Document:
    """`deployments/create/untenanted/v1`: 200; no environment named = nothing deployed (source: docs, API reference)."""
    body, _, release = _command(request)
    made = [
        _deploy_by_command(
            request, release, releases.named(request, "Environments", "Environment", name), None
        )
        for name in body.get("EnvironmentNames") or ()
    ]
    return _server_tasks(made)


def create_tenanted(request: Request) -> Document:
    """`deployments/create/tenanted/v1`: "*" = every deployable tenant; neither tenants nor tags = nothing deployed."""
    body, project, release = _command(request)
    if not body.get("EnvironmentName"):
        raise refusals.REQUIRED(field="EnvironmentName")
    environment = releases.named(request, "Environments", "Environment", body["EnvironmentName"])
    return _server_tasks(
        [
            _deploy_by_command(request, release, environment, tenant)
            for tenant in queueing.tenants_by_command(request, project, environment)
        ]
    )


def _command(request: Request) -> tuple[Document, Document, Document]:
    body = request.document()
    for name in ("SpaceId", "SpaceIdOrName", "ProjectName", "ReleaseVersion"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    project = releases.named(request, "Projects", "Project", body["ProjectName"])
    for release in request.state.where("Releases", ProjectId=project["Id"]):
        if same_name(release["Version"], body["ReleaseVersion"]):
            if body.get("UpdateVariableSnapshot"):
                releases.refresh_variables(request.state, release)
            return body, project, release
    raise refusals.NAME_NOT_FOUND(kind="Release", name=body["ReleaseVersion"])


def _deploy_by_command(
    request: Request, release: Document, environment: Document, tenant: Document | None
) -> Document:
    classic = queueing.by_command(request, runs.frozen_process(request.state, release))
    classic["ForcePackageRedeployment"] = request.document().get("ForcePackageRedeployment")
    values = dict(request.document().get("Variables") or {})
    return new_deployment(request, release, environment, tenant, body=classic, values=values)


def _server_tasks(made: list[Document]) -> Document:
    return {
        "DeploymentServerTasks": [
            {"DeploymentId": item["Id"], "ServerTaskId": item["TaskId"]} for item in made
        ]
    }
