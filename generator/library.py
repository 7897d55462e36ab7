"""Our step templates in a server's library: what is there (`read_found`), and what would change (`plan`).

We know our own by the marker in the object, never by a state file. Facts about Octopus: the first version is 0 and every
PUT adds one; names that a template ever had stay reserved with its versions (OctopusDeploy/Issues 4001, 7316, 9185).
Writing is `publication`'s, the past versions of a template are `history`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from generator.octopus import Client
from generator.octopus.permissions import Need
from generator.octopus.records import Document
from generator.plan import Action, Change
from generator.step_template import (
    SCRIPT_BODY,
    Marker,
    StepTemplate,
    digest,
    from_api,
    marker_holds,
    read_marker,
    short_digest,
    without_marks,
)
from generator.template_diff import diff

if TYPE_CHECKING:
    from generator.history import History, Reserved

KIND = "step template"
MOST_EDITS_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class FoundTemplate:
    """One step template on a server. `is_intact`: its content is still what its marker vouches for."""

    id: str
    name: str
    version: int
    is_community: bool
    marker: Marker | None
    is_intact: bool
    modified_by: str
    modified_on: str
    content: StepTemplate
    document: Document = field(repr=False, compare=False)

    @property
    def edited(self) -> str:
        """` by NAME on DATE`, as far as the server says."""
        by = f" by {self.modified_by}" if self.modified_by else " (the server does not say by whom)"
        return f"{by} on {self.modified_on[:16].replace('T', ' ')}" if self.modified_on else by


def read_found(client: Client) -> tuple[FoundTemplate, ...]:
    """Every step template in the space, from one list read in pages."""
    return tuple(parse_found(document) for document in client.pages("actiontemplates"))


def parse_found(document: Document) -> FoundTemplate:
    """One step template from the server's resource."""
    return FoundTemplate(
        id=document["Id"],
        name=document["Name"],
        version=int(document.get("Version") or 0),
        is_community=bool(document.get("CommunityActionTemplateId")),
        marker=read_marker(document),
        is_intact=marker_holds(document),
        modified_by=str(document.get("LastModifiedBy") or ""),
        modified_on=str(document.get("LastModifiedOn") or ""),
        content=from_api(document),
        document=document,
    )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One wanted template, and what the server has of it: those with its spec's id, and the one with its name."""

    wanted: StepTemplate
    ours: Sequence[FoundTemplate]
    namesake: FoundTemplate | None

    @property
    def found(self) -> FoundTemplate | None:
        return self.ours[0] if self.ours else self.namesake


def pair(wanted: Iterable[StepTemplate], found: Iterable[FoundTemplate]) -> tuple[Pair, ...]:
    """The wanted templates by name, each with what the server has of it. Octopus compares names without case."""
    by_id: dict[str, list[FoundTemplate]] = defaultdict(list)
    by_name: dict[str, FoundTemplate] = {}
    for template in found:
        by_name[template.name.casefold()] = template
        if template.marker:
            by_id[template.marker.spec_id].append(template)
    return tuple(
        Pair(
            wanted=template,
            ours=by_id.get(template.spec_id, ()),
            namesake=by_name.get(template.name.casefold()),
        )
        for template in sorted(wanted, key=lambda template: template.name)
    )


def doubtful(wanted: Iterable[StepTemplate], found: Iterable[FoundTemplate]) -> Iterator[FoundTemplate]:
    """The templates whose past versions must be seen: edited, put back, or saved by two at the same moment."""
    for one in pair(wanted, found):
        there = one.found
        if there is None or there.is_community:
            continue
        is_as_meant = there.is_intact and (
            there.marker is None or there.marker.version in (None, there.version)
        )
        if not is_as_meant and (there.marker is not None or there.content != one.wanted):
            yield there


def plan(
    wanted: Iterable[StepTemplate],
    found: Sequence[FoundTemplate],
    *,
    histories: Mapping[str, History] | None = None,
    reserved: Mapping[str, Sequence[Reserved]] | None = None,
    force: bool = False,
) -> tuple[Change, ...]:
    """What turns `found` into `wanted`. Nothing is renamed or deleted; what others made is not touched without `force`.

    `histories` are the past versions of doubtful templates by id; `reserved` the names that templates once had, by folded name.
    """
    return tuple(
        compare(one, histories=histories or {}, reserved=reserved or {}, force=force)
        for one in pair(wanted, found)
    )


