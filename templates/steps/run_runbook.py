"""Runs a runbook of a project exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Mapping, Sequence

from generator.runtime.api import Api
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.deliveries import (
    CANCEL,
    GO_ON,
    STOP,
    Delivery,
    Fanout,
    Terms,
    decide_all,
    failure_of,
)
from generator.runtime.deployments import numbered
from generator.runtime.destinations import find_destinations, find_environments, parse_environments
from generator.runtime.lookup import NotFound, Place, absence, best_match, find_named
from generator.runtime.markers import own_task, sentence_for_people
from generator.runtime.moments import parse_duration, parse_start
from generator.runtime.once import ALWAYS, Errand, Intention, intention_key, own_identity, own_queue_time
from generator.runtime.options import Option, one_of, parse_count, parse_names, parse_options, parse_switch
from generator.runtime.parameters import Parameters, reads
from generator.runtime.reporting import (
    children_as_text,
    decision_in_words,
    describe,
    joined,
    open_keys,
    state_of,
    tell_decision,
    tell_fitted,
)
from generator.runtime.step import MISCONFIGURED, Step
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits
from generator.runtime.watchdog import start_watchdog
from generator.runtime.wishes import Fitted, fit, read_preview, settings_of, unmet, wishes_of

PUBLISHED = "published"
NO_SNAPSHOT: Mapping[str, Any] = {"Id": "", "Version": ""}


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    table = {
        "at_once": Option(parse_count),
        "if_one_fails": Option(one_of(GO_ON, STOP, CANCEL), GO_ON),
        "not_connected": Option(one_of("skip", "fail"), "skip"),
        "warnings": Option(one_of("pass", "fail"), "pass"),
        "machines": Option(parse_names, ()),
        "exclude_machines": Option(parse_names, ()),
        "guided_failure": Option(one_of("on", "off", "default"), "default"),
        "force_package_download": Option(parse_switch, False),
        "priority": Option(one_of("on", "off", "default"), "default"),
        "expire": Option(parse_duration),
        "watchdog": Option(parse_switch, True),
    }
    return parse_options(table, pairs)


@reads(environment=parse_environments, start=parse_start, more=parse_more, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    more = parameters.more or parse_more({})
    limits = Limits(parameters.queue_limit, parameters.run_limit)
    api = connect(parameters, limits.queue + limits.run if parameters.wait else timedelta())
    project = find_named(api, "projects", "project", parameters.project)
    is_guarded = parameters.wait and more["watchdog"] and not parameters.what_if
    watchdog = start_watchdog(parameters, api, limits.queue + limits.run, wanted=is_guarded)
    runbook = find_runbook(api, project, parameters.runbook)
    deliveries = plan_deliveries(api, parameters, more, project, runbook)
    decide_all(api, deliveries)
    for delivery in deliveries:
        tell_decision(step, delivery)
    fitted = check_before_queueing(api, parameters, more, deliveries)
    if parameters.what_if:
        tell_fitted(step, fitted)
        words = "; ".join(decision_in_words(delivery) for delivery in deliveries)
        step.log.highlight(f"What-if: {words}. Nothing was changed.")
        set_outputs(step, deliveries, what_if=True)
        return
    terms = Terms(
        limits=limits,
        waits=parameters.wait,
        cancels_late=parameters.on_timeout == "cancel",
        if_one_fails=more["if_one_fails"],
        at_once=more["at_once"],
        warnings_fail=more["warnings"] == "fail",
    )

    def tell() -> None:
        watchdog.guard(open_keys(deliveries), project["Id"])
        set_outputs(step, deliveries)

    with watchdog:
        watchdog.guard(open_keys(deliveries), project["Id"])
        try:
            Fanout(api, step.log, deliveries, terms, tell=tell, lookout=Lookout(api, step)).run()
        finally:
            set_outputs(step, deliveries)
    failure = failure_of(deliveries)
    if failure is not None:
        step.fail(failure.kind, failure.sentence)


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


def plan_deliveries(
    api: Api,
    parameters: Parameters,
    more: Mapping[str, Any],
    project: Mapping[str, Any],
    runbook: Mapping[str, Any],
) -> list[Delivery]:
    """One delivery for each place that is meant, those that cannot be reached among them as skipped."""
    step: Step = parameters.step
    own_environment = step.variable("Octopus.Environment.Name")
    environments = find_environments(api, parameters.environment, own_environment, project["LifecycleId"])
    # A runbook has a tenant mode of its own.
    name = "{} of {}".format(runbook["Name"], project["Name"])
    tenanted = {**project, "Name": name, "TenantedDeploymentMode": runbook.get("MultiTenancyMode")}
    own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
    found = find_destinations(api, tenanted, environments, parameters.tenant, own_tenant)
    if found.left_out and more["not_connected"] == "fail":
        step.fail(MISCONFIGURED, "; ".join(one.reason for one in found.left_out))
    snapshot = find_snapshot(api, runbook, parameters.snapshot)
    step.log.info(f"Snapshot: {snapshot['Version']} of {runbook['Name']} ({parameters.snapshot})")
    deliveries = [
        Delivery(place, NO_SNAPSHOT, None, skipped=f"{place}: {reason}") for place, reason in found.left_out
    ]
    make = ErrandMaker(api, parameters, settings_of(parameters, more))
    for place in found.places:
        place = place._replace(project=project, runbook=runbook)
        deliveries.append(Delivery(place, snapshot, make.errand(place, snapshot)))
    return deliveries


class ErrandMaker:
    """Makes the errand for one place after the other; what they have in common is looked up once."""

    def __init__(self, api: Api, parameters: Parameters, settings: Mapping[str, Any]) -> None:
        self.api = api
        self.parameters = parameters
        self.settings = settings
        self.step: Step = parameters.step
        self.identity = own_identity(self.step)
        self.since = own_queue_time(api, self.step)

    def errand(self, place: Place, snapshot: Mapping[str, Any]) -> Errand:
        assert place.runbook is not None
        parameters = self.parameters
        where = [
            place.project["Id"],
            place.runbook["Id"],
            place.environment["Id"],
            place.tenant_id or "",
        ]
        intention = Intention(
            place=place,
            release=snapshot,
            condition=ALWAYS,
            deploys_again=parameters.on_retry == "run_again",
            key=intention_key(self.identity + where),
            since=self.since,
            sentence=sentence_for_people(self.step),
            own_task=own_task(self.step),
            is_awaited=parameters.wait,
            settings=self.settings,
        )
        return Errand(self.api, self.step.log, intention)


def check_before_queueing(
    api: Api, parameters: Parameters, more: Mapping[str, Any], deliveries: Sequence[Delivery]
) -> list[tuple[Delivery, Fitted]]:
    """Fails with everything that means nothing there before anything is queued; otherwise the runs have all their fields."""
    step: Step = parameters.step
    wishes = wishes_of(parameters, more)
    fitted: list[tuple[Delivery, Fitted]] = []
    for delivery in deliveries:
        if delivery.decision is not None and delivery.decision.action == "create":
            preview = read_preview(api, delivery.release, delivery.place)
            fitted.append((delivery, fit(delivery.place, wishes, preview)))
    misfits = unmet(wishes, [one for _, one in fitted]) if fitted else []
    misfits += [fault for _, one in fitted for fault in one.faults]
    if misfits:
        step.fail(MISCONFIGURED, "; ".join(misfits))
    for delivery, one in fitted:
        if one.skipped:
            delivery.skip(one.skipped)
            step.log.highlight(f"Skipped: {one.skipped}.")
        elif delivery.errand is not None:
            intention = delivery.errand.intention
            delivery.errand.intention = intention._replace(settings={**intention.settings, **one.settings})
    return fitted


def set_outputs(step: Step, deliveries: Sequence[Delivery], *, what_if: bool = False) -> None:
    """Of several places the ids and links are parted by commas; `Children` has everything by place."""
    children = [child_of(delivery, what_if) for delivery in deliveries]
    step.result["children"] = children
    reasons = ["what-if"] if what_if else [child["skipped"] for child in children if child["skipped"]]
    step.output("State", "WhatIf" if what_if else state_of(deliveries))
    step.output("Snapshot", ", ".join(dict.fromkeys(one["snapshot"] for one in children if one["snapshot"])))
    step.output("RunbookRunId", joined(children, "run"))
    step.output("TaskId", joined(children, "task"))
    step.output("Link", joined(children, "link"))
    step.output("Changed", str(any(child["changed"] for child in children)))
    step.output("Skipped", "; ".join(dict.fromkeys(reasons)))
    step.output("Children", children_as_text(children))


def child_of(delivery: Delivery, what_if: bool) -> dict[str, Any]:
    """One child, named as runbooks name things."""
    names = {"version": "snapshot", "deployment": "run"}
    found = describe(delivery, what_if)
    return {names.get(name, name): value for name, value in found.items() if name != "release"}
