"""YAML files as ordinary data plus the place of every value and key; and their check against a JSON Schema.

Owns everything a person can get wrong in the writing of the file itself: encoding, YAML syntax, duplicate keys, values
that YAML 1.1 reads differently from how they look. What the values mean is left to the readers of `Source`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import yaml

from generator.errors import Place, Problem, Problems
from generator.shape import Check, UnknownKeyword, compile_schema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Path = tuple[str | int, ...]

# libyaml is about eight times as fast; PyYAML is also built without it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCT = yaml.constructor.SafeConstructor()

MOST_ALIASED = 20_000
"""How many values aliases may repeat: far more than people write, few enough that a "billion laughs" file ends at once."""
DEEPEST = 64

_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
_NOT_PRINTABLE = yaml.reader.Reader.NON_PRINTABLE


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file as read: `data` holds dicts, lists, str, int, float, bool and None; dates stay text; keys are text as written.

    `places` has the place of each value, `keys` of each key, `written` the characters of each unquoted value that YAML
    took for something other than text (`yes`, `010`, `2026.10`, nothing at all). A path is the way from the root.
    """

    name: str
    text: str
    data: Any
    places: Mapping[Path, Place]
    keys: Mapping[Path, Place]
    written: Mapping[Path, str]

    def problem(self, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """A problem at the value (or key) at `path`, or at the nearest thing around it that stands in the file."""
        place = (self.keys.get(path) if at_key else None) or self.places.get(path)
        while place is None and path:
            path = path[:-1]
            place = self.places.get(path)
        return Problem(path=self.name, place=place or Place(), message=message, hint=hint)

    def line(self, path: Path) -> str:
        """The line of the file in which the value at `path` begins: a value that YAML takes for a comment shows there."""
        place = self.keys.get(path) or self.places.get(path)
        lines = self.text.split("\n")
        return lines[place.line - 1] if place and place.line <= len(lines) else ""


def read_source(file: FilePath, *, name: str | None = None) -> Source:
    """The file's data and places; `name` is how problems call it (default: the path as given).

    Errors: Problems when it cannot be read, is not UTF-8, not YAML, empty, not a mapping, or names a key twice.
    """
    name = file.as_posix() if name is None else name
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Problems([Problem(path=name, message=f"cannot be read: {reason}")]) from error
    return parse_source(content, name=name)


def parse_source(content: bytes, *, name: str) -> Source:
    """`read_source` for content that is already in memory."""
    text = _decode(content, name)
    root = _compose(text, name)
    walk = _Walk(name)
    data = walk.value(root, (), 0)
    if walk.problems:
        raise Problems(walk.problems)
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a text" if isinstance(data, str) else "a single value"
        raise Problems(
            [_problem(name, root.start_mark, f"the file must hold 'key: value' lines, but it is {kind}")]
        )
    return Source(name=name, text=text, data=data, places=walk.places, keys=walk.keys, written=walk.written)


def closest(word: str, words: object) -> str:
    """`did you mean 'x'?` for the word in `words` that looks most like `word`; empty when none does."""
    candidates = {str(known).lower(): str(known) for known in words} if hasattr(words, "__iter__") else {}
    found = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    return f"did you mean '{candidates[found[0]]}'?" if found else ""


MOST_LISTED = 12


def closest_or_all(word: str, words: Iterable[str]) -> str:
    """`closest`, or where nothing looks like it what there is: as much of it as people read."""
    known = sorted(words)
    more = f" and {len(known) - MOST_LISTED} more" if len(known) > MOST_LISTED else ""
    return closest(word, known) or f"known are {', '.join(known[:MOST_LISTED])}{more}"


def _problem(name: str, mark: Any, message: str, hint: str = "") -> Problem:
    place = Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()
    return Problem(path=name, place=place, message=message, hint=hint)


def _decode(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte order mark
        last = before.rsplit(b"\n", 1)[-1]
        place = Place(line=before.count(b"\n") + 1, column=len(last.decode("utf-8", "replace")) + 1)
        message = f"not UTF-8: the byte 0x{error.object[error.start]:02X} cannot stand here"
        hint = "save the file as UTF-8"
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            message, hint = "not UTF-8: this looks like UTF-16", "save the file as UTF-8"
        raise Problems([Problem(path=name, place=place, message=message, hint=hint)]) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    odd = _NOT_PRINTABLE.search(text)
    if odd:
        before_text = text[: odd.start()]
        place = Place(
            line=before_text.count("\n") + 1, column=odd.start() - (before_text.rfind("\n") + 1) + 1
        )
        message = f"the control character U+{ord(odd.group()):04X} cannot stand in YAML"
        raise Problems(
            [Problem(path=name, place=place, message=message, hint=r'write it in double quotes as "\xNN"')]
        )
    return text


def _compose(text: str, name: str) -> Any:
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise Problems([_syntax_problem(text, name, error)]) from error
    except RecursionError as error:
        message = f"not YAML: nested deeper than {DEEPEST} levels"
        raise Problems([Problem(path=name, message=message)]) from error
    if root is None:
        what = "holds nothing but comments" if text.strip() else "is empty"
        raise Problems([Problem(path=name, message=f"the file {what}")])
    return root


def _syntax_problem(text: str, name: str, error: yaml.MarkedYAMLError) -> Problem:
    """The parser's complaint in words for people. Both of PyYAML's parsers are understood, so the order matters."""
    told = error.problem or ""
    mark = error.problem_mark or error.context_mark
    lines = [*text.split("\n"), ""]  # a parser may point behind the end
    character = lines[min(mark.line, len(lines) - 1)][mark.column : mark.column + 1] if mark else ""
    if "tab" in told or (character == "\t" and "cannot start" in told):
        return _problem(name, mark, "not YAML: a tab stands where YAML wants spaces", "indent with spaces")
    if "unexpected end of stream" in told and "quoted" in (error.context or ""):
        return _problem(name, error.context_mark, "not YAML: the quote that opens here is never closed")
    if "cannot start any token" in told:
        return _problem(
            name, mark, f"not YAML: a value cannot begin with '{character}'", "put the value in quotes"
        )
    if "mapping values are not allowed" in told:
        return _problem(
            name,
            mark,
            "not YAML: a ':' cannot stand here",
            "put a text that holds ': ' in quotes, and check the indentation",
        )
    if "undefined alias" in told:
        return _problem(
            name, mark, "not YAML: '*' refers to a name that no '&' defines", "put the text in quotes"
        )
    if "another document" in told:
        return _problem(name, mark, "a second document begins here", "a file holds one: remove the '---'")
    if "expected ':'" in told:
        return _problem(name, error.context_mark or mark, "not YAML: this line has no ':' after its key")
    if "duplicate anchor" in told:
        return _problem(name, mark, "not YAML: this anchor's name is taken")
    hint = "check the indentation, and that the quotes and brackets above are closed"
    if error.context and "flow" in error.context:
        if error.context_mark and " #" in lines[min(error.context_mark.line, len(lines) - 1)]:
            hint = "a '#' after a space begins a comment: put the text that holds it in quotes"
        return _problem(
            name, error.context_mark or mark, "not YAML: the bracket that opens here is not closed", hint
        )
    return _problem(name, mark, f"not YAML: {told or 'cannot be understood'}", hint)


class _Walk:
    """One walk over the composed tree that makes the data and notes the places."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.written: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()
        self._repeated = 0

    def value(self, node: Any, path: Path, depth: int) -> object:
        mark = node.start_mark
        self.places[path] = Place(line=mark.line + 1, column=mark.column + 1)
        if isinstance(node, yaml.ScalarNode):
            if self._repeated:
                self._repeat(node)
            return self._scalar(node, path)
        if depth >= DEEPEST:  # also the end of an alias that holds itself
            raise Problems(
                [
                    _problem(
                        self.name, mark, f"nested deeper than {DEEPEST} levels, or an alias that holds itself"
                    )
                ]
            )
        if id(node) in self._seen:
            self._repeat(node)
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            if node.tag != _TAG + "seq":
                self._unknown_tag(node)
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if node.tag != _TAG + "map":
            self._unknown_tag(node)
        data: dict[str, object] = {}
        self._mapping(node, path, depth, data)
        return data

    def _mapping(self, node: Any, path: Path, depth: int, data: dict[str, object]) -> None:
        """Fill `data` from a mapping; keys that are there already win, as a merge key wants it."""
        own: dict[str, Place] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(_problem(self.name, mark, "a key must be a text"))
                continue
            if key_node.tag == _TAG + "merge":
                merged.extend(value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node])
                continue
            key = key_node.value  # as written: `on:` and `1:` are keys like any other
            if not key:
                self.problems.append(_problem(self.name, mark, "a key is empty"))
                continue
            if key in own:
                message = f"the key '{key}' stands here for the second time"
                self.problems.append(
                    _problem(self.name, mark, message, f"the first is in line {own[key].line}")
                )
                continue
            own[key] = place = Place(line=mark.line + 1, column=mark.column + 1)
            if key not in data:
                at = (*path, key)
                self.keys[at] = place
                data[key] = self.value(value_node, at, depth + 1)
        for other in merged:
            if isinstance(other, yaml.MappingNode) and depth < DEEPEST:
                self._repeat(other)
                self._mapping(other, path, depth + 1, data)
            else:
                self.problems.append(_problem(self.name, other.start_mark, "'<<' must name a mapping"))

    def _repeat(self, node: Any) -> None:
        self._repeated += 1
        if self._repeated > MOST_ALIASED:
            message = f"aliases repeat more than {MOST_ALIASED} values"
            raise Problems([_problem(self.name, node.start_mark, message)])

    def _scalar(self, node: Any, path: Path) -> object:
        tag: str = node.tag
        text: str = node.value
        if tag in _TEXT_TAGS:
            return text
        self.written[path] = text
        try:
            if tag == _TAG + "null":
                return None
            if tag == _TAG + "bool":
                return bool(_CONSTRUCT.bool_values[text.lower()])
            if tag == _TAG + "int":
                return int(_CONSTRUCT.construct_yaml_int(node))
            if tag == _TAG + "float":
                return float(_CONSTRUCT.construct_yaml_float(node))
        except (ValueError, KeyError, IndexError):
            kind = tag.removeprefix(_TAG)
            self.problems.append(_problem(self.name, node.start_mark, f"'{text}' is not of the type {kind}"))
            return None
        self._unknown_tag(node)
        return text

    def _unknown_tag(self, node: Any) -> None:
        tag = node.tag.replace(_TAG, "!!")
        message = f"the tag '{tag}' is not known here"
        self.problems.append(
            _problem(self.name, node.start_mark, message, "put a text that begins with '!' in quotes")
        )


# --- the check against a schema -------------------------------------------------------------------------------------

_KINDS = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_CHECKS: dict[int, tuple[Mapping[str, object], Check]] = {}


def check_schema(source: Source, schema: Mapping[str, object]) -> list[Problem]:
    """Every way in which the data breaks the JSON Schema (draft 2020-12), in the order of the file.

    A `patternErrorMessage` beside a `pattern` (editors show it, too) is told instead of the pattern; `elsewhere` beside
    `properties` has a hint for each key that belongs to another form of the file.
    """
    problems: set[Problem] = set()
    if not _fits(source.data, schema):
        from jsonschema import Draft202012Validator  # takes a tenth of a second: only faults need it

        for error in Draft202012Validator(schema).iter_errors(source.data):
            problems.update(_schema_problems(source, error))
    told = {problem.place for problem in problems}
    problems.update(problem for problem in _misread(source) if problem.place not in told)
    return sorted(problems)


def _fits(data: object, schema: Mapping[str, object]) -> bool:
    """Whether there is nothing to complain about; False also when only jsonschema can tell."""
    if id(schema) not in _CHECKS:
        try:
            check = compile_schema(schema)
        except UnknownKeyword:
            check = _never
        _CHECKS[id(schema)] = (schema, check)  # holds the schema, so that its id stays its own
    return _CHECKS[id(schema)][1](data)


def _never(data: object) -> bool:
    return False


def _misread(source: Source) -> Iterator[Problem]:
    """Values that YAML reads differently from how they look, though what it reads has the wanted type."""
    for path, written in source.written.items():
        value = _at(source.data, path)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            continue
        plain = written.lstrip("+-")
        if ":" in plain or (len(plain) > 1 and plain[0] == "0" and plain[1] in "01234567_"):
            yield source.problem(
                path,
                f"YAML reads {written} as the number {value}",
                f'write {value}, or "{written}" in quotes',
            )
    if not _CUT_OFF.search(source.text):
        return
    lines = source.text.split("\n")
    for path, place in source.places.items():
        value = _at(source.data, path) if path not in source.written else None
        rest = lines[place.line - 1][place.column - 1 :]
        if isinstance(value, str) and rest.startswith(value) and _CUT_OFF.match(rest[len(value) :]):
            message = f"YAML reads '{value}' only: the expression behind it counts as a comment"
            yield source.problem(path, message, "put the whole text in quotes")


_CUT_OFF = re.compile(r"[ \t]+#\{")


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _schema_problems(source: Source, error: ValidationError) -> Iterator[Problem]:
    path: Path = tuple(error.absolute_path)
    name = f"'{path[-1]}'" if path and isinstance(path[-1], str) else ""
    it = name or (f"item {int(path[-1]) + 1}" if path else "the file")
    rule = error.validator
    wanted: Any = error.validator_value
    found: Any = error.instance
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    match rule:
        case "type":
            yield _wrong_type(source, path, it, wanted, found)
        case "additionalProperties" | "unevaluatedProperties":
            yield from _unknown_keys(source, path, schema, found)
        case "required":
            for key in wanted:
                if key not in found:
                    yield source.problem(path, f"the key '{key}' is missing" + (f" in {it}" if path else ""))
        case "enum":
            choices = [str(choice) for choice in wanted]
            hint = closest(str(found), choices) or "one of " + ", ".join(choices)
            if path in source.written and not isinstance(found, int | float):
                hint = "one of " + ", ".join(choices)
            yield source.problem(path, f"{it} cannot be {_shown(source, path, found)}", hint)
        case "const":
            yield source.problem(path, f"{it} must be {wanted!r}")
        case "pattern":
            message = schema.get("patternErrorMessage") or f"does not match {wanted}"
            yield source.problem(path, f"{it} {message}: {_shown(source, path, found)}")
        case "minLength" | "minItems" | "minProperties":
            message = "must not be empty" if wanted == 1 else f"must have at least {wanted}"
            yield source.problem(path, f"{it} {message}")
        case "maxLength":
            yield source.problem(path, f"{it} has {len(found)} characters, and {wanted} is the most")
        case "maxItems" | "maxProperties":
            yield source.problem(path, f"{it} has {len(found)} entries, and {wanted} is the most")
        case "minimum" | "exclusiveMinimum":
            yield source.problem(
                path, f"{it} must be {'at least' if rule == 'minimum' else 'more than'} {wanted}"
            )
        case "maximum" | "exclusiveMaximum":
            yield source.problem(
                path, f"{it} must be {'at most' if rule == 'maximum' else 'less than'} {wanted}"
            )
        case "uniqueItems":
            yield source.problem(path, f"{it} names something twice")
        case "dependentRequired":
            for key, needed in wanted.items():
                for other in needed:
                    if key in found and other not in found:
                        yield source.problem(
                            (*path, key), f"'{key}' needs the key '{other}' beside it", at_key=True
                        )
        case "anyOf" | "oneOf":
            yield from _no_branch(source, path, it, error)
        case _ if error.parent is None and "propertyNames" in error.absolute_schema_path:
            yield source.problem(path, f"a key of {it} {error.message}")
        case _ if error.validator is None:  # the schema `false`
            yield source.problem(path, f"{it} cannot stand here", at_key=True)
        case _:
            yield source.problem(path, f"{it}: {error.message[:200]}")


def _wrong_type(source: Source, path: Path, it: str, wanted: object, found: object) -> Problem:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, list) else []
    expected = " or ".join(_KINDS[kind] for kind in kinds if kind != "null" or len(kinds) == 1)
    if len(kinds) > 3:
        expected = "a value"
    written = source.written.get(path)
    if found is None:
        message = f"{it} has no value" + (f": {expected} is wanted" if len(kinds) <= 3 else "")
        if "#{" in source.line(path):
            return source.problem(path, message, "put the expression in quotes: '#' begins a comment in YAML")
        return source.problem(path, message)
    if "string" in kinds and written is not None:
        read = "true" if found is True else "false" if found is False else found
        read_as = f", but YAML reads {written} as {read}" if str(read) != written else f", not {_kind(found)}"
        return source.problem(path, f"{it} must be {expected}{read_as}", f'put it in quotes: "{written}"')
    return source.problem(path, f"{it} must be {expected}, not {_kind(found)}")


def _kind(found: object) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "a mapping",
        str: "a text",
    }
    return kinds.get(type(found), "nothing")


def _shown(source: Source, path: Path, found: object) -> str:
    if isinstance(found, dict | list):
        return _kind(found)
    text = source.written.get(path, str(found))
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"


def _unknown_keys(
    source: Source, path: Path, schema: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[Problem]:
    known = list(schema.get("properties", {}))
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    for key in found:
        if key in known or any(pattern.search(key) for pattern in patterns):
            continue
        if key in (elsewhere := schema.get("elsewhere", {})):
            yield source.problem(
                (*path, key), f"the key '{key}' cannot stand here", elsewhere[key], at_key=True
            )
            continue
        hint = closest(key, [word for word in known if word not in found] or known) or closest(key, known)
        hint = hint or ("known are " + ", ".join(known) if known else "")
        yield source.problem((*path, key), f"unknown key '{key}'", hint, at_key=True)


def _no_branch(source: Source, path: Path, it: str, error: ValidationError) -> Iterator[Problem]:
    """Of several allowed forms, complain about the one that was meant: the one whose type fits, if only one does."""
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    if not branches:
        yield source.problem(path, f"{it} fits more than one of its forms")
        return
    meant = [
        errors
        for errors in branches.values()
        if not any(inner.validator == "type" and not inner.relative_path for inner in errors)
    ]
    if len(meant) >= 1:
        for inner in min(meant, key=len):
            yield from _schema_problems(source, inner)
        return
    kinds: list[str] = []
    for errors in branches.values():
        for inner in errors:
            if inner.validator == "type" and not inner.relative_path:
                value: Any = inner.validator_value
                kinds.extend([value] if isinstance(value, str) else list(value))
    yield _wrong_type(source, path, it, list(dict.fromkeys(kinds)), error.instance)
