"""The root documents, spaces, users, and what the server says about itself."""

from __future__ import annotations

from generator.emulator import kinds, refusals
from generator.emulator.documents import Document
from generator.emulator.links import root_links
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.resources import plain
from generator.emulator.state import INSTALLATION, VERSION, State

# The first is the name that an earlier api-client.ts asked for (releaseRepository.ts); the others are named alike: unconfirmed.
CAPABILITIES = (
    "CreateReleaseCommandV1", "CreateDeploymentUntenantedCommandV1", "CreateDeploymentTenantedCommandV1",
    "CreateRunbookRunCommandV1",
)  # fmt: skip


def seed(state: State) -> None:
    """The server as installed: one user, one space."""
    state.add(
        "Users",
        {
            "Username": "admin", "DisplayName": "Administrator", "EmailAddress": "admin@example.com", "IsActive": True,
            "IsService": False, "ServiceAccountType": "Standard", "IsRequestor": True, "CanPasswordBeEdited": True,
            "Identities": [], "Created": state.now(),
        },
    )  # fmt: skip
    state.add(
        "Teams",
        {
            "Name": "Octopus Administrators", "Description": "", "SpaceId": None, "MemberUserIds": ["Users-1"],
            "ExternalSecurityGroups": [], "CanBeDeleted": False, "CanBeRenamed": False, "CanChangeRoles": False,
            "CanChangeMembers": True,
        },
        identifier="teams-administrators",
    )  # fmt: skip
    new_space(state, {"Name": "Default", "SpaceManagersTeams": ["teams-administrators"]}, is_default=True)


def new_space(state: State, body: Document, *, is_default: bool = False) -> Document:
    """A space with a lifecycle without phases, a project group, a built-in feed and a worker pool."""
    space = state.add(
        "Spaces",
        {
            "Name": body["Name"],
            "Slug": state.free_slug("Spaces", body["Name"]),
            "Description": body.get("Description"),
            "IsDefault": is_default,
            "IsPrivate": bool(body.get("IsPrivate")),
            "TaskQueueStopped": bool(body.get("TaskQueueStopped")),
            "SpaceManagersTeams": list(body.get("SpaceManagersTeams") or ()),
            "SpaceManagersTeamMembers": list(body.get("SpaceManagersTeamMembers") or ()),
            "Icon": body.get("Icon"),
        },
    )
    here = space["Id"]
    plain.new(state, kinds.LIFECYCLES, {"Name": "Default Lifecycle"}, space_id=here)
    plain.new(state, kinds.PROJECT_GROUPS, {"Name": "Default Project Group"}, space_id=here)
    plain.new(state, kinds.WORKER_POOLS, {"Name": "Default Worker Pool", "IsDefault": True}, space_id=here)
    feed = kinds.FEEDS.fields({"Name": "Octopus Server (built-in)", "FeedType": "BuiltIn"})
    feed.update(SpaceId=here, Slug="octopus-server-built-in")
    state.add("Feeds", feed, identifier="feeds-builtin" if is_default else None)
    return space


def default_space(state: State) -> Document | None:
    return next(iter(state.where("Spaces", IsDefault=True)), None)


def space_named(state: State, identifier: str) -> Document | None:
    """By id or slug, without regard to case (source: docs, API reference: spaceIdentifier)."""
    wanted = identifier.lower()
    for space in state.collection("Spaces").values():
        if wanted in (space["Id"].lower(), space["Slug"]):
            return space
    return None


# --- root ----------------------------------------------------------------------------------------------------------


def root(request: Request) -> Document:
    """Source: docs, API reference, home; OctopusClients, CannedResponses/2019.7.12/api.GET.json."""
    return {
        "Id": None,
        "Application": "Octopus Deploy",
        "Version": VERSION,
        "ApiVersion": "3.0.0",
        "InstallationId": INSTALLATION,
        "IsEarlyAccessProgram": False,
        "HasLongTermSupport": True,
        "Links": root_links(None, request.prefix),
    }


def space_root(request: Request) -> Document:
    return {"Id": request.space_id, "Links": root_links(request.space_id, request.prefix)}


