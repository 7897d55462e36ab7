"""Step templates from files in the Library's format, and what is wrong with a file that is none.

Everything that JSON can say and YAML cannot is refused here, so that nothing is lost on the way into a spec.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from generator.errors import Place, Problem, Problems
from generator.source import DEEPEST

MOST_LEVELS = DEEPEST - 8
"""How deep a document may be nested: a spec holds some of it a few levels deeper."""
_HALF = re.compile("[\ud800-\udfff]")


def list_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files that are meant: of a folder every `.json` in it. Errors: Problems of folders without any."""
    files: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.glob("*.json") if file.is_file())
        files += inside
        if not inside:
            problems.append(Problem(path=path.as_posix(), message="the folder holds no .json file"))
    if problems:
        raise Problems(problems)
    return tuple(dict.fromkeys(files))


def read_document(file: Path) -> dict[str, Any]:
    """The template in a file, as it stands there. Errors: Problems with everything that is wrong with it."""
    name = file.as_posix()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Problems([Problem(path=name, message=f"cannot be read: {error.strerror or error}")]) from error
    return parse_document(content, name=name)


def parse_document(content: bytes, *, name: str) -> dict[str, Any]:
    """`read_document` for content that is already in memory."""
    text = _decode(content, name)
    doubles: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(items) != len({key for key, _ in items}):
            doubles.extend(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        return dict(items)

    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = Place(line=error.lineno, column=error.colno)
        what = (
            "the file is empty" if not text.strip() else f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        )
        raise Problems([Problem(path=name, place=place, message=what)]) from error
    except ValueError as error:
        raise Problems([Problem(path=name, message=f"not JSON: {error}")]) from error
    except RecursionError as error:
        raise Problems([Problem(path=name, message=f"nested deeper than {MOST_LEVELS} levels")]) from error
    messages = [f"the field '{key}' stands twice in one object" for key in dict.fromkeys(doubles)]
    if isinstance(document, dict):
        messages += list(dict.fromkeys(_unkeepable(document, 0)))
    messages += list(_no_template(document))
    if messages:
        raise Problems([Problem(path=name, message=message) for message in messages])
    found: dict[str, Any] = document
    return found


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = Place(line=before.count(b"\n") + 1, column=error.start - before.rfind(b"\n"))
        message = f"not UTF-8: the byte 0x{error.object[error.start]:02X} cannot stand here"
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            message = "not UTF-8: this looks like UTF-16"
        problem = Problem(path=name, place=place, message=message, hint="save the file as UTF-8")
        raise Problems([problem]) from error


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _unkeepable(value: Any, level: int) -> Iterator[str]:
    """What no YAML file could give back."""
    if level > MOST_LEVELS:
        yield f"nested deeper than {MOST_LEVELS} levels"
    elif isinstance(value, dict):
        for key, item in value.items():
            if not key:
                yield "a field has no name"
            yield from _unkeepable(key, level)
            yield from _unkeepable(item, level + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _unkeepable(item, level + 1)
    elif isinstance(value, str):
        for half in _HALF.findall(value):
            yield f"a text holds half a character, U+{ord(half):04X}, which no UTF-8 file can hold"
    elif isinstance(value, float) and not math.isfinite(value):
        yield "a number is larger than computers count"


def _no_template(document: object) -> Iterator[str]:
    """Why a document is no step template."""
    if not isinstance(document, dict):
        what = "a list" if isinstance(document, list) else "a single value"
        yield f"no step template: the file holds {what}, not one template"
        return
    meta = document.get("$Meta")
    kind = meta.get("Type") if isinstance(meta, Mapping) else None
    if isinstance(kind, str) and kind != "ActionTemplate":
        yield f"no step template: its $Meta.Type is '{kind}'"
        return
    for key in ("Name", "ActionType"):
        if key not in document:
            yield f"no step template: the field '{key}' is missing"
        elif not isinstance(document[key], str) or not document[key].strip():
            yield f"no step template: the field '{key}' must be a text"
    if "Properties" not in document:
        yield "no step template: the field 'Properties' is missing"
    elif not isinstance(document["Properties"], dict):
        yield "no step template: the field 'Properties' must be an object"
