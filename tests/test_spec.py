"""What values of parameters look like in Octopus, and what a spec is once parsed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from generator.runtime.parameters import PLAIN_PARSERS, parse_value
from generator.source import parse_source
from generator.spec import RUN_ON, TYPES, Parameter, octopus_text, parameter_name, parse_spec, read_schema

OPENER = "#" + "{"
# ControlType.cs of OctopusClients, display_settings.go of go-octopusdeploy, and what the community Library uses.
EXISTING_CONTROLS = {
    "SingleLineText",
    "MultiLineText",
    "Checkbox",
    "Select",
    "Sensitive",
    "StepName",
    "Package",
    "WorkerPool",
    "Certificate",
    "AmazonWebServicesAccount",
    "AzureAccount",
    "GoogleCloudAccount",
    "GenericOidcAccount",
    "UsernamePasswordAccount",
}


def make_parameter(kind: str) -> Parameter:
    return Parameter(
        key="field",
        name="Field",
        variable="P.Field",
        label="Field",
        type=kind,
        choices={"fail": "Fail", "1": "One"},
    )


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("text", " spaces around ", "spaces around", id="text is stripped"),
        pytest.param("text", "", "", id="empty text"),
        pytest.param("text", "last line\n", "last line", id="the newline of a block scalar"),
        pytest.param("lines", ["a", "b"], "a\nb", id="a list as lines"),
        pytest.param("lines", "a\nb\n", "a\nb", id="a block scalar as lines"),
        pytest.param(
            "pairs", {"a": "1", "b": "x=y"}, "a = 1\nb = x=y", id="a mapping as pairs, an = in a value"
        ),
        pytest.param("pairs", "a = 1\nb=2\n", "a = 1\nb=2", id="text as pairs"),
        pytest.param("boolean", True, "True", id="true"),
        pytest.param("boolean", "false", "False", id="false as text"),
        pytest.param("integer", 5, "5", id="a number"),
        pytest.param("integer", " -5 ", "-5", id="a number as text"),
        pytest.param("duration", "1h30m", "1h30m", id="a duration"),
        pytest.param("moment", "2026-05-01T10:00:00+02:00", "2026-05-01T10:00:00+02:00", id="a moment"),
        pytest.param("moment", "+90m", "+90m", id="a delay"),
        pytest.param("choice", "fail", "fail", id="a choice"),
        pytest.param("choice", 1, "1", id="a choice that is a number"),
        pytest.param("version_range", "[1.0,2.0)", "[1.0,2.0)", id="a range"),
        pytest.param("version_range", "2026.4.*", "2026.4.*", id="a wildcard"),
        pytest.param("secret", " kept as it is ", " kept as it is ", id="a secret is not touched"),
        pytest.param("step", "Approve", "Approve", id="a step"),
        *(
            pytest.param(
                kind, f"{OPENER}Some.Variable}}", f"{OPENER}Some.Variable}}", id=f"an expression for {kind}"
            )
            for kind in TYPES
        ),
    ],
)
def test_octopus_text(kind: str, value: object, expected: str) -> None:
    assert expected == octopus_text(make_parameter(kind), value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        pytest.param(
            "text", 2026.1, "it must be a text, not a number\nput it in quotes", id="a number for a text"
        ),
        pytest.param(
            "text", True, "it must be a text, not true or false\nput it in quotes", id="true for a text"
        ),
        pytest.param(
            "text", ["a"], "it must be a text, not a list\nput it in quotes", id="a list for a text"
        ),
        pytest.param("text", "a\nb", "it must be one line", id="two lines for one"),
        pytest.param(
            "lines", ["a", 1], "it must be a text, not a number\nput it in quotes", id="a number among lines"
        ),
        pytest.param("lines", ["a\nb"], "it must be one line", id="two lines in one"),
        pytest.param(
            "pairs", {"a": 1}, "it must be a text, not a number\nput it in quotes", id="a number in a pair"
        ),
        pytest.param("pairs", {"a=b": "c"}, "a name must be one line without '='", id="an = in a name"),
        pytest.param("pairs", "a\n", "line 1 is not of the form: name = value", id="no = in a line"),
        pytest.param(
            "boolean", "yes please", "'yes please' is neither True nor False", id="neither true nor false"
        ),
        pytest.param("boolean", 1, "it must be true or false, not a number", id="1 for true"),
        pytest.param("integer", True, "it must be a whole number, not true or false", id="true for a number"),
        pytest.param("integer", 1.5, "it must be a whole number, not a number", id="a fraction"),
        pytest.param("integer", "many", "'many' is not a whole number", id="a word for a number"),
        pytest.param(
            "duration", 90, "a duration needs a unit\nlike 90s or 90m", id="a duration without a unit"
        ),
        pytest.param("duration", "90", "a duration needs a unit\nlike 90s or 90m", id="the same as text"),
        pytest.param(
            "duration", "soon", "'soon' is not a duration such as 90s, 30m, 2h, 1d or 1h30m", id="a word"
        ),
        pytest.param(
            "choice", "fial", "'fial' is not among the choices\ndid you mean 'fail'?", id="a misspelt choice"
        ),
        pytest.param(
            "choice",
            "Fail",
            "'Fail' is not among the choices\ndid you mean 'fail'?",
            id="a label for a choice",
        ),
        pytest.param(
            "choice", True, "it must be a text, not true or false\nput it in quotes", id="true for a choice"
        ),
        pytest.param(
            "text",
            None,
            f"there is no value\nwrite '' for an empty one; an unquoted {OPENER} begins a comment in YAML",
            id="nothing",
        ),
    ],
)
def test_octopus_text_refuses(kind: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        octopus_text(make_parameter(kind), value)
    assert message == str(caught.value)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_an_existing_control_and_a_parser(kind: str) -> None:
    """The table of types, the schema and the runtime name the same ones."""
    assert TYPES[kind].control_type in EXISTING_CONTROLS
    entry = {"type": kind, "variable": "P.Field", "choices": {"x": "X"}}
    samples = {
        "boolean": "True",
        "integer": "1",
        "duration": "1m",
        "moment": "+1m",
        "pairs": "a = b",
        "version_range": "1.0",
    }
    assert parse_value(entry, samples.get(kind, "x"), lambda name: "") is not None
    assert set(PLAIN_PARSERS) <= set(TYPES)


def test_the_schema_is_sound_and_names_every_type() -> None:
    schema: Any = read_schema()
    Draft202012Validator.check_schema(schema)
    assert list(TYPES) == schema["$defs"]["parameter"]["properties"]["type"]["enum"]
    assert list(RUN_ON) == schema["$defs"]["spec"]["properties"]["run_on"]["enum"]


def test_every_key_of_the_schema_is_explained() -> None:
    """Editors show the descriptions where the spec is written."""
    schema: Any = read_schema()
    for form in schema["$defs"].values():
        assert [] == [name for name, inner in form["properties"].items() if not inner.get("description")]


@pytest.mark.parametrize(
    ("key", "expected"), [("on_timeout", "OnTimeout"), ("a", "A"), ("tls_ca_2", "TlsCa2")]
)
def test_parameter_name(key: str, expected: str) -> None:
    assert expected == parameter_name(key)


def test_parse_spec() -> None:
    """Names, variables, defaults in Octopus' form, and ids that depend on nothing but the spec's id and the name."""
    source = parse_source(
        b"""
