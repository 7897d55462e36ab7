"""Making tasks that are no deployments: scripts by hand, the server's chores, and work that is done at once."""

from __future__ import annotations

import copy
import uuid
from typing import Any

from generator.emulator import adhoc, events, refusals
from generator.emulator.clock import moment
from generator.emulator.documents import Document, secret_properties
from generator.emulator.requests import Answer, Request, created
from generator.emulator.resources import tasks
from generator.emulator.state import State
from generator.emulator.tasks import SUCCESS, Task

BODY, SYNTAX = "Octopus.Action.Script.ScriptBody", "Octopus.Action.Script.Syntax"


def create(request: Request) -> Answer:
    """201 (source: docs, API reference, tasks: Name and Description are required)."""
    body, state = request.document(), request.state
    for name in ("Name", "Description"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    if request.space is None:
        raise refusals.REQUIRED(field="SpaceId")
    arguments = body.get("Arguments") or {}
    if body["Name"] == adhoc.SCRIPT:
        arguments = _script_arguments(request, arguments)
    elif body["Name"] not in adhoc.CHORES:
        raise refusals.UNKNOWN_TASK(name=body["Name"])
    try:
        starts, expires = moment(body.get("QueueTime")), moment(body.get("QueueTimeExpiry"))
    except ValueError:
        raise refusals.BAD_SCHEDULE() from None
    now = state.clock.now()
    task = Task(
        id=state.next_id("ServerTasks"),
        space_id=request.space_id,
        name=body["Name"],
        description=body["Description"],
        arguments=arguments,
        queue_time=starts or now,
        queued_at=now,
        queue_time_expiry=expires,
    )
    return created(tasks.show(request, _queued(request, task)))


def _queued(request: Request, task: Task) -> Task:
    state = request.state
    state.tasks[task.id] = task
    events.record(
        state,
        "TaskQueued",
        f"{task.description} was queued",
        space_id=task.space_id,
        related=(task.id,),
        user_id=request.key.user_id,
    )
    state.changed.notify_all()
    return task


def _script_arguments(request: Request, sent: Document) -> Document:
    """The arguments as they are kept, secrets closed, with the action to run beside them."""
    arguments: Document = copy.deepcopy({name: value for name, value in sent.items() if name != "Properties"})
    for name in ("MachineIds", "EnvironmentIds", "TargetRoles"):
        value = arguments.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise refusals.WRONG_TYPE(field=name, wanted="a list of texts")
    if not isinstance(sent.get("Properties") or {}, dict):
        raise refusals.WRONG_TYPE(field="Properties", wanted="an object")
    properties: dict[str, Any] = {}
    kind, name = "Octopus.Script", "Script"
    if sent.get("ActionTemplateId"):
        template = request.reference("ActionTemplates", "ActionTemplateId", sent["ActionTemplateId"])
        kind, name = template["ActionType"], template["Name"]
        properties.update(template["Properties"])
        properties.update({item["Name"]: item["DefaultValue"] for item in template["Parameters"]})
    elif not sent.get("ScriptBody"):
        raise refusals.REQUIRED(field="ScriptBody")
    else:
        properties.update({BODY: str(sent["ScriptBody"]), SYNTAX: str(sent.get("Syntax") or "PowerShell")})
    own = secret_properties(sent.get("Properties"), properties)
    properties.update(own)
    if own:
        arguments["Properties"] = own
    arguments["_action"] = {
        "Id": str(uuid.uuid4()),
        "Name": name,
        "ActionType": kind,
        "IsRequired": False,
        "Properties": properties,
    }
    return arguments


def rerun(request: Request) -> Document:
    """200 with a new task; deployments and runbook runs cannot (source: Swagger of Octopus Server 2020.5)."""
    old, state = tasks.task_of(request), request.state
    if not old.is_completed or old.project_id is not None:
        raise refusals.CANNOT_RERUN()
    now = state.clock.now()
    task = Task(
        id=state.next_id("ServerTasks"),
        space_id=old.space_id,
        name=old.name,
        description=old.description,
        arguments=old.arguments,
        queue_time=now,
        queued_at=now,
    )
    return tasks.show(request, _queued(request, task))


def ended(state: State, space_id: str, *, name: str, description: str) -> Task:
    """A task whose work was done at once."""
    now = state.clock.now()
    task = Task(
        id=state.next_id("ServerTasks"),
        space_id=space_id,
        name=name,
        description=description,
        arguments={},
        queue_time=now,
        queued_at=now,
    )
    task.state, task.picked_up, task.started, task.completed = SUCCESS, True, now, now
    task.root.begin(now)
    task.root.end("Success", now)
    state.tasks[task.id] = task
    return task
