"""Deadlocks that coordination files show by themselves: waits in a circle, concurrency tags that block their own child, and how
many slots of the task cap a deployment needs at the same time.

What is not in the files (people's steps, other projects, values in expressions) is taken not to wait, and steps whose order the
files leave open are taken to be harmless: what is told here is there. At run time the steps look for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from generator.coordination import WantedProcess, WantedStep, find_own
from generator.errors import Problem
from generator.source import Path
from generator.spec import Spec

DEFAULT_TASK_CAP = 5  # source: docs, Task cap
ELSEWHERE = ""  # any environment that no file names
SAME_ENVIRONMENT = re.compile(r"#\{\s*Octopus\.Environment\.(?:Name|Id)\s*\}", re.IGNORECASE)
EXPRESSION = re.compile(r"#\{\s*([^{}]+?)\s*\}")

DEPLOY, PREVIOUS = "Octopus - Deploy Release", "Octopus - Redeploy Previous Release"
RUN, WAIT = "Octopus - Run Runbook", "Octopus - Wait For Deployment"
ACQUIRE, RELEASE = "Octopus - Acquire Lock", "Octopus - Release Lock"
STEP_GOALS = ("reached_step", "passed_step")


@dataclass(frozen=True)
class Node:
    """The runs of one process in one environment. Names are compared without regard to case."""

    project: str
    runbook: str
    environment: str


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a step waits for: the end of a run, or one of its steps."""

    node: Node
    step: str = ""
    passed: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A step that waits, in one environment. `goals` are all needed; `lock` is what it waits for otherwise.

    `is_certain`: it runs whenever its process does. `holds`: the locks that its task has by then, each with whether it is shared.
    """

    process: WantedProcess
    step: WantedStep
    node: Node
    path: Path
    goals: Sequence[Goal] = ()
    lock: str = ""
    is_shared: bool = False
    is_certain: bool = True
    holds: Mapping[str, bool] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.node.project, self.node.runbook, self.step.key

    @property
    def place(self) -> str:
        problem = self.process.problem(self.step, self.path, "")
        return f"{problem.path}:{problem.place.line}:{problem.place.column}"

    def problem(self, message: str, hint: str) -> Problem:
        return self.process.problem(self.step, self.path, message, hint)


@dataclass(frozen=True, kw_only=True)
class Need:
    """The runs that may wait at the same time on behalf of the first one of them, as people name them."""

    waiters: Sequence[str]

    @property
    def slots(self) -> int:
        """Each of them holds one, and what they wait for needs another."""
        return len(self.waiters) + 1

    def side_by_side(self, cap: int) -> int:
        """So many of them leave a slot of the task cap free at any time."""
        return (cap - 1) // len(self.waiters)

    def __str__(self) -> str:
        *most, last = self.waiters
        who = (
            f"{', '.join(most)} and {last} may wait at the same time" if most else f"{last} waits for others"
        )
        words = (
            f"{who}, which takes {self.slots} slots of the task cap; by default there are {DEFAULT_TASK_CAP}"
        )
        count = self.side_by_side(DEFAULT_TASK_CAP)
        if not count:
            return f"{words}, and they would wait for ever"
        runs = "only one run" if count == 1 else f"up to {count} runs"
        return f"{words}, enough for {runs} of {self.waiters[0]} at a time"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is wrong, what may be, and what the task cap has to bear (None where nothing waits)."""

    problems: Sequence[Problem]
    warnings: Sequence[Problem]
    need: Need | None


def check_waits(processes: Sequence[WantedProcess], specs: Mapping[str, Spec]) -> Findings:
    """All that these files tell about waits, each circle once, whatever the number of files."""
    world = World(processes, specs)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for circle in circles(world):
        found = describe_circle(circle)
        (problems if all(one.is_certain for one in circle) else warnings).append(found)
    for chain, tag in tag_conflicts(world):
        found = describe_tag(chain, tag)
        (problems if all(one.is_certain for one in chain) else warnings).append(found)
    need = None if problems else greatest_need(world)
    if need is not None and not need.side_by_side(DEFAULT_TASK_CAP):
        first = next(one for one in world.waits if one.process.where == need.waiters[0])
        warnings.append(first.problem(str(need), "raise the task cap of the server's nodes"))
    return Findings(problems=sorted(set(problems)), warnings=sorted(set(warnings)), need=need)


