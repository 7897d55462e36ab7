"""Random files, random editors and random faults at the same time: no edit of people is ever lost, and it converges."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generator.commands import apply, plan
from generator.outcome import Outcome
from tests.racing import Racing
from tests.scene import Scene, open_scene, own_step

VERIFY = "Octopus - Verify Deployment"
MARKER = "octosteps.step"
ROUNDS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield scene


def is_ours(step: dict[str, Any]) -> bool:
    return any(MARKER in action["Properties"] for action in step["Actions"])


class People:
    """Edits everything but our steps, and remembers how each of those must look."""

    def __init__(self, scene: Scene, project: str, dice: random.Random) -> None:
        self.scene, self.project, self.dice = scene, project, dice
        self.made = 0
        self.expected = self.theirs()

    def theirs(self) -> list[dict[str, Any]]:
        return [step for step in self.scene.process(self.project)["Steps"] if not is_ours(step)]

    def edit(self, number: int = 0) -> None:
        """One edit. The faults are ours: they do not strike people."""
        faults = self.scene.emulator.faults
        faults.rules, waiting = [], faults.rules
        self.edit_in_peace()
        faults.rules = waiting

    def edit_in_peace(self) -> None:
        steps = self.scene.process(self.project)["Steps"]
        theirs = [step for step in steps if not is_ours(step)]
        match self.dice.randrange(4):
            case 0:
                self.made += 1
                steps.insert(self.dice.randrange(len(steps) + 1), own_step(f"By people {self.made}"))
            case 1:
                self.dice.choice(theirs)["Actions"][0]["Notes"] = f"note {self.dice.random()}"
            case 2 if len(theirs) > 2:
                steps.remove(self.dice.choice([step for step in theirs if step["Name"] != "Anchor"]))
            case _:
                self.dice.choice(theirs)["Condition"] = self.dice.choice(["Success", "Always", "Failure"])
        self.scene.put_steps(self.project, steps)
        self.expected = self.theirs()


def write_file(folder: Path, project: str, dice: random.Random) -> Path:
    keys = [key for key in "abcde" if dice.random() < 0.6]
    steps = [
        {
            "key": key,
            "template": VERIFY,
            "name": f"Ours {key}",
            **({dice.choice(["after", "before"]): "Anchor"} if dice.random() < 0.7 else {}),
            **({"environments": ["Test"]} if dice.random() < 0.5 else {}),
            "with": {
                "project": dice.choice(["Web", "Api"]),
                "version": "same",
                "api_key": "#{Coordination.ApiKey}",
            },
        }
        for key in keys
    ]
    file = folder / "coordination.yaml"
    file.write_text(json.dumps({"projects": {project: {"process": "deployment", "steps": steps}}}))
    return file


@pytest.mark.parametrize("seed", [1, 2])
def test_no_edit_of_people_is_lost_and_it_converges(seed: int, server: Scene, tmp_path: Path) -> None:
    dice = random.Random(seed)
    project = f"Random {seed}"
    server.make_project(project, steps=[own_step("Anchor"), own_step("Other")])
    people = People(server, project, dice)

    def run(verb: Any, file: Path, **options: Any) -> Outcome:
        outcome: Outcome = verb(root=tmp_path, files=[file], environ=server.environ, prune=True, **options)
        return outcome

    for _ in range(ROUNDS):
        file = write_file(tmp_path, project, dice)
        if dice.random() < 0.5:
            people.edit()
        for _ in range(dice.randrange(3)):
            server.emulator.faults.add(
                path="/deploymentprocesses/",
                method=dice.choice(["GET", "PUT"]),
                kind=dice.choice(["lost_answer", "reset", "truncated", "html"]),  # type: ignore[arg-type]
            )
        racing = Racing(path="/deploymentprocesses/", times=dice.randrange(3), edit=people.edit)
        outcome = run(apply.run, file, http=httpx.Client(transport=racing))
        server.emulator.faults.rules.clear()
        assert people.theirs() == people.expected, "an edit of people was lost"
        if outcome.exit_code == 0:
            again: Any = run(plan.run, file, exit_code=True)
            assert again.exit_code == 0, again.parts
    run(apply.run, file)
    assert run(plan.run, file, exit_code=True).exit_code == 0
    assert people.theirs() == people.expected
