"""Our step templates in a server's library: what is there (`read_found`), what would change (`plan`), and doing it (`write`).

We know our own by the marker in the object, never by a state file. Facts about Octopus: the first version is 0 and every
PUT adds one; a PUT carries no version, so the last writer wins and only the answer's Version tells that somebody else wrote;
names that a template ever had stay reserved with its versions (OctopusDeploy/Issues 4001, 7316, 9185).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from generator.errors import Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document
from generator.plan import Change, unified_diff
from generator.step_template import (
    SCRIPT_BODY,
    Marker,
    StepTemplate,
    TemplateParameter,
    digest,
    from_api,
    marker_holds,
    read_marker,
    to_api,
)

KIND = "step template"
WRITE_ATTEMPTS = 4
MOST_HISTORIES = 200
"""How many templates' old versions are looked through to explain a refused save."""


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
        by = f" by {self.modified_by}" if self.modified_by else ""
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


def plan(
    wanted: Iterable[StepTemplate], found: Sequence[FoundTemplate], *, force: bool = False
) -> tuple[Change, ...]:
    """What turns `found` into `wanted`. Nothing is renamed or deleted; what others made is not touched without `force`."""
    by_id: dict[str, list[FoundTemplate]] = defaultdict(list)
    by_name = {template.name.casefold(): template for template in found}
    for template in found:
        if template.marker:
            by_id[template.marker.spec_id].append(template)
    return tuple(
        compare(template, by_id.get(template.spec_id, []), by_name.get(template.name.casefold()), force=force)
        for template in sorted(wanted, key=lambda template: template.name)
    )


def compare(
    wanted: StepTemplate, ours: Sequence[FoundTemplate], namesake: FoundTemplate | None, *, force: bool
) -> Change:
    """What to do about one wanted template, given those with its id and the one with its name."""
    if len(ours) > 1:
        names = " and ".join(f"{template.name!r} ({template.id})" for template in ours)
        return conflict(wanted, ours[0], f"{names} both say that they are made from this spec: delete one")
    found = ours[0] if ours else namesake
    if found is None:
        return Change(
            action="create",
            kind=KIND,
            name=wanted.name,
            unit=wanted.name,
            reason="not on the server",
            after=state(wanted),
        )
    if ours and found.name != wanted.name:
        if namesake is not None and namesake is not found:
            reason = f"its template was renamed to {found.name!r}, and another one ({namesake.id}) has this name now"
        else:
            reason = f"it is published as {found.name!r}; templates are never renamed, Octopus keeps the old name reserved"
        return conflict(
            wanted, found, f"{reason}: give one of both its name back, or the spec a new id and name"
        )
    if found.content == wanted:
        return Change(
            action="leave",
            kind=KIND,
            name=wanted.name,
            unit=wanted.name,
            reason="",
            before=found_state(found),
            after=state(wanted),
        )
    fault, is_forcible = fault_of(wanted, found)
    if not fault:
        return update(wanted, found, "differs from its spec")
    if force and is_forcible:
        return update(wanted, found, f"overwritten by --force: {fault}")
    way = "; --force overwrites it" if is_forcible else ""
    return conflict(wanted, found, f"{fault}{way}")


def fault_of(wanted: StepTemplate, found: FoundTemplate) -> tuple[str, bool]:
    """Why a template that differs must not simply be overwritten ("" when it may), and whether --force overrules that."""
    if found.is_community:
        return "it comes from the community library, which Octopus lets nobody update", False
    if found.content.action_type != wanted.action_type:
        return f"it is of the type {found.content.action_type}, which Octopus never changes", False
    if found.marker is None:
        return f"someone else made a template of this name (version {found.version}{found.edited})", True
    if found.marker.spec_id != wanted.spec_id:
        return f"it was published from another spec (id {found.marker.spec_id})", True
    if not found.is_intact:
        return (
            f"it was edited on the server{found.edited} (version {found.version}): bring that into the spec",
            True,
        )
    if found.marker.revision > wanted.revision:
        newer, ours = found.marker.revision, wanted.revision
        return (
            f"it was published from a newer revision ({newer}, this spec is {ours}): update your checkout",
            True,
        )
    return "", True


