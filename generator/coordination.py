"""The coordination file: which steps stand in which projects. Reads it, and finds every fault that needs no server.

What a server must know (projects, steps of people, environments) is checked by `processes`. The checks of cooperation itself,
cycles of waiting and the like, belong here too, because they need the file alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from generator.errors import Problem, Problems
from generator.source import Path, Source, check_schema, closest, read_source
from generator.spec import EXPRESSION, Parameter, Spec, octopus_text
from generator.step_template import TemplateParameter

CONDITIONS = {"success": "Success", "failure": "Failure", "always": "Always"}
MINUTES = {"d": 24 * 60, "h": 60, "m": 1}


@dataclass(frozen=True, kw_only=True)
class Container:
    """The image that a step runs in, and the name of its feed."""

    image: str
    feed: str


@dataclass(frozen=True, kw_only=True)
class WantedStep:
    """One step as the file names it: names, not ids; values as YAML gave them. `path` is where it stands in the file.

    `condition` is Octopus' word, `expression` its text for `Variable`; `time_limit` is in minutes, 0 for none.
    """

    key: str
    template: str
    name: str
    path: Path
    after: str | None = None
    before: str | None = None
    parallel: bool = False
    condition: str = "Success"
    expression: str = ""
    environments: Sequence[str] = ()
    excluded_environments: Sequence[str] = ()
    channels: Sequence[str] = ()
    tenant_tags: Sequence[str] = ()
    target_roles: Sequence[str] = ()
    worker_pool: str | None = None
    container: Container | None = None
    retries: int = 0
    time_limit: int = 0
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def anchor(self) -> str | None:
        """The step by which this one's place is told; None: after the step before it in the file, or the last."""
        return self.after or self.before

    @property
    def position(self) -> str:
        """The place as the file tells it, as one text to compare."""
        side = "after" if self.after else "before" if self.before else "last"
        return f"{side} {(self.anchor or '').casefold()}{' parallel' if self.parallel else ''}"


@dataclass(frozen=True, kw_only=True)
class WantedBranch:
    """Where the steps of a version-controlled project go. None: the defaults of `branches`."""

    name: str | None = None
    base: str | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class WantedProcess:
    """Our steps in one process, in the order of the file. `runbook` None is the deployment process.

    `file` is what the file is called in its steps. `concurrency_tag` is the whole project's: of all tasks whose tag evaluates
    to the same text the server runs one at a time; the text may hold expressions.
    """

    project: str
    runbook: str | None
    steps: Sequence[WantedStep]
    source: Source
    path: Path
    file: str = ""
    concurrency_tag: str | None = None
    git: WantedBranch | None = None

    @property
    def where(self) -> str:
        """The process as people name it."""
        return f"{self.project}, runbook {self.runbook}" if self.runbook else self.project

    def problem(
        self, step: WantedStep | None, path: Path, message: str, hint: str = "", **more: bool
    ) -> Problem:
        """A problem at `path` below the step, or below the process."""
        return self.source.problem((*(step.path if step else self.path), *path), message, hint, **more)


