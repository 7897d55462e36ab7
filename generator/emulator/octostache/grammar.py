"""The grammar of Octostache: text in, tokens out. `str(token)` is the token as Octopus writes it back when it is unknown.

How much of a broken text stays verbatim depends on where the parser gave up, so the combinators keep Sprache's rules: a failure
carries the furthest position reached, the better of two failures is the one further on, and `many` gives back what it had.
Source: Octostache, TemplateParser; Sprache, Parse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Identifier:
    """One name of a path. `position` tells apart two mentions of one name, as Octopus' check for loops does."""

    text: str
    position: int | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Index:
    """`[text]` or `[...]` around another expression's symbol."""

    text: str | None
    symbol: Symbol | None = None
    position: int | None = None

    def __str__(self) -> str:
        return f"[{_token(self.symbol)}]" if self.symbol is not None else f"[{self.text or ''}]"


@dataclass(frozen=True)
class Symbol:
    """A path: names joined by dots, with indexes."""

    steps: tuple[Identifier | Index, ...]

    def __str__(self) -> str:
        text = ""
        for number, step in enumerate(self.steps):
            text += f".{step}" if number and isinstance(step, Identifier) else str(step)
        return text


@dataclass(frozen=True)
class Call:
    """`argument | function option option`."""

    function: str
    argument: Expression
    options: tuple[Token, ...]

    def __str__(self) -> str:
        options = "".join(
            f' "{option}"' if isinstance(option, Text) else f" {option}" for option in self.options
        )
        return f"{self.argument} | {self.function}{options}"


Expression: TypeAlias = Symbol | Call


@dataclass(frozen=True)
class Text:
    """Literal text, escapes already undone."""

    text: str

    def __str__(self) -> str:
        return self.text.replace("#" + "{", "##" + "{")


@dataclass(frozen=True)
class Substitution:
    expression: Expression

    def __str__(self) -> str:
        return _token(self.expression)


@dataclass(frozen=True)
class Conditional:
    """`equal` is None for a plain truth test; otherwise `left` is compared with `right`, a literal text or an expression."""

    left: Expression
    equal: bool | None
    right: str | Expression | None
    truthy: tuple[Token, ...]
    falsy: tuple[Token, ...]

    def __str__(self) -> str:
        comparison = ""
        if self.equal is not None:
            right = f'"{self.right}"' if isinstance(self.right, str) else str(self.right)
            comparison = f" {'==' if self.equal else '!='} {right} "
        falsy = _token("else") + _joined(self.falsy) if self.falsy else ""
        return _token(f"if {self.left}{comparison}") + _joined(self.truthy) + falsy + _token("/if")


@dataclass(frozen=True)
class Repetition:
    collection: Symbol
    enumerator: str
    body: tuple[Token, ...]

    def __str__(self) -> str:
        return _token(f"each {self.enumerator} in {self.collection}") + _joined(self.body) + _token("/each")


@dataclass(frozen=True)
class Constant:
    value: float
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Operation:
    left: Component
    operator: str
    right: Component

    def __str__(self) -> str:
        return f"{self.left}{self.operator}{self.right}"


Component: TypeAlias = Constant | Operation | Symbol


@dataclass(frozen=True)
class Calculation:
    component: Component

    def __str__(self) -> str:
        return _token(self.component)  # Octopus forgets the word `calc` here


Token: TypeAlias = Text | Substitution | Conditional | Repetition | Calculation


def _token(inside: object) -> str:
    return "#" + "{" + str(inside) + "}"


def _joined(tokens: tuple[Token, ...]) -> str:
    return "".join(map(str, tokens))


# What a parser answers: whether it matched, the value, and where it ended or gave up.
Result: TypeAlias = tuple[bool, Any, int]
Parser: TypeAlias = Callable[[str, int], Result]


def _character(accepted: Callable[[str], bool]) -> Parser:
    def parse(text: str, at: int) -> Result:
        if at < len(text) and accepted(text[at]):
            return True, text[at], at + 1
        return False, None, at

    return parse


def _literal(wanted: str, *, ignore_case: bool = False) -> Parser:
    def parse(text: str, at: int) -> Result:
        for offset, character in enumerate(wanted):
            found = text[at + offset : at + offset + 1]
            if found != character and not (ignore_case and found.lower() == character):
                return False, None, at + offset
        return True, wanted, at + len(wanted)

    return parse


