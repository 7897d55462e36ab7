"""One Python file as the bundler sees it: its definitions with their exact lines, its imports, and what is wrong with it.

A module that can be bundled holds imports, constants, functions and classes and does no work when it is loaded; so its parts
can be taken out one by one and put beside those of others. Which parts are taken is left to `bundle`.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from generator.errors import Place, Problem
from generator.f_strings import may_be_newer, newer_f_strings
from generator.oldest_python import (
    GENERIC_BUILTINS,
    GONE_MODULES,
    NEWER_ARGUMENTS,
    NEWER_METHODS,
    NEWER_MODULES,
    NEWER_NAMES,
    OLDEST,
    OLDEST_TEXT,
    STANDARD_MODULES,
    TYPES,
    words,
)

RUNTIME = "generator.runtime"
HELPERS = words(
    "get_octopusvariable set_octopusvariable createartifact updateprogress failstep printverbose "
    "printhighlight printwait printwarning octopusvariables"
)
"""What Octopus puts among the script's globals (source: Calamari, Configuration.py)."""
FRAME_NAMES = frozenset({"STEP", "PARAMETERS"})
_MODULE_NAMES = words("__annotations__ __builtins__ __doc__ __file__ __name__")
"""What Python itself keeps in every module: with another `__name__` the script would do nothing, and succeed."""
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_")) - frozenset(
    {"copyright", "credits", "license", "help"}  # the interactive prompt's
)
_EXPRESSION = re.compile(r"#\{")
_TURNS_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CODING = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


@dataclass(kw_only=True, slots=True, eq=False)
class Definition:
    """A constant, function or class of a top level. Never changed; not `frozen` because a library has tens of thousands.

    `text` is its lines as written, with the comment block directly above; `uses` every name in it, `attributes` what is read
    from the form, with its place, `texts` every text constant, `outputs` the output variables that it sets. `acts` tells
    that loading it may change other definitions: its decorator or base class may keep a register.
    """

    names: tuple[str, ...]
    text: str
    first_line: int
    last_line: int
    is_block: bool  # a function or class
    place: Place
    uses: Set[str]
    attributes: Sequence[tuple[str, str, Place]]
    texts: Set[str]
    outputs: Sequence[tuple[str, Place]]
    acts: bool


@dataclass(frozen=True, kw_only=True)
class StandardImport:
    """One name bound from the standard library; `target` says what it stands for: two alike never quarrel."""

    binding: str
    module: str
    name: str | None  # None: `import module`
    alias: str | None
    place: Place

    @property
    def target(self) -> str:
        if self.name is None:
            return self.module if self.alias else self.binding
        return f"{self.module}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class RuntimeImport:
    """`from generator.runtime.<module> import <name>`."""

    module: str
    name: str
    place: Place


@dataclass(frozen=True, kw_only=True)
class Module:
    """A file in parts. `path` is how problems call it; with `problems` the rest may be incomplete."""

    name: str
    path: str
    definitions: tuple[Definition, ...] = ()
    standard_imports: tuple[StandardImport, ...] = ()
    runtime_imports: Mapping[str, RuntimeImport] = field(default_factory=dict)
    argument: str | None = None  # what `main` calls its parameters
    problems: tuple[Problem, ...] = ()


class _Found:
    """What one walk through a definition came upon."""

    __slots__ = ("attributes", "outputs", "texts", "uses")

    def __init__(self) -> None:
        self.uses: set[str] = set()
        self.attributes: list[tuple[str, str, Place]] = []
        self.texts: set[str] = set()
        self.outputs: list[tuple[str, Place]] = []


def parse_module(text: str, *, name: str, path: str) -> Module:
    """The module in `text` (plain `\\n` line ends). Never raises for faults of the file: they are in `problems`."""
    reader = _Reader(text, path)
    tree = reader.parse()
    if tree is not None:
        reader.read(tree)
        if reader.has_newer_f_strings:
            reader.read_f_strings()
        if reader.needs_compiler:
            reader.compile(tree)
    return Module(
        name=name,
        path=path,
        definitions=tuple(reader.definitions),
        standard_imports=tuple(reader.standard_imports),
        runtime_imports=reader.runtime_imports,
        argument=reader.argument,
        problems=tuple(sorted(set(reader.problems))),
    )