# --- the files as waits ------------------------------------------------------------------------------------------------


class World:
    """Every step that waits, in each environment that the files name and in any other one."""

    def __init__(self, processes: Sequence[WantedProcess], specs: Mapping[str, Spec]) -> None:
        self.processes = {
            (slug(process.project), (process.runbook or "").casefold()): process for process in processes
        }
        self.specs = specs
        self.environments = [ELSEWHERE, *sorted({name for one in processes for name in self.named(one)})]
        self.waits = [
            one
            for process in processes
            for environment in self.environments
            for one in waits_of(process, environment, specs)
        ]
        self.by_node: dict[Node, list[Waiting]] = {}
        for one in self.waits:
            self.by_node.setdefault(one.node, []).append(one)

    def named(self, process: WantedProcess) -> Iterator[str]:
        for step in process.steps:
            yield from (name.casefold() for name in (*step.environments, *step.excluded_environments))
            for line in lines_of(value_of(step, self.specs, "environment")):
                for part in line.split("->"):
                    if not EXPRESSION.search(line) and not line.lower().startswith("phase:"):
                        yield part.strip().casefold()

    def order(self, node: Node) -> Order:
        return Order(self.processes[node.project, node.runbook])

    def after(self, waiting: Waiting) -> Iterator[Waiting]:
        """The waits that have to end before this one can."""
        for goal in waiting.goals:
            for other in self.by_node.get(goal.node, ()):
                if not goal.step or self.comes_first(other, goal):
                    yield other
        if waiting.lock:
            for other in self.waits:
                held = other.holds.get(waiting.lock)
                if held is not None and other.node != waiting.node and not (held and waiting.is_shared):
                    yield other

    def comes_first(self, other: Waiting, goal: Goal) -> bool:
        """Whether the awaited step cannot come so far before `other` has ended."""
        names = (other.step.name.casefold(), other.step.key)
        if goal.step.casefold() in names:
            return goal.passed
        return self.order(goal.node).is_before(other.step.name, goal.step)


def waits_of(process: WantedProcess, environment: str, specs: Mapping[str, Spec]) -> Iterator[Waiting]:
    """The steps of one process that wait when it runs in this environment."""
    node = Node(slug(process.project), (process.runbook or "").casefold(), environment)
    order = Order(process)
    steps = [step for step in process.steps if runs_in(step, environment)]
    for step in steps:
        holds = dict(locks_held(steps, order, step, environment, specs))
        certain = step.condition in ("Success", "Always") and not (
            step.channels or step.tenant_tags or step.target_roles
        )
        make = partial(Waiting, process=process, step=step, node=node, is_certain=certain, holds=holds)
        if step.template == ACQUIRE and text_of(value_of(step, specs, "when_busy")) != "fail":
            lock = lock_of(step, environment, specs)
            if lock:
                yield make(path=("with", "lock"), lock=lock, is_shared=is_shared(step, specs))
        else:
            goals = list(goals_of(step, environment, specs))
            if step.template == WAIT:  # which never means the running deployment itself
                goals = [goal for goal in goals if goal.node != node]
            if goals:
                yield make(path=("with", "project"), goals=goals)


def runs_in(step: WantedStep, environment: str) -> bool:
    only = {name.casefold() for name in step.environments}
    never = {name.casefold() for name in step.excluded_environments}
    return (not only or environment in only) and environment not in never


