"""Variable sets of projects, library sets and deployments; library variable sets themselves."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from generator.emulator import refusals
from generator.emulator.documents import Document, Secret
from generator.emulator.kinds import LIBRARY_SETS
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.resources.projects import project_of
from generator.emulator.resources.tenants import complete_templates, tags_of
from generator.emulator.shapes import objects
from generator.emulator.state import State, snapshot_suffix

# Source: OctopusClients, Model/VariableType.cs.
TYPES = (
    "String", "Sensitive", "Certificate", "AmazonWebServicesAccount", "AzureAccount", "GoogleCloudAccount",
    "UsernamePasswordAccount", "GenericOidcAccount", "WorkerPool",
)  # fmt: skip


def get(request: Request) -> Document:
    return _show(request, request.find("Variables", request.argument("id")))


def get_of_project(request: Request) -> Document:
    return _show(request, request.state.get("Variables", project_of(request)["VariableSetId"]))


def list_sets(request: Request) -> list[Document]:
    """`GET variables?ids=` answers a bare array (source: go-octopusdeploy, pkg/variables)."""
    ids = request.query.all("ids")
    return [_show(request, item) for item in request.visible("Variables") if item["Id"] in ids]


def all_sets(request: Request) -> list[Document]:
    """Every set that is not a snapshot (source: Swagger of Octopus Server 2020.5)."""
    return [_show(request, item) for item in request.visible("Variables") if not item.get("_frozen")]


def _show(request: Request, variables: Document) -> Document:
    document = request.show("Variables", variables)
    document["ScopeValues"] = _scope_values(request.state, variables)
    return document


def _scope_values(state: State, variables: Document) -> Document:
    """What the variables of this set could be scoped to, as `{Id, Name}`."""
    here = variables["SpaceId"]

    def named(documents: list[Document]) -> list[Document]:
        return [{"Id": item["Id"], "Name": item["Name"]} for item in documents]

    roles = sorted({role for machine in state.where("Machines", SpaceId=here) for role in machine["Roles"]})
    project = state.find("Projects", variables["OwnerId"])
    actions: list[Document] = []
    channels: list[Document] = []
    if project is not None:
        process = state.get("DeploymentProcesses", project["DeploymentProcessId"])
        actions = [action for step in process["Steps"] for action in step["Actions"]]
        channels = state.where("Channels", ProjectId=project["Id"])
    return {
        "Environments": named(state.environments(here)),
        "Machines": named(state.where("Machines", SpaceId=here)),
        "Actions": named(actions),
        "Roles": [{"Id": role, "Name": role} for role in roles],
        "Channels": named(channels),
        "TenantTags": tags_of(state, here),
        "Processes": [],
    }


def modify(request: Request) -> Document:
    return _show(request, _replace(request, request.find("Variables", request.argument("id"))))


def modify_of_project(request: Request) -> Document:
    """Answers `{}` (source: docs, API reference, variables)."""
    _replace(request, request.state.get("Variables", project_of(request)["VariableSetId"]))
    return {}


def _replace(request: Request, variables: Document) -> Document:
    """The set with new variables and Version + 1; the `Version` must be the one that was read."""
    body = request.document()
    if variables.get("_frozen"):
        raise refusals.READ_ONLY()
    if body.get("Version") is None:
        raise refusals.REQUIRED(field="Version")
    if body["Version"] != variables["Version"]:
        raise refusals.STALE_VARIABLES()
    before = {item["Id"]: item for item in variables["Variables"]}
    after = [_completed(item, before) for item in objects(body.get("Variables"), "Variables")]
    if len({item["Id"] for item in after}) != len(after):
        raise refusals.DUPLICATE_VARIABLE_IDS()
    variables["Variables"] = after
    variables["Version"] += 1
    return variables


def _completed(variable: Document, before: dict[str, Document]) -> Document:
    name = variable.get("Name")
    if not isinstance(name, str) or not name.strip():
        raise refusals.REQUIRED(field="Name")
    identifier = variable.get("Id") or str(uuid.uuid4())
    kind = variable.get("Type") or ("Sensitive" if variable.get("IsSensitive") else "String")
    if kind not in TYPES:
        raise refusals.BAD_REQUEST(reason=f"Type must be one of {', '.join(TYPES)}, not '{kind}'.")
    scope = variable.get("Scope") or {}
    prompt = variable.get("Prompt")
    if prompt and set(scope) - {"Environment"}:
        raise refusals.PROMPT_SCOPE()
    sensitive = kind == "Sensitive" or bool(variable.get("IsSensitive"))
    return {
        "Id": identifier,
        "Name": name,
        "Value": _value(variable.get("Value"), before.get(identifier), sensitive=sensitive),
        "Description": variable.get("Description") or "",
        "Type": "Sensitive" if sensitive else kind,
        "IsSensitive": sensitive,
        "IsEditable": variable.get("IsEditable", True),
        "Scope": copy.deepcopy(scope),
        "Prompt": copy.deepcopy(prompt),
    }


def _value(value: Any, before: Document | None, *, sensitive: bool) -> Any:
    """A sensitive variable without a value keeps the one it had (source: OctopusClients, Model/VariableResource.cs)."""
    if not sensitive:
        return None if value is None else str(value)
    if value is not None:
        return Secret(str(value), bare=True)
    old = before["Value"] if before else None
    return old if isinstance(old, Secret) else Secret(old, bare=True)


def names(request: Request) -> list[str]:
    sets = _sets_of(request, request.query.first("project"))
    return sorted({item["Name"] for variables in sets for item in variables["Variables"]}, key=str.casefold)


def _sets_of(request: Request, project_id: str | None) -> list[Document]:
    if project_id is None:
        raise refusals.NO_PROJECT()
    project = request.find_named("Projects", project_id)
    return live_sets(request.state, project)


def live_sets(state: State, project: Document) -> list[Document]:
    """The project's own set first, then those of the library sets that it includes."""
    library = [state.get("LibraryVariableSets", item) for item in project["IncludedLibraryVariableSetIds"]]
    ids = [project["VariableSetId"], *(item["VariableSetId"] for item in library)]
    return [state.get("Variables", identifier) for identifier in ids]


