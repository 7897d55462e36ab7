"""From an entry script and the runtime modules it imports to one flat list of parts: what is reached, and nothing else.

The parts are copied as written, comments included; the standard library's imports of all of them are gathered. Everything that
could go wrong because several files become one namespace is a fault here. How the parts are framed is left to `render`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.errors import Place, Problem
from generator.module import RUNTIME, Definition, Module, StandardImport, parse_module
from generator.source import closest

START = ("step", "run_step")
"""The runtime's own seed: what the frame calls at the end of every script."""
LINE_LENGTH = 110


@dataclass(frozen=True, kw_only=True)
class Part:
    """The reached definitions of one module, in their order, as text without a newline at the end."""

    name: str
    text: str
    definitions: tuple[Definition, ...]
    path: str


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """`imports` are whole lines; `parts` stand in an order in which each uses only earlier ones when it is loaded."""

    imports: tuple[str, ...]
    parts: tuple[Part, ...]
    modules: tuple[str, ...]  # of the runtime, the reached ones
    problems: tuple[Problem, ...] = ()


class Runtime:
    """The folder of runtime modules; each is read and parsed once. `shown` is how problems call the folder."""

    def __init__(self, folder: Path, *, shown: str = "generator/runtime") -> None:
        self.folder = folder
        self.shown = shown
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The module of that name, None when there is no such file."""
        if name not in self._modules:
            path = f"{self.shown}/{name}.py"
            try:
                text = (self.folder / f"{name}.py").read_text(encoding="utf-8-sig")
            except FileNotFoundError:
                self._modules[name] = None
            except (OSError, UnicodeDecodeError) as error:
                problem = Problem(path=path, message=f"cannot be read: {error}")
                self._modules[name] = Module(name=name, path=path, problems=(problem,))
            else:
                self._modules[name] = parse_module(text, name=name, path=path)
        return self._modules[name]

    def names(self) -> list[str]:
        """Every module there is."""
        return sorted(file.stem for file in self.folder.glob("*.py") if file.stem != "__init__")


def bundle(entry: Module, runtime: Runtime, *, start: tuple[str, str] = START) -> Bundle:
    """The parts that `entry`'s `main` and the runtime's start reach. Faults are in `problems`; then nothing else counts."""
    reach = _Reach(entry, runtime)
    reach.visit(entry, "main")
    starter = runtime.module(start[0])
    if starter is None:
        reach.fault(entry.path, Place(), f"the runtime has no module '{start[0]}'")
    else:
        reach.visit(starter, start[1])
    modules = reach.in_order()
    if reach.problems:
        return Bundle(imports=(), parts=(), modules=(), problems=tuple(sorted(set(reach.problems))))
    parts = tuple(_part(module, reach.kept[module.name]) for module in modules)
    imports = [
        standard
        for module in modules
        for standard in module.standard_imports
        if any(standard.binding in definition.uses for definition in reach.kept[module.name])
    ]
    problems = _collisions(modules, reach.kept)
    return Bundle(
        imports=tuple(import_lines(imports)),
        parts=parts,
        modules=tuple(module.name for module in modules if module is not entry),
        problems=tuple(problems),
    )


ENTRY = ""
"""The entry's name among the modules: no file of the runtime has it."""


