"""`octosteps run`, by its function: a step outside Octopus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from generator.commands.run import run
from generator.emulator.messages import LogLine
from generator.errors import Refusal
from generator.outcome import Outcome

SPEC = """
id: 8c8a4c0e-58f6-4e13-9f6e-0b4ad1d7f0a1
name: Test - Greet
category: other
version: 1
description: Greets.
script: greet.py
prefix: Greet
run_on: worker
parameters:
  who:
    label: Who
    type: text
    required: true
    help: Whom to greet.
  polite:
    label: Polite
    type: boolean
    default: true
    help: Whether to be polite.
  api_key:
    label: API key
    type: secret
    help: Not used.
outputs:
  Greeting: What was said.
"""
SCRIPT = '''
"""Greets."""

from __future__ import annotations


def main(parameters):
    """Says it."""
    step = parameters.step
    greeting = ("Dear " if parameters.polite else "") + parameters.who
    print(greeting, step.variable("Octopus.Project.Name"), step.variable("Octopus.Web.ServerUri"))
    if parameters.api_key is not None:
        print(parameters.api_key.reveal())
    if parameters.who == "nobody":
        step.fail("misconfigured", "nobody is there")
    step.output("Greeting", greeting)
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for path, text in (("step_templates/greet.yaml", SPEC), ("templates/steps/greet.py", SCRIPT)):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(text.lstrip())
    return tmp_path


def greet(
    library: Path,
    settings: Sequence[str],
    *,
    name: str = "Test - Greet",
    variables: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    interpreter: str | None = None,
) -> tuple[Outcome, list[LogLine]]:
    lines: list[LogLine] = []
    outcome = run(
        root=library,
        name=name,
        settings=settings,
        variables=variables,
        environ=environ or {},
        interpreter=interpreter,
        on_line=lines.append,
    )
    return outcome, lines


def test_a_step_runs_with_values_and_variables(library: Path) -> None:
    outcome, lines = greet(
        library,
        ["who=größer = Shop", "polite=false"],
        variables=["Octopus.Project.Name=Web=Site"],
        environ={"OCTOPUS_URL": "http://octopus"},
    )
    assert LogLine("Info", "größer = Shop Web=Site http://octopus") in lines
    assert (outcome.exit_code, outcome.lines) == (0, ["Greeting=größer = Shop"])
    data = outcome.data
    assert isinstance(data, dict)
    assert tuple(data[key] for key in ("succeeded", "exitCode", "message", "outputs")) == (
        True,
        0,
        None,
        {"Greeting": "größer = Shop"},
    )
    (artifact,) = data["artifacts"]
    assert json.loads(artifact["text"])["succeeded"] is True
    assert outcome.parts[-1] == "Test - Greet: succeeded."


def test_defaults_are_used_and_the_file_name_is_a_name_too(library: Path) -> None:
    _, lines = greet(library, ["who=Shop"], name="GREET")
    assert "Dear Shop" in [line.text.strip() for line in lines]


def test_a_failed_step_is_exit_code_1_with_its_sentence(library: Path) -> None:
    outcome, _ = greet(library, ["who=nobody"])
    assert outcome.exit_code == 1
    assert outcome.parts[-1] == "Test - Greet: failed. misconfigured: nobody is there"


def test_a_secret_comes_from_the_environment_and_is_masked(library: Path) -> None:
    outcome, lines = greet(library, ["who=Shop", "api_key=env:MY_KEY"], environ={"MY_KEY": "API-SECRET"})
    assert outcome.exit_code == 0
    assert LogLine("Info", "********") in lines
    assert "API-SECRET" not in repr((outcome, lines))


def test_another_python_can_be_named(library: Path, interpreter: object, python: str) -> None:
    outcome, _ = greet(library, ["who=Shop"], interpreter=python)
    assert outcome.exit_code == 0


def test_every_bad_argument_is_told_at_once(library: Path) -> None:
    with pytest.raises(Refusal) as refused:
        greet(library, ["whom=x", "polite=maybe", "api_key=API-SECRET", "who"], variables=["X"])
    beginnings = (
        "--variable takes NAME=VALUE, and one of them is not of that form",
        "--set whom: Test - Greet has no such parameter (did you mean 'who'?)",
        "--set polite: ",
        "--set api_key: a secret on the command line can be read by others (put it into the environment and",
        "--set takes NAME=VALUE, and one of them is not of that form",
    )
    told = str(refused.value).split("\n")
    assert len(beginnings) == len(told)
    assert all(line.startswith(beginning) for line, beginning in zip(told, beginnings, strict=True))
    assert "API-SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"settings": ["api_key=env:NOPE"]},
            "the environment variable 'NOPE' is not set",
            id="secret not set",
        ),
        pytest.param(
            {"settings": [], "name": "Test - Great"}, "did you mean 'Test - Greet'", id="unknown name"
        ),
        pytest.param(
            {"settings": [], "interpreter": "python9"}, "there is no Python 'python9'", id="unknown Python"
        ),
    ],
)
def test_what_cannot_be_run_is_refused(library: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(Refusal, match=message.replace("(", r"\(")):
        greet(library, **arguments)  # type: ignore[arg-type]
