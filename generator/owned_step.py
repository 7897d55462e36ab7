"""One step of ours in a process: how it is marked, what of it is ours, and the three-way merge of each of its properties.

A step is ours by `octosteps.step` among its action's properties: our key and the id of the project or runbook, so that a
cloned process' step is not. `octosteps.file` names the coordination file, so that two files can put steps into one process
without removing each other's. `octosteps.put` keeps a short hash of each property as we last wrote it. With that, for each
property by itself: who changed it since, the file, people, or both? Unknown properties of a step survive edits in Octopus'
portal (unconfirmed; template properties are copied into steps with unknown ones included: OctopusDeploy/Issues 8437).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from generator.octopus.records import ActionDocument, Document, PropertyValue, StepDocument
from generator.plan import unified_diff
from generator.step_template import SCRIPT_BODY
from generator.template_diff import text_lines

MARKER = "octosteps.step"
FILE = "octosteps.file"
PUT = "octosteps.put"
TEMPLATE_ID = "Octopus.Action.Template.Id"
TEMPLATE_VERSION = "Octopus.Action.Template.Version"
CONDITION_EXPRESSION = "Octopus.Step.ConditionVariableExpression"
TARGET_ROLES = "Octopus.Action.TargetRoles"
RETRIES = "Octopus.Action.AutoRetry.MaximumCount"
TIME_LIMIT = "Octopus.Action.ExecutionTimeout.Minutes"
SECRET = "(a secret)"
VALUE, COPY, POSITION = "with.", "copy.", "position"


@dataclass(frozen=True, kw_only=True)
class ReadyStep:
    """A wanted step in Octopus' own terms.

    `facts` is everything about it that the file decides, as text by name: those of FACTS, and `with.<variable>` for each
    parameter. `copied` is what the step holds of its template. `names` turns ids into names for people, who need not read
    what stands in `defaults`.
    """

    key: str
    owner: str
    file: str
    template: str
    template_version: int
    action_type: str
    position: str
    anchor: str | None
    before: bool
    parallel: bool
    facts: Mapping[str, str]
    copied: Mapping[str, PropertyValue]
    packages: Sequence[Document] = ()
    git_dependencies: Sequence[Document] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    sensitive: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def marker(self) -> str:
        return f"{self.key}@{self.owner}"


class Owned(NamedTuple):
    """A step of ours as it stands in a process: the step and its action."""

    step: StepDocument
    action: ActionDocument


def read_key(action: ActionDocument, owner: str) -> str | None:
    """Our key of an action that is ours in the process of `owner`; None for everybody else's, and for a clone's."""
    marker = action.get("Properties", {}).get(MARKER)
    key, at, place = marker.rpartition("@") if isinstance(marker, str) else ("", "", "")
    return key if at and place == owner else None


def read_file(action: ActionDocument) -> str:
    """What the coordination file is called that put this step here; empty when the step does not say."""
    return text_of(action.get("Properties", {}).get(FILE))


def find_owned(steps: Sequence[StepDocument], owner: str) -> Mapping[str, list[Owned]]:
    """Our steps by key. More than one for a key means that somebody has copied the step."""
    owned: dict[str, list[Owned]] = {}
    for step in steps:
        for action in step.get("Actions", ()):
            key = read_key(action, owner)
            if key is not None:
                owned.setdefault(key, []).append(Owned(step, action))
    return owned


# --- facts: where each of them stands in the documents -------------------------------------------------------------------


class Fact(NamedTuple):
    read: Callable[[StepDocument, ActionDocument], str]
    write: Callable[[StepDocument, ActionDocument, str], None]


def text_of(value: object) -> str:
    """A property as text; a secret, which the API never shows, as the same words each time."""
    if isinstance(value, Mapping):
        return SECRET if value.get("HasValue") else ""
    if value is None:
        return ""
    return str(value).replace("\r\n", "\n")


def write_name(step: StepDocument, action: ActionDocument, text: str) -> None:
    action["Name"] = text
    if len(step["Actions"]) == 1:  # people may have added child steps, whose parent has a name of its own
        step["Name"] = text


def step_field(name: str, default: str) -> Fact:
    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        step[name] = text or default  # type: ignore[literal-required]

    return Fact(lambda step, action: str(step.get(name) or default), write)


def step_property(name: str) -> Fact:
    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        write_property(step.setdefault("Properties", {}), name, text)

    return Fact(lambda step, action: text_of(step.get("Properties", {}).get(name)), write)


def action_property(name: str) -> Fact:
    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        write_property(action.setdefault("Properties", {}), name, text)

    return Fact(lambda step, action: text_of(action.get("Properties", {}).get(name)), write)


def write_property(properties: dict[str, PropertyValue], name: str, text: str) -> None:
    if text:
        properties[name] = text
    else:
        properties.pop(name, None)


def action_field(name: str) -> Fact:
    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        action[name] = text or None  # type: ignore[literal-required]

    return Fact(lambda step, action: text_of(action.get(name)), write)


def action_list(name: str) -> Fact:
    def read(step: StepDocument, action: ActionDocument) -> str:
        items: Any = action.get(name) or []
        return "\n".join(sorted(items))

    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        action[name] = text.split("\n") if text else []  # type: ignore[literal-required]

    return Fact(read, write)


def container_field(name: str) -> Fact:
    def write(step: StepDocument, action: ActionDocument, text: str) -> None:
        container = dict(action.get("Container") or {})
        container[name] = text or None
        action["Container"] = container

    return Fact(lambda step, action: text_of((action.get("Container") or {}).get(name)), write)


FACTS: Mapping[str, Fact] = {
    "name": Fact(lambda step, action: str(action.get("Name", "")), write_name),
    "condition": step_field("Condition", "Success"),
    "condition expression": step_property(CONDITION_EXPRESSION),
    "environments": action_list("Environments"),
    "excluded environments": action_list("ExcludedEnvironments"),
    "channels": action_list("Channels"),
    "tenant tags": action_list("TenantTags"),
    "target roles": step_property(TARGET_ROLES),
    "worker pool": action_field("WorkerPoolId"),
    "worker pool variable": action_field("WorkerPoolVariable"),
    "container image": container_field("Image"),
    "container feed": container_field("FeedId"),
    "retries": action_property(RETRIES),
    "time limit": action_property(TIME_LIMIT),
}


def fact_of(name: str) -> Fact:
    """Where a fact stands: one of FACTS, or the property of a parameter (`with.X`) or of the template's copy (`copy.X`)."""
    for prefix in (VALUE, COPY):
        if name.startswith(prefix):
            return action_property(name.removeprefix(prefix))
    return FACTS[name]


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_put(action: ActionDocument) -> dict[str, str]:
    """The hashes of what we last wrote; empty when there is nothing readable."""
    text = action.get("Properties", {}).get(PUT)
    try:
        document = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in document.items()} if isinstance(document, dict) else {}


