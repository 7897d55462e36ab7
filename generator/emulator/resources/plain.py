"""Collections that are only kept: list, all, get, create, modify, delete, the same for every Kind in the table."""

from __future__ import annotations

from collections.abc import Callable

from generator.emulator import kinds, refusals
from generator.emulator.documents import Document, shown
from generator.emulator.kinds import Kind
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import tenants
from generator.emulator.routing import Route
from generator.emulator.state import State


def routes(kind: Kind) -> tuple[Route, ...]:
    path, view = kind.path, kind.permission_to("View")
    return (
        Route("GET", path, lambda request: list_page(request, kind), view),
        Route("GET", f"{path}/all", lambda request: list_all(request, kind), view),
        Route("GET", f"{path}/{{id}}", lambda request: get(request, kind), view),
        Route("POST", path, lambda request: create(request, kind), kind.permission_to("Create")),
        Route("PUT", f"{path}/{{id}}", lambda request: modify(request, kind), kind.permission_to("Edit")),
        Route(
            "DELETE", f"{path}/{{id}}", lambda request: delete(request, kind), kind.permission_to("Delete")
        ),
    )


def found(request: Request, kind: Kind) -> list[Document]:
    """Documents of a list in their order, narrowed by the filters that every list has and those of this kind."""
    documents = sorted(narrowed(request, request.visible(kind.collection)), key=kind.order)
    for passes in FILTERS.get(kind.collection, ()):
        documents = [document for document in documents if passes(request, document)]
    return documents


def list_page(request: Request, kind: Kind) -> Document:
    return request.page_of(kind.name, kind.collection, found(request, kind))


def list_all(request: Request, kind: Kind) -> list[Document]:
    return request.show_all(kind.collection, found(request, kind))


def get(request: Request, kind: Kind) -> Document:
    return request.show(kind.collection, request.find_named(kind.collection, request.argument("id")))


def create(request: Request, kind: Kind) -> Answer:
    document = new(request.state, kind, request.document(), space_id=request.space_id)
    return created(request.show(kind.collection, document))


def new(state: State, kind: Kind, body: Document, *, space_id: str) -> Document:
    """A stored document of that kind. Errors: Refused for a missing or used name."""
    document: Document = {"Id": "", "SpaceId": space_id, **kind.fields(body)}
    _check_name(state, kind, document)
    if kind.has_slug:
        document["Slug"] = state.free_slug(kind.collection, str(document["Name"]), SpaceId=space_id)
    if kind is kinds.ENVIRONMENTS and document["SortOrder"] is None:
        document["SortOrder"] = len(state.where(kind.collection, SpaceId=space_id))
    if kind is kinds.LIFECYCLES:
        _complete_phases(state, document)
    if kind is kinds.TAG_SETS:
        document["Id"] = state.next_id(kind.collection)
        tenants.complete_tags(state, document)
        return state.add(kind.collection, document, identifier=document["Id"])
    return state.add(kind.collection, document)


def modify(request: Request, kind: Kind) -> Document:
    document = request.find_named(kind.collection, request.argument("id"))
    after = {**document, **kind.fields(request.document(), document)}
    _check_name(request.state, kind, after)
    if kind is kinds.LIFECYCLES:
        _complete_phases(request.state, after)
    if kind is kinds.TAG_SETS:
        tenants.complete_tags(request.state, after)
    document.update(after)
    request.state.changed.notify_all()
    return request.show(kind.collection, document)


def delete(request: Request, kind: Kind) -> Document:
    document = request.find_named(kind.collection, request.argument("id"))
    find_users = USERS.get(kind.collection)
    users = find_users(request.state, document) if find_users else []
    if users:
        raise refusals.IN_USE(kind=kind.name, users=", ".join(sorted(users)))
    del request.state.collection(kind.collection)[document["Id"]]
    return {}


def _check_name(state: State, kind: Kind, document: Document) -> None:
    name = document.get("Name")
    if not isinstance(name, str) or not name.strip():
        raise refusals.REQUIRED(field="Name")
    for other in state.where(kind.collection, SpaceId=document["SpaceId"]):
        if other["Id"] != document["Id"] and other["Name"].casefold() == name.casefold():
            raise refusals.DUPLICATE_NAME(kind=kind.name, name=name)


def _complete_phases(state: State, document: Document) -> None:
    """Fills what a phase leaves out (source: go-octopusdeploy, pkg/lifecycles/lifecycle_test.go, recorded)."""
    phases = []
    for number, phase in enumerate(document["Phases"] or ()):
        complete: Document = {
            "Id": phase.get("Id") or f"{document.get('Id') or 'phase'}-{number + 1}",
            "Name": phase.get("Name") or f"Phase {number + 1}",
            "AutomaticDeploymentTargets": list(phase.get("AutomaticDeploymentTargets") or ()),
            "OptionalDeploymentTargets": list(phase.get("OptionalDeploymentTargets") or ()),
            "MinimumEnvironmentsBeforePromotion": phase.get("MinimumEnvironmentsBeforePromotion") or 0,
            "IsOptionalPhase": bool(phase.get("IsOptionalPhase")),
            "IsPriorityPhase": bool(phase.get("IsPriorityPhase")),
            "ReleaseRetentionPolicy": phase.get("ReleaseRetentionPolicy"),
            "TentacleRetentionPolicy": phase.get("TentacleRetentionPolicy"),
        }
        for environment in complete["AutomaticDeploymentTargets"] + complete["OptionalDeploymentTargets"]:
            if state.find("Environments", environment) is None:
                raise refusals.UNKNOWN_REFERENCE(field="Environment", value=environment)
        phases.append(complete)
    document["Phases"] = phases


