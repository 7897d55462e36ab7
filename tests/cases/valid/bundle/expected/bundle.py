# Demo - Say Hello
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/bundle.yaml or templates/steps/bundle_me.py, then run: octosteps build
#
# spec: step_templates/bundle.yaml
# id: 0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10
# revision: 1
# digest: sha256:6a8e24fd79a9adaccf9f1aea4d9d0bbfc76e00df4a7fe2140502bfe93c101048

from __future__ import annotations

import collections.abc as abc
import json
import os
import os.path
import re
import sys
import urllib.parse
import urllib.request
from collections import OrderedDict as Ordered, deque
from dataclasses import dataclass
from typing import Any, Mapping, NamedTuple, Sequence

# ---- generator/runtime/words.py ----

# One space, whatever stood there.
GAP = re.compile(r"\s+")


def joined(words: Sequence[str]) -> str:
    return GAP.sub(" ", " ".join(words))  # a comment at the end of a line
    # a comment after the last statement


def spoken(words: Sequence[str]) -> str:
    """Only scripts that import it hold this."""
    return joined([*words[:-1], "and", *words[-1:]])


# ---- generator/runtime/step.py ----

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


# ---- templates/steps/bundle_me.py ----

# Two lines
# above a constant.
LIMIT = 3
FACTORS = (
    LIMIT,  # a comment inside
    # and a line of its own
    LIMIT * 2,
)

BOTH, OTHER = 1, 2
WIDE: abc.Mapping[str, int] = {"ä": 1}


class Pair(NamedTuple):
    """Reached by an annotation only."""

    left: int
    right: int


# Above the decorator.
@dataclass(frozen=True)
class Point:
    """A point.

	A tab and trailing space stay: 	
    """

    x: int = LIMIT
    y: int = 0

    def moved(self, by: Pair) -> Point:
        return Point(self.x + by.left, self.y + by.right)


class Base:
    words = deque("ab")


class Derived(Base):
    pass


def decorate(function):
    return function


def shift(number, *, by=FACTORS):
    return number << by[0]


async def later():
    return json.dumps({"a": [1]}), urllib.parse.quote("a"), urllib.request.Request


@decorate
def main(form):
    # Comments inside stay, "#" + "{" too.
    text = """
    # not a comment
"""
    if form.host is None:
        raise StepFailure(spoken(["a", "b"]))
    return (text, Point().moved, Derived, shift, later, Ordered, os.path.join, os.sep, BOTH, WIDE)

    # The last comment.


# ---- The form: one row a parameter ----

STEP = {"name": "Demo - Say Hello", "spec": "step_templates/bundle.yaml", "id": "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10", "revision": 1}
PARAMETERS = (
    {"key": "host", "variable": "SayHello.Host", "label": "Greeting", "type": "text", "required": False, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
