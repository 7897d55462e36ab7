"""What deployments and runbook runs have in common when they are made: checks, answers to prompts, the queued task."""

from __future__ import annotations

from collections.abc import Iterable

from generator.emulator import events, lifecycles, manifest, queue, refusals, runs
from generator.emulator.clock import iso, moment
from generator.emulator.documents import Document, Secret, same_name
from generator.emulator.requests import Request
from generator.emulator.resources import freezes, releases
from generator.emulator.resources.promotion import prompted
from generator.emulator.runs import RunKind
from generator.emulator.state import State
from generator.emulator.tasks import Task


def check_tenant(mode: str, project: Document, environment: Document, tenant: Document | None) -> None:
    """Errors: Refused. Source: docs, Tenants (modes; a tenant is connected to a project in some environments)."""
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


def answers_to(
    request: Request, frozen: Document, environment: Document, tenant: Document | None, values: Document
) -> dict[str, str]:
    """The values of prompted variables by variable id. A required one without a value is refused by name.

    Keys are the elements' names of the preview's form; the create commands use variable names (source: OctopusClients,
    Model/Forms). An unknown key is dropped: unconfirmed.
    """
    answers: dict[str, str] = {}
    for item in prompted(request.state, frozen, environment, tenant):
        given = [
            value for name, value in values.items() if name == item["Id"] or same_name(name, item["Name"])
        ]
        if given and given[0] is not None:
            answers[item["Id"]] = str(given[0])
        default = item["Value"]
        if item["Prompt"].get("Required") and not (answers.get(item["Id"]) or default):
            raise refusals.PROMPT_REQUIRED(name=item["Name"])
    return answers


def _kept(
    request: Request, frozen: Document, environment: Document, tenant: Document | None, values: Document
) -> Document:
    """The answers as the run shows them: those to sensitive prompts are closed (how a server shows them is unconfirmed)."""
    secret = [item for item in prompted(request.state, frozen, environment, tenant) if item["IsSensitive"]]
    return {
        name: Secret(value, bare=True)
        if any(name == item["Id"] or same_name(name, item["Name"]) for item in secret)
        else value
        for name, value in values.items()
        if isinstance(value, str)
    }


def queued(
    request: Request,
    kind: RunKind,
    own: Document,
    *,
    environment: Document,
    tenant: Document | None,
    body: Document,
    values: Document,
    description: str,
) -> Document:
    """The stored run with its queued task. `own` are the fields that its kind alone has, those of `kind.frozen` and
    `kind.process` among them; `values` are answers to prompted variables by id or by name.

    Errors: Refused, and nothing is created.
    """
    state, user = request.state, request.user
    collection, field = kind.frozen
    frozen = state.get(collection, own[field])
    project = state.get("Projects", frozen["ProjectId"])
    overrides = (
        freezes.overridden(request, project, environment, tenant, body) if kind is runs.DEPLOYMENT else []
    )
    answers = answers_to(request, frozen, environment, tenant, values)
    try:
        starts, expires = moment(body.get("QueueTime")), moment(body.get("QueueTimeExpiry"))
    except ValueError:
        raise refusals.BAD_SCHEDULE() from None
    now = state.clock.now()
    if expires is not None and expires <= (starts or now):
        raise refusals.BAD_SCHEDULE()
    identifier, task_id = state.next_id(kind.collection), state.next_id("ServerTasks")
    run: Document = {
        "SpaceId": frozen["SpaceId"],
        "ProjectId": frozen["ProjectId"],
        **own,
        "EnvironmentId": environment["Id"],
        "TenantId": tenant["Id"] if tenant else None,
        "TaskId": task_id,
        "ManifestVariableSetId": f"variableset-{identifier}",
        "Comments": body.get("Comments"),
        "FormValues": _kept(request, frozen, environment, tenant, values),
        "DeployedToMachineIds": [],
        "FailureEncountered": False,
        "QueueTime": iso(starts),
        "QueueTimeExpiry": iso(expires),
        "Created": iso(now),
        "DeployedBy": user["Username"],
        "DeployedById": user["Id"],
        "DebugMode": body.get("DebugMode") or "None",
        "Priority": body.get("Priority") or "LifecycleDefault",
        "UseGuidedFailure": (
            runs.guided_by_default(state, frozen, environment)
            if body.get("UseGuidedFailure") is None
            else body["UseGuidedFailure"]
        ),
        "ForcePackageDownload": bool(body.get("ForcePackageDownload")),
        "_overrides": overrides,
    }
    for name in ("SkipActions", "SpecificMachineIds", "ExcludedMachineIds"):
        run[name] = list(body.get(name) or ())
    task = Task(
        id=task_id,
        space_id=frozen["SpaceId"],
        name=kind.task_name,
        description=f"{description} for {tenant['Name']}" if tenant else description,
        arguments={kind.argument: identifier},
        queue_time=starts or now,
        queued_at=now,
        queue_time_expiry=expires,
        project_id=frozen["ProjectId"],
        environment_id=environment["Id"],
        tenant_id=tenant["Id"] if tenant else None,
        runbook_id=own.get("RunbookId"),
        is_priority=_has_priority(state, run),
    )
    state.add(kind.collection, run, identifier=identifier)
    state.tasks[task_id] = task
    manifest.write(state, run, answers)
    task.tag = manifest.concurrency_tag(state, run, task)
    queue.supersede(state, run, task)
    state.changed.notify_all()
    events.record(
        state,
        f"{kind.events}Queued",
        f"{task.description} was queued",
        space_id=task.space_id,
        related=(*queue.related(task), frozen["Id"]),
        user_id=user["Id"],
    )
    return run


