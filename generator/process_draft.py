"""One process while our steps are merged into it: pure, on a copy of the document as it was received.

What makes a step ours, and its merge, is `owned_step`'s; how steps follow each other is `step_order`'s; reading, writing and
the plan over several processes are `processes`'.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from generator import owned_step
from generator.branches import Branch
from generator.octopus.records import Document, ProcessDocument, StepDocument
from generator.owned_step import Owned, ReadyStep, find_owned, hash_of
from generator.plan import Change
from generator.references import broken_references
from generator.step_order import Place, find_step, is_placed, put_in, take_out

KIND = "step"


@dataclass(frozen=True, kw_only=True)
class ReadyProcess:
    """What the file wants of one process, in Octopus' terms. `project` is an id; `variable_set` the project's, if it may be seen.

    A `branch` is where the steps of a version-controlled project go, `message` what the file says for the commit.
    """

    where: str
    path: str
    owner: str
    project: str
    file: str
    steps: Sequence[ReadyStep]
    is_runbook: bool = False
    branch: Branch | None = None
    message: str | None = None
    variable_set: Document | None = None

    @property
    def effect(self) -> str:
        """When a change takes effect, and what people have to do for that."""
        if self.branch is not None:
            return (
                f"{self.where}: committed to branch {self.branch.name!r} of its repository. Merge it into {self.branch.base!r}: "
                "it takes effect with the next release made from there."
            )
        if self.is_runbook:
            return "A change of a runbook's steps takes effect with the runbook's next published snapshot."
        return "A change of steps takes effect with the project's next release."


class Outline(NamedTuple):
    """One process as it would be after the changes. `warnings`: what refers to steps under a name that is gone then."""

    document: ProcessDocument
    changes: Sequence[Change]
    warnings: Sequence[str] = ()


def outline(ready: ReadyProcess, document: ProcessDocument, *, force: bool, prune: bool) -> Outline:
    """The process with our steps merged in, and the changes in the order of its steps. `document` itself is left alone."""
    after = copy.deepcopy(document)
    draft = Draft(ready, after["Steps"], find_owned(document["Steps"], ready.owner), force)
    draft.remove_copies()
    draft.merge_steps()
    draft.place_steps()
    draft.prune_steps(prune)
    draft.check_names()
    order = {id(step): index for index, step in enumerate(after["Steps"])}
    draft.changes.sort(key=lambda entry: order.get(id(entry.step), -1))
    broken = broken_references(document["Steps"], after["Steps"], ready.variable_set, draft.fates())
    return Outline(
        after,
        [entry.change for entry in draft.changes],
        [f"{ready.where}: {sentence}" for sentence in broken],
    )


class Entry(NamedTuple):
    step: StepDocument | None
    change: Change


class Draft:
    """One process while our steps are merged into it. `steps` is changed in place; `found` is how our steps were."""

    def __init__(
        self, ready: ReadyProcess, steps: list[StepDocument], found: Mapping[str, list[Owned]], force: bool
    ) -> None:
        self.ready, self.steps, self.found, self.force = ready, steps, found, force
        self.changes: list[Entry] = []
        self.broken: set[str] = set()
        self.files_order = {step.key: index for index, step in enumerate(ready.steps)}

    def owned(self) -> Mapping[str, Owned]:
        """Our steps as they stand in the draft."""
        return {key: members[0] for key, members in find_owned(self.steps, self.ready.owner).items()}

    def note(
        self, action: Any, key: str, name: str, reason: str, *, step: StepDocument | None = None, **more: Any
    ) -> None:
        branch = self.ready.branch
        if branch is not None and action in ("create", "update", "remove"):
            reason = f"{reason}; on {branch}"
            more["after"] = {**more.get("after", {}), "branch": branch.name}
        elif branch is not None and action == "conflict":
            reason = f"{reason} (on branch {(branch.name if branch.is_there else branch.base)!r})"
        change = Change(
            action=action,
            kind=KIND,
            name=f"{self.ready.where}: {name}",
            unit=self.ready.where,
            reason=reason,
            effect=self.ready.effect,
            **more,
        )
        if action == "conflict":
            self.broken.add(key)
        self.changes.append(Entry(step, change))

    def remove_copies(self) -> None:
        """Two steps with one key: somebody has cloned ours in the portal, and nothing tells which is which."""
        for key, members in self.found.items():
            if len(members) > 1:
                names = " and ".join(repr(owned.action["Name"]) for owned in members)
                reason = f"{names} both carry the key {key!r}: remove one, or the property {owned_step.MARKER} of one"
                self.note("conflict", key, key, reason)

    def merge_steps(self) -> None:
        """Write the facts of the steps that are there."""
        there = self.owned()
        for ready in self.ready.steps:
            if ready.key in self.broken or ready.key not in there:
                continue
            owned, before = there[ready.key], self.found[ready.key][0]
            merged = owned_step.merge(ready, owned, force=self.force)
            name = str(owned.action["Name"])
            kept = f"people changed, and keep, {', '.join(merged.kept)}" if merged.kept else ""
            states = {
                "before": {"step": owned_step.fingerprint(before, ready)},
                "after": {"step": owned_step.fingerprint(owned, ready)},
                "diff": owned_step.diff(before, owned, ready),
            }
            if merged.conflicts:
                reason = f"{'; '.join(merged.conflicts)}; --force takes the file's"
                self.note("conflict", ready.key, name, reason, step=owned.step, **states)
            elif merged.changed:
                self.note(
                    "update", ready.key, name, kept or "differs from the file", step=owned.step, **states
                )
            else:
                self.note("leave", ready.key, name, kept, step=owned.step)

    def place_steps(self) -> None:
        """Put in the steps that are not there, move those whose place the file has changed, and what stands by them."""
        waiting = self.find_waiting()
        while waiting:
            names = {ready.key for ready in waiting}
            able = next((ready for ready in waiting if self.anchor_key(ready) not in names), waiting[0])
            waiting.remove(able)
            there = self.owned().get(able.key)
            if there is None:
                self.create(able)
            else:
                self.move(able, there)

    def find_waiting(self) -> list[ReadyStep]:
        """The steps that are not where the file wants them, and those that are placed by one of these and have to follow it."""
        waiting = [
            ready for ready in self.ready.steps if ready.key not in self.broken and not self.stands(ready)
        ]
        moving = {ready.key for ready in waiting if ready.key in self.found and not self.is_placed(ready)}
        followers = [
            ready
            for ready in self.ready.steps
            if ready.key not in self.broken and self.stands(ready) and self.is_placed(ready)
        ]
        while more := [
            ready for ready in followers if self.anchor_key(ready) in moving and ready not in waiting
        ]:
            waiting += more
            moving |= {ready.key for ready in more}
        return waiting

    def stands(self, ready: ReadyStep) -> bool:
        owned = self.owned().get(ready.key)
        return owned is not None and owned_step.read_put(owned.action).get(owned_step.POSITION) == hash_of(
            ready.position
        )

    def anchor_key(self, ready: ReadyStep) -> str | None:
        """The key of our own step by which this one is placed, if it is one of ours."""
        if ready.anchor is None:
            index = self.files_order[ready.key]
            return self.ready.steps[index - 1].key if index else None
        for step in self.ready.steps:
            if step.key == ready.anchor:
                return step.key
        folded = ready.anchor.casefold()
        return next((step.key for step in self.ready.steps if step.facts["name"].casefold() == folded), None)

    def anchor_index(self, ready: ReadyStep) -> int | None:
        key = self.anchor_key(ready)
        own = self.owned().get(key) if key is not None else None
        if own is not None:
            return self.index_of(own.step)
        return None if ready.anchor is None else find_step(self.steps, ready.anchor)

    def index_of(self, step: StepDocument) -> int:
        return next(index for index, other in enumerate(self.steps) if other is step)

    def place(self, ready: ReadyStep) -> Place:
        """Where the file wants a step, as the process stands now."""
        siblings = {s.key for s in self.ready.steps if s.anchor is not None and s.position == ready.position}
        mine = self.files_order[ready.key]

        def among(step: StepDocument, is_wanted: Callable[[int], bool]) -> bool:
            keys = [owned_step.read_key(action, self.ready.owner) for action in step.get("Actions", ())]
            return any(
                key in siblings and is_wanted(self.files_order[key]) for key in keys if key is not None
            )

        return {
            "anchor": self.anchor_index(ready),
            "before": ready.before,
            "parallel": ready.parallel,
            "goes_first": lambda step: among(step, lambda order: order < mine),
            "goes_later": lambda step: among(step, lambda order: order > mine),
        }

    def put(self, ready: ReadyStep, step: StepDocument) -> str:
        """Put the step at its place; "" when done, else why it cannot be."""
        place = self.place(ready)
        if place["anchor"] is None and ready.anchor is not None:
            return f"the step {ready.anchor!r}, by which it is placed, is gone"
        return put_in(self.steps, step, **place)

    def is_placed(self, ready: ReadyStep) -> bool:
        """Whether our step stands where the file wants it."""
        owned, place = self.owned().get(ready.key), self.place(ready)
        if owned is None or (place["anchor"] is None and ready.anchor is not None):
            return False
        return is_placed(self.steps, self.index_of(owned.step), **place)

    def create(self, ready: ReadyStep) -> None:
        step = owned_step.new_step(ready)
        owned = Owned(step, step["Actions"][0])
        fault = self.put(ready, step)
        if fault:
            self.note("conflict", ready.key, ready.facts["name"], fault)
            return
        self.note(
            "create",
            ready.key,
            ready.facts["name"],
            self.place_of(step),
            step=step,
            after={"step": owned_step.fingerprint(owned, ready), "position": ready.position},
            diff=owned_step.diff(None, owned, ready),
        )

    def move(self, ready: ReadyStep, owned: Owned) -> None:
        """Move our step. Where it stands right already, that is put down: people may move it from there."""
        stays = self.is_placed(ready)
        if stays and self.stands(ready):
            return  # it was to follow another, and has not lost its place
        fault = "" if stays else take_out(self.steps, self.index_of(owned.step), is_ours=self.is_ours)
        if not fault and not stays:
            fault = self.put(ready, owned.step)
        if fault:
            self.note("conflict", ready.key, str(owned.action["Name"]), fault)
            return
        put = owned_step.read_put(owned.action)
        put[owned_step.POSITION] = hash_of(ready.position)
        owned_step.write_put(ready, owned.action, put)
        former = next((entry for entry in self.changes if entry.step is owned.step), None)
        if former is not None:
            self.changes.remove(former)
        change = former.change if former is not None and former.change.action == "update" else None
        facts = owned_step.fingerprint(owned, ready)
        self.note(
            "update",
            ready.key,
            str(owned.action["Name"]),
            f"{'stands where the file wants it now' if stays else 'moves'}: {self.place_of(owned.step)}",
            step=owned.step,
            before=change.before if change else {"step": facts},
            after={"step": facts, "position": ready.position},
            diff=change.diff if change else (),
        )

    def place_of(self, step: StepDocument) -> str:
        """Where a step stands, in words."""
        index = self.index_of(step)
        beside = "beside" if step.get("StartTrigger") == "StartWithPrevious" else "after"
        return f"{beside} {self.steps[index - 1]['Name']!r}" if index else "as the first step"

    def is_ours(self, step: StepDocument) -> bool:
        return any(owned_step.read_key(action, self.ready.owner) for action in step.get("Actions", ()))

    def prune_steps(self, prune: bool) -> None:
        """Remove, or only tell, our steps that the file does not name any more."""
        for key, owned in self.owned().items():
            if key in self.files_order or key in self.broken:
                continue
            name, file = str(owned.action["Name"]), owned_step.read_file(owned.action)
            if file and file != self.ready.file:
                reason = f"--prune leaves it: it belongs to the file {file!r}" if prune else ""
                self.note("leave", key, name, reason, step=owned.step)
                continue
            if not prune:
                self.note(
                    "leave",
                    key,
                    name,
                    "the file does not name it any more: --prune removes it",
                    step=owned.step,
                )
                continue
            fault = ""
            if len(owned.step["Actions"]) > 1:
                fault = "people have added child steps to it: remove it by hand"
            fault = fault or take_out(self.steps, self.index_of(owned.step), is_ours=self.is_ours)
            before = {"step": owned_step.fingerprint(self.found[key][0], None)}
            if fault:
                self.note("conflict", key, name, fault, step=owned.step)
            else:
                edited = ", ".join(owned_step.edited_by_people(self.found[key][0]))
                reason = "the file does not name it any more" + (
                    f"; people changed {edited} in it" if edited else ""
                )
                self.note("remove", key, name, reason, before=before)

    def fates(self) -> Mapping[str, str]:
        """What becomes of our steps that lose their name, by that name."""
        there = self.owned()
        fates: dict[str, str] = {}
        for key, (before, *_) in self.found.items():
            names = {str(before.action["Name"]), str(before.step["Name"])}
            if key not in there:
                fates.update(dict.fromkeys(names, "is removed"))
            else:
                fates.update(dict.fromkeys(names, f"is renamed to {str(there[key].action['Name'])!r}"))
        return fates

    def check_names(self) -> None:
        """Octopus wants names that are unique in a process, ignoring case: of steps, and of actions."""
        there = self.owned()
        for ready in self.ready.steps:
            owned = there.get(ready.key)
            if owned is None or ready.key in self.broken:
                continue
            name = str(owned.action["Name"])
            others = (a for step in self.steps for a in step["Actions"] if a is not owned.action)
            steps = (step for step in self.steps if step is not owned.step)
            alike = [
                item for item in (*steps, *others) if str(item.get("Name")).casefold() == name.casefold()
            ]
            if alike:
                reason = "a step of this name is there already, and it is not ours: choose another name"
                if any(owned_step.MARKER in item.get("Properties", {}) for item in alike):
                    reason += ", or remove that one: it came with a clone of another project"
                self.changes = [entry for entry in self.changes if entry.step is not owned.step]
                self.note("conflict", ready.key, name, reason, step=owned.step)
