"""A project in an emulated server, a coordination file about it, and what people do to its process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generator.commands import apply, plan
from generator.outcome import Outcome
from tests.scene import Scene, own_step

VERIFY = "Octopus - Verify Deployment"
DEPLOY = "Octopus - Deploy Release"
Document = dict[str, Any]


class Shop:
    """One project with two steps of people, `Announce` and `Smoke test`, and a coordination file about it."""

    def __init__(self, scene: Scene, name: str, folder: Path) -> None:
        self.scene, self.name, self.folder = scene, name, folder
        self.head = ""  # further lines of the file's top
        self.entry = ""  # further lines of the project's entry
        self.kind = "deployment"
        scene.make_project(name, steps=[own_step("Announce"), own_step("Smoke test")])

    def file(self, *steps: str) -> Path:
        """A coordination file; each step is its lines of YAML, joined by `; `."""
        text = f"{self.head}projects:\n  {self.name}:\n    process: {self.kind}\n{self.entry}    steps:\n"
        for step in steps:
            lines = step.split("; ")
            text += "".join(f"      {'- ' if not i else '  '}{line}\n" for i, line in enumerate(lines))
        path = self.folder / "coordination.yaml"
        path.write_text(text if steps else text.replace("steps:\n", "steps: []\n"))
        return path

    def run(self, verb: Callable[..., Outcome], *steps: str, **options: Any) -> Outcome:
        return verb(root=self.folder, files=[self.file(*steps)], environ=self.scene.environ, **options)

    def plan(self, *steps: str, **options: Any) -> dict[str, str]:
        """What would be done to which step."""
        changes = self.changes(*steps, **options)
        return {change["name"].removeprefix(f"{self.name}: "): change["action"] for change in changes}

    def changes(self, *steps: str, **options: Any) -> list[Document]:
        data: Any = self.run(plan.run, *steps, **options).data
        return list(data["changes"])

    def warnings(self, *steps: str, **options: Any) -> list[str]:
        data: Any = self.run(plan.run, *steps, **options).data
        return list(data["warnings"])

    def apply(self, *steps: str, **options: Any) -> Outcome:
        outcome = self.run(apply.run, *steps, **options)
        assert outcome.exit_code == 0, outcome
        return outcome

    @property
    def process(self) -> Document:
        return self.scene.process(self.name)

    @property
    def steps(self) -> list[Document]:
        return list(self.process["Steps"])

    @property
    def names(self) -> list[str]:
        return [step["Name"] for step in self.steps]

    def step(self, name: str) -> Document:
        return next(step for step in self.steps if step["Name"] == name)

    def properties(self, name: str) -> Document:
        properties: Document = self.step(name)["Actions"][0]["Properties"]
        return properties

    def edit(self, change: Callable[[list[Document]], Any]) -> None:
        """A person saves the process in the portal."""
        steps = self.steps
        change(steps)
        self.scene.put_steps(self.name, steps)

    def edit_step(self, name: str, change: Callable[[Document], Any]) -> None:
        self.edit(lambda steps: change(next(step for step in steps if step["Name"] == name)))


def step(
    key: str = "db",
    *more: str,
    template: str = VERIFY,
    name: str = "",
    project: str = "Database",
    **values: str,
) -> str:
    values = {"project": project, "version": "latest" if template == DEPLOY else "same", **values}
    if template == DEPLOY:
        values["release"] = values.pop("version")
    with_ = ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items())
    head = [f"key: {key}", f"template: {template}", f"name: {name or f'Verify {project}'}"]
    return "; ".join([*head, *more, f"with: {{{with_}, api_key: '#{{Coordination.ApiKey}}'}}"])