id: 0B6A3A0E-3f0b-4f4e-9d53-6c35b8ed1f10
name: Demo - Say Hello
category: demo
version: 3
description: |
  Says hello.
script: entry.py
prefix: SayHello
run_on: server
parameters:
  on_timeout: {label: On timeout, type: choice, default: fail, choices: {fail: Fail, warn: Warn}}
  loud: {label: Loud, type: boolean, default: true, required: true, help: How loud.}
""",
        name="lib/step_templates/say-hello.yaml",
    )
    spec = parse_spec(source, source_name="step_templates/say-hello.yaml")
    assert ("0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10", 3, "Says hello.", "say-hello") == (
        spec.id,
        spec.version,
        spec.description,
        spec.slug,
    )
    first, second = spec.parameters
    assert ("on_timeout", "OnTimeout", "SayHello.OnTimeout", "fail", {"fail": "Fail", "warn": "Warn"}) == (
        first.key,
        first.name,
        first.variable,
        first.default,
        first.choices,
    )
    assert ("True", True, "How loud.") == (second.default, second.required, second.help)
    assert first.id != second.id
    assert first.id == parse_spec(source).parameters[0].id


def test_the_schema_file_is_the_one_that_specs_name() -> None:
    """The first line of our own specs leads editors to it."""
    root = Path(__file__).parent.parent
    for file in (root / "step_templates").glob("*.yaml"):
        first = file.read_text(encoding="utf-8").split("\n")[0]
        reference = first.removeprefix("# yaml-language-server: $schema=")
        assert json.loads((file.parent / reference).read_text()) == read_schema()
