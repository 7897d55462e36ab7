"""Artifacts: files that hang on a task."""

from __future__ import annotations

from generator.emulator import queue, refusals, runs
from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Request, created
from generator.emulator.state import Content, State


def add(
    state: State,
    *,
    task_id: str,
    filename: str,
    source: str | None = None,
    correlation: str | None = None,
    content: bytes | None = None,
) -> Document:
    """A stored artifact of a task, with its content when it is known already."""
    task = state.tasks[task_id]
    artifact = state.add(
        "Artifacts",
        {
            "SpaceId": task.space_id,
            "ProjectId": task.project_id,
            "Filename": filename,
            "Source": source,
            "ServerTaskId": task_id,
            "LogCorrelationId": correlation,
            "Created": state.now(),
            "_related": [str(item) for item in queue.related(task) if item],
        },
    )
    if content is not None:
        state.contents[artifact["Id"]] = Content(data=content)
    return artifact


def list_page(request: Request) -> Document:
    """Newest first unless `order=asc` (source: docs, API reference, artifacts)."""
    regarding = request.query.first("regarding")
    part = (request.query.first("partialName") or "").casefold()
    chosen = [
        item
        for item in request.visible("Artifacts")
        if regarding is None or regarding in _related(request.state, item)
        if part in item["Filename"].casefold()
    ]
    if (request.query.first("order") or "desc").lower() != "asc":
        chosen.reverse()
    ids = request.query.all("ids")
    return request.page_of("Artifact", "Artifacts", [item for item in chosen if not ids or item["Id"] in ids])


def _related(state: State, artifact: Document) -> list[str]:
    """Ids that `regarding` may name: task, deployment or runbook run, project, environment, tenant, release or snapshot."""
    related = list(artifact["_related"])
    for kind in (runs.DEPLOYMENT, runs.RUNBOOK_RUN):
        found = (state.find(kind.collection, identifier) for identifier in artifact["_related"])
        related += [run[kind.frozen[1]] for run in found if run is not None]
    return related


def get(request: Request) -> Document:
    return request.show("Artifacts", request.find("Artifacts", request.argument("id")))


def create(request: Request) -> Answer:
    body = request.document()
    for name in ("Filename", "ServerTaskId"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    if body["ServerTaskId"] not in request.state.tasks:
        raise refusals.UNKNOWN_REFERENCE(field="ServerTaskId", value=body["ServerTaskId"])
    artifact = add(
        request.state,
        task_id=body["ServerTaskId"],
        filename=str(body["Filename"]),
        source=body.get("Source"),
        correlation=body.get("LogCorrelationId"),
    )
    return created(request.show("Artifacts", artifact))


def get_content(request: Request) -> Answer:
    artifact = request.find("Artifacts", request.argument("id"))
    content = request.state.contents.get(artifact["Id"])
    if content is None:
        raise refusals.NOT_FOUND()
    name = artifact["Filename"].replace('"', "'").encode("ascii", "replace").decode()
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Answer(body=content.data, media_type=content.media_type, headers=headers)


def put_content(request: Request) -> Answer:
    """204; 405 when there is some already (source: docs, API reference, artifacts; Swagger of Octopus Server 2020.5)."""
    artifact = request.find("Artifacts", request.argument("id"))
    if artifact["Id"] in request.state.contents:
        raise refusals.CONTENT_EXISTS()
    data = request.file[1] if request.file else request.content
    request.state.contents[artifact["Id"]] = Content(data=data)
    return Answer(status=204)


def delete(request: Request) -> Document:
    artifact = request.find("Artifacts", request.argument("id"))
    request.state.contents.pop(artifact["Id"], None)
    del request.state.collection("Artifacts")[artifact["Id"]]
    return {}
