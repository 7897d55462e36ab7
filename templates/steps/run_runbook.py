"""Runs a runbook of a project exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from typing import Any, Mapping

from generator.runtime.api import Api
from generator.runtime.connection import CONNECTION_GRAMMARS
from generator.runtime.deployments import numbered
from generator.runtime.destinations import parse_environments
from generator.runtime.lookup import NotFound, absence, best_match, find_named
from generator.runtime.moments import parse_start
from generator.runtime.options import parse_options
from generator.runtime.orders import Order, order_options
from generator.runtime.parameters import Parameters, reads

PUBLISHED = "published"
OUTPUTS = {"Snapshot": "snapshot", "RunbookRunId": "run", "TaskId": "task", "Link": "link"}


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    return parse_options(order_options(), pairs)


@reads(environment=parse_environments, start=parse_start, more=parse_more, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    order = Order(parameters, parameters.more or parse_more({}), OUTPUTS)
    project = find_named(order.api, "projects", "project", parameters.project)
    order.guard(project)
    runbook = find_runbook(order.api, project, parameters.runbook)
    # A runbook has a tenant mode of its own.
    name = "{} of {}".format(runbook["Name"], project["Name"])
    tenanted = {**project, "Name": name, "TenantedDeploymentMode": runbook.get("MultiTenancyMode")}
    places = order.find_places(tenanted, project["LifecycleId"])
    snapshot = find_snapshot(order.api, runbook, parameters.snapshot)
    order.step.log.info(f"Snapshot: {snapshot['Version']} of {runbook['Name']} ({parameters.snapshot})")
    for place in places:
        order.add(place._replace(project=project, runbook=runbook), snapshot)
    order.decide()
    order.check()
    order.carry_out()
    order.fail_if_any_did()


def find_runbook(api: Api, project: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    runbooks = "projects/{}/runbooks".format(project["Id"])
    return find_named(api, runbooks, "runbook of {}".format(project["Name"]), name)


def find_snapshot(api: Api, runbook: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The published snapshot, or the one of that name. Raises NotFound."""
    if name.lower() == PUBLISHED:
        published = runbook.get("PublishedRunbookSnapshotId")
        if not published:
            raise NotFound("{} has no published snapshot: publish one, or name one".format(runbook["Name"]))
        return numbered(api.get(f"runbookSnapshots/{published}"))
    found = list(api.pages("runbooks/{}/runbookSnapshots".format(runbook["Id"])))
    snapshot = best_match(found, name)
    if snapshot is None:
        what = "snapshot of {}".format(runbook["Name"])
        raise NotFound(absence(what, name, [one["Name"] for one in found]))
    return numbered(snapshot)