def _has_priority(state: State, run: Document) -> bool:
    """`Priority` is LifecycleDefault, On or Off; the default is the phase's (source: docs, Prioritize tasks)."""
    if run["Priority"] != "LifecycleDefault" or "ReleaseId" not in run:
        return bool(run["Priority"] == "On")
    phases = lifecycles.phases_of_release(state, state.get("Releases", run["ReleaseId"]))
    return any(phase.is_priority and run["EnvironmentId"] in phase.environments for phase in phases)


# --- by command ----------------------------------------------------------------------------------------------------


def by_command(request: Request, process: Document) -> Document:
    """The body of a `create/.../v1` command as the classic way has it: names become ids.

    An unknown name in `SkipStepNames` is only a warning, an unknown machine is refused (source: docs, API reference,
    deployments).
    """
    body = request.document()
    wanted = body.get("SkipStepNames") or ()
    skipped = [
        action["Id"]
        for step in process["Steps"]
        for action in step["Actions"]
        if any(same_name(name, action["Name"]) or same_name(name, step["Name"]) for name in wanted)
    ]
    return {
        "SkipActions": skipped,
        "SpecificMachineIds": _machines(request, body.get("SpecificMachineNames")),
        "ExcludedMachineIds": _machines(request, body.get("ExcludedMachineNames")),
        "QueueTime": body.get("RunAt"),
        "QueueTimeExpiry": body.get("NoRunAfter"),
        **{
            name: body.get(name)
            for name in (
                "UseGuidedFailure", "Priority", "DebugMode", "ForcePackageDownload", "DeploymentFreezeNames",
                "DeploymentFreezeOverrideReason",
            )
        },
    }  # fmt: skip


def _machines(request: Request, names: Iterable[str] | None) -> list[str]:
    return [releases.named(request, "Machines", "Machine", name)["Id"] for name in names or ()]


def tenants_by_command(request: Request, project: Document, environment: Document) -> list[Document]:
    """`Tenants` (names or ids, "*" = every connected one) and all connected tenants that have one of `TenantTags`."""
    body = request.document()
    names, tags = body.get("Tenants") or [], set(body.get("TenantTags") or ())
    connected = [
        tenant
        for tenant in request.visible("Tenants")
        if environment["Id"] in tenant["ProjectEnvironments"].get(project["Id"], ())
    ]
    if "*" in names:
        return connected
    tenants = [releases.named(request, "Tenants", "Tenant", name) for name in names]
    return tenants + [item for item in connected if tags & set(item["TenantTags"]) and item not in tenants]
