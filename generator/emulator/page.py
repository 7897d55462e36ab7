"""The page at `/` for people: projects by environments, tasks, each task's log, artifacts, and what waits for a person.

It needs no key, so it answers only who calls the server by a loopback name (a site that points its own name at loopback is
refused), and changes something only for a form that the page itself has shown. Everything is escaped by Jinja2; style and
script are files of their own, so that the Content-Security-Policy forbids any other. What is shown is gathered here; the frames
in templates/emulator place it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2

from generator.emulator import queue, runs
from generator.emulator.clock import iso, spoken_duration
from generator.emulator.documents import Document
from generator.emulator.requests import Answer, Query, Request, by_name
from generator.emulator.resources import interruptions
from generator.emulator.state import VERSION, Key, State
from generator.emulator.tasks import CANCELLING, SUCCESS, Activity, Task
from generator.workspace import builtin_root

TASKS = 50
LINES = 500
"""How many lines of one activity are shown: the newest. The whole log is a link away."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ADMINISTRATOR = Key(user_id="Users-1")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a browser asked for. `host` as in its header; None for a request in process. `form` by name, first values."""

    method: str
    path: str
    host: str | None = None
    skip: int = 0
    form: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A page to be: the frame's name and what it places."""

    frame: str
    title: str
    live: bool
    values: Mapping[str, Any]


