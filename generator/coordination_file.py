"""One project's steps of ours, written into a coordination file: what the server has, in the file's words, proven by a plan.

The words are `stocktaking`'s, reading processes is `processes`', keeping comments is `edited_yaml`'s. A file is only given back
when a plan from it writes nothing, or with sentences about what the plan would still write.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from generator import processes, stocktaking
from generator.coordination import WantedProcess, parse_coordination
from generator.edited_yaml import edit
from generator.errors import Problem, Problems, Refusal
from generator.library import read_found as read_templates
from generator.octopus import Client
from generator.octopus.records import ProjectDocument
from generator.outcome import Progress
from generator.owned_step import POSITION, PUT, find_owned, read_file, read_put
from generator.plan import Change
from generator.process_draft import outline
from generator.resolution import Found, FoundProcess, resolve
from generator.source import Source, closest_or_all, parse_source
from generator.stocktaking import Names, Stock, Values
from generator.workspace import Built
from generator.written_yaml import to_yaml

ATTEMPTS = 3
STANDS = "stands where the file wants it now"
"""A plan's word for a step whose place is now told differently: nothing of the process changes by that."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The file's new content (None: it says all that already), how many steps it has of the project, what it cannot say, and
    what a plan from it complains of."""

    content: bytes | None
    steps: int
    left: Sequence[str] = ()
    problems: Sequence[Problem] = ()


@dataclass(kw_only=True)
class _Stocktaking:
    client: Client
    project: ProjectDocument
    file: Path
    schema: str
    known: Mapping[str, Built]
    progress: Progress
    source: Source | None = None
    before: bytes = b""
    left: list[str] = field(default_factory=list)

    def take(self) -> Taken:
        """Read everything, and write the file in as many attempts as places need to be told otherwise."""
        found = self.read()
        stocks = self.stocks(found)
        places: dict[str, dict[str, Values]] = {}
        problems: Sequence[Problem] = ()
        changes: Sequence[Change] = ()
        left: list[str] = []
        for attempt in range(ATTEMPTS):
            for stock in stocks.values():
                stock.left.clear()
            data = self.data(stocks, places)
            content = self.written(data)
            left = [*self.left, *(sentence for stock in stocks.values() for sentence in stock.left)]
            try:
                wanted = self.mine(parse_coordination(parse_source(content, name=self.file.as_posix())))
                there = processes.read_found(self.client, wanted)
                ready = resolve(wanted, there, {name: built.spec for name, built in self.known.items()})
            except Problems as error:
                problems = error.problems
                break
            misplaced = {
                process.where: moved_keys(
                    outline(process, stripped(place), force=False, prune=False).changes, place
                )
                for process in ready
                if (place := there.processes.get(process.where)) is not None
            }
            changes = [change for each in processes.plan(ready, there) for change in each.changes]
            if not any(misplaced.values()) or attempt == ATTEMPTS - 1:
                break
            for where, keys in misplaced.items():
                stock = stocks[where]
                for key in keys:
                    ways = stocktaking.derived(stock.place.document["Steps"], stock.owned()[key].step)
                    places.setdefault(where, {})[key] = ways[min(attempt, len(ways) - 1)]
        for change in changes:
            if change.action in ("update", "remove", "conflict") and not change.reason.startswith(STANDS):
                left.append(f"plan would still {change.action} {change.name}: {change.reason}")
        steps = sum(len(stock.owned()) for stock in stocks.values())
        return Taken(
            content=None if content == self.before else content,
            steps=steps,
            left=tuple(dict.fromkeys(left)),
            problems=problems,
        )

    # --- reading

    def read(self) -> Found:
        """Every process of the project."""
        name = str(self.project["Name"])
        nothing = parse_source(b"projects: {}", name=self.file.as_posix())
        runbooks: list[str | None] = [None]
        runbooks += [
            str(item["Name"]) for item in self.client.pages(f"projects/{self.project['Id']}/runbooks")
        ]
        own = self.mine(parse_coordination(self.source)) if self.source else ()
        branch = next((process.git for process in own if process.runbook is None), None)
        stubs = [
            WantedProcess(
                project=name,
                runbook=runbook,
                steps=(),
                source=nothing,
                path=(),
                file=self.name or name_of(self.file),
                git=None if runbook else branch,
            )
            for runbook in runbooks
        ]
        found = processes.read_found(self.client, stubs, progress=self.progress)
        for where, missing in found.missing.items():
            self.left.append(f"{where}: {missing.message}")
        return found

    @property
    def name(self) -> str | None:
        """What the file is called in its steps, where it is there already."""
        if self.source is None:
            return None
        return parse_coordination(self.source)[0].file

    def stocks(self, found: Found) -> dict[str, Stock]:
        """The processes that hold steps of the file, by the words in which people name them."""
        names = self.read_names(found)
        templates = {template.id: template for template in read_templates(self.client)}
        specs = {name: built.spec for name, built in self.known.items()}
        file = self.name or self.pick_name(found)
        stocks = {}
        for where, place in found.processes.items():
            channels = (
                {
                    identity: name
                    for name, identity in processes.read_ids(
                        self.client, f"projects/{self.project['Id']}/channels"
                    ).items()
                }
                if uses(place, "Channels")
                else {}
            )
            stock = Stock(
                place=place,
                file=file,
                templates=templates,
                specs=specs,
                names=replace(names, channels=channels),
                former=self.former(where),
            )
            if stock.owned() or stock.former:
                stocks[where] = stock
        if not any(stock.owned() for stock in stocks.values()):
            raise Refusal(
                f"project {self.project['Name']!r} has no steps of a coordination file named {file!r}"
            )
        return stocks

    def pick_name(self, found: Found) -> str:
        """What the file is called in the steps that it is to be made from: the one that fits its own name, or the only one."""
        stem = name_of(self.file)
        files = {
            read_file(owned.action)
            for place in found.processes.values()
            for members in find_owned(place.document["Steps"], place.owner).values()
            for owned in members
        }
        if not files:
            raise Refusal(f"project {self.project['Name']!r} has no steps of ours")
        if files <= {"", stem} or stem in files:
            return stem
        if len(files) == 1:
            return files.pop()
        raise Refusal(
            f"the steps of project {self.project['Name']!r} belong to several coordination files, {', '.join(sorted(files))}: "
            f"name one, like {sorted(files)[0] or 'coordination'}.yaml"
        )

    def read_names(self, found: Found) -> Names:
        """The names of the ids that our steps hold; a list is read only when one of them needs it."""
        places = tuple(found.processes.values())

        def turned(path: str, *fields: str) -> Mapping[str, str]:
            if not any(uses(place, name) for place in places for name in fields):
                return {}
            return {identity: name for name, identity in processes.read_ids(self.client, path).items()}

        return Names(
            environments=turned("environments", "Environments", "ExcludedEnvironments"),
            worker_pools=turned("workerpools", "WorkerPoolId"),
            feeds=turned("feeds", "Container"),
        )

    # --- writing

    def former(self, where: str) -> list[Values]:
        """The steps of a process as the file has them now."""
        if self.source is None:
            return []
        for process in self.mine(parse_coordination(self.source)):
            if process.where.casefold() == where.casefold():
                entry: Any = self.source.data
                for word in process.path:
                    entry = entry[word]
                steps: list[Values] = copy.deepcopy(entry["steps"])
                return steps
        return []

    def mine(self, wanted: Sequence[WantedProcess]) -> tuple[WantedProcess, ...]:
        """Of a file's processes those of the project."""
        name = str(self.project["Name"]).casefold()
        return tuple(process for process in wanted if process.project.casefold() == name)

    def data(self, stocks: Mapping[str, Stock], places: Mapping[str, Mapping[str, Values]]) -> Values:
        """The whole file's data."""
        data: Values = copy.deepcopy(self.source.data) if self.source else {"projects": {}}
        file = next(iter(stocks.values())).file
        if self.source is None and file != name_of(self.file):
            data = {"name": file, **data}
        projects = data["projects"]
        name = next(
            (key for key in projects if key.casefold() == str(self.project["Name"]).casefold()),
            str(self.project["Name"]),
        )
        entries = projects.get(name, [])
        entries = entries if isinstance(entries, list) else [entries]
        for where, stock in stocks.items():
            runbook = where.partition(", runbook ")[2] if stock.place.owner != self.project["Id"] else ""
            word = f"runbook {runbook}" if runbook else "deployment"
            entry = next((one for one in entries if one["process"].casefold() == word.casefold()), None)
            if entry is None:
                entry = {"process": word, "steps": []}
                entries.append(entry)
            entry["steps"] = stock.steps(places.get(where, {}))
            tag = stocktaking.read_tag(stock.place.project.variable_set, self.project["Id"], file)
            if tag and not runbook and "concurrency_tag" not in entry:
                entry["concurrency_tag"] = tag
        projects[name] = (
            entries[0] if len(entries) == 1 and not isinstance(projects.get(name), list) else entries
        )
        return data

    def written(self, data: Values) -> bytes:
        if self.source is not None:
            return edit(self.before, data, name=self.file.as_posix())
        return f"# yaml-language-server: $schema={self.schema}\n{to_yaml(data)}".encode()


