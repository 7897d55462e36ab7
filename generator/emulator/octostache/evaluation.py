"""Evaluates Octostache's expressions: variables as a tree of names, scopes for loops, loops among values found.

Source: Octostache, VariableDictionary, PropertyListBinder, EvaluationContext, TemplateEvaluator, JsonParser.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from generator.emulator.octostache import filters, loose_json
from generator.emulator.octostache.dotnet import float_text, parse_integer, parse_number
from generator.emulator.octostache.grammar import parse_path, parse_template
from generator.emulator.octostache.tokens import (
    Calculation,
    Call,
    Component,
    Conditional,
    Constant,
    Expression,
    Identifier,
    Index,
    Operation,
    Repetition,
    Substitution,
    Symbol,
    Text,
    Token,
)

_OPENING = "#" + "{"


class SelfReferenceError(ValueError):
    """A variable's value leads back to itself. Octopus throws here, which ends the step."""

    def __init__(self, symbol: Symbol, chain: Sequence[Symbol]) -> None:
        path = " -> ".join(map(str, (*chain, symbol)))
        super().__init__(
            f'An attempt to parse the variable symbol "{symbol}" appears to have resulted in a self referencing loop '
            f"({path}). Ensure that recursive loops do not exist in the variable values."
        )


@dataclass(frozen=True)
class Evaluation:
    """An evaluated text. `text` is None when a `| null` was reached; `error` says what could not be evaluated."""

    text: str | None
    error: str | None = None


class Variables:
    """Variables by name, case-insensitively. Values are raw: expressions in them are evaluated when they are asked for.

    `now` gives the seconds since 1970 that the filters NowDate and NowDateUtc show.
    """

    def __init__(self, values: Mapping[str, str], *, now: Callable[[], float] = time.time) -> None:
        self._values: dict[str, tuple[str, str]] = {}
        for name, value in values.items():
            self._values[name.lower()] = (self._values.get(name.lower(), (name, ""))[0], value)
        self._now = now

    def names(self) -> Iterator[str]:
        """Every name, as first given."""
        return (name for name, _ in self._values.values())

    def raw(self, name: str) -> str | None:
        """The value as it was given, or None if there is no such variable."""
        found = self._values.get(name.lower())
        return None if found is None else found[1]

    def get(self, name: str) -> str | None:
        """The evaluated value; None if there is no such variable, or it came to `| null`."""
        raw = self.raw(name)
        return None if raw is None else self.evaluate(raw).text

    def evaluate(self, text: str, *, halt_on_error: bool = True) -> Evaluation:
        """`text` with its expressions replaced.

        An unknown expression is written back in Octopus' spelling and named in `error`. A broken one alone stays verbatim;
        with `halt_on_error` (as for values of variables and script modules) it leaves the whole text unchanged.
        SelfReferenceError for a loop among the values.
        """
        if _OPENING not in text:
            return Evaluation(text)
        tokens = parse_template(text, halt_on_error=halt_on_error)
        if isinstance(tokens, str):
            return Evaluation(text, tokens)
        run = _Run(now=self._now)
        result = run.write(tokens, _Scope(self._tree, None))
        error = None
        if run.missing:
            error = "The following tokens were unable to be evaluated: " + ", ".join(
                f"'{m}'" for m in run.missing
            )
        return Evaluation(None if run.nulled else result, error)

    def evaluate_truthy(self, text: str) -> bool:
        """Whether `text` evaluates without an error to something true; this is how Octopus reads a run condition."""
        evaluation = self.evaluate(text)
        return not evaluation.error and is_truthy(evaluation.text)

    @functools.cached_property
    def _tree(self) -> _Node:
        root = _Node()
        for name, value in self._values.values():
            path = parse_path(name)
            if path is not None:
                root.put(path.steps, value)
        return root


def evaluate(text: str, variables: Mapping[str, str], *, halt_on_error: bool) -> Evaluation:
    """`text` evaluated with `variables`; see `Variables.evaluate`."""
    return Variables(variables).evaluate(text, halt_on_error=halt_on_error)