class Page:
    """The pages of one server."""

    def __init__(self, state: State) -> None:
        self.state = state
        # Only who has seen a page of this server can send its forms.
        self.token = secrets.token_urlsafe(24)

    def answer(self, visit: Visit) -> Answer | None:
        """The answer for that visit, None when there is no such page."""
        for method, pattern, show in ROUTES:
            match = re.fullmatch(pattern, visit.path)
            if match is None or method != visit.method:
                continue
            if not _is_ours(visit.host):
                return _plain(
                    403,
                    "This page is shown only under a loopback name, like http://127.0.0.1 or http://localhost.",
                )
            if method == "POST" and not secrets.compare_digest(
                visit.form.get("token", "").encode(), self.token.encode()
            ):
                return _plain(
                    403,
                    "This form is not from a page of this server, or the server has started anew: go back and reload.",
                )
            with self.state.lock:
                found = show(self, visit, *match.groups())
            return self._render(found) if isinstance(found, Shown) else found
        return None

    def _render(self, shown: Shown) -> Answer:
        clock = self.state.clock
        text = (
            frames()
            .get_template(shown.frame)
            .render(
                {
                    **shown.values,
                    "title": shown.title,
                    "live": shown.live,
                    "root": self.state.virtual_directory,
                    "clock": str(iso(clock.now()))[:16].replace("T", " ") + " UTC",
                    "speed": clock.speed,
                    "token": self.token,
                }
            )
        )
        return Answer(body=text, media_type="text/html; charset=utf-8", headers=HEADERS)

    # --- pages -----------------------------------------------------------------------------------------------------

    def home(self, visit: Visit) -> Shown:
        state = self.state
        tasks = list(state.newest_tasks())
        order = _waiting(state)
        values = {
            "spaces": [
                self._space(space) for space in sorted(state.collection("Spaces").values(), key=by_name)
            ],
            "tasks": [self._task(task, order) for task in tasks[visit.skip : visit.skip + TASKS]],
            "counts": {"running": len(queue.running(state)), "queued": len(order), "cap": state.task_cap},
            "newer": max(0, visit.skip - TASKS) if visit.skip else None,
            "older": visit.skip + TASKS if visit.skip + TASKS < len(tasks) else None,
        }
        return Shown("home.html.j2", "Octopus emulator", True, values)

    def task(self, visit: Visit, identifier: str) -> Shown | None:
        state = self.state
        task = state.tasks.get(identifier)
        if task is None:
            return None
        order = _waiting(state)
        steps = task.root.children
        lines_of_root = [self._activity(task.root, below=False)] if task.root.elements else []
        values = {
            "task": self._task(task, order),
            "facts": self._facts(task, order),
            "behind": [self._task(other, order) for other in queue.queued_behind(state, task)],
            "can_cancel": not task.is_completed and task.state != CANCELLING,
            "interruptions": [_form(state.get("Interruptions", item)) for item in task.interruptions],
            "artifacts": [self._artifact(item) for item in state.where("Artifacts", ServerTaskId=task.id)],
            "steps": [self._activity(step) for step in steps] + lines_of_root,
        }
        return Shown("task.html.j2", task.description, not task.is_completed, values)

    def log(self, visit: Visit, identifier: str) -> Answer | None:
        task = self.state.tasks.get(identifier)
        return None if task is None else _plain(200, task.raw(self.state.clock, VERSION))

    def artifact(self, visit: Visit, identifier: str) -> Answer | None:
        """Always a download: what a script made must not act in the page's name."""
        document, content = self.state.find("Artifacts", identifier), self.state.contents.get(identifier)
        if document is None or content is None:
            return None
        disposition = f"attachment; filename*=UTF-8''{quote(str(document['Filename']), safe='')}"
        headers = {**HEADERS, "Content-Security-Policy": "sandbox", "Content-Disposition": disposition}
        return Answer(body=content.data, media_type="application/octet-stream", headers=headers)

    def run(self, visit: Visit, folder: str, identifier: str) -> Answer | None:
        """The task that carries out a deployment or runbook run."""
        collection = "Deployments" if folder == "deployments" else "RunbookRuns"
        found = self.state.find(collection, identifier)
        return None if found is None else self._go(f"/tasks/{found['TaskId']}")

    def file(self, visit: Visit, name: str) -> Answer:
        return Answer(body=read_file(name), media_type=f"{FILES[name]}; charset=utf-8", headers=HEADERS)

    def cancel(self, visit: Visit, identifier: str) -> Answer | None:
        task = self.state.tasks.get(identifier)
        if task is None:
            return None
        queue.cancel(self.state, task, user_id=ADMINISTRATOR.user_id)
        return self._go(f"/tasks/{task.id}")

    def submit(self, visit: Visit, identifier: str) -> Answer | None:
        """The administrator answers, by the same two calls as any client."""
        found = self.state.find("Interruptions", identifier)
        if found is None:
            return None
        if found["IsPending"]:
            answer = {name: value for name, value in visit.form.items() if name != "token"}
            interruptions.take_responsibility(self._request(identifier, {}))
            interruptions.submit(self._request(identifier, answer))
        return self._go(f"/tasks/{found['TaskId']}")

    def _request(self, identifier: str, body: Document) -> Request:
        return Request(
            state=self.state,
            method="POST",
            path="",
            arguments={"id": identifier},
            query=Query(()),
            content=json.dumps(body).encode(),
            file=None,
            key=ADMINISTRATOR,
            space=None,
        )

    def _go(self, path: str) -> Answer:
        return Answer(status=303, headers={**HEADERS, "Location": self.state.virtual_directory + path})

    # --- what is shown ---------------------------------------------------------------------------------------------

    def _space(self, space: Document) -> Document:
        state = self.state
        environments = state.environments(space["Id"])
        cells: dict[tuple[str, str], list[Document]] = {}
        for deployment in state.where("Deployments", SpaceId=space["Id"]):
            cells.setdefault((deployment["ProjectId"], deployment["EnvironmentId"]), []).append(deployment)
        return {
            "id": space["Id"],
            "name": space["Name"],
            "environments": [item["Name"] for item in environments],
            "projects": [
                {
                    "id": project["Id"],
                    "name": project["Name"],
                    "cells": [
                        {
                            "environment": item["Name"],
                            "entries": self._entries(cells.get((project["Id"], item["Id"]), [])),
                        }
                        for item in environments
                    ],
                }
                for project in sorted(state.where("Projects", SpaceId=space["Id"]), key=by_name)
            ],
        }

    def _entries(self, deployments: Iterable[Document]) -> list[Document]:
        """The newest deployment for each tenant, with the version that was there before when it has not succeeded."""
        newest: dict[str | None, Document] = {}
        succeeded: dict[str | None, str] = {}
        for deployment in deployments:
            newest[deployment["TenantId"]] = deployment
            if self.state.task_of(deployment).state == SUCCESS:
                succeeded[deployment["TenantId"]] = self._version(deployment)
        entries = []
        for tenant_id, deployment in newest.items():
            task = self.state.task_of(deployment)
            tenant = self.state.find("Tenants", tenant_id)
            entries.append(
                {
                    "version": self._version(deployment),
                    "tenant": tenant["Name"] if tenant else "",
                    "task": self._task(task, ()),
                    "live": "" if task.state == SUCCESS else succeeded.get(tenant_id, ""),
                }
            )
        return sorted(entries, key=lambda entry: str(entry["tenant"]).casefold())

    def _version(self, deployment: Document) -> str:
        release = self.state.find("Releases", deployment["ReleaseId"])
        return str(release["Version"]) if release else "a deleted release"

    def _task(self, task: Task, order: Iterable[str]) -> Document:
        """`order`: the ids of queued tasks, the next first."""
        waiting = list(order)
        now = self.state.clock.now()
        ended = task.completed if task.completed is not None else now
        lasted = spoken_duration(ended - task.started) if task.started is not None else ""
        return {
            "id": task.id,
            "description": task.description,
            "state": task.state,
            "waits": bool(task.interruptions),
            "warns": task.is_completed and task.state == SUCCESS and task.root.troubled,
            "error": task.error,
            "when": _ago(now - (task.completed or task.started or task.queued_at)),
            "lasted": f"{'ran' if task.is_completed else 'runs for'} {lasted}" if lasted else "",
            "position": f"{waiting.index(task.id) + 1} of {len(waiting)} in the queue"
            if task.id in waiting
            else "",
        }

    def _facts(self, task: Task, order: Iterable[str]) -> list[tuple[str, str]]:
        state = self.state
        shown = self._task(task, order)
        facts = [
            (word, str(document["Name"]))
            for word, collection, identifier in (
                ("Project", "Projects", task.project_id),
                ("Runbook", "Runbooks", task.runbook_id),
                ("Environment", "Environments", task.environment_id),
                ("Tenant", "Tenants", task.tenant_id),
            )
            if (document := state.find(collection, identifier)) is not None
        ]
        run = state.find(
            runs.kind_of_task(task).collection, task.arguments.get(runs.kind_of_task(task).argument)
        )
        if run is not None and "ReleaseId" in run:
            facts.insert(1, ("Release", self._version(run)))
        facts.append(("Task", task.id))
        facts.append(("Queued", _moment(task.queue_time)))
        facts += [
            (word, _moment(at))
            for word, at in (("Started", task.started), ("Ended", task.completed))
            if at is not None
        ]
        if shown["lasted"]:
            facts.append(("Ran" if task.is_completed else "Runs", str(shown["lasted"]).split(" ", 1)[1]))
        if shown["position"]:
            facts.append(("Position", str(shown["position"])))
        if run is not None and run.get("Comments"):
            facts.append(("Comments", str(run["Comments"])))
        return facts

    def _activity(self, node: Activity, *, below: bool = True) -> Document:
        now = self.state.clock.now()
        ended = node.ended if node.ended is not None else now
        left_out = max(0, len(node.elements) - LINES)
        return {
            "id": "activity-" + re.sub(r"\W", "-", node.id),
            "name": node.name if below else "Task",
            "status": node.status,
            "is_open": node.status not in ("Pending", "Skipped"),
            "lasted": spoken_duration(ended - node.started)
            if node.started is not None and node.status != "Skipped"
            else "",
            "progress": node.progress_message,
            "left_out": left_out,
            "lines": [
                {"category": item.category, "time": str(iso(item.occurred))[11:19], "text": item.text}
                for item in node.elements[left_out:]
            ],
            "children": [self._activity(child) for child in node.children] if below else [],
        }

    def _artifact(self, artifact: Document) -> Document:
        content = self.state.contents.get(artifact["Id"])
        size = None if content is None else f"{len(content.data):,} bytes".replace(",", " ")
        return {"id": artifact["Id"], "name": artifact["Filename"], "size": size}


