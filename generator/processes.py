"""Our steps in the processes of a server: what is there (`read_found`), what would change (`plan`), and doing it (`write`).

A process is one document with a `Version` that a PUT must carry, so no edit of others is ever overwritten: a stale write is
refused, and tried again from a fresh read. Everything that is not ours goes back as it was received. The process of a
version-controlled project is read from and committed to a branch of our own, see `branches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar, cast

from generator import branches
from generator.branches import Branch, Missing, is_version_controlled
from generator.coordination import WantedProcess
from generator.errors import Refusal
from generator.library import read_found as read_templates
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document, ProcessDocument, ProjectDocument
from generator.outcome import Progress, quiet
from generator.plan import Change
from generator.process_draft import Outline, ReadyProcess, outline
from generator.resolution import (
    Found,
    FoundProcess,
    FoundProject,
    conversion_of,
    expressions_of,
)
from generator.source import closest

WRITE_ATTEMPTS = 6
READ_AT_ONCE = 6
"""How many processes are read at the same time: enough to hide the distance to a server, few enough for its rate limit."""

Item = TypeVar("Item")
Result = TypeVar("Result")


# --- reading ---------------------------------------------------------------------------------------------------------------


def read_found(client: Client, wanted: Sequence[WantedProcess], *, progress: Progress = quiet) -> Found:
    """What the space holds of everything that the files name. Lists that no step asks for are not read."""
    steps = [step for process in wanted for step in process.steps]
    listed = {str(item["Name"]): cast(ProjectDocument, item) for item in client.pages("projects")}
    projects = read_projects(client, wanted, tuple(listed.values()))

    def read_one(process: WantedProcess) -> FoundProcess | Missing:
        project = projects.get(process.project.casefold())
        if project is None:
            return Missing((), f"unknown project '{process.project}'", closest(process.project, listed))
        return read_process(client, process, project)

    found: dict[str, FoundProcess] = {}
    missing: dict[str, Missing] = {}
    places = read_each(read_one, wanted, progress=progress, description="Reading processes")
    for process, place in zip(wanted, places, strict=True):
        if isinstance(place, FoundProcess):
            found[process.where] = place
        else:
            missing[process.where] = place
    asks = any(step.environments or step.excluded_environments for step in steps)
    return Found(
        templates={template.name: template for template in read_templates(client)},
        environments=read_ids(client, "environments") if asks else {},
        worker_pools=read_ids(client, "workerpools") if any(step.worker_pool for step in steps) else {},
        feeds=read_ids(client, "feeds") if any(step.container for step in steps) else {},
        tenant_tags=read_tags(client) if any(step.tenant_tags for step in steps) else {},
        processes=found,
        missing=missing,
    )


def read_each(
    read: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    progress: Progress = quiet,
    description: str = "",
) -> list[Result]:
    """What is read for each item, several at a time, in their order."""
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(READ_AT_ONCE, len(items))) as pool:
        futures = [pool.submit(read, item) for item in items]
        try:
            return [future.result() for future in progress(futures, description)]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def read_again(client: Client, found: Found) -> Found:
    """The same space with its processes and variables as they are now."""
    known = {place.project.id: place.project for place in found.processes.values()}
    sets = read_each(lambda one: read_variable_set(client, one.document), tuple(known.values()))
    projects = {
        one.id: replace(one, variable_set=fresh) for one, fresh in zip(known.values(), sets, strict=True)
    }

    def read_one(place: FoundProcess) -> FoundProcess:
        document = read_document(client, place.path, place.branch)
        return replace(place, document=document, project=projects[place.project.id])

    fresh = read_each(read_one, tuple(found.processes.values()))
    return replace(found, processes=dict(zip(found.processes, fresh, strict=True)))


def read_document(client: Client, path: str, branch: Branch | None) -> ProcessDocument:
    """The process at `path`; for a version-controlled project that of the branch, or as long as that is not made, of its base."""
    if branch is not None:
        return branches.read_document(client, branch)
    return cast(ProcessDocument, client.get(path))


def read_process(client: Client, wanted: WantedProcess, found: FoundProject) -> FoundProcess | Missing:
    """The deployment or runbook process, or why there is none to plan."""
    project = found.document
    in_git = is_version_controlled(project)
    if wanted.git is not None and (wanted.runbook is not None or not in_git):
        what = "runbooks" if wanted.runbook is not None else "process"
        message = (
            f"project '{found.name}' has its {what} in the database, where no branch keeps a change back"
        )
        return Missing(("git",), message, "without 'git' they are changed there")
    needs_channels = any(step.channels for step in wanted.steps)
    channels = read_ids(client, f"projects/{project['Id']}/channels") if needs_channels else {}
    if wanted.runbook is None and in_git:
        place = branches.find_branch(client, wanted, project)
        if isinstance(place, Missing):
            return place
        branch, there = place
        return FoundProcess(
            path=branch.path, owner=found.id, project=found, document=there, channels=channels, branch=branch
        )
    owner, path = found.id, f"deploymentprocesses/{project['DeploymentProcessId']}"
    if wanted.runbook is not None:
        if conversion_of(project).get("RunbooksAreInGit"):
            message = f"the runbooks of project '{found.name}' are in Git"
            return Missing(("process",), message, "steps are imported into runbooks that are in the database")
        runbooks = {str(item["Name"]): item for item in client.pages(f"projects/{project['Id']}/runbooks")}
        by_folded = {name.casefold(): item for name, item in runbooks.items()}
        runbook = by_folded.get(wanted.runbook.casefold())
        if runbook is None:
            message = f"project '{wanted.project}' has no runbook '{wanted.runbook}'"
            return Missing((), message, closest(wanted.runbook, runbooks))
        owner, path = runbook["Id"], f"runbookProcesses/{runbook['RunbookProcessId']}"
    return FoundProcess(
        path=path,
        owner=owner,
        project=found,
        document=cast(ProcessDocument, client.get(path)),
        channels=channels,
    )


def read_ids(client: Client, path: str) -> Mapping[str, str]:
    return {str(item["Name"]): str(item["Id"]) for item in client.pages(path)}


def read_tags(client: Client) -> Mapping[str, str]:
    """Tenant tags by their canonical name, `Tag set/Tag`, which is also how a step names them."""
    names = [
        str(tag["CanonicalTagName"]) for item in client.pages("tagsets") for tag in item.get("Tags") or ()
    ]
    return {name: name for name in names}


def read_projects(
    client: Client, wanted: Sequence[WantedProcess], listed: Sequence[ProjectDocument]
) -> Mapping[str, FoundProject]:
    """Those projects that the files name, by folded name; with the names of variables where a file refers to some."""
    named = {process.project.casefold() for process in wanted}
    asking = {
        process.project.casefold()
        for process in wanted
        if process.concurrency_tag or any(expressions_of(step) for step in process.steps)
    }
    documents = [project for project in listed if project["Name"].casefold() in named]
    libraries = read_libraries(client, [one for one in documents if one["Name"].casefold() in asking])

    def read_one(project: ProjectDocument) -> FoundProject:
        return read_project(client, project, libraries if project["Name"].casefold() in asking else None)

    return {project.name.casefold(): project for project in read_each(read_one, documents)}


def read_project(
    client: Client, project: ProjectDocument, libraries: Mapping[str, frozenset[str] | None] | None
) -> FoundProject:
    """A project with its variables, and with all names that it can use where `libraries` has those of its library sets."""
    variable_set = read_variable_set(client, project)
    names: frozenset[str] | None = None
    if libraries is not None and variable_set is not None:
        included = [libraries[identity] for identity in project.get("IncludedLibraryVariableSetIds") or ()]
        if None not in included and not conversion_of(project).get("VariablesAreInGit"):
            own = {*variable_names(variable_set), *template_names(cast(Document, project))}
            names = fold(own).union(*(each for each in included if each is not None))
    return FoundProject(
        id=project["Id"], name=project["Name"], document=project, variable_set=variable_set, variables=names
    )


def read_variable_set(client: Client, project: ProjectDocument) -> Document | None:
    """The project's own variables; None when the account may not see them."""
    try:
        return client.get(f"variables/{project['VariableSetId']}")
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise


