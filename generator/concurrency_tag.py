"""The variable `Octopus.Task.ConcurrencyTag` of a project, made from `concurrency_tag:` in a coordination file.

The server runs one task at a time of all whose tag evaluates to the same text (source: the docs page "System variables"). Ours
is known by its description, which names the file, the project and a short hash of the value as we last wrote it; a variable of
people is never touched. A variable set is written with the `Version` that was read, so that no edit of others is overwritten
(source: the API reference page "Variables"); sensitive values read back as null, and null keeps them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from generator.errors import Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document
from generator.owned_step import decide, hash_of
from generator.plan import Action, Change, unified_diff

NAME = "Octopus.Task.ConcurrencyTag"
KIND = "variable"
WRITE_ATTEMPTS = 6
EFFECT = "A concurrency tag takes effect with the project's next release, and its runbooks' next published snapshots."
MARK = re.compile(r"\[octosteps (?P<file>[^\[\]]*?) (?P<put>[0-9a-f]{8})@(?P<owner>[^\[\]\s]+)\]")


@dataclass(frozen=True, kw_only=True)
class ReadyTag:
    """What the file wants of one project's tag: None for none. `path` is the project's variable set."""

    project: str
    owner: str
    file: str
    path: str
    value: str | None

    @property
    def unit(self) -> str:
        return f"{self.project}: {NAME}"

    def describe(self, value: str) -> str:
        """The description of our variable: for people, and the mark."""
        return (
            "Of all tasks with this tag Octopus runs one at a time. Kept by octosteps from a coordination file: "
            f"change it there. [octosteps {self.file} {hash_of(value)}@{self.owner}]"
        )


class Outline(NamedTuple):
    """The variable set as it would be, and what changes: nothing, or one change."""

    document: Document
    changes: Sequence[Change]


def outline(ready: ReadyTag, document: Document, *, force: bool, prune: bool) -> Outline:
    """The variable set with our tag merged in. `document` itself is left alone."""
    after = copy.deepcopy(document)
    variables: list[Document] = after["Variables"]
    named = [item for item in variables if str(item.get("Name")).casefold() == NAME.casefold()]
    ours = [item for item in named if is_ours(item, ready.owner)]
    theirs = [item for item in named if not is_ours(item, ready.owner)]
    if ready.value is None:
        return Outline(after, remove(ready, variables, ours, prune=prune))
    if theirs:
        if len(named) == 1 and theirs[0].get("Value") == ready.value and not theirs[0].get("Scope"):
            return Outline(after, [note(ready, "leave", "people made it, with the same value")])
        return Outline(after, [note(ready, "conflict", describe_theirs(theirs))])
    if len(ours) > 1:
        return Outline(
            after, [note(ready, "conflict", "it is there more than once, with our mark: remove all but one")]
        )
    if not ours:
        variables.append(new_variable(ready, ready.value))
        diff = unified_diff((), value_lines(ready.value), old="(nothing)", new=f"{ready.project} (file)")
        return Outline(after, [note(ready, "create", "the project has none", after=ready.value, diff=diff)])
    return Outline(after, [merge(ready, ours[0], ready.value, force=force)])


def is_ours(variable: Document, owner: str) -> bool:
    """By the mark in its description; that of a cloned project names another project."""
    mark = MARK.search(str(variable.get("Description") or ""))
    return mark is not None and mark["owner"] == owner


def new_variable(ready: ReadyTag, value: str) -> Document:
    return {
        "Name": NAME,
        "Value": value,
        "Description": ready.describe(value),
        "Type": "String",
        "IsSensitive": False,
        "Scope": {},
    }


def merge(ready: ReadyTag, variable: Document, wanted: str, *, force: bool) -> Change:
    """Bring our variable to the file's value, in place, unless people have changed it."""
    mark = MARK.search(str(variable["Description"]))
    assert mark is not None
    scope = f" {sorted(variable['Scope'].items())}" if variable.get("Scope") else ""
    found = f"{variable.get('Value')}{scope}"  # a scope that people gave it is their edit, too
    if mark["file"] != ready.file and not force:
        reason = (
            f"it belongs to the file {mark['file']!r}: --force takes it over, as after that file was renamed"
        )
        return note(ready, "conflict", reason, before=found)
    who = decide(wanted, found, mark["put"])
    if who == "theirs":
        return note(ready, "leave", "people changed, and keep, its value")
    if who == "both" and not force:
        reason = "it was changed in the file and by people; --force takes the file's"
        diff = unified_diff(
            value_lines(found),
            value_lines(wanted),
            old=f"{ready.project} (server)",
            new=f"{ready.project} (file)",
        )
        return note(ready, "conflict", reason, before=found, after=wanted, diff=diff)
    description = ready.describe(wanted)
    if who == "same" and variable["Description"] == description:
        return note(ready, "leave", "")
    variable.update(Value=wanted, Description=description, Type="String", IsSensitive=False, Scope={})
    return note(
        ready,
        "update",
        "differs from the file",
        before=found,
        after=wanted,
        diff=unified_diff(
            value_lines(found),
            value_lines(wanted),
            old=f"{ready.project} (server)",
            new=f"{ready.project} (file)",
        ),
    )


