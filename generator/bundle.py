"""From an entry script and the runtime modules it imports to one flat list of parts: what is reached, and nothing else.

The parts are copied as written, comments included; the standard library's imports of all of them are gathered. Everything that
could go wrong because several files become one namespace is a fault here. How the parts are framed is left to `render`.

Scripts that import the same things from the runtime share its parts, so that is worked out once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from generator.errors import Place, Problem
from generator.module import RUNTIME, Definition, Module, RuntimeImport, StandardImport, parse_module
from generator.source import closest

Root = tuple[str, str]
"""A module of the runtime and a name defined in it."""
START: Root = ("step", "run_step")
"""What the frame calls at the end of every script."""
ENTRY = ""
"""The entry's name among the modules: no file of the runtime has it."""
LINE_LENGTH = 110
LOOK_UPS = frozenset({"__name__", "eval", "exec", "globals", "vars"})
"""Names by which Python code finds definitions that it does not name."""

FORM_MAKERS = frozenset({"parameters", "step"})
"""The runtime's modules that make the form; in all others `parameters` is the form of the running step."""

Sighting = tuple[str, str, Place]
"""A name that a script reads or sets, the path of the file, and where in it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The reached definitions of one module, in their order, as text without a newline at the end."""

    name: str
    path: str
    text: str
    definitions: tuple[Definition, ...]


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who binds a name in the script's namespace, and to what; two with one target do not quarrel."""

    target: str
    what: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Reached:
    """What some roots reach in the runtime: parts in loading order, the imports they need, who owns which name.

    `reads` are the fields of the form that they read, `outputs` the output variables that they set, `texts` all their texts.
    """

    parts: tuple[Part, ...] = ()
    imports: tuple[StandardImport, ...] = ()
    owners: Mapping[str, Owner] = field(default_factory=dict)
    reads: tuple[Sighting, ...] = ()
    outputs: tuple[Sighting, ...] = ()
    texts: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """`imports` are whole statements; `entry` stands behind the runtime's parts, which use only earlier ones when loaded."""

    imports: tuple[str, ...] = ()
    runtime: Reached = field(default_factory=Reached)
    entry: Part = Part(name=ENTRY, path="", text="", definitions=())
    problems: tuple[Problem, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.runtime.parts, self.entry)


class Runtime:
    """The folder of runtime modules; each is read and parsed once. `shown` is how problems call the folder."""

    def __init__(self, folder: Path, *, shown: str = "generator/runtime") -> None:
        self.folder = folder
        self.shown = shown
        self._modules: dict[str, Module | None] = {}
        self._reached: dict[frozenset[Root], Reached] = {}

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

    def reached(self, roots: frozenset[Root]) -> Reached:
        """What these roots reach."""
        if roots not in self._reached:
            self._reached[roots] = _Reach(self).all(roots)
        return self._reached[roots]


def bundle(entry: Module, runtime: Runtime, *, start: Root = START) -> Bundle:
    """The parts that `entry`'s `main` and the runtime's start reach. With `problems` nothing else counts."""
    problems = [*entry.problems, *_double(entry)]
    for wanted in entry.runtime_imports.values():  # a mistake is told even where the name is not used
        problems += _import_problems(entry, wanted, runtime)
    if runtime.module(start[0]) is None:
        problems.append(Problem(path=entry.path, message=f"the runtime has no module '{start[0]}'"))
    if problems:
        return Bundle(problems=tuple(problems))
    kept = _kept(entry)
    used = frozenset().union(*(definition.uses for definition in kept))
    roots = {(item.module, item.name) for name, item in entry.runtime_imports.items() if name in used}
    reached = runtime.reached(frozenset({start, *roots}))
    imports = [standard for standard in entry.standard_imports if standard.binding in used]
    problems = [*reached.problems, *_own(dict(reached.owners), entry, kept, imports)]
    if problems:
        return Bundle(problems=tuple(problems))
    return Bundle(
        imports=tuple(import_lines([*reached.imports, *imports])), runtime=reached, entry=_part(entry, kept)
    )


def _kept(entry: Module) -> list[Definition]:
    """What the entry's `main` reaches, with what acts when it is loaded, such as `@register`; or all, where code looks up names
    that only the run knows."""
    acting = {name for definition in entry.definitions if definition.acts for name in definition.names}
    kept = _reachable(entry, {"main", *acting})
    if any(not LOOK_UPS.isdisjoint(definition.uses) for definition in kept):
        return list(entry.definitions)
    return kept


def _reachable(module: Module, names: Iterable[str]) -> list[Definition]:
    """The definitions of one module that these names reach within it, in their order."""
    table = {name: definition for definition in module.definitions for name in definition.names}
    kept: dict[int, Definition] = {}
    todo = [name for name in names if name in table]
    while todo:
        definition = table[todo.pop()]
        if id(definition) not in kept:
            kept[id(definition)] = definition
            todo.extend(name for name in definition.uses if name in table)
    return sorted(kept.values(), key=lambda definition: definition.first_line)


