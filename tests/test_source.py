"""Reading YAML with places, and checking it against a schema."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from generator.errors import Place, Problems
from generator.shape import UnknownKeyword, compile_schema
from generator.source import check_schema, closest, closest_or_all, parse_source, read_source

PACKAGE = Path(__file__).parent.parent / "generator"


def faults(text: str | bytes) -> list[str]:
    """The problems of a text, as a person reads them."""
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(Problems) as caught:
        parse_source(content, name="x.yaml")
    return [str(problem) for problem in caught.value.problems]


def check(text: str, schema: Mapping[str, Any]) -> list[str]:
    return [str(problem) for problem in check_schema(parse_source(text.encode(), name="x.yaml"), schema)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"a: 1\nb: two\n", {"a": 1, "b": "two"}, id="plain"),
        pytest.param(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", {"a": 1, "b": 2}, id="byte order mark and CRLF"),
        pytest.param(b"a: 1\rb: 2\r", {"a": 1, "b": 2}, id="CR alone"),
        pytest.param("ä: ü\n".encode(), {"ä": "ü"}, id="not ASCII"),
        pytest.param(
            b"on: 1\n1: a\n2026.10: b\nyes: c\n",
            {"on": 1, "1": "a", "2026.10": "b", "yes": "c"},
            id="keys stay as written",
        ),
        pytest.param(
            b"a: 2026-05-01\nb: 2026-05-01T10:00:00Z\n",
            {"a": "2026-05-01", "b": "2026-05-01T10:00:00Z"},
            id="dates stay text",
        ),
        pytest.param(
            b"a: yes\nb: 0x10\nc: 1_000\nd: .5\ne: ~\nf:\n",
            {"a": True, "b": 16, "c": 1000, "d": 0.5, "e": None, "f": None},
            id="YAML 1.1",
        ),
        pytest.param(
            b"a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n",
            {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}},
            id="a merge key gives way to own keys",
        ),
        pytest.param(
            b"a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc:\n  <<: [*x, *y]\n",
            {"a": {"p": 1}, "b": {"p": 2, "r": 3}, "c": {"p": 1, "r": 3}},
            id="of several merged ones the first wins",
        ),
        pytest.param(b'a: !!str 010\nb: !!int "7"\n', {"a": "010", "b": 7}, id="explicit tags"),
        pytest.param(
            b"a: |\n  one\n  two\nb: >-\n  one\n  two\n",
            {"a": "one\ntwo\n", "b": "one two"},
            id="block scalars",
        ),
    ],
)
def test_data(text: bytes, expected: object) -> None:
    """The data is what a person meant, as ordinary dicts, lists and scalars."""
    assert expected == parse_source(text, name="x.yaml").data


def test_places() -> None:
    """Each value and key has the line and column where it begins, counted from 1 in characters."""
    source = parse_source("\ufeffä: {ü: 1}\r\nlist:\r\n  - a\r\n  - b: c\r\n".encode(), name="x.yaml")
    assert Place(line=1, column=4) == source.places[("ä",)]
    assert Place(line=1, column=8) == source.places[("ä", "ü")]
    assert Place(line=1, column=5) == source.keys[("ä", "ü")]
    assert Place(line=4, column=8) == source.places[("list", 1, "b")]
    assert Place(line=4, column=5) == source.keys[("list", 1, "b")]


def test_a_problem_without_a_place_of_its_own_is_told_at_what_is_around_it() -> None:
    source = parse_source(b"a:\n  b: 1\n", name="x.yaml")
    assert "x.yaml:2:3: m (h)" == str(source.problem(("a", "gone", 7), "m", "h"))
    assert "x.yaml:2:3: m" == str(source.problem(("a", "b"), "m", at_key=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: b: c", "x.yaml:1:5: not YAML: a ':' cannot stand here", id="two colons"),
        pytest.param(
            "a: [1, 2\nb: 3\n",
            "x.yaml:1:4: not YAML: the bracket that opens here is not closed",
            id="open bracket",
        ),
        pytest.param(
            "a: [x #{y}]\n", "a '#' after a space begins a comment", id="bracket closed in a comment"
        ),
        pytest.param("a: @x", "x.yaml:1:4: not YAML: a value cannot begin with '@'", id="reserved character"),
        pytest.param("a: 1\nb\n", "x.yaml:2:1: not YAML: this line has no ':' after its key", id="no colon"),
        pytest.param(
            "a: 'x", "x.yaml:1:4: not YAML: the quote that opens here is never closed", id="open quote"
        ),
        pytest.param(
            "a: b\n\tc: 1",
            "x.yaml:2:1: not YAML: a tab stands where YAML wants spaces",
            id="tab in the middle",
        ),
        pytest.param('a: "\\q"', "x.yaml:1:5: not YAML: found unknown escape character", id="bad escape"),
        pytest.param(
            b"a: 1\nb: \xc3(\n", "x.yaml:2:4: not UTF-8: the byte 0xC3 cannot stand here", id="broken UTF-8"
        ),
        pytest.param("a: 1\n---\nb: 2\n", "x.yaml:2:1: a second document begins here", id="two documents"),
        pytest.param(
            "- a", "x.yaml:1:1: the file must hold 'key: value' lines, but it is a list", id="a list"
        ),
        pytest.param(
            "text", "x.yaml:1:1: the file must hold 'key: value' lines, but it is a text", id="a text"
        ),
        pytest.param(
            "5", "x.yaml:1:1: the file must hold 'key: value' lines, but it is a single value", id="a number"
        ),
        pytest.param("? [a]\n: 1\n", "x.yaml:1:3: a key must be a text", id="a list as key"),
        pytest.param("'': 1", "x.yaml:1:1: a key is empty", id="an empty key"),
        pytest.param("a: 1\n<<: 5\n", "x.yaml:2:5: '<<' must name a mapping", id="merging a number"),
        pytest.param("a: !!int x", "x.yaml:1:4: 'x' is not of the type int", id="a tag that does not fit"),
        pytest.param(
            "a: !!python/object:os.system x",
            "the tag '!!python/object:os.system' is not known here",
            id="a tag of Python's",
        ),
        pytest.param(
            "a:\n" + "".join(" " * n + "- \n" for n in range(1, 70)) + " " * 71 + "x",
            "nested deeper than 64 levels",
            id="nested deeply",
        ),
    ],
)
def test_faults(text: str | bytes, expected: str) -> None:
    assert any(expected in fault for fault in faults(text)), faults(text)


def test_every_duplicate_is_told() -> None:
    assert [
        "x.yaml:2:1: the key 'a' stands here for the second time (the first is in line 1)",
        "x.yaml:5:3: the key 'c' stands here for the second time (the first is in line 4)",
    ] == faults("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n")


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_both_parsers_say_the_same(loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libyaml is missing the messages stay."""
    import yaml

    import generator.source

    monkeypatch.setattr(generator.source, "_Loader", getattr(yaml, loader))
    assert ["x.yaml:2:1: not YAML: a tab stands where YAML wants spaces (indent with spaces)"] == faults(
        "a:\n\tb: 1\n"
    )
    assert ["x.yaml:1:4: not YAML: the quote that opens here is never closed"] == faults('a: "x\nb: 1\n')
    assert ["x.yaml:1:4: not YAML: a value cannot begin with '@' (put the value in quotes)"] == faults(
        "a: @x\n"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"gone\.yaml:1:1: cannot be read: No such file"):
        read_source(tmp_path / "gone.yaml")


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t01~<.", max_size=40))
@example("a: &x [*x]")
@settings(deadline=None, max_examples=300)
def test_any_text_is_data_or_problems(text: str) -> None:
    """Nothing that a person can type is a bug's traceback."""
    try:
        source = parse_source(text.encode(), name="x.yaml")
    except Problems as error:
        assert error.problems
    else:
        assert isinstance(source.data, dict)


