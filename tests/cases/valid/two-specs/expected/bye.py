# Demo - Say Bye
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/bye.yaml or templates/steps/entry.py, then run: octosteps build
#
# spec: step_templates/bye.yaml
# id: 1b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10
# revision: 1
# digest: sha256:64155cf607a2e5bb0dbe9e0d24e5f106d591d4a657eb73ac2b8b56dcb5641776

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


# ---- templates/steps/entry.py ----

def main(parameters):
    parameters.step.output("Said", parameters.greeting)


# ---- The form: one row a parameter ----

STEP = {"name": "Demo - Say Bye", "spec": "step_templates/bye.yaml", "id": "1b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10", "revision": 1}
PARAMETERS = (
    {"key": "greeting", "variable": "SayBye.Greeting", "label": "Greeting", "type": "text", "required": False, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