def capabilities(request: Request) -> Document:
    return {"Capabilities": list(CAPABILITIES)}


def server_status(request: Request) -> Document:
    return {
        "Id": "serverstatus",
        "IsInMaintenanceMode": False,
        "MaintenanceExpires": None,
        "IsUpgradeAvailable": False,
        "Links": {
            "Self": f"{request.prefix}/api/serverstatus",
            "Health": f"{request.prefix}/api/serverstatus/health",
        },
    }


def health(request: Request) -> Document:
    return {
        "IsOperatingNormally": True,
        "IsEntireClusterReadOnly": False,
        "IsEntireClusterDrainingTasks": False,
        "IsCompliantWithLicense": True,
        "Description": "",
    }


def feature_toggles(request: Request) -> Document:
    """The Go command line asks for one toggle by name before it deploys (source: cli, pkg/cmd/release/deploy)."""
    name = request.query.first("Name")
    return {"FeatureToggles": [{"Name": name, "IsEnabled": False}] if name else []}


def server_nodes(request: Request) -> Document:
    running = sum(1 for task in request.state.tasks.values() if task.picked_up and not task.is_completed)
    node = {
        "Id": "OCTOSTEPS-EMULATOR",
        "Name": "OCTOSTEPS-EMULATOR",
        "MaxConcurrentTasks": request.state.task_cap,
        "IsInMaintenanceMode": False,
        "LastSeen": request.state.now(),
    }
    summary = {**node, "RunningTaskCount": running, "IsOffline": False}
    if request.path.lower().endswith("/summary"):
        return {"Nodes": [summary], "Links": {}}
    return request.page("OctopusServerNode", [node], dict)


# --- spaces --------------------------------------------------------------------------------------------------------


def list_spaces(request: Request) -> Document:
    return request.page_of("Space", "Spaces", _spaces(request))


def all_spaces(request: Request) -> list[Document]:
    return request.show_all("Spaces", _spaces(request))


def _spaces(request: Request) -> list[Document]:
    return sorted(narrowed(request, request.state.collection("Spaces").values()), key=by_name)


def get_space(request: Request) -> Document:
    space = space_named(request.state, request.argument("id"))
    if space is None:
        raise refusals.NOT_FOUND()
    return request.show("Spaces", space)


