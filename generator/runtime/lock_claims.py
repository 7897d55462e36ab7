"""A step's own side of a lock: what it claims and by which name, and how claims are told to people."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from generator.runtime.api import Api
from generator.runtime.lock_state import LONGEST_TEXT, LockClaim, scoped_name
from generator.runtime.log import one_line
from generator.runtime.markers import own_task
from generator.runtime.moments import moment_or_none
from generator.runtime.once import own_identity
from generator.runtime.orphans import read_own_task
from generator.runtime.step import MISCONFIGURED, StepFailure
from generator.runtime.tasks import utc_now


def own_claim(api: Api, step: Any, share: int, *, is_to_last: bool) -> LockClaim:
    """What this run of the step claims; a StepFailure where nobody could ever find out that its task has ended.

    `is_to_last`: it will stand in a lock, so that it matters whether this account can tell.
    """
    _, task, action, machine = own_identity(step)
    own = own_task(step)
    if not own.id:
        raise StepFailure(MISCONFIGURED, "a lock is held by a task of Octopus, and this runs in none")
    if read_own_task(api, step) is None:
        if api.url.lower() != own.server:
            raise StepFailure(
                MISCONFIGURED,
                f"{api.url} does not show this account the running task {own.id}, so that nobody can tell whether it is the "
                "server that runs it: a lock works within one server, and takes TaskView for this project",
            )
        if is_to_last:
            step.log.warning(
                f"The server does not show this account the running task {own.id} (that takes TaskView for this project): should "
                "it end without giving the lock back, steps with the same account cannot tell, and wait."
            )
    return LockClaim(
        nonce=os.urandom(8).hex(),
        space=own.space,
        task=task,
        action=action,
        machine=machine,
        share=share,
        since=iso_now(api),
        fence=0,
        about={name: shortened_text(value) for name, value in about_step(step).items()},
    )


def about_step(step: Any) -> dict[str, str]:
    """Who claims, for people."""
    machine = step.variable("Octopus.Machine.Name") if own_identity(step)[3] else ""
    name = step.variable("Octopus.Step.Name") or step.variable("Octopus.Action.Name")
    tenant = step.variable("Octopus.Deployment.Tenant.Name")
    return {
        "project": step.variable("Octopus.Project.Name"),
        "release": step.variable("Octopus.Release.Number") or step.variable("Octopus.Runbook.Name"),
        "environment": step.variable("Octopus.Environment.Name") + (f" for {tenant}" if tenant else ""),
        "step": name + (f" on {machine}" if machine else ""),
        "link": step.variable("Octopus.Web.DeploymentLink") or step.variable("Octopus.Web.RunbookRunLink"),
    }


def shortened_text(text: str) -> str:
    tidy = one_line(text)
    return tidy if len(tidy) <= LONGEST_TEXT else tidy[: LONGEST_TEXT - 3] + "..."


def iso_now(api: Api) -> str:
    return utc_now(api).isoformat(timespec="seconds")


def link_of(api: Api, claim: LockClaim) -> str:
    return api.web_link({"Links": {"Web": claim.about.get("link", "")}})


def claim_in_words(api: Api, claim: LockClaim) -> str:
    """Who, since when, and where to look."""
    since = moment_or_none(claim.since)
    link = link_of(api, claim)
    return (
        f"{claim}" + (f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "") + (f" {link}" if link else "")
    )


def lock_of(step: Any, name: str, scope: str) -> str:
    """The whole name of the lock that a form means: one for all, or one for each environment, tenant or both."""
    environment = step.variable("Octopus.Environment.Name") if "environment" in scope else ""
    tenant = step.variable("Octopus.Deployment.Tenant.Name") or "no tenant" if "tenant" in scope else ""
    return scoped_name(name, environment, tenant)


def held_for(api: Api, claim: LockClaim) -> timedelta:
    since = moment_or_none(claim.since)
    return max(timedelta(), utc_now(api) - since) if since is not None else timedelta()
