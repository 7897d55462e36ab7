# Demo - All Types (Gr\xfc\xdfe)
#
# A step of Octopus Deploy, made by octosteps. Do not edit it here: the next publication replaces it.
# Change step_templates/all-types.yaml or templates/steps/all_types.py, then run: octosteps build
#
# spec: step_templates/all-types.yaml
# id: 1c1f8f56-6a4b-4e7c-8b0f-5e3a1b2c3d4e
# revision: 12
# digest: sha256:acf7b5fd1df5925c5788e8607d4a0eb8820e418fbf9b277bbf25d32937fbd413

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


# ---- templates/steps/all_types.py ----

def main(parameters):
    found = (
        parameters.a_text,
        parameters.a_lines,
        parameters.a_pairs,
        parameters.a_boolean,
        parameters.a_integer,
        parameters.a_duration,
        parameters.a_moment,
        parameters.a_choice,
        parameters.a_secret,
        parameters.a_version_range,
        parameters.a_step,
        parameters.a_package,
        parameters.a_worker_pool,
        parameters.a_certificate,
        parameters.a_aws_account,
        parameters.a_azure_account,
        parameters.a_google_account,
        parameters.a_generic_oidc_account,
        parameters.a_username_password_account,
    )
    return found


# ---- The form: one row a parameter ----

STEP = {"name": "Demo - All Types (Gr\xfc\xdfe)", "spec": "step_templates/all-types.yaml", "id": "1c1f8f56-6a4b-4e7c-8b0f-5e3a1b2c3d4e", "revision": 12}
PARAMETERS = (
    {"key": "a_text", "variable": "AllTypes.AText", "label": 'A text, \'"\xe4 \x23{x}', "type": "text", "required": True, "choices": None},
    {"key": "a_lines", "variable": "AllTypes.ALines", "label": 'A lines, \'"\xe4 \x23{x}', "type": "lines", "required": False, "choices": None},
    {"key": "a_pairs", "variable": "AllTypes.APairs", "label": 'A pairs, \'"\xe4 \x23{x}', "type": "pairs", "required": False, "choices": None},
    {"key": "a_boolean", "variable": "AllTypes.ABoolean", "label": 'A boolean, \'"\xe4 \x23{x}', "type": "boolean", "required": False, "choices": None},
    {"key": "a_integer", "variable": "AllTypes.AInteger", "label": 'A integer, \'"\xe4 \x23{x}', "type": "integer", "required": False, "choices": None},
    {"key": "a_duration", "variable": "AllTypes.ADuration", "label": 'A duration, \'"\xe4 \x23{x}', "type": "duration", "required": False, "choices": None},
    {"key": "a_moment", "variable": "AllTypes.AMoment", "label": 'A moment, \'"\xe4 \x23{x}', "type": "moment", "required": False, "choices": None},
    {"key": "a_choice", "variable": "AllTypes.AChoice", "label": 'A choice, \'"\xe4 \x23{x}', "type": "choice", "required": False, "choices": {"on": "Switch on", "off": "Off | not on"}},
    {"key": "a_secret", "variable": "AllTypes.ASecret", "label": 'A secret, \'"\xe4 \x23{x}', "type": "secret", "required": False, "choices": None},
    {"key": "a_version_range", "variable": "AllTypes.AVersionRange", "label": 'A version_range, \'"\xe4 \x23{x}', "type": "version_range", "required": False, "choices": None},
    {"key": "a_step", "variable": "AllTypes.AStep", "label": 'A step, \'"\xe4 \x23{x}', "type": "step", "required": False, "choices": None},
    {"key": "a_package", "variable": "AllTypes.APackage", "label": 'A package, \'"\xe4 \x23{x}', "type": "package", "required": False, "choices": None},
    {"key": "a_worker_pool", "variable": "AllTypes.AWorkerPool", "label": 'A worker_pool, \'"\xe4 \x23{x}', "type": "worker_pool", "required": False, "choices": None},
    {"key": "a_certificate", "variable": "AllTypes.ACertificate", "label": 'A certificate, \'"\xe4 \x23{x}', "type": "certificate", "required": False, "choices": None},
    {"key": "a_aws_account", "variable": "AllTypes.AAwsAccount", "label": 'A aws_account, \'"\xe4 \x23{x}', "type": "aws_account", "required": False, "choices": None},
    {"key": "a_azure_account", "variable": "AllTypes.AAzureAccount", "label": 'A azure_account, \'"\xe4 \x23{x}', "type": "azure_account", "required": False, "choices": None},
    {"key": "a_google_account", "variable": "AllTypes.AGoogleAccount", "label": 'A google_account, \'"\xe4 \x23{x}', "type": "google_account", "required": False, "choices": None},
    {"key": "a_generic_oidc_account", "variable": "AllTypes.AGenericOidcAccount", "label": 'A generic_oidc_account, \'"\xe4 \x23{x}', "type": "generic_oidc_account", "required": False, "choices": None},
    {"key": "a_username_password_account", "variable": "AllTypes.AUsernamePasswordAccount", "label": 'A username_password_account, \'"\xe4 \x23{x}', "type": "username_password_account", "required": False, "choices": None},
)

if __name__ == "__main__":
    run_step(main, STEP, PARAMETERS, globals())
