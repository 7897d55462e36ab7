"""Where a release may go: phases of a lifecycle, which of them are complete, which environments are open.

Source: docs, Lifecycles (a lifecycle without phases is one phase for each environment in sort order; a phase without
environments covers every environment that no earlier phase names; optional phases can be skipped);
terraform-provider-octopusdeploy, lifecycle (a minimum of 0 means all environments of the phase).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from generator.emulator.documents import Document
from generator.emulator.state import State
from generator.emulator.tasks import SUCCESS


@dataclass(frozen=True, kw_only=True)
class Phase:
    id: str
    name: str
    automatic: tuple[str, ...]
    optional: tuple[str, ...]
    minimum: int
    can_be_skipped: bool
    is_priority: bool = False

    @property
    def environments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.automatic + self.optional))

    def is_complete(self, deployed: frozenset[str]) -> bool:
        """`deployed`: environments with a successful deployment of the release."""
        done = sum(1 for environment in self.environments if environment in deployed)
        return done >= (self.minimum or len(self.environments))


def lifecycle_of(state: State, project: Document, channel: Document | None) -> Document | None:
    """The channel's lifecycle, else the project's."""
    identifier = (channel or {}).get("LifecycleId") or project["LifecycleId"]
    return state.find("Lifecycles", identifier)


def phases_of(state: State, lifecycle: Document) -> tuple[Phase, ...]:
    environments = state.environments(lifecycle["SpaceId"])
    if not lifecycle["Phases"]:
        return tuple(
            Phase(
                id=f"{lifecycle['Id']}-{item['Id']}",
                name=item["Name"],
                automatic=(),
                optional=(item["Id"],),
                minimum=1,
                can_be_skipped=False,
            )
            for item in environments
        )
    named: set[str] = set()
    phases = []
    for phase in lifecycle["Phases"]:
        automatic, optional = (
            tuple(phase["AutomaticDeploymentTargets"]),
            tuple(phase["OptionalDeploymentTargets"]),
        )
        if not automatic and not optional:
            optional = tuple(item["Id"] for item in environments if item["Id"] not in named)
        named.update(automatic, optional)
        phases.append(
            Phase(
                id=phase["Id"],
                name=phase["Name"],
                automatic=automatic,
                optional=optional,
                minimum=phase["MinimumEnvironmentsBeforePromotion"],
                can_be_skipped=phase["IsOptionalPhase"],
                is_priority=bool(phase.get("IsPriorityPhase")),
            )
        )
    return tuple(phases)


def phases_of_release(state: State, release: Document) -> tuple[Phase, ...]:
    """Errors: KeyError when the project has no lifecycle any more."""
    project = state.get("Projects", release["ProjectId"])
    lifecycle = lifecycle_of(state, project, state.find("Channels", release["ChannelId"]))
    if lifecycle is None:
        raise KeyError("Lifecycles")
    return phases_of(state, lifecycle)


def deployed_environments(state: State, release: Document, tenant_id: str | None = None) -> frozenset[str]:
    """Environments where the release was deployed successfully, for that tenant when one is given."""
    return frozenset(
        deployment["EnvironmentId"]
        for deployment in state.where("Deployments", ReleaseId=release["Id"])
        if state.task_of(deployment).state == SUCCESS
        if tenant_id is None or deployment["TenantId"] == tenant_id
    )


def current_index(phases: Sequence[Phase], deployed: frozenset[str]) -> int:
    """The first phase that is not complete; the number of phases when all are."""
    for index, phase in enumerate(phases):
        if not phase.is_complete(deployed):
            return index
    return len(phases)


def open_environments(
    phases: Sequence[Phase], deployed: frozenset[str], *, blocked: bool = False
) -> tuple[str, ...]:
    """Environments that the release may be deployed to now, in the order of the phases.

    Everything up to the first phase that is neither complete nor optional. A blocked release stays where it has been: the
    phases before and the current one remain open (source: OctopusDeploy/Issues 2138, closed as by design).
    """
    allowed: list[str] = []
    for phase in phases:
        allowed.extend(phase.environments)
        if phase.is_complete(deployed):
            continue
        if blocked or not phase.can_be_skipped:
            break
    return tuple(dict.fromkeys(allowed))
