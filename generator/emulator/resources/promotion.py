"""Where a release may go and what would happen there: deployment templates, previews, progressions."""

from __future__ import annotations

from generator.emulator import lifecycles, refusals, repositories, runs
from generator.emulator.documents import Document, text_of
from generator.emulator.links import links_of
from generator.emulator.requests import Request
from generator.emulator.resources.projects import project_of
from generator.emulator.resources.releases import is_blocked, release_of
from generator.emulator.scoping import ROLES, machines_for, variables_in, where_of
from generator.emulator.state import State


def allowed_environments(state: State, release: Document, tenant_id: str | None) -> tuple[str, ...]:
    """Ids of the environments that the release may be deployed to now. Errors: Refused (500) without a lifecycle."""
    try:
        phases = lifecycles.phases_of_release(state, release)
    except KeyError:
        raise refusals.NO_LIFECYCLE() from None
    deployed = lifecycles.deployed_environments(state, release, tenant_id)
    return lifecycles.open_environments(phases, deployed, blocked=is_blocked(release))


def deployment_template(request: Request) -> Document:
    """Source: docs, API reference, releases. `PromoteTo` = the environments that the lifecycle allows now."""
    release, state = release_of(request), request.state
    project = state.get("Projects", release["ProjectId"])
    process = state.get("DeploymentProcesses", project["DeploymentProcessId"])
    frozen = state.get("DeploymentProcesses", release["ProjectDeploymentProcessSnapshotId"])
    own = state.get("Variables", project["VariableSetId"])
    frozen_own = state.get("Variables", release["ProjectVariableSetSnapshotId"])
    tenants = [item for item in request.visible("Tenants") if project["Id"] in item["ProjectEnvironments"]]
    return {
        "IsDeploymentProcessModified": (
            _is_stale(project, release)
            if project["IsVersionControlled"]
            else frozen["Version"] != process["Version"]
        ),
        "IsVariableSetModified": frozen_own["Version"] != own["Version"],
        "IsLibraryVariableSetModified": library_changed(state, release, project),
        "IsGitResourceModified": False,
        "DeploymentNotes": None,
        "PromoteTo": _targets(request, release, None),
        "TenantPromotions": [
            {
                "Id": tenant["Id"],
                "Name": tenant["Name"],
                "PromoteTo": [
                    target
                    for target in _targets(request, release, tenant["Id"])
                    if target["Id"] in tenant["ProjectEnvironments"][project["Id"]]
                ],
            }
            for tenant in tenants
        ],
        "Links": {},
    }


def _is_stale(project: Document, release: Document) -> bool:
    """In a project with Git: the release's branch has newer commits."""
    reference = release["VersionControlReference"]
    if reference is None:
        return False
    found = repositories.resolved(project, reference["GitRef"])
    return found is None or found[1] != reference["GitCommit"]


def library_changed(state: State, release: Document, project: Document) -> bool:
    frozen = {
        (item["OwnerId"], item["Version"])
        for item in (
            state.get("Variables", identifier) for identifier in release["LibraryVariableSetSnapshotIds"]
        )
    }
    current = {
        (identifier, state.get("Variables", f"variableset-{identifier}")["Version"])
        for identifier in project["IncludedLibraryVariableSetIds"]
    }
    return frozen != current


def _targets(request: Request, release: Document, tenant_id: str | None) -> list[Document]:
    preview = f"{request.prefix}/api/{release['SpaceId']}/releases/{release['Id']}/deployments/preview"
    tail = f"/{tenant_id}" if tenant_id else ""
    return [
        {
            "Id": identifier,
            "Name": request.state.get("Environments", identifier)["Name"],
            "Links": {"Preview": f"{preview}/{identifier}{tail}"},
        }
        for identifier in allowed_environments(request.state, release, tenant_id)
    ]


# --- previews ------------------------------------------------------------------------------------------------------


def preview(request: Request) -> Document:
    release = release_of(request)
    environment = request.find("Environments", request.argument("environment"))
    tenant = request.find("Tenants", request.arguments["tenant"]) if "tenant" in request.arguments else None
    return preview_of(request.state, release, environment, tenant)