def goals_of(step: WantedStep, environment: str, specs: Mapping[str, Spec]) -> Iterator[Goal]:
    """What the step awaits, as far as names tell; nothing where it does not wait, or does so for any of several."""
    if step.template not in (DEPLOY, PREVIOUS, RUN, WAIT) or not stays_here(step, specs):
        return
    if is_on(step, specs, "what_if") or text_of(value_of(step, specs, "how_many")) == "any":
        return
    if step.template != WAIT and not is_on(step, specs, "wait"):
        return
    runbook = text_of(value_of(step, specs, "runbook")).casefold() if step.template == RUN else ""
    until = text_of(value_of(step, specs, "until"))
    name = text_of(value_of(step, specs, "step_name")) if until in STEP_GOALS else ""
    project = text_of(value_of(step, specs, "project"))
    if not EXPRESSION.search(project + runbook + name):
        for where in environments_of(value_of(step, specs, "environment"), environment):
            yield Goal(node=Node(slug(project), runbook, where), step=name, passed=until == "passed_step")
    if step.template == WAIT:
        yield from more_goals(step, environment, specs)


def more_goals(step: WantedStep, environment: str, specs: Mapping[str, Spec]) -> Iterator[Goal]:
    """Those of *More projects*, lines like `Search; until = passed_step; step = Build index`."""
    for line in lines_of(value_of(step, specs, "projects")):
        project, *parts = (part.strip() for part in line.split(";"))
        said = {name.strip(): text.strip() for name, _, text in (part.partition("=") for part in parts)}
        if EXPRESSION.search(line) or said.get("tenant"):
            continue
        until = said.get("until") or text_of(value_of(step, specs, "until"))
        name = said.get("step") or text_of(value_of(step, specs, "step_name"))
        where = said.get("environment") or value_of(step, specs, "environment")
        for place in environments_of(where, environment):
            goal = name if until in STEP_GOALS else ""
            yield Goal(node=Node(slug(project), "", place), step=goal, passed=until == "passed_step")


def stays_here(step: WantedStep, specs: Mapping[str, Spec]) -> bool:
    """Whether it looks at this server and space, and at its own tenant or at all of them."""
    for name in ("server", "space"):
        if name in step.values and text_of(step.values[name]) != text_of(default_of(step, specs, name)):
            return False
    tenants = lines_of(value_of(step, specs, "tenant"))
    return tenants in ([], ["*"]) or "tenant" not in step.values


def environments_of(value: object, own: str) -> Iterator[str]:
    """The environments of a field: the own one, names, and maps such as `UAT -> Staging`; no phases and other expressions."""
    for line in lines_of(value):
        source, arrow, target = (part.strip() for part in line.partition("->"))
        if SAME_ENVIRONMENT.fullmatch(line):
            yield own
        elif EXPRESSION.search(line) or line.lower().startswith("phase:"):
            continue
        elif not arrow:
            yield source.casefold()
        elif source.casefold() == own:
            yield target.casefold()


# --- locks -------------------------------------------------------------------------------------------------------------


def lock_of(step: WantedStep, environment: str, specs: Mapping[str, Spec]) -> str:
    """The lock that it means in this environment, as one text to compare; "" when that cannot be told."""
    name = " ".join(text_of(value_of(step, specs, "lock")).casefold().split())
    scope = text_of(value_of(step, specs, "scope"))
    return "" if EXPRESSION.search(name) else name + (f" in {environment}" if "environment" in scope else "")


def is_shared(step: WantedStep, specs: Mapping[str, Spec]) -> bool:
    return text_of(value_of(step, specs, "mode")).casefold() != "exclusive"


def locks_held(
    steps: Sequence[WantedStep], order: Order, here: WantedStep, environment: str, specs: Mapping[str, Spec]
) -> Iterator[tuple[str, bool]]:
    """The locks that were certainly taken before `here`, and are certainly given back only after it."""
    for taker in steps:
        if taker.template != ACQUIRE or not order.is_before(taker.name, here.name):
            continue
        lock = lock_of(taker, environment, specs)
        givers = [
            one for one in steps if one.template == RELEASE and lock_of(one, environment, specs) == lock
        ]
        if lock and all(order.is_before(here.name, giver.name) for giver in givers):
            yield lock, is_shared(taker, specs)


