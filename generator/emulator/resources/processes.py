"""Deployment processes: whole-document writes with a `Version`, ids and slugs filled in by the server, snapshots."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from generator.emulator import refusals
from generator.emulator.documents import Document, secret_properties, slug_of
from generator.emulator.requests import Request, narrowed
from generator.emulator.resources.projects import project_of
from generator.emulator.shapes import objects
from generator.emulator.state import State, snapshot_suffix

# Source: docs, API reference, deployment processes; OctopusClients, Model/DeploymentStepResource.cs.
STEP = {
    "Type": "Step", "PackageRequirement": "LetOctopusDecide", "Condition": "Success", "StartTrigger": "StartAfterPrevious",
}  # fmt: skip
ACTION: dict[str, Any] = {
    "ActionType": None, "Notes": None, "IsDisabled": False, "IsRequired": False, "CanBeUsedForProjectVersioning": False,
    "Condition": "Success", "WorkerPoolId": None, "WorkerPoolVariable": None,
    "Container": {"Image": None, "FeedId": None, "GitUrl": None, "Dockerfile": None}, "Environments": [],
    "ExcludedEnvironments": [], "Channels": [], "TenantTags": [], "Packages": [], "GitDependencies": [],
}  # fmt: skip
CHOICES = {
    "step Condition": ("Success", "Failure", "Always", "Variable"),
    "action Condition": ("Success", "Variable"),
    "StartTrigger": ("StartAfterPrevious", "StartWithPrevious"),
    "PackageRequirement": ("LetOctopusDecide", "BeforePackageAcquisition", "AfterPackageAcquisition"),
    "Type": ("Step", "ProcessTemplateUsage"),
}


def list_page(request: Request) -> Document:
    processes = [item for item in request.visible("DeploymentProcesses") if not item.get("_frozen")]
    return request.page_of("DeploymentProcess", "DeploymentProcesses", narrowed(request, processes))


def get(request: Request) -> Document:
    return request.show("DeploymentProcesses", process_of(request))


def process_of(request: Request) -> Document:
    """The process in the path: by its own id, or by its project's."""
    if "project" in request.arguments:
        project = project_of(request)
        found = request.state.get("DeploymentProcesses", project["DeploymentProcessId"])
    else:
        found = request.find("DeploymentProcesses", request.argument("id"))
        project = request.state.get("Projects", found["ProjectId"])
    if project["IsVersionControlled"] and not found.get("_frozen"):
        raise refusals.PROCESS_IN_GIT(project=project["Name"])
    return found


def modify(request: Request) -> Document:
    return request.show("DeploymentProcesses", replace_steps(request, process_of(request)))


def replace_steps(request: Request, process: Document) -> Document:
    """The process with the body's steps. The `Version` must be the one that was read (source: Swagger of Octopus Server
    2020.5)."""
    body = request.document()
    if process.get("_frozen"):
        raise refusals.FROZEN_PROCESS()
    if body.get("Version") is None:
        raise refusals.REQUIRED(field="Version")
    if body["Version"] != process["Version"]:
        raise refusals.STALE_PROCESS()
    process["Steps"] = completed_steps(body.get("Steps") or [], process["Steps"])
    process["Version"] += 1
    request.state.changed.notify_all()
    return process


def validate(request: Request) -> Document:
    completed_steps(request.document().get("Steps") or [], process_of(request)["Steps"])
    return {"HasWarnings": False, "Details": [], "TagsWithoutTargetsByStepId": {}}


def completed_steps(steps: Any, before: list[Document]) -> list[Document]:
    """Steps as stored: missing ids, slugs and fields filled, unknown fields dropped, secrets kept.

    Errors: Refused for names that are missing or used twice (without regard to case), unknown choices, wrong shapes.
    """
    actions_before = {action["Id"]: action for step in before for action in step["Actions"]}
    result: list[Document] = []
    for step in steps:
        name = _name(step)
        if any(name.casefold() == other["Name"].casefold() for other in result):
            raise refusals.DUPLICATE_STEP(name=name)
        own: Document = {
            "Id": step.get("Id") or str(uuid.uuid4()),
            "Name": name,
            "Slug": step.get("Slug") or slug_of(name, (other["Slug"] for other in result)),
            "Properties": secret_properties(step.get("Properties"), {}),
        }
        for field, default in STEP.items():
            own[field] = step.get(field) or default
        _check_choices(own, "step Condition")
        actions = step.get("Actions") or []
        if not actions:
            raise refusals.EMPTY_STEP(name=name)
        own["Actions"] = [_completed_action(action, actions_before) for action in actions]
        result.append(own)
    _check_action_names(action for step in result for action in step["Actions"])
    return result


def _completed_action(action: Any, before: Mapping[str, Document]) -> Document:
    name = _name(action)
    old = before.get(str(action.get("Id")), {})
    own: Document = {
        "Id": action.get("Id") or str(uuid.uuid4()),
        "Name": name,
        "Slug": action.get("Slug") or slug_of(name),
    }
    for field, default in ACTION.items():
        value = action.get(field)
        own[field] = copy.deepcopy(default if value is None else value)
    if not own["ActionType"]:
        raise refusals.REQUIRED(field="ActionType")
    _check_choices(own, "action Condition")
    own["Packages"] = objects(own["Packages"], "Packages")
    own["Properties"] = secret_properties(action.get("Properties"), old.get("Properties", {}))
    for package in own["Packages"]:
        package["Id"] = package.get("Id") or str(uuid.uuid4())
    return own


def _name(item: Document) -> str:
    name = item.get("Name")
    if not isinstance(name, str) or not name.strip():
        raise refusals.REQUIRED(field="Name")
    if "?" in name:
        raise refusals.BAD_STEP_NAME(name=name)
    return name


def _check_choices(item: Document, condition: str) -> None:
    for field, allowed in CHOICES.items():
        name = "Condition" if field == condition else field
        if field.endswith("Condition") and field != condition:
            continue
        if name in item and item[name] not in allowed:
            raise refusals.BAD_REQUEST(
                reason=f"{name} must be one of {', '.join(allowed)}, not '{item[name]}'."
            )


def _check_action_names(actions: Iterable[Document]) -> None:
    seen: set[str] = set()
    ids: set[str] = set()
    for action in actions:
        if action["Name"].casefold() in seen:
            raise refusals.DUPLICATE_ACTION(name=action["Name"])
        if action["Id"] in ids:
            raise refusals.BAD_REQUEST(reason="Action ids must be unique.")
        seen.add(action["Name"].casefold())
        ids.add(action["Id"])


def snapshot(state: State, process: Document, collection: str = "DeploymentProcesses") -> Document:
    """The process as it is now, frozen; one snapshot for each version (id as `deploymentprocess-Projects-1-s-12-ABCDE`)."""
    head = f"{process['Id']}-s-{process['Version']}-"
    for identifier, document in state.collection(collection).items():
        if identifier.startswith(head):
            return document
    frozen = copy.deepcopy(process)
    frozen["_frozen"] = True
    process["LastSnapshotId"] = f"{head}{snapshot_suffix()}"
    return state.add(collection, frozen, identifier=process["LastSnapshotId"])
