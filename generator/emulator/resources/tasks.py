"""Server tasks: lists, logs, cancelling. What runs them is the engine."""

from __future__ import annotations

from generator.emulator import queue, refusals
from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Request
from generator.emulator.state import VERSION
from generator.emulator.tasks import ACTIVE, CANCELED, FAILED, RUNNING, STATES, SUCCESS, Task

TYPES = ("Deploy", "RunbookRun", "AdHocScript", "Health", "Retention")


def list_page(request: Request) -> Document:
    """Newest first (source: docs, API reference, tasks). On the legacy path `spaces` chooses, all when it is absent."""
    query = request.query
    ids, states = query.all("ids"), {state.casefold() for state in query.all("states")}
    unknown = states - {state.casefold() for state in STATES}
    if unknown:
        raise refusals.BAD_REQUEST(reason=f"The value '{sorted(unknown)[0]}' is not valid for states.")
    spaces = set(query.all("spaces")) - {"all"} if request.space is None else {request.space_id}
    names = {name.casefold() for name in query.all("name")}
    part, described = query.first("partialName"), query.first("description")
    filters = {
        "project_id": "project",
        "environment_id": "environment",
        "tenant_id": "tenant",
        "runbook_id": "runbook",
    }
    wanted = {field: query.first(name) for field, name in filters.items()}
    active, running = query.flag("active"), query.flag("running")
    pending, troubled = query.flag("hasPendingInterruptions"), query.flag("hasWarningsOrErrors")
    chosen = [
        task
        for task in request.state.newest_tasks()
        if (not ids or task.id in ids)
        and (not spaces or task.space_id in spaces)
        and (not states or task.state.casefold() in states)
        and (not names or task.name.casefold() in names)
        and (part is None or part.casefold() in task.name.casefold())
        and (described is None or described.casefold() in task.description.casefold())
        and all(value is None or getattr(task, field) == value for field, value in wanted.items())
        and (active is None or active == (task.state in ACTIVE))
        and (running is None or running == (task.state in RUNNING))
        and (pending is None or pending == bool(task.interruptions))
        and (troubled is None or troubled == task.root.troubled)
        and _sees(request, task)
    ]
    page = request.page("Task", chosen, lambda task: show(request, task))
    # Source: OctopusClients, Model/TaskResourceCollection.cs.
    page["TotalCounts"] = {
        "Queued": sum(1 for task in chosen if task.state == "Queued"),
        "Executing": sum(1 for task in chosen if task.state == "Executing"),
        "Cancelling": sum(1 for task in chosen if task.state == "Cancelling"),
    }
    return page


def _sees(request: Request, task: Task) -> bool:
    return request.key.sees({"Id": task.id, "ProjectId": task.project_id}, "ServerTasks")


def show(request: Request, task: Task) -> Document:
    return request.show("ServerTasks", task.document(request.state.clock))


def task_of(request: Request) -> Task:
    """The task in the path; task ids are unique on the server, so the legacy path finds those of every space."""
    task = request.state.tasks.get(request.argument("id"))
    if task is None or not _sees(request, task):
        raise refusals.NOT_FOUND()
    if request.space is not None and task.space_id != request.space_id:
        raise refusals.NOT_FOUND()
    return task


def get(request: Request) -> Document:
    return show(request, task_of(request))


def details(request: Request) -> Document:
    task, query = task_of(request), request.query
    verbose = query.flag("verbose")
    tail = query.number("tail", -1) if query.first("tail") else None
    document = task.details(request.state.clock, verbose=verbose is not False, tail=tail)
    return {"Task": show(request, task), **document, "Links": {}}


def raw(request: Request) -> Answer:
    text = task_of(request).raw(request.state.clock, VERSION)
    return Answer(body=text, media_type="text/plain; charset=utf-8")


def queued_behind(request: Request) -> Document:
    others = queue.queued_behind(request.state, task_of(request))
    return request.page("Task", others, lambda task: show(request, task))


def status_messages(request: Request) -> Document:
    task_of(request)
    return {"Messages": []}


def cancel(request: Request) -> Document:
    task = task_of(request)
    queue.cancel(request.state, task, user_id=request.key.user_id)
    return show(request, task)


def prioritize(request: Request) -> Document:
    task = task_of(request)
    task.moved_to_top = True
    request.state.changed.notify_all()
    return show(request, task)


def edit_state(request: Request) -> Document:
    """Only from one completed state to another (source: docs, API reference, tasks; Swagger of Octopus Server 2020.5)."""
    task, body = task_of(request), request.document()
    if not body.get("State") or not body.get("Reason"):
        raise refusals.NO_STATE()
    if body["State"] not in (SUCCESS, FAILED, CANCELED):
        raise refusals.BAD_TASK_STATE()
    if body["State"] == task.state:
        raise refusals.SAME_TASK_STATE()
    if task.state not in (SUCCESS, FAILED, CANCELED):
        raise refusals.TASK_NOT_COMPLETED()
    task.state = body["State"]
    task.updated = request.state.clock.now()
    return show(request, task)


def types(request: Request) -> list[Document]:
    return [{"Id": name, "Name": name, "Links": {}} for name in TYPES]
