"""Deploys a release of another project exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api
from generator.runtime.choosing import Chooser, Chosen, parse_deploy_choice, parse_prerelease_filter
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.creation import Recipe, create_release, find_made, find_numbered, plan_release
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
from generator.runtime.destinations import (
    find_destinations,
    find_environments,
    lifecycle_of,
    parse_environments,
)
from generator.runtime.lookup import NotFound, Place, find_channel, find_default_channel, find_named
from generator.runtime.markers import own_task
from generator.runtime.moments import parse_duration, parse_start
from generator.runtime.obstacles import LIFECYCLE, Obstacles, update_snapshot, variables_have_changed
from generator.runtime.once import (
    CLOCK_MARGIN,
    Errand,
    Intention,
    intention_key,
    own_identity,
    own_queue_time,
)
from generator.runtime.options import Option, one_of, parse_count, parse_names, parse_options, parse_switch
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import MISCONFIGURED, REFUSED, Step
from generator.runtime.tasks import utc_now
from generator.runtime.waiting import Limits
from generator.runtime.watchdog import start_watchdog
from generator.runtime.wishes import (
    INHERIT,
    Fitted,
    Wishes,
    fit,
    inherited,
    machines_of,
    prompts_of,
    read_preview,
    unmet,
)

NO_RELEASE: Mapping[str, Any] = {"Id": "", "Version": ""}


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    table = {
        "at_once": Option(parse_count),
        "if_one_fails": Option(one_of(GO_ON, STOP, CANCEL), GO_ON),
        "not_connected": Option(one_of("skip", "fail"), "skip"),
        "not_found": Option(one_of("skip", "fail"), "fail"),
        "pre_release": Option(parse_prerelease_filter),
        "packages": Option(parse_names, ()),
        "package_version": Option(str, ""),
        "git_ref": Option(str, ""),
        "git_commit": Option(str, ""),
        "release_notes": Option(str, ""),
        "warnings": Option(one_of("pass", "fail"), "pass"),
        "machines": Option(parse_names, ()),
        "exclude_machines": Option(parse_names, ()),
        "guided_failure": Option(one_of("on", "off", "default"), "default"),
        "force_package_download": Option(parse_switch, False),
        "priority": Option(one_of("on", "off", "default"), "default"),
        "refresh_variables": Option(parse_switch, False),
        "expire": Option(parse_duration),
        "watchdog": Option(parse_switch, True),
    }
    return parse_options(table, pairs)


@reads(
    release=parse_deploy_choice,
    environment=parse_environments,
    start=parse_start,
    more=parse_more,
    **CONNECTION_GRAMMARS,
)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    more = parameters.more or parse_more({})
    limits = Limits(parameters.queue_limit, parameters.run_limit)
    api = connect(parameters, limits.queue + limits.run if parameters.wait else timedelta())
    project = find_named(api, "projects", "project", parameters.project)
    channel = find_channel(api, project, parameters.channel) if parameters.channel else None
    is_guarded = parameters.wait and more["watchdog"] and not parameters.what_if
    watchdog = start_watchdog(parameters, api, limits.queue + limits.run, wanted=is_guarded)
    deliveries = plan_deliveries(api, parameters, more, project, channel)
    decide_all(api, deliveries)
    for delivery in deliveries:
        tell_decision(step, delivery)
    fitted = check_before_queueing(api, parameters, more, deliveries)
    if parameters.what_if:
        tell_fitted(step, fitted)
        tell_what_if(step, deliveries)
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
            Fanout(api, step.log, deliveries, terms, tell=tell).run()
        finally:
            set_outputs(step, deliveries)
    failure = failure_of(deliveries)
    if failure is not None:
        step.fail(failure.kind, failure.sentence)


# --- what is to be done where --------------------------------------------------------------------------------------


def plan_deliveries(
    api: Api,
    parameters: Parameters,
    more: Mapping[str, Any],
    project: Mapping[str, Any],
    channel: Optional[Mapping[str, Any]],
) -> list[Delivery]:
    """One delivery for each place that is meant, those that cannot be reached among them as skipped."""
    step: Step = parameters.step
    environments = find_environments(
        api,
        parameters.environment,
        step.variable("Octopus.Environment.Name"),
        lifecycle_of(project, channel),
    )
    own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
    found = find_destinations(api, project, environments, parameters.tenant, own_tenant)
    if found.left_out and more["not_connected"] == "fail":
        step.fail(MISCONFIGURED, "; ".join(one.reason for one in found.left_out))
    if parameters.tenant and found.places and found.places[0].tenant is None:
        step.log.info(
            f"{project['Name']} is not deployed for tenants, and so not for {own_tenant} in particular."
        )
    chooser = Chooser(
        api,
        project,
        parameters.release,
        channel,
        step.variable("Octopus.Release.Number"),
        more["pre_release"],
        lambda: create_by_form(api, parameters, more, project, channel),
    )
    make = ErrandMaker(api, parameters, more)
    deliveries = [
        Delivery(place, NO_RELEASE, None, skipped=f"{place}: {reason}") for place, reason in found.left_out
    ]
    told: set[str] = set()
    for place in found.places:
        try:
            release, how = chooser.choose(place)
        except NotFound as missing:
            if more["not_found"] == "fail":
                raise
            deliveries.append(Delivery(place, NO_RELEASE, None, skipped=f"{place}: {missing.sentence}"))
            continue
        words = f"Release: {release['Version']} of {project['Name']} ({how})"
        if words not in told:
            told.add(words)
            step.log.info(words)
        deliveries.append(Delivery(place, release, make.errand(place, release)))
    return deliveries


def create_by_form(
    api: Api,
    parameters: Parameters,
    more: Mapping[str, Any],
    project: Mapping[str, Any],
    channel: Optional[Mapping[str, Any]],
) -> Chosen:
    """The release that is to be created; only planned under what-if."""
    step: Step = parameters.step
    number = parameters.release.number
    if number.lower() == "same":
        number = step.variable("Octopus.Release.Number")
        if not number:
            raise NotFound(
                "'create same' means the release of the running deployment, and a runbook has none"
            )
    channel = channel or find_default_channel(api, project)
    since = own_queue_time(api, step)
    recipe = Recipe(
        number=number,
        packages=more["packages"],
        package_version=more["package_version"],
        git_ref=more["git_ref"],
        git_commit=more["git_commit"],
        notes="\n\n".join(part for part in (more["release_notes"], sentence_for_people(step)) if part),
        key=intention_key([*own_identity(step), project["Id"], channel["Id"], "release"]),
        since=since - CLOCK_MARGIN if since else None,
    )
    if not parameters.what_if:
        return Chosen(*create_release(api, project, channel, recipe))
    planned = plan_release(api, project, channel, recipe)
    found = find_made(api, project, recipe) or find_numbered(api, project, planned.body["Version"])
    if found is not None:
        return Chosen(found, "it exists already")
    return Chosen({"Id": "", **planned.body}, f"to be created: {planned.words}")


def check_before_queueing(
    api: Api, parameters: Parameters, more: Mapping[str, Any], deliveries: Sequence[Delivery]
) -> list[tuple[Delivery, Fitted]]:
    """Fails with everything that the server would refuse, or that means nothing there, before anything is queued.

    Otherwise the deployments that are to be created have all their fields.
    """
    step: Step = parameters.step
    obstacles = Obstacles(api, parameters.start or utc_now(api))
    reasons: list[str] = []
    fitted: list[tuple[Delivery, Fitted]] = []
    wishes = wishes_of(parameters, more)
    first = deliveries[0].place.environment["Id"]
    to_create = [
        one
        for one in deliveries
        if one.decision is not None and one.decision.action == "create" and one.release["Id"]
    ]
    if more["refresh_variables"] and to_create:
        refresh_variables(api, step, obstacles, to_create, parameters.what_if)
    for delivery in to_create:
        for kind, reason in obstacles.find(delivery.place, delivery.release):
            later = kind == LIFECYCLE and more["at_once"] and delivery.place.environment["Id"] != first
            if later:
                step.log.verbose(f"{reason}; perhaps it will when its turn has come.")
            elif reason not in reasons:
                reasons.append(reason)
        preview = read_preview(api, delivery.release, delivery.place)
        fitted.append((delivery, fit(delivery.place, wishes, preview)))
    misfits = unmet(wishes, [one for _, one in fitted]) if fitted else []
    misfits += [fault for _, one in fitted for fault in one.faults]
    if reasons or misfits:
        step.fail(REFUSED if reasons else MISCONFIGURED, "; ".join([*reasons, *misfits]))
    for delivery, one in fitted:
        if one.skipped:
            delivery.skip(one.skipped)
            step.log.highlight(f"Skipped: {one.skipped}.")
        elif delivery.errand is not None:
            intention = delivery.errand.intention
            delivery.errand.intention = intention._replace(settings={**intention.settings, **one.settings})
    return fitted


def wishes_of(parameters: Parameters, more: Mapping[str, Any]) -> Wishes:
    machines, excluded = more["machines"], more["exclude_machines"]
    inherits = [name.lower() for name in machines] == [INHERIT]
    if inherits:
        machines, own_excluded = inherited(parameters.step)
        excluded = (*excluded, *own_excluded)
    return Wishes(parameters.variables or {}, parameters.skip_steps or (), machines, excluded, inherits)


def refresh_variables(
    api: Api, step: Step, obstacles: Obstacles, deliveries: Sequence[Delivery], what_if: bool
) -> None:
    """Brings the releases' variables up to date, where something has changed at all."""
    for release in {one.release["Id"]: one.release for one in deliveries}.values():
        number = release["Version"]
        if not variables_have_changed(obstacles.template(release)):
            step.log.info(f"The variables of {number} are up to date.")
            continue
        words = f"the variables of {number} have changed since it was made"
        if what_if:
            step.log.info(f"{words}, and would be brought up to date.")
            continue
        step.log.highlight(
            f"{words[0].upper()}{words[1:]}: they are brought up to date, which changes the release for every later "
            "deployment of it."
        )
        update_snapshot(api, release)
        obstacles.forget(release)


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


