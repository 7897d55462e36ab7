"""Version rules of channels: which package versions a release in a channel may hold. Pure functions.

Source: docs, Channels, Design the version rules (NuGet or Maven ranges; the pre-release tag is a regular expression over
everything after the first hyphen, build metadata included). Rules count only when a release is made (same page). The
expression is Python's here and .NET's there; whether case matters is unconfirmed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from generator.emulator import versions
from generator.emulator.documents import Document, same_name

_INTERVAL = re.compile(r"\s*([\[(])\s*([^,\[\]()]*?)\s*(?:(,)\s*([^,\[\]()]*?)\s*)?([\])])\s*")


def in_range(version: str, text: str) -> bool:
    """True when `version` lies in a NuGet range (`[1.0,2.0)`, `[1.0]`, `(,2.0]`, `1.0` = that or newer) or in one of Maven's
    several intervals (`[1.0,2.0),[3.0,)`). Errors: ValueError for anything else."""
    text = text.strip()
    if not text:
        return True
    if versions.is_version(text):
        return versions.order(version) >= versions.order(text)
    position, found = 0, False
    while position < len(text):
        match = _INTERVAL.match(text, position)
        if match is None:
            raise ValueError(f"'{text}' is not a version range")
        found = found or _inside(version, match)
        position = match.end()
        if position < len(text):
            if text[position] != ",":
                raise ValueError(f"'{text}' is not a version range")
            position += 1
    return found


def _inside(version: str, match: re.Match[str]) -> bool:
    opening, low, comma, high, closing = match.groups()
    for bound in (low, high):
        if bound and not versions.is_version(bound):
            raise ValueError(f"'{bound}' is not a version")
    here = versions.order(version)
    if comma is None:  # `[1.0]`
        return bool(low) and opening == "[" and closing == "]" and here == versions.order(low)
    if low and not (here > versions.order(low) or (opening == "[" and here == versions.order(low))):
        return False
    return not high or here < versions.order(high) or (closing == "]" and here == versions.order(high))


def tag_of(version: str) -> str:
    """`1.0.0-beta.2+sha` -> `beta.2+sha`, `1.0.0+sha` -> `+sha`, `1.0.0` -> ``."""
    numbers = re.match(r"[vV]?[\d.]*", version)
    rest = version[numbers.end() :] if numbers else ""
    return rest[1:] if rest.startswith("-") else rest


def has_tag(version: str, pattern: str) -> bool:
    """Errors: ValueError for a pattern that is no regular expression."""
    try:
        return re.search(pattern, tag_of(version)) is not None
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a regular expression: {error}") from None


def is_satisfied(rule: Mapping[str, Any], version: str) -> bool:
    """A rule that cannot be read is never satisfied."""
    try:
        return in_range(version, rule.get("VersionRange") or "") and has_tag(version, rule.get("Tag") or "")
    except ValueError:
        return False


def rules_for(channel: Document, action: Document, package: str) -> list[Document]:
    """The rules about one package of an action, which they name by its name or its id."""
    return [
        rule
        for rule in channel["Rules"]
        for named in rule.get("ActionPackages") or ()
        if named.get("DeploymentAction") == action["Id"] or same_name(named.get("DeploymentAction"), action["Name"])
        if (named.get("PackageReference") or "") == package
    ]  # fmt: skip


def violations(
    channel: Document, packages: Iterable[tuple[Document, Document]], selected: Iterable[Document]
) -> list[str]:
    """Names of the actions with a version that the channel does not admit. `packages` are (action, package) pairs."""
    chosen = {(item["ActionName"], item["PackageReferenceName"]): item["Version"] for item in selected}
    found = []
    for action, package in packages:
        name = package.get("Name") or ""
        version = chosen.get((action["Name"], name))
        rules = rules_for(channel, action, name)
        if version is not None and not all(is_satisfied(rule, version) for rule in rules):
            found.append(str(action["Name"]))
    return list(dict.fromkeys(found))