class _Reach:
    """What is used from where in the runtime: a walk from the roots along names and imports."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.problems: list[Problem] = []
        self.kept: dict[str, list[Definition]] = {}
        self.needs: dict[str, set[str]] = {}

    def all(self, roots: Iterable[Root]) -> Reached:
        wanted: dict[str, set[str]] = {}
        todo = sorted(roots)
        while todo:
            name, root = todo.pop()
            module = self.runtime.module(name)
            if module is None or root in wanted.setdefault(name, set()):
                continue
            if name not in self.kept:
                self.problems += [*module.problems, *_double(module)]
            wanted[name].add(root)
            self.kept[name] = _reachable(module, wanted[name])
            self.needs.setdefault(name, set())
            used = frozenset().union(*(definition.uses for definition in self.kept[name]))
            for binding, item in module.runtime_imports.items():
                if binding in used:
                    self.problems += _import_problems(module, item, self.runtime)
                    self.needs[name].add(item.module)
                    todo.append((item.module, item.name))
        modules = self._in_order()
        owners: dict[str, Owner] = {}
        imports: list[StandardImport] = []
        for module in modules:
            kept = self.kept[module.name]
            used = frozenset().union(*(definition.uses for definition in kept))
            needed = [standard for standard in module.standard_imports if standard.binding in used]
            self.problems += _own(owners, module, kept, needed)
            imports += needed
        everything = [(module, definition) for module in modules for definition in self.kept[module.name]]
        return Reached(
            parts=tuple(_part(module, self.kept[module.name]) for module in modules),
            imports=tuple(imports),
            owners=owners,
            reads=tuple(
                (attribute, module.path, place)
                for module, definition in everything
                if module.name not in FORM_MAKERS
                for name, attribute, place in definition.attributes
                if name == "parameters"
            ),
            outputs=tuple(
                (name, module.path, place)
                for module, definition in everything
                for name, place in definition.outputs
            ),
            texts=frozenset().union(*(definition.texts for _, definition in everything)),
            problems=tuple(sorted(set(self.problems))),
        )

    def _in_order(self) -> list[Module]:
        """The reached modules, each after those it imports."""
        done: dict[str, Module] = {}
        under_way: list[str] = []

        def place(name: str) -> None:
            module = self.runtime.module(name)
            if name in done or module is None:
                return
            if name in under_way:
                circle = " -> ".join([*under_way[under_way.index(name) :], name])
                message = f"modules import each other in a circle: {circle}"
                self.problems.append(Problem(path=module.path, message=message))
                return
            under_way.append(name)
            for other in sorted(self.needs.get(name, ())):
                place(other)
            under_way.pop()
            done[name] = module

        for name in sorted(self.kept):
            place(name)
        return list(done.values())


def _double(module: Module) -> list[Problem]:
    """Names that one module defines twice, or defines and imports."""
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    for definition in module.definitions:
        for name in definition.names:
            if name in lines:
                message, hint = (
                    f"'{name}' is defined for the second time",
                    f"the first is in line {lines[name]}",
                )
            elif name in module.runtime_imports:
                message, hint = f"'{name}' is also imported from the runtime", ""
            else:
                lines[name] = definition.place.line
                continue
            problems.append(Problem(path=module.path, place=definition.place, message=message, hint=hint))
    return problems


def _import_problems(module: Module, wanted: RuntimeImport, runtime: Runtime) -> list[Problem]:
    other = runtime.module(wanted.module)
    if other is None:
        message, hint = (
            f"the runtime has no module '{wanted.module}'",
            closest(wanted.module, runtime.names()),
        )
        return [Problem(path=module.path, place=wanted.place, message=message, hint=hint)]
    if other.problems or any(wanted.name in definition.names for definition in other.definitions):
        return []
    hint = closest(wanted.name, [name for definition in other.definitions for name in definition.names])
    if wanted.name in other.runtime_imports:
        hint = f"import it from {RUNTIME}.{other.runtime_imports[wanted.name].module}, which defines it"
    message = f"{RUNTIME}.{other.name} has no '{wanted.name}'"
    return [Problem(path=module.path, place=wanted.place, message=message, hint=hint)]


def _own(
    owners: dict[str, Owner], module: Module, kept: Sequence[Definition], imports: Sequence[StandardImport]
) -> list[Problem]:
    """Enter a module's names among the owners; a name that would then mean two things is a fault."""
    problems: list[Problem] = []
    bound: list[tuple[str, Owner, Place]] = [
        (name, Owner(target=f"{module.path}:{name}", what=f"defined in {module.path}"), definition.place)
        for definition in kept
        for name in definition.names
    ]
    bound += [
        (item.binding, Owner(target=item.target, what=f"an import of {module.path}"), item.place)
        for item in imports
    ]
    for name, new, place in bound:
        owner = owners.setdefault(name, new)
        if owner.target != new.target:
            message = f"'{name}' is also {owner.what}, and a script has one namespace"
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
        name=module.name,
        path=module.path,
        text="".join(pieces).rstrip("\n"),
        definitions=tuple(definitions),
    )


def import_lines(imports: Iterable[StandardImport]) -> list[str]:
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
