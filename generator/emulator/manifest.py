"""The variables of a deployment: what a step's script sees under which name, and what of it is secret.

Source: docs, System variables; docs, Output variables; OctopusDeploy/Issues 3814 (a project or library variable beats the
parameter of a step template with the same name, with a warning); OctopusDeploy-Api, GetVariableValueFromADeployment.ps1
(the manifest is readable as `variableset-Deployments-N`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from generator.emulator import runs, versions
from generator.emulator.clock import iso
from generator.emulator.documents import Document, Secret, text_of
from generator.emulator.octostache import SelfReferenceError, Variables
from generator.emulator.resources import tenants
from generator.emulator.scoping import Where, chosen, variables_in, where_of
from generator.emulator.state import State
from generator.emulator.tasks import SUCCESS, Task

CONCURRENCY_TAG = "Octopus.Task.ConcurrencyTag"
TAG_UNTENANTED = "#" + "{Octopus.Project.Id}/#" + "{Octopus.Environment.Id}"
TAG_TENANTED = "#" + "{Octopus.Deployment.Tenant.Id}/" + TAG_UNTENANTED


@dataclass(frozen=True)
class Output:
    """An output variable that an action set on a machine."""

    action: str
    machine: str
    name: str
    value: str
    sensitive: bool = False

    def __repr__(self) -> str:
        return f"Output({self.action!r}, {self.name!r})"


@dataclass(frozen=True)
class StepVariables:
    """Raw values by name; `sensitive` are the names whose values no log may show; `duplicates` are the parameters of the
    step that a project or library variable hides."""

    values: Mapping[str, str] = field(repr=False)
    sensitive: frozenset[str]
    duplicates: tuple[str, ...]


def write(state: State, deployment: Document, answers: Mapping[str, str]) -> None:
    """Stores the manifest: the variables that could apply to the deployment, prompted ones with their answers, and the
    tenant's own values, which come after the project's (which of both wins is unconfirmed)."""
    where = where_of_deployment(state, deployment)
    variables = []
    for item in variables_in(state, runs.frozen_of(state, deployment)):
        if not where.could_admit(item["Scope"]):
            continue
        if item["Prompt"] and item["Id"] in answers:
            value = answers[item["Id"]]
            item = {**item, "Value": Secret(value, bare=True) if item["IsSensitive"] else value}
        variables.append(item)
    tenant = state.find("Tenants", deployment["TenantId"])
    if tenant is not None:
        project = state.get("Projects", deployment["ProjectId"])
        variables.extend(tenants.variables_for(state, tenant, project, deployment["EnvironmentId"]))
    state.add(
        "Variables",
        {
            "SpaceId": deployment["SpaceId"],
            "OwnerId": deployment["Id"],
            "Version": 0,
            "Variables": variables,
            "_frozen": True,
        },
        identifier=deployment["ManifestVariableSetId"],
    )


def add_outputs(state: State, deployment: Document, outputs: Iterable[Output]) -> None:
    """Puts a step's output variables into the manifest, whether it succeeded or not. That the real manifest holds them, and
    under these names, is unconfirmed; the Library's Chain Deployment reads them from there."""
    found = state.find("Variables", deployment["ManifestVariableSetId"])
    if found is None:
        return
    for output in outputs:
        name = f"Octopus.Action[{output.action}].Output.{output.name}"
        found["Variables"] = [item for item in found["Variables"] if item["Name"] != name]
        found["Variables"].append(
            {
                "Id": str(uuid.uuid4()),
                "Name": name,
                "Value": Secret(output.value, bare=True) if output.sensitive else output.value,
                "Description": "",
                "Type": "Sensitive" if output.sensitive else "String",
                "IsSensitive": output.sensitive,
                "IsEditable": False,
                "Scope": {},
                "Prompt": None,
            }
        )


def where_of_deployment(state: State, deployment: Document) -> Where:
    environment = state.get("Environments", deployment["EnvironmentId"])
    tenant = state.find("Tenants", deployment["TenantId"])
    where = where_of(state, runs.frozen_of(state, deployment), environment, tenant)
    return replace(where, channel=deployment.get("ChannelId"))


def concurrency_tag(state: State, deployment: Document, task: Task) -> str:
    """The evaluated `Octopus.Task.ConcurrencyTag`: by default one task for each project, environment and tenant."""
    step = for_deployment(state, deployment, task)
    try:
        tag = Variables(step.values).get(CONCURRENCY_TAG)
    except SelfReferenceError:
        tag = None
    return tag or f"{deployment['TenantId']}/{deployment['ProjectId']}/{deployment['EnvironmentId']}"