class _Reach:
    """What is used from where: a walk from the seeds along names and imports."""

    def __init__(self, entry: Module, runtime: Runtime) -> None:
        self.entry = entry
        self.runtime = runtime
        self.problems: list[Problem] = []
        self.kept: dict[str, list[Definition]] = {}
        self.modules: dict[str, Module] = {}
        self.needs: dict[str, set[str]] = {}
        self._tables: dict[str, Mapping[str, Definition]] = {}
        self._seen: set[tuple[str, str]] = set()

    def fault(self, path: str, place: Place, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path=path, place=place, message=message, hint=hint))

    def visit(self, module: Module, name: str) -> None:
        """Keep the definition of `name` in `module` and all that it reaches; names that are not its own are left alone."""
        todo: list[tuple[Module, str]] = [(module, name)]
        while todo:
            module, name = todo.pop()
            if (module.name, name) in self._seen:
                continue
            self._seen.add((module.name, name))
            self._enter(module)
            definition = self._tables[module.name].get(name)
            if definition is None:
                wanted = module.runtime_imports.get(name)
                if wanted is not None:
                    other = self._import(module, wanted)
                    if other is not None:
                        self.needs[module.name].add(other.name)
                        todo.append((other, wanted.name))
                continue
            if definition not in self.kept[module.name]:
                self.kept[module.name].append(definition)
                todo.extend((module, used) for used in definition.uses)

    def _enter(self, module: Module) -> None:
        if module.name in self.modules:
            return
        self.modules[module.name] = module
        self.problems.extend(module.problems)
        self.kept[module.name] = []
        self.needs[module.name] = set()
        table: dict[str, Definition] = {}
        for definition in module.definitions:
            for name in definition.names:
                if name in table:
                    message = f"'{name}' is defined for the second time"
                    hint = f"the first is in line {table[name].place.line}"
                    self.fault(module.path, definition.place, message, hint)
                elif name in module.runtime_imports:
                    self.fault(module.path, definition.place, f"'{name}' is also imported from the runtime")
                table.setdefault(name, definition)
        self._tables[module.name] = table
        for wanted in module.runtime_imports.values():
            if module is self.entry:  # a mistake in an import is told even where the name is not used
                self._import(module, wanted)

    def _import(self, module: Module, wanted: Any) -> Module | None:
        other = self.runtime.module(wanted.module)
        if other is None:
            hint = closest(wanted.module, self.runtime.names())
            self.fault(module.path, wanted.place, f"the runtime has no module '{wanted.module}'", hint)
            return None
        names = [name for definition in other.definitions for name in definition.names]
        if wanted.name not in names and not other.problems:
            hint = closest(wanted.name, names)
            if wanted.name in other.runtime_imports:
                hint = (
                    f"import it from {RUNTIME}.{other.runtime_imports[wanted.name].module}, which defines it"
                )
            self.fault(module.path, wanted.place, f"{RUNTIME}.{other.name} has no '{wanted.name}'", hint)
            return None
        return other

    def in_order(self) -> list[Module]:
        """The reached modules, each after those it imports; the entry is last, since nothing imports it."""
        done: list[Module] = []
        under_way: list[str] = []

        def place(name: str) -> None:
            if self.modules[name] in done:
                return
            if name in under_way:
                circle = " -> ".join([*under_way[under_way.index(name) :], name])
                self.fault(
                    self.modules[name].path, Place(), f"modules import each other in a circle: {circle}"
                )
                return
            under_way.append(name)
            for other in sorted(self.needs[name]):
                place(other)
            under_way.pop()
            done.append(self.modules[name])

        for name in sorted(name for name in self.modules if name != self.entry.name):
            place(name)
        place(self.entry.name)
        for name, definitions in self.kept.items():
            self.kept[name] = sorted(definitions, key=lambda definition: definition.first_line)
        return done


def _collisions(modules: Sequence[Module], kept: Mapping[str, Sequence[Definition]]) -> list[Problem]:
    """Names that would mean two things in the one namespace of the script."""
    problems: list[Problem] = []
    owners: dict[str, tuple[Module, str, str]] = {}
    for module in modules:
        uses = frozenset().union(*(definition.uses for definition in kept[module.name]))
        bound: list[tuple[str, str, str, Place]] = [
            (name, f"{module.path}:{name}", f"defined in {module.path}", definition.place)
            for definition in kept[module.name]
            for name in definition.names
        ]
        bound += [
            (standard.binding, standard.target, f"an import of {module.path}", standard.place)
            for standard in module.standard_imports
            if standard.binding in uses
        ]
        for name, target, what, place in bound:
            owner = owners.setdefault(name, (module, target, what))
            if owner[1] != target:
                message = f"'{name}' is also {owner[2]}, and a script has one namespace"
                problems.append(
                    Problem(path=module.path, place=place, message=message, hint="rename one of them")
                )
    return problems


def _part(module: Module, definitions: Sequence[Definition]) -> Part:
    """The definitions with the blank lines that a formatter would put between them."""
    pieces: list[str] = []
    before: Definition | None = None
    for definition in definitions:
        if before is not None:
            if definition.is_block or before.is_block:
                pieces.append("\n\n")
            elif definition.first_line > before.last_line + 1:
                pieces.append("\n")
        pieces.append(definition.text + "\n")
        before = definition
    return Part(
        name=module.name, text="".join(pieces).rstrip("\n"), definitions=tuple(definitions), path=module.path
    )


def import_lines(imports: Sequence[StandardImport]) -> list[str]:
    """The import statements, sorted, each name once: `import` lines, then `from` lines folded at the line's length."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for standard in imports:
        renamed = f" as {standard.alias}" if standard.alias else ""
        if standard.name is None:
            plain.add(f"import {standard.module}{renamed}")
        else:
            names.setdefault(standard.module, set()).add(f"{standard.name}{renamed}")
    lines = sorted(plain)
    for module in sorted(names):
        ordered = sorted(names[module])
        line = f"from {module} import {', '.join(ordered)}"
        if len(line) > LINE_LENGTH:
            line = "\n".join([f"from {module} import (", *(f"    {name}," for name in ordered), ")"])
        lines.append(line)
    return lines