def _sequence(*parsers: Parser) -> Parser:
    """The values of all, in a list."""

    def parse(text: str, at: int) -> Result:
        values = []
        for parser in parsers:
            matched, value, at = parser(text, at)
            if not matched:
                return False, None, at
            values.append(value)
        return True, values, at

    return parse


def _either(*parsers: Parser, firmly: bool = False) -> Parser:
    """The first that matches more than nothing. `firmly`: one that failed half-way settles it."""

    def pair(first: Parser, second: Parser) -> Parser:
        def parse(text: str, at: int) -> Result:
            one = first(text, at)
            if one[2] != at and (one[0] or firmly):
                return one
            two = second(text, at)
            if two[0]:
                return two
            return one if one[0] or one[2] >= two[2] else two

        return parse

    return functools.reduce(pair, parsers)


def _many(parser: Parser, *, at_least_one: bool = False) -> Parser:
    def parse(text: str, at: int) -> Result:
        values: list[Any] = []
        while True:
            matched, value, end = parser(text, at)
            if not matched and at_least_one and not values:
                return False, None, end
            if not matched or end == at:
                return True, values, at
            values.append(value)
            at = end

    return parse


def _optional(parser: Parser) -> Parser:
    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, value, end) if matched else (True, None, at)

    return parse


def _but_not(parser: Parser, *excluded: Parser) -> Parser:
    def parse(text: str, at: int) -> Result:
        if any(other(text, at)[0] for other in excluded):
            return False, None, at
        return parser(text, at)

    return parse


def _made(parser: Parser, make: Callable[[Any], Any]) -> Parser:
    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, make(value), end) if matched else (False, None, end)

    return parse


def _placed(parser: Parser, make: Callable[[Any, int], Any]) -> Parser:
    """As `_made`, told the position where it began."""

    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, make(value, at), end) if matched else (False, None, end)

    return parse


def _later(find: Callable[[], Parser]) -> Parser:
    return lambda text, at: find()(text, at)


def _spaced(parser: Parser) -> Parser:
    return _made(_sequence(_spaces, parser, _spaces), lambda values: values[1])


_space = _character(str.isspace)
_spaces = _many(_space)
_some_space = _many(_space, at_least_one=True)


def _is_name_character(character: str) -> bool:
    letter = character.isalpha() and ord(character) <= 0xFFFF  # .NET sees surrogates beyond
    return letter or character.isdecimal() or character in "_-:/~()@"


def _identifier(text: str, at: int) -> Result:
    """A name, spaces inside included; it ends before white space that stands before `|`, `}` or a comparing word."""
    end = at
    while end < len(text) and (_is_name_character(text[end]) or text[end].isspace()):
        if text[end].isspace():
            after = end + 1
            if after < len(text) - 1 and text[after] in "|}":
                break
            if any(
                text.startswith(word, after) and text[after + len(word) : after + len(word) + 1].isspace()
                for word in ("in", "==", "!=")
            ):
                return (True, Identifier(text[at:end].strip(), at), end) if end > at else (False, None, after)
        end += 1
    return (True, Identifier(text[at:end].strip(), at), end) if end > at else (False, None, at)


_word = _made(_many(_character(_is_name_character), at_least_one=True), "".join)

_open = _but_not(_literal("#" + "{"), _literal("#" + "{/"))
_close = _literal("}")
_else = _literal(_token("else"))
_else_if = _sequence(_literal("#" + "{elseif"), _space)

_expression = _later(lambda: _filtered_or_plain)
_substitution = _made(
    _sequence(_open, _spaced(_expression), _close), lambda values: Substitution(expression=values[1])
)


def _symbol_substitution(text: str, at: int) -> Result:
    matched, value, end = _spaced(_substitution)(text, at)
    if matched and isinstance(value.expression, Symbol):
        return True, value.expression, end
    return False, None, at if matched else end