# --- the check against a schema

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"enum": ["one", "two"]},
        "items": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "either": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
        "code": {"type": "string", "pattern": "^[a-z]+$", "patternErrorMessage": "must be small letters"},
        "map": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "boolean"}},
    },
    "dependentRequired": {"count": ["kind"]},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("name: abc", [], id="nothing wrong"),
        pytest.param("kind: one", ["x.yaml:1:1: the key 'name' is missing"], id="missing key"),
        pytest.param("name: a", ["x.yaml:1:7: 'name' must have at least 2"], id="too short"),
        pytest.param(
            "name: abcdef", ["x.yaml:1:7: 'name' has 6 characters, and 5 is the most"], id="too long"
        ),
        pytest.param(
            "name: abc\nnmae: x",
            ["x.yaml:2:1: unknown key 'nmae' (did you mean 'name'?)"],
            id="unknown key whose like is there already",
        ),
        pytest.param(
            "nmae: abc",
            [
                "x.yaml:1:1: the key 'name' is missing",
                "x.yaml:1:1: unknown key 'nmae' (did you mean 'name'?)",
            ],
            id="misspelt key",
        ),
        pytest.param(
            "name: 5",
            ["x.yaml:1:7: 'name' must be a text, not a number (put it in quotes: \"5\")"],
            id="number for text",
        ),
        pytest.param(
            "name: no",
            ["x.yaml:1:7: 'name' must be a text, but YAML reads no as false (put it in quotes: \"no\")"],
            id="no is false",
        ),
        pytest.param("name:", ["x.yaml:1:6: 'name' has no value: a text is wanted"], id="no value"),
        pytest.param(
            "name: #{X}",
            [
                "x.yaml:1:6: 'name' has no value: a text is wanted (put the expression in quotes: '#' begins a comment in YAML)"
            ],
            id="unquoted expression",
        ),
        pytest.param(
            "name: abc #{X}",
            [
                "x.yaml:1:7: YAML reads 'abc' only: the expression behind it counts as a comment (put the whole text in quotes)"
            ],
            id="expression that became a comment",
        ),
        pytest.param("name: 'abc' # {X}", [], id="an honest comment"),
        pytest.param(
            "name: abc\nkind: one\ncount: 0", ["x.yaml:3:8: 'count' must be at least 1"], id="too small"
        ),
        pytest.param(
            "name: abc\nkind: one\ncount: 010",
            ['x.yaml:3:8: YAML reads 010 as the number 8 (write 8, or "010" in quotes)'],
            id="octal",
        ),
        pytest.param(
            "name: abc\nkind: one\ncount: 1:30", ["x.yaml:3:8: 'count' must be at most 9"], id="sexagesimal"
        ),
        pytest.param(
            "name: abc\ncount: 1",
            ["x.yaml:2:1: 'count' needs the key 'kind' beside it"],
            id="key that needs another",
        ),
        pytest.param(
            "name: abc\nkind: tow",
            ["x.yaml:2:7: 'kind' cannot be 'tow' (did you mean 'two'?)"],
            id="not among values",
        ),
        pytest.param(
            "name: abc\nkind: [a]",
            ["x.yaml:2:7: 'kind' cannot be a list (one of one, two)"],
            id="a list among values is not dumped",
        ),
        pytest.param("name: abc\nitems: []", ["x.yaml:2:8: 'items' must not be empty"], id="empty list"),
        pytest.param(
            "name: abc\nitems: [a, 1, c]",
            [
                "x.yaml:2:8: 'items' has 3 entries, and 2 is the most",
                'x.yaml:2:12: item 2 must be a text, not a number (put it in quotes: "1")',
            ],
            id="two faults in one list",
        ),
        pytest.param(
            "name: abc\neither: [1, x]",
            ["x.yaml:2:13: item 2 must be a whole number, not a text"],
            id="the form that was meant is told",
        ),
        pytest.param(
            "name: abc\neither: {}",
            ["x.yaml:2:9: 'either' must be a text or a list, not a mapping"],
            id="none of the forms",
        ),
        pytest.param(
            "name: abc\ncode: ABC", ["x.yaml:2:7: 'code' must be small letters: 'ABC'"], id="pattern in words"
        ),
        pytest.param(
            "name: abc\nmap: {a: x}",
            ["x.yaml:2:10: 'a' must be true or false, not a text"],
            id="value of a free key",
        ),
    ],
)
def test_schema_faults(text: str, expected: list[str]) -> None:
    """Every fault in words for people, in the order of the file."""
    assert expected == check(text, SCHEMA)


