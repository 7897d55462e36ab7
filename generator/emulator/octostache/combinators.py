"""Small parsers put together from smaller ones, by the rules of Sprache, the library that Octostache is written with.

How much of a broken text stays verbatim depends on where the parser gave up: a failure carries the furthest position reached,
the better of two failures is the one further on, and `many` gives back what it had. Source: Sprache, Parse.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

# What a parser answers: whether it matched, the value, and where it ended or gave up.
Result: TypeAlias = tuple[bool, Any, int]
Parser: TypeAlias = Callable[[str, int], Result]


def character(accepted: Callable[[str], bool]) -> Parser:
    def parse(text: str, at: int) -> Result:
        if at < len(text) and accepted(text[at]):
            return True, text[at], at + 1
        return False, None, at

    return parse


def literal(wanted: str, *, ignore_case: bool = False) -> Parser:
    def parse(text: str, at: int) -> Result:
        for offset, character in enumerate(wanted):
            found = text[at + offset : at + offset + 1]
            if found != character and not (ignore_case and found.lower() == character):
                return False, None, at + offset
        return True, wanted, at + len(wanted)

    return parse


def sequence(*parsers: Parser) -> Parser:
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


def either(*parsers: Parser, firmly: bool = False) -> Parser:
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


def many(parser: Parser, *, at_least_one: bool = False) -> Parser:
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


def optional(parser: Parser) -> Parser:
    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, value, end) if matched else (True, None, at)

    return parse


def but_not(parser: Parser, *excluded: Parser) -> Parser:
    def parse(text: str, at: int) -> Result:
        if any(other(text, at)[0] for other in excluded):
            return False, None, at
        return parser(text, at)

    return parse


def made(parser: Parser, make: Callable[[Any], Any]) -> Parser:
    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, make(value), end) if matched else (False, None, end)

    return parse


def placed(parser: Parser, make: Callable[[Any, int], Any]) -> Parser:
    """As `_made`, told the position where it began."""

    def parse(text: str, at: int) -> Result:
        matched, value, end = parser(text, at)
        return (True, make(value, at), end) if matched else (False, None, end)

    return parse


def later(find: Callable[[], Parser]) -> Parser:
    return lambda text, at: find()(text, at)
