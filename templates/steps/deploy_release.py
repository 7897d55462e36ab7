"""Deploys a release of another project exactly once, and waits for it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, Mapping, Optional

from generator.runtime.api import Api, ApiError, ApiUnreachable
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.lookup import Place, find_channel, find_place
from generator.runtime.markers import own_task
from generator.runtime.moments import spoken
from generator.runtime.once import (
    Child,
    Decision,
    Errand,
    Intention,
    intention_key,
    own_identity,
    own_queue_time,
)
from generator.runtime.parameters import Parameters, reads
from generator.runtime.releases import choose_release, parse_release_choice
from generator.runtime.step import CANCELLED, CHILD_FAILED, TIMED_OUT, Step
from generator.runtime.tasks import Task, cancel_task
from generator.runtime.waiting import Limits, Waiter, Watch, cause_of_failure


@reads(release=parse_release_choice, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    limits = Limits(parameters.queue_limit, parameters.run_limit)
    api = connect(parameters, limits.queue + limits.run if parameters.wait else timedelta())
    place = find_place(api, parameters.project, parameters.environment, parameters.tenant)
    release = find_release(api, parameters, place)
    errand = Errand(api, step.log, intention_of(api, parameters, place, release))
    decision = errand.decide()
    tell_decision(step, place, release, decision)
    if parameters.what_if:
        step.log.highlight(
            "What-if: " + decision_in_words(place, release, decision) + ". Nothing was changed."
        )
        set_outputs(step, release, decision.deployment, state="WhatIf", skipped="what-if")
        return
    if decision.action == "skip":
        step.log.highlight(f"Skipped: {decision.reason}.")
        set_outputs(step, release, decision.deployment, state="Skipped", skipped=decision.reason)
        return
    child = errand.carry_out(decision)
    release = release_of(api, release, child)
    tell_child(step, place, release, child)
    if not parameters.wait:
        step.log.highlight(
            f"{place}: {release['Version']} is {child.deployment.task.state}, and is not waited for."
        )
        set_outputs(step, release, child.deployment, changed=child.is_ours)
        return
    watch_child(step, parameters, errand, child, release, limits)


def find_release(api: Api, parameters: Parameters, place: Place) -> Mapping[str, Any]:
    step: Step = parameters.step
    channel = find_channel(api, place.project, parameters.channel) if parameters.channel else None
    own_number = step.variable("Octopus.Release.Number")
    release = choose_release(api, place.project, parameters.release, channel, own_number)
    step.log.info(f"Release: {release['Version']} of {place.project['Name']} ({parameters.release})")
    return release


def intention_of(api: Api, parameters: Parameters, place: Place, release: Mapping[str, Any]) -> Intention:
    step: Step = parameters.step
    where = [place.project["Id"], place.environment["Id"], place.tenant_id or ""]
    return Intention(
        place=place,
        release=release,
        condition=parameters.when,
        deploys_again=parameters.on_retry == "deploy_again",
        key=intention_key(own_identity(step) + where),
        since=own_queue_time(api, step),
        sentence=sentence_for_people(step),
        own_task=own_task(step),
        is_awaited=parameters.wait,
    )


def sentence_for_people(step: Step) -> str:
    """Who asked for the deployment, for those who look at the child."""
    project = step.variable("Octopus.Project.Name") or "a script outside Octopus"
    what = step.variable("Octopus.Release.Number") or step.variable("Octopus.Runbook.Name")
    name = step.variable("Octopus.Action.Name")
    link = step.variable("Octopus.Web.DeploymentLink") or step.variable("Octopus.Web.RunbookRunLink")
    if link.startswith("/"):
        link = step.variable("Octopus.Web.ServerUri").rstrip("/") + link
    asker = " ".join(part for part in (project, what) if part)
    return " ".join(part for part in ("Triggered by", asker, f"(step {name})" if name else "", link) if part)


def decision_in_words(place: Place, release: Mapping[str, Any], decision: Decision) -> str:
    number = release["Version"]
    return {
        "create": f"{number} is to be deployed: {place}",
        "adopt": f"{place}: {decision.reason}",
        "join": f"{place}: {decision.reason}, and is joined",
        "skip": f"nothing is to be deployed: {decision.reason}",
    }[decision.action]


def tell_decision(step: Step, place: Place, release: Mapping[str, Any], decision: Decision) -> None:
    step.log.info(decision_in_words(place, release, decision) + ".")
    if decision.action == "create" and decision.reason:
        step.log.info(f"Attempt {decision.attempt}: {decision.reason}.")


def release_of(api: Api, release: Mapping[str, Any], child: Child) -> Mapping[str, Any]:
    """An adopted or joined deployment may carry another release than the one that was chosen now."""
    if child.deployment.release_id == release["Id"]:
        return release
    found: Mapping[str, Any] = api.get(f"releases/{child.deployment.release_id}")
    return found


def tell_child(step: Step, place: Place, release: Mapping[str, Any], child: Child) -> None:
    deployment = child.deployment
    step.log.info(f"{place}: {release['Version']}: {deployment.link or deployment.id}")
    step.log.verbose(f"Deployment {deployment.id}, task {deployment.task.id}")


def watch_child(
    step: Step,
    parameters: Parameters,
    errand: Errand,
    child: Child,
    release: Mapping[str, Any],
    limits: Limits,
) -> None:
    """Waits until the deployment that counts has ended, and reports it."""
    api, place = errand.api, errand.place
    while True:
        label = f"{release['Version']} of {place}"
        watch = Watch(label, child.deployment.task.id, child.deployment.link)
        # Set before the wait: a later step may want to know them even when this one is cut off.
        set_outputs(step, release, child.deployment, changed=child.is_ours)
        waiter = Waiter(api, step.log, [watch], limits, usual=usual_run_time(api, errand))
        waiter.aside = partial(errand.look_for_late, child)
        late = waiter.wait()
        task = give_up(step, parameters, api, watch, child, release) if late else watch.task
        assert task is not None
        try:
            after = errand.recheck(child, task)
        except (ApiError, ApiUnreachable) as error:
            step.fail(error.kind, f"{error.sentence}; before that, {watch} had ended as {task.state}")
        if after.deployment.id == child.deployment.id:
            break
        child = after
        release = release_of(api, release, child)
        tell_child(step, place, release, child)
    report(step, watch, after, release)


def usual_run_time(api: Api, errand: Errand) -> Optional[timedelta]:
    """How long the last successful deployment there ran: when the end may be expected."""
    for item in api.get("tasks", take=1, states="Success", **errand.place.task_query()).get("Items") or ():
        return Task(item).run_time
    return None


def give_up(
    step: Step, parameters: Parameters, api: Api, watch: Watch, child: Child, release: Mapping[str, Any]
) -> Task:
    """A limit has come. Fails the step, unless the task succeeded while it was being cancelled: then that task."""
    task = watch.task
    assert task is not None, "a limit comes only after a look at the task"
    if task.is_waiting_in_queue:
        words = f"{watch} has stood in the queue for {spoken(parameters.queue_limit)}"
    else:
        words = f"{watch} has run for {spoken(parameters.run_limit)}"
    cancels = parameters.on_timeout == "cancel" and child.is_ours
    if cancels:
        try:
            task = cancel_task(api, watch.task_id)
        except ApiError as error:
            step.fail(TIMED_OUT, f"{words}; it could not be cancelled: {error.sentence}")
    set_outputs(step, release, child.deployment._replace(task=task), changed=child.is_ours)
    if not cancels:
        reason = "as the step is told" if child.is_ours else "for somebody else started it"
        step.fail(TIMED_OUT, f"{words}; it goes on, {reason}")
    if task.is_alive:
        step.fail(TIMED_OUT, f"{words}; cancelling it has not ended yet, it is {task.state}")
    if task.state != "Success":
        step.fail(TIMED_OUT, f"{words}; it was cancelled")
    return task


def report(step: Step, watch: Watch, child: Child, release: Mapping[str, Any]) -> None:
    deployment = child.deployment
    state = deployment.task.state
    set_outputs(step, release, deployment, changed=child.is_ours)
    if state == "Success":
        step.log.highlight(f"{watch}: {watch.state_in_words()}")
        return
    cause = cause_of_failure(watch)
    kind = CANCELLED if state == "Canceled" else CHILD_FAILED
    step.fail(kind, f"{watch}: {state}" + (f": {cause}" if cause else ""))


def set_outputs(
    step: Step,
    release: Mapping[str, Any],
    deployment: Any,
    *,
    state: str = "",
    changed: bool = False,
    skipped: str = "",
) -> None:
    step.output("State", state or deployment.task.state)
    step.output("Version", release["Version"])
    step.output("ReleaseId", release["Id"])
    step.output("DeploymentId", deployment.id if deployment else "")
    step.output("TaskId", deployment.task.id if deployment else "")
    step.output("Link", deployment.link if deployment else "")
    step.output("Changed", str(changed))
    step.output("Skipped", skipped)
