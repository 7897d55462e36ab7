"""Where to deploy: from what a person wrote about environments and tenants to places, and why others are left out."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api
from generator.runtime.lookup import NotFound, Place, absence, find_named, hint_among
from generator.runtime.record import Record
from generator.runtime.step import MISCONFIGURED, StepFailure

PHASE = "phase:"
ARROW = "->"
EVERY = "*"


class EnvironmentRule(Record):
    """One line: `target` is an environment, or with `is_phase` a phase; `source` restricts it to one environment of our own."""

    target: str
    is_phase: bool
    source: str = ""


def parse_environments(lines: Sequence[str]) -> tuple[EnvironmentRule, ...]:
    """`Name`, `phase: Name`, or as a map from the own environment `UAT -> Staging`. ValueError for a broken or mixed form."""
    rules = []
    for line in lines:
        source, arrow, target = line.rpartition(ARROW)
        source, target = source.strip(), target.strip()
        is_phase = target.lower().startswith(PHASE)
        name = target[len(PHASE) :].strip() if is_phase else target
        if not name or (arrow and not source):
            raise ValueError(f"the line {line!r} is none of: Name, phase: Name, Own environment -> Name")
        rules.append(EnvironmentRule(name, is_phase, source))
    if len({bool(rule.source) for rule in rules}) > 1:
        raise ValueError("either all lines are a map with ->, or none is")
    return tuple(rules)


class LeftOut(Record):
    """A place to which nothing can be deployed, and why."""

    place: Place
    reason: str


class Destinations(Record):
    places: Sequence[Place]
    left_out: Sequence[LeftOut]


def find_environments(
    api: Api,
    rules: Sequence[EnvironmentRule],
    own_environment: str,
    lifecycle_id: str,
) -> list[Mapping[str, Any]]:
    """The environments that `rules` mean, each once, in their order. Raises NotFound; a selection is never empty."""
    if rules[0].source:
        wanted = [rule for rule in rules if rule.source.lower() == own_environment.lower()]
        if not wanted:
            sources = ", ".join(dict.fromkeys(rule.source for rule in rules))
            own = own_environment or "none, for this is not a deployment"
            raise NotFound(f"the own environment ({own}) is on the left of no line: {sources}")
        rules = wanted
    found: dict[str, Mapping[str, Any]] = {}
    for rule in rules:
        if rule.is_phase:
            for environment in environments_of_phase(api, lifecycle_id, rule.target):
                found.setdefault(environment["Id"], environment)
        else:
            environment = find_named(api, "environments", "environment", rule.target)
            found.setdefault(environment["Id"], environment)
    return list(found.values())


class Phase(Record):
    name: str
    environments: Sequence[str]
    is_optional: bool


def phases_of(api: Api, lifecycle_id: str) -> list[Phase]:
    """The phases of a lifecycle with the ids of their environments.

    Without phases each environment is one, in its order; a phase without environments has all that no earlier one names
    (source: docs, Lifecycles).
    """
    lifecycle = api.get(f"lifecycles/{lifecycle_id}")
    documents = lifecycle.get("Phases") or []
    named: set[str] = set()
    phases = []
    everything: Optional[list[Mapping[str, Any]]] = None
    if not documents:
        everything = in_order(api)
        return [Phase(one["Name"], [one["Id"]], False) for one in everything]
    for document in documents:
        ids = [
            *(document.get("AutomaticDeploymentTargets") or ()),
            *(document.get("OptionalDeploymentTargets") or ()),
        ]
        if not ids:
            everything = in_order(api) if everything is None else everything
            ids = [one["Id"] for one in everything if one["Id"] not in named]
        named.update(ids)
        phases.append(
            Phase(document["Name"], list(dict.fromkeys(ids)), bool(document.get("IsOptionalPhase")))
        )
    return phases


def in_order(api: Api) -> list[Mapping[str, Any]]:
    return sorted(api.pages("environments"), key=lambda one: one.get("SortOrder") or 0)


def environments_of_phase(api: Api, lifecycle_id: str, name: str) -> list[Mapping[str, Any]]:
    phases = phases_of(api, lifecycle_id)
    for phase in phases:
        if phase.name.lower() == name.lower():
            found = {one["Id"]: one for one in api.by_ids("environments", phase.environments)}
            if not found:
                raise NotFound(f"the phase {phase.name} has no environment that this account can see")
            return [found[identifier] for identifier in phase.environments if identifier in found]
    raise NotFound(absence("phase of the lifecycle", name, [phase.name for phase in phases]))


def find_destinations(
    api: Api,
    project: Mapping[str, Any],
    environments: Sequence[Mapping[str, Any]],
    tenants: Optional[Sequence[str]],
    own_tenant: str,
) -> Destinations:
    """Every environment with every tenant that is meant. `tenants` are names, `Set/Tag` and `*`; None or none is untenanted.

    Raises NotFound for an unknown name, for a tag without a tenant, and when `*` means nobody.
    """
    mode = project.get("TenantedDeploymentMode") or "Untenanted"
    # The parent's tenant is the field's own default: a project without tenants has no use for it.
    if tenants and mode == "Untenanted" and [name.lower() for name in tenants] == [own_tenant.lower()]:
        tenants = None
    if not tenants:
        if mode == "Tenanted":
            raise StepFailure(
                MISCONFIGURED, f"{project['Name']} is only deployed for tenants: name one, a tag, or *"
            )
        return Destinations([Place(project, environment, None) for environment in environments], [])
    if mode == "Untenanted":
        raise StepFailure(
            MISCONFIGURED, f"{project['Name']} is not deployed for tenants, but the step names some"
        )
    chosen, takes_all = find_tenants(api, project, tenants)
    places: list[Place] = []
    left_out: list[LeftOut] = []
    for environment in environments:
        here = len(places)
        for tenant in chosen:
            place = Place(project, environment, tenant)
            reason = why_not(place)
            if not reason:
                places.append(place)
            elif not takes_all:
                left_out.append(LeftOut(place, reason))
        if takes_all and len(places) == here:
            raise NotFound(f"no tenant is connected to {project['Name']} in {environment['Name']}")
    return Destinations(places, left_out)


def find_tenants(
    api: Api, project: Mapping[str, Any], names: Sequence[str]
) -> tuple[list[Mapping[str, Any]], bool]:
    """The tenants that are meant, each once; and whether that is `*`, all that are connected to the project."""
    if EVERY in names:
        if len(names) > 1:
            raise StepFailure(MISCONFIGURED, "* already means every connected tenant: remove the other lines")
        connected = [
            one for one in api.pages("tenants", projectId=project["Id"]) if is_connected(one, project)
        ]
        return connected, True
    found: dict[str, Mapping[str, Any]] = {}
    tags = [name for name in names if "/" in name]
    for name in names:
        if name not in tags:
            tenant = find_named(api, "tenants", "tenant", name)
            found.setdefault(tenant["Id"], tenant)
    if tags:
        for tenant in tenants_with(api, tags):
            found.setdefault(tenant["Id"], tenant)
    return list(found.values()), False


def tenants_with(api: Api, tags: Sequence[str]) -> list[Mapping[str, Any]]:
    """Tenants with these tags: one of each set (source: docs, Tenant tags). A tag that nobody has is a mistake."""
    everybody = list(api.pages("tenants"))
    in_use = {tag.lower() for tenant in everybody for tag in tenant.get("TenantTags") or ()}
    for tag in tags:
        if tag.lower() not in in_use:
            known = sorted({name for tenant in everybody for name in tenant.get("TenantTags") or ()})
            raise NotFound("no tenant has the tag {!r} ({})".format(tag, hint_among(tag, known)))
    wanted: dict[str, set[str]] = {}
    for tag in tags:
        wanted.setdefault(tag.lower().partition("/")[0], set()).add(tag.lower())
    chosen = []
    for tenant in everybody:
        own = {tag.lower() for tag in tenant.get("TenantTags") or ()}
        if all(alternatives & own for alternatives in wanted.values()):
            chosen.append(tenant)
    if not chosen:
        raise NotFound("no tenant has all of these tags: " + ", ".join(tags))
    return chosen


def is_connected(tenant: Mapping[str, Any], project: Mapping[str, Any]) -> bool:
    return project["Id"] in (tenant.get("ProjectEnvironments") or {})


def why_not(place: Place) -> str:
    """Why nothing can be deployed for the place's tenant; "" when it can."""
    tenant = place.tenant or {}
    connected = (tenant.get("ProjectEnvironments") or {}).get(place.project["Id"])
    if tenant.get("IsDisabled"):
        return f"{tenant['Name']} is disabled"
    if connected is None:
        return f"{tenant['Name']} is not connected to {place.project['Name']}"
    if place.environment["Id"] not in connected:
        names = (
            "no environment"
            if not connected
            else f"{len(connected)} other environment" + ("s" if len(connected) > 1 else "")
        )
        return f"{tenant['Name']} is connected to {place.project['Name']} in {names}, not in {place.environment['Name']}"
    return ""


def lifecycle_of(project: Mapping[str, Any], channel: Optional[Mapping[str, Any]]) -> str:
    """The channel's own lifecycle, else the project's."""
    return str((channel or {}).get("LifecycleId") or project["LifecycleId"])
