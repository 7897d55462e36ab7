"""Why a task stands in the queue, as far as the server's answers tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from runtime_fakes import VirtualTime, iso, make_api

from generator.runtime.queues import CONCURRENCY_TAG, Queues, evaluated_tag
from generator.runtime.tasks import Task
from generator.runtime.transport import HttpAnswer, HttpRequest

RUN = {
    "Id": "Deployments-1",
    "ProjectId": "Projects-1",
    "EnvironmentId": "Environments-1",
    "TenantId": None,
    "ReleaseId": "Releases-1",
    "ManifestVariableSetId": "variableset-Deployments-1",
}


def variable(name: str, value: str, **fields: Any) -> dict[str, Any]:
    return {"Name": name, "Value": value, "Scope": {}, **fields}


@pytest.mark.parametrize(
    ("variables", "tag"),
    [
        pytest.param([], "Projects-1/Environments-1", id="the default"),
        pytest.param([variable(CONCURRENCY_TAG, "one")], "one", id="plain"),
        pytest.param([variable("octopus.task.concurrencytag", "one")], "one", id="in another case"),
        pytest.param(
            [variable(CONCURRENCY_TAG, "#{Octopus.Environment.Name}")], "Environments-1", id="a name as id"
        ),
        pytest.param([variable(CONCURRENCY_TAG, "x-#{ Tag }"), variable("Tag", "y")], "x-y", id="a variable"),
        pytest.param([variable(CONCURRENCY_TAG, "#{Unknown}")], None, id="an unknown variable"),
        pytest.param(
            [variable(CONCURRENCY_TAG, "#{Tag | ToUpper}"), variable("Tag", "y")], None, id="a filter"
        ),
        pytest.param(
            [variable(CONCURRENCY_TAG, "#{A}"), variable("A", "#{A}")], None, id="a variable of itself"
        ),
        pytest.param([variable(CONCURRENCY_TAG, "s", IsSensitive=True)], None, id="a secret"),
        pytest.param(
            [
                variable(CONCURRENCY_TAG, "all"),
                variable(CONCURRENCY_TAG, "here", Scope={"Environment": ["Environments-1"]}),
                variable(CONCURRENCY_TAG, "there", Scope={"Environment": ["Environments-2"]}),
            ],
            "here",
            id="scoped to the environment",
        ),
        pytest.param(
            [variable(CONCURRENCY_TAG, "one", Scope={"Role": ["web"]})],
            None,
            id="scoped to what is not known here",
        ),
    ],
)
def test_tag(variables: list[dict[str, Any]], tag: str | None) -> None:
    assert tag == evaluated_tag({"Variables": variables}, RUN)


class Server:
    """Task 1 of deployment 1 is queued behind tasks 2, 3, ...; `tags` are those of their projects, `cells` where they go."""

    def __init__(
        self, *, ahead: Mapping[int, tuple[str, str]], tag: str = "", refused: tuple[str, ...] = ()
    ) -> None:
        self.ahead, self.own_tag, self.refused = ahead, tag, refused
        self.nodes = {"MaxConcurrentTasks": 5, "RunningTaskCount": 5}
        self.requests: list[str] = []
        self.freezes: list[dict[str, Any]] = []
        self.stopped = False

    def __call__(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        path = request.url.removeprefix("http://octopus.example/api/").removeprefix("Spaces-1/")
        self.requests.append(path)
        if any(part in path for part in self.refused):
            return HttpAnswer(403, {}, b'{"ErrorMessage": "No."}')
        return HttpAnswer(200, {}, json.dumps(self.answer(path)).encode())

    def answer(self, path: str) -> Any:
        if "queued-behind" in path:
            return {"Items": [task(number) for number in self.ahead], "TotalResults": len(self.ahead)}
        if path.startswith("deployments?"):
            runs = [RUN, *(self.run(number) for number in self.ahead)]
            return {"Items": runs, "TotalResults": len(runs)}
        if path.startswith("variables/"):
            number = int(path.rsplit("-", 1)[-1])
            tag = self.own_tag if number == 1 else self.ahead[number][1]
            return {"Variables": [variable(CONCURRENCY_TAG, tag)] if tag else []}
        if path.startswith("octopusservernodes"):
            return {"Nodes": [self.nodes]}
        if path.startswith("spaces/"):
            return {"Name": "Default", "TaskQueueStopped": self.stopped}
        assert path.startswith("deploymentfreezes"), path
        return {"DeploymentFreezes": self.freezes}

    def run(self, number: int) -> dict[str, Any]:
        project, _ = self.ahead[number]
        return {
            **RUN,
            "Id": f"Deployments-{number}",
            "ProjectId": project,
            "ReleaseId": f"Releases-{number}",
            "ManifestVariableSetId": f"variableset-Deployments-{number}",
        }

    def read(self) -> str:
        time = VirtualTime()
        return str(Queues(make_api(time, self)).read(Task(task(1))))


def task(number: int) -> dict[str, Any]:
    return {
        "Id": f"ServerTasks-{number}",
        "SpaceId": "Spaces-1",
        "State": "Queued" if number == 1 else "Executing",
        "Description": f"Deploy {number}",
        "Arguments": {"DeploymentId": f"Deployments-{number}"},
    }


@pytest.mark.parametrize(
    ("server", "words"),
    [
        pytest.param(
            Server(ahead={2: ("Projects-1", "")}),
            "behind Deploy 2 (one at a time in the same project, environment and tenant)",
            id="the same place",
        ),
        pytest.param(
            Server(ahead={2: ("Projects-2", "x")}, tag="x"),
            "behind Deploy 2 (they have a concurrency tag in common, x)",
            id="a tag",
        ),
        pytest.param(
            Server(ahead={2: ("Projects-2", "")}),
            "behind Deploy 2 (the task cap of 5 is full)",
            id="the task cap",
        ),
        pytest.param(
            Server(ahead={2: ("Projects-2", "y")}, tag="x", refused=("nodes",)),
            "behind Deploy 2 (the task cap is full)",
            id="the task cap, which may not be read",
        ),
        pytest.param(
            Server(ahead={2: ("Projects-1", ""), 3: ("Projects-2", "")}),
            "behind Deploy 2, Deploy 3 "
            "(one at a time in the same project, environment and tenant; and the task cap of 5 is full)",
            id="both",
        ),
        pytest.param(
            Server(ahead={2: ("Projects-2", "")}, refused=("nodes", "variables")),
            "behind Deploy 2 (the task cap is full, or they have a concurrency tag in common)",
            id="nothing may be read",
        ),
        pytest.param(
            Server(ahead=dict.fromkeys(range(2, 8), ("Projects-2", ""))),
            "behind Deploy 2, Deploy 3, Deploy 4 and 3 more (the task cap of 5 is full)",
            id="many",
        ),
        pytest.param(Server(ahead={}), "", id="nothing"),
    ],
)
def test_reason(server: Server, words: str) -> None:
    assert words == server.read()


def test_a_freeze_and_a_stopped_queue() -> None:
    server = Server(ahead={})
    server.stopped = True
    server.freezes = [
        {
            "Name": "Later",
            "Start": iso(500),
            "End": iso(900),
            "ProjectEnvironmentScope": {"Projects-1": ["Environments-1"]},
        },
        {
            "Name": "Other",
            "Start": iso(-5),
            "End": iso(900),
            "ProjectEnvironmentScope": {"Projects-2": ["Environments-1"]},
        },
        {
            "Name": "Now",
            "Start": iso(-5),
            "End": iso(900),
            "ProjectEnvironmentScope": {"Projects-1": ["Environments-1"]},
        },
    ]
    words = server.read()
    assert words.startswith(
        "(the task queue of the space Default is stopped); the deployment freeze Now holds there until 2027-"
    )


def test_what_may_not_be_asked_is_asked_once() -> None:
    server = Server(ahead={2: ("Projects-2", "")}, refused=("nodes", "variables", "freezes"))
    queues = Queues(make_api(VirtualTime(), server))
    for _ in range(3):
        queues.read(Task(task(1)))
    assert [1, 1, 1, 3] == [
        sum(1 for path in server.requests if part in path)
        for part in ("nodes", "variables", "freezes", "queued-behind")
    ]
