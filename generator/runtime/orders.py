"""What the steps have in common that order deployments or runbook runs: from a form to children that are carried out and told.

An entry script says which places and releases are meant, and what its outputs are called; an Order does the rest.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Mapping, Sequence

from generator.runtime.connection import connect
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
from generator.runtime.destinations import find_destinations, find_environments
from generator.runtime.guidance import Guidance, parse_guided_failure
from generator.runtime.lookup import Place
from generator.runtime.markers import own_task, sentence_for_people
from generator.runtime.moments import parse_duration
from generator.runtime.obstacles import FREEZE, LIFECYCLE, Obstacles, words_of
from generator.runtime.once import ALWAYS, Errand, Intention, intention_key, own_identity, own_queue_time
from generator.runtime.options import Option, one_of, parse_count, parse_names, parse_switch
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
from generator.runtime.step import MISCONFIGURED, REFUSED, Step
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits
from generator.runtime.watchdog import Watchdog, start_watchdog
from generator.runtime.wishes import Fitted, fit, read_preview, settings_of, unmet, wishes_of

NOTHING: Mapping[str, Any] = {"Id": "", "Version": ""}


def order_options() -> dict[str, Option]:
    """The *More options* of all these steps, each with what holds when it is not given."""
    return {
        "at_once": Option(parse_count),
        "if_one_fails": Option(one_of(GO_ON, STOP, CANCEL), GO_ON),
        "not_connected": Option(one_of("skip", "fail"), "skip"),
        "warnings": Option(one_of("pass", "fail"), "pass"),
        "machines": Option(parse_names, ()),
        "exclude_machines": Option(parse_names, ()),
        "guided_failure": Option(parse_guided_failure, "default"),
        "attempts": Option(parse_count, 1),
        "force_package_download": Option(parse_switch, False),
        "priority": Option(one_of("on", "off", "default"), "default"),
        "expire": Option(parse_duration),
        "watchdog": Option(parse_switch, True),
    }


class Order:
    """One run of such a step. `outputs` has the names of its own outputs, each with the fact of a child that it tells."""

    def __init__(self, parameters: Any, more: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
        self.parameters = parameters
        self.more = more
        self.outputs = outputs
        self.step: Step = parameters.step
        if not parameters.wait and (more["attempts"] > 1 or isinstance(more["guided_failure"], Guidance)):
            self.step.fail(
                MISCONFIGURED, "further attempts and answers to guided failures take a step that waits"
            )
        self.limits = Limits(parameters.queue_limit, parameters.run_limit)
        self.longest = self.limits.queue + self.limits.run
        self.api = connect(parameters, self.longest if parameters.wait else timedelta())
        self.deliveries: list[Delivery] = []
        self.fitted: list[tuple[Delivery, Fitted]] = []
        self.project: Mapping[str, Any] = {}
        self.watchdog = Watchdog(self.step.log)
        self.identity = own_identity(self.step)
        self.since = own_queue_time(self.api, self.step)

    def guard(self, project: Mapping[str, Any]) -> None:
        """Starts the watchdog over what will be made of this project."""
        self.project = project
        parameters = self.parameters
        wanted = parameters.wait and self.more["watchdog"] and not parameters.what_if
        self.watchdog = start_watchdog(parameters, self.api, self.longest, wanted=wanted)

    # --- what is to be done where ----------------------------------------------------------------------------------

    def find_places(self, project: Mapping[str, Any], lifecycle_id: str) -> Sequence[Place]:
        """Where the form wants it; what cannot be reached of that becomes skipped deliveries, or an error."""
        parameters, step = self.parameters, self.step
        own_environment = step.variable("Octopus.Environment.Name")
        environments = find_environments(self.api, parameters.environment, own_environment, lifecycle_id)
        own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
        found = find_destinations(self.api, project, environments, parameters.tenant, own_tenant)
        if found.left_out and self.more["not_connected"] == "fail":
            step.fail(MISCONFIGURED, "; ".join(one.reason for one in found.left_out))
        if parameters.tenant and found.places and found.places[0].tenant is None:
            name = project["Name"]
            step.log.info(f"{name} is not deployed for tenants, and so not for {own_tenant} in particular.")
        for place, reason in found.left_out:
            self.skip(place, reason)
        return found.places

    def skip(self, place: Place, reason: str) -> Delivery:
        self.deliveries.append(Delivery(place, NOTHING, None, skipped=f"{place}: {reason}"))
        return self.deliveries[-1]

    def add(self, place: Place, release: Mapping[str, Any], **intended: Any) -> Delivery:
        """`intended` are further fields of the Intention."""
        errand = Errand(self.api, self.step.log, self.intention(place, release)._replace(**intended))
        self.deliveries.append(Delivery(place, release, errand))
        return self.deliveries[-1]

    def intention(self, place: Place, release: Mapping[str, Any]) -> Intention:
        parameters = self.parameters
        return Intention(
            place=place,
            release=release,
            condition=ALWAYS,
            deploys_again=parameters.on_retry != "keep",
            key=self.key(place),
            since=self.since,
            sentence=sentence_for_people(self.step),
            own_task=own_task(self.step),
            is_awaited=parameters.wait,
            settings=settings_of(parameters, self.more),
        )

    def key(self, place: Place) -> str:
        where = [place.project["Id"], place.environment["Id"], place.tenant_id or ""]
        if place.runbook is not None:
            where.insert(1, place.runbook["Id"])
        return intention_key(self.identity + where)

    def decide(self) -> None:
        decide_all(self.api, self.deliveries)
        for delivery in self.deliveries:
            tell_decision(self.step, delivery)

    def to_create(self) -> list[Delivery]:
        """Those whose deployment is to be made, of a release that exists already (under what-if it may not)."""
        decided = [one for one in self.deliveries if one.decision is not None and one.release["Id"]]
        return [one for one in decided if one.decision is not None and one.decision.action == "create"]

    # --- what is against it ----------------------------------------------------------------------------------------

    def check(self, reasons: Sequence[str] = ()) -> None:
        """Fails with `reasons`, and with everything that means nothing there, before anything is queued.

        Otherwise the deployments that are to be created have all their fields.
        """
        step = self.step
        wishes = wishes_of(self.parameters, self.more)
        for delivery in self.to_create():
            preview = read_preview(self.api, delivery.release, delivery.place)
            self.fitted.append((delivery, fit(delivery.place, wishes, preview, delivery.earlier)))
        misfits = unmet(wishes, [one for _, one in self.fitted]) if self.fitted else []
        misfits += [fault for _, one in self.fitted for fault in one.faults]
        if reasons or misfits:
            step.fail(REFUSED if reasons else MISCONFIGURED, "; ".join([*reasons, *misfits]))
        for delivery, one in self.fitted:
            if one.skipped:
                delivery.skip(one.skipped)
                step.log.highlight(f"Skipped: {one.skipped}.")
            elif delivery.errand is not None:
                delivery.errand.refine(one.settings)

    # --- doing it --------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Returns when every child has ended, or with what-if at once; `fail_if_any_did` is the caller's last word."""
        parameters = self.parameters
        if parameters.what_if:
            tell_fitted(self.step, self.fitted)
            words = "; ".join(decision_in_words(delivery) for delivery in self.deliveries)
            self.step.log.highlight(f"What-if: {words}. Nothing was changed.")
            self.set_outputs()
            return
        more = self.more
        terms = Terms(
            limits=self.limits,
            waits=parameters.wait,
            cancels_late=parameters.on_timeout == "cancel",
            if_one_fails=more["if_one_fails"],
            at_once=more["at_once"],
            warnings_fail=more["warnings"] == "fail",
            attempts=more["attempts"],
            guidance=more["guided_failure"] if isinstance(more["guided_failure"], Guidance) else None,
        )
        lookout = Lookout(self.api, self.step)
        with self.watchdog:
            self.watchdog.guard(open_keys(self.deliveries), self.project["Id"])
            try:
                Fanout(self.api, self.step.log, self.deliveries, terms, tell=self.tell, lookout=lookout).run()
            finally:
                self.set_outputs()

    def fail_if_any_did(self) -> None:
        failure = failure_of(self.deliveries)
        if failure is not None:
            raise failure

    def tell(self) -> None:
        self.watchdog.guard(open_keys(self.deliveries), self.project["Id"])
        self.set_outputs()

    def set_outputs(self) -> None:
        """Of several places the ids and links are parted by commas; `Children` has everything by place."""
        step, what_if = self.step, self.parameters.what_if
        children = [describe(delivery, what_if) for delivery in self.deliveries]
        reasons = ["what-if"] if what_if else [child["skipped"] for child in children if child["skipped"]]
        step.output("State", "WhatIf" if what_if else state_of(self.deliveries))
        for name, fact in self.outputs.items():
            step.output(name, joined(children, fact))
        step.output("Changed", str(any(child["changed"] for child in children)))
        step.output("Skipped", "; ".join(dict.fromkeys(reasons)))
        step.output("Children", children_as_text(children))
        step.result["children"] = children
        step.result["left"] = [one.watch.task_id for one in self.deliveries if one.is_left and one.watch]


