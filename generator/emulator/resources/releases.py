"""Releases: snapshots of a project's process and variables under a number."""

from __future__ import annotations

from typing import Any

from generator.emulator import events, refusals, versions
from generator.emulator.documents import Document, same_name, shown
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import packages, processes, variables
from generator.emulator.resources.projects import project_of
from generator.emulator.state import State


def list_page(request: Request) -> Document:
    return request.page_of("Release", "Releases", narrowed(request, reversed(request.visible("Releases"))))


def list_of_project(request: Request) -> Document:
    part = (request.query.first("searchByVersion") or "").lower()
    releases = [
        item
        for item in reversed(request.visible("Releases", ProjectId=project_of(request)["Id"]))
        if part in item["Version"].lower()
    ]
    return request.page_of("Release", "Releases", releases)


def release_of(request: Request) -> Document:
    return request.find("Releases", request.argument("release"))


def get(request: Request) -> Document:
    return request.show("Releases", release_of(request))


def get_by_version(request: Request) -> Document:
    """By number; an id works too (source: docs, API reference, releases; cli asks by number)."""
    wanted = request.argument("version")
    for release in request.visible("Releases", ProjectId=project_of(request)["Id"]):
        if same_name(release["Version"], wanted) or release["Id"] == wanted:
            return request.show("Releases", release)
    raise refusals.NOT_FOUND()


# --- creating ------------------------------------------------------------------------------------------------------


def create(request: Request) -> Answer:
    body = request.document()
    if not body.get("ProjectId"):
        raise refusals.NO_PROJECT()
    project = request.reference("Projects", "ProjectId", body["ProjectId"])
    version = body.get("Version")
    if not isinstance(version, str) or not version.strip():
        raise refusals.REQUIRED(field="Version")
    release = new_release(
        request, project, version=version.strip(), channel=_channel(request, project, body), body=body
    )
    return created(request.show("Releases", release))


