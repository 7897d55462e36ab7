"""What an hour's wait costs, beside the pollers that people use today, re-enacted at their defaults on the same server and clock.

A server in memory and a clock that only sleeping and requests move (each request takes 50 ms): an hour takes no hour, and
everybody sees the same children end at the same moments. Ours is the engine of Octopus - Deploy Release, counted from when all
deployments have been created: from then on it waits, looks for deadlocks, and judges each end. The others only wait; what they do
is told by their sources:

TypeScript   OctopusDeploy/api-client.ts, serverTaskWaiter.ts: every 10 s one request for up to 300 tasks, and one sleep more
CLI          OctopusDeploy/cli, `octopus task wait`: every 10 s one request for each page of 30 tasks
Chain        OctopusDeploy/Library, Chain Deployment: every second each task's details, and its place in the queue until it begins
Deploy Child OctopusDeploy/Library, Deploy Child Octopus Deploy Project: every 5 s the task; one step for each child
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from generator.runtime.deliveries import Delivery, Fanout, Terms, decide_all
from generator.runtime.lookup import Place
from generator.runtime.markers import ParentTask
from generator.runtime.once import ALWAYS, Errand, Intention, intention_key
from generator.runtime.step import Step
from generator.runtime.transport import HttpAnswer, HttpRequest
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits
from tests.runtime.runtime_fakes import (
    EPOCH,
    FakeDeployment,
    FakeOctopus,
    FakeServer,
    VirtualTime,
    make_api,
)

HOUR = 3600.0
LATENCY = 0.05
ENVIRONMENTS = 5
RELEASE = {"Id": "Releases-1", "Version": "1.0.0"}
ENDED = ("Success", "Failed", "Canceled", "TimedOut")
OWN_SERVER = "http://octopus.example"
# When the last child ends, in seconds after an hour: several runs, so that no poller happens to be just in time.
RUNS = (0.0, 1.3, 3.1, 4.9, 7.7)


@dataclass(frozen=True)
class Cost:
    """Requests from the beginning to the end, and seconds from the end of the last child until the waiter knows it."""

    requests: int
    delay: float


class World:
    """So many children on a server. They are queued for up to a minute, and end one after another in the second half hour."""

    def __init__(self, children: int, shift: float) -> None:
        self.time = VirtualTime()
        self.server = FakeServer(self.time)
        self.children = children
        self.end = HOUR + shift
        self.before = 0  # requests that were no waiting yet
        self.server.on_create = self.plan

    def plan(self, made: FakeDeployment) -> None:
        left = self.children - made.number
        starts = 5.0 + made.number % 50
        made.starts, made.ends = starts, self.end - (HOUR / 2) * left / self.children
        middle = (starts + made.ends) / 2
        made.steps = [("Migrate", starts, middle, "Success"), ("Deploy", middle, made.ends, "Success")]

    def transport(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        self.time.now += LATENCY
        return self.server(request, timeout)

    def get(self, path: str) -> Any:
        request = HttpRequest("GET", f"{OWN_SERVER}/api/Spaces-1/{path}", {}, None)
        return json.loads(self.transport(request, 60.0).body)

    def queue_all(self) -> list[str]:
        """The tasks of deployments that somebody else has just queued."""
        for _ in range(self.children):
            self.plan(self.server.add())
        return [made.task_id for made in self.server.deployments]

    def cost(self) -> Cost:
        return Cost(len(self.server.requests) - self.before, self.time.now - self.end)

    def begin_to_count(self) -> None:
        self.before = self.before or len(self.server.requests)


# --- ours ------------------------------------------------------------------------------------------------------------


def wait_as_we_do(world: World) -> None:
    """One step for all children: so many tenants in five environments."""
    api = make_api(world.time, world.transport)
    octopus = FakeOctopus(
        {
            "Octopus.Task.Id": "ServerTasks-9000",
            "Octopus.Space.Id": "Spaces-1",
            "Octopus.Web.ServerUri": OWN_SERVER,
        }
    )
    step = Step(octopus.log(), {"name": "Deploy"})
    deliveries = []
    for number in range(world.children):
        environment, tenant = number % ENVIRONMENTS + 1, number // ENVIRONMENTS + 1
        place = Place(
            project={"Id": "Projects-1", "Name": "Web"},
            environment={"Id": f"Environments-{environment}", "Name": f"E{environment}"},
            tenant={"Id": f"Tenants-{tenant}", "Name": f"T{tenant}"},
        )
        intention = Intention(
            place=place,
            release=RELEASE,
            condition=ALWAYS,
            deploys_again=True,
            key=intention_key([str(number)]),
            since=datetime.fromtimestamp(EPOCH, timezone.utc),
            sentence="Triggered by the benchmark",
            own_task=ParentTask(OWN_SERVER, "Spaces-1", "ServerTasks-9000"),
            is_awaited=True,
        )
        deliveries.append(Delivery(place, RELEASE, Errand(api, step.log, intention)))
    decide_all(api, deliveries)
    limits = Limits(timedelta(hours=2), timedelta(hours=2))
    terms = Terms(limits=limits, waits=True, cancels_late=True)
    Fanout(api, step.log, deliveries, terms, tell=world.begin_to_count, lookout=Lookout(api, step)).run()
    assert all(delivery.state == "Success" for delivery in deliveries)


# --- the others ------------------------------------------------------------------------------------------------------


def wait_as_typescript(world: World) -> None:
    left = world.queue_all()
    while left:
        page = world.get(f"tasks?ids={','.join(left)}&skip=0&take={len(left)}")
        left = [task["Id"] for task in page["Items"] if task["State"] not in ENDED]
        world.time.sleep(10)


def wait_as_the_cli(world: World) -> None:
    left = world.queue_all()
    while True:
        ids, found, skip = ",".join(left), [], 0
        while skip < len(left):
            page = world.get(f"tasks?ids={ids}&skip={skip}&take=30")
            found += page["Items"]
            skip += 30
        left = [task["Id"] for task in found if task["State"] not in ENDED]
        if not left:
            return
        world.time.sleep(10)


def wait_as_chain_deployment(world: World) -> None:
    left = world.queue_all()
    while left:
        for task_id in list(left):
            task = world.get(f"tasks/{task_id}/details?verbose=false&tail=30")["Task"]
            if not task["HasBeenPickedUpByProcessor"]:
                world.get(f"tasks/{task_id}/queued-behind")
            if task["State"] in ENDED:
                left.remove(task_id)
        if left:
            world.time.sleep(1)


def wait_as_deploy_child(world: World) -> None:
    """Steps side by side, one for each child, all in the same rhythm: the clock moves once for all of them."""
    left = world.queue_all()
    while True:
        now = world.time.now
        for task_id in list(left):
            world.time.now = now
            if world.get(f"tasks/{task_id}")["State"] in ENDED:
                left.remove(task_id)
        if not left:
            return
        world.time.sleep(5)


OTHERS: Sequence[tuple[str, Callable[[World], None]]] = (
    ("TypeScript ServerTaskWaiter", wait_as_typescript),
    ("CLI task wait", wait_as_the_cli),
    ("Deploy Child", wait_as_deploy_child),
    ("Chain Deployment", wait_as_chain_deployment),
)


def cost_of(waiter: Callable[[World], None], children: int) -> tuple[int, float]:
    """The median of the requests, and the longest delay, over several runs."""
    costs = []
    for shift in RUNS:
        world = World(children, shift)
        waiter(world)
        costs.append(world.cost())
    return int(statistics.median(cost.requests for cost in costs)), max(cost.delay for cost in costs)


def measure() -> list[str]:
    """The lines of the report."""
    lines = []
    for children in (1, 50):
        what = "1 child" if children == 1 else f"{children} children in {ENVIRONMENTS} environments"
        ours, delay = cost_of(wait_as_we_do, children)
        lines.append(
            f"an hour's wait for {what}: {ours} requests, {ours / 60:.1f} a minute; "
            f"the end is noticed within {delay:.1f} s (at most 15)"
        )
        for name, waiter in OTHERS:
            requests, later = cost_of(waiter, children)
            lines.append(
                f"  {name}: {requests} requests, {requests / ours:.1f} times as many; within {later:.1f} s"
            )
    return lines
