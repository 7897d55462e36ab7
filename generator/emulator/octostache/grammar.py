"""The grammar of Octostache: text in, tokens out. Source: Octostache, TemplateParser."""

from __future__ import annotations

import functools
from typing import Any

from generator.emulator.octostache.combinators import (
    Parser,
    Result,
    but_not,
    character,
    either,
    later,
    literal,
    made,
    many,
    optional,
    placed,
    sequence,
)
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
    spelt,
)


def _spaced(parser: Parser) -> Parser:
    return made(sequence(_spaces, parser, _spaces), lambda values: values[1])


_space = character(str.isspace)
_spaces = many(_space)
_some_space = many(_space, at_least_one=True)


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


_word = made(many(character(_is_name_character), at_least_one=True), "".join)

_open = but_not(literal("#" + "{"), literal("#" + "{/"))
_close = literal("}")
_else = literal(spelt("else"))
_else_if = sequence(literal("#" + "{elseif"), _space)

_expression = later(lambda: _filtered_or_plain)
_substitution = made(
    sequence(_open, _spaced(_expression), _close), lambda values: Substitution(expression=values[1])
)


def _symbol_substitution(text: str, at: int) -> Result:
    matched, value, end = _spaced(_substitution)(text, at)
    if matched and isinstance(value.expression, Symbol):
        return True, value.expression, end
    return False, None, at if matched else end


_text_index: Parser = made(
    sequence(
        literal("["),
        _spaced(
            many(
                either(
                    made(later(lambda: _text_index), str),
                    made(many(character(lambda c: c not in "[]"), at_least_one=True), "".join),
                )
            )
        ),
        literal("]"),
    ),
    lambda values: Index(text="".join(values[1])),
)
_symbol_index = made(
    sequence(literal("["), _spaced(_symbol_substitution), literal("]")),
    lambda values: Index(text=None, symbol=values[1]),
)
_index = placed(
    either(_symbol_index, _text_index), lambda index, at: Index(index.text, index.symbol, position=at)
)
_symbol = made(
    sequence(
        _identifier,
        many(
            either(made(sequence(literal("."), _identifier), lambda values: values[1]), _index, firmly=True)
        ),
    ),
    lambda values: Symbol((values[0], *values[1])),
)

_quoted = _spaced(
    made(
        sequence(literal('"'), many(character(lambda c: c not in '"#')), literal('"')),
        lambda values: "".join(values[1]),
    )
)
_escaped_quote = literal('\\"')
_escaped_quoted = _spaced(
    made(
        sequence(_escaped_quote, many(but_not(character(lambda c: True), _escaped_quote)), _escaped_quote),
        lambda values: "".join(values[1]),
    )
)
_option = either(
    later(lambda: _conditional),
    later(lambda: _calculation),
    later(lambda: _repetition),
    _substitution,
    made(either(_spaced(_word), _quoted, _escaped_quoted), Text),
)


def _calls(values: list[Any]) -> Expression:
    symbol, chain = values
    expression: Expression = symbol if symbol is not None else Symbol(())
    for _, function, options in chain:
        expression = Call(function, expression, tuple(options))
    return expression


_filtered = made(
    sequence(
        optional(_spaced(_symbol)),
        many(sequence(literal("|"), _spaced(_word), many(_option)), at_least_one=True),
    ),
    _calls,
)
_filtered_or_plain: Parser = either(_filtered, _symbol)

_comparison = either(_spaced(literal("==")), _spaced(literal("!=")))
_any_quoted = either(_spaced(_quoted), _spaced(_escaped_quoted))
# A condition is (left, equal, right).
_condition = either(
    _spaced(
        made(
            sequence(_spaced(_expression), _comparison, _spaced(_expression)),
            lambda v: (v[0], v[1] == "==", v[2]),
        )
    ),
    _spaced(
        made(sequence(_any_quoted, _comparison, _spaced(_expression)), lambda v: (v[2], v[1] == "==", v[0]))
    ),
    _spaced(
        made(sequence(_spaced(_expression), _comparison, _any_quoted), lambda v: (v[0], v[1] == "==", v[2]))
    ),
    _spaced(made(_spaced(_expression), lambda left: (left, None, None))),
)

