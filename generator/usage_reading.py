"""Reads where a server's step templates are used, in one space or in all.

Read from the processes themselves, in a handful of list requests: of version-controlled projects, Octopus' own list of usages
knows only what up to twenty recent releases used (documentation, *Custom step templates*). For templates that are asked for by
name that list is read as well, for the branches that it names and the projects that this account cannot read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

from generator.branches import HEADS, is_version_controlled
from generator.errors import Refusal
from generator.octopus import ApiError, Client, Space
from generator.octopus.records import ActionDocument, Document, ProjectDocument, StepDocument
from generator.outcome import Progress, quiet
from generator.owned_step import TEMPLATE_ID, TEMPLATE_VERSION, read_key, text_of
from generator.source import closest_or_all
from generator.step_copy import edited_names
from generator.usages import (
    AHEAD,
    BEHIND,
    CURRENT,
    EDITED,
    ORPHANED,
    OWN_BRANCHES,
    OWNED,
    UPDATE_BRANCHES,
    Place,
    Seen,
    Usage,
    Wish,
    is_meant,
    many,
    side_by_side,
)

IDS_AT_ONCE = 50
"""So many ids fit into an address everywhere."""


def read_usages(client: Client, wish: Wish, *, progress: Progress = quiet) -> Seen:
    """Every usage that the wish is about, sorted, in the client's space or in all that the account may enter."""
    spaces = list(read_spaces(client))
    chosen = spaces if wish.all_spaces else [client.space or spaces[0]]
    clients = {space.id: in_space(client, space) for space in chosen}
    readings = [SpaceReading(clients[space.id], wish) for space in chosen]
    refuse_unknown_templates(wish, readings)
    refuse_unknown_projects(wish, readings)
    found: list[Usage] = []
    for reading in progress(readings, "Reading processes"):
        found.extend(reading.usages())
    unseen = [sentence for reading in readings for sentence in reading.unseen]
    if len(spaces) > len(chosen):
        others = len(spaces) - len(chosen)
        unseen.append(f"{many(others, 'other space', 'other spaces')} (--all-spaces)")
    order = sorted(
        found,
        key=lambda u: (u.place.space.name, u.template_name.casefold(), u.place.where.casefold()),
    )
    return Seen(
        usages=tuple(order),
        unseen=tuple(dict.fromkeys(unseen)),
        notes=tuple(note for reading in readings for note in reading.notes),
        clients=clients,
    )


def read_spaces(client: Client) -> Iterator[Space]:
    for item in client.pages("/api/spaces"):
        yield Space(
            id=item["Id"],
            name=item.get("Name") or item["Id"],
            slug=item.get("Slug") or "",
            is_default=item.get("IsDefault") is True,
        )


def in_space(client: Client, space: Space) -> Client:
    """The same connection, for another space."""
    other = copy.copy(client)
    other.space = space
    return other


def refuse_unknown_templates(wish: Wish, readings: Sequence[SpaceReading]) -> None:
    known = {
        str(template["Name"]): template for reading in readings for template in reading.templates.values()
    }
    words = {word.casefold() for name, item in known.items() for word in (name, str(item["Id"]))}
    for name in wish.templates:
        if name.strip().casefold() not in words:
            raise Refusal(
                f"the library has no step template {name!r}: {closest_or_all(name, known) or 'it is empty'}"
            )


def refuse_unknown_projects(wish: Wish, readings: Sequence[SpaceReading]) -> None:
    projects = [project for reading in readings for project in reading.projects]
    for pattern in wish.projects:
        if not any(is_project(project, pattern) for project in projects):
            names = [str(project["Name"]) for project in projects]
            hint = closest_or_all(pattern, names) if names else "none is visible to this account"
            raise Refusal(f"no project matches {pattern!r}: {hint}")


def is_project(project: ProjectDocument, pattern: str) -> bool:
    """Whether a pattern means the project: by name, slug or id, ignoring case, with `*` and `?`."""
    return is_meant((project["Name"], project.get("Slug") or "", project["Id"]), pattern)


def is_branch(git_ref: str, pattern: str) -> bool:
    wanted = pattern.removeprefix(HEADS)
    return fnmatchcase(git_ref.removeprefix(HEADS), wanted)