Show = Callable[..., Shown | Answer | None]
ROUTES: tuple[tuple[str, str, Show], ...] = (
    ("GET", r"/|/app/?", Page.home),
    ("GET", r"/tasks/(ServerTasks-\d+)", Page.task),
    ("GET", r"/tasks/(ServerTasks-\d+)/log", Page.log),
    ("GET", r"/artifacts/(Artifacts-\d+)", Page.artifact),
    ("GET", r"/(deployments|runbookruns)/((?:Deployments|RunbookRuns)-\d+)", Page.run),
    ("GET", rf"/({'|'.join(map(re.escape, FILES))})", Page.file),
    ("POST", r"/tasks/(ServerTasks-\d+)/cancel", Page.cancel),
    ("POST", r"/interruptions/(Interruptions-\d+)", Page.submit),
)


@cache
def frames() -> jinja2.Environment:
    folder = builtin_root() / "templates" / "emulator"
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def read_file(name: str) -> bytes:
    return (builtin_root() / "templates" / "emulator" / name).read_bytes()


def _is_ours(host: str | None) -> bool:
    """A browser that was led here under another name is not to see anything (DNS rebinding)."""
    if host is None:
        return True
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK
    except ValueError:
        return False


def _plain(status: int, text: str) -> Answer:
    return Answer(status=status, body=text, media_type="text/plain; charset=utf-8", headers=HEADERS)


def _waiting(state: State) -> list[str]:
    """The ids of tasks that wait for their turn, the next first. Those that wait for a person have had theirs."""
    return [task.id for task in queue.in_order(state) if not queue.is_paused(task)]


def _form(interruption: Document) -> Document:
    """What a person is asked, in the order of the API's own form."""
    elements = []
    for element in interruption["Form"]["Elements"]:
        control = element["Control"]
        match control["Type"]:
            case "Paragraph":
                elements.append({"kind": "text", "text": control["Text"]})
            case "TextArea":
                elements.append({"kind": "notes", "name": element["Name"], "label": control["Label"]})
            case "SubmitButtonGroup":
                buttons = [{"value": item["Value"], "text": item["Text"]} for item in control["Buttons"]]
                elements.append({"kind": "buttons", "name": element["Name"], "buttons": buttons})
    return {"id": interruption["Id"], "title": interruption["Title"], "elements": elements}


def _ago(seconds: float) -> str:
    return "just now" if seconds < 10 else f"{spoken_duration(seconds)} ago"


def _moment(at: float) -> str:
    return str(iso(at))[:19].replace("T", " ")
