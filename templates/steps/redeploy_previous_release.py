"""Deploys again what had succeeded before the current release, exactly once, in one place or in several, and waits for it."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from generator.runtime.api import Api
from generator.runtime.connection import CONNECTION_GRAMMARS
from generator.runtime.deployments import Deployment, history, read_release_of
from generator.runtime.destinations import parse_environments
from generator.runtime.lookup import Place, find_named
from generator.runtime.moments import parse_start
from generator.runtime.obstacles import Obstacles
from generator.runtime.once import marked_attempt
from generator.runtime.options import Option, one_of, parse_options
from generator.runtime.orders import Order, find_obstacles, order_options
from generator.runtime.parameters import Parameters, reads
from generator.runtime.record import Record
from generator.runtime.step import REFUSED
from generator.runtime.tasks import utc_now

OUTPUTS = {
    "From": "from",
    "To": "version",
    "ReleaseId": "release",
    "DeploymentId": "deployment",
    "TaskId": "task",
    "Link": "link",
}
MOST_BACK = 100


def parse_back(number: int) -> int:
    if not 1 <= number <= MOST_BACK:
        raise ValueError(f"{number} is not a number from 1 to {MOST_BACK}")
    return number


def parse_more(pairs: Mapping[str, str]) -> Mapping[str, Any]:
    """*More options*, each with what holds when it is not given."""
    table = {
        **order_options(),
        "not_found": Option(one_of("skip", "fail"), "fail"),
        "override_freezes": Option(str, ""),
    }
    return parse_options(table, pairs)


@reads(
    environment=parse_environments,
    back=parse_back,
    start=parse_start,
    more=parse_more,
    **CONNECTION_GRAMMARS,
)
def main(parameters: Parameters) -> None:
    order = Order(parameters, parameters.more or parse_more({}), OUTPUTS)
    project = find_named(order.api, "projects", "project", parameters.project)
    order.guard(project)
    plan_deliveries(order, project)
    order.decide()
    order.check(find_obstacles(order, Obstacles(order.api, parameters.start or utc_now(order.api))))
    order.carry_out()
    order.fail_if_any_did()


def plan_deliveries(order: Order, project: Mapping[str, Any]) -> None:
    """One delivery for each place that is meant, with the release that went before there."""
    missing = []
    parameters, log = order.parameters, order.step.log
    for place in order.find_places(project, project["LifecycleId"]):
        past = look_back(order.api, place, parameters.back, order.key(place))
        current = read_release_of(order.api, past.current)["Version"] if past.current else ""
        if past.release_id is None:
            reason = nothing_before(past, current, parameters.back)
            order.skip(place, reason).about = {"from": current}
            missing.append(f"{place}: {reason}")
            continue
        release = order.api.get(f"releases/{past.release_id}")
        delivery = order.add(place, release)
        delivery.about = {"from": current}
        if parameters.take_over and past.proof is not None:
            delivery.earlier = past.proof.document.get("FormValues") or {}
        link = f", {past.proof.link}" if past.proof else ""
        log.info(f"{place}: from {current} back to {release['Version']}{link}")
    if missing and order.more["not_found"] == "fail":
        order.step.fail(REFUSED, "; ".join(missing))


class Past(Record):
    """What happened at a place. `current`: the last deployment that began, whatever became of it. `release_id`: the release to
    return to, None when there is none. `proof`: its last success. `seen`: how many other releases had succeeded."""

    current: Optional[Deployment]
    release_id: Optional[str]
    proof: Optional[Deployment]
    seen: int


def look_back(api: Api, place: Place, back: int, key: str) -> Past:
    """Walks back through the deployments, for the server's own *previous* variables are wrong after failures (source:
    OctopusDeploy/Issues 2784). What this step itself made in an earlier try decides, and is no part of the past."""
    ours: Optional[Deployment] = None
    current: Optional[Deployment] = None
    passed: dict[str, Deployment] = {}
    for deployment in history(api, place):
        if marked_attempt(deployment, key):
            ours = ours or deployment
        elif deployment.began:
            current = current or deployment
            if deployment.task.state == "Success" and deployment.release_id != current.release_id:
                passed.setdefault(deployment.release_id, deployment)
        wanted = ours.release_id if ours else list(passed)[back - 1] if len(passed) >= back else None
        if current is not None and wanted in passed:
            return Past(current, wanted, passed[wanted], len(passed))
    return Past(current, ours.release_id if ours else None, None, len(passed))


def nothing_before(past: Past, current: str, back: int) -> str:
    """Why there is nothing to return to."""
    if past.current is None:
        return "nothing has ever been deployed there"
    if not past.seen:
        return f"no other release had succeeded there before {current}"
    others = "one other release" if past.seen == 1 else f"{past.seen} other releases"
    return f"only {others} had succeeded there before {current}, and {back} back is asked for"
