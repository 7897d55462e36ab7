"""The marker in the comments of every deployment and runbook run made here: whose it is, and whether somebody awaits it."""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional

from generator.runtime.record import Record

AWAITED, LEFT = "awaited", "left"
NOBODY = "nobody"
MARKER = r"\[octosteps (?P<key>[0-9a-f]{24}) (?P<attempt>[0-9]+) (?P<stance>awaited|left) by (?P<parent>[^\]\s]*)\]"


class ParentTask(Record):
    """The task whose step made a child. Task ids are unique on one server only, hence `server`, its address."""

    server: str
    space: str
    id: str

    def __str__(self) -> str:
        """What stands in the marker: `https://octopus.example.com/Spaces-1/ServerTasks-7`, or `nobody` outside a task."""
        return "/".join(part for part in self if part) or NOBODY

    @property
    def is_known(self) -> bool:
        return bool(self.server and self.space and self.id)


class Marker(Record):
    """`key` names the intention, `attempt` counts from 1, `stance` is awaited or left."""

    key: str
    attempt: int
    stance: str
    parent: ParentTask

    def __str__(self) -> str:
        return f"[octosteps {self.key} {self.attempt} {self.stance} by {self.parent}]"


def parse_parent(text: str) -> ParentTask:
    """The reverse of `str(parent)`; parts that the text does not hold are ""."""
    if text == NOBODY:
        return ParentTask("", "", "")
    server, _, rest = text.rpartition("/")
    server, _, space = server.rpartition("/")
    return ParentTask(server, space, rest)


def read_marker(document: Mapping[str, Any]) -> Optional[Marker]:
    """The marker of a deployment or runbook run; None for those that we did not make."""
    match = re.search(MARKER, document.get("Comments") or "")
    if match is None:
        return None
    parent = parse_parent(match.group("parent"))
    return Marker(match.group("key"), int(match.group("attempt")), match.group("stance"), parent)


def own_task(step: Any) -> ParentTask:
    """The task that runs this step; empty outside Octopus."""
    task = step.variable("Octopus.Task.Id")
    if not task:
        return ParentTask("", "", "")
    server = step.variable("Octopus.Web.ServerUri").rstrip("/").lower()
    return ParentTask(server, step.variable("Octopus.Space.Id"), task)


def sentence_for_people(step: Any) -> str:
    """Who asked for the deployment, for those who look at the child."""
    project = step.variable("Octopus.Project.Name") or "a script outside Octopus"
    what = step.variable("Octopus.Release.Number") or step.variable("Octopus.Runbook.Name")
    name = step.variable("Octopus.Action.Name")
    link = step.variable("Octopus.Web.DeploymentLink") or step.variable("Octopus.Web.RunbookRunLink")
    if link.startswith("/"):
        link = step.variable("Octopus.Web.ServerUri").rstrip("/") + link
    asker = " ".join(part for part in (project, what) if part)
    return " ".join(part for part in ("Triggered by", asker, f"(step {name})" if name else "", link) if part)
