"""The package versions of a release or a runbook's snapshot: which are needed, how a request names them, which are missing."""

from __future__ import annotations

from typing import Any

from generator.emulator import channel_rules, refusals, versions
from generator.emulator.documents import Document, shown
from generator.emulator.requests import Request
from generator.emulator.resources import packages
from generator.emulator.state import State


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
    """What the release keeps. Errors: Refused when a version is missing."""
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
        result.append(_selection(action, package, version))
    return result


def _selection(action: Document, package: Document, version: object) -> Document:
    return {
        "ActionName": action["Name"],
        "PackageReferenceName": package.get("Name") or "",
        "Version": version,
    }


def selected_by_command(state: State, process: Document, channel: Document, body: Document) -> list[Document]:
    """`Packages` as "Step:Version", "PackageId:Version" or "Step:Package:Version" ("*" = any), else `PackageVersion`, else the
    highest version in the built-in feed that the channel admits (source: docs, API reference, releases; Channels)."""
    result = []
    for action, package in packages_of(process):
        version = body.get("PackageVersion")
        for text in body.get("Packages") or ():
            *names, number = str(text).split(":")
            wanted = {action["Name"], package.get("PackageId"), package.get("Name") or "", "*"}
            if names and all(name in wanted for name in names):
                version = number
        version = version or _latest(state, channel, action, package, body.get("PackagePrerelease"))
        if version:
            result.append(_selection(action, package, version))
    return result


def _latest(
    state: State, channel: Document, action: Document, package: Document, prerelease: object
) -> str | None:
    rules = channel_rules.rules_for(channel, action, package.get("Name") or "")
    found = [
        item["Version"]
        for item in state.where("Packages", SpaceId=channel["SpaceId"], PackageId=package.get("PackageId"))
        if item["FeedId"] == package.get("FeedId")
        if all(channel_rules.is_satisfied(rule, item["Version"]) for rule in rules)
        if not prerelease or channel_rules.tag_of(item["Version"]).split("+")[0] == prerelease
    ]
    return versions.highest(found)


def template_packages(process: Document, last: Document | None = None) -> list[Document]:
    """What a release template asks for; `last` is the release before (source: docs, API reference, deployment processes)."""
    before = {
        (item["ActionName"], item["PackageReferenceName"]): item["Version"]
        for item in (last or {}).get("SelectedPackages", ())
    }
    return [
        {
            "ActionName": action["Name"],
            "StepName": action["Name"],
            "PackageReferenceName": package.get("Name") or "",
            "PackageId": package.get("PackageId"),
            "FeedId": package.get("FeedId"),
            "FeedName": package.get("FeedId"),
            "FixedVersion": package.get("Version"),
            "VersionSelectedLastRelease": before.get((action["Name"], package.get("Name") or "")),
            "IsResolvable": "#" + "{" not in str(package.get("PackageId")),
            "ProjectName": None,
        }
        for action, package in packages_of(process)
    ]


def test_rule(request: Request) -> Document:
    """Whether a version keeps a rule: `version`, `versionRange`, `preReleaseTag` in the query or the body (source: recorded
    root document in go-octopusdeploy; OctopusCLI, ChannelVersionRuleTester.cs)."""
    body = request.document() if request.method == "POST" else {}

    def given(name: str) -> str:
        return str(body.get(name[0].upper() + name[1:]) or request.query.first(name) or "")

    version, answers = given("version"), {}
    errors = [] if versions.is_version(version) else [f"'{version}' is not a version"]
    for name, check, text in (
        ("SatisfiesVersionRange", channel_rules.in_range, given("versionRange")),
        ("SatisfiesPreReleaseTag", channel_rules.has_tag, given("preReleaseTag")),
    ):
        try:
            answers[name] = not errors and check(version, text)
        except ValueError as error:
            answers[name] = False
            errors.append(str(error))
    return {**answers, "Errors": errors}


def missing(state: State, process: Document, selected: list[Document]) -> list[Document]:
    """Packages of the built-in feed that are not there any more, or not yet (source: go-octopusdeploy, pkg/releases,
    `GetMissingPackages`: "missing built-in feed packages associated with the release")."""
    feeds = {item["Id"] for item in state.collection("Feeds").values() if item["FeedType"] == "BuiltIn"}
    there = {
        (item["FeedId"], item["PackageId"].casefold(), item["Version"].casefold())
        for item in state.collection("Packages").values()
    }
    by_name = {
        (action["Name"], package.get("Name") or ""): package for action, package in packages_of(process)
    }
    found = []
    for item in selected:
        package = by_name.get((item["ActionName"], item["PackageReferenceName"]))
        if package is None or package.get("FeedId") not in feeds:
            continue
        key = (package["FeedId"], str(package.get("PackageId")).casefold(), item["Version"].casefold())
        if key not in there:
            found.append({"Id": package.get("PackageId"), "Version": item["Version"]})
    return found


def build_information(
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
