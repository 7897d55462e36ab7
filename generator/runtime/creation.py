"""Creating a release exactly once: the number is computed first and created by name, and found again by a mark in its notes."""

from __future__ import annotations

import re
import urllib.parse
from datetime import datetime
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError, LostAnswer
from generator.runtime.lookup import NotFound, read_release
from generator.runtime.moments import moment_or_none
from generator.runtime.record import Record
from generator.runtime.step import GAVE_UP, MISCONFIGURED, StepFailure
from generator.runtime.versions import parse_version_range, version_or_none

MOST_TRIES = 5
LOOK_FOR_LOST_RELEASE = 60.0
LOOK_AGAIN = 5.0
NEWEST_VERSIONS = 50


class Recipe(Record):
    """What a new release is made of. `number` "" is the next one; `packages` are `Step:Version`, `Step:Reference:Version`
    or `PackageId:Version`; `key` names the intention, `since`: nothing of ours is older."""

    number: str
    packages: Sequence[str]
    package_version: str
    git_ref: str
    git_commit: str
    notes: str
    key: str
    since: Optional[datetime]

    @property
    def mark(self) -> str:
        return f"[octosteps release {self.key}]"


class PlannedRelease(Record):
    """The body of the POST, and its packages in words."""

    body: Mapping[str, Any]
    words: str


def find_made(api: Api, project: Mapping[str, Any], recipe: Recipe) -> Optional[Mapping[str, Any]]:
    """The release that an earlier try of this step made."""
    for release in api.pages("projects/{}/releases".format(project["Id"])):
        assembled = moment_or_none(release.get("Assembled"))
        if recipe.since is not None and assembled is not None and assembled < recipe.since:
            return None
        if recipe.mark in (release.get("ReleaseNotes") or ""):
            return release
    return None


def find_numbered(api: Api, project: Mapping[str, Any], number: str) -> Optional[Mapping[str, Any]]:
    try:
        return read_release(api, project, number)
    except NotFound:
        return None


def agrees(release: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Why a release of that number is not the one that is wanted; "" when it is."""
    if release["ChannelId"] != body["ChannelId"]:
        return "it is in another channel"
    wanted = {package_key(one): one["Version"] for one in body["SelectedPackages"]}
    found = {package_key(one): one["Version"] for one in release.get("SelectedPackages") or ()}
    for key, version in wanted.items():
        if found.get(key) != version:
            return f"its package of {key[0]} is {found.get(key) or 'none'}, wanted {version}"
    return ""


def package_key(package: Mapping[str, Any]) -> tuple[str, str]:
    return package.get("ActionName") or package.get("StepName") or "", package.get(
        "PackageReferenceName"
    ) or ""


def plan_release(
    api: Api, project: Mapping[str, Any], channel: Mapping[str, Any], recipe: Recipe
) -> PlannedRelease:
    """What is to be created, by reading alone."""
    path = "deploymentprocesses/{}/template".format(project.get("DeploymentProcessId"))
    reference = None
    if project.get("IsVersionControlled"):
        git_ref = recipe.git_ref or (project.get("PersistenceSettings") or {}).get("DefaultBranch") or "main"
        reference = {"GitRef": git_ref}
        if recipe.git_commit:
            reference["GitCommit"] = recipe.git_commit
        source = urllib.parse.quote(recipe.git_commit or git_ref, safe="")
        path = "projects/{}/{}/deploymentprocesses/template".format(project["Id"], source)
    elif recipe.git_ref or recipe.git_commit:
        raise StepFailure(MISCONFIGURED, f"{project['Name']} is not version-controlled: it has no git_ref")
    template = api.get(path, channel=channel["Id"])
    packages = select_packages(api, channel, template.get("Packages") or [], recipe)
    number = recipe.number or next_number(template, packages)
    body = {
        "SpaceId": api.space,
        "ProjectId": project["Id"],
        "ChannelId": channel["Id"],
        "Version": number,
        "SelectedPackages": packages,
        "ReleaseNotes": "\n\n".join(part for part in (recipe.notes, recipe.mark) if part),
    }
    if reference is not None:
        body["VersionControlReference"] = reference
    words = ", ".join(f"{one['ActionName']} {one['Version']}" for one in packages)
    source_words = f" from {recipe.git_commit or reference['GitRef']}" if reference is not None else ""
    return PlannedRelease(
        body, f"{number} in the channel {channel['Name']}{source_words}" + (f" with {words}" if words else "")
    )


def next_number(template: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]) -> str:
    """The next by the project's own rule: an increment, or the version of one of its packages."""
    if template.get("NextVersionIncrement"):
        return str(template["NextVersionIncrement"])
    donor = (
        template.get("VersioningPackageStepName") or "",
        template.get("VersioningPackageReferenceName") or "",
    )
    for package in packages:
        if package_key(package) == donor:
            return str(package["Version"])
    raise NotFound("the project does not say which number comes next: write create NUMBER")


def select_packages(
    api: Api, channel: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]], recipe: Recipe
) -> list[Mapping[str, Any]]:
    """A version for every package of the process: as named, else the newest that the channel's rule allows."""
    unused = set(recipe.packages)
    selected: list[Mapping[str, Any]] = []
    for package in wanted:
        action, reference = (
            package.get("ActionName") or package.get("StepName") or "",
            package.get("PackageReferenceName") or "",
        )
        version = recipe.package_version or package.get("FixedVersion") or ""
        for text in recipe.packages:
            name, _, number = text.rpartition(":")
            names = {action, f"{action}:{reference}", package.get("PackageId") or ""}
            if name.lower() in {one.lower() for one in names if one}:
                version = number
                unused.discard(text)
        selected.append(
            {
                "ActionName": action,
                "PackageReferenceName": reference,
                "Version": version or newest_version(api, channel, package, action, reference),
            }
        )
    if unused:
        known = ", ".join(dict.fromkeys(one.get("ActionName") or "" for one in wanted)) or "none"
        raise NotFound(
            f"the process has no package for {', '.join(sorted(unused))} (steps with packages: {known})"
        )
    return selected