def for_deployment(state: State, deployment: Document, task: Task) -> StepVariables:
    """What holds for the whole deployment, outside any step."""
    return _merged(
        state,
        deployment,
        system_variables(state, deployment, task),
        {},
        (),
        where_of_deployment(state, deployment),
    )


def for_action(
    state: State,
    deployment: Document,
    task: Task,
    *,
    step: Mapping[str, str],
    properties: Mapping[str, object],
    outputs: Iterable[Output],
    where: Where,
) -> StepVariables:
    """What one action sees on one machine. `step` are the system variables of the step and action."""
    system = {**system_variables(state, deployment, task), **step}
    return _merged(state, deployment, system, properties, outputs, where)


def _merged(
    state: State,
    deployment: Document,
    system: Mapping[str, str],
    properties: Mapping[str, object],
    outputs: Iterable[Output],
    where: Where,
) -> StepVariables:
    """Later ones win: plain names of outputs, system variables, the step's properties, project and library variables,
    qualified outputs. Names are compared without regard to case."""
    values: dict[str, str] = {}
    spelled: dict[str, str] = {}
    sensitive: set[str] = set()

    def put(name: str, value: object, *, secret: bool) -> None:
        old = spelled.get(name.casefold())
        if old is not None:
            values.pop(old, None)
            sensitive.discard(old)
        spelled[name.casefold()] = name
        values[name] = text_of(value)
        if secret:
            sensitive.add(name)

    collected = tuple(outputs)
    for output in collected:
        put(output.name, output.value, secret=output.sensitive)
    for name, text in system.items():
        put(name, text, secret=False)
    for name, value in properties.items():
        if value is not None:
            put(name, value, secret=isinstance(value, Secret))
    own_names = {name.casefold() for name in properties if not name.lower().startswith("octopus.")}
    manifest = state.get("Variables", deployment["ManifestVariableSetId"])
    duplicates = []
    for name, item in chosen(manifest["Variables"], where).items():
        if name.casefold() in own_names:
            duplicates.append(name)
        put(name, item["Value"], secret=isinstance(item["Value"], Secret))
    for output in collected:
        for qualified in (
            f"Octopus.Action[{output.action}].Output.{output.name}",
            f"Octopus.Action[{output.action}].Output[{output.machine}].{output.name}",
        ):
            put(qualified, output.value, secret=output.sensitive)
    return StepVariables(values, frozenset(sensitive), tuple(duplicates))


def system_variables(state: State, deployment: Document, task: Task) -> dict[str, str]:
    """The documented system variables that are not about a step. A runbook run has none of a release or a deployment, except
    the tenant's (source: docs, System variables)."""
    space = state.get("Spaces", deployment["SpaceId"])
    project = state.get("Projects", deployment["ProjectId"])
    group = state.get("ProjectGroups", project["ProjectGroupId"])
    environment = state.get("Environments", deployment["EnvironmentId"])
    tenant = state.find("Tenants", deployment["TenantId"])
    web = f"{state.virtual_directory}/app#/{space['Id']}"
    values: dict[str, object] = {
        CONCURRENCY_TAG: TAG_TENANTED if tenant else TAG_UNTENANTED,
        "Octopus.Web.ServerUri": state.base_url,
        "Octopus.Web.BaseUrl": state.base_url,
        "Octopus.Web.ProjectLink": f"{web}/projects/{project['Id']}",
        "Octopus.Space.Id": space["Id"],
        "Octopus.Space.Name": space["Name"],
        "Octopus.Task.Id": task.id,
        "Octopus.Task.Name": task.name,
        "Octopus.Task.QueueTime": iso(task.queue_time),
        "Octopus.Task.QueueTimeExpiry": iso(task.queue_time_expiry),
        f"Octopus.Task.Argument[{runs.kind_of(deployment).argument}]": deployment["Id"],
        "Octopus.Environment.Id": environment["Id"],
        "Octopus.Environment.Name": environment["Name"],
        "Octopus.Environment.SortOrder": str(environment["SortOrder"]),
        "Octopus.Project.Id": project["Id"],
        "Octopus.Project.Name": project["Name"],
        "Octopus.ProjectGroup.Id": group["Id"],
        "Octopus.ProjectGroup.Name": group["Name"],
        "Octopus.WorkerPool.Id": "",
        **(
            _of_runbook(state, deployment, web)
            if "RunbookId" in deployment
            else _of_release(state, deployment, web)
        ),
    }
    if tenant is not None:
        values["Octopus.Deployment.Tenant.Id"] = tenant["Id"]
        values["Octopus.Deployment.Tenant.Name"] = tenant["Name"]
        values["Octopus.Deployment.Tenant.Tags"] = ",".join(tenant["TenantTags"])
    return {name: text_of(value) for name, value in values.items()}


