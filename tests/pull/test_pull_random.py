"""A random editor in the portal, and now and then one in the library: whatever they do, pull tells the truth about it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, build
from tests.pull.documents import BODY, make_parameter
from tests.pull.test_pull_drift import SPEC, Document, Library
from tests.scene import Scene, open_scene

RUNS = int(os.environ.get("OCTOSTEPS_PULL_RUNS", "8"))
SEED = int(os.environ.get("OCTOSTEPS_PULL_SEED", "1"))
TEXTS = (
    *(
        "x",
        "a: b",
        "#{Octopus.Project.Name}",
        "two\nlines",
        "- dash",
        "  padded",
        "ü",
        '"quoted"',
        "it's",
        "",
        "yes",
        "5",
    ),
    *("30m", "*b*", "a # b", "tab\there", "trailing \nblank", "x" * 150, "word " * 40),
)
OURS = (
    ("default: 5s", "default: 9s"), ("label: 'How'", "label: How?"), ("# short", "# longer"), ("label: Times", "label: Tim"),
)  # fmt: skip
NAMES = ("More", "MuchMore", "A1B", "URL", "Größe", "x y", "OnTime")
KINDS = ("SingleLineText", "Checkbox", "Select", "MultiLineText", "StepName", "Odd")


def edit(document: Document, dice: random.Random) -> None:
    """A few edits of a person in the portal."""
    for _ in range(dice.randint(1, 5)):
        parameters: list[Document] = document["Parameters"]
        one = dice.choice(parameters)
        match dice.randrange(9):
            case 0:
                document["Description"] = dice.choice(TEXTS)
            case 1:
                one["Label"] = dice.choice(TEXTS)
            case 2:
                one["HelpText"] = dice.choice([*TEXTS, None])
            case 3 if one["DisplaySettings"]["Octopus.ControlType"] != "Sensitive":
                one["DefaultValue"] = dice.choice(TEXTS)
            case 4 if len(parameters) > 2:
                parameters.remove(one)
            case 5:
                dice.shuffle(parameters)
            case 6:
                add(parameters, dice)
            case 7:
                name = dice.choice(["Octopus.X", "Octopus.Y: z", "Octopus.Action.RunOnServer"])
                document["Properties"][name] = dice.choice([*TEXTS, "false"])
            case _:
                document["Properties"][BODY] = edit_lines(document["Properties"][BODY], dice)


def add(parameters: list[Document], dice: random.Random) -> None:
    name = f"GreetPeople.{dice.choice(NAMES)}"
    if name not in [item["Name"] for item in parameters]:
        texts = {field: dice.choice(TEXTS) for field in ("Label", "HelpText", "DefaultValue")}
        new = make_parameter(name, Id="", kind=dice.choice(KINDS), **texts)
        parameters.insert(dice.randrange(len(parameters) + 1), new)


def edit_lines(script: str, dice: random.Random) -> str:
    """A comment, a changed line or a removed one, mostly in the entry script's part."""
    lines = script.split("\n")
    first = next(index for index, line in enumerate(lines) if line.startswith("# ---- templates"))
    end = next(index for index, line in enumerate(lines) if "The form" in line)
    at = dice.randrange(first + 1, end) if dice.random() < 0.85 else dice.randrange(len(lines))
    match dice.randrange(3):
        case 0:
            lines.insert(at, " " * (len(lines[at]) - len(lines[at].lstrip())) + f"# {dice.random()}")
        case 1:
            lines[at] += "  # changed"
        case _:
            del lines[at]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        yield scene


@pytest.mark.parametrize("run", range(RUNS))
def test_pull_tells_the_truth(server: Scene, tmp_path: Path, run: int) -> None:
    """No comment of the spec is lost. What was brought as a whole is no conflict, and is published; what was not is told, and
    pulling again writes nothing. `check` may have something to say about the rest."""
    dice = random.Random(f"{SEED} {run}")
    library = Library(server, tmp_path)
    library.publish()
    library.edit(lambda document: edit(document, dice))
    if dice.random() < 0.4:
        library.spec.write_text(library.spec.read_text().replace(*dice.choice(OURS)))
    before = library.spec.read_text()
    outcome = library.pull()
    data: Any = outcome.data
    left = data["templates"][0]["left"]
    comments = [line for line in before.split("\n") if line.strip().startswith("#")]
    assert [line for line in comments if line not in library.spec.read_text()] == []
    assert outcome.exit_code == (1 if left or outcome.problems else 0)
    if not outcome.problems:
        again: Any = library.pull().data
        assert not again["templates"][0]["files"]
    if not left and not outcome.problems:
        build.run(root=library.root)
        [(action, _)] = library.changes().values()
        assert action in ("update", "leave")
        assert library.run(apply.run).exit_code == 0
        assert [action for action, _ in library.changes().values()] == ["leave"]
    assert SPEC.partition("name:")[0] == library.spec.read_text().partition("name:")[0]
    with server.by_hand() as client:
        client.delete(f"actiontemplates/{library.found['Id']}")