_text_index: Parser = _made(
    _sequence(
        _literal("["),
        _spaced(
            _many(
                _either(
                    _made(_later(lambda: _text_index), str),
                    _made(_many(_character(lambda c: c not in "[]"), at_least_one=True), "".join),
                )
            )
        ),
        _literal("]"),
    ),
    lambda values: Index(text="".join(values[1])),
)
_symbol_index = _made(
    _sequence(_literal("["), _spaced(_symbol_substitution), _literal("]")),
    lambda values: Index(text=None, symbol=values[1]),
)
_index = _placed(
    _either(_symbol_index, _text_index), lambda index, at: Index(index.text, index.symbol, position=at)
)
_symbol = _made(
    _sequence(
        _identifier,
        _many(
            _either(
                _made(_sequence(_literal("."), _identifier), lambda values: values[1]), _index, firmly=True
            )
        ),
    ),
    lambda values: Symbol((values[0], *values[1])),
)

_quoted = _spaced(
    _made(
        _sequence(_literal('"'), _many(_character(lambda c: c not in '"#')), _literal('"')),
        lambda values: "".join(values[1]),
    )
)
_escaped_quote = _literal('\\"')
_escaped_quoted = _spaced(
    _made(
        _sequence(
            _escaped_quote, _many(_but_not(_character(lambda c: True), _escaped_quote)), _escaped_quote
        ),
        lambda values: "".join(values[1]),
    )
)
_option = _either(
    _later(lambda: _conditional),
    _later(lambda: _calculation),
    _later(lambda: _repetition),
    _substitution,
    _made(_either(_spaced(_word), _quoted, _escaped_quoted), Text),
)


def _calls(values: list[Any]) -> Expression:
    symbol, chain = values
    expression: Expression = symbol if symbol is not None else Symbol(())
    for _, function, options in chain:
        expression = Call(function, expression, tuple(options))
    return expression


_filtered = _made(
    _sequence(
        _optional(_spaced(_symbol)),
        _many(_sequence(_literal("|"), _spaced(_word), _many(_option)), at_least_one=True),
    ),
    _calls,
)
_filtered_or_plain: Parser = _either(_filtered, _symbol)

_comparison = _either(_spaced(_literal("==")), _spaced(_literal("!=")))
_any_quoted = _either(_spaced(_quoted), _spaced(_escaped_quoted))
# A condition is (left, equal, right).
_condition = _either(
    _spaced(
        _made(
            _sequence(_spaced(_expression), _comparison, _spaced(_expression)),
            lambda v: (v[0], v[1] == "==", v[2]),
        )
    ),
    _spaced(
        _made(_sequence(_any_quoted, _comparison, _spaced(_expression)), lambda v: (v[2], v[1] == "==", v[0]))
    ),
    _spaced(
        _made(_sequence(_spaced(_expression), _comparison, _any_quoted), lambda v: (v[0], v[1] == "==", v[2]))
    ),
    _spaced(_made(_spaced(_expression), lambda left: (left, None, None))),
)

_template = _many(_later(lambda: _token_parser))
_if_body = _many(_but_not(_later(lambda: _token_parser), _else, _else_if))
_unless_body = _many(_but_not(_later(lambda: _token_parser), _else))
_else_if_clauses = _many(_sequence(_else_if, _condition, _spaces, _close, _if_body))


def _conditional_of(word: str, body: Parser, clauses: Parser) -> Parser:
    rest = _sequence(
        _some_space,
        _condition,
        _spaces,
        _close,
        body,
        clauses,
        _optional(_sequence(_else, _template)),
        _literal("#" + "{/" + word + "}"),
    )

    def make(values: list[Any]) -> Conditional:
        _, condition, _, _, matching, others, otherwise, _ = values
        falsy: tuple[Token, ...] = tuple(otherwise[1]) if otherwise else ()
        for _, (left, equal, right), _, _, tokens in reversed(others):
            falsy = (Conditional(left, equal, right, tuple(tokens), falsy),)
        left, equal, right = condition
        truthy, falsy = (tuple(matching), falsy) if word == "if" else (falsy, tuple(matching))
        return Conditional(left, equal, right, truthy, falsy)

    return _made(_sequence(_literal(word, ignore_case=True), rest), lambda values: make(values[1]))


_after_if = _conditional_of("if", _if_body, _else_if_clauses)
_after_unless = _conditional_of("unless", _unless_body, lambda text, at: (True, [], at))


def _conditional_inside(text: str, at: int) -> Result:
    # Which word it is, is settled by the word alone.
    if _literal("if", ignore_case=True)(text, at)[0]:
        return _after_if(text, at)
    return _after_unless(text, at)