class SpaceReading:
    """Reads one space. Faults of single processes become sentences in `unseen`; they hide no other process. `notes` are about
    branches of earlier runs."""

    def __init__(self, client: Client, wish: Wish) -> None:
        self.client, self.wish = client, wish
        assert client.space is not None
        self.space = client.space
        self.unseen: list[str] = []
        self.notes: list[str] = []
        self.templates = {str(item["Id"]): item for item in client.pages("actiontemplates")}
        self.projects = [cast(ProjectDocument, item) for item in client.pages("projects")]

    def usages(self) -> Iterator[Usage]:
        chosen = self.chosen_templates()
        if chosen is not None and not chosen:
            return
        projects = [
            project
            for project in self.projects
            if not self.wish.projects or any(is_project(project, word) for word in self.wish.projects)
        ]
        told = self.read_told(chosen or ())
        processes = (
            *self.database_processes(projects),
            *self.runbook_processes(projects),
            *self.branch_processes(projects, told),
        )
        found = [
            usage
            for place, document in processes
            for usage in usages_in(place, document, self.templates)
            if chosen is None or usage.template_id in chosen
        ]
        for place, document in processes:
            if any(step.get("Type") == "ProcessTemplateUsage" for step in document.get("Steps") or ()):
                self.unseen.append(f"{place.where}: what its process templates of Platform Hub hold")
        self.tell_hidden(told)
        yield from found

    def chosen_templates(self) -> frozenset[str] | None:
        """Ids of the templates that the wish names; None for all."""
        if not self.wish.templates:
            return None
        words = {name.strip().casefold() for name in self.wish.templates}
        return frozenset(
            identity
            for identity, template in self.templates.items()
            if {identity.casefold(), str(template["Name"]).casefold()} & words
        )

    def read_told(self, chosen: Iterable[str]) -> list[Document]:
        """What Octopus itself lists of the chosen templates."""

        def read(identity: str) -> list[Document]:
            return list(self.client.pages(f"actiontemplates/{identity}/usage"))

        return [usage for listed in side_by_side(read, sorted(chosen)) for usage in listed]

    # --- processes -----------------------------------------------------------------------------------------------------

    def database_processes(self, projects: Sequence[ProjectDocument]) -> Iterator[tuple[Place, Document]]:
        places = [
            Place(
                space=self.space,
                is_of_many=self.wish.all_spaces,
                project_id=project["Id"],
                project=project["Name"],
                slug=project.get("Slug") or "",
                process_id=project["DeploymentProcessId"],
            )
            for project in projects
            if not is_version_controlled(project)
        ]
        yield from self.read_places("deploymentprocesses", places)

    def runbook_processes(self, projects: Sequence[ProjectDocument]) -> Iterator[tuple[Place, Document]]:
        by_id = {project["Id"]: project for project in projects}
        for project in projects:
            if runbooks_in_git(project):
                self.unseen.append(f"{project['Name']}: its runbooks, which are in Git")
        places = [
            Place(
                space=self.space,
                is_of_many=self.wish.all_spaces,
                project_id=runbook["ProjectId"],
                project=by_id[runbook["ProjectId"]]["Name"],
                slug=by_id[runbook["ProjectId"]].get("Slug") or "",
                process_id=runbook["RunbookProcessId"],
                runbook_id=runbook["Id"],
                runbook=runbook["Name"],
            )
            for runbook in self.list_runbooks()
            if runbook.get("ProjectId") in by_id and runbook.get("RunbookProcessId")
        ]
        yield from self.read_places("runbookProcesses", places)

    def list_runbooks(self) -> list[Document]:
        try:
            return list(self.client.pages("runbooks"))
        except ApiError as error:
            if error.status not in (403, 404):  # 404: a server without runbooks
                raise
            self.unseen.append(f"runbooks: {error}")
            return []

    def read_places(self, path: str, places: Sequence[Place]) -> Iterator[tuple[Place, Document]]:
        """The documents of the places, many in one request. A server that does not know `ids` lists all: what was not asked for
        is left out, and what is missing then is read by itself."""
        asked = [places[start : start + IDS_AT_ONCE] for start in range(0, len(places), IDS_AT_ONCE)]

        def read(some: Sequence[Place]) -> dict[str, Document]:
            try:
                listed = self.client.pages(path, ids=[place.process_id for place in some])
                return {str(item["Id"]): item for item in listed}
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                return {}

        documents = {
            identity: item for batch in side_by_side(read, asked) for identity, item in batch.items()
        }
        missing = [place for place in places if place.process_id not in documents]
        for place, document in zip(missing, side_by_side(self.read_one, missing), strict=True):
            if document is not None:
                documents[place.process_id] = document
        for place in places:
            if place.process_id in documents:
                yield place, documents[place.process_id]

    def read_one(self, place: Place) -> Document | None:
        try:
            return self.client.get(place.path)
        except ApiError as error:
            if error.status in (401, 429) or error.status >= 500:
                raise
            self.unseen.append(f"{place.where}: {error}")
            return None

    # --- version-controlled projects -----------------------------------------------------------------------------------

    def branch_processes(
        self, projects: Sequence[ProjectDocument], told: Sequence[Document]
    ) -> Iterator[tuple[Place, Document]]:
        in_git = [project for project in projects if is_version_controlled(project)]
        listed = side_by_side(lambda project: self.branches_of(project, told), in_git)
        places = [place for places in listed for place in places]
        for place, document in zip(places, side_by_side(self.read_one, places), strict=True):
            if document is not None:
                yield place, document

    def branches_of(self, project: ProjectDocument, told: Sequence[Document]) -> list[Place]:
        """The branches to read: the default one, those that Octopus lists usages on, or those of the wish."""
        settings = cast(Document, project).get("PersistenceSettings") or {}
        default = HEADS + str(settings.get("DefaultBranch") or "main").removeprefix(HEADS)
        try:
            names = [
                str(item.get("CanonicalName") or HEADS + str(item.get("Name")))
                for item in self.client.pages(f"projects/{project['Id']}/git/branches")
            ]
        except ApiError as error:
            if error.status in (401, 429) or error.status >= 500:
                raise
            self.unseen.append(f"{project['Name']}: other branches: {error}")
            names = [default]
        released = {
            HEADS + str(usage["Branch"]).removeprefix(HEADS)
            for usage in told
            if usage.get("ProjectId") == project["Id"] and usage.get("Branch")
        }
        if self.wish.branches:
            chosen = [name for name in names if any(is_branch(name, word) for word in self.wish.branches)]
        else:
            chosen = [name for name in names if name == default or name in released]
        own = [name.removeprefix(HEADS) for name in names if name.startswith(UPDATE_BRANCHES)]
        if own:
            self.notes.append(
                f"{project['Name']}: {', '.join(own)} {'holds' if len(own) == 1 else 'hold'} updates of an earlier run: "
                "merge it, or delete it where it was merged"
            )
        left = [name for name in names if name not in chosen and not name.startswith(OWN_BRANCHES)]
        if left:
            self.unseen.append(
                f"{project['Name']}: {many(len(left), 'other branch', 'other branches')}, "
                f"{', '.join(name.removeprefix(HEADS) for name in left[:3])}{', ...' if len(left) > 3 else ''} (--branch)"
            )
        return [
            Place(
                space=self.space,
                is_of_many=self.wish.all_spaces,
                project_id=project["Id"],
                project=project["Name"],
                slug=project.get("Slug") or "",
                process_id=str(project.get("DeploymentProcessId") or f"deploymentprocess-{project['Id']}"),
                git_ref=name,
            )
            for name in chosen
        ]

    def tell_hidden(self, told: Sequence[Document]) -> None:
        """What Octopus lists although this account could not read it."""
        visible = {project["Id"] for project in self.projects}
        hidden = sorted(
            {
                str(usage.get("ProjectName") or usage.get("ProjectId"))
                for usage in told
                if usage.get("ProjectId") not in visible
            }
        )
        for name in hidden:
            self.unseen.append(
                f"{name}: Octopus lists usages there, and this account may not see the project"
            )