def update(wanted: StepTemplate, found: FoundTemplate, reason: str) -> Change:
    return Change(
        action="update",
        kind=KIND,
        name=wanted.name,
        unit=wanted.name,
        reason=reason,
        before=found_state(found),
        after=state(wanted),
        diff=diff(
            found.content,
            wanted,
            old=f"server, version {found.version}",
            new=f"spec, revision {wanted.revision}",
        ),
    )


def conflict(wanted: StepTemplate, found: FoundTemplate, reason: str) -> Change:
    return Change(
        action="conflict",
        kind=KIND,
        name=wanted.name,
        unit=wanted.name,
        reason=reason,
        before=found_state(found),
        after=state(wanted),
        diff=diff(
            found.content,
            wanted,
            old=f"server, version {found.version}",
            new=f"spec, revision {wanted.revision}",
        ),
    )


def state(template: StepTemplate) -> Mapping[str, object]:
    return {"spec": template.spec_id, "revision": template.revision, "digest": digest(template)}


def found_state(found: FoundTemplate) -> Mapping[str, object]:
    return {"id": found.id, "version": found.version, "digest": digest(found.content)}


# --- what a reviewer reads -------------------------------------------------------------------------------------------


def diff(before: StepTemplate, after: StepTemplate, *, old: str, new: str) -> tuple[str, ...]:
    """A unified diff of what the server runs and shows: form and settings first, then the script, as real lines."""
    name = after.name
    return (
        *unified_diff(
            list(form_lines(before)),
            list(form_lines(after)),
            old=f"{name}: form ({old})",
            new=f"{name}: form ({new})",
        ),
        *unified_diff(
            before.script.split("\n"),
            after.script.split("\n"),
            old=f"{name}: script ({old})",
            new=f"{name}: script ({new})",
        ),
    )


def form_lines(template: StepTemplate) -> Iterator[str]:
    """Everything about a template but its script, one fact a line."""
    yield f"name: {template.name}"
    yield f"type: {template.action_type}"
    yield from text_lines("description", template.description)
    for name, value in sorted(template.properties.items()):
        if name != SCRIPT_BODY:
            yield from text_lines(name, value)
    for package in template.packages:
        yield f"package: {sorted(package.items(), key=str)}"
    for dependency in template.git_dependencies:
        yield f"git dependency: {sorted(dependency.items(), key=str)}"
    for parameter in template.parameters:
        yield from parameter_lines(parameter)


def parameter_lines(parameter: TemplateParameter) -> Iterator[str]:
    yield f"parameter {parameter.name} ({parameter.control_type})"
    yield from text_lines("  label", parameter.label)
    yield from text_lines("  default", parameter.default or "")
    for option in parameter.select_options:
        yield f"  option: {option}"
    yield from text_lines("  help", parameter.help_text)


def text_lines(label: str, text: str) -> Iterator[str]:
    """`label: text`, or the label and the indented lines when there are several."""
    lines = text.split("\n")
    if len(lines) == 1:
        if text:
            yield f"{label}: {text}"
        return
    indent = " " * (len(label) - len(label.lstrip()) + 2)
    yield f"{label}:"
    yield from (f"{indent}{line}".rstrip() for line in lines)


# --- writing ---------------------------------------------------------------------------------------------------------


def write(client: Client, changes: Sequence[Change], wanted: Mapping[str, StepTemplate]) -> tuple[str, ...]:
    """Carry out the changes of one template, each after a re-read.

    Gives back sentences about edits that others made in the same moment. Refusal when the server has moved since the plan.
    """
    alarms: list[str] = []
    for change in changes:
        template = wanted[change.name]
        alarms.extend(
            create(client, template) if change.action == "create" else replace(client, template, change)
        )
    return tuple(alarms)