def test_what_there_is_when_nothing_is_close() -> None:
    """Of hundreds only as many as people read."""
    assert "did you mean 'Web'?" == closest_or_all("wbe", ["Web", "Shop"])
    assert "known are Shop, Web" == closest_or_all("x", ["Web", "Shop"])
    assert closest_or_all("x", [f"N{number:03}" for number in range(300)]).endswith("N010, N011 and 288 more")


def test_closest() -> None:
    assert "did you mean 'Timeout'?" == closest("timeut", ["Timeout", "Time"])
    assert "" == closest("xyz", ["Timeout"])


# --- the fast check


def schemas() -> list[Mapping[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(PACKAGE.glob("*schema.json"))]


TEXTS = (
    "deployment",
    "text",
    "a - b",
    "x.py",
    "1h",
    "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10",
    "2026-01-01T00:00:00Z",
    "2026.1.0",
)
LOOSE = (None, True, 1, 0, 1.0, 2.5, "", "text", "a - b", "#{X}", [], ["a"], {}, {"a": 1})


def value_like(schema: Any, root: Any, dice: random.Random) -> Any:
    """Data near the schema: mostly right, wrong here and there."""
    if not isinstance(schema, dict) or dice.random() < 0.03:
        return dice.choice(LOOSE)
    if "$ref" in schema:
        target = root
        for word in schema["$ref"].lstrip("#/").split("/"):
            target = target[word]
        return value_like(target, root, dice)
    if "else" in schema:
        return value_like(schema[dice.choice(["then", "else"])], root, dice)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return value_like(dice.choice(schema[word]), root, dice)
    if "enum" in schema:
        return dice.choice(schema["enum"])
    if "properties" in schema:
        names = [
            name
            for name in schema["properties"]
            if dice.random() < (0.95 if name in schema.get("required", ()) else 0.15)
        ]
        data = {name: value_like(schema["properties"][name], root, dice) for name in names}
        return {**data, "extra": 1} if dice.random() < 0.1 else data
    if isinstance(schema.get("additionalProperties"), dict):
        names = dice.sample(["a", "b", "C d"], dice.randint(schema.get("minProperties", 0), 2))
        return {name: value_like(schema["additionalProperties"], root, dice) for name in names}
    if "items" in schema:
        return [
            value_like(schema["items"], root, dice) for _ in range(dice.randint(schema.get("minItems", 0), 2))
        ]
    if "pattern" in schema:
        return next((text for text in TEXTS if re.search(schema["pattern"], text)), "text")
    kinds = schema.get("type", "string")
    fitting = {"integer": 1, "number": 2.5, "boolean": True, "null": None, "array": [], "object": {}}
    return fitting.get(kinds if isinstance(kinds, str) else dice.choice(kinds), "text")


@pytest.mark.parametrize("schema", [SCHEMA, *schemas()], ids=lambda schema: str(schema.get("title", "small")))
def test_the_fast_check_and_jsonschema_agree(schema: Mapping[str, Any]) -> None:
    """Whatever is asked of the schemas that we ship, both give the same answer, and both answers occur."""
    judge, check, answers = Draft202012Validator(schema), compile_schema(schema), set()
    for seed in range(500):
        value = value_like(schema, schema, random.Random(seed))
        assert judge.is_valid(value) == check(value), value
        answers.add(check(value))
    assert answers == {True, False}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        pytest.param({"const": 1}, [1, 1.0], [True, 2], id="const"),
        pytest.param({"enum": [True]}, [True], [1], id="true is not 1"),
        pytest.param({"type": ["integer", "null"]}, [1, 1.0, None], [True, 1.5, "1"], id="whole numbers"),
        pytest.param({"not": {"type": "string"}}, [1], ["a"], id="not"),
        pytest.param({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, [1, 9], [4], id="oneOf"),
        pytest.param(
            {"allOf": [{"exclusiveMinimum": 1}, {"exclusiveMaximum": 3}]}, [2, "x"], [1, 3], id="allOf"
        ),
        pytest.param(
            {"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}},
            ["ab", 2],
            ["a", 1],
            id="if",
        ),
        pytest.param(
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False},
            [{"ab": "x"}],
            [{"ab": 1}, {"b": 1}],
            id="patterns",
        ),
        pytest.param(
            {"uniqueItems": True},
            [[1, True], [[1], [2]], 5],
            [[1, 1.0], [{"a": 1}, {"a": 1}]],
            id="no item twice",
        ),
        pytest.param({"propertyNames": {"maxLength": 1}}, [{"a": 1}, 5], [{"ab": 1}], id="names"),
        pytest.param(
            {"items": {"$ref": "#"}, "maxItems": 1},
            [[], [[]]],
            [[1, 2], [[1, 2]]],
            id="a schema of itself",
        ),
    ],
)
def test_the_fast_check(schema: Any, good: list[Any], bad: list[Any]) -> None:
    check = compile_schema(schema)
    assert [True] * len(good) + [False] * len(bad) == [check(value) for value in [*good, *bad]]


def test_a_schema_beyond_the_fast_check_is_still_checked() -> None:
    """An unknown keyword leaves the judgement to jsonschema."""
    schema = {"type": "object", "properties": {"a": {"contains": {"type": "string"}}}}
    with pytest.raises(UnknownKeyword):
        compile_schema(schema)
    assert ["x.yaml:1:4: 'a': [1, 1] does not contain items matching the given schema"] == check(
        "a: [1, 1]", schema
    )
    assert [] == check("a: [1, x]", schema)