def preview(request: Request) -> Document:
    """The variables of a project that could apply, as a variable set without narrowing by machine or action."""
    query = request.query
    environment, channel = query.first("environment"), query.first("channel")
    kept = [
        item
        for variables in _sets_of(request, query.first("project"))
        for item in variables["Variables"]
        if environment is None or environment in item["Scope"].get("Environment", [environment])
        if channel is None or channel in item["Scope"].get("Channel", [channel])
    ]
    return request.show(
        "", {"Id": "variableset-preview", "SpaceId": request.space_id, "Variables": kept, "Version": 0}
    )


def snapshot(state: State, variables: Document) -> Document:
    """The set as it is now, frozen; one snapshot for each version. The shape of the id is unconfirmed."""
    head = f"{variables['Id']}-s-{variables['Version']}-"
    for identifier, document in state.collection("Variables").items():
        if identifier.startswith(head):
            return document
    frozen = copy.deepcopy(variables)
    frozen["_frozen"] = True
    return state.add("Variables", frozen, identifier=f"{head}{snapshot_suffix()}")


# --- library variable sets -----------------------------------------------------------------------------------------


def list_library(request: Request) -> Document:
    return request.page_of("LibraryVariableSet", "LibraryVariableSets", _library(request))


def all_library(request: Request) -> list[Document]:
    return request.show_all("LibraryVariableSets", _library(request))


def _library(request: Request) -> list[Document]:
    """Without `contentType` both kinds are listed (source: docs, API reference, library variable sets)."""
    content = request.query.first("contentType")
    return [
        item
        for item in sorted(narrowed(request, request.visible("LibraryVariableSets")), key=by_name)
        if content is None or item["ContentType"].casefold() == content.casefold()
    ]


def get_library(request: Request) -> Document:
    return request.show("LibraryVariableSets", request.find("LibraryVariableSets", request.argument("id")))


def create_library(request: Request) -> Answer:
    body, state = request.document(), request.state
    fields = LIBRARY_SETS.fields(body)
    fields["Templates"] = complete_templates(fields["Templates"])
    if not isinstance(fields["Name"], str) or not fields["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    if fields["ContentType"] not in ("Variables", "ScriptModule"):
        raise refusals.BAD_REQUEST(reason="ContentType must be Variables or ScriptModule.")
    request.refuse_duplicate(
        "LibraryVariableSet", "LibraryVariableSets", fields["Name"], SpaceId=request.space_id
    )
    identifier = state.next_id("LibraryVariableSets")
    library = {
        "SpaceId": request.space_id,
        **fields,
        "Version": 0,
        "VariableSetId": f"variableset-{identifier}",
    }
    state.add("LibraryVariableSets", library, identifier=identifier)
    variables = {"SpaceId": request.space_id, "OwnerId": identifier, "Version": 0, "Variables": []}
    state.add("Variables", variables, identifier=library["VariableSetId"])
    return created(request.show("LibraryVariableSets", library))


def modify_library(request: Request) -> Document:
    """`Version` is optional here and not compared: whether a stale one is refused is unconfirmed."""
    library = request.find("LibraryVariableSets", request.argument("id"))
    after = LIBRARY_SETS.fields(request.document(), library)
    after["Templates"] = complete_templates(after["Templates"], library["Templates"])
    request.refuse_duplicate(
        "LibraryVariableSet",
        "LibraryVariableSets",
        after["Name"],
        besides=library["Id"],
        SpaceId=request.space_id,
    )
    library.update({**after, "ContentType": library["ContentType"], "Version": library["Version"] + 1})
    return request.show("LibraryVariableSets", library)


def delete_library(request: Request) -> Document:
    library = request.find("LibraryVariableSets", request.argument("id"))
    users = _projects_with(request.state, library)
    if users:
        raise refusals.IN_USE(kind="LibraryVariableSet", users=", ".join(item["Name"] for item in users))
    del request.state.collection("Variables")[library["VariableSetId"]]
    del request.state.collection("LibraryVariableSets")[library["Id"]]
    return {}


def _projects_with(state: State, library: Document) -> list[Document]:
    return [
        project
        for project in state.where("Projects", SpaceId=library["SpaceId"])
        if library["Id"] in project["IncludedLibraryVariableSetIds"]
    ]


def usages_of_library(request: Request) -> Document:
    """Source: docs, API reference, library variable sets."""
    library = request.find("LibraryVariableSets", request.argument("id"))
    projects = [
        {
            "ProjectId": project["Id"],
            "ProjectName": project["Name"],
            "ProjectSlug": project["Slug"],
            "IsCurrentlyBeingUsedInProject": True,
            "Releases": [],
            "RunbookSnapshots": [],
        }
        for project in _projects_with(request.state, library)
    ]
    return {
        "Projects": projects,
        "CountOfProjectsUserCannotSee": 0,
        "CountOfReleasesUserCannotSee": 0,
        "CountOfRunbookSnapshotsUserCannotSee": 0,
        "Links": {},
    }
