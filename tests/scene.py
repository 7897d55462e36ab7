"""Sets an emulated server's scene through its API, the way a person would have set it up in the portal.

`Scene` remembers ids by name, so that a test reads as names only. Waiting is done by asking the server, never by guessing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from generator.emulator import Emulator
from generator.octopus.client import Client, connect
from generator.spec import octopus_text
from generator.step_template import to_api
from generator.workspace import Built, render_known

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 90.0
ENDED = frozenset({"Success", "Failed", "Canceled", "TimedOut"})
API_KEY = "Coordination.ApiKey"
Document = dict[str, Any]


@contextmanager
def open_scene(*, environments: Sequence[str] = ("Test", "Production"), **options: Any) -> Iterator[Scene]:
    """An emulator (with `options`) that has these environments; its unknown requests fail the test that made them."""
    with Emulator(**options) as emulator:
        with connect(emulator.url, api_key=emulator.api_key) as client:
            scene = Scene(emulator, client)
            for name in environments:
                scene.make_environment(name)
            yield scene
        assert not emulator.refused, f"the emulator does not know these requests: {emulator.refused}"


class Scene:
    """One emulator and what was made on it."""

    def __init__(self, emulator: Emulator, client: Client) -> None:
        self.emulator, self.client = emulator, client
        self.environments: dict[str, str] = {}
        self.projects: dict[str, Document] = {}
        self.templates: dict[str, Document] = {}
        [lifecycle] = client.pages("lifecycles")
        [group] = client.pages("projectgroups")
        self.lifecycle_id, self.group_id = lifecycle["Id"], group["Id"]
        made = client.post("libraryvariablesets", {"Name": "Coordination", "ContentType": "Variables"})
        self.library_set_id = made["Id"]
        self.set_variables(
            made["VariableSetId"],
            [
                {
                    "Name": API_KEY,
                    "Value": emulator.api_key,
                    "Type": "Sensitive",
                    "IsSensitive": True,
                    "Scope": {},
                }
            ],
        )

    @property
    def environ(self) -> dict[str, str]:
        return {"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.emulator.api_key}

    def make_environment(self, name: str) -> str:
        made = self.client.post("environments", {"Name": name, "SortOrder": len(self.environments)})
        self.environments[name] = made["Id"]
        return str(made["Id"])

    def make_project(
        self, name: str, *, steps: Sequence[Document] = (), releases: Sequence[str] = (), **fields: Any
    ) -> Document:
        """A project with these steps, and then these releases of it."""
        made: Document = self.client.post(
            "projects",
            {
                "Name": name,
                "LifecycleId": self.lifecycle_id,
                "ProjectGroupId": self.group_id,
                "IncludedLibraryVariableSetIds": [self.library_set_id],
                **fields,
            },
        )
        self.projects[name] = made
        if steps:
            self.put_steps(name, steps)
        for version in releases:
            self.make_release(name, version)
        return made

    def process(self, project: str) -> Document:
        return self.client.get(f"deploymentprocesses/{self.projects[project]['DeploymentProcessId']}")

    def put_steps(self, project: str, steps: Sequence[Document]) -> Document:
        process = self.process(project)
        written: Document = self.client.put(
            f"deploymentprocesses/{process['Id']}", {**process, "Steps": list(steps)}
        )
        return written

    def set_variables(self, set_id: str, variables: Sequence[Document]) -> None:
        found = self.client.get(f"variables/{set_id}")
        self.client.put(f"variables/{set_id}", {**found, "Variables": list(variables)})

    def make_release(self, project: str, version: str, **fields: Any) -> Document:
        made: Document = self.client.post(
            "releases", {"ProjectId": self.projects[project]["Id"], "Version": version, **fields}
        )
        return made

    @contextmanager
    def by_hand(self) -> Iterator[Client]:
        """For what a person does in the portal: none of these requests counts as one of ours."""
        seen = self.emulator.app.seen
        before = list(seen)
        yield self.client
        seen.clear()
        seen.extend(before)

    def make_runbook(
        self, project: str, name: str, steps: Sequence[Document], *, publish: bool = True, **fields: Any
    ) -> Document:
        """A runbook of the project, with a snapshot *First* of these steps."""
        with self.by_hand() as client:
            body = {"Name": name, "ProjectId": self.projects[project]["Id"], **fields}
            made: Document = client.post("runbooks", body)
            process = client.get(f"runbookProcesses/{made['RunbookProcessId']}")
            client.put(f"runbookProcesses/{process['Id']}", {**process, "Steps": list(steps)})
            self.take_snapshot(made, "First", publish=publish)
            runbook: Document = client.get(f"runbooks/{made['Id']}")
        return runbook

    def take_snapshot(self, runbook: Document, name: str, *, publish: bool = False) -> Document:
        """A snapshot of the runbook as it is now."""
        body = {"ProjectId": runbook["ProjectId"], "RunbookId": runbook["Id"], "Name": name}
        with self.by_hand() as client:
            made: Document = client.post(f"runbookSnapshots?publish={str(publish).lower()}", body)
        return made

    def run_runbook(self, runbook: Document, environment: str = "Test", **fields: Any) -> Document:
        """A run of the published snapshot, just queued."""
        body = {
            "RunbookId": runbook["Id"],
            "RunbookSnapshotId": runbook["PublishedRunbookSnapshotId"],
            "EnvironmentId": self.environments[environment],
            **fields,
        }
        with self.by_hand() as client:
            made: Document = client.post("runbookRuns", body)
        return made

    def publish(self, name: str) -> Document:
        """One of our templates in the emulated library, as `apply` would post it."""
        if name not in self.templates:
            assert self.client.space is not None
            body = to_api(known()[name].template, self.client.space.id)
            self.templates[name] = self.client.post("actiontemplates", body)
        return self.templates[name]

    def step(self, template: str, name: str, values: Mapping[str, Any], **properties: Any) -> Document:
        """A project step made from one of our templates. `values` are by spec key; further `properties` are Octopus' own."""
        published = self.publish(template)
        spec = known()[template].spec
        by_key = {parameter.key: parameter for parameter in spec.parameters}
        filled = {parameter.variable: parameter.default or "" for parameter in spec.parameters}
        for key, value in {"api_key": f"#{{{API_KEY}}}", **values}.items():
            filled[by_key[key].variable] = octopus_text(by_key[key], value)
        action = {
            "Name": name,
            "ActionType": published["ActionType"],
            "Properties": {
                **published["Properties"],
                **filled,
                "Octopus.Action.Template.Id": published["Id"],
                "Octopus.Action.Template.Version": str(published["Version"]),
                **properties,
            },
        }
        return {"Name": name, "Properties": {}, "Actions": [action]}

    def deploy(self, project: str, version: str, environment: str = "Test", **fields: Any) -> Document:
        """A deployment, just queued."""
        release = self.client.get(f"projects/{self.projects[project]['Id']}/releases/{version}")
        made: Document = self.client.post(
            "deployments",
            {"ReleaseId": release["Id"], "EnvironmentId": self.environments[environment], **fields},
        )
        return made

    def deployments(self, project: str) -> list[Document]:
        """What the server lists for this project, newest first."""
        return list(self.client.pages("deployments", projects=self.projects[project]["Id"]))

    def task(self, task_id: str) -> Document:
        return self.client.get(f"tasks/{task_id}")

    def wait(self, task_id: str) -> Document:
        """The task once it has ended."""
        return self.wait_until(
            lambda: (task := self.task(task_id))["State"] in ENDED and task, f"{task_id} has ended", task_id
        )

    def wait_until(self, ready: Any, what: str, task_id: str | None = None) -> Any:
        """What `ready` gives, as soon as it is true. Fails with `what`, and the task's log, after a minute and a half."""
        deadline = time.monotonic() + LONGEST
        while not (given := ready()):
            assert time.monotonic() < deadline, f"not within {LONGEST:.0f} s: {what}\n" + (
                self.log(task_id) if task_id else ""
            )
            time.sleep(0.02)
        return given

    def run(self, project: str, version: str, environment: str = "Test", **fields: Any) -> Document:
        """The ended task of a deployment."""
        return self.wait(self.deploy(project, version, environment, **fields)["TaskId"])

    def log(self, task_id: str) -> str:
        """The task's raw log, all levels."""
        details = self.client.get(f"tasks/{task_id}/details", verbose="true")
        return "\n".join(line for activity in details["ActivityLogs"] for line in log_lines(activity))

    def states(self, project: str) -> list[str]:
        """The state of each of the project's deployments, oldest first."""
        return [self.task(made["TaskId"])["State"] for made in reversed(self.deployments(project))]