def _users_of_environment(state: State, document: Document) -> list[str]:
    inside = [
        lifecycle["Name"]
        for lifecycle in state.where("Lifecycles", SpaceId=document["SpaceId"])
        for phase in lifecycle["Phases"]
        if document["Id"] in phase["AutomaticDeploymentTargets"] + phase["OptionalDeploymentTargets"]
    ]
    return inside + [item["Name"] for item in state.where("Deployments", EnvironmentId=document["Id"])]


def _users_of_group(state: State, document: Document) -> list[str]:
    return [item["Name"] for item in state.where("Projects", ProjectGroupId=document["Id"])]


def _users_of_lifecycle(state: State, document: Document) -> list[str]:
    users = state.where("Projects", LifecycleId=document["Id"]) + state.where(
        "Channels", LifecycleId=document["Id"]
    )
    return [item["Name"] for item in users]


# Who keeps a document of a collection from being deleted (that they do: every refusal in the portal; our texts).
USERS: dict[str, Callable[[State, Document], list[str]]] = {
    "Environments": _users_of_environment,
    "ProjectGroups": _users_of_group,
    "Lifecycles": _users_of_lifecycle,
}


def _any_of(parameter: str, field_name: str) -> Callable[[Request, Document], bool]:
    """Passes documents whose list holds one of the values of the parameter."""

    def passes(request: Request, document: Document) -> bool:
        wanted = request.query.all(parameter)
        return not wanted or bool(set(wanted) & set(document.get(field_name) or ()))

    return passes


def _tenant_of_project(request: Request, document: Document) -> bool:
    project = request.query.first("projectId")
    return project is None or project in document["ProjectEnvironments"]


# Filters beside ids, name and partialName (source: the link templates in the recorded root document).
FILTERS: dict[str, tuple[Callable[[Request, Document], bool], ...]] = {
    "Machines": (_any_of("roles", "Roles"), _any_of("environmentIds", "EnvironmentIds"), _any_of("tenantIds", "TenantIds")),
    "Workers": (_any_of("workerPoolIds", "WorkerPoolIds"),),
    "Tenants": (_tenant_of_project, _any_of("tags", "TenantTags")),
    "Feeds": (
        lambda request, item: request.query.first("feedType") in (None, item["FeedType"]),
    ),
}  # fmt: skip


def machine_roles(request: Request) -> list[str]:
    return sorted({role for machine in request.visible("Machines") for role in machine["Roles"]})


def machines_of_environment(request: Request) -> Document:
    environment = request.find_named("Environments", request.argument("id"))
    machines = [item for item in request.visible("Machines") if environment["Id"] in item["EnvironmentIds"]]
    return request.page_of("DeploymentTarget", "Machines", sorted(machines, key=kinds.MACHINES.order))


def sort_environments(request: Request) -> list[Document]:
    """`PUT environments/sortorder` with the ids in their new order answers all environments."""
    ids = request.body if isinstance(request.body, list) else []
    for number, identifier in enumerate(ids):
        request.find("Environments", identifier)["SortOrder"] = number
    return request.show_all("Environments", request.state.environments(request.space_id))


def environments_v2(request: Request) -> Document:
    """The newer list, which knows other types too (source: api-client.ts, environmentV2Repository.ts). All here are Static."""
    wanted = request.query.first("type")
    found = list_page(request, kinds.ENVIRONMENTS)
    if wanted not in (None, "Static"):
        return request.page("Environment", (), shown)
    for item in found["Items"]:
        item["Type"] = "Static"
    return found


def projects_of(request: Request, field_name: str, collection: str) -> Document:
    owner = request.find_named(collection, request.argument("id"))
    projects = sorted(request.visible("Projects", **{field_name: owner["Id"]}), key=kinds.PROJECTS.order)
    return request.page_of("Project", "Projects", projects)


def workers_of_pool(request: Request) -> Document:
    pool = request.find_named("WorkerPools", request.argument("id"))
    workers = [item for item in request.visible("Workers") if pool["Id"] in item["WorkerPoolIds"]]
    return request.page_of("Worker", "Workers", sorted(workers, key=kinds.WORKERS.order))


def empty_page(item_type: str) -> Callable[[Request], Document]:
    """A list that this emulator knows and that is always empty here."""
    return lambda request: request.page(item_type, (), shown)