def name_of(file: Path) -> str:
    """What a file is called in its steps when it does not say otherwise."""
    text = b"projects: {P: {process: deployment, steps: []}}"
    return parse_coordination(parse_source(text, name=file.as_posix()))[0].file


def uses(place: FoundProcess, name: str) -> bool:
    """Whether one of our steps in the process has something in this field of its action."""
    return any(
        cast(Mapping[str, Any], owned.action).get(name)
        for members in find_owned(place.document["Steps"], place.owner).values()
        for owned in members
    )


def stripped(place: FoundProcess) -> Any:
    """The process without what we know of where steps were put, so that each is tried at the file's place."""
    document = copy.deepcopy(place.document)
    for members in find_owned(document["Steps"], place.owner).values():
        for owned in members:
            put = read_put(owned.action)
            put.pop(POSITION, None)
            owned.action["Properties"][PUT] = json.dumps(put)
    return document


def moved_keys(changes: Sequence[Change], place: FoundProcess) -> list[str]:
    """The keys of the steps that would be moved."""
    names = {
        str(members[0].action["Name"]): key
        for key, members in find_owned(place.document["Steps"], place.owner).items()
    }
    moved = [change.name.partition(": ")[2] for change in changes if change.reason.startswith("moves: ")]
    return [names[name] for name in moved if name in names]


def take_stock(
    client: Client,
    project: str,
    file: Path,
    *,
    schema: str,
    known: Mapping[str, Built],
    progress: Progress,
) -> Taken:
    """The coordination file at `file` with the project's steps of ours. Errors: Problems of the file; Refusal."""
    projects = {str(item["Name"]): item for item in client.pages("projects")}
    found = next((item for name, item in projects.items() if name.casefold() == project.casefold()), None)
    if found is None:
        raise Refusal(f"{client.where} has no project {project!r}: {closest_or_all(project, projects)}")
    source, before = None, b""
    if file.exists():
        before = file.read_bytes()
        source = parse_source(before, name=file.as_posix())
        parse_coordination(source)
    taking = _Stocktaking(
        client=client,
        project=cast(ProjectDocument, found),
        file=file,
        schema=schema,
        known=known,
        progress=progress,
        source=source,
        before=before,
    )
    return taking.take()
