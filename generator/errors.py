"""What can go wrong, as data: problems with a place, and the few exceptions that a caller treats differently.

A person's mistake is a `Problem`; all that were found travel together in `Problems`. A `Refusal` is a clear sentence that
ends the command with exit code 1. Anything else that escapes is a bug. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True)
class Place:
    """Where something stands in a file: line and column, both counted from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """One mistake: `path:line:column: message (hint)`. `path` is written as the user would type it."""

    path: str
    place: Place = Place()
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path}:{self.place.line}:{self.place.column}: {self.message}{hint}"


class Problems(Exception):
    """Every mistake that was found, sorted by path and line, each once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


class Refusal(Exception):
    """The command cannot go on: one clear sentence, and what to do. Exit code 1, no traceback."""