def log_lines(activity: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    margin = "  " * depth
    yield f"{margin}{activity['Name']}: {activity['Status']}"
    for element in activity.get("LogElements") or ():
        yield f"{margin}  {element['Category']}: {element['MessageText']}"
    for child in activity.get("Children") or ():
        yield from log_lines(child, depth + 1)


def own_step(name: str, *, seconds: float = 0, outcome: str = "success", **fields: Any) -> Document:
    """A step that is no Python script: the emulator lets it last and end as it says."""
    properties = {
        "Octopus.Action.RunOnServer": "true",
        "Octopus.Action.Script.ScriptSource": "Inline",
        "Octopus.Action.Script.Syntax": "PowerShell",
        "Octopus.Action.Script.ScriptBody": "Write-Host 'hello'",
        "octosteps.emulator.duration": str(seconds),
        "octosteps.emulator.outcome": outcome,
    }
    action = {"Name": name, "ActionType": "Octopus.Script", "Properties": properties}
    return {"Name": name, "Properties": {}, "Actions": [action], **fields}


_KNOWN: dict[str, Built] = {}


def known() -> Mapping[str, Built]:
    """The built-in step templates, rendered once a test process."""
    if not _KNOWN:
        _KNOWN.update(render_known(ROOT))
    return _KNOWN
