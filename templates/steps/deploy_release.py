"""Deploys a release of another project exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError
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
from generator.runtime.deployments import find_current, read_release_of
from generator.runtime.destinations import (
    find_destinations,
    find_environments,
    lifecycle_of,
    parse_environments,
)
from generator.runtime.harvest import child_outputs, notes_as_text, releases_between, shortened
from generator.runtime.lookup import NotFound, Place, find_channel, find_default_channel, find_named
from generator.runtime.markers import own_task, sentence_for_people
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
from generator.runtime.tasks import utc_now
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits
from generator.runtime.watchdog import start_watchdog
from generator.runtime.wishes import Fitted, fit, read_preview, settings_of, unmet, wishes_of

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
        "outputs": Option(parse_names, ()),
        "notes": Option(parse_switch, False),
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
    tell_notes(api, step, more, project, deliveries)
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
            Fanout(api, step.log, deliveries, terms, tell=tell, lookout=Lookout(api, step)).run()
        finally:
            set_outputs(step, deliveries)
        hand_on(api, step, more, deliveries)
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


# --- what the child leaves behind ----------------------------------------------------------------------------------


def hand_on(api: Api, step: Step, more: Mapping[str, Any], deliveries: Sequence[Delivery]) -> None:
    """The child's own output variables as ours, also when it failed; of several children with the place in the name."""
    if not more["outputs"]:
        return
    count = 0
    for delivery in deliveries:
        if delivery.child is None:
            continue
        try:
            found, secret = child_outputs(api, delivery.child.deployment.document, more["outputs"])
        except ApiError as error:
            step.log.warning(f"{delivery.place}: its output variables cannot be read: {error.sentence}")
            continue
        environment, tenant = delivery.place.environment["Name"], delivery.place.tenant
        where = environment + (f"/{tenant['Name']}" if tenant else "")
        for one in found:
            name = (
                one.spelled
                if len(deliveries) == 1
                else one.spelled.replace("Deployment", f"Deployment[{where}]", 1)
            )
            step.output(name, one.value)
        count += len(found)
        if secret:
            step.log.warning(
                f"{delivery.place}: sensitive output variables cannot be handed on: {', '.join(secret)}"
            )
    if not count:
        step.log.warning(f"No output variable of the other project matches: {', '.join(more['outputs'])}")


def tell_notes(
    api: Api,
    step: Step,
    more: Mapping[str, Any],
    project: Mapping[str, Any],
    deliveries: Sequence[Delivery],
) -> None:
    """The notes of every release between what is there and what comes, as output and artifact."""
    texts: dict[tuple[str, str], str] = {}
    for delivery in deliveries if more["notes"] else ():
        if delivery.decision is None or not delivery.release["Id"]:
            continue
        current = find_current(api, delivery.place)
        old = read_release_of(api, current) if current is not None else {}
        pair = (old.get("Id") or "", delivery.release["Id"])
        if pair not in texts:
            texts[pair] = notes_as_text(releases_between(api, project, old, delivery.release))
    text = "\n\n".join(dict.fromkeys(texts.values()))
    step.output("ReleaseNotes", shortened(text))
    if text:
        step.artifact(
            f"{step.variable('Octopus.Action.Name') or project['Name']}.release-notes.md", text + "\n"
        )


# --- telling -------------------------------------------------------------------------------------------------------


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