def compare(
    pair: Pair,
    *,
    histories: Mapping[str, History],
    reserved: Mapping[str, Sequence[Reserved]],
    force: bool,
) -> Change:
    """What to do about one wanted template."""
    wanted, found = pair.wanted, pair.found
    if len(pair.ours) > 1:
        names = " and ".join(f"{template.name!r} ({template.id})" for template in pair.ours)
        return change(
            "conflict",
            wanted,
            f"{names} both say that they are made from this spec: delete one",
            found=pair.ours[0],
        )
    if found is not None and found.content == wanted:
        return change("leave", wanted, "", found=found)
    if pair.ours and found is not None and found.name != wanted.name:
        return change("conflict", wanted, explain_name(pair, found), found=found)
    trap = find_trap(wanted, found, reserved)
    if trap:
        return change("conflict", wanted, trap, found=found)
    if found is None:
        return change("create", wanted, "not on the server")
    history = histories.get(found.id)
    fault, is_forcible = fault_of(wanted, found, history)
    if not fault:
        reason = "differs from its spec"
        if not found.is_intact and found.marker:
            reason = f"the spec has what was edited on the server{found.edited}"
        return change("update", wanted, reason, found=found)
    if force and is_forcible:
        return change("update", wanted, f"overwritten by --force: {fault}", found=found)
    if not is_forcible:
        return change("conflict", wanted, fault, found=found)
    way = "" if fault.endswith("update your checkout") else pull_hint(wanted)
    conflict = change("conflict", wanted, f"{fault}{way}; --force overwrites it", found=found)
    return replace(conflict, diff=diff_of_edit(history) or conflict.diff)


def explain_name(pair: Pair, found: FoundTemplate) -> str:
    """Why a template of ours that has another name now is left as it is."""
    wanted, namesake = pair.wanted, pair.namesake
    if namesake is not None and namesake is not found:
        reason = (
            f"its template was renamed to {found.name!r}, and another one ({namesake.id}) has this name now"
        )
    else:
        reason = f"it is published as {found.name!r}{found.edited}; templates are never renamed: Octopus keeps old names reserved"
    return f"{reason}: give one of both its name back, or the spec a new id and name{pull_hint(wanted, found.name)}"


def find_trap(
    wanted: StepTemplate, found: FoundTemplate | None, reserved: Mapping[str, Sequence[Reserved]]
) -> str:
    """A sentence when a later save of the wanted template would be refused because another one once had its name.

    A save leaves the row (name, version) behind, and is refused where another template has left the same.
    """
    version = found.version if found else 0
    for holder in reserved.get(wanted.name.casefold(), ()):
        if not (found and holder.template.id == found.id) and max(holder.versions) >= version:
            last = min(number for number in holder.versions if number >= version)
            limit = f"it could be saved up to version {last}" if last else "it could be created"
            return f"{limit}, and Octopus would refuse every later save: {holder.explain(wanted.name)}"
    return ""


def fault_of(wanted: StepTemplate, found: FoundTemplate, history: History | None = None) -> tuple[str, bool]:
    """Why a template that differs must not simply be overwritten ("" when it may), and whether --force overrules that."""
    if found.is_community:
        return "it comes from the community library, which Octopus lets nobody update", False
    if found.content.action_type != wanted.action_type:
        return f"it is of the type {found.content.action_type}, which Octopus never changes", False
    if found.marker is not None and found.marker.spec_id != wanted.spec_id:
        return f"it was published from another spec (id {found.marker.spec_id})", True
    was_ours = history is not None and any(
        one.marker is not None and one.marker.spec_id == wanted.spec_id for one in history.saved_by_us
    )
    if found.is_intact and found.marker is not None and found.marker.revision > wanted.revision:
        newer, ours = found.marker.revision, wanted.revision
        return (
            f"it was published from a newer revision ({newer}, this spec is {ours}): update your checkout",
            True,
        )
    if same_but_header(found.content, wanted):
        return "", True  # pulled: the edit is in the spec, only our header is not on the server yet
    if wanted.pulled and wanted.pulled == short_digest(found.content):
        return "", True  # pulled: the spec knows what stands there, whatever it has changed since
    if found.marker is None and not was_ours:
        return f"someone else made a template of this name (version {found.version}{found.edited})", True
    if not found.is_intact:
        edits = (history.edits if history else ()) or (found,)
        return f"it was edited on the server{tell_edits(edits)}", True
    back = history.was_put_back if history else None
    if history and back:
        before = (
            f"; before that it was edited{tell_edits(history.edits[:-1])}" if len(history.edits) > 1 else ""
        )
        return f"version {back.version} was put back{tell_edits([found])}{before}", True
    return "", True


