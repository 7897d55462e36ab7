"""A small runtime for the cases."""

from __future__ import annotations

import sys
from typing import Any, Mapping, Sequence

from generator.runtime.words import joined


class StepFailure(Exception):
    """The step fails with one sentence."""


class Form:
    """The values of the form."""

    def __init__(self, values: Mapping[str, str], step: Step) -> None:
        self.__dict__.update(values)
        self.step = step


class Step:
    """The running step."""

    def __init__(self, helpers: Mapping[str, Any]) -> None:
        self.helpers = helpers

    def output(self, name: str, value: str) -> None:
        self.helpers["set_octopusvariable"](name, value)


# Called by the frame of every script.
def run_step(main: Any, about: Mapping[str, Any], table: Sequence[Mapping[str, Any]], helpers: Mapping[str, Any]) -> None:
    try:
        values = {row["key"]: helpers["get_octopusvariable"](row["variable"]) for row in table}
        main(Form(values, Step(helpers)))
    except StepFailure as error:
        sys.exit(joined(("failed", str(error))))


def never_reached() -> None:
    """No script holds this."""
