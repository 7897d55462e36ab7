# Demo - Say Hello
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/framed.yaml or templates/steps/entry.py.j2, then run: octosteps build
#
# spec: step_templates/framed.yaml
# id: 0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10
# revision: 1
# digest: sha256:7ce714bc7bf4670f7fec7770e96e8b974c1fc3341074bc3d84aedec4c740d16e

from __future__ import annotations

import re
import sys
from typing import Any, Mapping, Sequence

# ---- generator/runtime/words.py ----

# One space, whatever stood there.
GAP = re.compile(r"\s+")


def joined(words: Sequence[str]) -> str:
    return GAP.sub(" ", " ".join(words))  # a comment at the end of a line
    # a comment after the last statement


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


# ---- templates/steps/entry.py.j2 ----

WORDS = ["a", 'it\'s "\x23{quoted}"', "\xfc\n"]
TABLE = {"yes": False, "1": 1.5, "none": None}


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
    return 1 << 2 < 3 > 2, WORDS, TABLE


# ---- The form: one row a parameter ----

STEP = {"name": "Demo - Say Hello", "spec": "step_templates/framed.yaml", "id": "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10", "revision": 1}
PARAMETERS = (
    {"key": "greeting", "variable": "SayHello.Greeting", "label": "Greeting", "type": "text", "required": False, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
