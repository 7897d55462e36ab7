"""Values in Python text."""

from __future__ import annotations

import ast

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.errors import Problems
from generator.render import Code, environment, python_comment, python_literal, render_entry

OPENER = "#" + "{"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES)
def test_a_literal_reads_back_as_its_value(value: object) -> None:
    """In ASCII, in one line, without anything that Octopus would expand."""
    literal = python_literal(value)
    assert value == ast.literal_eval(literal)
    assert literal.isascii()
    assert "\n" not in literal
    assert OPENER not in literal


@given(st.text(alphabet="#{}\\'\"a", max_size=12))
def test_the_two_characters_are_always_broken_up(text: str) -> None:
    """With any run of hashes, quotes and backslashes before them."""
    literal = python_literal(text)
    assert OPENER not in literal
    assert text == ast.literal_eval(literal)


@given(st.text())
def test_a_comment_stays_one(text: str) -> None:
    comment = python_comment(text)
    assert comment.isascii()
    assert OPENER not in comment
    assert [] == ast.parse(f"# {comment}\n").body


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, float("nan"), float("inf"), b"x"],
    ids=["object", "set", "nan", "inf", "bytes"],
)
def test_what_no_literal_says_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="has no literal in Python"):
        python_literal(value)


def test_only_filtered_values_are_printed() -> None:
    """A frame cannot put a value into Python text by mistake."""
    with pytest.raises(ValueError, match="without the filter"):
        environment().from_string("x = <$ value $>").render(value="import os")
    assert 'x = "import os"' == environment().from_string("x = <$ value | python $>").render(
        value="import os"
    )
    assert "x = 1" == environment().from_string("x = <$ value $>").render(value=Code("1"))


@pytest.mark.parametrize(
    "frame", ["<$ gone $>", "<$ gone | python $>", "<$ gone | comment $>", "<$% if gone $%><$% endif $%>"]
)
def test_an_undefined_name_fails(frame: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'gone' is undefined"):
        environment().from_string(frame).render()


def test_delimiters_are_neither_pythons_nor_octopus() -> None:
    """Braces, percent signs, shifts and comments of Python and Octostache pass untouched."""
    text = 'x = {{1: {2}}} % {**{}} << 1 <= 2  # {# {% %} #}\ny = f"{x!r:>{5}}" "#' + '{if a}"\n'
    assert text == render_entry(text, {}, path="x.py.j2")


def test_the_fault_of_a_frame_has_its_line() -> None:
    with pytest.raises(Problems, match=r"^x\.py\.j2:3:1: cannot be rendered with vars: 'gone' is undefined$"):
        render_entry("a = 1\nb = 2\nc = <$ gone | python $>\n", {}, path="x.py.j2")
    with pytest.raises(Problems, match=r"^x\.py\.j2:2:1: cannot be rendered with vars: "):
        render_entry("a = 1\nb = <$ 'x' + $>\n", {}, path="x.py.j2")
