"""f-strings that only Python 3.12 and newer read.

Since then their expressions may hold the same quotes, backslashes, comments and line ends (PEP 701), and its parser lets them
pass whatever older version it is asked to be. Older Pythons read an f-string as a plain text first, which ends at its quote.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator

from generator.errors import Place

READS_NEWER = sys.version_info >= (3, 12)


def may_be_newer(node: ast.JoinedStr, lines: list[str]) -> bool:
    """Whether an f-string holds something that tokens must be looked at for: most hold names only."""
    if not READS_NEWER:
        return False
    return any(
        value.lineno != value.end_lineno
        or "\\" in lines[value.lineno - 1]
        or any(
            isinstance(inner, ast.JoinedStr)
            or (isinstance(inner, ast.Constant) and isinstance(inner.value, str | bytes))
            for inner in ast.walk(value.value)
        )
        for value in node.values
        if isinstance(value, ast.FormattedValue)
    )


def newer_f_strings(text: str) -> Iterator[tuple[Place, str]]:
    """Each thing inside of an f-string that older Pythons do not read there: its place, and what it is."""
    quotes: list[str] = []
    start, middle, end = (getattr(tokenize, f"FSTRING_{part}", -1) for part in ("START", "MIDDLE", "END"))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        what = _newer(token, quotes[:-1] if token.type == middle else quotes) if quotes else ""
        if what and token.type != end:
            yield Place(line=token.start[0], column=token.start[1] + 1), what
        if token.type == start:
            quotes.append(token.string.lstrip("rRfFbB"))
        elif token.type == end:
            quotes.pop()


def _newer(token: tokenize.TokenInfo, quotes: list[str]) -> str:
    if not quotes:
        return ""
    if any(quote in token.string for quote in quotes):
        return "the quotes of an f-string inside of it"
    if "\\" in token.string:
        return "a backslash in an expression of an f-string"
    if token.type == tokenize.COMMENT:
        return "a comment in an f-string"
    if token.type == tokenize.NL and any(len(quote) == 1 for quote in quotes):
        return "a line end in an expression of an f-string"
    return ""