class ErrandMaker:
    """Makes the errand for one place after the other; what they have in common is looked up once."""

    def __init__(self, api: Api, parameters: Parameters, more: Mapping[str, Any]) -> None:
        self.settings = settings_of(parameters, more)
        self.api = api
        self.parameters = parameters
        self.step: Step = parameters.step
        self.identity = own_identity(self.step)
        self.since = own_queue_time(api, self.step)

    def errand(self, place: Place, release: Mapping[str, Any]) -> Errand:
        parameters = self.parameters
        where = [place.project["Id"], place.environment["Id"], place.tenant_id or ""]
        intention = Intention(
            place=place,
            release=release,
            condition=parameters.when,
            deploys_again=parameters.on_retry == "deploy_again",
            key=intention_key(self.identity + where),
            since=self.since,
            sentence=sentence_for_people(self.step),
            own_task=own_task(self.step),
            is_awaited=parameters.wait,
            settings=self.settings,
        )
        return Errand(self.api, self.step.log, intention)


def settings_of(parameters: Parameters, more: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the deployment that are the same in every place."""
    settings: dict[str, Any] = {}
    if more["guided_failure"] != "default":
        settings["UseGuidedFailure"] = more["guided_failure"] == "on"
    if more["force_package_download"]:
        settings["ForcePackageDownload"] = True
    if more["priority"] != "default":
        settings["Priority"] = {"on": "On", "off": "Off"}[more["priority"]]
    if parameters.start is not None:
        settings["QueueTime"] = parameters.start.isoformat()
    if more["expire"] is not None:
        start = parameters.start or datetime.now(timezone.utc)
        settings["QueueTimeExpiry"] = (start + more["expire"]).isoformat()
    return settings


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


def open_keys(deliveries: Sequence[Delivery]) -> list[str]:
    """The keys of the children that this step makes or awaits: the watchdog must not lose them."""
    return [one.errand.intention.key for one in deliveries if one.errand is not None and not one.is_settled]


# --- telling -------------------------------------------------------------------------------------------------------


def decision_in_words(delivery: Delivery) -> str:
    decision, number, place = delivery.decision, delivery.release["Version"], delivery.place
    if decision is None:
        return f"nothing is to be deployed: {delivery.skipped}"
    return {
        "create": f"{number} is to be deployed: {place}",
        "adopt": f"{place}: {decision.reason}",
        "join": f"{place}: {decision.reason}, and is joined",
        "skip": f"nothing is to be deployed: {decision.reason}",
    }[decision.action]


def tell_decision(step: Step, delivery: Delivery) -> None:
    decision = delivery.decision
    if decision is None:
        step.log.highlight(f"Skipped: {delivery.skipped}.")
        return
    step.log.info(decision_in_words(delivery) + ".")
    if decision.action == "create" and decision.reason:
        step.log.info(f"Attempt {decision.attempt}: {decision.reason}.")


def tell_what_if(step: Step, deliveries: Sequence[Delivery]) -> None:
    words = "; ".join(decision_in_words(delivery) for delivery in deliveries)
    step.log.highlight(f"What-if: {words}. Nothing was changed.")
    set_outputs(step, deliveries, what_if=True)


def set_outputs(step: Step, deliveries: Sequence[Delivery], *, what_if: bool = False) -> None:
    """Of several places the ids and links are parted by commas; `Children` has everything by place."""
    children = [describe(delivery, what_if) for delivery in deliveries]
    step.result["children"] = children
    reasons = ["what-if"] if what_if else [child["skipped"] for child in children if child["skipped"]]
    step.output("State", "WhatIf" if what_if else state_of(deliveries))
    step.output(
        "Version", ", ".join(dict.fromkeys(child["version"] for child in children if child["version"]))
    )
    step.output(
        "ReleaseId", ", ".join(dict.fromkeys(child["release"] for child in children if child["release"]))
    )
    step.output("DeploymentId", joined(children, "deployment"))
    step.output("TaskId", joined(children, "task"))
    step.output("Link", joined(children, "link"))
    step.output("Changed", str(any(child["changed"] for child in children)))
    step.output("Skipped", "; ".join(dict.fromkeys(reasons)))
    step.output("Children", children_as_text(children))


def children_as_text(children: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(children, ensure_ascii=False)


def joined(children: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(child[name] for child in children if child[name])


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


def describe(delivery: Delivery, what_if: bool) -> dict[str, Any]:
    """One child of the step, for the result and the output."""
    place, deployment = delivery.place, delivery.deployment
    return {
        "environment": place.environment["Name"],
        "tenant": place.tenant["Name"] if place.tenant else "",
        "version": delivery.release["Version"],
        "release": delivery.release["Id"],
        "state": "WhatIf" if what_if else delivery.state,
        "deployment": deployment.id if deployment else "",
        "task": deployment.task.id if deployment else "",
        "link": deployment.link if deployment else "",
        "changed": delivery.changed,
        "skipped": delivery.skipped,
        "failure": str(delivery.failure) if delivery.failure else "",
    }