def create_space(request: Request) -> Answer:
    body = request.document()
    if not isinstance(body.get("Name"), str) or not body["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    request.refuse_duplicate("Space", "Spaces", body["Name"])
    if not body.get("SpaceManagersTeams") and not body.get("SpaceManagersTeamMembers"):
        raise refusals.SPACE_MANAGERS()
    return created(request.show("Spaces", new_space(request.state, body)))


def modify_space(request: Request) -> Document:
    space = space_named(request.state, request.argument("id"))
    if space is None:
        raise refusals.NOT_FOUND()
    body = request.document()
    request.refuse_duplicate("Space", "Spaces", body.get("Name", space["Name"]), besides=space["Id"])
    for name in ("Name", "Description", "TaskQueueStopped", "SpaceManagersTeams", "SpaceManagersTeamMembers"):
        if name in body:
            space[name] = body[name]
    request.state.changed.notify_all()
    return request.show("Spaces", space)


def delete_space(request: Request) -> Document:
    space = space_named(request.state, request.argument("id"))
    if space is None:
        raise refusals.NOT_FOUND()
    if not space["TaskQueueStopped"]:
        raise refusals.SPACE_RUNNING()
    request.refuse_running("Space", space_id=space["Id"])
    state = request.state
    for name, documents in state.collections.items():
        for identifier in [key for key, item in documents.items() if item.get("SpaceId") == space["Id"]]:
            del documents[identifier]
            if name == "ActionTemplates":
                state.template_versions.pop(identifier, None)
    for task in [task for task in state.tasks.values() if task.space_id == space["Id"]]:
        del state.tasks[task.id]
    del state.collection("Spaces")[space["Id"]]
    return {}


def not_imitated(request: Request) -> Document:
    """A request of the real server that the emulator does not know, although a route for ids would take its path."""
    request.state.refused.append(f"{request.method} {request.path}")
    raise refusals.UNKNOWN_REQUEST(method=request.method, path=request.path)


# --- users ---------------------------------------------------------------------------------------------------------


def me(request: Request) -> Document:
    return request.show("Users", request.user)


def list_users(request: Request) -> Document:
    users = sorted(
        narrowed(request, request.state.collection("Users").values()), key=lambda item: str(item["Username"])
    )
    return request.page_of("User", "Users", users)


def all_users(request: Request) -> list[Document]:
    return request.show_all("Users", request.state.collection("Users").values())


def get_user(request: Request) -> Document:
    return request.show("Users", request.find("Users", request.argument("id")))


def spaces_of_user(request: Request) -> list[Document]:
    """A bare array (source: OctopusClients, HttpIntegrationTestBase.cs)."""
    request.find("Users", request.argument("id"))
    return request.show_all("Spaces", sorted(request.state.collection("Spaces").values(), key=by_name))


def teams_of_user(request: Request) -> list[Document]:
    request.find("Users", request.argument("id"))
    return request.show_all("Teams", request.state.collection("Teams").values())


def permissions_of_user(request: Request) -> Document:
    """The key's permissions, unrestricted (source of the shape: Swagger of Octopus Server 2020.5)."""
    user = request.find("Users", request.argument("id"))
    granted = sorted(request.key.permissions or ("AdministerSystem",))
    everywhere = [
        {
            "SpaceId": space,
            "RestrictedToEnvironmentIds": [],
            "RestrictedToProjectGroupIds": [],
            "RestrictedToProjectIds": [],
            "RestrictedToTenantIds": [],
        }
        for space in request.state.collection("Spaces")
    ]
    return {
        "Id": user["Id"],
        "SpacePermissions": dict.fromkeys(granted, everywhere),
        "SystemPermissions": granted,
        "IsPermissionsComplete": True,
        "IsTeamsComplete": True,
        "Teams": [],
        "Links": {},
    }


def list_teams(request: Request) -> Document:
    return request.page_of("Team", "Teams", sorted(request.state.collection("Teams").values(), key=by_name))


def all_teams(request: Request) -> list[Document]:
    return request.show_all("Teams", sorted(request.state.collection("Teams").values(), key=by_name))


def get_team(request: Request) -> Document:
    return request.show("Teams", request.find("Teams", request.argument("id")))


def team_membership(request: Request) -> list[Document]:
    """The teams of a user, a bare array (source: OctopusClients, Model/ProjectedTeamReferenceDataItem.cs)."""
    teams = request.state.collection("Teams").values()
    return [
        {"Id": item["Id"], "Name": item["Name"], "IsDirectlyAssigned": True, "SpaceId": None}
        for item in teams
    ]


def all_permissions(request: Request) -> Document:
    """What each permission that guards a request is called; the server describes them in words."""
    from generator.emulator.routes import ROUTES  # which imports this module

    names = sorted({route.permission for route in ROUTES if route.permission})
    return {
        name: {"Description": name, "CanApplyAtSpaceLevel": True, "SupportedRestrictions": []}
        for name in names
    }


def list_events(request: Request) -> Document:
    """The audit log, newest first (source of fields: OctopusClients, Model/EventResource.cs)."""
    query = request.query
    regarding, any_of = query.all("regarding"), query.all("regardingAny")
    categories, spaces = query.all("eventCategories"), query.all("spaces")
    events = [
        event
        for event in reversed(request.visible("Events"))
        if (not regarding or set(regarding) <= set(event["RelatedDocumentIds"]))
        and (not any_of or set(any_of) & set(event["RelatedDocumentIds"]))
        and (not categories or event["Category"] in categories)
        and (not spaces or "all" in spaces or event["SpaceId"] in spaces)
    ]
    return request.page_of("Event", "Events", narrowed(request, events))


def get_event(request: Request) -> Document:
    return request.show("Events", request.find("Events", request.argument("id")))