def newest_version(
    api: Api, channel: Mapping[str, Any], package: Mapping[str, Any], action: str, reference: str
) -> str:
    """The newest that the channel's rule for this package allows, or of all when it has none. Raises NotFound."""
    versions, tag = "", ""
    for rule in channel.get("Rules") or ():
        for one in rule.get("ActionPackages") or ():
            if (one.get("DeploymentAction"), one.get("PackageReference") or "") == (action, reference):
                versions, tag = rule.get("VersionRange") or "", rule.get("Tag") or ""
    feed, name = package["FeedId"], package["PackageId"]
    page = api.get(
        f"feeds/{feed}/packages/versions",
        packageId=name,
        take=NEWEST_VERSIONS,
        versionRange=versions or None,
        preReleaseTag=tag or None,
        includePreRelease="true",
    )
    for item in page.get("Items") or ():
        if rule_admits(item["Version"], versions, tag):
            return str(item["Version"])
    rule_words = (
        f" that the channel {channel['Name']} allows ({' '.join(part for part in (versions, tag) if part)})"
    )
    raise NotFound(
        f"the feed has no version of {name}"
        + (rule_words if versions or tag else "")
        + f", for the step {action}"
    )


def rule_admits(number: str, versions: str, tag: str) -> bool:
    """Whether a channel's rule admits the version: a NuGet range, where a lone version means that or newer, and a regular
    expression for the pre-release (source: docs, Channels). What cannot be read here, the server's own filter has judged."""
    version = version_or_none(number)
    if version is None:
        return True
    if versions:
        lone = version_or_none(versions)
        try:
            admitted = (
                version.rank() >= lone.rank() if lone else parse_version_range(versions).admits(version)
            )
        except ValueError:
            admitted = True
        if not admitted:
            return False
    try:
        return not tag or re.search(tag, ".".join(version.prerelease)) is not None
    except re.error:
        return True


def create_release(
    api: Api, project: Mapping[str, Any], channel: Mapping[str, Any], recipe: Recipe
) -> tuple[Mapping[str, Any], str]:
    """The release, and how it came about. Raises StepFailure when the number is taken by a release that is another one."""
    made = find_made(api, project, recipe)
    if made is not None:
        return made, "an earlier run of this step created it"
    for _ in range(MOST_TRIES):
        planned = plan_release(api, project, channel, recipe)
        number = planned.body["Version"]
        # Looked for again once the number is known: a copy of this step that has created its release before has moved the next
        # number on, and one that does so after this takes the very number, so that the server refuses ours.
        found = find_numbered(api, project, number) if recipe.number else find_made(api, project, recipe)
        if found is None:
            found = post_release(api, project, planned.body)
            if found is not None and recipe.mark in (found.get("ReleaseNotes") or ""):
                return found, f"created: {planned.words}"
        if found is not None and recipe.mark in (found.get("ReleaseNotes") or ""):
            return found, "another run of this step created it"
        if found is not None and recipe.number:
            why = agrees(found, planned.body)
            if why:
                raise StepFailure(
                    MISCONFIGURED, f"{project['Name']} has a release {number} already, and {why}"
                )
            return found, "it exists already"
        api.tell(f"The number {number} has just been taken by somebody else.")
    raise StepFailure(
        GAVE_UP,
        f"every next number of {project['Name']} was taken {MOST_TRIES} times before it could be created",
    )


def post_release(
    api: Api, project: Mapping[str, Any], body: Mapping[str, Any]
) -> Optional[Mapping[str, Any]]:
    """The release of that number after one POST, whoever made it; None when it is to be tried again."""
    number = body["Version"]
    try:
        made: Mapping[str, Any] = api.post("releases", body)
        return made
    except LostAnswer as error:
        api.tell(
            f"{error.sentence}. Looking for {LOOK_FOR_LOST_RELEASE:.0f} s whether it was created all the same."
        )
        deadline = api.clock() + LOOK_FOR_LOST_RELEASE
        while api.clock() < deadline:
            found = find_numbered(api, project, number)
            if found is not None:
                return found
            api.sleep(LOOK_AGAIN)
        return None
    except ApiError as error:
        if error.status == 429:
            api.sleep(max(LOOK_AGAIN, min(error.retry_after, LOOK_FOR_LOST_RELEASE)))
            return None
        found = find_numbered(api, project, number)
        if found is None:
            raise
        return found
