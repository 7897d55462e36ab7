"""Releases: snapshots of a project's process and variables under a number."""

from __future__ import annotations

from generator.emulator import channel_rules, events, refusals, repositories, versions
from generator.emulator.documents import Document, same_name
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.resources import git, processes, release_packages, variables
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
    source = _source(request.state, project, body.get("VersionControlReference"))
    release = new_release(
        request,
        project,
        version=version.strip(),
        channel=_channel(request, project, body),
        source=source,
        body=body,
    )
    return created(request.show("Releases", release))


def _source(state: State, project: Document, sent: Document | None) -> tuple[Document, Document | None]:
    """The process to freeze, and the `VersionControlReference` of the release (null in projects without Git)."""
    given = {name: value for name, value in (sent or {}).items() if value}
    if not project["IsVersionControlled"]:
        if given:
            raise refusals.UNEXPECTED_GIT_REF()
        return state.get("DeploymentProcesses", project["DeploymentProcessId"]), None
    if not given.get("GitRef"):
        raise refusals.GIT_REF_NEEDED()
    ref = repositories.resolved(project, given["GitRef"])
    commit = repositories.resolved(project, given.get("GitCommit") or given["GitRef"])
    if ref is None or commit is None:
        raise refusals.UNKNOWN_GIT_REF(ref=given.get("GitCommit") if ref else given["GitRef"])
    process = repositories.process_at(state, project, commit[1])
    return process, {"GitRef": ref[0], "GitCommit": commit[1], "VariablesGitCommit": None}


def create_by_command(request: Request) -> Answer:
    """`releases/create/v1`: names instead of ids, 201 (source: docs, API reference, releases)."""
    body = request.document()
    for name in ("SpaceId", "SpaceIdOrName", "ProjectName"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    project, state = named(request, "Projects", "Project", body["ProjectName"]), request.state
    source = _source(state, project, {name: body.get(name) for name in ("GitRef", "GitCommit")})
    channel = _channel_by_command(request, project, source[0], body)
    selected = release_packages.selected_by_command(state, source[0], channel, body)
    version = body.get("ReleaseVersion") or next_release_version(state, project, source[1], selected)
    existing = _existing(state, project, version)
    if existing is not None and body.get("IgnoreIfAlreadyExists"):
        return created({"ReleaseId": existing["Id"], "ReleaseVersion": existing["Version"]})
    release = new_release(
        request,
        project,
        version=version,
        channel=channel,
        source=source,
        body={**body, "SelectedPackages": selected},
    )
    return created({"ReleaseId": release["Id"], "ReleaseVersion": release["Version"]})


def _channel_by_command(request: Request, project: Document, process: Document, body: Document) -> Document:
    """The named channel; else among those whose rules the packages keep the default one, or the only one.

    Source: docs, Channels ("Octopus will choose the best possible channel"); OctopusCLI, CreateReleaseCommand.cs for what is
    best. When none is possible it is the default, whose refusal tells why: unconfirmed.
    """
    if body.get("ChannelName"):
        return named(request, "Channels", "Channel", body["ChannelName"], ProjectId=project["Id"])
    needed = release_packages.packages_of(process)
    possible = []
    for channel in request.state.where("Channels", ProjectId=project["Id"]):
        selected = release_packages.selected_by_command(request.state, process, channel, body)
        if len(selected) == len(needed) and not channel_rules.violations(channel, needed, selected):
            possible.append(channel)
    if len(possible) == 1:
        return possible[0]
    return _channel(request, project, {})


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
    request: Request,
    project: Document,
    *,
    version: str,
    channel: Document,
    source: tuple[Document, Document | None],
    body: Document,
) -> Document:
    """`source` is the process with the reference into Git, as `_source` gives it."""
    state, (process, reference) = request.state, source
    if project["IsDisabled"]:
        raise refusals.PROJECT_DISABLED()
    if not versions.is_version(version):
        raise refusals.BAD_VERSION(version=version)
    if _existing(state, project, version) is not None:
        raise refusals.DUPLICATE_RELEASE(version=version)
    selected = release_packages.selected_packages(process, body.get("SelectedPackages") or [])
    ignores_rules = bool(request.query.flag("ignoreChannelRules") or body.get("IgnoreChannelRules"))
    broken = channel_rules.violations(channel, release_packages.packages_of(process), selected)
    if broken and not ignores_rules:
        raise refusals.CHANNEL_RULES(steps=", ".join(broken))
    frozen = process if reference else processes.snapshot(state, process)
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
            "IgnoreChannelRules": ignores_rules,
            "SelectedPackages": selected,
            "SelectedGitResources": body.get("SelectedGitResources") or [],
            "BuildInformation": release_packages.build_information(
                state, project["SpaceId"], process, selected
            ),
            "ProjectDeploymentProcessSnapshotId": frozen["Id"],
            "ProjectVariableSetSnapshotId": variables.snapshot(state, own)["Id"],
            "LibraryVariableSetSnapshotIds": [variables.snapshot(state, item)["Id"] for item in library],
            "VersionControlReference": reference,
            "CustomFields": body.get("CustomFields") or {},
            "_defects": [],
            "_author": request.key.user_id,
        },
    )
    state.promotions.append(release["Id"])
    state.changed.notify_all()
    events.record(
        state,
        "Created",
        f"Release {version} of {project['Name']} was created",
        space_id=project["SpaceId"],
        related=(release["Id"], project["Id"]),
        user_id=request.key.user_id,
    )
    return release


