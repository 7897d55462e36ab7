"""Data as YAML that people like to read, and that is read back as the same data: new spec files, and pieces put into old ones.

ruamel.yaml writes; which style each text gets is decided here: plain where no YAML reader could take it for anything else, a
block where it has several lines, a folded block where one line would be longer than people read. Editing is `edited_yaml`'s.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    FoldedScalarString,
    LiteralScalarString,
    SingleQuotedScalarString,
)

from generator.errors import Problems
from generator.source import parse_source

LINE_LENGTH = 110
LONGEST = 1 << 20
LONGEST_FLOW = 60
"""A list of few short words is read best in one line."""
_TEXT = "tag:yaml.org,2002:str"
_PLAIN = re.compile(r"[A-Za-z0-9_/(.$][^\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff]*")
_BLOCK = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]*")
"""What may stand in a block as it is: everything that YAML prints, but its other line ends."""
_NUMBER = re.compile(r"[-+]?(0o[0-7]+|0x[0-9a-fA-F]+|(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?)")
"""What YAML 1.2 takes for a number; what 1.1 does, PyYAML knows."""
_RESOLVER: Any = yaml.resolver.Resolver()


def to_yaml(data: Any, *, indent: int = 0) -> str:
    """Block YAML for `data`, its first line included indented by `indent` spaces; ends with a newline."""
    text = _write(_styled(data, indent, blocks=True))
    if not _reads_back(text, data):
        # A block's rules about leading and trailing blanks are many: what cannot be read back is written in quotes.
        text = _write(_styled(data, indent, blocks=False))
    shift = 2 if isinstance(data, list) else 0  # a list's dashes stand two columns in
    lines = text.removesuffix("\n").split("\n")
    return "".join(f"{' ' * indent}{line[shift:]}\n" if line else "\n" for line in lines)


def _reads_back(text: str, data: Any) -> bool:
    wrapped, wanted = (text, data) if isinstance(data, dict) and data else (f"k:\n{text}", {"k": data})
    try:
        found = parse_source(wrapped.encode(), name="").data
    except Problems:
        return False
    return bool(found == wanted)


def flow_yaml(value: Any) -> str:
    """The value in one line, to stand between brackets."""
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{flow_yaml(str(key))}: {flow_yaml(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(flow_yaml, value)) + "]"
    if isinstance(value, str) and re.search(r"[,\[\]{}]", value):
        value = DoubleQuotedScalarString(value)
    return _write({"k": _styled(value, 0, blocks=False)}).removeprefix("k:").strip(" \n")


def is_plain(text: str) -> bool:
    """Whether YAML 1.1 and 1.2 both read the unquoted text as this text, as a value and as a key."""
    return (
        _PLAIN.fullmatch(text) is not None
        and not text.endswith((" ", ":"))
        and ": " not in text
        and " #" not in text
        and not _looks_like_something(text)
    )


def _looks_like_something(text: str) -> bool:
    return (
        _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) != _TEXT
        or _NUMBER.fullmatch(text) is not None
    )


def _styled(value: Any, indent: int, *, blocks: bool) -> Any:
    """The value with the style of each text in its type."""
    if isinstance(value, Mapping):
        return {_word(str(key)): _styled(item, indent + 2, blocks=blocks) for key, item in value.items()}
    if isinstance(value, list):
        items = CommentedSeq(_styled(item, indent + 2, blocks=blocks) for item in value)
        words = [item for item in value if isinstance(item, str) and is_plain(item) and "," not in item]
        if value and len(words) == len(value) and sum(map(len, words)) + 2 * len(words) < LONGEST_FLOW:
            items.fa.set_flow_style()
        return items
    if not isinstance(value, str) or type(value) is not str:
        return value
    if (
        blocks
        and "\n" in value
        and value.strip()
        and not value.lstrip("\n").startswith("\t")
        and _BLOCK.fullmatch(value)
    ):
        return LiteralScalarString(value)
    if blocks and len(value) > LINE_LENGTH - indent and (places := _folds(value, LINE_LENGTH - indent)):
        folded = FoldedScalarString(value)
        folded.fold_pos = places
        return folded
    return _word(value)


def _word(text: str) -> str:
    """One line of text in the plainest style that holds it."""
    if is_plain(text):
        return text
    if "'" not in text and text.isprintable() and '"' in text:
        single: str = SingleQuotedScalarString(text)
        return single
    double: str = DoubleQuotedScalarString(text)
    return double


def _folds(text: str, width: int) -> list[int]:
    """At which spaces a long line is broken; none where breaking it would lose blanks."""
    if not text.isprintable() or text != " ".join(text.split(" ")) or "  " in text or text != text.strip():
        return []
    places: list[int] = []
    start = 0
    while len(text) - start > width:
        at = text.rfind(" ", start, start + width)
        if at <= start:
            at = text.find(" ", start + width)
        if at < 0:
            break
        places.append(at)
        start = at + 1
    return places


@cache
def _writer() -> YAML:
    writer = YAML()
    writer.width = LONGEST
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.allow_unicode = True
    writer.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    writer.representer.add_representer(
        float,
        lambda representer, number: representer.represent_scalar("tag:yaml.org,2002:float", _number(number)),
    )
    return writer


def _number(value: float) -> str:
    """As YAML 1.1 reads a number, too: with a point."""
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def _write(value: Any) -> str:
    stream = io.StringIO()
    _writer().dump(value, stream)
    text = stream.getvalue()
    return text.removesuffix("...\n")
