"""A coordination file in Octopus' own terms: names become the ids of one space, values the text that Octopus keeps. Pure.

`Found` is what must be known of the space; who reads it is `processes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from generator import concurrency_tag, owned_step
from generator.branches import Branch, Missing
from generator.concurrency_tag import ReadyTag
from generator.coordination import (
    WantedProcess,
    WantedStep,
    find_own,
    parameter_of,
    pool_variable,
    read_values,
)
from generator.errors import Problem, Problems
from generator.expressions import is_known, variables_in
from generator.library import FoundTemplate
from generator.octopus.records import Document, ProcessDocument, ProjectDocument, StepDocument
from generator.owned_step import VALUE, ReadyStep, find_owned, hash_of
from generator.process_draft import ReadyProcess
from generator.source import Path, closest
from generator.spec import Parameter, Spec
from generator.step_order import find_step
from generator.step_template import SENSITIVE, StepTemplate


@dataclass(frozen=True, kw_only=True)
class FoundProject:
    """One project on a server. `variable_set` is its own, as received; `variables` are the folded names of all variables that
    it can use. None: the account may not see them, or, for the names, nothing asks for them."""

    id: str
    name: str
    document: ProjectDocument
    variable_set: Document | None = None
    variables: frozenset[str] | None = None

    @property
    def has_variables_in_git(self) -> bool:
        return bool(conversion_of(self.document).get("VariablesAreInGit"))


def conversion_of(project: ProjectDocument) -> Document:
    """Which parts of a version-controlled project are in Git besides its process."""
    return (cast(Document, project).get("PersistenceSettings") or {}).get("ConversionState") or {}


@dataclass(frozen=True, kw_only=True)
class FoundProcess:
    """One process on a server. `path` is its address in the space; `owner` the id of the project, or of the runbook.

    `channels` are the project's, by name. `branch` is where the process of a version-controlled project goes.
    """

    path: str
    owner: str
    project: FoundProject
    document: ProcessDocument
    channels: Mapping[str, str] = field(default_factory=dict)
    branch: Branch | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a plan needs to know of a space. Names lead to ids; a process that could not be found is absent, and told as
    `missing`."""

    templates: Mapping[str, FoundTemplate]
    environments: Mapping[str, str] = field(default_factory=dict)
    worker_pools: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)
    tenant_tags: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, FoundProcess] = field(default_factory=dict)
    missing: Mapping[str, Missing] = field(default_factory=dict)


def resolve(
    wanted: Sequence[WantedProcess], found: Found, specs: Mapping[str, Spec]
) -> tuple[ReadyProcess, ...]:
    """The wanted processes in Octopus' terms. Errors: Problems with every name that the space does not know and every value
    that does not fit, in one go. `specs` are those we know, by template name; other templates are taken from the library."""
    problems: list[Problem] = []
    ready: list[ReadyProcess] = []
    for process in wanted:
        place = found.processes.get(process.where)
        if place is None:
            path, message, hint = found.missing[process.where]
            problems.append(process.problem(None, path, message, hint, at_key=not path))
        steps = []
        for step in process.steps:
            scene = Scene(process=process, step=step, found=found, place=place, problems=problems)
            steps.append(scene.ready_step(specs.get(step.template)))
        if place is not None and not problems:
            ready.append(
                ReadyProcess(
                    where=process.where,
                    path=place.path,
                    owner=place.owner,
                    project=place.project.id,
                    file=process.file,
                    is_runbook=process.runbook is not None,
                    branch=place.branch,
                    message=process.git.message if process.git else None,
                    variable_set=place.project.variable_set,
                    steps=tuple(step for step in steps if step is not None),
                )
            )
    if problems:
        raise Problems(problems)
    return tuple(ready)


def resolve_tags(wanted: Sequence[WantedProcess], found: Found) -> tuple[ReadyTag, ...]:
    """The concurrency tag of each project, or that it has none. Errors: Problems where a tag cannot be kept."""
    tags: dict[str, ReadyTag] = {}
    problems: list[Problem] = []
    for process in wanted:
        place = found.processes.get(process.where)
        if place is None:
            continue
        project, path = place.project, ("concurrency_tag",)
        if process.concurrency_tag is not None and project.has_variables_in_git:
            message = f"the variables of project '{project.name}' are in Git"
            problems.append(process.problem(None, path, message, f"add {concurrency_tag.NAME} there by hand"))
        elif process.concurrency_tag is not None and project.variable_set is None:
            message = f"the account may not see the variables of project '{project.name}'"
            problems.append(process.problem(None, path, message, "it needs VariableView and VariableEdit"))
        if project.variable_set is None or project.has_variables_in_git:
            continue
        if project.id in tags and process.concurrency_tag is None:
            continue
        tags[project.id] = ReadyTag(
            project=project.name,
            owner=project.id,
            file=process.file,
            path=f"variables/{project.document['VariableSetId']}",
            value=process.concurrency_tag,
        )
    if problems:
        raise Problems(problems)
    return tuple(tags.values())