def is_truthy(text: str | None) -> bool:
    """False for None, empty, `0`, and (trimmed, ignoring case) `no` and `false`; true for anything else."""
    return text is not None and text not in ("", "0") and text.strip().lower() not in ("no", "false")


@dataclass
class _Node:
    """A place in the tree of variables: `A.B` is field `b` of field `a`, `A[x]` is index `x` of field `a`."""

    value: str | None = None
    fields: dict[str, _Node] = field(default_factory=dict)
    indexed: dict[str, _Node] = field(default_factory=dict)

    def put(self, steps: Sequence[Identifier | Index], value: str) -> None:
        node = self
        for step in steps:
            if isinstance(step, Identifier):
                node = node.fields.setdefault(step.text.lower(), _Node())
            elif step.text is not None:
                node = node.indexed.setdefault(step.text.lower(), _Node(step.text))
            else:
                return  # a name with an expression in it cannot be reached by a path
        node.value = value


class _Scope:
    """The names visible at one point: a loop's own, then those around it. Keeps the symbols now being resolved."""

    def __init__(self, names: _Node, parent: _Scope | None) -> None:
        self._names = names
        self._parent = parent
        self._resolving: list[Symbol] = []

    def find(self, symbol: Symbol, run: _Run) -> _Node | None:
        """What `symbol` leads to, its value evaluated. Tokens missing in that value are added to `run`."""
        scope: _Scope | None = self
        while scope is not None:
            if symbol in scope._resolving:
                raise SelfReferenceError(symbol, scope._resolving)
            scope = scope._parent
        self._resolving.append(symbol)
        try:
            steps = tuple(self._settled(step, run) for step in symbol.steps)
            node: _Node | None = self._names
            for step in steps:
                if isinstance(step, Index) and step.text is None:
                    return None  # an index by a variable that does not exist
                assert node is not None
                node = self._step(node, step, run)
                if node is None:
                    return None if self._parent is None else self._parent.find(Symbol(steps), run)
            assert node is not None
            return self._evaluated(node, run)
        finally:
            self._resolving.pop()

    def items(self, collection: Symbol, run: _Run) -> Sequence[_Node]:
        """What a loop over `collection` goes through: indexes, elements of JSON, or the parts between commas."""
        node = self.find(collection, run)
        if node is None:
            return ()
        if node.indexed:
            return tuple(node.indexed.values())
        if node.value is None:
            return ()
        try:
            document = loose_json.parse_json(node.value)
        except ValueError:
            document = None
        if isinstance(document, list):
            return tuple(_from_json(element) for element in document)
        if isinstance(document, dict):
            return tuple(
                _Node(name, {"key": _Node(name), "value": _from_json(value)})
                for name, value in document.items()
            )
        return tuple(_Node(part) for part in node.value.split(","))

    def _settled(self, step: Identifier | Index, run: _Run) -> Identifier | Index:
        """`step` with an index by a variable replaced by the variable's value."""
        if isinstance(step, Identifier) or step.symbol is None:
            return step
        found = self.find(step.symbol, _Run(now=run.now))
        return Index(None, step.symbol) if found is None else Index(found.value)

    def _step(self, node: _Node, step: Identifier | Index, run: _Run) -> _Node | None:
        text = step.text or ""
        if isinstance(step, Identifier):
            found = node.fields.get(text.lower())
        elif text == "*" and node.indexed:
            found = next(iter(node.indexed.values()))
        else:
            found = node.indexed.get(text.lower())
        return found if found is not None else self._step_into_json(node, text, run)

    def _step_into_json(self, node: _Node, name: str, run: _Run) -> _Node | None:
        if not node.value or not name:
            return None
        try:
            value = self._evaluated(node, _Run(now=run.now)).value if _OPENING in node.value else node.value
            document = loose_json.parse_json(value or "")
        except ValueError:  # a loop, or no JSON
            return None
        if isinstance(document, dict):
            return _from_json(document.get(name))
        if isinstance(document, list):
            index = parse_integer(name)
            if index is None:
                return None
            return _from_json(document[index] if 0 <= index < len(document) else None)
        return None

    def _evaluated(self, node: _Node, run: _Run) -> _Node:
        if node.value is None or _OPENING not in node.value:
            # Octopus drops the indexes of everything that has a value of its own.
            return node if node.value is None else _Node(node.value)
        tokens = parse_template(node.value, halt_on_error=True)
        if isinstance(tokens, str):
            return node
        inner = _Run(now=run.now)
        text = inner.write(tokens, _Scope(_Node(), self))
        run.missing.update(inner.missing)
        return _Node(text)