def write_put(ready: ReadyStep, action: ActionDocument, put: Mapping[str, str]) -> None:
    properties = action.setdefault("Properties", {})
    properties[MARKER] = ready.marker
    properties[FILE] = ready.file
    properties[PUT] = json.dumps(dict(sorted(put.items())), separators=(",", ":"))


# --- making and merging ---------------------------------------------------------------------------------------------------


def new_step(ready: ReadyStep) -> StepDocument:
    """A step that was not there: the template's copy, and every fact of the file. The server gives it ids and slugs."""
    action: ActionDocument = {
        "Name": ready.facts["name"],
        "ActionType": ready.action_type,
        "Properties": copy.deepcopy(dict(ready.copied)),
        "Packages": [without_id(package) for package in ready.packages],
        "GitDependencies": [dict(dependency) for dependency in ready.git_dependencies],
    }
    step: StepDocument = {"Name": ready.facts["name"], "Properties": {}, "Actions": [action]}
    put = {COPY + name: hash_of(text_of(value)) for name, value in ready.copied.items()}
    for name, text in ready.facts.items():
        fact_of(name).write(step, action, text)
        put[name] = hash_of(text)
    put[POSITION] = hash_of(ready.position)
    write_put(ready, action, put)
    return step


def without_id(package: Document) -> Document:
    return {name: value for name, value in package.items() if name != "Id"}


class Merged(NamedTuple):
    """What a merge did to a step: whether anything was written, what both sides changed, and what people keep."""

    changed: bool
    conflicts: Sequence[str]
    kept: Sequence[str]


def merge(ready: ReadyStep, owned: Owned, *, force: bool) -> Merged:
    """Bring a step of ours to what the file says, in place, property by property.

    People have not touched it: ours is written. The file has not changed it: theirs is kept. Both changed it, and not to the
    same: a conflict, which `force` decides for the file.
    """
    put = read_put(owned.action)
    changed, conflicts, kept = False, [], []
    file = read_file(owned.action)
    if file != ready.file:
        if file and not force:
            conflicts.append(
                f"its key belongs to the file {file!r}: choose another key, unless that file is renamed"
            )
        changed = True
    for name, ours in ready.facts.items():
        fact = fact_of(name)
        theirs, base = fact.read(*owned), put.get(name)
        match decide(ours, theirs, base):
            case "same":
                continue
            case "theirs":
                kept.append(plain_name(name))
                continue
            case "both" if not force:
                conflicts.append(f"{plain_name(name)} was changed in the file and by people")
                continue
        fact.write(*owned, ours)
        put[name] = hash_of(ours)
        changed = True
    for name in [name for name in put if name.startswith(VALUE) and name not in ready.facts]:
        if hash_of(fact_of(name).read(*owned)) == put[name]:  # the template has no such parameter any more
            fact_of(name).write(*owned, "")
        del put[name]
        changed = True
    copy_fault, copy_changed = merge_copy(ready, owned, put, force=force)
    if copy_fault:
        conflicts.append(copy_fault)
    changed = changed or copy_changed
    if changed:
        write_put(ready, owned.action, put)
    return Merged(changed, tuple(conflicts), tuple(kept))


