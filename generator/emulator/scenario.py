"""The scenario file: what an emulated server holds when it starts. Reads it, and finds every fault that needs no server.

What only the server can judge (a release that the lifecycle does not let through, two names alike) is told by `seeding`, which
asks the server, at the same places of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from generator.coordination import WantedProcess, WantedStep, read_values
from generator.errors import Problem, Problems
from generator.source import Path, Source, check_schema, closest, read_source
from generator.workspace import Built

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
ADMIN = "admin"
"""The name under which a scenario speaks of the key that the server itself was given."""

DEFAULT_SPACE = "Default"
DEFAULT_LIFECYCLE = "Default Lifecycle"
DEFAULT_POOL = "Default Worker Pool"
DEFAULT_CHANNEL = "Default"

KINDS_OF_STEP = ("script", "template", "manual")
PRETENDED = ("duration", "outcome", "message")

Templates = Callable[[], Mapping[str, Built]]


@dataclass(frozen=True)
class Node:
    """A value in the file and where it stands, so that whoever reads it can complain at the right place."""

    source: Source
    path: Path = ()

    @property
    def value(self) -> Any:
        found: Any = self.source.data
        for step in self.path:
            found = found[step]
        return found

    def has(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def get(self, key: str, default: Any = None) -> Any:
        """The plain value below a key."""
        return self.value[key] if self.has(key) else default

    def at(self, *keys: str | int) -> Node:
        return Node(self.source, (*self.path, *keys))

    def named(self, key: str) -> list[tuple[str, Node]]:
        """The entries of the mapping below a key, by name; none when it is absent."""
        return [(name, self.at(key, name)) for name in self.get(key, {})]

    def items(self, key: str) -> list[Node]:
        """The entries of the list below a key; none when it is absent."""
        return [self.at(key, index) for index in range(len(self.get(key, ())))]

    def problem(self, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        return self.source.problem(self.path, message, hint, at_key=at_key)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A scenario whose names all lead somewhere. `templates`: the step templates it uses by name; `scripts`: its script
    steps' texts by the name in the file; `secrets`: values of the environment by name, never shown; `coordination`: by space
    the coordination files whose steps are to be imported before releases are made."""

    root: Node
    templates: Mapping[str, Built] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    coordination: Mapping[str, tuple[FilePath, ...]] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        return float(self.root.get("speed", 1.0))

    @property
    def task_cap(self) -> int:
        return int(self.root.get("task_cap", 5))


