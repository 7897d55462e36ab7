"""What would change on a server, as data: `Change` and `Plan`, how they print, and their checksum.

Who finds the changes (`library`, `processes`) and who carries them out (`apply`) is elsewhere. Nothing here holds a secret.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["create", "update", "remove", "conflict", "leave"]

SIGNS: Mapping[Action, str] = {"create": "+", "update": "~", "remove": "-", "conflict": "!", "leave": "="}
WORDS: Mapping[Action, str] = {
    "create": "to create",
    "update": "to update",
    "remove": "to remove",
    "conflict": "in conflict",
    "leave": "left as they are",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that turns what was found into what is wanted.

    `unit` names what is written in one go: a step template, or a whole process. `before` and `after` say which state was
    found and is wanted, as a few values (ids, versions, digests) by which a re-read is compared; empty means absent. `diff`
    is for people: the lines of a unified diff, or nothing where there is nothing to compare with. `effect` is a sentence for
    after it was written: when the change takes effect, and what people have to do for that.
    """

    action: Action
    kind: str
    name: str
    unit: str
    reason: str
    before: Mapping[str, object] = field(default_factory=dict)
    after: Mapping[str, object] = field(default_factory=dict)
    diff: Sequence[str] = ()
    effect: str = ""

    @property
    def writes(self) -> bool:
        return self.action in ("create", "update", "remove")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The changes for one target, sorted; `warnings` are what a person should look at although it stops nothing.

    `target` is the server and space; `name` how octosteps.yaml calls it, if it does.
    """

    target: str
    changes: Sequence[Change]
    warnings: Sequence[str] = ()
    name: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.target})" if self.name else self.target

    @property
    def writes(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.writes)

    @property
    def conflicts(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.action == "conflict")

    @property
    def checksum(self) -> str:
        """`sha256:<hex>` over the target and everything that would be written: equal plans write the same."""
        content = [
            self.target,
            [to_json(change, diff=False) for change in self.changes if change.action != "leave"],
        ]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def sorted_plan(target: str, changes: Iterable[Change], warnings: Iterable[str] = ()) -> Plan:
    """A plan whose changes stand by unit; within a unit they keep their order, which is that of the steps in a process."""
    ordered = sorted(changes, key=lambda change: (change.kind, change.unit.casefold(), change.unit))
    return Plan(target=target, changes=tuple(ordered), warnings=tuple(dict.fromkeys(warnings)))


def by_unit(changes: Iterable[Change]) -> Mapping[str, tuple[Change, ...]]:
    """The changes that are written together, in the order of the plan."""
    units: dict[str, list[Change]] = {}
    for change in changes:
        units.setdefault(change.unit, []).append(change)
    return {unit: tuple(members) for unit, members in units.items()}


def checksum_of(plans: Sequence[Plan]) -> str:
    """One checksum for all targets; that of the plan where there is only one."""
    if len(plans) == 1:
        return plans[0].checksum
    content = "\n".join(sorted(plan.checksum for plan in plans))
    return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def summary(*plans: Plan, tells_checksum: bool = True) -> str:
    """One line: how many changes of each kind, and the checksum."""
    counts = Counter(change.action for plan in plans for change in plan.changes)
    told = ", ".join(f"{counts[action]} {WORDS[action]}" for action in WORDS if counts[action])
    if not any(plan.writes or plan.conflicts for plan in plans):
        return f"Nothing to do: {told}." if told else "Nothing to do."
    checksum = checksum_of(plans).removeprefix("sha256:")[:12]
    return f"{told}. Checksum {checksum}." if tells_checksum else f"{told}."


def to_parts(plan: Plan, *, verbose: bool = False, tells_checksum: bool = True) -> Iterator[str]:
    """The plan as a person reads it: one part for each change, its diff in a part of its own; then warnings and summary."""
    yield visible(f"{plan.title}:")
    for change in plan.changes:
        if change.action == "leave" and not (verbose or change.reason):
            continue
        reason = f": {change.reason}" if change.reason else ""
        yield visible(f"  {SIGNS[change.action]} {change.action} {change.kind} {change.name}{reason}")
        if change.diff:
            yield "\n".join(map(visible, change.diff))
    for warning in plan.warnings:
        yield visible(f"  warning: {warning}")
    yield summary(plan, tells_checksum=tells_checksum)


def to_json(item: Plan | Change, *, diff: bool = True) -> dict[str, object]:
    """The plan or change as a JSON document, for `-f json`, for a file, and for the checksum."""
    if isinstance(item, Plan):
        counts = Counter(change.action for change in item.changes)
        return {
            **({"name": item.name} if item.name else {}),
            "target": item.target,
            "checksum": item.checksum,
            "summary": {action: counts[action] for action in SIGNS},
            "warnings": list(item.warnings),
            "changes": [to_json(change) for change in item.changes],
        }
    document: dict[str, object] = {
        "action": item.action,
        "kind": item.kind,
        "name": item.name,
        "unit": item.unit,
        "reason": item.reason,
        "before": dict(item.before),
        "after": dict(item.after),
    }
    if diff:
        document["diff"] = list(item.diff)
    return document


def unified_diff(before: Sequence[str], after: Sequence[str], *, old: str, new: str) -> tuple[str, ...]:
    """The lines of a unified diff between two texts given as lines; empty when they are equal."""
    return tuple(difflib.unified_diff(before, after, old, new, lineterm=""))


_SERVICE_MESSAGE = re.compile(r"##(?=\w*\[)")
_COMMAND = re.compile(r"^\s+::")


def visible(line: str) -> str:
    """A line with text of others in it, as it may be shown: a terminal's control characters as codes, and nothing that Octopus,
    TeamCity, Azure DevOps or GitHub Actions would carry out when they find it in a log."""
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in line)
    line = _SERVICE_MESSAGE.sub("# #", line)
    return _COMMAND.sub(lambda found: found.group().replace("::", ": :"), line)
