"""Cancels deployments and runbook runs that our steps awaited, and whose parent tasks have ended."""

from __future__ import annotations

from typing import Any, Sequence

from generator.runtime.api import Api, ApiError
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.lookup import find_named
from generator.runtime.moments import spoken
from generator.runtime.orphans import (
    ORPHANED,
    UNCERTAIN,
    Finding,
    addresses,
    judge_children,
    marked_children,
    spare_left,
)
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import REFUSED_BY_SERVER, TIMED_OUT, Step
from generator.runtime.tables import table_lines
from generator.runtime.tasks import CANCEL_INTERVAL, Task, ask_to_cancel, read_tasks


@reads(**CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    api = connect(parameters, parameters.cancel_limit)
    children = marked_children(api, **narrowed(api, parameters))
    findings = spare_left(api, judge_children(api, children, addresses(api, step))) if children else []
    orphans = [finding for finding in findings if finding.verdict == ORPHANED]
    uncertain = [finding for finding in findings if finding.verdict == UNCERTAIN]
    tell_findings(step, findings)
    set_outputs(step, orphans, uncertain, [])
    if not orphans:
        step.log.highlight("No orphans" + (f"; {len(uncertain)} uncertain" if uncertain else "") + ".")
        return
    if parameters.what_if:
        step.log.highlight(f"What-if: {len(orphans)} would be cancelled. Nothing was changed.")
        return
    asked, refused = ask_all(api, step, orphans)
    ended = wait_for_end(api, asked, parameters.cancel_limit.total_seconds())
    tell_ends(step, orphans, ended)
    set_outputs(step, orphans, uncertain, [task for task in ended.values() if task.state == "Canceled"])
    if refused:
        step.fail(REFUSED_BY_SERVER, "; ".join(refused))
    over = {task.id for task in ended.values() if not task.is_alive}
    hanging = [finding.child for finding in orphans if finding.child.task.id not in over]
    if hanging:
        names = ", ".join(map(str, hanging))
        step.fail(TIMED_OUT, f"cancelling has not ended within {spoken(parameters.cancel_limit)}: {names}")


def narrowed(api: Api, parameters: Parameters) -> dict[str, Any]:
    """The filters of the list of tasks; without any, everything in the space that the account may see."""
    query: dict[str, Any] = {}
    if parameters.project:
        query["project"] = find_named(api, "projects", "project", parameters.project)["Id"]
    if parameters.environment:
        query["environment"] = find_named(api, "environments", "environment", parameters.environment)["Id"]
    return query


def tell_findings(step: Step, findings: Sequence[Finding]) -> None:
    """One row for each child on its way that one of our steps made; and what to do about those that remain uncertain."""
    rows = [[finding.verdict, finding.child.task.description, finding.reason] for finding in findings]
    if rows:
        for line in table_lines(["Verdict", "Child", "Why"], rows):
            step.log.info(line)
    for finding in findings:
        if finding.verdict == ORPHANED and finding.parent is not None:
            step.log.info(f"{finding.child}: awaited by {finding.parent.description}")
        if finding.verdict == UNCERTAIN:
            step.log.warning(f"{finding.child} is left alone, for {finding.reason}.")


def ask_all(api: Api, step: Step, orphans: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """The ids of the tasks that the server agreed to cancel or that have ended by now, and what it said of the others."""
    asked, refused = [], []
    for finding in orphans:
        child = finding.child
        try:
            ask_to_cancel(api, child.task.id)
        except ApiError as error:
            if error.status == 401:
                raise
            step.log.warning(f"{child} cannot be cancelled: {error.sentence}")
            refused.append(f"{child}: {error.sentence}")
        else:
            asked.append(child.task.id)
    return asked, refused


def wait_for_end(api: Api, ids: Sequence[str], longest: float) -> dict[str, Task]:
    """The tasks as last seen: all ended, or `longest` seconds later. One request a poll."""
    deadline = api.clock() + longest
    seen: dict[str, Task] = {}
    while True:
        open_ids = [one for one in ids if one not in seen or seen[one].is_alive]
        if not open_ids:
            return seen
        seen.update(read_tasks(api, open_ids))
        left = deadline - api.clock()
        if left <= 0 or not any(one not in seen or seen[one].is_alive for one in ids):
            return seen
        api.sleep(min(CANCEL_INTERVAL, left))


def tell_ends(step: Step, orphans: Sequence[Finding], ended: dict[str, Task]) -> None:
    for finding in orphans:
        task = ended.get(finding.child.task.id)
        if task is not None:
            step.log.highlight(f"{finding.child}: {task.state}")


def set_outputs(
    step: Step, orphans: Sequence[Finding], uncertain: Sequence[Finding], cancelled: Sequence[Task]
) -> None:
    step.output("Orphans", ",".join(finding.child.task.id for finding in orphans))
    step.output("Uncertain", ",".join(finding.child.task.id for finding in uncertain))
    step.output("Cancelled", ",".join(task.id for task in cancelled))
