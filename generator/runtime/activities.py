"""The log tree of a task: which of its steps has come how far."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Mapping, NamedTuple, Optional

from generator.runtime.moments import moment_or_none, spoken

STEP_TITLE = re.compile(r"Step [0-9]+(?:\.[0-9]+)?: ", re.IGNORECASE)
PASSED_STATUSES = ("Success", "SuccessWithWarning")


class StepState(NamedTuple):
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
                child for child in step.get("Children") or () if STEP_TITLE.match(child.get("Name") or "")
            ]
            found.extend(step_state(child) for child in numbered)
    return found


def step_state(activity: Mapping[str, Any]) -> StepState:
    title = activity.get("Name") or ""
    return StepState(
        title=title,
        name=STEP_TITLE.sub("", title, count=1).strip(),
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
