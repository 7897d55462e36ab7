"""Writing step templates into a server's library: exactly what a plan says, each after a re-read, and decided by looking.

Facts about Octopus: a PUT carries no version, so the last writer wins and only the answer's Version tells that somebody else
wrote (docs, API reference, action templates). After a lost answer the template's history tells what was carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from generator import removal
from generator.errors import Refusal
from generator.history import History, find_reserved, read_histories, read_history
from generator.library import FoundTemplate, keep_hint, parse_found, tell_covered
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Json
from generator.plan import Change
from generator.step_template import StepTemplate, digest, to_api

WRITE_ATTEMPTS = 5
MOST_HISTORIES = 200
"""How many templates' old versions are looked through to explain a refused save."""


def write(client: Client, changes: Sequence[Change], wanted: Mapping[str, StepTemplate]) -> tuple[str, ...]:
    """Carry out the changes of one template, each after a re-read.

    Gives back sentences about edits that others made in the same moment. Refusal when the server has moved since the plan.
    """
    alarms: list[str] = []
    for change in changes:
        match change.action:
            case "create":
                alarms.extend(create(client, wanted[change.name]))
            case "update":
                alarms.extend(update(client, wanted[change.name], change))
            case "remove":
                removal.remove(client, change)
    return tuple(alarms)


def create(client: Client, template: StepTemplate) -> Iterator[str]:
    """Make a template that was not there. A lost answer is decided by looking whether it is there now."""
    body = to_api(template, space_id(client))
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        there = find_by_name(client, template.name)
        if there is not None:
            if attempt > 1 and is_our_save(there, template, meant=0):
                return
            raise moved(template.name, f"somebody made a template of this name meanwhile ({there.id})")
        answer = save(partial(client.post, "actiontemplates", body), client, attempt)
        if answer is not None:
            if answer.content != template:
                yield f"{template.name!r}: the server holds something else than was written ({answer.id})"
            return


def update(client: Client, template: StepTemplate, change: Change) -> Iterator[str]:
    """Put a template over the version that the plan saw. After a lost answer its history tells what happened."""
    identity, version = str(change.before["id"]), int(str(change.before["version"]))
    path = f"actiontemplates/{identity}"
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        there = parse_found(client.get(path))
        if there.version != version or digest(there.content) != change.before["digest"]:
            if attempt > 1:
                told = find_own_save(read_history(client, there), template, version)
                if told is not None:
                    yield from told
                    return
            raise moved(template.name, f"it is at version {there.version}{there.edited}")
        body = to_api(template, space_id(client), found=there.document)
        try:
            answer = save(partial(client.put, path, body), client, attempt)
        except ApiError as error:
            if error.status == 400:
                raise Refusal(f"{error}{explain_refused_save(client, there)}") from error
            raise
        if answer is not None:
            if answer.version > version + 1:
                yield from tell_foreign(client, template, answer, read=version)
            if answer.content != template:
                yield f"{template.name!r}: the server holds something else than was written ({identity})"
            return


def save(send: Callable[[], Json], client: Client, attempt: int) -> FoundTemplate | None:
    """What the server answered; None when only looking tells whether it was done. Errors: those that tell that it was not, and
    at the last attempt any."""
    try:
        return parse_found(send())
    except OctopusError as error:
        if not error.maybe_done or attempt == WRITE_ATTEMPTS:
            raise
    client.pause_before_rewrite(attempt)
    return None


def is_our_save(version: FoundTemplate, template: StepTemplate, *, meant: int) -> bool:
    """Whether a version is the save of this run, or of one that wrote the same over the same version."""
    return (
        version.is_intact
        and version.content == template
        and version.marker is not None
        and version.marker.version == meant
    )


def find_own_save(history: History, template: StepTemplate, read: int) -> list[str] | None:
    """What to tell about a save whose answer was lost; None when it was not carried out."""
    ours = [one for one in history.versions if is_our_save(one, template, meant=read + 1)]
    if not ours:
        return None
    return [
        tell_covered(template.name, version, ours[0].version)
        for version in history.versions
        if read < version.version < ours[0].version
    ]


def tell_foreign(
    client: Client, template: StepTemplate, answer: FoundTemplate, *, read: int
) -> Iterator[str]:
    """A sentence for each version between the one that was read and ours: edits that our save has covered. A version that an
    earlier attempt of ours made, although its answer was lost, is none."""
    try:
        history = read_histories(client, [answer])[answer.id]
    except OctopusError:
        numbers = ", ".join(str(number) for number in range(read + 1, answer.version))
        yield (
            f"{template.name!r}: version {numbers} was saved in the same moment as ours, version {answer.version}, which covers "
            f"it: {keep_hint(template.name)}"
        )
        return
    for version in history.versions:
        is_between = read < version.version < answer.version
        if is_between and not is_our_save(version, template, meant=read + 1):
            yield tell_covered(template.name, version, answer.version)


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
    try:
        others = (document for document in client.pages("actiontemplates") if document["Id"] != template.id)
        for document, _ in zip(others, range(MOST_HISTORIES), strict=False):
            trap = find_reserved(client, parse_found(document), template.name)
            if trap is not None:
                return f"; the cause: {trap.explain(template.name)}"
    except OctopusError:
        pass  # the refusal itself is what matters
    return ""


def space_id(client: Client) -> str:
    assert client.space is not None
    return client.space.id
