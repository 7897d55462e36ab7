"""A server on which a parent with one step of ours is deployed: the rendered script, run as Octopus' runner does it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from tests.scene import Scene

NUMBERS = itertools.count(1)


class Run(NamedTuple):
    """How a parent with one step of ours went. `error` is its one sentence, without links."""

    state: str
    error: str
    outputs: Mapping[str, str]
    log: str
    artifacts: Mapping[str, Any]

    @property
    def children(self) -> list[Any]:
        """What became of each place."""
        children: list[Any] = json.loads(self.outputs["Children"])
        return children


class Stage:
    """A server with some children; `run` deploys a parent whose only step is made from one of our templates."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def begin(
        self, template: str, values: Mapping[str, Any], environment: str = "Test", **fields: Any
    ) -> str:
        """The task id of the parent. `fields` are those of its deployment."""
        name = f"Parent {next(NUMBERS)}"
        step = self.scene.step(template, "Ours", values)
        self.scene.make_project(
            name, steps=[step], releases=["1.0.0"], TenantedDeploymentMode="TenantedOrUntenanted"
        )
        return str(self.scene.deploy(name, "1.0.0", environment, **fields)["TaskId"])

    def end(self, task_id: str) -> Run:
        ended = self.scene.wait(task_id)
        artifacts = {
            one["Filename"]: self.read(one["Id"])
            for one in self.scene.client.pages("artifacts", regarding=task_id)
        }
        assert "Ours.result.json" in artifacts, self.scene.log(task_id)
        result = artifacts["Ours.result.json"]
        failure = result["failure"]
        assert (failure is None) == (ended["State"] == "Success")
        told = f"{failure['kind']}: {failure['message']}" if failure else ""
        log = self.scene.log(task_id)
        assert " ".join(told.split()) in log
        return Run(
            ended["State"], re.sub(r" ?\(?http://[^\s;,)]+\)?", "", told), result["outputs"], log, artifacts
        )

    def read(self, artifact_id: str) -> Any:
        """A JSON document as such, anything else as text."""
        url = f"{self.scene.emulator.url}/api/Spaces-1/artifacts/{artifact_id}/content"
        text = httpx.get(url, headers={"X-Octopus-ApiKey": self.scene.emulator.api_key}).text
        return json.loads(text) if text.startswith("{") else text

    def run(self, template: str, values: Mapping[str, Any], environment: str = "Test", **fields: Any) -> Run:
        return self.end(self.begin(template, values, environment, **fields))

    def deploy(self, project: str, version: str, environment: str = "Test") -> str:
        return str(self.scene.deploy(project, version, environment)["TaskId"])

    def until_executing(self, task_id: str) -> None:
        self.scene.wait_until(
            lambda: self.scene.task(task_id)["State"] == "Executing", f"{task_id} has begun"
        )