def create(client: Client, template: StepTemplate) -> Iterator[str]:
    """Make a template that was not there. A lost answer is decided by looking whether it is there now."""
    body = to_api(template, space_id(client))
    for attempt in range(WRITE_ATTEMPTS):
        there = find_by_name(client, template.name)
        if there is not None:
            if attempt and there.content == template and there.is_intact:
                return
            raise moved(template.name, f"somebody made a template of this name meanwhile ({there.id})")
        try:
            answer = parse_found(client.post("actiontemplates", body))
        except OctopusError as error:
            if not error.maybe_done or attempt == WRITE_ATTEMPTS - 1:
                raise
            continue
        if answer.content != template:
            yield f"{template.name!r}: the server holds something else than was written ({answer.id})"
        return


def replace(client: Client, template: StepTemplate, change: Change) -> Iterator[str]:
    """Put a template over the version that the plan saw. After a lost answer the server's Version tells what happened."""
    identity, version = str(change.before["id"]), change.before["version"]
    for attempt in range(WRITE_ATTEMPTS):
        there = parse_found(client.get(f"actiontemplates/{identity}"))
        if there.version != version or digest(there.content) != change.before["digest"]:
            if attempt and there.content == template and there.is_intact:
                yield from tell_foreign(template.name, read=version, now=there.version)
                return
            raise moved(template.name, f"it is at version {there.version}{there.edited}")
        try:
            answer = parse_found(
                client.put(
                    f"actiontemplates/{identity}", to_api(template, space_id(client), found=there.document)
                )
            )
        except ApiError as error:
            if error.status == 400:
                raise Refusal(f"{error}{explain_refused_save(client, there)}") from error
            if not error.maybe_done or attempt == WRITE_ATTEMPTS - 1:
                raise
            continue
        except OctopusError as error:
            if not error.maybe_done or attempt == WRITE_ATTEMPTS - 1:
                raise
            continue
        yield from tell_foreign(template.name, read=version, now=answer.version)
        if answer.content != template:
            yield f"{template.name!r}: the server holds something else than was written ({identity})"
        return


def tell_foreign(name: str, *, read: object, now: int) -> Iterator[str]:
    """A sentence when versions came in between: each of them is an edit that our write has covered."""
    expected = int(str(read)) + 1
    if now > expected:
        foreign = ", ".join(str(version) for version in range(expected, now))
        yield (
            f"{name!r}: somebody saved it in the same moment; version {foreign} holds that edit, and version {now} is ours: "
            "look at it in the template's history, and bring what should stay into the spec"
        )


def moved(name: str, how: str) -> Refusal:
    return Refusal(f"the server has moved since the plan: {name!r}: {how}; plan again")


def find_by_name(client: Client, name: str) -> FoundTemplate | None:
    """The template of this name, ignoring case, as Octopus compares names."""
    for document in client.pages("actiontemplates", partialName=name):
        if str(document.get("Name")).casefold() == name.casefold():
            return parse_found(document)
    return None


def explain_refused_save(client: Client, template: FoundTemplate) -> str:
    """What to add to a refused save when another template once had this name: Octopus keeps (name, version) reserved."""
    others = (document for document in client.pages("actiontemplates") if document["Id"] != template.id)
    for document, _ in zip(others, range(MOST_HISTORIES), strict=False):
        for version in client.pages(f"actiontemplates/{document['Id']}/versions"):
            if str(version.get("Name")).casefold() == template.name.casefold():
                return (
                    f"; the cause: {document['Name']!r} ({document['Id']}) was called {template.name!r} before, and Octopus "
                    "keeps a name reserved with every version that had it: delete that template, or choose another name"
                )
    return ""


def space_id(client: Client) -> str:
    assert client.space is not None
    return client.space.id
