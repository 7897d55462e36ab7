"""What a script's output means: service messages found in it, log levels as modes, and the events that result.

Owns the grammar and nothing else: no process, no file. `runner` feeds the lines of both streams and hands the events on.

Source of the grammar: Calamari, ServiceMessageParser; of the names and modes: docs page "Logging messages from
scripts" and Calamari's Configuration.py. The server's own parser is closed source: that it keeps the text before a message
on the same line, and the text of what turned out to be no message, as ordinary log text is unconfirmed.
"""

from __future__ import annotations

import base64
import binascii
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Category: TypeAlias = Literal["Verbose", "Info", "Highlight", "Wait", "Warning", "Error"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

OPENING = "##octopus"


@dataclass(frozen=True)
class LogLine:
    """One line of the task log."""

    category: Category
    text: str


@dataclass(frozen=True)
class OutputVariable:
    """A script set an output variable. `value` is plain text even when `sensitive`, and then not in the repr."""

    name: str
    value: str
    sensitive: bool = False

    def __repr__(self) -> str:
        shown = "********" if self.sensitive else self.value
        return f"OutputVariable(name={self.name!r}, value={shown!r}, sensitive={self.sensitive})"


@dataclass(frozen=True)
class Artifact:
    """A file to collect from `path` after the script has ended. `length` in bytes, as the script announced it."""

    path: str
    filename: str
    length: int


@dataclass(frozen=True)
class Progress:
    """How far the step says it is, in percent, and its words for that."""

    percentage: int
    message: str


@dataclass(frozen=True)
class ResultMessage:
    """What the portal shows instead of "The remote script failed with exit code N"."""

    text: str


Event: TypeAlias = LogLine | OutputVariable | Artifact | Progress | ResultMessage


@dataclass(frozen=True)
class ServiceMessage:
    """One decoded message. The names of `values` are in lower case: Octopus compares them without regard to case."""

    name: str
    values: Mapping[str, str]


def parse_message(text: str) -> ServiceMessage | None:
    """The message whose inside is `text` (between the opening word and the first `]`), or None if it is none.

    The inside is read as one XML element's name and attributes; each attribute is base64 of UTF-8.
    """
    inside = text.strip().lstrip("[").replace("\r", "").replace("\n", "")
    try:
        element = ElementTree.fromstring(f"<{inside}/>")
        values = [(_local(name).lower(), _decode(value)) for name, value in element.attrib.items()]
    except (ElementTree.ParseError, ValueError):
        return None
    if len(element) or len(dict(values)) != len(values):
        return None
    return ServiceMessage(_local(element.tag), dict(values))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _decode(value: str) -> str:
    packed = re.sub(r"[ \t\r\n]", "", value)
    try:
        return base64.b64decode(packed.encode("ascii"), validate=True).decode("utf-8", errors="replace")
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from error


class MessageParser:
    """Splits the lines of standard output into plain text and service messages.

    A message may begin anywhere in a line and ends at the first `]`; what follows on that line is not searched for another.
    An unfinished one swallows the next lines. `###octopus[` is none: the third hash breaks the match.
    """

    def __init__(self) -> None:
        self._matched = 0  # how much of OPENING the characters just read spell
        self._inside: str | None = None  # text of an unfinished message
        self._raw: list[str] = []  # the lines it was read from, should it turn out to be none

    def feed(self, line: str) -> Iterator[str | ServiceMessage]:
        """The plain texts and messages that `line` (without its line end) completes, in order."""
        start = 0
        if self._inside is None:
            found = self._find(line)
            if found is None:
                yield line
                return
            start, self._inside = found, ""
            begin = max(0, found - len(OPENING))  # 0 too when the line before ended in a part of OPENING
            before, message_text = line[:begin], line[begin:]
            if before.strip():
                yield before
            self._raw = [message_text]
        else:
            self._raw.append(line)
        inside, closed, rest = line[start:].partition("]")
        self._inside += inside
        if not closed:
            return
        message = parse_message(self._inside)
        raw, self._inside, self._raw = self._raw, None, []
        if message is None:
            yield from raw
            return
        yield message
        if rest.strip():
            yield rest

    def finish(self) -> Iterator[str]:
        """The text of a message that was never finished."""
        raw, self._inside, self._raw = self._raw, None, []
        yield from raw

    def _find(self, line: str) -> int | None:
        """The position after OPENING in `line`, scanning as Octopus does: a mismatch drops all that was matched."""
        matched = self._matched
        for position, character in enumerate(line):
            if character == OPENING[matched]:
                matched += 1
                if matched == len(OPENING):
                    self._matched = 0
                    return position + 1
            else:
                matched = 0
        self._matched = matched
        return None


_STDOUT_MODES: Mapping[str, Category | None] = {
    "stdout-default": "Info",
    "stdout-verbose": "Verbose",
    "stdout-highlight": "Highlight",
    "stdout-wait": "Wait",
    "stdout-warning": "Warning",
    "stdout-error": "Error",
    "stdout-ignore": None,
}
_STDERR_MODES: Mapping[str, Category | None] = {
    "stderr-default": "Error",
    "stderr-error": "Error",
    "stderr-progress": "Verbose",
    "stderr-ignore": None,
}


class OutputReader:
    """Turns the lines of a script's two streams into events. Levels are modes: they last until the next one is set."""

    def __init__(self) -> None:
        self._parser = MessageParser()
        self._stdout: Category | None = "Info"
        self._stderr: Category | None = "Error"

    def stdout(self, line: str) -> Iterator[Event]:
        for part in self._parser.feed(line):
            if isinstance(part, str):
                yield from self._text(part)
            else:
                yield from self._message(part)

    def stderr(self, line: str) -> Iterator[Event]:
        """Standard error is never searched for messages."""
        if self._stderr is not None:
            yield LogLine(self._stderr, line)

    def finish(self) -> Iterator[Event]:
        for text in self._parser.finish():
            yield from self._text(text)

    def _text(self, text: str) -> Iterator[Event]:
        if self._stdout is not None:
            yield LogLine(self._stdout, text)

    def _message(self, message: ServiceMessage) -> Iterator[Event]:
        values = message.values
        match message.name:
            case mode if mode in _STDOUT_MODES:
                self._stdout = _STDOUT_MODES[mode]
            case mode if mode in _STDERR_MODES:
                self._stderr = _STDERR_MODES[mode]
            case "setVariable" if values.get("name", "").strip() and "value" in values:
                sensitive = values.get("sensitive", "").strip().lower() == "true"
                yield OutputVariable(values["name"], values["value"], sensitive)
            case "createArtifact" if values.get("name") and values.get("path"):
                yield Artifact(values["path"], values["name"], _integer(values.get("length", "")) or 0)
            case "progress" if "message" in values:
                percentage = _integer(values.get("percentage", ""))
                if percentage is not None:
                    yield Progress(percentage, values["message"])
            case "resultMessage" if "message" in values:
                yield ResultMessage(values["message"])


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) else None
