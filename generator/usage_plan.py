"""Which steps an update is to move, what that will come to, and which are left and why. Nothing is written here.

Steps in Git are moved on a branch of our own, made from the one on which they stand; people merge it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from generator import branches
from generator.branches import Branch
from generator.octopus import ApiError
from generator.octopus.permissions import Need
from generator.octopus.records import Document, PropertyValue
from generator.owned_step import read_file
from generator.step_copy import Foreseen, by_name, foresee
from generator.update_outcomes import explain_merge, explain_missing
from generator.usages import (
    AHEAD,
    BEHIND,
    ORPHANED,
    OWN_BRANCHES,
    OWNED,
    UPDATE_BRANCH,
    Place,
    Seen,
    Usage,
    side_by_side,
)


@dataclass(frozen=True, kw_only=True)
class Intended:
    """One step that is to be moved: what it will come to, the `values` that its new parameters get, and for a step in Git the
    branch of our own on which it happens."""

    usage: Usage
    foreseen: Foreseen
    values: Mapping[str, PropertyValue] = field(repr=False, default_factory=dict)
    branch: Branch | None = None

    @property
    def path(self) -> str:
        return self.branch.path if self.branch else self.usage.place.path

    @property
    def where(self) -> str:
        """As people name it, the branch that is written among it."""
        place = self.usage.place
        if not self.branch:
            return self.usage.name
        return f"{replace(place, git_ref=branches.HEADS + self.branch.name).where}: {self.usage.step}"

    @property
    def unit(self) -> tuple[str, str]:
        """What is written in one go: a process."""
        return self.usage.place.space.id, self.path

    @property
    def wanted(self) -> int:
        assert self.usage.current is not None
        return self.usage.current


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one step. `ok` is False where something that was asked for was not done, or not as it was shown."""

    usage: Usage
    outcome: Literal["updated", "done", "left", "failed", "not begun"]
    sentence: str
    ok: bool = True
    branch: str = ""


def intend(
    seen: Seen, values: Mapping[str, PropertyValue], *, force: bool
) -> tuple[tuple[Intended, ...], tuple[Result, ...]]:
    """What can be moved, and what is left as it is, each with its reason. Reads the versions that steps were copied from."""
    behind = [usage for usage in seen.usages if usage.state == BEHIND]
    versions = read_versions(seen, behind)
    intended: list[Intended] = []
    left: list[Result] = []
    for usage in seen.usages:
        reason = reason_to_leave(usage)
        if reason:
            left.append(Result(usage=usage, outcome="left", sentence=reason))
        if reason or usage.state != BEHIND:
            continue
        assert usage.template is not None
        held = versions.get(version_key(usage))
        new = by_name(usage.template).keys() - by_name(held).keys() if held else frozenset()
        own = {name: value for name, value in values.items() if name in new}
        item = Intended(usage=usage, foreseen=foresee(usage.action, held, usage.template, own), values=own)
        if item.foreseen.edited and not force:
            names = ", ".join(item.foreseen.edited)
            sentence = (
                f"left: people edited its copy in the process ({names}); --force updates it all the same"
            )
            left.append(Result(usage=usage, outcome="left", sentence=sentence, ok=False))
        else:
            intended.append(item)
    return with_branches(intended), tuple(left)


def reason_to_leave(usage: Usage) -> str:
    """Why a step is none of ours to update; empty where it is."""
    match usage.state:
        case state if state == OWNED:
            file = read_file(usage.action)
            named = f" {file}" if file else ""
            return f"left: a coordination file owns it; `octosteps apply` with that file{named} updates it"
        case state if state == AHEAD:
            return f"left: it holds version {usage.held} of a template that is at {usage.current}, as after an import of either"
        case state if state == ORPHANED:
            return "left: its template is gone from the library"
        case state if state == BEHIND and usage.place.git_ref.startswith(OWN_BRANCHES):
            return "left: the branch is one of ours, of another run"
        case _:
            return ""


def version_key(usage: Usage) -> tuple[str, str, int | None]:
    return usage.place.space.id, usage.template_id, usage.held


def read_versions(
    seen: Seen, usages: Iterable[Usage]
) -> Mapping[tuple[str, str, int | None], Document | None]:
    """The templates as they were when the steps were copied, one request for each version; None for those that are gone."""
    keys = sorted({version_key(usage) for usage in usages if usage.held is not None}, key=str)

    def read(key: tuple[str, str, int | None]) -> Document | None:
        space, template, version = key
        try:
            return seen.clients[space].get(f"actiontemplates/{template}/versions/{version}")
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    return dict(zip(keys, side_by_side(read, keys), strict=True))


def with_branches(intended: Sequence[Intended]) -> tuple[Intended, ...]:
    """Steps in Git go to a branch of our own, one for each branch that they stand on. Its name tells what is in it, so that the
    same update goes to the same branch however often it is begun."""
    by_place: dict[Place, list[Intended]] = defaultdict(list)
    for item in intended:
        by_place[item.usage.place].append(item)
    names = {place: branch_name(place, items) for place, items in by_place.items() if place.git_ref}
    return tuple(
        Intended(
            usage=item.usage,
            foreseen=item.foreseen,
            values=item.values,
            branch=Branch(
                project=item.usage.place.project_id,
                name=names[item.usage.place],
                base=item.usage.place.branch,
            )
            if item.usage.place in names
            else None,
        )
        for item in intended
    )


def branch_name(place: Place, items: Sequence[Intended]) -> str:
    """`octosteps/update-main-wait-for-deployment-3`: the branch that it is made from, and what is updated to which version."""
    moves = dict.fromkeys(f"{item.usage.template_name} {item.wanted}" for item in items)
    text = " ".join((place.branch, *sorted(moves)))
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(plain) > 100:
        plain = f"{plain[:80].rstrip('-')}-{short_hash(text)}"
    return f"{UPDATE_BRANCH}{plain}"


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def foreseen_sentence(item: Intended) -> str:
    """What will come of it, and what a person has to do where it will not go well."""
    foreseen, usage = item.foreseen, item.usage
    if foreseen.reasons:
        return explain_merge({name: [reason] for name, reason in foreseen.reasons.items()})
    if foreseen.missing:
        return explain_missing(foreseen.missing)
    held = "an unknown version" if usage.held is None else f"version {usage.held}"
    sentence = f"{held} -> {item.wanted}"
    if item.branch:
        sentence += f", on branch {item.branch.name}, for people to merge"
    if foreseen.lost:
        names = ", ".join(foreseen.lost)
        sentence += f"; the secret {names} goes, and Octopus never gives it back: keep it elsewhere if you may go back"
    if foreseen.edited:
        sentence += f"; overwrites what people edited in the process: {', '.join(foreseen.edited)}"
    return sentence


def needs_of(intended: Iterable[Intended]) -> list[Need]:
    """The permissions to change these processes. Which more the update itself asks for is not published."""
    return [
        Need(
            permission="RunbookEdit" if item.usage.place.runbook_id else "ProcessEdit",
            project=item.usage.place.project_id,
        )
        for item in intended
    ]