def decide(ours: str, theirs: str, base: str | None) -> str:
    """Who has moved since we last wrote a property: `same` (nobody, or both alike), `ours`, `theirs` or `both`."""
    if ours == theirs:
        return "same"
    if base is None:
        return "both" if theirs else "ours"
    if hash_of(theirs) == base:
        return "ours"
    return "theirs" if hash_of(ours) == base else "both"


def merge_copy(ready: ReadyStep, owned: Owned, put: dict[str, str], *, force: bool) -> tuple[str, bool]:
    """Bring the step's copy of its template to the library's version, as a whole: why not, and whether it was written.

    A copy that differs from the one we wrote is people's when it has another template version (they pressed Update in the
    portal, and we go on from there); with the same version somebody has edited it in the process, which is a conflict.
    """
    properties = owned.action["Properties"]
    wanted = {name: text_of(value) for name, value in ready.copied.items()}
    held = {name: text_of(properties.get(name)) for name in wanted}
    gone = [n.removeprefix(COPY) for n in put if n.startswith(COPY) and n.removeprefix(COPY) not in wanted]
    if held == wanted and not gone:
        return "", False
    base = {name.removeprefix(COPY): value for name, value in put.items() if name.startswith(COPY)}
    touched = [name for name, value in base.items() if hash_of(text_of(properties.get(name))) != value]
    if touched and not force:
        if TEMPLATE_ID in touched:
            return f"people detached the step from {ready.template!r}, or chose another template", False
        if TEMPLATE_VERSION not in touched:
            return (
                f"people edited its copy of {ready.template!r} in the process ({', '.join(sorted(touched))})",
                False,
            )
    for name in gone:
        properties.pop(name, None)
        del put[COPY + name]
    for name, value in ready.copied.items():
        properties[name] = copy.deepcopy(value)
        put[COPY + name] = hash_of(wanted[name])
    owned.action["ActionType"] = ready.action_type
    owned.action["Packages"] = merge_named(owned.action.get("Packages") or [], ready.packages)
    owned.action["GitDependencies"] = merge_named(
        owned.action.get("GitDependencies") or [], ready.git_dependencies
    )
    return "", True


def merge_named(held: Sequence[Document], wanted: Sequence[Document]) -> list[Document]:
    """Package or Git references of a new template version: those that the step holds stay as people have filled them in."""
    by_name = {item.get("Name"): item for item in held}
    return [by_name.get(item.get("Name")) or without_id(item) for item in wanted]


def edited_by_people(owned: Owned) -> tuple[str, ...]:
    """What of a step is not as we last wrote it."""
    known = [
        (name, base)
        for name, base in read_put(owned.action).items()
        if name in FACTS or name.startswith(VALUE)
    ]
    return tuple(plain_name(name) for name, base in known if hash_of(fact_of(name).read(*owned)) != base)


# --- what a reviewer reads -------------------------------------------------------------------------------------------------


def plain_name(name: str) -> str:
    return name.removeprefix(VALUE)


def fingerprint(owned: Owned, ready: ReadyStep | None) -> str:
    """A short hash of what of a step is ours, to see whether it has moved. Without `ready`, of the whole step."""
    if ready is None:
        return hash_of(json.dumps(owned.step, sort_keys=True))
    parts = [f"{name}={fact_of(name).read(*owned)}" for name in ready.facts]
    parts += [f"{name}={text_of(owned.action['Properties'].get(name))}" for name in ready.copied]
    return hash_of("\n".join(parts))


def lines_of(owned: Owned, ready: ReadyStep) -> Iterator[str]:
    """A step as text, one fact a line, names instead of ids, no secret; empty ones and defaults left out."""
    version = text_of(owned.action["Properties"].get(TEMPLATE_VERSION))
    yield f"template: {ready.template}, version {version}"
    for name in ready.facts:
        text = fact_of(name).read(*owned)
        variable = plain_name(name)
        if text == ready.defaults.get(name, ""):
            continue
        if variable in ready.sensitive and not text.lstrip().startswith("#{"):
            text = SECRET
        if name in FACTS:
            text = ", ".join(ready.names.get(part, part) for part in text.split("\n"))
        yield from text_lines(variable, text)


def diff(before: Owned | None, after: Owned, ready: ReadyStep) -> tuple[str, ...]:
    """A unified diff of a step's facts, and of its copy of the script when an older one is replaced."""
    name = after.action["Name"]
    old = list(lines_of(before, ready)) if before else []
    label = f"{name} (server)" if before else "(nothing)"
    facts = unified_diff(old, list(lines_of(after, ready)), old=label, new=f"{name} (file)")
    if before is None:
        return facts
    scripts = [text_of(owned.action["Properties"].get(SCRIPT_BODY)).split("\n") for owned in (before, after)]
    labels = {"old": f"{name}: script (in the step)", "new": f"{name}: script (in the library)"}
    return (*facts, *unified_diff(*scripts, **labels))