class _Reader:
    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        self.lines = text.split("\n")
        self.problems: list[Problem] = []
        self.definitions: list[Definition] = []
        self.standard_imports: list[StandardImport] = []
        self.runtime_imports: dict[str, RuntimeImport] = {}
        self.argument: str | None = None
        self.handles = {"parameters"}
        self.globals: list[tuple[str, Place]] = []
        self.needs_compiler = _DEEP(text) is not None
        self.has_newer_f_strings = False

    def fault(self, where: ast.AST | Place, message: str, hint: str = "") -> None:
        place = where if isinstance(where, Place) else self.place(where)
        self.problems.append(Problem(path=self.path, place=place, message=message, hint=hint))

    def place(self, node: Any) -> Place:
        return Place(line=node.lineno, column=self.column(node.lineno, node.col_offset))

    def column(self, line: int, offset: int) -> int:
        """`ast` counts bytes; people count characters."""
        text = self.lines[line - 1]
        return offset + 1 if text.isascii() else len(text.encode()[:offset].decode(errors="replace")) + 1

    # --- the syntax

    def parse(self) -> ast.Module | None:
        for number, line in enumerate(self.lines, 1):
            for match in _EXPRESSION.finditer(line) if "#{" in line else ():
                self.fault(
                    Place(line=number, column=match.start() + 1),
                    "Octopus would replace '#{' here before Python reads the script",
                    'write "#" + "{" in code, and reword a comment',
                )
        self._characters()
        with _warnings_as_errors():
            try:
                return ast.parse(self.text, feature_version=OLDEST)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self._syntax_fault(error)
        return None

    def _characters(self) -> None:
        """What a reader of the file does not see, or sees differently from Python."""
        for line in () if self.text.isascii() else range(len(self.lines)):
            for match in _TURNS_DIRECTION.finditer(self.lines[line]):
                code = f"{ord(match.group()):04x}"
                self.fault(
                    Place(line=line + 1, column=match.start() + 1),
                    f"the invisible character U+{code.upper()} turns the reading direction: the line is not what it looks like",
                    f'write "\\u{code}"',
                )
        for number, line_text in enumerate(self.lines[:2], 1):
            said = _CODING.match(line_text)
            if said and said.group(1).lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
                place = Place(line=number, column=said.start(1) + 1)
                self.fault(place, f"the file is read as UTF-8, and says that it is {said.group(1)}")

    def read_f_strings(self) -> None:
        for place, what in newer_f_strings(self.text):
            self._newer(place, what, "3.12")

    def compile(self, tree: ast.Module) -> None:
        """Find the faults that only the compiler tells."""
        with _warnings_as_errors():
            try:
                compile(tree, self.path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self._syntax_fault(error)

    def _syntax_fault(self, error: Exception) -> None:
        if not isinstance(error, SyntaxError):
            self.fault(Place(), f"not Python: {error or 'nested too deeply'}")
            return
        place = Place(line=error.lineno or 1, column=max(error.offset or 1, 1))
        try:
            compile(self.text, self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            self.fault(place, f"not Python: {error.msg}")
        else:
            self.fault(place, f"not for Python {OLDEST_TEXT}, which a worker may have: {error.msg}")

    # --- the top level

    def read(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "main":
                self._main(node)
        last = 0
        for index, node in enumerate(tree.body):
            if index == 0 and _is_text(node):
                last = node.end_lineno or last
                continue
            if node.lineno <= last:
                self.fault(node, "two statements stand in one line", "give each a line of its own")
            match node:
                case ast.Import() | ast.ImportFrom():
                    self._import(node)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    self._define(node, (node.name,), last)
                case ast.Assign() | ast.AnnAssign():
                    self._constant(node, last)
                case _:
                    self._work(node)
            last = node.end_lineno or last
        defined = {name for definition in self.definitions for name in definition.names}
        for name, place in self.globals:
            if name not in defined:
                self.fault(
                    place, f"the global '{name}' is set in a function only", "define it at the top level, too"
                )

    def _constant(self, node: ast.Assign | ast.AnnAssign, last: int) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names: list[str] = []
        for target in targets:
            for item in target.elts if isinstance(target, ast.Tuple) else [target]:
                if not isinstance(item, ast.Name):
                    self._work(node)
                    return
                names.append(item.id)
        if node.value is not None:
            self._still(node.value)
        self._define(node, tuple(names), last)

    def _work(self, node: ast.AST) -> None:
        hint = "move it into a function"
        if isinstance(node, ast.If):
            test = ast.unparse(node.test)
            if "__name__" in test:
                hint = "remove it: main(parameters) is started for you"
            elif "TYPE_CHECKING" in test:
                hint = "import it plainly"
        elif isinstance(node, ast.Try):
            hint = "import inside the function that can do without"
        self.fault(
            node, "the top level does work: it holds imports, constants, functions and classes only", hint
        )

    def _still(self, value: ast.expr) -> None:
        """A constant may build values, but not act."""
        todo: list[ast.AST] = [value]
        while todo:
            node = todo.pop()
            if isinstance(node, ast.Lambda):
                todo += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                continue  # its body is for later
            todo += ast.iter_child_nodes(node)
            if isinstance(node, ast.Call) and not _builds(node.func, self.standard_imports):
                what = ast.unparse(node.func)
                self.fault(node, f"the top level does work: it calls {what}()", "move it into a function")
            elif isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
                self.fault(node, "the top level does work", "move it into a function")

    # --- definitions

    def _define(self, node: Any, names: tuple[str, ...], last: int) -> None:
        for name in names:
            if name in HELPERS:
                self.fault(
                    node, f"'{name}' is a function of Octopus that the script needs", "choose another name"
                )
            elif name in _MODULE_NAMES:
                self.fault(node, f"'{name}' is Python's own name in every module", "choose another name")
            elif name in FRAME_NAMES:
                self.fault(node, f"'{name}' is the name of a table below the script", "choose another name")
            elif name in _BUILTINS:
                self.fault(
                    node,
                    f"'{name}' would hide Python's own for every part of the script",
                    "choose another name",
                )
        if isinstance(node, ast.ClassDef):
            self._class_body(node)
            for value in (*node.bases, *(keyword.value for keyword in node.keywords)):
                self._still(value)
        elif not isinstance(node, ast.Assign | ast.AnnAssign):
            self._defaults(node)
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        end = node.end_lineno
        while first - 1 > last and self.lines[first - 2].startswith("#"):
            first -= 1
        following = end
        while following < len(self.lines) and _INSIDE(self.lines[following]):
            following += 1
            if self.lines[following - 1].strip():
                end = following
        is_block = not isinstance(node, ast.Assign | ast.AnnAssign)
        found = self._scan(node)
        self.definitions.append(
            Definition(
                names=names,
                text="\n".join(self.lines[first - 1 : end]),
                first_line=first,
                last_line=end,
                is_block=is_block,
                place=self.place(node),
                uses=found.uses,
                attributes=found.attributes,
                texts=found.texts,
                outputs=found.outputs,
                acts=any(getattr(node, name, None) for name in ("decorator_list", "bases", "keywords")),
            )
        )

    def _defaults(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for value in (*node.args.defaults, *node.args.kw_defaults):
            if value is not None:
                self._still(value)

    def _main(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        if len(plain) == 1 and not arguments.kwonlyargs:
            self.argument = plain[0].arg
            self.handles.add(plain[0].arg)

    def _class_body(self, node: ast.ClassDef) -> None:
        for inner in node.body:
            match inner:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._defaults(inner)
                case ast.ClassDef() | ast.Pass():
                    pass
                case ast.Assign() | ast.AnnAssign():
                    if inner.value is not None:
                        self._still(inner.value)
                case ast.Expr(value=ast.Constant()):
                    pass
                case _:
                    self.fault(inner, "a class body does work", "move it into a method")

    def _scan(self, node: ast.AST) -> _Found:
        found = _Found()
        uses, texts = found.uses, found.texts
        todo: list[Any] = [node]
        while todo:
            item = todo.pop()
            kind = item.__class__
            if kind is ast.Name:
                uses.add(item.id)
                continue
            if kind is ast.Constant:
                if item.value.__class__ is str:
                    texts.add(item.value)
                continue
            look = _LOOKS.get(kind)
            if look is not None:
                look(self, item, found)
            for name in _FIELDS[kind]:
                value = getattr(item, name, None)
                if value.__class__ is list:
                    todo.extend(value)
                elif value is None:
                    pass
                elif name == "annotation" or name == "returns":
                    uses.update(inner.id for inner in ast.walk(value) if isinstance(inner, ast.Name))
                else:
                    todo.append(value)
        if "__debug__" in uses:
            self.needs_compiler = True
        return found

    def _attribute(self, node: ast.Attribute, found: _Found) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in self.handles:
            found.attributes.append((node.value.id, node.attr, self.place(node)))
        if node.attr in NEWER_METHODS:
            self._newer(node, f"the method {node.attr}()", NEWER_METHODS[node.attr])

    def _subscript(self, node: ast.Subscript, found: _Found) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in GENERIC_BUILTINS:
            self._newer(node, f"{node.value.id}[...] outside an annotation", "3.9")
        self._literal(node.value)
        self._bare_star(node.slice, "a '*' in a subscript", "3.11")

    def _bare_star(self, node: ast.AST, what: str, since: str) -> None:
        """A tuple with a '*' that no brackets hold: it begins where its first item begins."""
        if isinstance(node, ast.Tuple) and any(isinstance(item, ast.Starred) for item in node.elts):
            first = node.elts[0]
            if (node.lineno, node.col_offset) == (first.lineno, first.col_offset):
                self._newer(node, what, since)

    def _for(self, node: ast.For, found: _Found) -> None:
        self._bare_star(node.iter, "a '*' after 'in'", "3.9")

    def _decorated(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, found: _Found) -> None:
        for decorator in node.decorator_list:
            inner = decorator.func if isinstance(decorator, ast.Call) else decorator
            while isinstance(inner, ast.Attribute):
                inner = inner.value
            if not isinstance(inner, ast.Name):
                self._newer(decorator, "a decorator that is not a name or a call of one", "3.9")
        if not isinstance(node, ast.FunctionDef):
            self.needs_compiler = True

    def _binary(self, node: ast.BinOp, found: _Found) -> None:
        if isinstance(node.op, ast.BitOr):
            sides = (node.left, node.right)
            if any(isinstance(side, ast.Dict | ast.DictComp) for side in sides):
                self._newer(node, "merging mappings by '|'", "3.9")
            elif any(isinstance(side, ast.Name) and side.id in TYPES for side in sides):
                self._newer(node, "'|' between types outside an annotation", "3.10")

    def _formatted(self, node: ast.JoinedStr, found: _Found) -> None:
        if may_be_newer(node, self.lines):
            self.has_newer_f_strings = True

    def _template_text(self, node: ast.AST, found: _Found) -> None:
        self._newer(node, "a t-string", "3.14")

    def _global(self, node: ast.Global, found: _Found) -> None:
        self.needs_compiler = True
        self.globals += [(name, self.place(node)) for name in node.names]

    def _literal(self, node: ast.AST) -> None:
        """The compiler warns of a literal that is called, subscripted or compared by identity."""
        if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            self.needs_compiler = True

    def _compare(self, node: ast.Compare, found: _Found) -> None:
        if any(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops):
            for side in (node.left, *node.comparators):
                if not (
                    isinstance(side, ast.Constant) and (side.value is None or isinstance(side.value, bool))
                ):
                    self._literal(side)

    def _arguments(self, node: ast.arguments, found: _Found) -> None:
        if len(node.args) + len(node.kwonlyargs) + len(node.posonlyargs) > 1 or node.vararg or node.kwarg:
            every = [*node.posonlyargs, *node.args, node.vararg, *node.kwonlyargs, node.kwarg]
            names = [argument.arg for argument in every if argument is not None]
            if len(set(names)) < len(names):
                self.needs_compiler = True

    def _for_compiler(self, node: ast.AST, found: _Found) -> None:
        self.needs_compiler = True

    def _call(self, node: ast.Call, found: _Found) -> None:
        function = node.func
        name = (
            function.id
            if isinstance(function, ast.Name)
            else function.attr
            if isinstance(function, ast.Attribute)
            else ""
        )
        first = node.args[0] if node.args else None
        if name == "output" and isinstance(function, ast.Attribute) and isinstance(first, ast.Constant):
            found.outputs.append((str(first.value), self.place(first)))
        if not name:
            self._literal(function)
        if len(node.keywords) > len({keyword.arg for keyword in node.keywords}):
            self.needs_compiler = True
        for keyword in node.keywords:
            since = NEWER_ARGUMENTS.get((name, keyword.arg or ""))
            if since:
                self._newer(node, f"{name}({keyword.arg}=...)", since)

    def _newer(self, node: ast.AST | Place, what: str, since: str) -> None:
        self.fault(node, f"{what} came with Python {since}, and a worker may have {OLDEST_TEXT}")

    # --- imports

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if self._standard(node, alias.name, top_level=True):
                    binding = alias.asname or alias.name.partition(".")[0]
                    self._bind(node, binding, alias.name, None, alias.asname)
            return
        module = node.module or ""
        if node.level:
            self.fault(
                node,
                "an import relative to a package cannot be bundled",
                f"write 'from {RUNTIME}.x import y'",
            )
        elif module == "__future__":
            for alias in node.names:
                if alias.name != "annotations":
                    self.fault(
                        node, f"'from __future__ import {alias.name}' would change every part of the script"
                    )
        elif module == RUNTIME or module.startswith(RUNTIME + "."):
            self._runtime_import(node, module)
        elif self._standard(node, module, top_level=True):
            for alias in node.names:
                if alias.name == "*":
                    self.fault(node, "'import *' hides where names come from", "name what you use")
                    continue
                self._newer_name(node, module, alias.name)
                self._bind(node, alias.asname or alias.name, module, alias.name, alias.asname)

    def _bind(self, node: ast.AST, binding: str, module: str, name: str | None, alias: str | None) -> None:
        if binding in _BUILTINS:
            self.fault(
                node, f"'{binding}' would hide Python's own for every part of the script", "import it 'as'"
            )
        if binding in HELPERS or binding in FRAME_NAMES:
            self.fault(node, f"the name '{binding}' is taken", "import it 'as'")
        alias = None if alias == name and name is not None else alias
        self.standard_imports.append(
            StandardImport(binding=binding, module=module, name=name, alias=alias, place=self.place(node))
        )

    def _runtime_import(self, node: ast.ImportFrom, module: str) -> None:
        short = module.removeprefix(RUNTIME).removeprefix(".")
        if not short or "." in short:
            self.fault(
                node, f"import from a module of {RUNTIME}", f"like 'from {RUNTIME}.step import StepFailure'"
            )
            return
        for alias in node.names:
            if alias.name == "*":
                self.fault(node, "'import *' hides where names come from", "name what you use")
            elif alias.asname and alias.asname != alias.name:
                self.fault(
                    node, f"'{alias.name}' is imported under another name", "the script has one namespace"
                )
            else:
                self.runtime_imports[alias.name] = RuntimeImport(
                    module=short, name=alias.name, place=self.place(alias)
                )

    def _standard(self, node: ast.AST, module: str, *, top_level: bool) -> bool:
        root = module.partition(".")[0]
        if module == RUNTIME or module.startswith(RUNTIME + "."):
            self.fault(
                node, f"'{module}' is imported as a module", f"write 'from {RUNTIME}.x import y' at the top"
            )
            return False
        if root not in STANDARD_MODULES:
            hint = f"scripts may use the standard library and {RUNTIME} only: a worker has nothing else"
            self.fault(node, f"'{root}' is not in Python's standard library", hint)
            return False
        if root in GONE_MODULES:
            self.fault(node, f"the module '{root}' is gone from Python {GONE_MODULES[root]}")
            return False
        if top_level and root in NEWER_MODULES:
            self._newer(node, f"the module '{root}'", NEWER_MODULES[root])
            return False
        return True

    def _newer_name(self, node: ast.AST, module: str, name: str) -> None:
        since = NEWER_NAMES.get(module, {}).get(name)
        if since:
            self._newer(node, f"{module}.{name}", since)

    def _inner_import(self, node: ast.Import | ast.ImportFrom, found: _Found) -> None:
        """An import inside a function stays where it is: it may be one that the function can do without."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._standard(node, alias.name, top_level=False)
        elif node.level:
            self.fault(node, "an import relative to a package cannot be bundled")
        elif node.module == RUNTIME or (node.module or "").startswith(RUNTIME + "."):
            self.fault(node, "the runtime is imported inside a function", "move the import to the top")
        else:
            if any(alias.name == "*" for alias in node.names):
                self.fault(node, "'import *' cannot stand in a function", "name what you use")
            self._standard(node, node.module or "", top_level=False)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


_BUILDERS = words(
    "abs array auto bool bytes bytearray count cycle date datetime defaultdict deque dict enumerate field filter float "
    "frozenset int len list map max min namedtuple object property range reversed round set slice sorted str sum "
    "timedelta timezone tuple type zip"
)
_BUILDING_METHODS = words(
    "auto compile copy decode difference encode escape format from_iterable fromhex fromkeys get intersection "
    "itemgetter attrgetter items join keys lower maketrans partial replace split splitlines strip union "
    "upper values"
) | {"timedelta", "timezone", "namedtuple", "field"}


_ACTING_CLASSES = words("NamedTemporaryFile Popen SpooledTemporaryFile TemporaryDirectory TemporaryFile")


def _builds(function: ast.expr, imports: Sequence[StandardImport]) -> bool:
    """Whether calling it makes a value and does nothing else, as far as its name tells: classes begin with a capital."""
    if getattr(function, "id", getattr(function, "attr", "")) in _ACTING_CLASSES:
        return False
    if isinstance(function, ast.Name):
        name = next((item.name or "" for item in imports if item.binding == function.id), function.id)
        return name in _BUILDERS or name in _BUILDING_METHODS or name.lstrip("_")[:1].isupper()
    if isinstance(function, ast.Attribute):
        return function.attr in _BUILDING_METHODS or function.attr.lstrip("_")[:1].isupper()
    return False


_INSIDE = re.compile(r"\s+#|\s*$").match
_LEAVES = frozenset(
    {"ctx", "op", "ops", "id", "attr", "arg", "name", "asname", "kind", "type_comment", "level"}
)


class _Fields(dict[type, tuple[str, ...]]):
    """The fields of each kind of node that can hold nodes."""

    def __missing__(self, kind: type) -> tuple[str, ...]:
        names = () if kind in (ast.Global, ast.Nonlocal) else getattr(kind, "_fields", ())
        self[kind] = found = tuple(name for name in names if name not in _LEAVES)
        return found


_FIELDS = _Fields()

# What Python's parser lets pass and its compiler refuses or warns about needs one of these nodes, or is looked for above, or is
# nested deeply. Compiling costs as much again as parsing, and most scripts of a large library need it not.
_FOR_COMPILER = frozenset(
    {ast.Nonlocal, ast.Break, ast.Continue, ast.Try, ast.Starred, ast.Assert, ast.NamedExpr}
    | {ast.Yield, ast.YieldFrom, ast.Await, ast.AsyncFor, ast.AsyncWith}
    | {ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp}
)
_DEEP = re.compile(r"^[ \t]{20}", re.MULTILINE).search
_LOOKS: dict[type, Callable[[_Reader, Any, _Found], None]] = {
    ast.Attribute: _Reader._attribute,
    ast.Call: _Reader._call,
    ast.Subscript: _Reader._subscript,
    ast.Compare: _Reader._compare,
    ast.arguments: _Reader._arguments,
    ast.Import: _Reader._inner_import,
    ast.ImportFrom: _Reader._inner_import,
    ast.Global: _Reader._global,
    ast.For: _Reader._for,
    ast.BinOp: _Reader._binary,
    ast.JoinedStr: _Reader._formatted,
    ast.FunctionDef: _Reader._decorated,
    ast.AsyncFunctionDef: _Reader._decorated,
    ast.ClassDef: _Reader._decorated,
    **dict.fromkeys(_FOR_COMPILER, _Reader._for_compiler),
}
if hasattr(ast, "TemplateStr"):
    _LOOKS[ast.TemplateStr] = _Reader._template_text


@contextmanager
def _warnings_as_errors() -> Iterator[None]:
    """On a worker Python would print them to stderr, which marks the whole task with warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
