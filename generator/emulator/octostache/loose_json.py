"""JSON as Newtonsoft.Json reads it: also unquoted or single-quoted names, comments and trailing commas."""

from __future__ import annotations

import json
import re
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_SKIPPED = re.compile(r"(?:\s+|/\*.*?\*/|//[^\n]*)*", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_NAME = re.compile(r"[\w$]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "undefined": None}


def parse_json(text: str) -> Json:
    """The document in `text`, or ValueError."""
    try:
        document: Json = json.loads(text)
    except ValueError:
        reader = _Reader(text)
        document = reader.value()
        reader.end()
    return document


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> Json:
        self._skip()
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._object()
            case "[":
                return self._array()
            case '"' | "'":
                return self._string()
        number = _NUMBER.match(self._text, self._at)
        if number is not None:
            self._at = number.end()
            return float(number[0]) if number[1] or number[2] else int(number[0])
        word = self._name()
        if word not in _WORDS:
            raise ValueError(f"unexpected {word!r}")
        return _WORDS[word]

    def end(self) -> None:
        self._skip()
        if self._at < len(self._text):
            raise ValueError("text after the document")

    def _object(self) -> Json:
        found: dict[str, Json] = {}
        self._take("{")
        while not self._taken("}"):
            name = self._string() if self._text[self._at : self._at + 1] in ('"', "'") else self._name()
            self._take(":")
            found[name] = self.value()
            if not self._taken(","):
                self._take("}")
                break
        return found

    def _array(self) -> Json:
        found: list[Json] = []
        self._take("[")
        while not self._taken("]"):
            found.append(self.value())
            if not self._taken(","):
                self._take("]")
                break
        return found

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise ValueError("unterminated string")
        self._at = match.end()
        inside = match[0][1:-1]
        if match[0][0] == "'":
            inside = inside.replace("\\'", "'").replace('"', '\\"')
        text: str = json.loads(f'"{inside}"', strict=False)
        return text

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if match is None:
            raise ValueError("unexpected character")
        self._at = match.end()
        return match[0]

    def _skip(self) -> None:
        match = _SKIPPED.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _taken(self, mark: str) -> bool:
        self._skip()
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        self._skip()
        return True

    def _take(self, mark: str) -> None:
        if not self._taken(mark):
            raise ValueError(f"expected {mark!r}")
