"""Packages in the built-in feed, what feeds list, and build information. Files are kept and never looked into.

Source: Swagger of Octopus Server 2020.5 (paths, fields, refusals); OctopusClients, BuiltInPackageRepositoryRepository.cs
(`overwriteMode`, and the older `replace`); api-client.ts, src/features/packages and buildInformation. The shape of a package's
and of a build information's id is unconfirmed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

from generator.emulator import channel_rules, refusals, versions
from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Request, created
from generator.emulator.state import Content, State

MODES = ("FailIfExists", "OverwriteExisting", "IgnoreIfExists")
LONGEST_ID = 100
# Source: docs, Supported packages.
EXTENSIONS = (
    ".tar.gz", ".tar.bz2", ".tar.bz", ".tar", ".tgz", ".tbz", ".zip", ".nupkg", ".jar", ".war", ".ear", ".rar", ".bin",
)  # fmt: skip
_NAME = re.compile(r"(?P<id>.+?)\.(?P<version>\d+(?:\.\d+){1,3}(?:[-+].+)?)")


# --- packages ------------------------------------------------------------------------------------------------------


def upload(request: Request) -> Answer:
    """201 with the package, or 200 with the one that was there already when `IgnoreIfExists` says so."""
    if request.file is None:
        raise refusals.NO_PACKAGE()
    filename, data = request.file
    if not data:
        raise refusals.EMPTY_PACKAGE()
    name, version, extension = parse_filename(filename.replace("\\", "/").rsplit("/", 1)[-1])
    before = _find(request.state, request.space_id, name, version)
    mode = _mode(request)
    if before is not None and mode == "FailIfExists":
        raise refusals.PACKAGE_EXISTS()
    if before is not None and mode == "IgnoreIfExists":
        return Answer(body=request.show("Packages", before))
    if before is not None:
        _remove(request.state, before)
    package: Document = {
        "SpaceId": request.space_id,
        "PackageId": name,
        "NuGetPackageId": name,
        "Version": version,
        "FeedId": _built_in(request.state, request.space_id)["Id"],
        "NuGetFeedId": _built_in(request.state, request.space_id)["Id"],
        "FileExtension": extension,
        "Title": name,
        "Summary": None,
        "Description": None,
        "ReleaseNotes": None,
        "Published": request.state.now(),
        "PackageSizeBytes": len(data),
        "Hash": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "PackageVersionBuildInformation": None,
    }
    identifier = f"packages-{name}.{version}"
    if not _is_default(request.state, request.space_id):
        identifier = f"packages-{request.space_id}-{name}.{version}"
    request.state.add("Packages", package, identifier=identifier)
    request.state.contents[identifier] = Content(data=data)
    return created(_shown(request, package))


def parse_filename(filename: str) -> tuple[str, str, str]:
    """`Acme.Web.1.0.0-beta.zip` -> ("Acme.Web", "1.0.0-beta", ".zip"). Errors: Refused for a name without a version.

    Source: docs, Package ID and Package versioning (`ID.Version.extension`).
    """
    extension = next((item for item in EXTENSIONS if filename.lower().endswith(item)), None)
    match = _NAME.fullmatch(filename[: -len(extension)]) if extension else None
    if extension is None or match is None:
        raise refusals.BAD_PACKAGE_NAME(name=filename)
    if len(match["id"]) > LONGEST_ID:
        raise refusals.LONG_PACKAGE_NAME()
    return match["id"], match["version"], extension


def _mode(request: Request) -> str:
    mode = request.query.first("overwriteMode")
    if mode is None:
        return "OverwriteExisting" if request.query.flag("replace") else "FailIfExists"
    if mode not in MODES:
        raise refusals.BAD_REQUEST(reason=f"The value '{mode}' is not valid for overwriteMode.")
    return mode


def _built_in(state: State, space_id: str) -> Document:
    [feed] = state.where("Feeds", SpaceId=space_id, FeedType="BuiltIn")
    return feed


def _is_default(state: State, space_id: str) -> bool:
    return bool(state.get("Spaces", space_id)["IsDefault"])


def _find(state: State, space_id: str, name: str, version: str) -> Document | None:
    for item in state.where("Packages", SpaceId=space_id):
        if (
            item["PackageId"].casefold() == name.casefold()
            and item["Version"].casefold() == version.casefold()
        ):
            return item
    return None


def _shown(request: Request, package: Document) -> Document:
    document = request.show("Packages", package)
    known = build_information_of(request.state, package["SpaceId"], package["PackageId"], package["Version"])
    document["PackageVersionBuildInformation"] = request.show("BuildInformation", known) if known else None
    return document


def list_page(request: Request) -> Document:
    """By id, the highest version first; `latest=true` keeps only that one."""
    query = request.query
    name, part = query.first("nuGetPackageId"), query.first("filter")
    if name and part:
        raise refusals.PACKAGE_FILTERS()
    chosen = [
        item
        for item in _in_order(request.visible("Packages"))
        if name is None or item["PackageId"].casefold() == name.casefold()
        if part is None or part.casefold() in item["PackageId"].casefold()
    ]
    if query.flag("latest"):
        chosen = _latest(chosen)
    return request.page("Package", chosen, lambda item: _shown(request, item))


def _in_order(packages: Iterable[Document]) -> list[Document]:
    highest_first = sorted(packages, key=lambda item: versions.order(item["Version"]), reverse=True)
    return sorted(highest_first, key=lambda item: str(item["PackageId"]).casefold())


def _latest(packages: Iterable[Document]) -> list[Document]:
    newest: dict[str, Document] = {}
    for item in packages:
        newest.setdefault(item["PackageId"].casefold(), item)
    return list(newest.values())


def _package(request: Request) -> Document:
    """By id, or as `PackageId.Version` (source: docs, Octopus CLI and REST samples use both)."""
    wanted = request.argument("id").casefold()
    for item in request.visible("Packages"):
        if wanted in (item["Id"].casefold(), f"{item['PackageId']}.{item['Version']}".casefold()):
            return item
    raise refusals.NOT_FOUND()


def get(request: Request) -> Document:
    return _shown(request, _package(request))


def get_raw(request: Request) -> Answer:
    package = _package(request)
    name = f"{package['PackageId']}.{package['Version']}{package['FileExtension']}"
    name = name.replace('"', "'").encode("ascii", "replace").decode()
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = request.state.contents[package["Id"]]
    return Answer(body=content.data, media_type=content.media_type, headers=headers)


def delete(request: Request) -> Document:
    _remove(request.state, _package(request))
    return {}


def delete_several(request: Request) -> Document:
    ids = set(request.query.all("ids"))
    for item in request.visible("Packages"):
        if item["Id"] in ids:
            _remove(request.state, item)
    return {}


def _remove(state: State, package: Document) -> None:
    state.contents.pop(package["Id"], None)
    del state.collection("Packages")[package["Id"]]


# --- feeds ---------------------------------------------------------------------------------------------------------


def _in_feed(request: Request) -> list[Document]:
    """The packages of the feed in the path. Feeds elsewhere in the world are empty: the emulator asks nobody."""
    feed = request.find_named("Feeds", request.argument("id"))
    return _in_order(request.visible("Packages")) if feed["FeedType"] == "BuiltIn" else []


def feed_versions(request: Request) -> Document:
    query = request.query
    name = query.first("packageId")
    if name is None:
        raise refusals.NO_PACKAGE_ID()
    part, prerelease = query.first("filter") or "", query.flag("includePreRelease")
    rule = {"VersionRange": query.first("versionRange"), "Tag": query.first("preReleaseTag")}
    found = [
        item
        for item in _in_feed(request)
        if item["PackageId"].casefold() == name.casefold()
        if part.casefold() in item["Version"].casefold()
        if prerelease is not False or versions.order(item["Version"])[1]
        if channel_rules.is_satisfied(rule, item["Version"])
    ]
    return request.page("PackageVersion", found, _version)


def _version(package: Document) -> Document:
    return {
        "Id": package["Id"],
        "PackageId": package["PackageId"],
        "Version": package["Version"],
        "FeedId": package["FeedId"],
        "Published": package["Published"],
        "ReleaseNotes": package["ReleaseNotes"],
        "SizeBytes": package["PackageSizeBytes"],
        "Title": package["Title"],
        "Links": {},
    }


def feed_search(request: Request) -> Document:
    term = (request.query.first("term") or "").casefold()
    found = [item for item in _latest(_in_feed(request)) if term in item["PackageId"].casefold()]
    return request.page(
        "PackageDescription",
        found,
        lambda item: {
            "Id": item["PackageId"],
            "Name": item["PackageId"],
            "Description": item["Description"],
            "LatestVersion": item["Version"],
            "Links": {},
        },
    )


def feed_stats(request: Request) -> Document:
    return {"Id": None, "TotalPackages": len(request.visible("Packages")), "Links": {}}


# --- build information ---------------------------------------------------------------------------------------------

BUILD_FIELDS = (
    "Branch", "BuildEnvironment", "BuildNumber", "BuildUrl", "VcsCommitNumber", "VcsRoot", "VcsType",
)  # fmt: skip


def push_build_information(request: Request) -> Document:
    """200, with the record as kept (source: Swagger of Octopus Server 2020.5)."""
    body = request.document()
    name, version = body.get("PackageId"), body.get("Version")
    given = body.get("OctopusBuildInformation")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.\-/]+", name):
        raise refusals.BAD_PACKAGE_ID()
    if not isinstance(version, str) or not versions.is_version(version):
        raise refusals.BAD_PACKAGE_VERSION()
    if not isinstance(given, dict):
        raise refusals.REQUIRED(field="OctopusBuildInformation")
    before = build_information_of(request.state, request.space_id, name, version)
    mode = _mode(request)
    if before is not None and mode == "FailIfExists":
        raise refusals.BUILD_INFORMATION_EXISTS()
    if before is not None and mode == "IgnoreIfExists":
        return request.show("BuildInformation", before)
    record: Document = {
        "SpaceId": request.space_id,
        "PackageId": name,
        "Version": version,
        **{field: given.get(field) for field in BUILD_FIELDS},
        "VcsCommitUrl": None,
        "IssueTrackerName": None,
        "IncompleteDataWarning": None,
        "Commits": [_commit(item) for item in given.get("Commits") or () if isinstance(item, dict)],
        "WorkItems": [],
        "Created": request.state.now(),
    }
    request.state.add("BuildInformation", record, identifier=before["Id"] if before else None)
    return request.show("BuildInformation", record)


def _commit(commit: Document) -> Document:
    return {"Id": commit.get("Id"), "Comment": commit.get("Comment"), "LinkUrl": commit.get("LinkUrl")}


def build_information_of(state: State, space_id: str, name: Any, version: Any) -> Document | None:
    found = state.where("BuildInformation", SpaceId=space_id, PackageId=name, Version=version)
    return found[0] if found else None


def list_build_information(request: Request) -> Document:
    query = request.query
    name, part = query.first("packageId"), query.first("filter")
    if name and part:
        raise refusals.BUILD_FILTERS()
    found = [
        item
        for item in _in_order(request.visible("BuildInformation"))
        if name is None or item["PackageId"].casefold() == name.casefold()
        if part is None or part.casefold() in item["PackageId"].casefold()
    ]
    if query.flag("latest"):
        found = _latest(found)
    return request.page_of("OctopusPackageVersionBuildInformationMapped", "BuildInformation", found)


def get_build_information(request: Request) -> Document:
    return request.show("BuildInformation", request.find("BuildInformation", request.argument("id")))


def delete_build_information(request: Request) -> Document:
    record = request.find("BuildInformation", request.argument("id"))
    del request.state.collection("BuildInformation")[record["Id"]]
    return {}


def delete_several_build_information(request: Request) -> Document:
    for record in request.visible("BuildInformation"):
        if record["Id"] in request.query.all("ids"):
            del request.state.collection("BuildInformation")[record["Id"]]
    return {}