def tell_edits(edits: Sequence[FoundTemplate]) -> str:
    """` by NAME on DATE (version 5)`, for each version that people saved since ours."""
    told = [f"{one.edited} (version {one.version})" for one in edits[-MOST_EDITS_NAMED:]]
    if len(edits) > MOST_EDITS_NAMED:
        told.insert(0, f" {len(edits) - MOST_EDITS_NAMED} times before")
    return ",".join(told)


def diff_of_edit(history: History | None) -> tuple[str, ...]:
    """What people changed: what we published, against what is there now."""
    published = history.published if history else None
    if history is None or published is None:
        return ()
    current = history.current
    return diff(
        published.content,
        current.content,
        old=f"published, version {published.version}",
        new=f"on the server{current.edited}, version {current.version}",
    )


def pull_hint(wanted: StepTemplate, name: str = "") -> str:
    return f"; `octosteps pull -n {quoted(name or wanted.name)}` brings it into the spec"


def keep_hint(name: str) -> str:
    """How an edit comes back that stands in a template's history only."""
    return f"to keep that edit, save that version again in the portal, and run `octosteps pull -n {quoted(name)}`"


def quoted(name: str) -> str:
    """A name as a shell takes it."""
    return '"' + "".join(f"\\{c}" if c in '"\\$`' else c for c in name) + '"'


def same_but_header(one: StepTemplate, other: StepTemplate) -> bool:
    """Whether only our header's revision and digest tell the two apart."""
    return one == other or (
        replace(one, properties={**one.properties, SCRIPT_BODY: without_marks(one.script)})
        == replace(other, properties={**other.properties, SCRIPT_BODY: without_marks(other.script)})
    )


def change(
    action: Action, wanted: StepTemplate, reason: str, *, found: FoundTemplate | None = None
) -> Change:
    """The change of one template; where there is something to compare with, with the diff of what would be written."""
    compares = found is not None and action in ("update", "conflict")
    return Change(
        action=action,
        kind=KIND,
        name=wanted.name,
        unit=wanted.name,
        reason=reason,
        before=found_state(found) if found else {},
        after=state(wanted),
        diff=diff(
            found.content,
            wanted,
            old=f"server, version {found.version}",
            new=f"spec, revision {wanted.revision}",
        )
        if found is not None and compares
        else (),
    )


def state(template: StepTemplate) -> Mapping[str, object]:
    return {"spec": template.spec_id, "revision": template.revision, "digest": digest(template)}


def found_state(found: FoundTemplate) -> Mapping[str, object]:
    return {"id": found.id, "version": found.version, "digest": digest(found.content)}


def needs_of(changes: Iterable[Change]) -> frozenset[Need]:
    """The permissions that these changes need."""
    names = {
        "create": "ActionTemplateCreate",
        "update": "ActionTemplateEdit",
        "remove": "ActionTemplateDelete",
    }
    return frozenset(Need(permission=names[one.action]) for one in changes if one.action in names)


# --- what a person should look at ---------------------------------------------------------------------------------------


def warn(
    wanted: Iterable[StepTemplate], found: Iterable[FoundTemplate], histories: Mapping[str, History]
) -> Iterator[str]:
    """What stops nothing: edits that a save of ours has covered, and what projects will meet when they take the update."""
    for one in pair(wanted, found):
        there = one.found
        if there is None or (there.content == one.wanted and there.id not in histories):
            continue
        history = histories.get(there.id)
        if history and history.published:
            for version in history.covered():
                yield tell_covered(there.name, version, history.published.version)
        if there.marker is not None and there.content != one.wanted:
            yield from warn_of_form(there.content, one.wanted)


def tell_covered(name: str, version: FoundTemplate, ours: int) -> str:
    return (
        f"{name!r}: version {version.version} was saved{version.edited} in the same moment as ours, version {ours}, which covers "
        f"it: {keep_hint(name)}"
    )


def warn_of_form(before: StepTemplate, after: StepTemplate) -> Iterator[str]:
    """Where `Update` in a project will not go through by itself (docs, Updating step templates)."""
    known = {parameter.name: parameter for parameter in before.parameters}
    for parameter in after.parameters:
        old = known.get(parameter.name)
        if old is not None and old.control_type != parameter.control_type:
            yield (
                f"{after.name!r}: {parameter.name} changes from {old.control_type} to {parameter.control_type}: steps that use "
                "the template will have to be merged by hand; a new parameter would spare that"
            )
        elif old is None and parameter.default is None:
            yield f"{after.name!r}: the new {parameter.name} has no default: steps that use the template must be given a value"
