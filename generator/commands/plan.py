"""`octosteps plan`: what `apply` would change, for the library or, with coordination files, for the projects' steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from generator import history, importer, library, processes, publication, removal, saved_plan
from generator.apply import Write
from generator.coordination import WantedProcess, read_coordination
from generator.errors import Refusal
from generator.library import FoundTemplate
from generator.octopus import Client, server_root
from generator.octopus.permissions import Lack, Need, read_lack
from generator.outcome import Outcome, Progress, quiet
from generator.plan import Change, Plan, checksum_of, sorted_plan, summary, to_json, to_parts
from generator.saved_plan import SavedTarget, Wish
from generator.settings import Settings, read_settings
from generator.source import closest_or_all
from generator.step_template import StepTemplate
from generator.targets import Place, Reading, pick_targets, read_targets
from generator.workspace import Built, render_known, render_own

EXIT_CHANGES_WAIT = 4


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done in one space: the plan, the function that writes one unit of it, one that reads everything again and
    plans anew, and the permissions that changes need."""

    plan: Plan
    write: Write
    plan_again: Callable[[], Plan]
    needs: Callable[[Sequence[Change]], Iterable[Need]]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A job in one target's space; `lack` is what the account may not do of it."""

    job: Job
    lack: Lack
    client: Client

    @property
    def plan(self) -> Plan:
        return self.job.plan