def _existing(state: State, project: Document, version: str | None) -> Document | None:
    for release in state.where("Releases", ProjectId=project["Id"]):
        if same_name(release["Version"], version):
            return release
    return None


def _channel(request: Request, project: Document, body: Document) -> Document:
    """The named channel, else the default one."""
    if body.get("ChannelId"):
        channel = request.reference("Channels", "ChannelId", body["ChannelId"])
        if channel["ProjectId"] != project["Id"]:
            raise refusals.CHANNEL_OF_OTHER_PROJECT(channel=channel["Name"], project=channel["ProjectId"])
        return channel
    channels = request.state.where("Channels", ProjectId=project["Id"])
    default = [item for item in channels if item["IsDefault"]] or channels[:1]
    if not default or (len(channels) > 1 and not default[0]["IsDefault"]):
        raise refusals.NO_CHANNEL()
    return default[0]


def next_release_version(
    state: State,
    project: Document,
    reference: Document | None = None,
    selected: list[Document] | None = None,
) -> str:
    """By the project's template, or the version of the package that gives releases their numbers (source: docs, Release
    versioning). `reference` is the commit whose settings count in a project with Git."""
    strategy = _strategy(project, reference)
    donor = strategy.get("DonorPackage")
    for item in selected or ():
        if donor and _donates(donor, item):
            return str(item["Version"])
    last = versions.highest(item["Version"] for item in state.where("Releases", ProjectId=project["Id"]))
    return versions.next_version(strategy.get("Template") or "0.0.i", last)


def _strategy(project: Document, reference: Document | None) -> Document:
    if not project["IsVersionControlled"]:
        return project["VersioningStrategy"] or {}
    found = repositories.resolved(project, (reference or {}).get("GitCommit") or _default_branch(project))
    settings = repositories.commit_of(project, found[1])["settings"] if found else {}
    return settings.get("VersioningStrategy") or {}


def _default_branch(project: Document) -> str:
    return str(project["PersistenceSettings"]["DefaultBranch"])


def _donates(donor: Document, selection: Document) -> bool:
    same_action = same_name(donor.get("DeploymentAction"), selection["ActionName"])
    return same_action and (donor.get("PackageReference") or "") == selection["PackageReferenceName"]


def release_template(request: Request) -> Document:
    """Source: docs, API reference, deployment processes."""
    state, reference = request.state, None
    if "gitref" in request.arguments:
        project, ref, content = git.content_at(request)
        process, reference = content["process"], {"GitCommit": ref}
    else:
        process = processes.process_of(request)
        project = state.get("Projects", process["ProjectId"])
    donor = _strategy(project, reference).get("DonorPackage") or {}
    last = versions.highest(item["Version"] for item in state.where("Releases", ProjectId=project["Id"]))
    return {
        "DeploymentProcessId": process["Id"],
        "LastReleaseVersion": last,
        "NextVersionIncrement": None if donor else next_release_version(state, project, reference),
        "VersioningPackageStepName": donor.get("DeploymentAction"),
        "VersioningPackageReferenceName": donor.get("PackageReference"),
        "Packages": release_packages.template_packages(process, _existing(state, project, last)),
        "GitResources": [],
        "Links": {},
    }


def missing_packages(request: Request) -> Document:
    """`{Packages: [{Id, Version}]}` (source: go-octopusdeploy, pkg/releases/missing_package_info.go)."""
    release, state = release_of(request), request.state
    process = state.get("DeploymentProcesses", release["ProjectDeploymentProcessSnapshotId"])
    return {"Packages": release_packages.missing(state, process, release["SelectedPackages"])}


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
    request.state.promotions.append(release["Id"])
    request.state.changed.notify_all()
    return dict(release["_defects"][-1]) if release["_defects"] else {}


def is_blocked(release: Document) -> bool:
    return any(defect["Status"] == "Unresolved" for defect in release["_defects"])
