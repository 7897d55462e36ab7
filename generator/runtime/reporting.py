"""What a step tells of its deliveries: what is to be done and why, what would run where, and each child as data."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from generator.runtime.deliveries import Delivery
from generator.runtime.step import Step
from generator.runtime.wishes import Fitted, machines_of, prompts_of


def decision_in_words(delivery: Delivery) -> str:
    decision, number, place = delivery.decision, delivery.release["Version"], delivery.place
    nothing = f"nothing is to be {place.verb}"
    if decision is None:
        return f"{nothing}: {delivery.skipped}"
    return {
        "create": f"{number} is to be {place.verb}: {place}",
        "adopt": f"{place}: {decision.reason}",
        "join": f"{place}: {decision.reason}, and is joined",
        "skip": f"{nothing}: {decision.reason}",
    }[decision.action]


def tell_decision(step: Step, delivery: Delivery) -> None:
    decision = delivery.decision
    if decision is None:
        step.log.highlight(f"Skipped: {delivery.skipped}.")
        return
    step.log.info(decision_in_words(delivery) + ".")
    if decision.action == "create" and decision.reason:
        step.log.info(f"Attempt {decision.attempt}: {decision.reason}.")


def tell_fitted(step: Step, fitted: Sequence[tuple[Delivery, Fitted]]) -> None:
    """What would run, by place: steps, machines, prompts."""
    for delivery, one in fitted:
        skips = one.settings.get("SkipActions") or ()
        steps = [
            f"{action.get('ActionNumber')} {action['ActionName']}"
            + (" (skipped)" if action["ActionId"] in skips else "")
            for action in one.preview.get("StepsToExecute") or ()
        ]
        chosen = one.settings.get("SpecificMachineIds") or machines_of(one.preview)
        excluded = one.settings.get("ExcludedMachineIds") or ()
        machines = [
            name
            for identifier, name in machines_of(one.preview).items()
            if identifier in chosen and identifier not in excluded
        ]
        step.log.info(f"{delivery.place}: steps: {', '.join(steps) or 'none'}")
        step.log.info(f"{delivery.place}: machines: {', '.join(machines) or 'none'}")
        step.log.info(f"{delivery.place}: prompted variables: {', '.join(prompts_of(one)) or 'none'}")


def open_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """The keys of the children that this step makes or awaits: the watchdog must not lose them."""
    return [one.errand.intention.key for one in deliveries if one.errand is not None and not one.is_settled]


def describe(delivery: Delivery, what_if: bool) -> dict[str, Any]:
    """One child of the step, for the result and the output."""
    place, deployment = delivery.place, delivery.deployment
    frozen = {"version": delivery.release["Version"], "release": delivery.release["Id"]}
    made = {"deployment": deployment.id if deployment else ""}
    if place.runbook is not None:
        frozen, made = {"snapshot": frozen["version"]}, {"run": made["deployment"]}
    return {
        "environment": place.environment["Name"],
        "tenant": place.tenant["Name"] if place.tenant else "",
        **frozen,
        **delivery.about,
        "state": "WhatIf" if what_if else delivery.state,
        **made,
        "task": deployment.task.id if deployment else "",
        "link": deployment.link if deployment else "",
        "changed": delivery.changed,
        "skipped": delivery.skipped,
        "failure": str(delivery.failure) if delivery.failure else "",
    }


def children_as_text(children: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(children, ensure_ascii=False)


def joined(children: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(child[name] for child in children if child.get(name)))


def state_of(deliveries: Sequence[Delivery]) -> str:
    """Of several: that of the first that failed, else Success, or what all of them are."""
    states = [delivery.state for delivery in deliveries]
    for delivery in deliveries:
        if delivery.failure is not None:
            return delivery.state
    for state in states:
        if state not in ("Success", "Skipped"):
            return state
    return "Success" if "Success" in states else states[0]