def run(
    *,
    root: Path,
    files: Sequence[Path] = (),
    names: Sequence[str] = (),
    environ: Mapping[str, str],
    targets: Sequence[str] = (),
    all_targets: bool = False,
    space: str | None = None,
    force: bool = False,
    prune: bool = False,
    thorough: bool = False,
    out: Path | None = None,
    exit_code: bool = False,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Outcome:
    """The plan of each target, with exit code 0; 1 when one of several targets could not be read; with `exit_code` 4 when
    something would change or is in conflict. Nothing is written but the file `out`.

    Without `files` it is about the library at `root` (the built-in one when that has no specs) or those templates of either
    that are named; with coordination files about the steps in their projects. `http` is a ready client, for tests.
    """
    wish = Wish(files=tuple(map(str, files)), names=tuple(names), force=force, prune=prune, thorough=thorough)
    sought = Sought(names=targets, every=all_targets, space=space)
    with prepare(wish, root=root, environ=environ, sought=sought, progress=progress, http=http) as readings:
        parts = list(show(readings))
        if out is not None:
            parts.append(save(out, wish, readings))
    plans = plans_of(readings)
    waits = any(plan.writes or plan.conflicts for plan in plans)
    is_unread = len(plans) < len(readings)
    return Outcome(
        data=document(readings),
        parts=parts,
        lines=[line for plan in plans for line in to_lines(plan)],
        exit_code=1 if is_unread else EXIT_CHANGES_WAIT if exit_code and waits else 0,
    )


# --- reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sought:
    """The targets that a command line names; none of them is the environment's server."""

    names: Sequence[str] = ()
    every: bool = False
    space: str | None = None


Readings = Sequence[Reading[Prepared]]


@contextmanager
def prepare(
    wish: Wish,
    *,
    root: Path,
    environ: Mapping[str, str],
    sought: Sought | None = None,
    saved: Sequence[SavedTarget] = (),
    delete: Sequence[str] = (),
    progress: Progress = quiet,
    http: httpx.Client | None = None,
) -> Iterator[Readings]:
    """Everything that `plan` shows and `apply` needs, of each target. Faults of files are told before a server is asked anything.

    `saved` are the targets of a plan file, in place of those that are sought; `delete` names templates to delete instead.
    """
    if wish.files and wish.names:
        raise Refusal("give coordination files, or names of step templates, not both")
    if wish.prune and not wish.files:
        raise Refusal("--prune is about the steps of coordination files: name one")
    if wish.thorough and wish.files:
        raise Refusal("--thorough is about step templates, not about the steps of coordination files")
    if delete and (wish.files or wish.names):
        raise Refusal("--delete names the step templates to delete: give no files and no --name besides")
    known = render_wanted(root, wish)
    wanted = read_coordination([Path(file) for file in wish.files])
    chosen = () if wish.files or delete else choose(known, wish.names)
    settings = read_settings(root)
    if saved:
        places = find_places(saved, environ, settings)
    else:
        sought = sought or Sought()
        places = pick_targets(environ, settings, names=sought.names, every=sought.every, space=sought.space)
    inner = progress if len(places) == 1 else quiet  # a terminal shows one bar at a time

    def read(client: Client, name: str) -> Prepared:
        if delete:
            job = prepare_deletion(client, delete, known, force=wish.force)
        elif wish.files:
            job = prepare_steps(client, wanted, known, wish, progress=inner)
        else:
            job = prepare_library(client, [built.template for built in chosen], wish, progress=inner)
        lack = read_lack(client, job.needs(job.plan.writes))
        warnings = (*job.plan.warnings, *([f"{lack}: nothing can be written here"] if lack else ()))
        plan = replace(job.plan, name=name, warnings=warnings)
        return Prepared(job=replace(job, plan=plan), lack=lack, client=client)

    with ExitStack() as stack:
        yield told_apart(read_targets(places, read, stack=stack, progress=progress, http=http))


def told_apart(readings: Readings) -> Readings:
    """The same; a space that was named before under another name is a fault: two plans for it would undo each other."""
    seen: dict[str, str] = {}
    found = []
    for reading in readings:
        if reading.result is not None:
            place = f"{reading.result.client.root} {reading.result.client.where}".casefold()
            if place in seen:
                fault = Refusal(f"it is the same space as the target {seen[place]!r}: leave one of both out")
                reading = replace(reading, result=None, fault=fault)
            seen.setdefault(place, reading.name)
        found.append(reading)
    return found


def find_places(
    saved: Sequence[SavedTarget], environ: Mapping[str, str], settings: Settings
) -> tuple[Place, ...]:
    """The targets of a saved plan, each in the space that it was made for. Errors: Refusal when a name means another server."""
    places = []
    for target in saved:
        names = [target.name] if target.name else []
        [place] = pick_targets(environ, settings, names=names, space=target.space)
        url = server_root(place.target.url)
        if url.casefold() != target.url.casefold():
            called = f"target {target.name!r}" if target.name else "OCTOPUS_URL"
            raise Refusal(f"the plan was made for {target.url}, and {called} is {url} now: plan again")
        places.append(place)
    return tuple(places)


def render_wanted(root: Path, wish: Wish) -> Mapping[str, Built]:
    """The step templates that may be meant. Built-in ones take time to render: only where own ones are not all that is meant."""
    own = render_own(root)
    if own and not wish.files and set(wish.names) <= own.keys():
        return own
    return render_known(root)


def choose(known: Mapping[str, Built], names: Sequence[str]) -> tuple[Built, ...]:
    """The named step templates, or all of the user's own, or all built-in ones where there are no own ones."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refusal(f"unknown step template {unknown[0]!r}: {closest_or_all(unknown[0], known)}")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    return tuple(built for built in known.values() if not built.builtin) or tuple(known.values())


def prepare_library(
    client: Client, templates: Sequence[StepTemplate], wish: Wish, *, progress: Progress
) -> Job:
    wanted = {template.name: template for template in templates}

    def plan_now(*, thorough: bool = False) -> Plan:
        found = library.read_found(client)
        histories = history.read_histories(client, library.doubtful(templates, found))
        reserved = history.read_reserved(client, found, progress=progress) if thorough else {}
        changes = library.plan(templates, found, histories=histories, reserved=reserved, force=wish.force)
        lock_set, unseen = importer.plan_lock_set(client, wanted)
        warnings = (*library.warn(templates, found, histories), *unseen)
        return sorted_plan(client.where, (*changes, *lock_set), warnings)

    def write(changes: Sequence[Change]) -> Sequence[str]:
        if changes[0].kind == importer.LOCK_SET:
            return importer.write_lock_set(client)
        return publication.write(client, changes, wanted)

    def needs(changes: Sequence[Change]) -> Iterator[Need]:
        of_templates = [change for change in changes if change.kind != importer.LOCK_SET]
        yield from library.needs_of(of_templates)
        if len(of_templates) < len(changes):
            yield from importer.LOCK_SET_NEEDS

    return Job(plan=plan_now(thorough=wish.thorough), write=write, plan_again=plan_now, needs=needs)


def prepare_deletion(client: Client, names: Sequence[str], known: Mapping[str, Built], *, force: bool) -> Job:
    doomed = removal.find_named(names, library.read_found(client), client.where)
    identities = {template.id for template in doomed}

    def plan_for(templates: Sequence[FoundTemplate]) -> Plan:
        usages = {template.id: removal.read_usages(client, template) for template in templates}
        changes = removal.plan(templates, usages, force=force)
        return sorted_plan(client.where, changes, removal.warn(changes, known))

    return Job(
        plan=plan_for(doomed),
        write=lambda changes: publication.write(client, changes, {}),
        plan_again=lambda: plan_for([one for one in library.read_found(client) if one.id in identities]),
        needs=library.needs_of,
    )


def prepare_steps(
    client: Client,
    wanted: Sequence[WantedProcess],
    known: Mapping[str, Built],
    wish: Wish,
    *,
    progress: Progress,
) -> Job:
    found = processes.read_found(client, wanted, progress=progress)
    job = importer.prepare(client, wanted, found, known, force=wish.force, prune=wish.prune)
    return Job(plan=job.plan(), write=job.write, plan_again=job.plan_again, needs=job.needs)


# --- telling --------------------------------------------------------------------------------------------------------------


def plans_of(readings: Readings) -> tuple[Plan, ...]:
    """The plans of the targets that could be read."""
    return tuple(reading.result.plan for reading in readings if reading.result)


def show(readings: Readings) -> Iterator[str]:
    """Every target's plan under its name; where there are several, one line about all of them."""
    plans = plans_of(readings)
    if len(readings) == 1:
        yield from (part for plan in plans for part in to_parts(plan))
        return
    for reading in readings:
        if reading.result:
            yield from to_parts(reading.result.plan, tells_checksum=False)
        else:
            yield f"{reading.title}:\n  ! cannot be read: {reading.fault}"
        yield ""
    unread = len(readings) - len(plans)
    told = f" {unread} could not be read." if unread else ""
    yield f"{len(readings)} targets: {summary(*plans)}{told}"


def to_lines(plan: Plan) -> Iterator[str]:
    """What `-f basic` prints."""
    place = f"{plan.name}: " if plan.name else ""
    for change in plan.changes:
        if change.action != "leave":
            yield f"{place}{change.action} {change.name}"


def document(readings: Readings) -> dict[str, object]:
    """The plan as JSON; that of several targets has them in a list."""
    plans = plans_of(readings)
    if len(readings) == 1:
        return to_json(plans[0])
    return {"checksum": checksum_of(plans), "targets": [target_json(reading) for reading in readings]}


def target_json(reading: Reading[Prepared]) -> dict[str, object]:
    if reading.result:
        return to_json(reading.result.plan)
    return {"name": reading.name, "target": reading.url, "error": str(reading.fault)}


def save(out: Path, wish: Wish, readings: Readings) -> str:
    """Write the plan to a file and say so. Errors: Refusal where a target is missing from it."""
    unread = [reading for reading in readings if reading.result is None]
    if unread:
        return f"{out} was not written: {unread[0].title} could not be read."
    targets = [
        saved_plan.target_of(one.plan, url=one.client.root, space=one.client.space.id)
        for reading in readings
        if (one := reading.result) and one.client.space
    ]
    saved_plan.write(out, saved_plan.to_text(wish, targets))
    return f"Saved to {out}: `octosteps apply --plan {out}` does exactly this, or nothing."
