"""Release numbers: what counts as one, their order, and the next one by a project's template. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 349  # source: docs, API reference, releases

_VERSION = re.compile(
    r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.(\d+))?(?:[-_.]?([0-9A-Za-z][0-9A-Za-z.\-_]*))?(?:\+([0-9A-Za-z.\-_]+))?",
    re.IGNORECASE,
)
_PART = re.compile(
    r"#\{\s*Octopus\.Version\.(Last|Next)(Major|Minor|Patch|Build|Revision|Suffix)\s*\}", re.IGNORECASE
)
_POSITIONS = {"major": 0, "minor": 1, "patch": 2, "build": 2, "revision": 3}

Order = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def is_version(text: str) -> bool:
    return len(text) <= LONGEST and _VERSION.fullmatch(text) is not None


def order(text: str) -> Order:
    """A key that sorts as SemVer does: numbers first, a prerelease before its release."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return (), False, ()
    numbers = tuple(int(part or 0) for part in match.groups()[:4])
    suffix = match[5] or ""
    parts = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part.lower())
        for part in re.split(r"[.\-_]", suffix)
        if part
    )
    return numbers, not suffix, parts


def highest(versions: Iterable[str]) -> str | None:
    return max(versions, key=order, default=None)


def next_version(template: str, last: str | None) -> str:
    """`template` with the parts of the last release filled in.

    Source: docs, Release versioning (`#{Octopus.Version.LastMajor}`, `...NextPatch`, and `i` for the next number).
    """
    numbers = list(order(last)[0]) if last else [0, 0, 0, 0]

    def part(match: re.Match[str]) -> str:
        position = _POSITIONS.get(match[2].lower())
        if position is None:
            return ""
        return str(numbers[position] + (1 if match[1].lower() == "next" else 0))

    filled = _PART.sub(part, template)
    pieces = filled.split(".")
    for position, piece in enumerate(pieces[:4]):
        if piece == "i":
            pieces[position] = str(numbers[position] + 1)
        elif piece == "c":
            pieces[position] = str(numbers[position])
    return ".".join(pieces)
