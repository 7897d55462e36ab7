"""Which release: from what a person wrote to one release of a project."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from generator.runtime.api import PAGE_SIZE, Api
from generator.runtime.lookup import NotFound, read_release
from generator.runtime.record import Record
from generator.runtime.versions import VersionRange, parse_version_range, version_or_none

RELEASE_WORDS = ("latest", "highest", "same")


class ReleaseChoice(Record):
    """`rule` is latest, highest, same, exact or range; `number` of an exact one, `admitted` of a range."""

    rule: str
    text: str
    number: str = ""
    admitted: Optional[VersionRange] = None

    def __str__(self) -> str:
        return self.text

    def resolved(self, own_number: str) -> ReleaseChoice:
        """With `same` replaced by the release that the running deployment itself deploys. Raises NotFound without one."""
        if self.rule != "same":
            return self
        if not own_number:
            raise NotFound("'same' means the release of the running deployment, and a runbook has none")
        return ReleaseChoice("exact", own_number, number=own_number)

    def admits(self, number: str) -> bool:
        """Whether release `number` is meant: versions are compared as such (`1.0` is `1.0.0`), others as text, ignoring case."""
        found = version_or_none(number)
        if self.admitted is not None:
            return found is not None and self.admitted.admits(found)
        exact = version_or_none(self.number)
        if found is not None and exact is not None:
            return found.rank() == exact.rank()
        return number.lower() == self.number.lower()


def parse_release_choice(text: str) -> ReleaseChoice:
    """`latest`, `highest`, `same`, a release number, `2026.4.*`, or a range such as `[1.0,2.0)`.

    A number need not look like a version, for Octopus keeps older schemes; ValueError only for a broken range.
    """
    word = text.strip()
    if word.lower() in RELEASE_WORDS:
        return ReleaseChoice(word.lower(), word.lower())
    if word[0] in "[(" or word.endswith("*") or "," in word:
        return ReleaseChoice("range", word, admitted=parse_version_range(word))
    return ReleaseChoice("exact", word, number=word)


def parse_wanted_release(text: str) -> ReleaseChoice:
    """Like `parse_release_choice`, where only releases that are already somewhere count: no `latest`, no `highest`."""
    choice = parse_release_choice(text)
    if choice.rule in ("latest", "highest"):
        raise ValueError(f"{text!r} says nothing here: write a release number, a range, or same")
    return choice


def choose_release(
    api: Api,
    project: Mapping[str, Any],
    choice: ReleaseChoice,
    channel: Optional[Mapping[str, Any]],
    own_number: str,
    *,
    admits: Optional[Callable[[str], bool]] = None,
) -> Mapping[str, Any]:
    """The one release that `choice` means. `own_number` is the release that the running deployment itself deploys.

    `admits` says which numbers may be chosen; one that is named exactly is not asked. `latest` is the newest by creation,
    `highest` and ranges go by SemVer precedence over all releases. Raises NotFound.
    """
    if choice.rule in ("exact", "same"):
        number = choice.resolved(own_number).number
        release = read_release(api, project, number)
        if channel is not None and release["ChannelId"] != channel["Id"]:
            raise NotFound(
                "release {} of {} is not in the channel {}".format(number, project["Name"], channel["Name"])
            )
        return release
    # A channel's own list of releases has moved between server versions; the project's list has not.
    path = "projects/{}/releases".format(project["Id"])
    if choice.rule == "latest":
        for release in api.pages(path, take=1 if channel is None and admits is None else PAGE_SIZE):
            if (channel is None or release.get("ChannelId") == channel["Id"]) and (
                admits is None or admits(release["Version"])
            ):
                return release
        kind = " that the pre-release filter admits" if admits is not None else ""
        raise NotFound("{} has no release{}{}".format(project["Name"], kind, within(channel)))
    releases = [
        release for release in api.pages(path) if channel is None or release.get("ChannelId") == channel["Id"]
    ]
    if admits is not None:
        releases = [release for release in releases if admits(release["Version"])]
    return highest_release(releases, choice, project, channel)


def highest_release(
    releases: list[Mapping[str, Any]],
    choice: ReleaseChoice,
    project: Mapping[str, Any],
    channel: Optional[Mapping[str, Any]],
) -> Mapping[str, Any]:
    """The greatest admitted number; of equal ones the first. Numbers that are no versions cannot be compared and never win."""
    ranked = []
    for release in releases:
        version = version_or_none(release["Version"])
        if version is not None and (choice.admitted is None or choice.admitted.admits(version)):
            ranked.append((version.rank(), release))
    if not ranked:
        raise NotFound(
            "{} has no release that is {}{}: looked at {} releases".format(
                project["Name"], choice, within(channel), len(releases)
            )
        )
    best = ranked[0]
    for candidate in ranked[1:]:
        if candidate[0] > best[0]:
            best = candidate
    return best[1]


def within(channel: Optional[Mapping[str, Any]]) -> str:
    return " in the channel {}".format(channel["Name"]) if channel is not None else ""


def is_newer(number: str, other: str) -> Any:
    """Whether release `number` comes after `other`; None when one of the two is no version."""
    ours, theirs = version_or_none(number), version_or_none(other)
    if ours is None or theirs is None:
        return None
    return ours.rank() > theirs.rank()
