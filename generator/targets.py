"""The servers and spaces that a command line means, and opening them side by side. What is asked of them is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx

from generator.errors import Problems, Refusal
from generator.octopus import Client, Target, connect, read_target, server_root
from generator.octopus.pace import Paces
from generator.outcome import Progress
from generator.settings import Settings

Result = TypeVar("Result")
MOST_AT_ONCE = 8
"""How many targets are read at the same time."""


@dataclass(frozen=True, kw_only=True)
class Reading(Generic[Result]):
    """What was read of one target; `fault` says why nothing was. `name` is "" for the environment's server."""

    name: str
    url: str
    result: Result | None = None
    fault: Refusal | Problems | None = None

    @property
    def title(self) -> str:
        return f"{self.name} ({self.url})" if self.name else self.url


@dataclass(frozen=True, kw_only=True)
class Place:
    """A target with the name that octosteps.yaml gives it, or ""."""

    name: str
    target: Target


def pick_targets(
    environ: Mapping[str, str],
    settings: Settings,
    *,
    names: Sequence[str] = (),
    every: bool = False,
    space: str | None = None,
) -> tuple[Place, ...]:
    """The named targets of octosteps.yaml, every one of them, or the environment's server. Errors: Refusal."""
    if every and names:
        raise Refusal("give --target, or --all-targets, not both")
    if every:
        names = list(settings.targets)
        if not names:
            raise Refusal("--all-targets: octosteps.yaml names no targets")
    if not names:
        return (Place(name="", target=read_target(environ, settings.targets, space=space)),)
    return tuple(
        Place(name=name, target=read_target(environ, settings.targets, name=name, space=space))
        for name in dict.fromkeys(names)
    )


def read_targets(
    places: Sequence[Place],
    read: Callable[[Client, str], Result],
    *,
    stack: ExitStack,
    progress: Progress,
    http: httpx.Client | None = None,
) -> tuple[Reading[Result], ...]:
    """What `read(client, name)` gives for each target, in their order, several at the same time. The clients stay open until
    `stack` closes. A target that cannot be read is told in its Reading; when there is only one, its fault is raised."""
    paces = Paces()

    def read_one(place: Place) -> Reading[Result]:
        target, url = place.target, server_root(place.target.url)
        pace = paces.of(url, target.access_token or target.api_key or "")
        try:
            client = connect(
                url,
                api_key=target.api_key,
                access_token=target.access_token,
                space=target.space,
                http=http,
                pace=pace,
            )
            stack.callback(client.close)
            return Reading(name=place.name, url=url, result=read(client, place.name))
        except (Refusal, Problems) as fault:
            return Reading(name=place.name, url=url, fault=fault)

    if len(places) == 1:
        reading = read_one(places[0])
        if reading.fault:
            raise reading.fault
        return (reading,)
    with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(places))) as pool:
        begun = [pool.submit(read_one, place) for place in places]
        return tuple(future.result() for future in progress(begun, "Reading targets"))