def find_obstacles(order: Order, obstacles: Obstacles) -> list[str]:
    """What the server would refuse, in words, each once. Environments that depend on each other come in turn: one
    that the lifecycle refuses now may be allowed then."""
    reasons: list[str] = []
    if order.more["override_freezes"]:
        override_freezes(order, obstacles)
    first = order.deliveries[0].place.environment["Id"]
    for delivery in order.to_create():
        for kind, reason in obstacles.find(delivery.place, delivery.release):
            if kind == FREEZE and order.more["override_freezes"]:
                continue
            in_turn = order.more["at_once"] and delivery.place.environment["Id"] != first
            if kind == LIFECYCLE and in_turn:
                order.step.log.verbose(f"{reason}; perhaps it will when its turn has come.")
            elif reason not in reasons:
                reasons.append(reason)
    return reasons


def override_freezes(order: Order, obstacles: Obstacles) -> None:
    """Has those that hold at a place overridden by name in the deployment's own command, and says so."""
    for delivery in order.to_create():
        freezes, errand = obstacles.freezes(delivery.place), delivery.errand
        if freezes and errand is not None:
            reason = order.more["override_freezes"]
            words = " and ".join(words_of(freeze) for freeze in freezes)
            order.step.log.warning(f"{delivery.place}: {words}, and is overridden: {reason}")
            ids = [freeze["Id"] for freeze in freezes]
            errand.intention = errand.intention._replace(freezes=ids, freeze_reason=reason)
