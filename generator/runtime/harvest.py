"""What a child leaves behind for the steps that follow: its output variables, and the notes of the releases it brings."""

from __future__ import annotations

import re
from typing import Any, Mapping, Sequence

from generator.runtime.api import PAGE_SIZE, Api
from generator.runtime.record import Record
from generator.runtime.versions import version_or_none

OUTPUT = r"Octopus\.Action\[(?P<step>.+?)\]\.Output(?:\[(?P<machine>.+?)\])?\.(?P<name>.+)"
LONGEST_NOTES = 8000  # characters; how much an output variable may hold is not documented
MOST_RELEASES = 500


class ChildOutput(Record):
    step: str
    machine: str
    name: str
    value: str

    @property
    def spelled(self) -> str:
        """As the built-in step names it, behind `Octopus.Action[Ours].Output.` (source: docs, Deploy a release step)."""
        return f"Deployment[{self.step}]" + (f"[{self.machine}]" if self.machine else "") + f".{self.name}"


def child_outputs(
    api: Api, deployment: Mapping[str, Any], patterns: Sequence[str]
) -> tuple[list[ChildOutput], list[str]]:
    """The output variables that one of `patterns` admits, as `Step.Name`; and the names of those whose value is secret.

    Whether the manifest of a deployment holds them is unconfirmed; without them the lists are empty.
    """
    import fnmatch

    document = api.get(f"variables/{deployment['ManifestVariableSetId']}")
    found: list[ChildOutput] = []
    secret: list[str] = []
    for variable in document.get("Variables") or ():
        match = re.fullmatch(OUTPUT, variable.get("Name") or "")
        if match is None:
            continue
        step, name = match.group("step"), match.group("name")
        if not any(fnmatch.fnmatchcase(f"{step}.{name}".lower(), pattern.lower()) for pattern in patterns):
            continue
        if variable.get("IsSensitive") or not isinstance(variable.get("Value"), str):
            secret.append(f"{step}.{name}")
            continue
        found.append(ChildOutput(step, match.group("machine") or "", name, variable["Value"]))
    return found, secret


def releases_between(
    api: Api, project: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The releases in the new one's channel after `old` up to `new`, the newest first; only `new` when it is not newer.

    By version where all numbers are versions, else by the order of their creation.
    """
    path = "projects/{}/releases".format(project["Id"])
    listed: list[Mapping[str, Any]] = []
    for release in api.pages(path, take=PAGE_SIZE):
        listed.append(release)
        if len(listed) >= MOST_RELEASES:
            break
    inside = [one for one in listed if one.get("ChannelId") == new.get("ChannelId")]
    low, high = version_or_none(old["Version"]) if old else None, version_or_none(new["Version"])
    if not old:
        return [new]
    ranked = [(version_or_none(one["Version"]), one) for one in inside]
    if low is not None and high is not None and all(version is not None for version, _ in ranked):
        chosen = [
            (version.rank(), one)
            for version, one in ranked
            if version is not None and low.rank() < version.rank() <= high.rank()
        ]
        return [one for _, one in sorted(chosen, key=lambda pair: pair[0], reverse=True)] or [new]
    between: list[Mapping[str, Any]] = []
    for one in inside:
        if one["Id"] == old["Id"]:
            break
        if between or one["Id"] == new["Id"]:
            between.append(one)
    return between or [new]


def notes_as_text(releases: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, one heading a release."""
    parts = [f"## {one['Version']}\n\n{(one.get('ReleaseNotes') or 'No notes.').strip()}" for one in releases]
    return "\n\n".join(parts)


def shortened(text: str) -> str:
    """As much as an output variable is given."""
    if len(text) <= LONGEST_NOTES:
        return text
    return text[:LONGEST_NOTES].rstrip() + "\n\n(shortened: the whole text is the task's artifact)"
