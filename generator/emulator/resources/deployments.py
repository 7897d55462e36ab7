"""Deployments: a release to an environment, and for a tenant; each is carried out by a task."""

from __future__ import annotations

from generator.emulator import events, manifest, queue, refusals
from generator.emulator.clock import iso, moment
from generator.emulator.documents import Document, same_name
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import releases
from generator.emulator.resources.promotion import allowed_environments, prompted
from generator.emulator.tasks import Task


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
    body = request.document()
    release = request.reference("Releases", "ReleaseId", body.get("ReleaseId"))
    environment = request.reference("Environments", "EnvironmentId", body.get("EnvironmentId"))
    tenant = request.reference("Tenants", "TenantId", body["TenantId"]) if body.get("TenantId") else None
    values = dict(body.get("FormValues") or {})
    deployment = new_deployment(request, release, environment, tenant, body=body, values=values)
    return created(request.show("Deployments", deployment))


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
    state = request.state
    project = state.get("Projects", release["ProjectId"])
    _check_tenant(project, environment, tenant)
    _check_lifecycle(request, release, environment, tenant)
    answers = _answers(request, release, environment, tenant, values)
    try:
        starts, expires = moment(body.get("QueueTime")), moment(body.get("QueueTimeExpiry"))
    except ValueError:
        raise refusals.BAD_SCHEDULE() from None
    now = state.clock.now()
    if expires is not None and expires <= (starts or now):
        raise refusals.BAD_SCHEDULE()
    user = request.user
    identifier, task_id = state.next_id("Deployments"), state.next_id("ServerTasks")
    deployment: Document = {
        "SpaceId": release["SpaceId"],
        "ProjectId": project["Id"],
        "ReleaseId": release["Id"],
        "ChannelId": release["ChannelId"],
        "EnvironmentId": environment["Id"],
        "TenantId": tenant["Id"] if tenant else None,
        "TaskId": task_id,
        "ManifestVariableSetId": f"variableset-{identifier}",
        "DeploymentProcessId": release["ProjectDeploymentProcessSnapshotId"],
        "Name": f"Deploy to {environment['Name']}",
        "Comments": body.get("Comments"),
        "FormValues": {name: value for name, value in values.items() if isinstance(value, str)},
        "DeployedToMachineIds": [],
        "FailureEncountered": False,
        "QueueTime": iso(starts),
        "QueueTimeExpiry": iso(expires),
        "Created": iso(now),
        "DeployedBy": user["Username"],
        "DeployedById": user["Id"],
        "Changes": [],
        "DebugMode": body.get("DebugMode") or "None",
        "Priority": body.get("Priority") or "LifecycleDefault",
        "UseGuidedFailure": bool(body.get("UseGuidedFailure")),
        "ForcePackageDownload": bool(body.get("ForcePackageDownload")),
        "ForcePackageRedeployment": bool(body.get("ForcePackageRedeployment")),
    }
    for name in ("SkipActions", "SpecificMachineIds", "ExcludedMachineIds"):
        deployment[name] = list(body.get(name) or ())
    description = f"Deploy {project['Name']} release {release['Version']} to {environment['Name']}"
    task = Task(
        id=task_id,
        space_id=release["SpaceId"],
        name="Deploy",
        description=f"{description} for {tenant['Name']}" if tenant else description,
        arguments={"DeploymentId": identifier},
        queue_time=starts or now,
        queued_at=now,
        queue_time_expiry=expires,
        project_id=project["Id"],
        environment_id=environment["Id"],
        tenant_id=tenant["Id"] if tenant else None,
        prioritized=deployment["Priority"] == "On",
    )
    state.add("Deployments", deployment, identifier=identifier)
    state.tasks[task_id] = task
    manifest.write(state, deployment, answers)
    task.tag = manifest.concurrency_tag(state, deployment, task)
    queue.supersede(state, deployment, task)
    state.changed.notify_all()
    events.record(
        state,
        "DeploymentQueued",
        f"{task.description} was queued",
        space_id=task.space_id,
        related=(*queue.related(task), release["Id"]),
        user_id=user["Id"],
    )
    return deployment


