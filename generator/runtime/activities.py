"""The log tree of a task: which of its steps has come how far."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Mapping, Optional

from generator.runtime.moments import moment_or_none, spoken
from generator.runtime.record import Record

STEP_TITLE = r"(?i)Step [0-9]+(?:\.[0-9]+)?: "
TROUBLE_LEVELS = ("Warning", "Error", "Fatal")
PASSED_STATUSES = ("Success", "SuccessWithWarning")


class StepState(Record):
    """One step of a task: `title` as the log shows it, `name` without its number."""

    title: str
    name: str
    status: str
    started: Optional[datetime]
    ended: Optional[datetime]

    def __str__(self) -> str:
        """For people, with the times that the server tells: a poll may come later."""
        if self.started and self.ended:
            return f"{self.title}: {self.status} after {spoken(self.ended - self.started)}"
        return f"{self.title}: {self.status}" + (
            f" since {self.started:%H:%M:%S} UTC" if self.started else ""
        )


def step_states(details: Mapping[str, Any]) -> list[StepState]:
    """The steps in a task's details. Source: docs, API reference, tasks; titles read "Step 1: Name" (Chain Deployment)."""
    found = []
    for root in details.get("ActivityLogs") or ():
        for step in root.get("Children") or ():
            found.append(step_state(step))
            numbered = [
                child for child in step.get("Children") or () if re.match(STEP_TITLE, child.get("Name") or "")
            ]
            found.extend(step_state(child) for child in numbered)
    return found


def step_state(activity: Mapping[str, Any]) -> StepState:
    title = activity.get("Name") or ""
    return StepState(
        title=title,
        name=re.sub(STEP_TITLE, "", title, count=1).strip(),
        status=activity.get("Status") or "",
        started=moment_or_none(activity.get("Started")),
        ended=moment_or_none(activity.get("Ended")),
    )


def find_step(states: list[StepState], name: str) -> Optional[StepState]:
    """The step of that name. Names are unique in a process ignoring case."""
    for state in states:
        if name.strip().lower() in (state.name.lower(), state.title.lower()):
            return state
    return None


def has_come_to(state: Optional[StepState], *, passed: bool) -> bool:
    """Whether a step has begun, or with `passed` has succeeded. A skipped step has not."""
    if state is None:
        return False
    return state.status in PASSED_STATUSES or (
        not passed and state.status in ("Running", "Failed", "Canceled")
    )


class Trouble(Record):
    """A warning or an error in a task's log. `key` tells it from all others of the task."""

    key: str
    level: str
    where: str
    text: str


def troubles(details: Mapping[str, Any]) -> list[Trouble]:
    """Every warning and error in a task's details, in the order of the log's tree."""
    found: list[Trouble] = []
    for root in details.get("ActivityLogs") or ():
        collect_troubles(root, "", found)
    return found


def collect_troubles(activity: Mapping[str, Any], above: str, found: list[Trouble]) -> None:
    name = activity.get("Name") or ""
    where = name if re.match(STEP_TITLE, name) else above
    for order, element in enumerate(activity.get("LogElements") or ()):
        level = element.get("Category") or ""
        if level in TROUBLE_LEVELS:
            text = element.get("MessageText") or ""
            mark = element.get("Number") if element.get("Number") is not None else order
            key = f"{activity.get('Id') or name} {mark} {element.get('OccurredAt')} {text}"
            found.append(Trouble(key, level, where, text))
    for child in activity.get("Children") or ():
        collect_troubles(child, where, found)
