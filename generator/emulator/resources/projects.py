"""Projects, their channels and deployment settings."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from generator.emulator import refusals
from generator.emulator.documents import Document
from generator.emulator.kinds import CHANNELS, PROJECTS
from generator.emulator.requests import Answer, Request, by_name, created, narrowed
from generator.emulator.resources.tenants import complete_templates
from generator.emulator.state import State

# They stand in a project and in its deployment settings, and are one.
SHARED = (
    "DefaultGuidedFailureMode", "VersioningStrategy", "ReleaseNotesTemplate", "DeploymentChangesTemplate", "ForcePackageDownload",
)  # fmt: skip
GUIDED_MODES = ("EnvironmentDefault", "Off", "On")
MODES = ("Untenanted", "TenantedOrUntenanted", "Tenanted")


def list_page(request: Request) -> Document:
    return request.page_of("Project", "Projects", _projects(request))


def list_all(request: Request) -> list[Document]:
    return request.show_all("Projects", _projects(request))


def _projects(request: Request) -> list[Document]:
    clones_of = request.query.first("clonedFromProjectId")
    return [
        project
        for project in sorted(narrowed(request, request.visible("Projects")), key=by_name)
        if clones_of in (None, project["ClonedFromProjectId"])
    ]


def get(request: Request) -> Document:
    return request.show("Projects", project_of(request))


def project_of(request: Request) -> Document:
    """The project in the path, by id or slug."""
    return request.find_named("Projects", request.argument("project"))


def create(request: Request) -> Answer:
    body, state = request.document(), request.state
    if not isinstance(body.get("Name"), str) or not body["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    request.refuse_duplicate("Project", "Projects", body["Name"], SpaceId=request.space_id)
    original = request.query.first("clone")
    donor = request.find("Projects", original) if original else None
    fields = PROJECTS.fields(body, donor)
    _check(request, fields)
    project = new_project(state, fields, space_id=request.space_id)
    if donor is not None:
        _copy_contents(state, donor, project)
    return created(request.show("Projects", project))


def new_project(state: State, fields: Document, *, space_id: str) -> Document:
    """A project with its default channel, an empty process and an empty variable set.

    Source: what a new project has: docs, Projects; ids of its parts: recorded documents in cli's test fixtures.
    """
    identifier = state.next_id("Projects")
    project: Document = {
        "Id": identifier,
        "SpaceId": space_id,
        **fields,
        "Slug": state.free_slug("Projects", fields["Name"], SpaceId=space_id),
        "VariableSetId": f"variableset-{identifier}",
        "DeploymentProcessId": f"deploymentprocess-{identifier}",
        "ClonedFromProjectId": None,
        "IsVersionControlled": False,
        "PersistenceSettings": {"Type": "Database"},
    }
    state.add("Projects", project, identifier=identifier)
    process = {
        "SpaceId": space_id,
        "ProjectId": identifier,
        "Version": 0,
        "LastSnapshotId": None,
        "Steps": [],
    }
    state.add("DeploymentProcesses", process, identifier=project["DeploymentProcessId"])
    variables = {"SpaceId": space_id, "OwnerId": identifier, "Version": 0, "Variables": []}
    state.add("Variables", variables, identifier=project["VariableSetId"])
    state.add(
        "DeploymentSettings",
        {
            "SpaceId": space_id,
            "ProjectId": identifier,
            "DefaultGuidedFailureMode": fields["DefaultGuidedFailureMode"],
            "ConnectivityPolicy": fields["ProjectConnectivityPolicy"],
            "VersioningStrategy": fields["VersioningStrategy"],
            "ReleaseNotesTemplate": fields["ReleaseNotesTemplate"],
            "DeploymentChangesTemplate": fields["DeploymentChangesTemplate"],
            "ForcePackageDownload": fields["ForcePackageDownload"],
            "FailTargetDiscovery": False,
            # On for new projects (source: docs, Superseded tasks; named as in OctopusClients, RunbookResource.cs,
            # on a project unconfirmed).
            "CancelQueuedTasks": True,
            "CancelRunningTasks": True,
        },
        identifier=f"deploymentsettings-{identifier}",
    )
    new_channel(state, project, {"Name": "Default", "IsDefault": True})
    return project


def new_channel(state: State, project: Document, body: Document) -> Document:
    fields = CHANNELS.fields({**body, "ProjectId": project["Id"]})
    slug = state.free_slug("Channels", fields["Name"], ProjectId=project["Id"])
    return state.add("Channels", {"SpaceId": project["SpaceId"], **fields, "Slug": slug})


def _copy_contents(state: State, donor: Document, project: Document) -> None:
    """A clone has the steps and variables of its donor. That step ids are kept is unconfirmed."""
    process = state.get("DeploymentProcesses", project["DeploymentProcessId"])
    process["Steps"] = copy.deepcopy(state.get("DeploymentProcesses", donor["DeploymentProcessId"])["Steps"])
    variables = state.get("Variables", project["VariableSetId"])
    variables["Variables"] = copy.deepcopy(state.get("Variables", donor["VariableSetId"])["Variables"])
    project["ClonedFromProjectId"] = donor["Id"]


def modify(request: Request) -> Document:
    project = project_of(request)
    after = PROJECTS.fields(request.document(), project)
    request.refuse_duplicate(
        "Project", "Projects", after["Name"], besides=project["Id"], SpaceId=request.space_id
    )
    _check(request, after, project["Templates"])
    if project["IsVersionControlled"]:
        after["VersioningStrategy"] = None
    project.update(after)
    if not project["IsVersionControlled"]:
        _settings(request).update({name: after[name] for name in SHARED})
    return request.show("Projects", project)


def _check(request: Request, fields: Document, templates_before: Iterable[Document] = ()) -> None:
    fields["Templates"] = complete_templates(fields["Templates"], templates_before)
    _check_guided(fields["DefaultGuidedFailureMode"])
    request.reference("ProjectGroups", "ProjectGroupId", fields["ProjectGroupId"])
    request.reference("Lifecycles", "LifecycleId", fields["LifecycleId"])
    for identifier in fields["IncludedLibraryVariableSetIds"]:
        request.reference("LibraryVariableSets", "IncludedLibraryVariableSetIds", identifier)
    if fields["TenantedDeploymentMode"] not in MODES:
        raise refusals.BAD_REQUEST(reason=f"TenantedDeploymentMode must be one of {', '.join(MODES)}.")


def delete(request: Request) -> Document:
    project, state = project_of(request), request.state
    request.refuse_running("Project", project_id=project["Id"])
    owned = (
        "Channels", "Releases", "Deployments", "DeploymentProcesses", "DeploymentSettings", "Artifacts", "Runbooks",
        "RunbookProcesses", "RunbookSnapshots", "RunbookRuns",
    )  # fmt: skip
    for name in owned:
        for document in state.where(name, ProjectId=project["Id"]):
            del state.collection(name)[document["Id"]]
    for document in state.where("Variables", OwnerId=project["Id"]):
        del state.collection("Variables")[document["Id"]]
    del state.collection("Projects")[project["Id"]]
    return {}


# --- settings ------------------------------------------------------------------------------------------------------


def get_settings(request: Request) -> Document:
    return request.show("DeploymentSettings", _settings(request))


def _settings(request: Request) -> Document:
    project = project_of(request)
    if project["IsVersionControlled"]:
        raise refusals.PROCESS_IN_GIT(project=project["Name"])
    return request.state.get("DeploymentSettings", f"deploymentsettings-{project['Id']}")


def modify_settings(request: Request) -> Document:
    settings = _settings(request)
    body = request.document()
    _check_guided(body.get("DefaultGuidedFailureMode", "Off"))
    settings.update({name: body[name] for name in settings if name in body and not name.endswith("Id")})
    project_of(request).update({name: settings[name] for name in SHARED})
    return request.show("DeploymentSettings", settings)


def _check_guided(mode: object) -> None:
    if mode not in GUIDED_MODES:
        raise refusals.BAD_REQUEST(
            reason=f"DefaultGuidedFailureMode must be one of {', '.join(GUIDED_MODES)}."
        )


# --- channels ------------------------------------------------------------------------------------------------------


def list_channels(request: Request) -> Document:
    return request.page_of("Channel", "Channels", _channels(request))


def all_channels(request: Request) -> list[Document]:
    return request.show_all("Channels", _channels(request))


def _channels(request: Request) -> list[Document]:
    within: dict[str, Any] = {}
    if "project" in request.arguments:
        within["ProjectId"] = project_of(request)["Id"]
    return sorted(narrowed(request, request.visible("Channels", **within)), key=by_name)


def get_channel(request: Request) -> Document:
    return request.show("Channels", _channel(request))


def _channel(request: Request) -> Document:
    channel = request.find_named("Channels", request.argument("channel"))
    if "project" in request.arguments and channel["ProjectId"] != project_of(request)["Id"]:
        raise refusals.NOT_FOUND()
    return channel


def create_channel(request: Request) -> Answer:
    body = request.document()
    if "project" in request.arguments:
        body = {**body, "ProjectId": project_of(request)["Id"]}
    project = request.reference("Projects", "ProjectId", body.get("ProjectId"))
    if not isinstance(body.get("Name"), str) or not body["Name"].strip():
        raise refusals.REQUIRED(field="Name")
    request.refuse_duplicate("Channel", "Channels", body["Name"], ProjectId=project["Id"])
    if body.get("LifecycleId"):
        request.reference("Lifecycles", "LifecycleId", body["LifecycleId"])
    channel = new_channel(request.state, project, body)
    _one_default(request.state, channel)
    return created(request.show("Channels", channel))


def modify_channel(request: Request) -> Document:
    channel = _channel(request)
    after = CHANNELS.fields({**request.document(), "ProjectId": channel["ProjectId"]}, channel)
    request.refuse_duplicate(
        "Channel", "Channels", after["Name"], besides=channel["Id"], ProjectId=channel["ProjectId"]
    )
    if after["LifecycleId"]:
        request.reference("Lifecycles", "LifecycleId", after["LifecycleId"])
    channel.update(after)
    _one_default(request.state, channel)
    return request.show("Channels", channel)


def _one_default(state: State, channel: Document) -> None:
    if channel["IsDefault"]:
        for other in state.where("Channels", ProjectId=channel["ProjectId"]):
            other["IsDefault"] = other is channel


def delete_channel(request: Request) -> Document:
    channel = _channel(request)
    if len(request.state.where("Channels", ProjectId=channel["ProjectId"])) == 1:
        raise refusals.ONLY_CHANNEL()
    if channel["IsDefault"]:
        raise refusals.DEFAULT_CHANNEL()
    releases = request.state.where("Releases", ChannelId=channel["Id"])
    if releases:
        raise refusals.IN_USE(kind="Channel", users=", ".join(item["Version"] for item in releases))
    del request.state.collection("Channels")[channel["Id"]]
    return {}


def releases_of_channel(request: Request) -> Document:
    channel = _channel(request)
    releases = list(reversed(request.visible("Releases", ChannelId=channel["Id"])))
    return request.page_of("Release", "Releases", releases)