def _check_tenant(project: Document, environment: Document, tenant: Document | None) -> None:
    """Source: docs, Tenants (modes; a tenant is connected to a project in some environments)."""
    mode = project["TenantedDeploymentMode"]
    if tenant is None:
        if mode == "Tenanted":
            raise refusals.TENANT_NEEDED(project=project["Name"])
        return
    if mode == "Untenanted":
        raise refusals.TENANT_FORBIDDEN(project=project["Name"])
    if environment["Id"] not in tenant["ProjectEnvironments"].get(project["Id"], ()):
        raise refusals.TENANT_NOT_CONNECTED(
            tenant=tenant["Name"], project=project["Name"], environment=environment["Name"]
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


def _answers(
    request: Request, release: Document, environment: Document, tenant: Document | None, values: Document
) -> dict[str, str]:
    """The values of prompted variables by variable id. A required one without a value is refused by name.

    Keys are the elements' names of the preview's form; the create commands use variable names (source: OctopusClients,
    Model/Forms). An unknown key is dropped: unconfirmed.
    """
    answers: dict[str, str] = {}
    for item in prompted(request.state, release, environment, tenant):
        given = [
            value for name, value in values.items() if name == item["Id"] or same_name(name, item["Name"])
        ]
        if given and given[0] is not None:
            answers[item["Id"]] = str(given[0])
        default = item["Value"]
        if item["Prompt"].get("Required") and not (answers.get(item["Id"]) or default):
            raise refusals.PROMPT_REQUIRED(name=item["Name"])
    return answers


# --- by command ----------------------------------------------------------------------------------------------------


def create_untenanted(request: Request) -> Document:
    """`deployments/create/untenanted/v1`: 200; no environment named = nothing deployed (source: docs, API reference)."""
    body, project, release = _command(request)
    made = [
        _deploy_by_command(
            request, project, release, releases.named(request, "Environments", "Environment", name), None
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
    names, tags = body.get("Tenants") or [], set(body.get("TenantTags") or ())
    connected = [
        tenant
        for tenant in request.visible("Tenants")
        if environment["Id"] in tenant["ProjectEnvironments"].get(project["Id"], ())
    ]
    if "*" in names:
        tenants = connected
    else:
        tenants = [releases.named(request, "Tenants", "Tenant", name) for name in names]
        tenants += [item for item in connected if tags & set(item["TenantTags"]) and item not in tenants]
    return _server_tasks(
        [_deploy_by_command(request, project, release, environment, tenant) for tenant in tenants]
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
    request: Request, project: Document, release: Document, environment: Document, tenant: Document | None
) -> Document:
    body = request.document()
    process = request.state.get("DeploymentProcesses", release["ProjectDeploymentProcessSnapshotId"])
    skipped = [
        action["Id"]
        for step in process["Steps"]
        for action in step["Actions"]
        if any(same_name(name, action["Name"]) or same_name(name, step["Name"]) for name in body.get("SkipStepNames") or ())
    ]  # fmt: skip
    classic = {
        "SkipActions": skipped,
        "SpecificMachineIds": [
            releases.named(request, "Machines", "Machine", name)["Id"]
            for name in body.get("SpecificMachineNames") or ()
        ],
        "ExcludedMachineIds": [
            releases.named(request, "Machines", "Machine", name)["Id"]
            for name in body.get("ExcludedMachineNames") or ()
        ],
        "QueueTime": body.get("RunAt"),
        "QueueTimeExpiry": body.get("NoRunAfter"),
        "UseGuidedFailure": body.get("UseGuidedFailure"),
        "Priority": body.get("Priority"),
        "DebugMode": body.get("DebugMode"),
        "ForcePackageDownload": body.get("ForcePackageDownload"),
    }
    return new_deployment(
        request, release, environment, tenant, body=classic, values=dict(body.get("Variables") or {})
    )


def _server_tasks(made: list[Document]) -> Document:
    return {
        "DeploymentServerTasks": [
            {"DeploymentId": item["Id"], "ServerTaskId": item["TaskId"]} for item in made
        ]
    }
