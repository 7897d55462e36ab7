"""Which route a path means: three spellings of every space-scoped path, literals without regard to case.

Source: docs, API reference (each page prints "Also reachable at"): `/api/spaces/{idOrSlug}/tasks`,
`/api/{spaceId}/tasks` and `/api/tasks`, the last meaning the default space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generator.emulator.requests import Request

# The only paths outside /api, beside the page (source: OctopusClients, OidcAccessTokenCache.cs).
OUTSIDE = {
    "/.well-known/openid-configuration": "/api/.well-known/openid-configuration",
    "/token/v1": "/api/token/v1",
}

Scope = Literal["system", "space", "mixed"]
Handler = Callable[[Request], Any]


@dataclass(frozen=True)
class Route:
    """`scope`: "system" = below /api only; "space" = in the three spellings; "mixed" = the same, but without a space
    in the path it means all spaces (the `spaces` parameter narrows it). `permission` None = every signed-in user."""

    method: str
    template: str
    handler: Handler
    permission: str | None = None
    scope: Scope = "space"
    anonymous: bool = False

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(part for part in self.template.lower().split("/") if part)


@dataclass(frozen=True, kw_only=True)
class Found:
    """`space` is the identifier in the path, None when it named none. `known` are the methods of the path when the
    route itself is None."""

    route: Route | None
    arguments: Mapping[str, str]
    space: str | None
    known: tuple[str, ...] = ()


# Placeholders whose value may hold slashes: servers decode `refs%2Fheads%2Fmain` before it gets here.
LONG = frozenset({"{gitref}", "{branchname}", "{refname}", "{tagname}"})


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[tuple[bool, int], list[tuple[tuple[str, ...], Route]]] = {}
        self._long: list[tuple[int, tuple[str, ...], Route]] = []
        for route in routes:
            segments = route.segments
            for position, segment in enumerate(segments):
                if segment in LONG:
                    self._long.append((position, segments, route))
            self._by_length.setdefault((route.scope == "system", len(segments)), []).append((segments, route))
        for rows in self._by_length.values():
            # A literal goes before a placeholder: `actiontemplates/all` is not a template named "all".
            rows.sort(key=lambda row: [part.startswith("{") for part in row[0]])

    def find(self, method: str, path: str) -> Found | None:
        """The route of `/api/...`, a Found without route when only the method is wrong, None for an unknown path."""
        path = OUTSIDE.get(path.lower().rstrip("/"), path)
        parts = [part for part in path.split("/") if part]
        if not parts or parts[0].lower() != "api":
            return None
        rest = parts[1:]
        others: list[str] = []
        for is_system, space, below in _readings(rest):
            for segments, route in self._by_length.get((is_system, len(below)), []):
                arguments = _match(segments, below)
                if arguments is None:
                    continue
                if route.method == method:
                    return Found(route=route, arguments=arguments, space=space)
                others.append(route.method)
            for position, segments, route in self._long:
                folded = _folded(segments, below, position)
                arguments = _match(segments, folded) if folded and not is_system else None
                if arguments is not None and route.method == method:
                    return Found(route=route, arguments=arguments, space=space)
        if others:
            return Found(route=None, arguments={}, space=None, known=tuple(sorted(set(others))))
        return None


def _readings(rest: list[str]) -> list[tuple[bool, str | None, list[str]]]:
    """The ways to read what follows `/api`: (is it system-wide, the space it names, the rest)."""
    readings: list[tuple[bool, str | None, list[str]]] = [(True, None, rest)]
    if rest and re.fullmatch(r"spaces-\d+", rest[0], re.IGNORECASE):
        readings.append((False, rest[0], rest[1:]))
    elif len(rest) >= 3 and rest[0].lower() == "spaces":
        readings.append((False, rest[1], rest[2:]))
    elif rest:
        readings.append((False, None, rest))
    return readings


def _folded(segments: tuple[str, ...], parts: list[str], position: int) -> list[str] | None:
    """`parts` with so many joined at `position` that there are as many as `segments`, None when there are too few."""
    extra = len(parts) - len(segments)
    if extra < 1:
        return None
    joined = "/".join(parts[position : position + extra + 1])
    return [*parts[:position], joined, *parts[position + extra + 1 :]]


def _match(segments: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    arguments = {}
    for segment, part in zip(segments, parts, strict=True):
        if segment.startswith("{"):
            arguments[segment[1:-1]] = part
        elif segment != part.lower():
            return None
    return arguments
