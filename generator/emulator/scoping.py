"""Which scoped thing applies where: variables by their scope, actions by their environments, channels and tenant tags.

Source: docs, Scoping variables and Conditions; the order of specificity is the documented one: step, machine, role, tenant,
tenant tag, environment, channel, process, project, none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from generator.emulator.documents import Document, text_of
from generator.emulator.state import State

ROLES = "Octopus.Action.TargetRoles"

# The weight of a scope is the sum of its keys': a lower key never outweighs a higher one.
WEIGHTS = {
    "Action": 1 << 9, "Machine": 1 << 8, "TargetRole": 1 << 7, "Role": 1 << 7, "Tenant": 1 << 6, "TenantTag": 1 << 5,
    "Environment": 1 << 4, "Channel": 1 << 3, "ProcessOwner": 1 << 2, "Project": 1 << 1, "ParentDeployment": 0,
    "Private": 0, "User": 0, "Trigger": 0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Where:
    """The place for which something is chosen. `action`, `machine` and `roles` are empty outside a step."""

    project: str
    environment: str
    channel: str | None
    tenant: str | None = None
    tenant_tags: frozenset[str] = frozenset()
    process_owner: str | None = None
    action: str | None = None
    machine: str | None = None
    roles: frozenset[str] = frozenset()

    def in_step(self, action: str, *, machine: str | None = None, roles: Iterable[str] = ()) -> Where:
        return replace(self, action=action, machine=machine, roles=frozenset(roles))

    def admits(self, scope: Mapping[str, Any]) -> bool:
        """True when every key of the scope names this place; an unknown key never does."""
        here: dict[str, Iterable[str | None]] = {
            "Environment": (self.environment,),
            "Channel": (self.channel,),
            "Tenant": (self.tenant,),
            "TenantTag": self.tenant_tags,
            "Project": (self.project,),
            "ProcessOwner": (self.process_owner or self.project,),
            "Action": (self.action,),
            "Machine": (self.machine,),
            "Role": self.roles,
            "TargetRole": self.roles,
        }
        return all(not values or set(values) & set(here.get(key, ())) for key, values in scope.items())

    def could_admit(self, scope: Mapping[str, Any]) -> bool:
        """As `admits`, for what is decided before the steps run: keys of a step are not looked at."""
        return self.admits(
            {key: value for key, value in scope.items() if WEIGHTS.get(key, 0) < WEIGHTS["Tenant"] * 2}
        )

    def excludes(self, action: Document) -> bool:
        """True when the action does not run in this environment, channel or for this tenant."""
        environments, channels, tags = action["Environments"], action["Channels"], action["TenantTags"]
        return bool(
            (environments and self.environment not in environments)
            or self.environment in action["ExcludedEnvironments"]
            or (channels and self.channel not in channels)
            or (tags and not has_tags(self.tenant_tags, tags))
        )


def has_tags(tags: frozenset[str], wanted: Iterable[str]) -> bool:
    """True when a tenant with these tags has the wanted ones: alternatives within a set, all sets needed (source: docs,
    Tenant tags)."""
    sets: dict[str, set[str]] = {}
    for tag in wanted:
        sets.setdefault(tag.split("/")[0], set()).add(tag)
    return all(tags & alternatives for alternatives in sets.values())


def machines_for(
    state: State, step: Document, action: Document, *, environment: Document, tenant: Document | None
) -> list[Document] | None:
    """The enabled machines on which the action runs there, None when it has no roles and runs once on a worker.

    Source: docs, Deployment targets (roles, environments) and Tenants (a target takes part in tenanted deployments of its
    tenants, in untenanted ones, or in both).
    """
    roles = text_of(step["Properties"].get(ROLES)) or text_of(action["Properties"].get(ROLES))
    wanted = {role.strip().casefold() for role in roles.split(",") if role.strip()}
    if not wanted:
        return None
    return [
        machine
        for machine in state.where("Machines", SpaceId=environment["SpaceId"], IsDisabled=False)
        if environment["Id"] in machine["EnvironmentIds"]
        and wanted & {role.casefold() for role in machine["Roles"]}
        and _takes_part(machine, tenant)
    ]


def _takes_part(machine: Document, tenant: Document | None) -> bool:
    participation = machine["TenantedDeploymentParticipation"]
    if tenant is None:
        return bool(participation != "Tenanted")
    if participation == "Untenanted":
        return False
    tags = machine["TenantTags"]
    return tenant["Id"] in machine["TenantIds"] or bool(
        tags and has_tags(frozenset(tenant["TenantTags"]), tags)
    )


def where_of(state: State, release: Document, environment: Document, tenant: Document | None) -> Where:
    """The place of a release or of a runbook's snapshot, which has no channel and owns its own process."""
    return Where(
        project=release["ProjectId"],
        environment=environment["Id"],
        channel=release.get("ChannelId"),
        process_owner=release.get("RunbookId"),
        tenant=tenant["Id"] if tenant else None,
        tenant_tags=frozenset(tenant["TenantTags"]) if tenant else frozenset(),
    )


def variables_in(state: State, release: Document) -> list[Document]:
    """All variables in the release's snapshots, those of the project first."""
    ids = [release["ProjectVariableSetSnapshotId"], *release["LibraryVariableSetSnapshotIds"]]
    return [item for identifier in ids for item in state.get("Variables", identifier)["Variables"]]


def chosen(variables: Iterable[Document], where: Where) -> dict[str, Document]:
    """For each name (without regard to case) the most specific variable that applies; among equals the first."""
    best: dict[str, Document] = {}
    for item in variables:
        if not where.admits(item["Scope"]):
            continue
        key = item["Name"].casefold()
        if key not in best or _weight(item) > _weight(best[key]):
            best[key] = item
    return {item["Name"]: item for item in best.values()}


def _weight(variable: Document) -> int:
    return sum(WEIGHTS.get(key, 0) for key, values in variable["Scope"].items() if values)