def previews(request: Request) -> list[Document]:
    """A batch, as the Go command line asks for it (source: go-octopusdeploy, uritemplates/links.go)."""
    release = release_of(request)
    result = []
    for item in request.document().get("DeploymentPreviews") or ():
        environment = request.reference("Environments", "EnvironmentId", item.get("EnvironmentId"))
        tenant = request.reference("Tenants", "TenantId", item["TenantId"]) if item.get("TenantId") else None
        result.append(preview_of(request.state, release, environment, tenant))
    return result


def preview_of(state: State, release: Document, environment: Document, tenant: Document | None) -> Document:
    """What would run there, of a release or of a runbook's snapshot (source: OctopusClients, Model/DeploymentPreviewResource.cs,
    Model/RunbookRunPreviewResource.cs and Model/Forms)."""
    process = runs.frozen_process(state, release)
    where = where_of(state, release, environment, tenant)
    steps = []
    for number, step in enumerate(process["Steps"], start=1):
        for position, action in enumerate(step["Actions"], start=1):
            if where.excludes(action) or action["IsDisabled"]:
                continue
            machines = machines_for(state, step, action, environment=environment, tenant=tenant)
            steps.append(
                {
                    "ActionId": action["Id"],
                    "ActionName": action["Name"],
                    "ActionNumber": str(number) if len(step["Actions"]) == 1 else f"{number}.{position}",
                    "Roles": _roles(step, action),
                    "Machines": [{"Id": item["Id"], "Name": item["Name"]} for item in machines or ()],
                    "MachineNames": [item["Name"] for item in machines or ()],
                    "CanBeSkipped": not action["IsRequired"],
                    "IsDisabled": action["IsDisabled"],
                    "HasNoApplicableMachines": machines == [],
                    "UnavailableMachines": [],
                    "ExcludedMachines": [],
                }
            )
    prompts = prompted(state, release, environment, tenant)
    return {
        "StepsToExecute": steps,
        "Form": {
            "Values": {
                item["Id"]: item["Value"] if isinstance(item["Value"], str) else "" for item in prompts
            },
            "Elements": [
                {
                    "Name": item["Id"],
                    "IsValueRequired": bool(item["Prompt"].get("Required")),
                    "Control": {
                        "Type": "VariableValue",
                        "Name": item["Name"],
                        "Label": item["Prompt"].get("Label") or item["Name"],
                        "Description": item["Prompt"].get("Description") or "",
                        "IsSecure": item["IsSensitive"],
                        "Required": bool(item["Prompt"].get("Required")),
                        "DisplaySettings": item["Prompt"].get("DisplaySettings")
                        or {"Octopus.ControlType": "SingleLineText"},
                    },
                }
                for item in prompts
            ],
        },
        "UseGuidedFailureModeByDefault": runs.guided_by_default(state, release, environment),
        "Changes": [],
        "ChangesMarkdown": "",
    }


def _roles(step: Document, action: Document) -> list[str]:
    roles = text_of(step["Properties"].get(ROLES)) or text_of(action["Properties"].get(ROLES))
    return [role.strip() for role in roles.split(",") if role.strip()]


def prompted(
    state: State, release: Document, environment: Document, tenant: Document | None
) -> list[Document]:
    """The variables of the release that ask for a value there."""
    where = where_of(state, release, environment, tenant)
    return [item for item in variables_in(state, release) if item["Prompt"] and where.admits(item["Scope"])]


# --- progressions --------------------------------------------------------------------------------------------------


def release_progression(request: Request) -> Document:
    """Source: OctopusClients, Model/LifecycleProgressionResource.cs."""
    release, state = release_of(request), request.state
    phases = lifecycles.phases_of_release(state, release)
    deployed = lifecycles.deployed_environments(state, release)
    current = lifecycles.current_index(phases, deployed)
    rows = []
    for index, phase in enumerate(phases):
        deployments = [
            item
            for item in reversed(state.where("Deployments", ReleaseId=release["Id"]))
            if item["EnvironmentId"] in phase.environments
        ]
        rows.append(
            {
                "Id": phase.id,
                "Name": phase.name,
                "Progress": "Complete" if index < current else "Current" if index == current else "Pending",
                "Blocked": is_blocked(release) and index > current,
                "IsOptionalPhase": phase.can_be_skipped,
                "AutomaticDeploymentTargets": list(phase.automatic),
                "OptionalDeploymentTargets": list(phase.optional),
                "MinimumEnvironmentsBeforePromotion": phase.minimum,
                "Deployments": [
                    {
                        "Task": request.show("ServerTasks", state.task_of(item).document(state.clock)),
                        "Deployment": request.show("Deployments", item),
                    }
                    for item in deployments
                ],
            }
        )
    return {
        "Phases": rows,
        "NextDeployments": [
            identifier
            for identifier in allowed_environments(state, release, None)
            if identifier not in deployed
        ],
        "NextDeploymentsMinimumRequired": phases[current].minimum if current < len(phases) else 0,
        "HasUnresolvedDefect": is_blocked(release),
        "ReleaseRetentionPolicyDetails": [],
        "TentacleRetentionPolicyDetails": [],
        "Links": {},
    }