class Scene(NamedTuple):
    """One wanted step and everything around it while its names are looked up."""

    process: WantedProcess
    step: WantedStep
    found: Found
    place: FoundProcess | None
    problems: list[Problem]

    def fault(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(self.process.problem(self.step, path, message, hint))

    def pick(self, kind: str, path: Path, name: str, known: Mapping[str, str]) -> str:
        """The id of a name, exactly or ignoring case; a problem when there is none."""
        if name in known:
            return known[name]
        for other, identity in known.items():
            if other.casefold() == name.casefold():
                return identity
        hint = closest(name, known) or (
            f"known are {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""
        )
        self.fault(path, f"unknown {kind} '{name}'", hint)
        return ""

    def pick_all(self, kind: str, key: str, names: Sequence[str], known: Mapping[str, str]) -> str:
        return "\n".join(sorted(self.pick(kind, (key, i), name, known) for i, name in enumerate(names)))

    def ready_step(self, spec: Spec | None) -> ReadyStep | None:
        """The step in Octopus' terms, or None when its template is unknown. Faults go to `problems`."""
        template = self.find_template(spec)
        values = self.read_values(template, spec)
        facts = self.facts()
        self.check_anchor()
        if template is None or self.place is None:
            return None
        document = template.document
        names = {
            identity: name
            for known in (
                self.found.environments,
                self.found.worker_pools,
                self.found.feeds,
                self.place.channels,
            )
            for name, identity in known.items()
        }
        return ReadyStep(
            key=self.step.key,
            owner=self.place.owner,
            file=self.process.file,
            template=template.name,
            template_version=template.version,
            action_type=template.content.action_type,
            position=self.step.position,
            anchor=self.step.anchor,
            before=self.step.before is not None,
            parallel=self.step.parallel,
            facts={**facts, **{VALUE + name: text for name, text in values.items()}},
            copied={
                **document["Properties"],
                owned_step.TEMPLATE_ID: template.id,
                owned_step.TEMPLATE_VERSION: str(template.version),
            },
            packages=document.get("Packages") or (),
            git_dependencies=document.get("GitDependencies") or (),
            defaults={
                "condition": "Success",
                **{VALUE + p.name: p.default or "" for p in template.content.parameters},
            },
            sensitive=frozenset(p.name for p in template.content.parameters if p.control_type == SENSITIVE),
            names=names,
        )

    def find_template(self, spec: Spec | None) -> FoundTemplate | None:
        template = self.found.templates.get(self.step.template)
        if template is None:
            if spec is not None:
                message = f"the step template '{self.step.template}' is not in the library of this space"
                self.fault(("template",), message, "publish it first: octosteps apply")
            else:
                hint = closest(self.step.template, self.found.templates)
                self.fault(("template",), f"unknown step template '{self.step.template}'", hint)
        return template

    def read_values(self, template: FoundTemplate | None, spec: Spec | None) -> Mapping[str, str]:
        """The text of every parameter, by variable: the file's value, else the template's default."""
        if template is None:
            if spec is not None:
                self.problems.extend(read_values(self.process, self.step, spec.parameters)[1])
            return {}
        parameters: Sequence[Parameter] = (
            spec.parameters if spec else tuple(parameter_of(item) for item in template.content.parameters)
        )
        values, problems = read_values(self.process, self.step, parameters)
        self.problems.extend(problems)
        published = {item.name: item.default or "" for item in template.content.parameters}
        for parameter in parameters:
            if parameter.variable in values and parameter.variable not in published:
                message = f"the published version of '{template.name}' has no parameter '{parameter.key}' yet"
                self.fault(("with", parameter.key), message, "publish it first: octosteps apply")
        return {name: values.get(name, default) for name, default in published.items()}

    def facts(self) -> dict[str, str]:
        """Every fact of the step but its values; in the order in which people read them."""
        step, found = self.step, self.found
        variable = pool_variable(step.worker_pool) if step.worker_pool else None
        pool = ""
        if step.worker_pool and variable is None:
            pool = self.pick("worker pool", ("worker_pool",), step.worker_pool, found.worker_pools)
        feed = (
            self.pick("feed", ("container", "feed"), step.container.feed, found.feeds)
            if step.container
            else ""
        )
        channels = self.place.channels if self.place else {name: name for name in step.channels}
        return {
            "name": step.name,
            "condition": step.condition,
            "condition expression": step.expression,
            "environments": self.pick_all(
                "environment", "environments", step.environments, found.environments
            ),
            "excluded environments": self.pick_all(
                "environment", "excluded_environments", step.excluded_environments, found.environments
            ),
            "channels": self.pick_all("channel", "channels", step.channels, channels),
            "tenant tags": self.pick_all("tenant tag", "tenant_tags", step.tenant_tags, found.tenant_tags),
            "target roles": ",".join(step.target_roles),
            "worker pool": pool,
            "worker pool variable": variable or "",
            "container image": step.container.image if step.container else "",
            "container feed": feed,
            "retries": str(step.retries or ""),
            "time limit": str(step.time_limit or ""),
        }

    def check_anchor(self) -> None:
        """Whether the step named by after or before is there; of no matter once our step stands where the file put it."""
        anchor = self.step.anchor
        if anchor is None or self.place is None or find_own(self.process, anchor) is not None:
            return
        steps = self.place.document["Steps"]
        if find_step(steps, anchor) is not None or is_placed(steps, self.place.owner, self.step):
            return
        names = [step["Name"] for step in steps] + [step.name for step in self.process.steps]
        hint = closest(anchor, names) or (f"its steps are {', '.join(names)}" if len(names) <= 12 else "")
        self.fault(
            ("after" if self.step.after else "before",),
            f"unknown step '{anchor}' in {self.process.where}",
            hint,
        )


def is_placed(steps: Sequence[StepDocument], owner: str, step: WantedStep) -> bool:
    """Whether our step is there and was put where the file still wants it."""
    return any(
        owned_step.read_put(owned.action).get(owned_step.POSITION) == hash_of(step.position)
        for owned in find_owned(steps, owner).get(step.key, ())
    )


def warn_unknown_variables(wanted: Sequence[WantedProcess], found: Found) -> Iterator[str]:
    """A sentence for each `#{Variable}` in a step's values that exists in no variable set of its project."""
    for process in wanted:
        place = found.processes.get(process.where)
        if place is None or place.project.variables is None:
            continue
        known = place.project.variables
        for name in variables_in(process.concurrency_tag or ""):
            if not is_known(name, known):
                yield f"{process.where}: no variable set of the project has {name!r}, which its concurrency tag refers to"
        for step in process.steps:
            template = found.templates.get(step.template)
            own = {p.name.casefold() for p in template.content.parameters} if template else set()
            for name in expressions_of(step):
                if not is_known(name, known | own):
                    yield (
                        f"{process.where}: {step.name}: no variable set of the project has {name!r}, "
                        "which its values refer to"
                    )


def warn_unpublished(
    wanted: Sequence[WantedProcess], found: Found, templates: Mapping[str, StepTemplate]
) -> Iterator[str]:
    """A sentence for each template in use whose published content is not that of its spec: the steps get what is published."""
    for name in dict.fromkeys(step.template for process in wanted for step in process.steps):
        published = found.templates.get(name)
        if published is not None and name in templates and published.content != templates[name]:
            yield f"{name!r} in the library differs from its spec; the steps get the library's: publish it first?"


def expressions_of(step: WantedStep) -> tuple[str, ...]:
    """The names of the variables that a step's values, condition and worker pool refer to, each once."""
    texts = [value for value in step.values.values() if isinstance(value, str)]
    texts += [
        item
        for value in step.values.values()
        if isinstance(value, list)
        for item in value
        if isinstance(item, str)
    ]
    texts += [
        item
        for value in step.values.values()
        if isinstance(value, dict)
        for item in value.values()
        if isinstance(item, str)
    ]
    texts += [step.expression, step.worker_pool or ""]
    return tuple(dict.fromkeys(name for text in texts for name in variables_in(text)))
