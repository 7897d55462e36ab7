"""`octosteps plan`: what `apply` would change, for the library or, with coordination files, for the projects' steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from generator import importer, library, processes, publication
from generator.apply import Write
from generator.coordination import WantedProcess, read_coordination
from generator.errors import Refusal
from generator.octopus import Client, connect, read_target
from generator.outcome import Outcome, Progress, quiet
from generator.plan import Plan, sorted_plan, to_json, to_parts
from generator.resolution import Found
from generator.settings import read_settings
from generator.source import closest_or_all
from generator.step_template import StepTemplate
from generator.workspace import Built, render_known

EXIT_CHANGES_WAIT = 4


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan, the function that writes one unit of it, and one that reads everything again and plans anew."""

    plan: Plan
    write: Write
    plan_again: Callable[[], Plan]


def run(
    *,
    root: Path,
    files: Sequence[Path] = (),
    names: Sequence[str] = (),
    environ: Mapping[str, str],
    target: str | None = None,
    space: str | None = None,
    force: bool = False,
    prune: bool = False,
    exit_code: bool = False,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Outcome:
    """The plan, with exit code 0; with `exit_code` 4 when something would change or is in conflict. Nothing is written.

    Without `files` it is about the library at `root` (the built-in one when that has no specs) or those templates of either
    that are named; with coordination files about the steps in their projects. `http` is a ready client, for tests.
    """
    with prepare(
        root=root,
        files=files,
        names=names,
        environ=environ,
        target=target,
        space=space,
        force=force,
        prune=prune,
        progress=progress,
        http=http,
    ) as prepared:
        plan = prepared.plan
    waits = bool(plan.writes or plan.conflicts)
    return Outcome(
        data=to_json(plan),
        parts=tuple(to_parts(plan)),
        lines=[f"{change.action} {change.name}" for change in plan.changes if change.action != "leave"],
        exit_code=EXIT_CHANGES_WAIT if exit_code and waits else 0,
    )


@contextmanager
def prepare(
    *,
    root: Path,
    files: Sequence[Path],
    names: Sequence[str],
    environ: Mapping[str, str],
    target: str | None,
    space: str | None,
    force: bool,
    prune: bool,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Iterator[Prepared]:
    """Everything that `plan` shows and `apply` needs. Faults of files are told before a server is asked anything."""
    if files and names:
        raise Refusal("give coordination files, or names of step templates, not both")
    if prune and not files:
        raise Refusal("--prune is about the steps of coordination files: name one")
    known = render_known(root)
    wanted = read_coordination(files)
    chosen = () if files else choose(known, names)
    place = read_target(environ, read_settings(root).targets, name=target, space=space)
    with connect(
        place.url, api_key=place.api_key, access_token=place.access_token, space=place.space, http=http
    ) as client:
        if files:
            found = processes.read_found(client, wanted, progress=progress)
            yield prepare_steps(client, wanted, found, known, force=force, prune=prune)
        else:
            yield prepare_library(client, [built.template for built in chosen], force=force)


def choose(known: Mapping[str, Built], names: Sequence[str]) -> tuple[Built, ...]:
    """The named step templates, or all of the user's own, or all built-in ones where there are no own ones."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refusal(f"unknown step template {unknown[0]!r}: {closest_or_all(unknown[0], known)}")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    return tuple(built for built in known.values() if not built.builtin) or tuple(known.values())


def prepare_library(client: Client, templates: Sequence[StepTemplate], *, force: bool) -> Prepared:
    wanted = {template.name: template for template in templates}

    def plan_now() -> Plan:
        return sorted_plan(client.where, library.plan(templates, library.read_found(client), force=force))

    return Prepared(
        plan=plan_now(),
        write=lambda changes: publication.write(client, changes, wanted),
        plan_again=plan_now,
    )


def prepare_steps(
    client: Client,
    wanted: Sequence[WantedProcess],
    found: Found,
    known: Mapping[str, Built],
    *,
    force: bool,
    prune: bool,
) -> Prepared:
    job = importer.prepare(client, wanted, found, known, force=force, prune=prune)
    return Prepared(plan=job.plan(), write=job.write, plan_again=job.plan_again)