def read_libraries(
    client: Client, projects: Sequence[ProjectDocument]
) -> Mapping[str, frozenset[str] | None]:
    """The names in each library set that one of the projects includes, its tenant templates among them; None: not to be seen."""

    def read_one(identity: str) -> frozenset[str] | None:
        try:
            library = client.get(f"libraryvariablesets/{identity}")
            variables = client.get(f"variables/{library['VariableSetId']}")
        except ApiError as error:
            if error.status in (403, 404):
                return None
            raise
        return fold({*template_names(library), *variable_names(variables)})

    ids = tuple(
        dict.fromkeys(
            str(identity)
            for project in projects
            for identity in project.get("IncludedLibraryVariableSetIds") or ()
        )
    )
    return dict(zip(ids, read_each(read_one, ids), strict=True))


def fold(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def variable_names(document: Document) -> Iterator[str]:
    yield from (str(variable["Name"]) for variable in document.get("Variables") or ())


def template_names(document: Document) -> Iterator[str]:
    yield from (str(template["Name"]) for template in document.get("Templates") or ())


# --- planning --------------------------------------------------------------------------------------------------------------


def plan(
    ready: Sequence[ReadyProcess], found: Found, *, force: bool = False, prune: bool = False
) -> Sequence[Outline]:
    """Each process as it would be, with the changes and warnings; steps of others appear in no change."""
    documents = {place.path: place.document for place in found.processes.values()}
    return [outline(process, documents[process.path], force=force, prune=prune) for process in ready]


# --- writing -------------------------------------------------------------------------------------------------------------------


def write(
    client: Client, changes: Sequence[Change], ready: ReadyProcess, *, force: bool, prune: bool
) -> None:
    """Write the changes of one process, from a fresh read, and again from a fresh one when somebody was faster.

    Refusal when our own steps have moved since the plan. There is nothing to tell afterwards: no edit of others is lost.
    """
    moved = Refusal(f"the server has moved since the plan: the process of {ready.where}; plan again")
    if ready.branch is not None:
        if ready.branch.is_there and not branches.exists(client, ready.branch):
            raise moved
        branches.make(client, ready.branch)
    for attempt in range(WRITE_ATTEMPTS):
        document = cast(ProcessDocument, client.get(ready.path))
        fresh = outline(ready, document, force=force, prune=prune)
        writes = [change for change in fresh.changes if change.writes]
        if attempt and not writes and not any(change.action == "conflict" for change in fresh.changes):
            return  # a write whose answer was lost was carried out
        if states(fresh.changes) != states(changes):
            raise moved
        body = cast(Document, fresh.document)
        if ready.branch is not None:
            body = {**body, "ChangeDescription": commit_message(ready, writes)}
        try:
            client.put(ready.path, body)
            return
        except OctopusError as error:
            if attempt == WRITE_ATTEMPTS - 1 or not (
                error.maybe_done or is_stale(client, ready, document, error)
            ):
                raise
    raise AssertionError("the loop ends by returning or raising")


def commit_message(ready: ReadyProcess, changes: Sequence[Change]) -> str:
    """The file's sentence, or what the file is called; then a line for each change."""
    lines = [
        f"{change.action.capitalize()} {change.name.removeprefix(f'{ready.where}: ')}" for change in changes
    ]
    return "\n".join([ready.message or f"Update the steps of {ready.file} (octosteps)", "", *lines])


def is_stale(client: Client, ready: ReadyProcess, sent: ProcessDocument, error: OctopusError) -> bool:
    """Whether a refused write was refused because the process has a newer version: told by reading it, not by the words."""
    if not isinstance(error, ApiError) or error.status not in (400, 409):
        return False
    return client.get(ready.path).get("Version") != sent.get("Version")


def states(changes: Iterable[Change]) -> list[tuple[object, ...]]:
    """What is to be written, without what only people read."""
    return [
        (change.action, change.name, tuple(change.before.items()), tuple(change.after.items()))
        for change in changes
        if change.writes or change.action == "conflict"
    ]