_conditional: Parser = _made(_sequence(_open, _spaces, _conditional_inside), lambda values: values[2])

_repetition: Parser = _made(
    _sequence(
        _sequence(_open, _spaces, _literal("each", ignore_case=True), _some_space),
        _spaced(_identifier),
        _spaced(_literal("in", ignore_case=True)),
        _spaced(_symbol),
        _close,
        _template,
        _literal(_token("/each")),
    ),
    lambda values: Repetition(values[3], values[1].text, tuple(values[5])),
)

_digits = _made(_many(_character(str.isdecimal), at_least_one=True), "".join)
_fraction = _made(_sequence(_literal("."), _digits), "".join)
_nothing: Parser = lambda text, at: (True, "", at)  # noqa: E731 - one of a table of parsers
_number = _either(
    _made(_sequence(_digits, _either(_fraction, _nothing, firmly=True)), "".join), _fraction, firmly=True
)
_value = _either(
    _made(_number, lambda digits: Constant(float(digits), digits)),
    _made(_sequence(_literal("{"), _spaces, _spaced(_symbol), _spaces, _close), lambda values: values[2]),
    _spaced(_symbol),
    firmly=True,
)
_factor = _either(
    _made(
        _sequence(_literal("("), _later(lambda: _sum), _literal(")")),
        lambda values: values[1],
    ),
    _value,
    firmly=True,
)


def _chain(operators: str, operand: Parser) -> Parser:
    def make(values: list[Any]) -> Component:
        component: Component = values[0]
        for operator, right in values[1]:
            component = Operation(component, operator, right)
        return component

    operator = _either(*(_spaced(_literal(sign)) for sign in operators))

    def parse(text: str, at: int) -> Result:
        matched, first, end = operand(text, at)
        if not matched:
            return False, None, end
        rest: list[tuple[str, Any]] = []
        while True:
            found, sign, after = operator(text, end)
            if not found:
                return True, make([first, rest]), end
            found, right, after = operand(text, after)
            if not found:
                return True, make([first, rest]), end
            rest.append((sign, right))
            end = after

    return parse


_sum: Parser = _chain("+-", _chain("*/", _factor))
_calculation: Parser = _made(
    _sequence(
        _sequence(_open, _spaces, _literal("calc", ignore_case=True), _some_space), _sum, _spaces, _close
    ),
    lambda values: Calculation(values[1]),
)


def _text(text: str, at: int) -> Result:
    """Literal text up to the next expression. A run of hashes before a brace loses one hash per escape."""
    parts: list[str] = []
    end = at
    while end < len(text):
        if text[end] != "#":
            begin, end = end, text.find("#", end)
            end = len(text) if end < 0 else end
            parts.append(text[begin:end])
        elif end + 1 == len(text):
            parts.append("#")
            end += 1
        elif text.startswith("###" + "{", end) and end + 4 < len(text):
            parts.append("#")
            end += 2
        elif text.startswith("##" + "{", end):
            parts.append("#" + "{")
            end += 3
        elif text[end + 1] != "{":
            parts.append(text[end : end + 2])
            end += 2
        else:
            break
    if not parts:
        return False, None, at + 1 if at < len(text) else at
    return True, Text("".join(parts)), end


_token_parser: Parser = _either(_conditional, _calculation, _repetition, _substitution, _text)


@functools.lru_cache(maxsize=512)
def parse_template(text: str, *, halt_on_error: bool) -> tuple[Token, ...] | str:
    """The tokens of `text`, or why it has none. Without `halt_on_error` there always are: a broken piece becomes text."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        matched, value, end = _token_parser(text, at)
        if end == at or (not matched and halt_on_error):
            break
        tokens.append(value if matched else Text(text[at:end]))
        at = end
    if at == len(text):
        return tuple(tokens)
    line = text.count("\n", 0, end) + 1
    return f"Parsing failure: unexpected text (Line {line}, Column {end - text.rfind(chr(10), 0, end)})"


@functools.lru_cache(maxsize=8192)
def parse_path(name: str) -> Symbol | None:
    """The path at the beginning of a variable's name; what follows it is ignored. None if there is none."""
    matched, value, _ = _symbol(name, 0)
    return value if matched else None
