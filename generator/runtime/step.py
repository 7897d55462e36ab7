"""One run of a step: its form is read, `main` is called, its result is written, and it ends in one way."""

from __future__ import annotations

import sys
from typing import Any, Callable, Mapping, NoReturn, Optional, Sequence

from generator.runtime.log import Log, one_line, prepare_console
from generator.runtime.parameters import is_unresolved, parse_parameters

MISCONFIGURED = "misconfigured"
REFUSED = "refused"
REFUSED_BY_SERVER = "refused by the server"
CHILD_FAILED = "child failed"
TIMED_OUT = "timed out"
DEADLOCK = "deadlock"
CANCELLED = "cancelled"
GAVE_UP = "gave up on the API"


class StepFailure(Exception):
    """The step fails with one sentence; `kind` is one of the words above and begins it."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(f"{kind}: {sentence}")
        self.kind = kind
        self.sentence = sentence


class Step:
    """What an entry script reaches beside its parameters: the log, Octopus' variables, outputs, artifacts, the result."""

    def __init__(self, log: Log, about: Mapping[str, Any]) -> None:
        self.log = log
        self.about = about
        self.result: dict[str, Any] = {}
        self.outputs: dict[str, str] = {}

    def variable(self, name: str) -> str:
        """A variable of Octopus; "" when it is missing or its expression was left unresolved."""
        value = self.log.read(name)
        return "" if is_unresolved(value) else value

    def output(self, name: str, value: str) -> None:
        """Sets an output variable for the steps that follow."""
        self.outputs[name] = value
        self.log.output(name, value)

    def artifact(self, filename: str, text: str) -> None:
        """Attaches a text file to the task. `filename` may hold anything; the file on disk is named safely."""
        safe = safe_filename(filename)
        path = safe.encode("ascii", "replace").decode().replace("?", "_").replace(" ", "_")
        with open(path, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - pathlib costs start-up time
            file.write(text)
        self.log.artifact(path, safe)

    def fail(self, kind: str, sentence: str) -> NoReturn:
        raise StepFailure(kind, sentence)


def safe_filename(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " ._-" else "_" for letter in name)


def result_name(step: Step) -> str:
    """How the artifact with the step's result is named."""
    action = step.variable("Octopus.Action.Name") or str(step.about.get("name"))
    return safe_filename(f"{action}.result.json")


def run_step(
    main: Callable[[Any], object],
    about: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
    helpers: Mapping[str, Any],
) -> None:
    """Runs `main` with the values of the form. A StepFailure becomes the step's one error sentence (exit code 255)."""
    prepare_console((sys.stdout, sys.stderr), sys.platform)
    step = Step(Log(helpers), about)
    failure: Optional[StepFailure] = None
    try:
        main(read_form(step, table, getattr(main, "grammars", {})))
    except StepFailure as error:
        failure = error
    write_result(step, failure)
    if failure is not None:
        step.log.fail(str(failure))


def read_form(step: Step, table: Sequence[Mapping[str, Any]], grammars: Mapping[str, Any]) -> Any:
    """The typed values; a StepFailure that names every bad one."""
    form = parse_parameters(table, step.log.read, grammars)
    for label, text in form.unresolved:
        # The parent's tenant is the default of a field and simply absent from an untenanted deployment.
        quiet = one_line(text).startswith("#" + "{Octopus.Deployment.Tenant.")
        tell = step.log.verbose if quiet else step.log.warning
        tell(f"{label}: {text} was not resolved, so that the field counts as not set.")
    if form.faults:
        step.fail(MISCONFIGURED, "; ".join(str(fault) for fault in form.faults))
    form.parameters.step = step
    return form.parameters


def write_result(step: Step, failure: Optional[StepFailure]) -> None:
    """The whole outcome as one JSON file among the task's artifacts."""
    import json

    document = {
        "step": step.about.get("name"),
        "spec": step.about.get("id"),
        "revision": step.about.get("revision"),
        "succeeded": failure is None,
        "failure": None if failure is None else {"kind": failure.kind, "message": failure.sentence},
        "outputs": step.outputs,
    }
    document.update(step.result)
    step.artifact(result_name(step), json.dumps(document, indent=2, ensure_ascii=False) + "\n")