def _from_json(value: loose_json.Json) -> _Node:
    match value:
        case None:
            return _Node("")
        case bool():
            return _Node(str(value))
        case str():
            return _Node(value)
        case float():
            return _Node(float_text(value))
        case int():
            return _Node(str(value))
    return _Node(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


@dataclass
class _Run:
    """One evaluation of a text: what was missing in it, in order, and whether a `| null` was reached."""

    now: Callable[[], float]
    missing: dict[str, None] = field(default_factory=dict)
    nulled: bool = False

    def write(self, tokens: Sequence[Token], scope: _Scope) -> str:
        return "".join(self._token(token, scope) for token in tokens)

    def _token(self, token: Token, scope: _Scope) -> str:
        match token:
            case Text(text):
                return text
            case Substitution(expression):
                return self._substitution(token, expression, scope)
            case Conditional():
                return self._conditional(token, scope)
            case Repetition():
                return self._repetition(token, scope)
            case Calculation(component):
                number = self._number(component, scope)
                return str(token) if number is None else float_text(number)

    def _substitution(self, token: Token, expression: Expression, scope: _Scope) -> str:
        value = self._value(expression, scope)
        if value is not None:
            return value
        if isinstance(expression, Call) and expression.function == "null":
            self.nulled = True
        else:
            self.missing[str(token)] = None
        return str(token)

    def _conditional(self, token: Conditional, scope: _Scope) -> str:
        sides: list[str] = []
        for side in (token.left, token.right):
            if side is None or isinstance(side, str):
                sides.append(side or "")
                continue
            value = self._value(side, scope)
            if value is None:
                if not isinstance(side, Symbol):  # a filter that gave nothing
                    self.missing[str(side)] = None
                    return str(token)
                value = ""
            sides.append(value)
        left, right = sides
        holds = is_truthy(left) if token.equal is None else (left == right) is token.equal
        return self.write(token.truthy if holds else token.falsy, scope)

    def _repetition(self, token: Repetition, scope: _Scope) -> str:
        items = scope.items(token.collection, self)
        written = []
        for number, item in enumerate(items):
            names = _Node()
            each = {"Index": str(number), "First": str(number == 0), "Last": str(number == len(items) - 1)}
            for name, value in each.items():
                names.put([Identifier(part) for part in ("Octopus", "Template", "Each", name)], value)
            names.fields[token.enumerator.lower()] = item
            written.append(self.write(token.body, _Scope(names, scope)))
        return "".join(written)

    def _value(self, expression: Expression, scope: _Scope) -> str | None:
        if isinstance(expression, Symbol):
            node = scope.find(expression, self)
            return None if node is None else node.value
        argument = self._value(expression.argument, scope)
        options = [self.write([option], _Scope(_Node(), scope)) for option in expression.options]
        return filters.apply(expression.function, argument, options, now=self.now)

    def _number(self, component: Component, scope: _Scope) -> float | None:
        match component:
            case Constant(value):
                return value
            case Operation(left, operator, right):
                first, second = self._number(left, scope), self._number(right, scope)
                return None if first is None or second is None else _calculated(first, operator, second)
            case _:
                text = self._value(component, scope)
                number = None if text is None else parse_number(text)
                return None if number is None else float(number)


def _calculated(left: float, operator: str, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right != 0:
        return left / right
    return float("nan") if left == 0 else float("inf") if left > 0 else float("-inf")