@cache
def read_schema() -> Mapping[str, object]:
    """The JSON Schema of coordination files, draft 2020-12."""
    text = (FilePath(__file__).parent / "coordination.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, object] = json.loads(text)
    return schema


def read_coordination(files: Sequence[FilePath]) -> tuple[WantedProcess, ...]:
    """The processes of several coordination files. Errors: Problems with every fault of every file."""
    processes: list[WantedProcess] = []
    problems: list[Problem] = []
    for file in dict.fromkeys(files):
        try:
            processes.extend(parse_coordination(read_source(file)))
        except Problems as fault:
            problems.extend(fault.problems)
    problems.extend(check_unique(processes))
    if problems:
        raise Problems(problems)
    return tuple(processes)


def parse_coordination(source: Source) -> tuple[WantedProcess, ...]:
    """The processes in one file. Errors: Problems with every fault that the file shows by itself."""
    problems = check_schema(source, read_schema())
    if problems:
        raise Problems(problems)
    processes = []
    for project, entry in source.data["projects"].items():
        if isinstance(entry, list):
            for index, item in enumerate(entry):
                processes.append(parse_process(source, ("projects", project, index), project, item))
        else:
            processes.append(parse_process(source, ("projects", project), project, entry))
    problems = [problem for process in processes for problem in check_process(process)]
    if problems:
        raise Problems(problems)
    return tuple(processes)


def parse_process(source: Source, path: Path, project: str, data: Mapping[str, Any]) -> WantedProcess:
    _, _, runbook = data["process"].partition("runbook ")
    return WantedProcess(
        project=project,
        runbook=runbook.strip() or None,
        steps=tuple(parse_step((*path, "steps", index), step) for index, step in enumerate(data["steps"])),
        source=source,
        path=path,
        file=source.data.get("name") or re.sub(r"[^\w.-]+", "-", FilePath(source.name).stem),
        concurrency_tag=data.get("concurrency_tag"),
        git=parse_branch(data["git"]) if "git" in data else None,
    )


def parse_branch(data: Mapping[str, str]) -> WantedBranch:
    return WantedBranch(name=data.get("branch"), base=data.get("from"), message=data.get("message"))


def parse_step(path: Path, data: Mapping[str, Any]) -> WantedStep:
    condition = data.get("condition", "success")
    is_expression = isinstance(condition, dict)
    lists = ("environments", "excluded_environments", "channels", "tenant_tags", "target_roles")
    return WantedStep(
        key=data["key"],
        template=data["template"],
        name=data["name"].strip(),
        path=path,
        after=data.get("after"),
        before=data.get("before"),
        parallel=data.get("parallel", False),
        condition="Variable" if is_expression else CONDITIONS[condition],
        expression=condition["variable"] if is_expression else "",
        worker_pool=data.get("worker_pool"),
        container=Container(**data["container"]) if "container" in data else None,
        retries=data.get("retries", 0),
        time_limit=parse_minutes(data.get("time_limit", "")),
        values=data.get("with", {}),
        **{name: tuple(data.get(name, ())) for name in lists},
    )


def parse_minutes(text: str) -> int:
    """`1d12h` as minutes."""
    return sum(int(number) * MINUTES[unit] for number, unit in re.findall(r"(\d+)([dhm])", text))


# --- faults of the file by itself -------------------------------------------------------------------------------------


def check_unique(processes: Sequence[WantedProcess]) -> Iterator[Problem]:
    """A process is described once: two descriptions would prune each other's steps."""
    first: dict[tuple[str, str], WantedProcess] = {}
    tagged: dict[str, WantedProcess] = {}
    for process in processes:
        if process.concurrency_tag is not None:
            other_tag = tagged.setdefault(process.project.casefold(), process).concurrency_tag
            if other_tag != process.concurrency_tag:
                message = (
                    f"the project {process.project} has two concurrency tags, this one and '{other_tag}'"
                )
                hint = "the tag holds for all tasks of a project: name it once"
                yield process.problem(None, ("concurrency_tag",), message, hint)
        identity = (process.project.casefold(), (process.runbook or "").casefold())
        if identity in first:
            other = first[identity].problem(None, (), "")
            message = f"the process of {process.where} is described twice"
            yield process.problem(
                None, (), message, f"the first is in {other.path}, line {other.place.line}", at_key=True
            )
        first.setdefault(identity, process)


def check_process(process: WantedProcess) -> Iterator[Problem]:
    """Faults of one process that a schema cannot say."""
    keys: set[str] = set()
    names: set[str] = set()
    for step in process.steps:
        if step.key in keys:
            yield process.problem(step, ("key",), f"the key '{step.key}' is used twice in this process")
        if step.name.casefold() in names:
            yield process.problem(step, ("name",), f"the name '{step.name}' is used twice in this process")
        keys.add(step.key)
        names.add(step.name.casefold())
        yield from check_step(process, step)
    yield from check_order(process)


def check_step(process: WantedProcess, step: WantedStep) -> Iterator[Problem]:
    if step.after and step.before:
        yield process.problem(
            step, ("before",), "a step has one place: 'after' or 'before', not both", at_key=True
        )
    both = [name for name in step.environments if name in step.excluded_environments]
    for name in both:
        message = f"'{name}' is in environments and in excluded_environments"
        yield process.problem(step, ("excluded_environments",), message)
    if step.worker_pool and EXPRESSION in step.worker_pool and pool_variable(step.worker_pool) is None:
        message = "a worker pool is a name, or one expression that names a variable"
        yield process.problem(step, ("worker_pool",), message, 'like "#' + '{Shop.WorkerPool}"')


def pool_variable(worker_pool: str) -> str | None:
    """The variable's name when a worker pool is given as an expression; None for a pool's name."""
    found = re.fullmatch(r"#\{\s*([^{}]+?)\s*\}", worker_pool.strip())
    return found.group(1) if found else None


def find_own(process: WantedProcess, word: str) -> WantedStep | None:
    """Our own step that `after` or `before` means: by key, else by name ignoring case."""
    for step in process.steps:
        if step.key == word:
            return step
    return next((step for step in process.steps if step.name.casefold() == word.casefold()), None)


def check_order(process: WantedProcess) -> Iterator[Problem]:
    """Steps that are placed by each other in a circle, one by itself included."""
    for step in process.steps:
        seen = [step.key]
        here: WantedStep | None = step
        while here is not None and here.anchor is not None:
            here = find_own(process, here.anchor)
            if here is None or (here.key in seen and here.key != step.key):
                break
            if here.key == step.key:
                side = "after" if step.after else "before"
                way = " -> ".join([*seen, step.key])
                yield process.problem(step, (side,), f"the place of this step leads back to itself: {way}")
                break
            seen.append(here.key)


# --- values ------------------------------------------------------------------------------------------------------------


def check_coordination(processes: Sequence[WantedProcess], specs: Mapping[str, Spec]) -> list[Problem]:
    """Faults in templates and values as far as the known specs (by template name) tell, without a server.

    A template of another name may be one that somebody else keeps in the library: it is told only when it looks misspelt.
    """
    problems: list[Problem] = []
    for process in processes:
        for step in process.steps:
            spec = specs.get(step.template)
            if spec is not None:
                problems.extend(read_values(process, step, spec.parameters)[1])
            elif hint := closest(step.template, specs):
                problems.append(
                    process.problem(step, ("template",), f"unknown step template '{step.template}'", hint)
                )
    return problems


def read_values(
    process: WantedProcess, step: WantedStep, parameters: Sequence[Parameter]
) -> tuple[Mapping[str, str], list[Problem]]:
    """The values under `with:` as Octopus keeps them, by variable name, and every fault among them."""
    by_key = {parameter.key: parameter for parameter in parameters}
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for key, value in step.values.items():
        path: Path = ("with", key)
        parameter = by_key.get(key)
        if parameter is None:
            hint = closest(key, by_key) or ("known are " + ", ".join(by_key) if by_key else "it has none")
            message = f"the step template '{step.template}' has no parameter '{key}'"
            problems.append(process.problem(step, path, message, hint, at_key=True))
            continue
        try:
            values[parameter.variable] = octopus_value(parameter, value)
        except ValueError as error:
            message, _, hint = str(error).partition("\n")
            problems.append(
                process.problem(step, path, f"{key} does not fit the type {parameter.type}: {message}", hint)
            )
    missing = [p.key for p in parameters if p.required and not p.default and not values.get(p.variable)]
    given = [key for key in missing if key not in step.values]
    if given:
        message = f"the step template '{step.template}' needs a value for {', '.join(given)}"
        problems.append(process.problem(step, (), message, "under with:"))
    for key in missing:
        if key in step.values and key in by_key and by_key[key].variable in values:
            problems.append(process.problem(step, ("with", key), f"{key} must not be empty"))
    return values, problems


def octopus_value(parameter: Parameter, value: object) -> str:
    """A value as Octopus keeps it. A secret may only be bound to a variable: a file is no place for it."""
    if parameter.type == "secret" and value != "" and value is not None:
        if not isinstance(value, str) or not re.fullmatch(r"\s*#\{[^{}]+\}\s*", value):
            raise ValueError(
                "a secret must not stand in a file\nbind it to a sensitive variable of the project, "
                'like "#' + '{Shop.ApiKey}"'
            )
        return value.strip()
    return octopus_text(parameter, value)


# Templates that we have no spec of are filled in by their parameters' full names, as the form's controls tell the types.
CONTROL_TYPES: Mapping[str, str] = {
    "MultiLineText": "lines",
    "Checkbox": "boolean",
    "Select": "choice",
    "Sensitive": "secret",
}


def parameter_of(found: TemplateParameter) -> Parameter:
    """A parameter of somebody else's template as if a spec had named it: its key is its whole name."""
    choices = {value: label or value for value, _, label in (o.partition("|") for o in found.select_options)}
    return Parameter(
        key=found.name,
        name=found.name,
        variable=found.name,
        label=found.label,
        type=CONTROL_TYPES.get(found.control_type, "text"),
        default=found.default,
        choices=choices,
    )
