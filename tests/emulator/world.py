"""A small world in the emulator, made through its HTTP API, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from generator.emulator import Emulator
from generator.emulator.tasks import Task

Json = dict[str, Any]

LIMIT = 30.0  # real seconds until a wait counts as hung


class World:
    """`api` speaks to the application in process, below the default space; `web` takes whole paths, as links are."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.api = self.client()
        self.web = self.client(base="")

    def client(self, *, key: str | None = None, base: str = "/api/Spaces-1", **headers: str) -> httpx.Client:
        below = f"{self.emulator.state.virtual_directory}{base}/" if base else ""
        return httpx.Client(
            transport=httpx.WSGITransport(app=self.emulator.app),
            base_url=f"http://emulator{below}",
            headers={"X-Octopus-ApiKey": self.emulator.api_key if key is None else key, **headers},
        )

    # --- asking, and failing when the answer is no success ----------------------------------------------------------

    def get(self, path: str, **query: Any) -> Any:
        return good(self.api.get(path, params=query))

    def post(self, path: str, body: object = None) -> Any:
        return good(self.api.post(path, json=body))

    def put(self, path: str, body: object = None) -> Any:
        return good(self.api.put(path, json=body))

    # --- making things ---------------------------------------------------------------------------------------------

    def environment(self, name: str = "Test") -> Json:
        return self.post("environments", {"Name": name})

    def lifecycle(self, *phases: Json, name: str = "Own") -> Json:
        return self.post("lifecycles", {"Name": name, "Phases": list(phases)})

    def project(self, name: str = "Web", *steps: Json, **fields: Any) -> Json:
        """A project with these steps, each a name or the result of `step`."""
        lifecycle, group = self.get("lifecycles/all")[0], self.get("projectgroups/all")[0]
        project = self.post(
            "projects",
            {"Name": name, "LifecycleId": lifecycle["Id"], "ProjectGroupId": group["Id"], **fields},
        )
        if steps:
            self.set_steps(project, *steps)
        return project

    def set_steps(self, project: Json, *steps: Json) -> Json:
        path = f"deploymentprocesses/{project['DeploymentProcessId']}"
        return self.put(path, {**self.get(path), "Steps": list(steps)})

    def set_variables(self, owner: Json, *variables: Json) -> Json:
        path = f"variables/{owner['VariableSetId']}"
        return self.put(path, {**self.get(path), "Variables": list(variables)})

    def release(self, project: Json, version: str = "1.0.0", **fields: Any) -> Json:
        return self.post("releases", {"ProjectId": project["Id"], "Version": version, **fields})

    def deploy(self, release: Json, environment: Json, **fields: Any) -> Json:
        return self.post(
            "deployments", {"ReleaseId": release["Id"], "EnvironmentId": environment["Id"], **fields}
        )

    def deployed(self, *steps: Json, variables: Sequence[Json] = (), **fields: Any) -> Json:
        """The ended task of a deployment of a new project with these steps to a new environment."""
        project = self.project("Web", *steps)
        if variables:
            self.set_variables(project, *variables)
        return self.ended(self.deploy(self.release(project), self.environment(), **fields))

    # --- waiting ---------------------------------------------------------------------------------------------------

    def until(self, ready: Callable[[], object]) -> None:
        with self.emulator.state.changed:
            assert self.emulator.state.changed.wait_for(ready, LIMIT), "what was waited for did not happen"

    def task(self, deployment: Json) -> Task:
        return self.emulator.state.tasks[deployment["TaskId"]]

    def until_state(self, deployment: Json, *states: str) -> Json:
        self.until(lambda: self.task(deployment).state in states)
        return self.get(f"tasks/{deployment['TaskId']}")

    def ended(self, deployment: Json) -> Json:
        self.until(lambda: self.task(deployment).is_completed)
        return self.get(f"tasks/{deployment['TaskId']}")

    # --- reading logs ----------------------------------------------------------------------------------------------

    def log(self, task: Json) -> list[tuple[str, str]]:
        """(category, text) of every line of the log."""
        details = self.get(f"tasks/{task['Id']}/details")
        lines: list[tuple[str, str]] = []

        def collect(node: Json) -> None:
            lines.extend((item["Category"], item["MessageText"]) for item in node["LogElements"])
            for child in node["Children"]:
                collect(child)

        for node in details["ActivityLogs"]:
            collect(node)
        return lines

    def printed(self, task: Json) -> list[str]:
        return [text for category, text in self.log(task) if category == "Info"]

    def steps(self, task: Json) -> dict[str, str]:
        """The status of each step by its name."""
        [root] = self.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
        return {child["Name"].split(": ", 1)[1]: child["Status"] for child in root["Children"]}


def good(answer: httpx.Response) -> Any:
    assert answer.is_success, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    )
    return answer.json() if answer.content else None


def step(
    name: str = "Do",
    *,
    properties: Mapping[str, object] | None = None,
    kind: str = "Octopus.Script",
    step_properties: Mapping[str, object] | None = None,
    action: Mapping[str, object] | None = None,
    **fields: object,
) -> Json:
    """A step with one action of the same name, which ends at once in success unless its properties say otherwise."""
    own = {"Name": name, "ActionType": kind, "Properties": dict(properties or {}), **(action or {})}
    return {"Name": name, "Properties": dict(step_properties or {}), "Actions": [own], **fields}


def python(
    body: str, name: str = "Do", *, properties: Mapping[str, object] | None = None, **more: Any
) -> Json:
    """A step that really runs this Python."""
    script = {"Octopus.Action.Script.Syntax": "Python", "Octopus.Action.Script.ScriptBody": body}
    return step(name, properties={**script, **(properties or {})}, **more)


def lasting(seconds: float, name: str = "Do", *, outcome: str = "success", **more: Any) -> Json:
    """A step that takes so many emulated seconds."""
    own = {"octosteps.emulator.duration": str(seconds), "octosteps.emulator.outcome": outcome}
    return step(name, properties=own, **more)


def variable(name: str, value: str | None, **fields: Any) -> Json:
    return {"Name": name, "Value": value, "Type": "String", **fields}


def secret(name: str, value: str | None, **fields: Any) -> Json:
    return {"Name": name, "Value": value, "Type": "Sensitive", "IsSensitive": True, **fields}