def runbooks_in_git(project: ProjectDocument) -> bool:
    settings = cast(Document, project).get("PersistenceSettings") or {}
    return bool((settings.get("ConversionState") or {}).get("RunbooksAreInGit"))


def usages_in(place: Place, process: Document, templates: Mapping[str, Document]) -> Iterator[Usage]:
    """The steps of a process that hold a copy of a template."""
    for step in process.get("Steps") or ():
        for action in step.get("Actions") or ():
            identity = text_of((action.get("Properties") or {}).get(TEMPLATE_ID))
            if identity:
                yield make_usage(place, step, action, templates.get(identity), identity)


def make_usage(
    place: Place, step: StepDocument, action: ActionDocument, template: Document | None, template_id: str
) -> Usage:
    version = text_of(action["Properties"].get(TEMPLATE_VERSION))
    held = int(version) if version.isascii() and version.isdigit() else None
    return Usage(
        place=place,
        step=str(action.get("Name") or step.get("Name") or ""),
        state=state_of(place, action, template, held),
        held=held,
        template_id=template_id,
        template=template,
        action=action,
    )


def state_of(place: Place, action: ActionDocument, template: Document | None, held: int | None) -> str:
    """One of the states above. Ownership comes first: such a step is the importer's whatever its version is."""
    if read_key(action, place.owner) is not None:
        return OWNED
    if template is None:
        return ORPHANED
    current = int(template.get("Version") or 0)
    if held is None or held < current:
        return BEHIND
    if held > current:
        return AHEAD
    return EDITED if edited_names(action, template) else CURRENT