def remove(
    ready: ReadyTag, variables: list[Document], ours: Sequence[Document], *, prune: bool
) -> Sequence[Change]:
    """Remove, or only tell, our variable that the file does not ask for any more."""
    for variable in ours:
        mark = MARK.search(str(variable["Description"]))
        if mark is None or mark["file"] != ready.file:
            continue
        value = str(variable.get("Value"))
        if hash_of(value) != mark["put"]:
            return [note(ready, "leave", "the file does not name it any more, and people changed it")]
        if not prune:
            return [note(ready, "leave", "the file does not name it any more: --prune removes it")]
        variables.remove(variable)
        return [note(ready, "remove", "the file does not name it any more", before=value)]
    return []


def describe_theirs(theirs: Sequence[Document]) -> str:
    values = ", ".join(sorted(repr(str(item.get("Value"))) for item in theirs))
    if all(MARK.search(str(item.get("Description") or "")) for item in theirs):
        return f"it came with a clone of another project ({values}): remove it, and the file makes the project's own"
    return (
        f"people made it ({values}), and it is never overwritten: remove it, or concurrency_tag from the file"
    )


def value_lines(value: str) -> Sequence[str]:
    return (f"{NAME}: {value}",)


def note(
    ready: ReadyTag, action: Action, reason: str, *, before: str = "", after: str = "", **more: Any
) -> Change:
    return Change(
        action=action,
        kind=KIND,
        name=ready.unit,
        unit=ready.unit,
        reason=reason,
        before={"value": before} if before else {},
        after={"value": after} if after else {},
        effect=EFFECT,
        **more,
    )


def write(client: Client, changes: Sequence[Change], ready: ReadyTag, *, force: bool, prune: bool) -> None:
    """Carry out the change from a fresh read, and again from a fresh one when somebody saved the set in between."""
    for attempt in range(WRITE_ATTEMPTS):
        document = client.get(ready.path)
        fresh = outline(ready, document, force=force, prune=prune)
        if attempt and not any(change.writes or change.action == "conflict" for change in fresh.changes):
            return  # a write whose answer was lost was carried out
        if states(fresh.changes) != states(changes):
            raise Refusal(f"the server has moved since the plan: {ready.unit}; plan again")
        try:
            client.put(ready.path, fresh.document)
            return
        except OctopusError as error:
            stale = isinstance(error, ApiError) and error.status in (400, 409)
            moved = stale and client.get(ready.path).get("Version") != document.get("Version")
            if attempt == WRITE_ATTEMPTS - 1 or not (error.maybe_done or moved):
                raise
    raise AssertionError("the loop ends by returning or raising")


def states(changes: Sequence[Change]) -> list[tuple[object, ...]]:
    return [
        (change.action, change.before, change.after)
        for change in changes
        if change.writes or change.action == "conflict"
    ]