@cache
def read_schema() -> Mapping[str, object]:
    """The JSON Schema of scenario files, draft 2020-12."""
    text = (FilePath(__file__).parent / "scenario.schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, object] = json.loads(text)
    return schema


def read_scenario(file: FilePath, *, environ: Mapping[str, str], templates: Templates) -> Scenario:
    """The scenario in a file. `templates` gives all known step templates by name; asked only when a step names one.

    Errors: Problems with every fault of the file: in its form, names that lead nowhere, values that do not fit, scripts and
    variables of the environment that are missing.
    """
    source = read_source(file)
    problems = check_schema(source, read_schema())
    if problems:
        raise Problems(problems)
    root = Node(source)
    wanted = list(template_names(root))
    known = templates() if wanted else {}
    scripts = {name: (file.parent / name) for name in script_names(root)}
    problems = [
        *check_scenario(root, environ=environ, known=known),
        *check_scripts(root, scripts),
        *check_files(root, file.parent),
    ]
    if problems:
        raise Problems(problems)
    return Scenario(
        root=root,
        templates={name: known[name] for name in wanted},
        scripts={name: path.read_text(encoding="utf-8-sig") for name, path in scripts.items()},
        secrets={name: environ[name] for name in secret_names(root)},
        coordination={
            name: tuple(file.parent / other for other in space.get("coordination", ()))
            for name, space in spaces(root)
            if space.has("coordination")
        },
    )


def seconds(text: str) -> int:
    """`1h30m` in seconds."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))


# --- walking ----------------------------------------------------------------------------------------------------------


def spaces(root: Node) -> list[tuple[str, Node]]:
    return root.named("spaces")


def all_steps(root: Node) -> Iterator[Node]:
    for _, space in spaces(root):
        for _, project in space.named("projects"):
            yield from steps_of(project)


def steps_of(project: Node) -> Iterator[Node]:
    """The steps of its deployment process, then those of its runbooks."""
    yield from project.items("steps")
    for _, runbook in project.named("runbooks"):
        yield from runbook.items("steps")


def variable_values(variables: Node, name: str) -> list[Node]:
    """The values of one variable: the one that the file gives, or each of its list."""
    found = variables.get(name)
    return variables.items(name) if isinstance(found, list) else [variables.at(name)]


def all_values(root: Node) -> Iterator[Node]:
    for _, space in spaces(root):
        owners = [variables for _, variables in space.named("variable_sets")]
        owners += [
            project.at("variables") for _, project in space.named("projects") if project.has("variables")
        ]
        for variables in owners:
            for name in variables.value:
                yield from variable_values(variables, name)


def template_names(root: Node) -> Iterator[str]:
    for step in all_steps(root):
        if step.has("template"):
            yield step.get("template")
    for _, space in spaces(root):
        yield from space.get("step_templates", ())


def script_names(root: Node) -> Iterator[str]:
    return (step.get("script") for step in all_steps(root) if step.has("script"))


def secret_names(root: Node) -> Iterator[str]:
    """Names of variables of the environment."""
    for value in all_values(root):
        kind, _, name = str(value.get("secret", "")).partition(":")
        if kind == "env":
            yield name


# --- faults that the file shows by itself ------------------------------------------------------------------------------


def check_scenario(root: Node, *, environ: Mapping[str, str], known: Mapping[str, Built]) -> list[Problem]:
    """Every name that leads nowhere, and every value that does not fit, in no order."""
    problems: list[Problem] = []
    keys = [ADMIN, *root.get("api_keys", {})]
    projects = [name for _, space in spaces(root) for name in space.get("projects", {})]
    for name, key in root.named("api_keys"):
        if name == ADMIN:
            problems.append(
                key.problem(f"the key '{ADMIN}' is the server's own", "choose another name", at_key=True)
            )
        problems += check_names(key, "projects", projects, "project")
    for value in all_values(root):
        problems += check_value(value, keys=keys, environ=environ)
    for _, space in spaces(root):
        problems += check_space(space, known)
    for fault in root.items("faults"):
        problems += check_fault(fault)
    return problems


def check_names(node: Node, key: str, known: Sequence[str], kind: str) -> Iterator[Problem]:
    """Names below `key`, one or a list, that are not among the known ones; case does not matter, as for Octopus."""
    if not node.has(key):
        return
    places = node.items(key) if isinstance(node.get(key), list) else [node.at(key)]
    folded = {name.casefold() for name in known}
    for place in places:
        if place.value.casefold() not in folded:
            hint = closest(place.value, known)
            hint = hint or ("known are " + ", ".join(known) if known else f"the space has no {kind}")
            yield place.problem(f"unknown {kind} '{place.value}'", hint)


def check_value(value: Node, *, keys: Sequence[str], environ: Mapping[str, str]) -> Iterator[Problem]:
    """One value of a variable."""
    if isinstance(value.value, str):
        return
    if value.has("secret") and value.has("value"):
        yield value.at("secret").problem(
            "a variable has one value: 'value' or 'secret', not both", at_key=True
        )
    kind, _, name = value.get("secret", "").partition(":")
    if kind == "env" and name not in environ:
        yield value.at("secret").problem(f"the environment has no variable '{name}'", closest(name, environ))
    if kind == "key" and name not in keys:
        hint = closest(name, keys) or "known are " + ", ".join(keys)
        yield value.at("secret").problem(f"unknown API key '{name}'", hint)


def check_space(space: Node, known: Mapping[str, Built]) -> Iterator[Problem]:
    environments = space.get("environments", [])
    projects = list(space.get("projects", {}))
    tags = [f"{name}/{tag}" for name, tags in space.get("tag_sets", {}).items() for tag in tags]
    lifecycles = [DEFAULT_LIFECYCLE, *space.get("lifecycles", {})]
    for name in space.get("lifecycles", {}):
        for phase in space.at("lifecycles").items(name):
            yield from check_names(phase, "environments", environments, "environment")
    for _, machine in space.named("machines"):
        yield from check_names(machine, "environments", environments, "environment")
        yield from check_names(machine, "tenants", list(space.get("tenants", {})), "tenant")
        yield from check_names(machine, "tenant_tags", tags, "tenant tag")
    for _, tenant in space.named("tenants"):
        yield from check_names(tenant, "tags", tags, "tenant tag")
        for name in tenant.get("projects", {}):
            below = tenant.at("projects")
            if name.casefold() not in {project.casefold() for project in projects}:
                hint = closest(name, projects) or "known are " + ", ".join(projects)
                yield below.at(name).problem(f"unknown project '{name}'", hint, at_key=True)
            yield from check_names(below, name, environments, "environment")
    for _, variables in space.named("variable_sets"):
        yield from check_scopes(variables, environments, None)
    for place in space.items("step_templates"):
        yield from check_template_name(place, known)
    for name, project in space.named("projects"):
        yield from check_names(project, "lifecycle", lifecycles, "lifecycle")
        yield from check_names(project, "variable_sets", list(space.get("variable_sets", {})), "variable set")
        yield from check_project(name, project, environments=environments, tags=tags, known=known,
                                 lifecycles=lifecycles, pools=[DEFAULT_POOL, *space.get("worker_pools", [])])  # fmt: skip
    for deployment in space.items("deployments"):
        yield from check_deployment(deployment, space, environments, projects)


def channels_of(project: Node) -> list[str]:
    return [DEFAULT_CHANNEL, *project.get("channels", {})]


def check_scopes(
    variables: Node, environments: Sequence[str], channels: Sequence[str] | None
) -> Iterator[Problem]:
    """`channels` None: of a variable set, which several projects include."""
    for name in variables.value:
        for value in variable_values(variables, name):
            yield from check_names(value, "environments", environments, "environment")
            if channels is not None:
                yield from check_names(value, "channels", channels, "channel")
            elif value.has("channels"):
                message = "a variable in a variable set has no channels: they belong to one project"
                yield value.at("channels").problem(message, at_key=True)


def check_project(
    name: str,
    project: Node,
    *,
    environments: Sequence[str],
    tags: Sequence[str],
    lifecycles: Sequence[str],
    pools: Sequence[str],
    known: Mapping[str, Built],
) -> Iterator[Problem]:
    channels = channels_of(project)
    if project.has("variables"):
        yield from check_scopes(project.at("variables"), environments, channels)
    for _, channel in project.named("channels"):
        yield from check_names(channel, "lifecycle", lifecycles, "lifecycle")
    for release in project.items("releases"):
        yield from check_names(release, "channel", channels, "channel")
    for step in steps_of(project):
        yield from check_names(step, "environments", environments, "environment")
        yield from check_names(step, "excluded_environments", environments, "environment")
        yield from check_names(step, "channels", channels, "channel")
        yield from check_names(step, "tenant_tags", tags, "tenant tag")
        yield from check_names(step, "worker_pool", pools, "worker pool")
        yield from check_step(name, step, known)


def check_step(project: str, step: Node, known: Mapping[str, Built]) -> Iterator[Problem]:
    kinds = [kind for kind in KINDS_OF_STEP if step.has(kind)]
    for other in kinds[1:]:
        yield step.at(other).problem(f"a step is one thing: '{kinds[0]}' or '{other}', not both", at_key=True)
    for word in PRETENDED:
        if kinds and step.has(word):
            message = f"'{word}' is for steps that only pretend: a step with '{kinds[0]}' shows by itself"
            yield step.at(word).problem(message, at_key=True)
    if step.has("with") and not step.has("template"):
        yield step.at("with").problem(
            "'with' holds values for a step template: 'template' is missing", at_key=True
        )
    if step.has("block") and not step.has("manual"):
        yield step.at("block").problem(
            "'block' belongs to a manual intervention: 'manual' is missing", at_key=True
        )
    if seconds(step.get("time_limit", "")) % 60:
        yield step.at("time_limit").problem("a time limit is in whole minutes")
    if step.has("template"):
        faults = list(check_template_name(step.at("template"), known))
        yield from faults
        if not faults:
            yield from template_values(project, step, known[step.get("template")])[1]


def check_template_name(place: Node, known: Mapping[str, Built]) -> Iterator[Problem]:
    if place.value not in known:
        hint = closest(place.value, known) or "known are " + ", ".join(known)
        yield place.problem(f"unknown step template '{place.value}'", hint)


def template_values(project: str, step: Node, built: Built) -> tuple[Mapping[str, str], list[Problem]]:
    """The values under `with:` as Octopus keeps them, by variable name, and every fault among them."""
    process = WantedProcess(project=project, runbook=None, steps=(), source=step.source, path=step.path)
    wanted = WantedStep(
        key="scenario",
        template=built.spec.name,
        name=step.get("name"),
        path=step.path,
        values=step.get("with", {}),
    )
    return read_values(process, wanted, built.spec.parameters)


def check_deployment(
    deployment: Node, space: Node, environments: Sequence[str], projects: Sequence[str]
) -> Iterator[Problem]:
    yield from check_names(deployment, "environment", environments, "environment")
    yield from check_names(deployment, "tenant", list(space.get("tenants", {})), "tenant")
    yield from check_names(deployment, "project", projects, "project")
    project = find_named(space, "projects", deployment.get("project"))
    if project is not None:
        of = f"of {deployment.get('project')}"
        versions = [release_version(item) for item in project.items("releases")]
        yield from check_names(deployment, "release", versions, f"release {of}")
        yield from check_names(deployment, "runbook", list(project.get("runbooks", {})), f"runbook {of}")
    yield from check_what(deployment)
    state = deployment.get("state", "success")
    for word, fitting in (
        ("error", ("failed", "canceled", "timed_out")),
        ("ago", ENDED),
        ("lasted", ENDED),
        ("in", ("queued",)),
    ):
        if deployment.has(word) and state not in fitting:
            yield deployment.at(word).problem(
                f"'{word}' does not fit a deployment that is '{state}'", at_key=True
            )


def check_what(deployment: Node) -> Iterator[Problem]:
    """A deployment is one of a release, or a run of a runbook; runs of the past are not made up."""
    if deployment.has("release") == deployment.has("runbook"):
        yield deployment.problem("a deployment has a release; a run of a runbook has 'runbook' instead")
    elif deployment.has("runbook") and deployment.get("state") != "queued":
        message = "a run of a runbook begins when the server has started"
        yield deployment.at("runbook").problem(message, "add 'state: queued'", at_key=True)


ENDED = ("success", "failed", "canceled", "timed_out")


def find_named(node: Node, key: str, name: str) -> Node | None:
    """The entry of that name, whatever its case."""
    return next((entry for other, entry in node.named(key) if other.casefold() == name.casefold()), None)


def release_version(release: Node) -> str:
    return str(release.value if isinstance(release.value, str) else release.get("version"))


FITTING = {
    "status": ("status", "html"),
    "retry_after": ("status", "html"),
    "seconds": ("slow", "refused", "restart"),
}
"""The kinds of fault that these words say something about."""


def check_fault(fault: Node) -> Iterator[Problem]:
    kind = fault.get("kind")
    for word, kinds in FITTING.items():
        if fault.has(word) and kind not in kinds:
            message = f"'{word}' says nothing about a fault of the kind '{kind}'"
            yield fault.at(word).problem(message, f"it belongs to {', '.join(kinds)}", at_key=True)
    if fault.has("seed") and not fault.has("probability"):
        message = "'seed' does nothing without 'probability': this fault strikes every time"
        yield fault.at("seed").problem(message, at_key=True)
    try:
        re.compile(fault.get("route", ""))
    except re.error as error:
        yield fault.at("route").problem(f"not a regular expression: {error}")


def check_scripts(root: Node, scripts: Mapping[str, FilePath]) -> Iterator[Problem]:
    """Script files that cannot be read."""
    for step in all_steps(root):
        if not step.has("script"):
            continue
        path, place = scripts[step.get("script")], step.at("script")
        try:
            path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            near = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
            yield place.problem(f"there is no script '{step.get('script')}'", closest(path.name, near))
        except UnicodeDecodeError:
            yield place.problem(f"the script '{step.get('script')}' is not UTF-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield place.problem(f"the script '{step.get('script')}' cannot be read: {reason}")


def check_files(root: Node, folder: FilePath) -> Iterator[Problem]:
    """Coordination files that are not there. What they hold is told when they are read."""
    for _, space in spaces(root):
        for place in space.items("coordination"):
            path = folder / place.value
            if not path.is_file():
                near = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
                yield place.problem(f"there is no file '{place.value}'", closest(path.name, near))
