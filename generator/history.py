"""The saves of one step template on a server: which were ours, which are other people's, and which of those ours have covered.

`GET actiontemplates/{id}/versions` gives every version as a whole (docs, API reference, action templates). Which version was ours
is told by the marker, and by the version that the marker says the save was meant to become.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from generator.library import FoundTemplate, parse_found, same_but_header
from generator.octopus import Client, OctopusError
from generator.octopus.pace import MOST_AT_ONCE
from generator.outcome import Progress, quiet


@dataclass(frozen=True, kw_only=True)
class History:
    """Every version of one template, oldest first; the last one is the current one."""

    versions: Sequence[FoundTemplate]

    @property
    def current(self) -> FoundTemplate:
        return self.versions[-1]

    @property
    def saved_by_us(self) -> tuple[FoundTemplate, ...]:
        """Content that its own marker vouches for, the first time that it appears: a person who puts an old version back saves
        an old marker with it."""
        found: dict[object, FoundTemplate] = {}
        for version in self.versions:
            if version.is_intact:
                found.setdefault(version.marker, version)
        return tuple(found.values())

    @property
    def published(self) -> FoundTemplate | None:
        """What we saved last; None when nothing here was ours."""
        return self.saved_by_us[-1] if self.saved_by_us else None

    @property
    def edits(self) -> tuple[FoundTemplate, ...]:
        """The versions that people saved after ours; none when what we saved last stands there again."""
        last = self.published
        if last is None or (self.current.marker == last.marker and self.current.is_intact):
            return ()
        return tuple(version for version in self.versions if version.version > last.version)

    @property
    def was_put_back(self) -> FoundTemplate | None:
        """The older version of ours that somebody put back in place of a newer one."""
        last = self.published
        if last is None or not self.current.is_intact or self.current.marker == last.marker:
            return None
        return next(one for one in self.saved_by_us if one.marker == self.current.marker)

    def covered(self) -> tuple[FoundTemplate, ...]:
        """Foreign versions right below what we saved last, which that save had not seen."""
        last = self.published
        if last is None or last.marker is None or last.marker.version is None:
            return ()
        unseen = range(last.marker.version, last.version)
        return tuple(
            version
            for version in self.versions
            if version.version in unseen and not same_but_header(version.content, last.content)
        )


def read_history(client: Client, template: FoundTemplate) -> History:
    """The template's versions, from one request."""
    older = (parse_found(document) for document in client.array(f"actiontemplates/{template.id}/versions"))
    by_number = {version.version: version for version in (*older, template)}
    return History(versions=tuple(by_number[number] for number in sorted(by_number)))


def read_histories(client: Client, templates: Iterable[FoundTemplate]) -> Mapping[str, History]:
    """The histories of these templates by id, each version with who saved it, as far as the server tells."""
    return {template.id: with_editors(client, read_history(client, template)) for template in templates}


def with_editors(client: Client, history: History) -> History:
    """The same, with editors' names from the audit log where the versions of people carry none."""
    if all(version.modified_by for version in history.edits):
        return history
    return History(versions=tuple(_with_editor(history, read_saves(client, history.current))))


def _with_editor(history: History, saves: Sequence[tuple[str, str]]) -> Iterator[FoundTemplate]:
    """The audit log does not say which version a save made: the newest saves made the newest versions."""
    newest = dict(zip(reversed([one.version for one in history.versions]), saves, strict=False))
    for one in history.versions:
        by, on = newest.get(one.version, ("", ""))
        yield one if one.modified_by else replace(one, modified_by=by, modified_on=one.modified_on or on)


def read_saves(client: Client, template: FoundTemplate) -> list[tuple[str, str]]:
    """Who saved the template and when, newest first, by the audit log; nothing when the account may not see that."""
    try:
        events = list(client.pages("/api/events", regarding=template.id))
    except OctopusError:
        return []
    saves = (event for event in events if event.get("Category") in ("Created", "Modified"))
    return [(str(event.get("Username") or ""), str(event.get("Occurred") or "")) for event in saves]


# --- names that are taken for ever ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reserved:
    """A name that another template once had: Octopus keeps (name, version) of all its old versions unique
    (OctopusDeploy/Issues 4001, 7316, 9185)."""

    template: FoundTemplate
    versions: frozenset[int]

    def explain(self, name: str) -> str:
        return (
            f"{self.template.name!r} ({self.template.id}) was called {name!r} before, and Octopus keeps a name reserved with "
            "every version that had it: delete that template, or choose another name"
        )


def read_reserved(
    client: Client, found: Sequence[FoundTemplate], *, progress: Progress = quiet
) -> Mapping[str, tuple[Reserved, ...]]:
    """By folded name: which templates had it in versions that they have left behind. One request a template that was ever saved
    again, side by side."""
    reserved: dict[str, list[Reserved]] = {}
    saved_again = [template for template in found if template.version > 0]
    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        begun = [pool.submit(names_of, client, template) for template in saved_again]
        every = [future.result() for future in progress(begun, "Reading old names")]
    for names in every:
        for name, holder in names.items():
            reserved.setdefault(name, []).append(holder)
    return {name: tuple(holders) for name, holders in reserved.items()}


def find_reserved(client: Client, template: FoundTemplate, name: str) -> Reserved | None:
    """The versions in which a template had this name."""
    return names_of(client, template).get(name.casefold())


def names_of(client: Client, template: FoundTemplate) -> Mapping[str, Reserved]:
    """The names that a template keeps reserved, folded: those of its saved versions but the current one."""
    names: dict[str, set[int]] = {}
    for version in read_history(client, template).versions[:-1]:
        names.setdefault(version.name.casefold(), set()).add(version.version)
    return {name: Reserved(template=template, versions=frozenset(numbers)) for name, numbers in names.items()}
