"""Importing in one piece: everything that coordination files change in a space, and writing it.

Steps are the business of `processes`, a project's concurrency tag of `concurrency_tag`, the set that locks live in of `locks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from generator import concurrency_tag, locks, processes
from generator.coordination import WantedProcess, WantedStep
from generator.octopus import ApiError, Client
from generator.octopus.permissions import Need
from generator.plan import Change, Plan, sorted_plan
from generator.process_draft import ReadyProcess
from generator.resolution import (
    Found,
    resolve,
    resolve_tags,
    warn_unknown_variables,
    warn_unpublished,
)
from generator.runtime.lock_state import LOCK_SET_NAME
from generator.workspace import Built

LOCK_SET = "library variable set"
LOCK_SET_NEEDS = (Need(permission="LibraryVariableSetCreate"), Need(permission="VariableEdit"))


@dataclass(frozen=True, kw_only=True)
class Import:
    """Coordination files that have met a space: `plan` compares, `write` carries out the changes of one unit."""

    client: Client
    wanted: Sequence[WantedProcess]
    found: Found
    ready: Mapping[str, ReadyProcess]
    tags: Mapping[str, concurrency_tag.ReadyTag]
    templates: Mapping[str, Built]
    force: bool
    prune: bool

    def plan(self) -> Plan:
        """What would change as of the first read, with everything that a person should look at."""
        return self._plan_of(self.found, is_first=True)

    def plan_again(self) -> Plan:
        """The same from a fresh read of processes and variables."""
        return self._plan_of(processes.read_again(self.client, self.found), is_first=False)

    def _plan_of(self, found: Found, *, is_first: bool) -> Plan:
        outlines = processes.plan(tuple(self.ready.values()), found, force=self.force, prune=self.prune)
        changes = [change for each in outlines for change in each.changes]
        variable_sets = {place.project.id: place.project.variable_set for place in found.processes.values()}
        for tag in self.tags.values():
            document = variable_sets[tag.owner]
            if document is not None:
                changes += concurrency_tag.outline(tag, document, force=self.force, prune=self.prune).changes
        lock_set, unseen = plan_lock_set(self.client, self._locking_here())
        changes += lock_set
        warnings = [*(warning for each in outlines for warning in each.warnings), *unseen]
        if is_first:
            known = {name: built.template for name, built in self.templates.items()}
            warnings += [
                *warn_unpublished(self.wanted, found, known),
                *warn_unknown_variables(self.wanted, found),
                *self._tell_waiting(changes),
                *self._tell_locks_elsewhere(),
            ]
        return sorted_plan(self.client.where, changes, warnings)

    def _tell_waiting(self, changes: Sequence[Change]) -> Iterator[str]:
        """A sentence for each branch that has all that the file wants, and that nobody has merged yet."""
        busy = {change.unit for change in changes if change.writes or change.action == "conflict"}
        for process in self.ready.values():
            branch = process.branch
            if branch is not None and branch.waits and process.where not in busy:
                yield f"{process.where}: branch {branch.name!r} waits to be merged into {branch.base!r}"

    def _locking_here(self) -> set[str]:
        """The step templates in use whose locks are kept in this space."""
        return {step.template for _, step, space in self._locking_steps() if not space}

    def _tell_locks_elsewhere(self) -> Iterator[str]:
        for process, step, space in self._locking_steps():
            if space:
                yield (
                    f"{process.where}: {step.name}: its locks are kept in space {space!r}, which needs the set for them: "
                    f"octosteps apply -s {space!r} -n {step.template!r}"
                )

    def _locking_steps(self) -> Iterator[tuple[WantedProcess, WantedStep, str]]:
        """Each step that takes or gives back a lock, and the space that it names for it; empty for this one."""
        here = self.client.space
        names = {"", *((here.id, here.name, here.slug) if here else ())}
        for process in self.wanted:
            for step in process.steps:
                if step.template in locks.LOCK_TEMPLATES:
                    space = str(step.values.get("space") or "").strip()
                    yield process, step, "" if "#{" in space or space in names else space

    def write(self, changes: Sequence[Change]) -> Sequence[str]:
        """Carry out the changes of one unit. Nothing is to be told afterwards: no edit of others is lost."""
        unit, options = changes[0].unit, {"force": self.force, "prune": self.prune}
        if changes[0].kind == LOCK_SET:
            return write_lock_set(self.client)
        if changes[0].kind == concurrency_tag.KIND:
            concurrency_tag.write(self.client, changes, self.tags[unit], **options)
        else:
            processes.write(self.client, changes, self.ready[unit], **options)
        return ()

    def needs(self, changes: Sequence[Change]) -> Iterator[Need]:
        """The permissions without which these changes cannot be written."""
        for change in changes:
            if not change.writes:
                continue
            if change.kind == LOCK_SET:
                yield from LOCK_SET_NEEDS
            elif change.kind == concurrency_tag.KIND:
                yield Need(permission="VariableEdit", project=self.tags[change.unit].owner)
            else:
                process = self.ready[change.unit]
                permission = "RunbookEdit" if process.is_runbook else "ProcessEdit"
                yield Need(permission=permission, project=process.project)


def prepare(
    client: Client,
    wanted: Sequence[WantedProcess],
    found: Found,
    templates: Mapping[str, Built],
    *,
    force: bool,
    prune: bool,
) -> Import:
    """Errors: Problems with everything that the files name and the space does not have."""
    specs = {name: built.spec for name, built in templates.items()}
    ready = resolve(wanted, found, specs)
    return Import(
        client=client,
        wanted=wanted,
        found=found,
        ready={process.where: process for process in ready},
        tags={tag.unit: tag for tag in resolve_tags(wanted, found)},
        templates=templates,
        force=force,
        prune=prune,
    )


def plan_lock_set(client: Client, templates: Collection[str]) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Making the library variable set for locks where one of the templates needs it and the space has none; and warnings."""
    using = sorted(locks.LOCK_TEMPLATES.intersection(templates))
    if not using:
        return (), ()
    try:
        there = locks.read_lock_set(client)
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return (), (
            f"{' and '.join(using)}: whether the space has the set for locks cannot be seen: {error}",
        )
    if there is not None and there.is_ready:
        return (), ()
    change = Change(
        action="create" if there is None else "update",
        kind=LOCK_SET,
        name=LOCK_SET_NAME,
        unit=LOCK_SET_NAME,
        reason=f"{' and '.join(using)} keep the locks in it",
        before={"id": there.id} if there else {},
        after={"set": LOCK_SET_NAME},
    )
    return (change,), ()


def write_lock_set(client: Client) -> Sequence[str]:
    """Make the set. There is nothing to tell: its variables are the steps' own."""
    locks.make_lock_set(client)
    return ()