def create_by_command(request: Request) -> Answer:
    """`releases/create/v1`: names instead of ids, 201 (source: docs, API reference, releases)."""
    body = request.document()
    for name in ("SpaceId", "SpaceIdOrName", "ProjectName"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    project = named(request, "Projects", "Project", body["ProjectName"])
    if body.get("GitRef"):
        raise refusals.BAD_REQUEST(reason="GitRef is only allowed for version-controlled projects.")
    channel_name = body.get("ChannelName")
    channel = (
        named(request, "Channels", "Channel", channel_name, ProjectId=project["Id"]) if channel_name else None
    )
    version = body.get("ReleaseVersion") or next_release_version(request.state, project)
    existing = _existing(request.state, project, version)
    if existing is not None and body.get("IgnoreIfAlreadyExists"):
        return created({"ReleaseId": existing["Id"], "ReleaseVersion": existing["Version"]})
    release = new_release(
        request,
        project,
        version=version,
        channel=channel or _channel(request, project, {}),
        body={**body, "SelectedPackages": _selected_by_command(request.state, project, body)},
    )
    return created({"ReleaseId": release["Id"], "ReleaseVersion": release["Version"]})


def named(request: Request, collection: str, kind: str, name: object, **within: object) -> Document:
    """The document with that name, slug or id, or 400. A name wins over an id."""
    alike = [item for item in request.visible(collection, **within) if same_name(item.get("Name"), name)]
    if not alike:
        alike = [
            item for item in request.visible(collection, **within) if name in (item["Id"], item.get("Slug"))
        ]
    if not alike:
        raise refusals.NAME_NOT_FOUND(kind=kind, name=name)
    return alike[0]


def new_release(
    request: Request, project: Document, *, version: str, channel: Document, body: Document
) -> Document:
    state = request.state
    if project["IsDisabled"]:
        raise refusals.PROJECT_DISABLED()
    if not versions.is_version(version):
        raise refusals.BAD_VERSION(version=version)
    if _existing(state, project, version) is not None:
        raise refusals.DUPLICATE_RELEASE(version=version)
    process = state.get("DeploymentProcesses", project["DeploymentProcessId"])
    selected = selected_packages(process, body.get("SelectedPackages") or [])
    own, *library = variables.live_sets(state, project)
    release = state.add(
        "Releases",
        {
            "SpaceId": project["SpaceId"],
            "ProjectId": project["Id"],
            "ChannelId": channel["Id"],
            "Version": version,
            "ReleaseNotes": body.get("ReleaseNotes"),
            "Assembled": state.now(),
            "IgnoreChannelRules": bool(body.get("IgnoreChannelRules")),
            "SelectedPackages": selected,
            "SelectedGitResources": body.get("SelectedGitResources") or [],
            "BuildInformation": _build_information(state, project["SpaceId"], process, selected),
            "ProjectDeploymentProcessSnapshotId": processes.snapshot(state, process)["Id"],
            "ProjectVariableSetSnapshotId": variables.snapshot(state, own)["Id"],
            "LibraryVariableSetSnapshotIds": [variables.snapshot(state, item)["Id"] for item in library],
            "VersionControlReference": None,
            "CustomFields": body.get("CustomFields") or {},
            "_defects": [],
        },
    )
    events.record(
        state,
        "Created",
        f"Release {version} of {project['Name']} was created",
        space_id=project["SpaceId"],
        related=(release["Id"], project["Id"]),
        user_id=request.key.user_id,
    )
    return release


def _build_information(
    state: State, space_id: str, process: Document, selected: list[Document]
) -> list[Document]:
    """What is known of the builds of the release's packages (source: docs, Build information)."""
    ids = {
        (action["Name"], package.get("Name") or ""): package.get("PackageId")
        for action, package in packages_of(process)
    }
    found = (
        packages.build_information_of(
            state, space_id, ids[(item["ActionName"], item["PackageReferenceName"])], item["Version"]
        )
        for item in selected
    )
    return [shown(item) for item in found if item is not None]


def _existing(state: State, project: Document, version: str) -> Document | None:
    for release in state.where("Releases", ProjectId=project["Id"]):
        if same_name(release["Version"], version):
            return release
    return None


def _channel(request: Request, project: Document, body: Document) -> Document:
    """The named channel, else the default one."""
    if body.get("ChannelId"):
        channel = request.reference("Channels", "ChannelId", body["ChannelId"])
        if channel["ProjectId"] != project["Id"]:
            raise refusals.UNKNOWN_REFERENCE(field="ChannelId", value=body["ChannelId"])
        return channel
    channels = request.state.where("Channels", ProjectId=project["Id"])
    default = [item for item in channels if item["IsDefault"]] or channels[:1]
    if not default or (len(channels) > 1 and not default[0]["IsDefault"]):
        raise refusals.NO_CHANNEL()
    return default[0]


def packages_of(process: Document) -> list[tuple[Document, Document]]:
    """The (action, package) pairs that need a version at release time."""
    return [
        (action, package)
        for step in process["Steps"]
        for action in step["Actions"]
        if not action["IsDisabled"]
        for package in action["Packages"]
        if not package.get("Version")
    ]


def selected_packages(process: Document, selected: list[Any]) -> list[Document]:
    chosen = {
        (item.get("ActionName") or item.get("StepName"), item.get("PackageReferenceName") or ""): item.get(
            "Version"
        )
        for item in selected
    }
    result = []
    for action, package in packages_of(process):
        version = chosen.get((action["Name"], package.get("Name") or ""))
        if not version:
            raise refusals.PACKAGE_VERSION_MISSING()
        result.append(
            {
                "ActionName": action["Name"],
                "PackageReferenceName": package.get("Name") or "",
                "Version": version,
            }
        )
    return result


def _selected_by_command(state: State, project: Document, body: Document) -> list[Document]:
    """`PackageVersion` for all, then `Packages` as "Step:Version", "PackageId:Version" or "Step:Package:Version"."""
    process = state.get("DeploymentProcesses", project["DeploymentProcessId"])
    result = []
    for action, package in packages_of(process):
        version = body.get("PackageVersion")
        for text in body.get("Packages") or ():
            *names, number = str(text).split(":")
            wanted = {action["Name"], package.get("PackageId"), package.get("Name") or "", "*"}
            if names and all(name in wanted for name in names):
                version = number
        if version:
            result.append(
                {
                    "ActionName": action["Name"],
                    "PackageReferenceName": package.get("Name") or "",
                    "Version": version,
                }
            )
    return result


def next_release_version(state: State, project: Document) -> str:
    strategy = project["VersioningStrategy"] or {}
    last = versions.highest(item["Version"] for item in state.where("Releases", ProjectId=project["Id"]))
    return versions.next_version(strategy.get("Template") or "0.0.i", last)


def release_template(request: Request) -> Document:
    """Source: docs, API reference, deployment processes."""
    state = request.state
    process = processes.process_of(request)
    project = state.get("Projects", process["ProjectId"])
    last = versions.highest(item["Version"] for item in state.where("Releases", ProjectId=project["Id"]))
    return {
        "DeploymentProcessId": process["Id"],
        "LastReleaseVersion": last,
        "NextVersionIncrement": next_release_version(state, project),
        "VersioningPackageStepName": None,
        "VersioningPackageReferenceName": None,
        "Packages": template_packages(process),
        "GitResources": [],
        "Links": {},
    }


def template_packages(process: Document) -> list[Document]:
    return [
        {
            "ActionName": action["Name"],
            "StepName": action["Name"],
            "PackageReferenceName": package.get("Name") or "",
            "PackageId": package.get("PackageId"),
            "FeedId": package.get("FeedId"),
            "FeedName": package.get("FeedId"),
            "FixedVersion": package.get("Version"),
            "VersionSelectedLastRelease": None,
            "IsResolvable": True,
            "ProjectName": None,
        }
        for action, package in packages_of(process)
    ]


# --- changing ------------------------------------------------------------------------------------------------------


def modify(request: Request) -> Document:
    release, body = release_of(request), request.document()
    project = request.state.get("Projects", release["ProjectId"])
    version = body.get("Version") or release["Version"]
    if not versions.is_version(version):
        raise refusals.BAD_VERSION(version=version)
    other = _existing(request.state, project, version)
    if other is not None and other is not release:
        raise refusals.DUPLICATE_RELEASE(version=version)
    if body.get("ChannelId"):
        release["ChannelId"] = _channel(request, project, body)["Id"]
    release["Version"] = version
    if "ReleaseNotes" in body:
        release["ReleaseNotes"] = body["ReleaseNotes"]
    return request.show("Releases", release)


def delete(request: Request) -> Document:
    """Removes its deployments and tasks too (source: docs, API reference, releases)."""
    release, state = release_of(request), request.state
    deployments = state.where("Deployments", ReleaseId=release["Id"])
    for deployment in deployments:
        request.refuse_running("Release", id=deployment["TaskId"])
    for deployment in deployments:
        del state.tasks[deployment["TaskId"]]
        del state.collection("Deployments")[deployment["Id"]]
    del state.collection("Releases")[release["Id"]]
    return {}


def update_snapshot(request: Request) -> Document:
    return request.show("Releases", refresh_variables(request.state, release_of(request)))


def refresh_variables(state: State, release: Document) -> Document:
    """The release, or the runbook's snapshot, with the project's variables as they are now."""
    own, *library = variables.live_sets(state, state.get("Projects", release["ProjectId"]))
    release["ProjectVariableSetSnapshotId"] = variables.snapshot(state, own)["Id"]
    release["LibraryVariableSetSnapshotIds"] = [variables.snapshot(state, item)["Id"] for item in library]
    return release


def variables_of(request: Request) -> list[Document]:
    """The frozen variable sets of a release (source: docs, API reference, releases)."""
    release = release_of(request)
    ids = [release["ProjectVariableSetSnapshotId"], *release["LibraryVariableSetSnapshotIds"]]
    return [request.show("Variables", request.state.get("Variables", identifier)) for identifier in ids]


# --- defects -------------------------------------------------------------------------------------------------------


def list_defects(request: Request) -> Document:
    return request.page("Defect", release_of(request)["_defects"], dict)


def report_defect(request: Request) -> Document:
    """A release with an unresolved defect cannot be promoted (source: Swagger of Octopus Server 2020.5)."""
    release = release_of(request)
    defect = {"Description": request.document().get("Description"), "Status": "Unresolved"}
    release["_defects"].append(defect)
    return dict(defect)


def resolve_defect(request: Request) -> Document:
    release = release_of(request)
    for defect in release["_defects"]:
        defect["Status"] = "Resolved"
    return dict(release["_defects"][-1]) if release["_defects"] else {}


def is_blocked(release: Document) -> bool:
    return any(defect["Status"] == "Unresolved" for defect in release["_defects"])
