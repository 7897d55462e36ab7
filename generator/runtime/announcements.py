"""Whom a step waits for, told to others: behind the words for people in the progress message of the step's own activity.

Any account that may see the task can read it there (source: Swagger of Octopus Server 2020.5, ActivityLogTreeNode). It counts
while that activity runs. A killed step cannot take it back; then the activity does not run any more.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.activities import StepState, find_step, has_come_to, step_states
from generator.runtime.log import Log
from generator.runtime.record import Record

TASK_ID = r"ServerTasks-[0-9]+"
ANNOUNCEMENT = (
    r"\[octosteps waits (?P<wait>[0-9a-f]{8}) since (?P<since>[0-9]{1,12}) for (?P<need>all|any|lock): "
    r"(?P<targets>[^\]]*)\]"
)
OPENER = "[octosteps waits "
# How long a progress message may be is not documented; what is left out is not found, and never made up.
MOST_ANNOUNCED = 25


class Target(Record):
    """A task, and the name of its step when only that is waited for."""

    task: str
    step: str = ""
    passed: bool = False  # the step must have ended well, not only have begun

    def __str__(self) -> str:
        if not self.step:
            return self.task
        return (
            f"{self.task}/{'passed' if self.passed else 'reached'}/{urllib.parse.quote(self.step, safe='')}"
        )


class Announcement(Record):
    """One wait: its random id, when it began (seconds since 1970), what it needs of its targets (see `deadlocks`)."""

    wait: str
    since: int
    need: str
    targets: Sequence[Target]

    def __str__(self) -> str:
        told = " ".join(str(target) for target in self.targets[:MOST_ANNOUNCED])
        return f"{OPENER}{self.wait} since {self.since} for {self.need}: {told}]"


def parse_announcement(message: str) -> Optional[Announcement]:
    """The announcement at the end of a progress message; None without a whole one."""
    found = list(re.finditer(ANNOUNCEMENT, message))
    if not found:
        return None
    targets = []
    for word in found[-1].group("targets").split():
        task, _, rest = word.partition("/")
        goal, _, step = rest.partition("/")
        if not re.fullmatch(TASK_ID, task):
            return None
        targets.append(Target(task, urllib.parse.unquote(step), goal == "passed"))
    return Announcement(
        found[-1].group("wait"), int(found[-1].group("since")), found[-1].group("need"), targets
    )


class Announced(Record):
    """An announcement with the title of the step that makes it."""

    announcement: Announcement
    step: str


def announced_waits(details: Mapping[str, Any]) -> list[Announced]:
    """The waits that a task's running activities announce."""
    found: list[Announced] = []
    for root in details.get("ActivityLogs") or ():
        for step in root.get("Children") or ():
            collect_waits(step, step.get("Name") or "", found)
    return found


def collect_waits(activity: Mapping[str, Any], step: str, found: list[Announced]) -> None:
    if activity.get("Status") != "Running":
        return
    announcement = parse_announcement(activity.get("ProgressMessage") or "")
    if announcement is not None:
        found.append(Announced(announcement, step))
    for child in activity.get("Children") or ():
        collect_waits(child, step, found)


def still_needs(target: Target, details: Mapping[str, Any], held: Sequence[str]) -> bool:
    """Whether a wait for `target` cannot end before one of the steps titled `held` does, which wait themselves.

    A wait for a whole task cannot. A wait for a step cannot either while that step is to come, for the steps that run have to end
    first; of one that runs already only if it is itself among the waiting ones.
    """
    if not target.step:
        return True
    steps: list[StepState] = step_states(details)
    state = find_step(steps, target.step)
    if state is None or has_come_to(state, passed=target.passed):
        return False
    return state.status == "Pending" or (state.status == "Running" and state.title in held)


class Announcer:
    """Writes the progress of this step: for people, and behind that the wait that is announced. `task` is the own one's id.

    Without a task (outside Octopus, or where the awaited are on another server) nothing is announced.
    """

    def __init__(self, log: Log, task: str) -> None:
        self._log = log
        self.task = task
        self.current: Optional[Announcement] = None
        self._percentage = 0
        self._message = ""

    def tell(self, percentage: int, message: str) -> None:
        self._percentage, self._message = percentage, message
        words = message.replace(OPENER, "(octosteps waits ")
        self._log.progress(percentage, f"{words} {self.current}" if self.current else words)

    def announce(self, need: str, targets: Sequence[Target], now: float) -> None:
        """From now on this step waits for `targets`. With none it waits no more. A wait keeps its id while no target is added."""
        import os

        before = self.current
        if not self.task or (not targets and before is None):
            return
        if not targets:
            self.current = None
        elif before is None or before.need != need or not set(targets) <= set(before.targets):
            since = int(now) if before is None else before.since
            self.current = Announcement(os.urandom(4).hex(), since, need, list(targets))
        elif list(targets) != list(before.targets):
            self.current = before._replace(targets=list(targets))
        if self.current != before:
            self.tell(self._percentage, self._message or "Waiting")
