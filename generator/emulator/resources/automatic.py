"""Deployments that a lifecycle makes by itself: to the automatic targets of a phase, as soon as a release may go there.

Source: docs, Lifecycles (optional phases make none; every connected tenant that the channel's tags admit; untenanted ones where
the project allows them). The server looks after a release was made and after a deployment succeeded (OctopusDeploy/Issues
7395: "Processing automatic lifecycle promotions"). In whose name it deploys is unconfirmed: here the release's author's.
"""

from __future__ import annotations

from collections.abc import Iterator

from generator.emulator import events, lifecycles
from generator.emulator.documents import Document
from generator.emulator.refusals import Refused
from generator.emulator.requests import Query, Request
from generator.emulator.resources import deployments
from generator.emulator.resources.releases import is_blocked
from generator.emulator.scoping import has_tags
from generator.emulator.state import Key, State


def promote(state: State) -> None:
    """Queues what is due for the releases in `state.promotions`, and empties it."""
    while state.promotions:
        release = state.find("Releases", state.promotions.pop(0))
        if release is not None and not is_blocked(release):
            for environment, tenant in list(_due(state, release)):
                _deploy(state, release, environment, tenant)
        state.changed.notify_all()


def _due(state: State, release: Document) -> Iterator[tuple[str, Document | None]]:
    project = state.get("Projects", release["ProjectId"])
    mode = project["TenantedDeploymentMode"]
    tags = state.get("Channels", release["ChannelId"])["TenantTags"]
    tenants = [
        item
        for item in state.where("Tenants", SpaceId=release["SpaceId"])
        if project["Id"] in item["ProjectEnvironments"] and has_tags(frozenset(item["TenantTags"]), tags)
    ]
    candidates: list[Document | None] = [] if mode == "Untenanted" else [*tenants]
    if mode != "Tenanted":
        candidates.append(None)
    for tenant in candidates:
        for environment in _targets(state, release, tenant["Id"] if tenant else None):
            if tenant is None or environment in tenant["ProjectEnvironments"][project["Id"]]:
                yield environment, tenant


def _targets(state: State, release: Document, tenant: str | None) -> list[str]:
    """Automatic environments that are open to the release and to which it was never sent before."""
    try:
        phases = lifecycles.phases_of_release(state, release)
    except KeyError:
        return []
    allowed = lifecycles.open_environments(phases, lifecycles.deployed_environments(state, release, tenant))
    sent = {
        item["EnvironmentId"] for item in state.where("Deployments", ReleaseId=release["Id"], TenantId=tenant)
    }
    automatic = [identifier for phase in phases if not phase.can_be_skipped for identifier in phase.automatic]
    return [identifier for identifier in automatic if identifier in allowed and identifier not in sent]


def _deploy(state: State, release: Document, environment: str, tenant: Document | None) -> None:
    request = Request(
        state=state,
        method="POST",
        path="",
        arguments={},
        query=Query(()),
        content=b"",
        file=None,
        key=Key(user_id=release.get("_author", "Users-1")),
        space=state.get("Spaces", release["SpaceId"]),
    )
    place = state.get("Environments", environment)
    try:
        deployments.new_deployment(request, release, place, tenant, body={}, values={})
    except Refused as refused:
        events.record(
            state,
            "AutoDeploymentErrorOccurred",
            f"Release {release['Version']} was not deployed to {place['Name']}: {' '.join(refused.errors) or refused.message}",
            space_id=release["SpaceId"],
            related=(release["Id"], release["ProjectId"], environment, tenant["Id"] if tenant else None),
        )