class Order:
    """Which of a process' steps surely run after one another. Steps of people count as far as ours are placed by them."""

    def __init__(self, process: WantedProcess) -> None:
        self.process = process

    @cached_property
    def following(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {}
        before: str | None = None
        for step in self.process.steps:
            name = step.name.casefold()
            anchor = self.name_of(step.anchor) if step.anchor else before
            if anchor is not None and not step.parallel:
                first, second = (name, anchor) if step.before else (anchor, name)
                found.setdefault(first, set()).add(second)
            before = name
        return found

    def name_of(self, word: str) -> str:
        own = find_own(self.process, word)
        return (own.name if own is not None else word).casefold()

    def is_before(self, first: str, second: str) -> bool:
        left, seen, end = [self.name_of(first)], set[str](), self.name_of(second)
        while left:
            for name in self.following.get(left.pop(), ()):
                if name == end:
                    return True
                if name not in seen:
                    seen.add(name)
                    left.append(name)
        return False


# --- what is wrong with them -------------------------------------------------------------------------------------------


def circles(world: World) -> Iterator[Sequence[Waiting]]:
    """The shortest circle through each wait, those in several environments once."""
    told: set[frozenset[tuple[str, str, str]]] = set()
    for start in world.waits:
        circle = way_back(world, start)
        steps = frozenset(one.identity for one in circle)
        if circle and steps not in told:
            told.add(steps)
            yield circle


def way_back(world: World, start: Waiting) -> Sequence[Waiting]:
    """The waits from `start` until it comes again, without the last; () when it does not."""
    ways: list[list[Waiting]] = [[start]]
    seen: set[int] = set()
    while ways:
        way = ways.pop(0)
        for other in world.after(way[-1]):
            if other is start:
                return way
            if id(other) not in seen:
                seen.add(id(other))
                ways.append([*way, other])
    return ()


def describe_circle(circle: Sequence[Waiting]) -> Problem:
    """`wait cycle: Shop waits for Web (shop.yaml:4:19), which waits for Shop (web.yaml:9:19)`."""
    parts = []
    for index, one in enumerate(circle):
        target = circle[(index + 1) % len(circle)]
        subject = one.process.where if index == 0 else "which"
        lock = f"the lock {text_of(one.step.values.get('lock', ''))} of " if one.lock else ""
        parts.append(f"{subject} waits for {lock}{target.process.where} ({one.place})")
    hint = "let one of them not wait, wait for a step that comes before, or take locks in one order"
    where = circle[0].node.environment
    message = (
        f"these steps would wait for each other for ever{f' in {where}' if where else ''}: {', '.join(parts)}"
    )
    if len(circle) == 1:
        message = f"this step would wait for its own project for ever{f' in {where}' if where else ''}"
        hint = "do not wait, or name another environment"
    return circle[0].problem(message, hint)


def tag_conflicts(world: World) -> Iterator[tuple[Sequence[Waiting], str]]:
    """Waits for a run that cannot begin before the waiting task has ended, for both have one concurrency tag; with the waits
    that lead there."""
    told: set[tuple[tuple[str, str, str], Node]] = set()
    for start in world.waits:
        tag = tag_of(world, start.node)
        ways: list[list[Waiting]] = [[start]] if tag else []
        seen: set[int] = set()
        while ways:
            way = ways.pop(0)
            for goal in way[-1].goals:
                same = goal.node != start.node and tag_of(world, goal.node) == tag
                node = Node(goal.node.project, goal.node.runbook, "")
                if same and (start.identity, node) not in told:
                    told.add((start.identity, node))
                    yield way, written_tag(world, start.node)
            for other in world.after(way[-1]):
                if id(other) not in seen:
                    seen.add(id(other))
                    ways.append([*way, other])


def written_tag(world: World, node: Node) -> str:
    """What a file has for the project, whose tag holds for all of its processes."""
    named = (one.concurrency_tag for one in world.processes.values() if slug(one.project) == node.project)
    return next((tag for tag in named if tag), "")


def tag_of(world: World, node: Node) -> str:
    """The concurrency tag as far as the file tells it, "" without one. What stands for the same is the same text."""

    def put_in(match: re.Match[str]) -> str:
        name = match.group(1)
        known = {
            "Octopus.Environment.Name": node.environment or "<environment>",
            "Octopus.Environment.Id": f"<{node.environment}>",
            "Octopus.Project.Name": node.project,
            "Octopus.Project.Id": f"<{node.project}>",
            "Octopus.Deployment.Tenant.Name": "<tenant>",
            "Octopus.Deployment.Tenant.Id": "<tenant>",
            "Octopus.Space.Id": "<space>",
            "Octopus.Space.Name": "<space>",
        }
        return known.get(name, f"<{name} of {node.project}>")

    return EXPRESSION.sub(put_in, written_tag(world, node))


def describe_tag(chain: Sequence[Waiting], tag: str) -> Problem:
    start, last = chain[0], chain[-1]
    way = " -> ".join([start.process.where, *(one.process.where for one in chain[1:])])
    target = text_of(last.step.values.get("project", "its project"))
    message = (
        f"{start.process.where} and {target} have the concurrency tag '{tag}' in common: {target} could only begin when "
        f"{start.process.where} has ended, which waits for it"
    )
    if len(chain) > 1:
        message += f" ({way} -> {target}: {', '.join(one.place for one in chain)})"
    return start.problem(
        message, "give them different tags, or use a lock around the steps that exclude each other"
    )


def greatest_need(world: World) -> Need | None:
    """What the most demanding process needs; circles that only may happen are followed once around."""
    known: dict[Node, tuple[Node, ...]] = {}
    best = max((waiters_below(world, node, known) for node in world.by_node), key=len, default=())
    if not best:
        return None
    names = {(slug(one.process.project), one.node.runbook): one.process.where for one in world.waits}
    return Need(waiters=[names[node.project, node.runbook] for node in best])


def waiters_below(world: World, node: Node, known: dict[Node, tuple[Node, ...]]) -> tuple[Node, ...]:
    """This run and those below it that may wait at the same time; () when it does not wait. Steps in a row wait one at a time,
    those side by side together. `known`: those that were found; one that is being looked for has none."""
    if node not in known:
        known[node] = ()
        waits = [one for one in world.by_node.get(node, ()) if one.goals]
        groups: dict[int, dict[Node, None]] = {}
        places = groups_of(waits[0].process) if waits else {}
        for waiting in waits:
            together = groups.setdefault(places[waiting.step.key], {})
            for goal in waiting.goals:
                together.update(dict.fromkeys(waiters_below(world, goal.node, known)))
        below = max(groups.values(), key=len, default={})
        known[node] = tuple(dict.fromkeys([node, *below])) if waits else ()
    return known[node]


def groups_of(process: WantedProcess) -> Mapping[str, int]:
    """A number for each step, by key: steps side by side have the same."""
    by_name: dict[str, int] = {}
    found: dict[str, int] = {}
    before = ""
    for number, step in enumerate(process.steps):
        own = find_own(process, step.anchor) if step.anchor else None
        anchor = (own.name if own is not None else step.anchor or before).casefold()
        place = by_name.setdefault(anchor, -number - 1) if step.parallel else number
        by_name[step.name.casefold()] = found[step.key] = place
        before = step.name
    return found


# --- values ------------------------------------------------------------------------------------------------------------


def default_of(step: WantedStep, specs: Mapping[str, Spec], key: str) -> object:
    spec = specs.get(step.template)
    found = [one.default for one in spec.parameters if one.key == key] if spec is not None else []
    return found[0] if found else None


def value_of(step: WantedStep, specs: Mapping[str, Spec], key: str) -> object:
    """What the step has for a parameter: the file's value, else the template's default."""
    return step.values[key] if key in step.values else default_of(step, specs, key)


def text_of(value: object) -> str:
    return "" if value is None else str(value).strip()


def is_on(step: WantedStep, specs: Mapping[str, Spec], key: str) -> bool:
    return text_of(value_of(step, specs, key)).casefold() == "true"


def lines_of(value: object) -> list[str]:
    """A field of several lines, as a list or as one text."""
    texts: Iterable[object] = value if isinstance(value, list) else text_of(value).split("\n")
    return [text_of(one) for one in texts if text_of(one)]


def slug(project: str) -> str:
    """A project by name or slug: what both have in common."""
    return re.sub(r"[^a-z0-9]+", "-", project.casefold()).strip("-")
