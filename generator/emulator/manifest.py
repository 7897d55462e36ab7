"""The variables of a deployment: what a step's script sees under which name, and what of it is secret.

Source: docs, System variables; docs, Output variables; OctopusDeploy/Issues 3814 (a project or library variable beats the
parameter of a step template with the same name, with a warning); OctopusDeploy-Api, GetVariableValueFromADeployment.ps1
(the manifest is readable as `variableset-Deployments-N`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from generator.emulator import versions
from generator.emulator.clock import iso
from generator.emulator.documents import Document, Secret, text_of
from generator.emulator.octostache import SelfReferenceError, Variables
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
    """Stores the manifest: the variables that could apply to the deployment, prompted ones with their answers."""
    where = where_of_deployment(state, deployment)
    variables = []
    for item in variables_in(state, state.get("Releases", deployment["ReleaseId"])):
        if not where.could_admit(item["Scope"]):
            continue
        if item["Prompt"] and item["Id"] in answers:
            value = answers[item["Id"]]
            item = {**item, "Value": Secret(value, bare=True) if item["IsSensitive"] else value}
        variables.append(item)
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


def where_of_deployment(state: State, deployment: Document) -> Where:
    environment = state.get("Environments", deployment["EnvironmentId"])
    tenant = state.find("Tenants", deployment["TenantId"])
    where = where_of(state, state.get("Releases", deployment["ReleaseId"]), environment, tenant)
    return replace(where, channel=deployment["ChannelId"])


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
    """The documented system variables of a deployment that are not about a step."""
    space = state.get("Spaces", deployment["SpaceId"])
    project = state.get("Projects", deployment["ProjectId"])
    group = state.get("ProjectGroups", project["ProjectGroupId"])
    environment = state.get("Environments", deployment["EnvironmentId"])
    release = state.get("Releases", deployment["ReleaseId"])
    channel = state.get("Channels", deployment["ChannelId"])
    tenant = state.find("Tenants", deployment["TenantId"])
    user = state.get("Users", deployment["DeployedById"])
    web = f"{state.virtual_directory}/app#/{space['Id']}"
    values: dict[str, object] = {
        CONCURRENCY_TAG: TAG_TENANTED if tenant else TAG_UNTENANTED,
        "Octopus.Web.ServerUri": state.base_url,
        "Octopus.Web.BaseUrl": state.base_url,
        "Octopus.Web.ProjectLink": f"{web}/projects/{project['Id']}",
        "Octopus.Web.ReleaseLink": f"{web}/releases/{release['Id']}",
        "Octopus.Web.DeploymentLink": f"{web}/deployments/{deployment['Id']}",
        "Octopus.Space.Id": space["Id"],
        "Octopus.Space.Name": space["Name"],
        "Octopus.Task.Id": task.id,
        "Octopus.Task.Name": task.name,
        "Octopus.Task.QueueTime": iso(task.queue_time),
        "Octopus.Task.QueueTimeExpiry": iso(task.queue_time_expiry),
        "Octopus.Task.Argument[DeploymentId]": deployment["Id"],
        "Octopus.Deployment.Id": deployment["Id"],
        "Octopus.Deployment.Name": deployment["Name"],
        "Octopus.Deployment.Comments": deployment["Comments"],
        "Octopus.Deployment.Created": deployment["Created"],
        "Octopus.Deployment.CreatedBy.Id": user["Id"],
        "Octopus.Deployment.CreatedBy.Username": user["Username"],
        "Octopus.Deployment.CreatedBy.DisplayName": user["DisplayName"],
        "Octopus.Deployment.CreatedBy.EmailAddress": user["EmailAddress"],
        "Octopus.Deployment.ForcePackageDownload": str(deployment["ForcePackageDownload"]),
        "Octopus.Deployment.Machines": ",".join(_machines(state, deployment)),
        "Octopus.Deployment.SpecificMachines": ",".join(deployment["SpecificMachineIds"]),
        "Octopus.Deployment.ExcludedMachines": ",".join(deployment["ExcludedMachineIds"]),
        "Octopus.Release.Id": release["Id"],
        "Octopus.Release.Number": release["Version"],
        "Octopus.Release.Notes": release["ReleaseNotes"],
        "Octopus.Release.Created": release["Assembled"],
        "Octopus.Release.Channel.Name": channel["Name"],
        "Octopus.Environment.Id": environment["Id"],
        "Octopus.Environment.Name": environment["Name"],
        "Octopus.Environment.SortOrder": str(environment["SortOrder"]),
        "Octopus.Project.Id": project["Id"],
        "Octopus.Project.Name": project["Name"],
        "Octopus.ProjectGroup.Id": group["Id"],
        "Octopus.ProjectGroup.Name": group["Name"],
        "Octopus.WorkerPool.Id": "",
        **_around_release(state, deployment, release),
    }
    if tenant is not None:
        values["Octopus.Deployment.Tenant.Id"] = tenant["Id"]
        values["Octopus.Deployment.Tenant.Name"] = tenant["Name"]
        values["Octopus.Deployment.Tenant.Tags"] = ",".join(tenant["TenantTags"])
    return {name: text_of(value) for name, value in values.items()}


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
