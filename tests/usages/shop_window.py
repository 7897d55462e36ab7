"""A server with projects whose steps are made from step templates of a few lines, and the command line that looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.commandline import Ended, octosteps
from tests.scene import Document, Scene, open_scene, own_step

TEXT, SECRET, CHECKBOX = "SingleLineText", "Sensitive", "Checkbox"
BODY = "Octopus.Action.Script.ScriptBody"
VERSION = "Octopus.Action.Template.Version"
MAIN = "refs/heads/main"


@contextmanager
def open_window(folder: Path, **options: Any) -> Iterator[Window]:
    with open_scene(environments=(), **options) as scene:
        yield Window(scene, folder)


class Window:
    """`run` is the command line; the rest is what people do in the portal."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder = scene, folder
        self.templates: dict[str, Document] = {}

    def run(self, *words: str | Path, environ: Mapping[str, str] | None = None) -> Ended:
        return octosteps(
            "usages", *words, folder=self.folder, environ={**self.scene.environ, **(environ or {})}
        )

    # --- templates -----------------------------------------------------------------------------------------------------

    def make_template(
        self, name: str = "Web - Greet", *parameters: Document, script: str = "print('one')", **fields: Any
    ) -> Document:
        body = {
            "Name": name,
            "ActionType": "Octopus.Script",
            "SpaceId": "Spaces-1",
            "Properties": script_of(script),
            "Parameters": list(parameters),
            **fields,
        }
        with self.scene.by_hand() as client:
            self.templates[name] = client.post("actiontemplates", body)
        return self.templates[name]

    def save_template(
        self, name: str = "Web - Greet", *, script: str | None = None, **fields: Any
    ) -> Document:
        """The next version."""
        held = self.templates[name]
        body = {**held, **fields}
        if script is not None:
            body["Properties"] = {**held["Properties"], **script_of(script)}
        with self.scene.by_hand() as client:
            self.templates[name] = client.put(f"actiontemplates/{held['Id']}", body)
        return self.templates[name]

    # --- projects ------------------------------------------------------------------------------------------------------

    def step(self, name: str, template: str = "Web - Greet", **values: Any) -> Document:
        """A step made from the template as it is now; `values` are by parameter, dots as underscores."""
        held = self.templates[template]
        filled = {item["Name"]: item["DefaultValue"] for item in held["Parameters"]}
        filled.update({key.replace("_", "."): value for key, value in values.items()})
        action = {
            "Name": name,
            "ActionType": held["ActionType"],
            "Packages": held["Packages"],
            "Properties": {
                **held["Properties"],
                **filled,
                "Octopus.Action.Template.Id": held["Id"],
                VERSION: str(held["Version"]),
            },
        }
        return {"Name": name, "Properties": {}, "Actions": [action]}

    def make_project(self, name: str, *steps: Document) -> Document:
        with self.scene.by_hand():
            return self.scene.make_project(name, steps=steps)

    def move_to_git(self, name: str, **settings: Any) -> Document:
        project = self.scene.projects[name]
        body = {
            "CommitMessage": "Begin",
            "VersionControlSettings": {"Url": f"https://git.example.com/{name}.git", **settings},
        }
        with self.scene.by_hand() as client:
            client.post(f"projects/{project['Id']}/git/convert", body)
            return client.get(f"projects/{project['Id']}")

    def make_branch(self, project: str, name: str) -> None:
        body = {"BaseGitRef": MAIN, "NewBranchName": name}
        with self.scene.by_hand() as client:
            client.post(f"projects/{self.scene.projects[project]['Id']}/git/branches/v2", body)

    def path_of(self, project: str, ref: str = "") -> str:
        document = self.scene.projects[project]
        if ref:
            return f"projects/{document['Id']}/{quote(ref, safe='')}/deploymentprocesses"
        return f"deploymentprocesses/{document['DeploymentProcessId']}"

    def process(self, project: str, ref: str = "") -> Document:
        with self.scene.by_hand() as client:
            return client.get(self.path_of(project, ref))

    def properties(self, project: str, step: str, ref: str = "") -> Document:
        return self.action(project, step, ref)["Properties"]  # type: ignore[no-any-return]

    def action(self, project: str, step: str, ref: str = "") -> Document:
        [found] = [
            action
            for item in self.process(project, ref)["Steps"]
            for action in item["Actions"]
            if action["Name"] == step
        ]
        return found  # type: ignore[no-any-return]

    def edit(self, project: str, step: str, **properties: Any) -> None:
        """What a person changes of a step in the process editor; dots as double underscores, the script as `script`."""
        process = self.process(project)
        for item in process["Steps"]:
            for action in item["Actions"]:
                if action["Name"] == step:
                    action["Properties"].update(
                        {
                            key.replace("__", "."): value
                            for key, value in properties.items()
                            if key != "script"
                        }
                    )
                    if "script" in properties:
                        action["Properties"].update(script_of(properties["script"]))
        with self.scene.by_hand() as client:
            client.put(self.path_of(project), process)

    def versions(self, *projects: str) -> list[str]:
        """The versions that the steps hold, in the order of projects and steps; a dash for steps of no template."""
        return [
            str(action["Properties"].get(VERSION, "-"))
            for project in projects or self.scene.projects
            for item in self.process(project)["Steps"]
            for action in item["Actions"]
        ]

    # --- what was asked ------------------------------------------------------------------------------------------------

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The requests of what is done inside, as `METHOD path`."""
        seen = self.scene.emulator.app.seen
        before = list(seen)
        seen.clear()
        requests: list[str] = []
        yield requests
        requests.extend(f"{item.method} {item.path}" for item in seen)
        seen.extendleft(reversed(before))

    def records(self) -> Sequence[Path]:
        return sorted(self.folder.glob("usages-*.jsonl"))


def script_of(script: str) -> dict[str, str]:
    return {
        "Octopus.Action.Script.ScriptSource": "Inline",
        "Octopus.Action.Script.Syntax": "Python",
        BODY: script,
    }


def parameter(name: str, default: Any = "", control: str = TEXT) -> Document:
    if control == SECRET:
        default = {"HasValue": bool(default), "NewValue": default or None}
    return {
        "Name": name,
        "Label": name,
        "DefaultValue": default,
        "DisplaySettings": {"Octopus.ControlType": control},
    }


def secret(value: str) -> Document:
    return {"HasValue": True, "NewValue": value}


__all__ = ["Window", "open_window", "own_step", "parameter", "script_of", "secret"]