def _of_release(state: State, deployment: Document, web: str) -> dict[str, object]:
    release = state.get("Releases", deployment["ReleaseId"])
    return {
        "Octopus.Web.ReleaseLink": f"{web}/releases/{release['Id']}",
        "Octopus.Web.DeploymentLink": f"{web}/deployments/{deployment['Id']}",
        **_about("Octopus.Deployment", state, deployment),
        "Octopus.Release.Id": release["Id"],
        "Octopus.Release.Number": release["Version"],
        "Octopus.Release.Notes": release["ReleaseNotes"],
        "Octopus.Release.Created": release["Assembled"],
        "Octopus.Release.Channel.Name": state.get("Channels", deployment["ChannelId"])["Name"],
        **_around_release(state, deployment, release),
    }


def _of_runbook(state: State, run: Document, web: str) -> dict[str, object]:
    runbook = state.get("Runbooks", run["RunbookId"])
    snapshot = state.get("RunbookSnapshots", run["RunbookSnapshotId"])
    link = f"{web}/projects/{run['ProjectId']}/operations/runbooks/{runbook['Id']}/snapshots/{snapshot['Id']}/runs/{run['Id']}"
    return {
        "Octopus.Web.RunbookRunLink": link,
        **_about("Octopus.RunbookRun", state, run),
        "Octopus.Runbook.Id": runbook["Id"],
        "Octopus.Runbook.Name": runbook["Name"],
        "Octopus.RunbookSnapshot.Id": snapshot["Id"],
        "Octopus.RunbookSnapshot.Name": snapshot["Name"],
        "Octopus.RunbookSnapshot.Notes": snapshot["Notes"],
    }


def _about(prefix: str, state: State, run: Document) -> dict[str, object]:
    user = state.get("Users", run["DeployedById"])
    return {
        f"{prefix}.Id": run["Id"],
        f"{prefix}.Name": run["Name"],
        f"{prefix}.Comments": run["Comments"],
        f"{prefix}.Created": run["Created"],
        f"{prefix}.CreatedBy.Id": user["Id"],
        f"{prefix}.CreatedBy.Username": user["Username"],
        f"{prefix}.CreatedBy.DisplayName": user["DisplayName"],
        f"{prefix}.CreatedBy.EmailAddress": user["EmailAddress"],
        f"{prefix}.ForcePackageDownload": str(run["ForcePackageDownload"]),
        f"{prefix}.Machines": ",".join(_machines(state, run)),
        f"{prefix}.SpecificMachines": ",".join(run["SpecificMachineIds"]),
        f"{prefix}.ExcludedMachines": ",".join(run["ExcludedMachineIds"]),
    }


def _machines(state: State, deployment: Document) -> list[str]:
    return [
        machine["Id"]
        for machine in state.where("Machines", SpaceId=deployment["SpaceId"])
        if deployment["EnvironmentId"] in machine["EnvironmentIds"] and not machine["IsDisabled"]
    ]


def _around_release(state: State, deployment: Document, release: Document) -> dict[str, object]:
    """Releases before this one: in the project, in the environment, and the one that is there now."""
    order = versions.order(release["Version"])
    before = [
        item
        for item in state.where("Releases", ProjectId=release["ProjectId"])
        if versions.order(item["Version"]) < order
    ]
    previous = max(before, key=lambda item: versions.order(item["Version"]), default=None)
    in_cell = [
        item
        for item in state.deployments_of(
            project=deployment["ProjectId"],
            environment=deployment["EnvironmentId"],
            tenant=deployment["TenantId"],
            states=(SUCCESS,),
        )
        if item["Id"] != deployment["Id"]
    ]
    there = [state.get("Releases", item["ReleaseId"]) for item in in_cell]
    other = next((item for item in there if item["Id"] != release["Id"]), None)
    values: dict[str, object] = {}
    for name, found in (
        ("Previous", previous),
        ("PreviousForEnvironment", other),
        ("CurrentForEnvironment", there[0] if there else None),
    ):
        values[f"Octopus.Release.{name}.Id"] = found["Id"] if found else ""
        values[f"Octopus.Release.{name}.Number"] = found["Version"] if found else ""
    values["Octopus.Deployment.PreviousSuccessful.Id"] = in_cell[0]["Id"] if in_cell else ""
    return values