_template = many(later(lambda: _token_parser))
_if_body = many(but_not(later(lambda: _token_parser), _else, _else_if))
_unless_body = many(but_not(later(lambda: _token_parser), _else))
_else_if_clauses = many(sequence(_else_if, _condition, _spaces, _close, _if_body))


def _conditional_of(word: str, body: Parser, clauses: Parser) -> Parser:
    rest = sequence(
        _some_space,
        _condition,
        _spaces,
        _close,
        body,
        clauses,
        optional(sequence(_else, _template)),
        literal("#" + "{/" + word + "}"),
    )

    def make(values: list[Any]) -> Conditional:
        _, condition, _, _, matching, others, otherwise, _ = values
        falsy: tuple[Token, ...] = tuple(otherwise[1]) if otherwise else ()
        for _, (left, equal, right), _, _, tokens in reversed(others):
            falsy = (Conditional(left, equal, right, tuple(tokens), falsy),)
        left, equal, right = condition
        truthy, falsy = (tuple(matching), falsy) if word == "if" else (falsy, tuple(matching))
        return Conditional(left, equal, right, truthy, falsy)

    return made(sequence(literal(word, ignore_case=True), rest), lambda values: make(values[1]))


_after_if = _conditional_of("if", _if_body, _else_if_clauses)
_after_unless = _conditional_of("unless", _unless_body, lambda text, at: (True, [], at))


def _conditional_inside(text: str, at: int) -> Result:
    # Which word it is, is settled by the word alone.
    if literal("if", ignore_case=True)(text, at)[0]:
        return _after_if(text, at)
    return _after_unless(text, at)


_conditional: Parser = made(sequence(_open, _spaces, _conditional_inside), lambda values: values[2])

_repetition: Parser = made(
    sequence(
        sequence(_open, _spaces, literal("each", ignore_case=True), _some_space),
        _spaced(_identifier),
        _spaced(literal("in", ignore_case=True)),
        _spaced(_symbol),
        _close,
        _template,
        literal(spelt("/each")),
    ),
    lambda values: Repetition(values[3], values[1].text, tuple(values[5])),
)

_digits = made(many(character(str.isdecimal), at_least_one=True), "".join)
_fraction = made(sequence(literal("."), _digits), "".join)
_nothing: Parser = lambda text, at: (True, "", at)  # noqa: E731 - one of a table of parsers
_number = either(
    made(sequence(_digits, either(_fraction, _nothing, firmly=True)), "".join), _fraction, firmly=True
)
_value = either(
    made(_number, lambda digits: Constant(float(digits), digits)),
    made(sequence(literal("{"), _spaces, _spaced(_symbol), _spaces, _close), lambda values: values[2]),
    _spaced(_symbol),
    firmly=True,
)
_factor = either(
    made(
        sequence(literal("("), later(lambda: _sum), literal(")")),
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

    operator = either(*(_spaced(literal(sign)) for sign in operators))

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
_calculation: Parser = made(
    sequence(sequence(_open, _spaces, literal("calc", ignore_case=True), _some_space), _sum, _spaces, _close),
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


# Remembered, because a block without its end is tried again from inside every block before it.
_token_parser: Parser = functools.lru_cache(maxsize=4096)(
    either(_conditional, _calculation, _repetition, _substitution, _text)
)


@functools.lru_cache(maxsize=512)
def parse_template(text: str, *, halt_on_error: bool) -> tuple[Token, ...] | str:
    """The tokens of `text`, or why it has none. Without `halt_on_error` there always are: a broken piece becomes text.

    Blocks nested deeper than Python's stack (some dozens, unclosed ones included) count as broken from the outermost on.
    """
    tokens: list[Token] = []
    at = end = 0
    while at < len(text):
        try:
            matched, value, end = _token_parser(text, at)
        except RecursionError:
            matched, value, end = False, None, len(text)
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
