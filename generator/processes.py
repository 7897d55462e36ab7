"""Our steps in the processes of a server: what is there (`read_found`), what would change (`plan`), and doing it (`write`).

A process is one document with a `Version` that a PUT must carry, so no edit of others is ever overwritten: a stale write is
refused, and tried again from a fresh read. Everything that is not ours goes back as it was received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from generator.coordination import WantedProcess
from generator.errors import Refusal
from generator.library import read_found as read_templates
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document, ProcessDocument, ProjectDocument
from generator.outcome import Progress, quiet
from generator.plan import Change
from generator.process_draft import ReadyProcess, outline
from generator.resolution import Found, FoundProcess, expressions_of
from generator.source import closest

WRITE_ATTEMPTS = 6


# --- reading ---------------------------------------------------------------------------------------------------------------


def read_found(client: Client, wanted: Sequence[WantedProcess], *, progress: Progress = quiet) -> Found:
    """What the space holds of everything that the files name. Lists that no step asks for are not read."""
    steps = [step for process in wanted for step in process.steps]
    projects = {str(item["Name"]): cast(ProjectDocument, item) for item in client.pages("projects")}
    by_folded = {name.casefold(): project for name, project in projects.items()}
    processes: dict[str, FoundProcess] = {}
    missing: dict[str, tuple[str, str]] = {}
    for process in progress(wanted, "Reading processes"):
        project = by_folded.get(process.project.casefold())
        if project is None:
            missing[process.where] = (
                f"unknown project '{process.project}'",
                closest(process.project, projects),
            )
        elif is_version_controlled(project):
            message = f"the process of project '{process.project}' is version-controlled (in Git)"
            missing[process.where] = (
                message,
                "steps are imported into projects whose process is in the database",
            )
        else:
            found = read_process(client, process, project)
            if isinstance(found, FoundProcess):
                processes[process.where] = found
            else:
                missing[process.where] = found
    asks = any(step.environments or step.excluded_environments for step in steps)
    return Found(
        projects=tuple(projects),
        templates={template.name: template for template in read_templates(client)},
        environments=read_ids(client, "environments") if asks else {},
        worker_pools=read_ids(client, "workerpools") if any(step.worker_pool for step in steps) else {},
        feeds=read_ids(client, "feeds") if any(step.container for step in steps) else {},
        tenant_tags=read_tags(client) if any(step.tenant_tags for step in steps) else {},
        processes=processes,
        missing=missing,
    )


def read_again(client: Client, found: Found) -> Found:
    """The same space with its processes as they are now."""
    fresh = {
        where: replace(process, document=cast(ProcessDocument, client.get(process.path)))
        for where, process in found.processes.items()
    }
    return replace(found, processes=fresh)


def is_version_controlled(project: ProjectDocument) -> bool:
    settings = cast(Document, project).get("PersistenceSettings") or {}
    return bool(project.get("IsVersionControlled")) or settings.get("Type") == "VersionControlled"


def read_process(
    client: Client, wanted: WantedProcess, project: ProjectDocument
) -> FoundProcess | tuple[str, str]:
    """The deployment or runbook process, or a sentence and a hint about a runbook that is not there."""
    owner, path = project["Id"], f"deploymentprocesses/{project['DeploymentProcessId']}"
    if wanted.runbook is not None:
        runbooks = {str(item["Name"]): item for item in client.pages(f"projects/{project['Id']}/runbooks")}
        by_folded = {name.casefold(): item for name, item in runbooks.items()}
        runbook = by_folded.get(wanted.runbook.casefold())
        if runbook is None:
            return f"project '{wanted.project}' has no runbook '{wanted.runbook}'", closest(
                wanted.runbook, runbooks
            )
        owner, path = runbook["Id"], f"runbookProcesses/{runbook['RunbookProcessId']}"
    needs_channels = any(step.channels for step in wanted.steps)
    return FoundProcess(
        path=path,
        owner=owner,
        document=cast(ProcessDocument, client.get(path)),
        channels=read_ids(client, f"projects/{project['Id']}/channels") if needs_channels else {},
        variables=read_variables(client, project)
        if any(expressions_of(step) for step in wanted.steps)
        else None,
    )


def read_ids(client: Client, path: str) -> Mapping[str, str]:
    return {str(item["Name"]): str(item["Id"]) for item in client.pages(path)}


def read_tags(client: Client) -> Mapping[str, str]:
    """Tenant tags by their canonical name, `Tag set/Tag`, which is also how a step names them."""
    names = [
        str(tag["CanonicalTagName"]) for item in client.pages("tagsets") for tag in item.get("Tags") or ()
    ]
    return {name: name for name in names}


def read_variables(client: Client, project: ProjectDocument) -> frozenset[str] | None:
    """The names of the variables of a project, of the library sets that it includes, and of both's tenant templates."""
    try:
        names = set(variable_names(client.get(f"variables/{project['VariableSetId']}")))
        names.update(template_names(cast(Document, project)))
        for identity in project.get("IncludedLibraryVariableSetIds") or ():
            library = client.get(f"libraryvariablesets/{identity}")
            names.update(template_names(library))
            names.update(variable_names(client.get(f"variables/{library['VariableSetId']}")))
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise
    return frozenset(name.casefold() for name in names)


def variable_names(document: Document) -> Iterator[str]:
    yield from (str(variable["Name"]) for variable in document.get("Variables") or ())


def template_names(document: Document) -> Iterator[str]:
    yield from (str(template["Name"]) for template in document.get("Templates") or ())


def plan(
    ready: Sequence[ReadyProcess], found: Found, *, force: bool = False, prune: bool = False
) -> tuple[Change, ...]:
    """What turns the found processes into the wanted ones; steps of others appear in no change."""
    documents = {place.path: place.document for place in found.processes.values()}
    return tuple(
        change
        for process in ready
        for change in outline(process, documents[process.path], force=force, prune=prune).changes
    )


# --- writing -------------------------------------------------------------------------------------------------------------------


def write(
    client: Client, changes: Sequence[Change], ready: ReadyProcess, *, force: bool, prune: bool
) -> tuple[str, ...]:
    """Write the changes of one process, from a fresh read, and again from a fresh one when somebody was faster.

    Refusal when our own steps have moved since the plan. There is nothing to tell afterwards: no edit of others is lost.
    """
    for attempt in range(WRITE_ATTEMPTS):
        document = cast(ProcessDocument, client.get(ready.path))
        fresh = outline(ready, document, force=force, prune=prune)
        writes = [change for change in fresh.changes if change.writes]
        if attempt and not writes and not any(change.action == "conflict" for change in fresh.changes):
            return ()  # a write whose answer was lost was carried out
        if states(fresh.changes) != states(changes):
            raise Refusal(f"the server has moved since the plan: the process of {ready.where}; plan again")
        try:
            client.put(ready.path, fresh.document)
            return ()
        except OctopusError as error:
            if attempt == WRITE_ATTEMPTS - 1 or not (
                error.maybe_done or is_stale(client, ready, document, error)
            ):
                raise
    raise AssertionError("the loop ends by returning or raising")


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
