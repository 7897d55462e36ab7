"""Which variables a value refers to, and which of them a project knows."""

from __future__ import annotations

import pytest

from generator.expressions import is_known, variables_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", [], id="no expression"),
        pytest.param("#{A} and #{ B.c }", ["A", "B.c"], id="two names"),
        pytest.param("#{A | ToLower}", ["A"], id="a filter"),
        pytest.param("##{A}", [], id="an escaped one"),
        pytest.param("###{A}", ["A"], id="an escape in front"),
        pytest.param('#{if A == "x"}#{B}#{else}#{C}#{/if}', ["A", "B", "C"], id="a condition"),
        pytest.param("#{unless A}x#{/unless}", ["A"], id="unless"),
        pytest.param("#{each x in List}#{x.Name}#{x}#{/each}", ["List"], id="a loop's own name"),
        pytest.param(
            "#{Octopus.Action[Start].Output.Id}", ["Octopus.Action[Start].Output.Id"], id="an output"
        ),
    ],
)
def test_variables_in(text: str, expected: list[str]) -> None:
    assert list(variables_in(text)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Shop.ApiKey", True),
        ("shop.apikey", True),
        ("Shop.ApiKeys", False),
        ("Json.part.of", True),
        ("Json[0]", True),
        ("Endpoint", True),
        ("Octopus.Web.ServerUri", True),
        ("OctopusX", False),
    ],
)
def test_is_known(name: str, expected: bool) -> None:
    known = {"shop.apikey", "json", "endpoint[a].url"}
    assert is_known(name, known) == expected
