"""Deleting step templates: the only deletion there is, asked for by name, of ours only, and never of one that is in use.

Facts about Octopus: `DELETE actiontemplates/{id}` removes all versions, and with them the names that they kept reserved; it is
refused while a process uses the template (OctopusDeploy/Issues 9185). `usage` lists the processes, of version-controlled projects
only those of the last twenty releases (docs, Custom step templates).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from generator.errors import Refusal
from generator.library import KIND, FoundTemplate, found_state, parse_found, pull_hint
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document
from generator.plan import Change
from generator.source import closest_or_all
from generator.step_template import digest

WRITE_ATTEMPTS = 5
MOST_NAMED = 10
BLIND_SPOT = (
    "of version-controlled projects the API searches only the processes of the last twenty releases: a branch that was never "
    "released may still have a step that is made from it"
)


def find_named(names: Sequence[str], found: Sequence[FoundTemplate], where: str) -> tuple[FoundTemplate, ...]:
    """The templates of these names, ignoring case as Octopus does. Errors: Refusal with the first that is not there."""
    by_name = {template.name.casefold(): template for template in found}
    for name in names:
        if name.casefold() not in by_name:
            hint = closest_or_all(name, [template.name for template in found]) if found else "it has none"
            raise Refusal(f"{where} has no step template {name!r}: {hint}")
    return tuple(by_name[name.casefold()] for name in dict.fromkeys(names))


def read_usages(client: Client, template: FoundTemplate) -> tuple[str, ...]:
    """The steps that are made from a template, as people find them."""
    return tuple(dict.fromkeys(map(name_usage, client.pages(f"actiontemplates/{template.id}/usage"))))


def name_usage(usage: Document) -> str:
    """`step 'Wait' of Shop's runbook 'Clean up' (branch main)`"""
    place = f"runbook {usage['RunbookName']!r}" if usage.get("RunbookName") else "deployment process"
    branch = f" (branch {usage['Branch']})" if usage.get("Branch") else ""
    step = usage.get("StepName") or usage.get("ActionName")
    return f"step {step!r} in the {place} of {usage.get('ProjectName')!r}{branch}"


def plan(
    found: Sequence[FoundTemplate], usages: Mapping[str, Sequence[str]], *, force: bool = False
) -> tuple[Change, ...]:
    """What deleting the found templates comes to; `usages` by id."""
    return tuple(judge(template, usages[template.id], force=force) for template in found)


def judge(template: FoundTemplate, usages: Sequence[str], *, force: bool) -> Change:
    """Delete it, or a conflict that says why not."""
    if template.is_community:
        return refuse(template, "it comes from the community library: uninstall it in the portal")
    if template.marker is None:
        return refuse(
            template, f"octosteps has not published it (version {template.version}{template.edited})"
        )
    if usages:
        more = f" and {len(usages) - MOST_NAMED} more" if len(usages) > MOST_NAMED else ""
        return refuse(template, f"it is used by {', '.join(usages[:MOST_NAMED])}{more}")
    if not template.is_intact and not force:
        hint = pull_hint(template.content).replace("brings it into the spec", "keeps that edit")
        fault = f"it was edited on the server{template.edited} (version {template.version})"
        return refuse(template, f"{fault}{hint}; --force deletes it all the same")
    versions = "its only version" if template.version == 0 else f"all {template.version + 1} versions"
    return Change(
        action="remove",
        kind=KIND,
        name=template.name,
        unit=template.name,
        reason=f"{versions} for ever; nothing uses it that the API can see",
        before=found_state(template),
    )


def refuse(template: FoundTemplate, reason: str) -> Change:
    return Change(
        action="conflict",
        kind=KIND,
        name=template.name,
        unit=template.name,
        reason=reason,
        before=found_state(template),
    )


def warn(changes: Sequence[Change], specs: Collection[str]) -> Iterator[str]:
    """What a person should know before saying yes."""
    doomed = [change.name for change in changes if change.action == "remove"]
    if doomed:
        yield BLIND_SPOT
    for name in doomed:
        if name in specs:
            yield f"{name!r} has a spec: the next `octosteps apply` publishes it again, as version 0"


def remove(client: Client, change: Change) -> None:
    """Delete one template that is still as it was planned and still unused. A lost answer is decided by looking."""
    path = f"actiontemplates/{change.before['id']}"
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        try:
            there = parse_found(client.get(path))
        except ApiError as error:
            if error.status == 404 and attempt > 1:
                return
            raise
        if there.version != change.before["version"] or digest(there.content) != change.before["digest"]:
            how = f"it is at version {there.version}{there.edited}"
            raise Refusal(f"the server has moved since the plan: {change.name!r}: {how}; plan again")
        usages = read_usages(client, there)
        if usages:
            raise Refusal(f"the server has moved since the plan: {change.name!r} is used by {usages[0]} now")
        try:
            client.delete(path)
            return
        except OctopusError as error:
            if not error.maybe_done or attempt == WRITE_ATTEMPTS:
                raise
        client.pause_before_rewrite(attempt)
