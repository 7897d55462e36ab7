"""A usage: one step of one process that holds a copy of a step template, of some version. What a reading of them is, as data.

`usage_reading` finds them, `usage_plan` and `usage_updates` move them to another version, `usage_record` leads back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar
from urllib.parse import quote

from generator.branches import HEADS, PREFIX
from generator.octopus import Client, Space
from generator.octopus.records import ActionDocument, Document
from generator.outcome import Progress, quiet

Item = TypeVar("Item")
Result = TypeVar("Result")

OWN_BRANCHES = HEADS + PREFIX
UPDATE_BRANCH = f"{PREFIX}update-"
UPDATE_BRANCHES = HEADS + UPDATE_BRANCH
SIDE_BY_SIDE = 6

CURRENT, BEHIND, EDITED, AHEAD, OWNED, ORPHANED = "current", "behind", "edited", "ahead", "owned", "orphaned"
"""`edited`: of the current version, but somebody changed the copy in the process. `ahead`: the library's version is lower, as
after an import. `owned`: by a coordination file. `orphaned`: the template is gone."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process: a project's or a runbook's, in the database, or on a branch (`git_ref`, its whole name). `is_of_many`: other
    spaces are looked at, too."""

    space: Space
    project_id: str
    project: str
    process_id: str
    slug: str = ""
    runbook_id: str = ""
    runbook: str = ""
    git_ref: str = ""
    is_of_many: bool = False

    @property
    def owner(self) -> str:
        """Whose marks make a step of this process owned."""
        return self.runbook_id or self.project_id

    @property
    def kind(self) -> str:
        return "Runbook" if self.runbook_id else "Deployment"

    @property
    def process(self) -> str:
        return f"runbook {self.runbook}" if self.runbook_id else "deployment"

    @property
    def branch(self) -> str:
        return self.git_ref.removeprefix(HEADS)

    @property
    def where(self) -> str:
        """As people name it."""
        runbook = f", {self.process}" if self.runbook_id else ""
        space = f"{self.space.name} / " if self.is_of_many else ""
        return f"{space}{self.project}{runbook}{f' ({self.branch})' if self.git_ref else ''}"

    @property
    def path(self) -> str:
        """Where the process is read and written, below its space."""
        if self.git_ref:
            return f"projects/{self.project_id}/{quote(self.git_ref, safe='')}/deploymentprocesses"
        return f"{'runbookProcesses' if self.runbook_id else 'deploymentprocesses'}/{self.process_id}"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One step that holds a copy of a template. `held` is None where its version is no number; `template` where it is gone."""

    place: Place
    step: str
    state: str
    held: int | None
    template_id: str
    template: Document | None = field(repr=False)
    action: ActionDocument = field(repr=False)

    @property
    def template_name(self) -> str:
        return str((self.template or {}).get("Name") or self.template_id)

    @property
    def current(self) -> int | None:
        return None if self.template is None else int(self.template.get("Version") or 0)

    @property
    def name(self) -> str:
        return f"{self.place.where}: {self.step}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found; `unseen` are sentences about what was not looked at or cannot be seen, `notes` about what people should
    look at. Clients are by the id of a space."""

    usages: Sequence[Usage]
    unseen: Sequence[str]
    notes: Sequence[str]
    clients: Mapping[str, Client] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to look at: names of templates, patterns of projects and of branches; empty is all, and the default branches."""

    templates: Sequence[str] = ()
    projects: Sequence[str] = ()
    branches: Sequence[str] = ()
    all_spaces: bool = False


def is_meant(words: Iterable[str], pattern: str) -> bool:
    wanted = pattern.strip().casefold()
    return any(word.casefold() == wanted or fnmatchcase(word.casefold(), wanted) for word in words if word)


def side_by_side(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    progress: Progress = quiet,
    description: str = "Reading",
) -> list[Result]:
    """The results in the order of the items; several are asked for at the same time."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(SIDE_BY_SIDE, len(items))) as pool:
        begun = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in progress(begun, description)]
        except BaseException:
            for future in begun:
                future.cancel()
            raise


def many(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
