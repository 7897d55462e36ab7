"""Deploys a release of another project exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from generator.runtime.api import ApiError
from generator.runtime.choosing import Chooser, Chosen, parse_deploy_choice, parse_prerelease_filter
from generator.runtime.connection import CONNECTION_GRAMMARS
from generator.runtime.creation import Recipe, create_release, find_made, find_numbered, plan_release
from generator.runtime.deployments import find_current, read_release_of
from generator.runtime.destinations import lifecycle_of, parse_environments
from generator.runtime.harvest import child_outputs, notes_as_text, releases_between, shortened
from generator.runtime.lookup import NotFound, find_channel, find_default_channel, find_named
from generator.runtime.markers import sentence_for_people
from generator.runtime.moments import parse_start
from generator.runtime.obstacles import Obstacles, update_snapshot, variables_have_changed
from generator.runtime.once import ALWAYS, CLOCK_MARGIN, intention_key
from generator.runtime.options import Option, one_of, parse_names, parse_options, parse_switch
from generator.runtime.orders import Order, find_obstacles, order_options
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import MISCONFIGURED
from generator.runtime.tasks import utc_now

OUTPUTS = {
    "Version": "version",
    "ReleaseId": "release",
    "DeploymentId": "deployment",
    "TaskId": "task",
    "Link": "link",
}


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    table = {
        **order_options(),
        "not_found": Option(one_of("skip", "fail"), "fail"),
        "pre_release": Option(parse_prerelease_filter),
        "packages": Option(parse_names, ()),
        "package_version": Option(str, ""),
        "git_ref": Option(str, ""),
        "git_commit": Option(str, ""),
        "release_notes": Option(str, ""),
        "refresh_variables": Option(parse_switch, False),
        "outputs": Option(parse_names, ()),
        "notes": Option(parse_switch, False),
        "compare": Option(one_of("all", "channel"), "all"),
        "override_freezes": Option(str, ""),
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
    more = parameters.more or parse_more({})
    order = Order(parameters, more, OUTPUTS)
    if more["compare"] == "channel" and parameters.when == ALWAYS:
        order.step.fail(MISCONFIGURED, "compare = channel says nothing where it is always deployed: see When")
    project = find_named(order.api, "projects", "project", parameters.project)
    channel = find_channel(order.api, project, parameters.channel) if parameters.channel else None
    order.guard(project)
    plan_deliveries(order, project, channel)
    order.decide()
    tell_notes(order)
    obstacles = Obstacles(order.api, parameters.start or utc_now(order.api))
    if more["refresh_variables"]:
        refresh_variables(order, obstacles)
    order.check(find_obstacles(order, obstacles))
    order.carry_out()
    hand_on(order)
    order.fail_if_any_did()


# --- what is to be done where --------------------------------------------------------------------------------------


def plan_deliveries(order: Order, project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> None:
    """One delivery for each place that is meant, those that cannot be reached among them as skipped."""
    parameters, step = order.parameters, order.step
    places = order.find_places(project, lifecycle_of(project, channel))
    chooser = Chooser(
        order.api,
        project,
        parameters.release,
        channel,
        step.variable("Octopus.Release.Number"),
        order.more["pre_release"],
        lambda: create_by_form(order, project, channel),
    )
    told: set[str] = set()
    for place in places:
        try:
            release, how = chooser.choose(place)
        except NotFound as missing:
            if order.more["not_found"] == "fail":
                raise
            order.skip(place, missing.sentence)
            continue
        words = f"Release: {release['Version']} of {project['Name']} ({how})"
        if words not in told:
            told.add(words)
            step.log.info(words)
        channel_id = release.get("ChannelId") if order.more["compare"] == "channel" else None
        order.add(place, release, condition=parameters.when, channel_id=channel_id)


def create_by_form(order: Order, project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> Chosen:
    """The release that is to be created; only planned under what-if."""
    api, parameters, more, step = order.api, order.parameters, order.more, order.step
    number = parameters.release.number
    if number.lower() == "same":
        number = step.variable("Octopus.Release.Number")
        if not number:
            raise NotFound(
                "'create same' means the release of the running deployment, and a runbook has none"
            )
    channel = channel or find_default_channel(api, project)
    recipe = Recipe(
        number=number,
        packages=more["packages"],
        package_version=more["package_version"],
        git_ref=more["git_ref"],
        git_commit=more["git_commit"],
        notes="\n\n".join(part for part in (more["release_notes"], sentence_for_people(step)) if part),
        key=intention_key([*order.identity, project["Id"], channel["Id"], "release"]),
        since=order.since - CLOCK_MARGIN if order.since else None,
    )
    if not parameters.what_if:
        return Chosen(*create_release(api, project, channel, recipe))
    planned = plan_release(api, project, channel, recipe)
    found = find_made(api, project, recipe) or find_numbered(api, project, planned.body["Version"])
    if found is not None:
        return Chosen(found, "it exists already")
    return Chosen({"Id": "", **planned.body}, f"to be created: {planned.words}")


def refresh_variables(order: Order, obstacles: Obstacles) -> None:
    """Brings the releases' variables up to date, where something has changed at all."""
    for release in {one.release["Id"]: one.release for one in order.to_create()}.values():
        number = release["Version"]
        if not variables_have_changed(obstacles.template(release)):
            order.step.log.info(f"The variables of {number} are up to date.")
            continue
        words = f"the variables of {number} have changed since it was made"
        if order.parameters.what_if:
            order.step.log.info(f"{words}, and would be brought up to date.")
            continue
        order.step.log.highlight(
            f"{words[0].upper()}{words[1:]}: they are brought up to date, which changes the release for every later "
            "deployment of it."
        )
        update_snapshot(order.api, release)
        obstacles.forget(release)


# --- what the child leaves behind ----------------------------------------------------------------------------------


def hand_on(order: Order) -> None:
    """The child's own output variables as ours, also when it failed; of several children with the place in the name."""
    patterns, log = order.more["outputs"], order.step.log
    if not patterns or order.parameters.what_if:
        return
    count = 0
    for delivery in order.deliveries:
        if delivery.child is None:
            continue
        try:
            found, secret = child_outputs(order.api, delivery.child.deployment.document, patterns)
        except ApiError as error:
            log.warning(f"{delivery.place}: its output variables cannot be read: {error.sentence}")
            continue
        environment, tenant = delivery.place.environment["Name"], delivery.place.tenant
        where = environment + (f"/{tenant['Name']}" if tenant else "")
        of_one = len(order.deliveries) == 1
        for one in found:
            spelled = one.spelled
            if not of_one:
                spelled = spelled.replace("Deployment", f"Deployment[{where}]", 1)
            order.step.output(spelled, one.value)
        count += len(found)
        if secret:
            log.warning(
                f"{delivery.place}: sensitive output variables cannot be handed on: {', '.join(secret)}"
            )
    if not count:
        log.warning(f"No output variable of the other project matches: {', '.join(patterns)}")


def tell_notes(order: Order) -> None:
    """The notes of every release between what is there and what comes, as output and artifact."""
    api, step, project = order.api, order.step, order.project
    texts: dict[tuple[str, str], str] = {}
    for delivery in order.deliveries if order.more["notes"] else ():
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