def lifecycle_preview(request: Request) -> Document:
    lifecycle = request.find_named("Lifecycles", request.argument("id"))
    document = request.show("Lifecycles", lifecycle)
    document["Phases"] = [
        {
            "Id": phase.id,
            "Name": phase.name,
            "AutomaticDeploymentTargets": list(phase.automatic),
            "OptionalDeploymentTargets": list(phase.optional),
            "MinimumEnvironmentsBeforePromotion": phase.minimum,
            "IsOptionalPhase": phase.can_be_skipped,
        }
        for phase in lifecycles.phases_of(request.state, lifecycle)
    ]
    return document


def project_progression(request: Request) -> Document:
    """Source: docs, API reference, progression."""
    project, state = project_of(request), request.state
    count = request.query.number("releaseHistoryCount", 3)
    if not 1 <= count <= 100:
        raise refusals.BAD_REQUEST(reason="releaseHistoryCount must be between 1 and 100.")
    lifecycle = lifecycles.lifecycle_of(state, project, None)
    phases = lifecycles.phases_of(state, lifecycle) if lifecycle else ()
    reached = list(dict.fromkeys(identifier for phase in phases for identifier in phase.environments))
    environments = [
        {"Id": identifier, "Name": state.get("Environments", identifier)["Name"]} for identifier in reached
    ]
    rows = []
    for release in list(reversed(state.where("Releases", ProjectId=project["Id"])))[:count]:
        deployments: dict[str, list[Document]] = {}
        for item in reversed(state.where("Deployments", ReleaseId=release["Id"])):
            deployments.setdefault(item["EnvironmentId"], []).append(progress_item(state, item))
        rows.append(
            {
                "Release": request.show("Releases", release),
                "Channel": request.show("Channels", state.get("Channels", release["ChannelId"])),
                "Deployments": deployments,
                "NextDeployments": list(allowed_environments(state, release, None)),
                "HasUnresolvedDefect": is_blocked(release),
            }
        )
    return {
        "Releases": rows,
        "Environments": environments,
        "ChannelEnvironments": {
            channel["Id"]: environments for channel in state.where("Channels", ProjectId=project["Id"])
        },
        "LifecycleEnvironments": {lifecycle["Id"]: environments} if lifecycle else {},
        "Links": {},
    }


def progress_item(state: State, deployment: Document) -> Document:
    """One cell of a dashboard or progression, without its place among the others.

    Source: docs, API reference, dashboard; go-octopusdeploy, pkg/dashboard (recorded: Id is the deployment's).
    """
    return {
        **run_item(state, deployment),
        "ChannelId": deployment["ChannelId"],
        "ReleaseId": deployment["ReleaseId"],
        "ReleaseVersion": state.get("Releases", deployment["ReleaseId"])["Version"],
        "DeploymentId": deployment["Id"],
        "IsCurrent": next(runs.in_same_cell(state, deployment)) is deployment,
        "IsPrevious": False,
        "Links": links_of("Deployments", deployment, state.virtual_directory),
    }


def run_item(state: State, run: Document) -> Document:
    """What the cells of deployments and of runbook runs have in common."""
    task = state.task_of(run).document(state.clock)
    copied = (
        "State", "IsCompleted", "HasWarningsOrErrors", "HasPendingInterruptions", "HasPendingPreconditions",
        "PendingInterruptionTypes", "ErrorMessage", "Duration", "QueueTime", "StartTime", "CompletedTime",
    )  # fmt: skip
    own = ("Id", "ProjectId", "EnvironmentId", "TenantId", "TaskId", "Created")
    return {**{name: run[name] for name in own}, **{name: task[name] for name in copied}}
