"""The page at `/` for people: projects by environments, tasks, and each task's log. Plain HTML, everything escaped."""

from __future__ import annotations

import html
import re

from generator.emulator.documents import Document
from generator.emulator.requests import Answer, by_name
from generator.emulator.state import State
from generator.emulator.tasks import Activity, Task

STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #8884; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
div.wide { overflow-x: auto; }
.Success { color: #1a7f37; } .Failed, .Error, .Fatal { color: #d1242f; } .Warning, .SuccessWithWarning { color: #9a6700; }
.Queued, .Executing, .Cancelling, .Running, .Wait { color: #0969da; } .Canceled, .TimedOut, .Skipped, .Verbose { opacity: .65; }
ul { list-style: none; padding-left: 1rem; } pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { .Success { color: #3fb950; } .Failed, .Error, .Fatal { color: #f85149; }
.Warning, .SuccessWithWarning { color: #d29922; } .Queued, .Executing, .Cancelling, .Running, .Wait { color: #58a6ff; } }
"""


def answer(state: State, path: str) -> Answer | None:
    """The page for that path, None when there is none."""
    with state.lock:
        if path == "/":
            return _document(state, "Octopus emulator", _overview(state))
        match = re.fullmatch(r"/tasks/(ServerTasks-\d+)", path)
        task = state.tasks.get(match[1]) if match else None
        if task is not None:
            return _document(state, task.description, _task(state, task), back=True)
    return None


def _document(state: State, title: str, body: str, *, back: bool = False) -> Answer:
    link = f'<p><a href="{_link(state, "/")}">All projects</a></p>' if back else ""
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="3">'
        f"<style>{STYLE}</style></head>\n<body>{link}<h1>{_text(title)}</h1>\n{body}</body></html>\n"
    )
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "Cache-Control": "no-store",
    }
    return Answer(body=text, media_type="text/html; charset=utf-8", headers=headers)


def _overview(state: State) -> str:
    parts = []
    for space in sorted(state.collection("Spaces").values(), key=by_name):
        parts.append(f"<h2>{_text(space['Name'])}</h2>\n{_dashboard(state, space)}")
    rows = "".join(
        f"<tr><td>{_task_link(state, task)}</td><td class={task.state}>{_state(task)}</td>"
        f"<td>{_text(task.document(state.clock)['Duration'])}</td></tr>\n"
        for _, task in zip(range(50), state.newest_tasks(), strict=False)
    )
    parts.append(
        f'<h2>Tasks</h2>\n<div class="wide"><table>\n{rows}</table></div>' if rows else "<p>No tasks yet.</p>"
    )
    return "\n".join(parts)


def _dashboard(state: State, space: Document) -> str:
    projects = sorted(state.where("Projects", SpaceId=space["Id"]), key=by_name)
    environments = state.environments(space["Id"])
    if not projects or not environments:
        return "<p>No projects or environments yet.</p>"
    head = "".join(f"<th>{_text(item['Name'])}</th>" for item in environments)
    rows = "".join(
        f"<tr><th>{_text(project['Name'])}</th>"
        + "".join(f"<td>{_cell(state, project['Id'], item['Id'])}</td>" for item in environments)
        + "</tr>\n"
        for project in projects
    )
    return f'<div class="wide"><table><tr><th>Project</th>{head}</tr>\n{rows}</table></div>'


def _cell(state: State, project_id: str, environment_id: str) -> str:
    latest: dict[str | None, Document] = {}
    for deployment in state.where("Deployments", ProjectId=project_id, EnvironmentId=environment_id):
        latest[deployment["TenantId"]] = deployment
    lines = []
    for tenant_id, deployment in latest.items():
        task = state.task_of(deployment)
        version = state.get("Releases", deployment["ReleaseId"])["Version"]
        tenant = state.find("Tenants", tenant_id)
        who = f" {_text(tenant['Name'])}" if tenant else ""
        lines.append(
            f'<a href="{_link(state, f"/tasks/{task.id}")}">{_text(version)}</a>{who} '
            f"<span class={task.state}>{_state(task)}</span>"
        )
    return "<br>".join(lines)


def _task(state: State, task: Task) -> str:
    error = f"<p class=Failed>{_text(task.error)}</p>" if task.error else ""
    files = state.where("Artifacts", ServerTaskId=task.id)
    names = "".join(f"<li>{_text(item['Filename'])}</li>" for item in files)
    artifacts = f"<h2>Artifacts</h2><ul>{names}</ul>" if names else ""
    return f"<p class={task.state}>{_state(task)}</p>{error}\n<ul>{_activity(task.root)}</ul>\n{artifacts}"


def _activity(node: Activity) -> str:
    lines = "".join(f"<pre class={item.category}>{_text(item.text)}</pre>" for item in node.elements)
    children = "".join(_activity(child) for child in node.children)
    message = f" <em>{_text(node.progress_message)}</em>" if node.progress_message else ""
    below = f"<ul>{children}</ul>" if children else ""
    return f"<li><b class={node.status}>{_text(node.name)}: {node.status}</b>{message}{lines}{below}</li>\n"


def _state(task: Task) -> str:
    return f"{task.state}, waits for a person" if task.interruptions else task.state


def _task_link(state: State, task: Task) -> str:
    return f'<a href="{_link(state, f"/tasks/{task.id}")}">{_text(task.description)}</a>'


def _link(state: State, path: str) -> str:
    return _text(state.virtual_directory + path)


def _text(value: object) -> str:
    return html.escape(str(value))
