"""`octosteps run`: one step's script, outside Octopus, as Octopus' runner starts it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from generator.emulator.interpreters import prepare_interpreter
from generator.emulator.runner import (
    EXIT_CODE_VARIABLE,
    Artifact,
    Event,
    LogLine,
    OutputVariable,
    ScriptJob,
    ScriptResult,
    start_script,
)
from generator.errors import Refusal
from generator.outcome import Outcome, Part, Table
from generator.source import closest, closest_or_all
from generator.spec import Parameter, octopus_text
from generator.step_template import SCRIPT_SYNTAX
from generator.workspace import Built, render_known

_LONGEST_SHOWN = 4000  # characters of an artifact that a person still reads in a terminal


def run(
    *,
    root: Path,
    name: str,
    settings: Sequence[str],
    variables: Sequence[str],
    environ: Mapping[str, str],
    interpreter: str | None,
    on_line: Callable[[LogLine], None],
) -> Outcome:
    """What the step template called `name` did: its outputs and artifacts; exit code 1 when it failed, with its message.

    `settings` are `key=value` by the spec's keys, a secret as `key=env:NAME`; `variables` are `Name=value` as Octopus would
    give them (Octopus.Web.ServerUri is OCTOPUS_URL unless given). `on_line` gets each line of the log as it comes, from another
    thread. Errors: Refusal that names every bad argument, Problems of the library.
    """
    built = _find(root, name)
    language = built.template.properties.get(SCRIPT_SYNTAX, "PowerShell")
    if language != "Python":
        raise Refusal(f"{built.spec.name} is {language}: only Python scripts run here")
    parameters = {parameter.key: parameter for parameter in built.spec.parameters}
    faults: list[str] = []
    given = dict(_pairs("--variable", variables, faults))
    values = {p.variable: p.default for p in parameters.values() if p.default is not None}
    for key, text in _pairs("--set", settings, faults):
        if key not in parameters:
            known = closest(key, parameters) or "known are: " + ", ".join(parameters)
            faults.append(f"--set {key}: {built.spec.name} has no such parameter ({known})")
            continue
        try:
            values[parameters[key].variable] = _value(parameters[key], text, environ)
        except ValueError as error:
            message, _, hint = str(error).partition("\n")
            faults.append(f"--set {key}: {message}" + (f" ({hint})" if hint else ""))
    if faults:
        raise Refusal("\n".join(faults))
    if environ.get("OCTOPUS_URL"):
        values.setdefault("Octopus.Web.ServerUri", environ["OCTOPUS_URL"])
    secrets = frozenset(parameter.variable for parameter in parameters.values() if parameter.type == "secret")
    collected = _Collected(on_line=on_line)
    with tempfile.TemporaryDirectory(prefix="octosteps-python-") as cache:
        job = ScriptJob(
            script=built.script,
            variables={**values, **given},
            sensitive=secrets,
            interpreter=None if interpreter is None else _interpreter(interpreter, Path(cache)),
        )
        with start_script(job, collected.add) as running:
            result = running.wait()
            artifacts = [_read(artifact) for artifact in collected.artifacts]
    return _outcome(built, result, collected, artifacts, [v for n in secrets if (v := job.variables.get(n))])


def _find(root: Path, name: str) -> Built:
    known = render_known(root)
    for built in known.values():
        if name.lower() in (built.spec.name.lower(), built.slug.lower()):
            return built
    raise Refusal(f"there is no step template '{name}' ({closest_or_all(name, known)})")


def _pairs(option: str, texts: Sequence[str], faults: list[str]) -> Iterator[tuple[str, str]]:
    """The names and values in `texts`; what has no `=` is added to `faults`, without its text: it may be a secret."""
    for text in texts:
        name, separator, value = text.partition("=")
        if separator and name.strip():
            yield name.strip(), value
        else:
            faults.append(f"{option} takes NAME=VALUE, and one of them is not of that form")


def _value(parameter: Parameter, text: str, environ: Mapping[str, str]) -> str:
    """The value as Octopus would keep it. ValueError with a message for people, where a second line is a hint."""
    if parameter.type != "secret":
        return octopus_text(parameter, text)
    hint = f"put it into the environment and write {parameter.key}=env:NAME"
    if not text.startswith("env:"):
        raise ValueError(f"a secret on the command line can be read by others\n{hint}")
    name = text.removeprefix("env:")
    if not environ.get(name):
        raise ValueError(f"the environment variable '{name}' is not set")
    return environ[name]


def _interpreter(name: str, cache: Path) -> str:
    path = shutil.which(name)
    if path is None:
        raise Refusal(f"there is no Python '{name}'")
    return prepare_interpreter(path, cache)


@dataclass
class _Collected:
    """The events of one run, sorted."""

    on_line: Callable[[LogLine], None]
    lines: list[LogLine] = field(default_factory=list)
    outputs: dict[str, OutputVariable] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event:
            case LogLine():
                self.lines.append(event)
                self.on_line(event)
            case OutputVariable(name) if name != EXIT_CODE_VARIABLE:
                self.outputs[name] = event
            case Artifact():
                self.artifacts.append(event)


def _read(artifact: Artifact) -> tuple[str, bytes | None]:
    """Its name and content, None when it cannot be read: a directory, or gone by now."""
    try:
        return artifact.filename, Path(artifact.path).read_bytes()
    except OSError:
        return artifact.filename, None


def _outcome(
    built: Built,
    result: ScriptResult,
    collected: _Collected,
    artifacts: Sequence[tuple[str, bytes | None]],
    secrets: Sequence[str],
) -> Outcome:
    shown = {
        name: "********" if output.sensitive else output.value for name, output in collected.outputs.items()
    }
    failed = result.exit_code != 0
    message = result.message or f"The remote script failed with exit code {result.exit_code}"
    texts = [(name, None if content is None else _text(content, secrets)) for name, content in artifacts]
    parts: list[Part] = []
    if shown:
        parts.append(Table(title="Outputs", columns=("name", "value"), rows=list(shown.items())))
    for (name, content), (_, text) in zip(artifacts, texts, strict=True):
        size = "cannot be collected" if content is None else f"{len(content)} bytes"
        short = text is not None and len(text) <= _LONGEST_SHOWN
        parts.append(
            f"Artifact {name} ({size})" + (f"\n{text.rstrip()}" if text is not None and short else "")
        )
    parts.append(f"{built.spec.name}: failed. {message}" if failed else f"{built.spec.name}: succeeded.")
    return Outcome(
        data={
            "name": built.spec.name,
            "succeeded": not failed,
            "exitCode": result.exit_code,
            "message": message if failed else None,
            "log": [{"category": line.category, "text": line.text} for line in collected.lines],
            "outputs": shown,
            "artifacts": [{"name": name, "text": text} for name, text in texts],
        },
        parts=parts,
        lines=[f"{name}={value}" for name, value in shown.items()],
        exit_code=1 if failed else 0,
    )


def _text(content: bytes, secrets: Sequence[str]) -> str | None:
    """`content` as text with the secrets hidden, None when it is none."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    for secret in secrets:
        text = text.replace(secret, "********")
    return text
