"""Moving steps to another version of their step template, one by one or as a server task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

from generator.emulator import refusals, repositories
from generator.emulator.documents import Document
from generator.emulator.requests import Request
from generator.emulator.resources import server_tasks, templates, updates
from generator.emulator.state import State


def update_actions(request: Request) -> list[Document]:
    """Moves steps to a version (source: docs, API reference, action templates; Updating step templates).

    That all or none are moved is unconfirmed: Swagger of Octopus Server 2020.5 has a 400 whose `Details` tell why.
    """
    outcomes, write = _updated(request)
    if any(outcome["Outcome"] != "Success" for outcome in outcomes):
        raise refusals.ACTIONS_UPDATE_FAILED(details={outcome["Id"]: outcome for outcome in outcomes})
    write()
    return outcomes


def update_actions_in_bulk(request: Request) -> Document:
    """The same as a server task, with a 200 that tells every outcome (source: docs, API reference, action templates; the words
    of `Outcome`, the task's name, and that all or none are moved are unconfirmed)."""
    outcomes, write = _updated(request)
    succeeded = all(outcome["Outcome"] == "Success" for outcome in outcomes)
    if succeeded:
        write()
    name = templates.template_of(request)["Name"]
    task = server_tasks.ended(
        request.state,
        request.space_id,
        name="BulkActionTemplateUpdate",
        description=f"Update steps that use {name}",
    )
    return {
        "Outcome": "Success" if succeeded else "Failed",
        "TaskId": task.id,
        "Results": outcomes,
        "ValidationFailures": [],
    }


def _updated(request: Request) -> tuple[list[Document], Callable[[], None]]:
    """What would become of the steps that the body names, and what carries it out. That it needs the permission to edit each
    process beside the one to edit templates is unconfirmed."""
    template, body, state = templates.template_of(request), request.document(), request.state
    wanted = next(
        (row for row in templates.versions_of(state, template) if row["Version"] == body.get("Version")), None
    )
    if wanted is None:
        raise refusals.BAD_REQUEST(reason=f"Version {body.get('Version')} of this template does not exist.")
    known = {row["Version"]: row for row in templates.versions_of(state, template)}
    outcomes: list[Document] = []
    changes: list[tuple[Document, Document, Document]] = []
    drafts: list[Draft] = []
    named = _named_actions(request, body, template, drafts)
    for process, _ in named:
        permission = "RunbookEdit" if process.get("RunbookId") else "ProcessEdit"
        if not request.key.may(permission):
            raise refusals.NO_PERMISSION(permission=permission)
    settings = {id(draft.process): draft.settings for draft in drafts}
    for process, action in named:
        held = known.get(_number(action["Properties"].get(templates.TEMPLATE_VERSION)))
        outcome, properties = updates.updated(
            action,
            held,
            wanted,
            defaults=body.get("DefaultPropertyValues") or {},
            overrides=body.get("Overrides") or {},
            package_users=lambda name, process=process, action=action: _package_users(  # type: ignore[misc]
                state, state.get("Projects", process["ProjectId"]), settings.get(id(process)), action, name
            ),
        )
        outcomes.append(outcome)
        changes.append((process, action, properties))

    def write() -> None:
        for _, action, properties in changes:
            action["Properties"] = properties
            action["ActionType"] = wanted["ActionType"]
            action["Packages"] = updates.references(action["Packages"], wanted["Packages"])
            action["GitDependencies"] = copy.deepcopy(wanted["GitDependencies"])
        for process in {id(process): process for process, _, _ in changes}.values():
            process["Version"] += 1
        for draft in drafts:
            repositories.save(
                state, draft.project, draft.ref, draft.process, draft.settings,
                message=f"Update steps to version {wanted['Version']} of {template['Name']}",
            )  # fmt: skip

    return outcomes, write


class Draft(NamedTuple):
    """The process and settings of a branch, about to be changed."""

    project: Document
    ref: str
    process: Document
    settings: Document


def _package_users(
    state: State, project: Document, settings: Document | None, action: Document, name: str
) -> list[Document]:
    """What in the project relies on a package of the action (source: docs, API reference, action templates). In Git the
    versioning strategy stands in the branch's `settings` (source: cli, test/fixtures/projects.go)."""

    def names_it(reference: Document | None) -> bool:
        reference = reference or {}
        return (
            reference.get("DeploymentAction") in (action["Name"], action["Id"])
            and (reference.get("PackageReference") or "") == name
        )

    users = []
    strategy = (settings or {}).get("VersioningStrategy") or project["VersioningStrategy"] or {}
    if names_it(strategy.get("DonorPackage")):
        users.append(("ProjectVersionStrategy", project))
    if names_it((project["ReleaseCreationStrategy"] or {}).get("ReleaseCreationPackage")):
        users.append(("ProjectReleaseCreationStrategy", project))
    users.extend(
        ("ChannelRule", channel)
        for channel in state.where("Channels", ProjectId=project["Id"])
        if any(names_it(item) for rule in channel["Rules"] for item in rule.get("ActionPackages") or ())
    )
    return [
        {"PackageReference": name, "UsedBy": kind, "UsedById": user["Id"], "UsedByName": user["Name"]}
        for kind, user in users
    ]


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdigit() else -1


def _named_actions(
    request: Request, body: Document, template: Document, drafts: list[Draft]
) -> list[tuple[Document, Document]]:
    """The (process, action) pairs that the body names, in either of its two shapes; each must use the template. Those with a
    `GitRef` are of a draft, which is added to `drafts`."""
    named: dict[str, set[str]] = {}
    in_git: dict[tuple[str, str], set[str]] = {}
    for item in body.get("ActionsToUpdate") or ():
        ids = set(item.get("ActionIds") or ())
        if item.get("GitRef"):
            in_git.setdefault((_project_id(request, item), item["GitRef"]), set()).update(ids)
        else:
            named.setdefault(item.get("ProcessId"), set()).update(ids)
    for process_id, actions in (body.get("ActionIdsByProcessId") or {}).items():
        named.setdefault(process_id, set()).update(actions)
    found: list[tuple[Document, Document]] = []
    for (project_id, ref), ids in in_git.items():
        project = request.reference("Projects", "ProjectId", project_id)
        if not project["IsVersionControlled"]:
            raise refusals.NOT_VERSION_CONTROLLED(project=project["Name"])
        draft = Draft(project, *repositories.draft(project, ref))
        drafts.append(draft)
        found.extend(_actions_in(draft.process, ids, template))
    for process_id, ids in named.items():
        is_runbook = request.state.find("RunbookProcesses", process_id) is not None
        collection = "RunbookProcesses" if is_runbook else "DeploymentProcesses"
        process = request.reference(collection, "ProcessId", process_id)
        if process.get("_frozen"):
            raise refusals.FROZEN_PROCESS()
        owner = request.state.get("Projects", process["ProjectId"])
        if owner["IsVersionControlled"] and not is_runbook:
            raise refusals.PROCESS_IN_GIT(project=owner["Name"])
        found.extend(_actions_in(process, ids, template))
    return found


def _project_id(request: Request, item: Document) -> str:
    """`ProjectId` came later: OctopusClients' ActionsUpdateProcessResource.cs has none, the API reference has it."""
    if item.get("ProjectId"):
        return str(item["ProjectId"])
    process = request.reference("DeploymentProcesses", "ProcessId", item.get("ProcessId"))
    return str(process["ProjectId"])


def _actions_in(process: Document, ids: set[str], template: Document) -> Iterator[tuple[Document, Document]]:
    actions = {action["Id"]: action for step in process["Steps"] for action in step["Actions"]}
    for identifier in sorted(ids):
        action = actions.get(identifier)
        if action is None or action["Properties"].get(templates.TEMPLATE_ID) != template["Id"]:
            raise refusals.UNKNOWN_REFERENCE(field="ActionId", value=identifier)
        yield process, action
