"""A server in memory and a clock that only sleeping moves: what runtime modules get by argument instead of the world.

The server knows as much of Octopus as `once` and `waiting` ask for. What it does at which time is a timeline that the test
writes: each deployment is given the moments at which its task starts and ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from generator.runtime.api import Api
from generator.runtime.log import HELPERS, Log
from generator.runtime.lookup import Place
from generator.runtime.parameters import Secret
from generator.runtime.transport import HttpAnswer, HttpRequest

EPOCH = 1_800_000_000.0
PROJECT, ENVIRONMENT = "Projects-1", "Environments-1"
LAST = float("inf")


class VirtualTime:
    """Seconds since the test began; `slept` lists every pause."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def wall_clock(self) -> float:
        return EPOCH + self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


def iso(seconds: float | None) -> str | None:
    """A moment of the test as Octopus writes it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(EPOCH + seconds, timezone.utc).isoformat(timespec="milliseconds")


@dataclass
class FakeDeployment:
    """One deployment with its timeline: seconds since the test began."""

    number: int
    release: str = "Releases-1"
    comments: str = ""
    created: float = 0.0
    queue_time: float = 0.0
    starts: float = LAST
    ends: float = LAST
    state: str = "Success"
    error: str = ""
    tenant: str | None = None
    paused: list[tuple[float, float]] = field(default_factory=list)
    steps: list[tuple[str, float, float, str]] = field(
        default_factory=list
    )  # name, starts, ends, status at the end
    announces: str = ""  # the progress message of its step Wait
    behind: list[str] = field(default_factory=list)  # ids of the tasks that it stands behind in the queue
    canceled_at: float | None = None
    hangs: bool = False  # in Cancelling, once somebody cancels it
    hidden: list[tuple[float, float]] = field(default_factory=list)  # when the task is not returned

    @property
    def id(self) -> str:
        return f"Deployments-{self.number}"

    @property
    def task_id(self) -> str:
        return f"ServerTasks-{self.number}"

    def state_at(self, now: float) -> str:
        if self.canceled_at is not None and now >= self.canceled_at:
            return "Cancelling" if self.hangs else "Canceled"
        if now >= self.ends:
            return self.state
        return "Executing" if now >= self.starts else "Queued"

    def document(self) -> dict[str, Any]:
        return {
            "Id": self.id,
            "ProjectId": PROJECT,
            "EnvironmentId": ENVIRONMENT,
            "TenantId": self.tenant,
            "ReleaseId": self.release,
            "TaskId": self.task_id,
            "Comments": self.comments,
            "Created": iso(self.created),
            "Links": {"Web": f"/app#/Spaces-1/deployments/{self.id}"},
        }

    def task(self, now: float) -> dict[str, Any]:
        state = self.state_at(now)
        alive = state in ("Queued", "Executing", "Cancelling")
        begun = now >= self.starts and (self.canceled_at is None or self.starts < self.canceled_at)
        end = self.canceled_at if state == "Canceled" and self.canceled_at is not None else self.ends
        return {
            "Id": self.task_id,
            "Name": "Deploy",
            "Description": f"Deploy release {self.release}",
            "Arguments": {"DeploymentId": self.id},
            "State": state,
            "ErrorMessage": self.error if state == "Failed" else "",
            "HasPendingInterruptions": any(start <= now < end for start, end in self.paused),
            "HasBeenPickedUpByProcessor": begun,
            "QueueTime": iso(self.queue_time),
            "StartTime": iso(self.starts) if begun else None,
            "CompletedTime": None if alive else iso(end),
        }

    def details(self, now: float) -> dict[str, Any]:
        children = []
        for order, (name, starts, ends, status) in enumerate(self.steps, start=1):
            at = "Pending" if now < starts else "Running" if now < ends else status
            told = self.announces if name == "Wait" else ""
            children.append(
                {"Name": f"Step {order}: {name}", "Status": at, "ProgressMessage": told, "Children": []}
            )
        return {
            "Task": self.task(now),
            "Progress": {"ProgressPercentage": 10},
            "ActivityLogs": [{"Children": children}],
        }


Fault = Callable[[HttpRequest], "HttpAnswer | None"]


class FakeServer:
    """The transport of an Api. `requests` are `METHOD path?query`, with the time of each in `times`."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.deployments: list[FakeDeployment] = []
        self.requests: list[str] = []
        self.times: list[float] = []
        self.sent: list[HttpRequest] = []
        self.bodies: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.releases = {"Releases-1": "1.0.0"}
        self.interruptions: list[dict[str, Any]] = []
        self.ignores_cancel = False
        self.on_create: Callable[[FakeDeployment], None] = lambda deployment: None

    def __call__(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        split = urlsplit(request.url)
        self.sent.append(request)
        self.requests.append(f"{request.method} {split.path}" + (f"?{split.query}" if split.query else ""))
        self.times.append(self.time.now)
        for fault in self.faults:
            answer = fault(request)
            if answer is not None:
                return answer
        status, document = self.answer(request, split.path, dict(parse_qsl(split.query)))
        return HttpAnswer(status, {}, json.dumps(document).encode())

    def add(self, **timeline: Any) -> FakeDeployment:
        number = max([one.number for one in self.deployments], default=0) + 1
        made = FakeDeployment(
            **{"number": number, "created": self.time.now, "queue_time": self.time.now, **timeline}
        )
        self.deployments.append(made)
        return made

    def find_task(self, task_id: str) -> FakeDeployment | None:
        return next((one for one in self.deployments if one.task_id == task_id), None)

    def answer(self, request: HttpRequest, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        inner = path.removeprefix("/api/").removeprefix("Spaces-1/")
        if request.method == "POST" and inner == "deployments":
            body = json.loads(request.body or b"")
            self.bodies.append(body)
            made = self.add(release=body["ReleaseId"], comments=body["Comments"], tenant=body.get("TenantId"))
            self.on_create(made)
            return 201, made.document()
        if match := re.fullmatch(r"tasks/([^/]+)(/cancel|/details|/queued-behind)?", inner):
            return self.answer_task(match.group(1), match.group(2))
        if inner.startswith("releases/"):
            return 200, {"Id": inner[9:], "Version": self.releases[inner[9:]]}
        if inner == "interruptions":
            return 200, collection(self.interruptions, query)
        if inner == "tasks":
            return 200, collection([one.task(self.time.now) for one in self.visible(query)], query)
        if inner == "deployments":
            found = [one.document() for one in self.visible(query)]
            return 200, collection(found, query)
        return 404, {"ErrorMessage": f"the fake does not know {request.method} {path}"}

    def answer_task(self, task_id: str, what: str | None) -> tuple[int, Any]:
        found = self.find_task(task_id)
        if found is None:
            return 404, {"ErrorMessage": "no such task"}
        if what == "/details":
            return 200, found.details(self.time.now)
        if what == "/queued-behind":
            other = {"Id": "ServerTasks-99", "Description": "Deploy Other", "State": "Executing"}
            ahead = [self.find_task(one) for one in found.behind]
            return 200, collection([one.task(self.time.now) for one in ahead if one] or [other], {})
        if what == "/cancel":
            found.canceled_at, found.hangs = self.time.now, self.ignores_cancel
        return 200, found.task(self.time.now)

    def visible(self, query: Mapping[str, str]) -> list[FakeDeployment]:
        """Newest first, filtered as the real lists are."""
        now, found = self.time.now, sorted(self.deployments, key=lambda one: -one.number)
        if ids := query.get("ids"):
            wanted = ids.split(",")
            found = [one for one in found if one.id in wanted or one.task_id in wanted]
            found = [one for one in found if not any(start <= now < end for start, end in one.hidden)]
        if query.get("active"):
            found = [one for one in found if one.state_at(now) in ("Queued", "Executing", "Cancelling")]
        if states := query.get("states") or query.get("taskState"):
            found = [one for one in found if one.state_at(now) in states.split(",")]
        if tenants := query.get("tenants") or query.get("tenant"):
            found = [one for one in found if one.tenant in tenants.split(",")]
        return found


def collection(items: list[Any], query: Mapping[str, str]) -> dict[str, Any]:
    skip, take = int(query.get("skip", 0)), int(query.get("take", 30))
    return {"Items": items[skip : skip + take], "TotalResults": len(items)}


def make_api(time: VirtualTime, transport: Any, **options: Any) -> Api:
    return Api(
        "http://octopus.example",
        Secret("API-TEST"),
        space="Spaces-1",
        transport=transport,
        clock=time.clock,
        sleep=time.sleep,
        wall_clock=time.wall_clock,
        chance=lambda: 0.5,
        **options,
    )


def make_place(tenant: str | None = None) -> Place:
    return Place(
        project={"Id": PROJECT, "Name": "Web"},
        environment={"Id": ENVIRONMENT, "Name": "Test"},
        tenant={"Id": tenant, "Name": "Acme"} if tenant else None,
    )


class FakeOctopus:
    """The helper functions of a script, and what they were told: `lines` as (level, text)."""

    def __init__(self, variables: Mapping[str, str] | None = None, *, missing_raises: bool = False) -> None:
        self.variables = dict(variables or {})
        self.missing_raises = missing_raises
        self.lines: list[tuple[str, str]] = []
        self.outputs: dict[str, str] = {}
        self.artifacts: list[tuple[str, str]] = []
        self.progress: list[tuple[int, str]] = []
        self.failure: str | None = None

    def helpers(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "get_octopusvariable": self.read,
            "set_octopusvariable": self.set_output,
            "createartifact": lambda path, name: self.artifacts.append((path, name)),
            "updateprogress": lambda percentage, message: self.progress.append((percentage, message)),
            "failstep": self.fail,
            "printverbose": lambda text: self.lines.append(("verbose", text)),
            "printhighlight": lambda text: self.lines.append(("highlight", text)),
            "printwait": lambda text: self.lines.append(("wait", text)),
            "printwarning": lambda text: self.lines.append(("warning", text)),
        }
        assert set(known) == set(HELPERS)
        return known

    def read(self, name: str) -> str:
        if self.missing_raises:
            return self.variables[name]
        return self.variables.get(name, "")

    def set_output(self, name: str, value: str) -> None:
        value.encode()  # the real helper raises for anything but text
        self.outputs[name] = value

    def fail(self, message: str) -> None:
        self.failure = message
        raise SystemExit(-1)

    def log(self) -> Log:
        return Log(self.helpers(), lambda text: self.lines.append(("info", str(text))))

    def texts(self, level: str = "info") -> list[str]:
        return [text for at, text in self.lines if at == level]
