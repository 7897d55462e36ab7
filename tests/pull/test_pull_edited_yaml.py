"""A file edited where it changed: what every edit leaves alone, in all the ways in which people write YAML."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from generator.edited_yaml import edit
from generator.source import parse_source

FILE = """\
# The head.
id: 5d9a4b1e-0000-4000-8000-000000000001   # ours
name:   "A - B"
long: a plain text that goes on and on and is not broken anywhere, although it is longer than any line of a file should be

description: |
  One.

  # Two, a heading.

# About the parameters.
parameters:

  # The first.
  page: {label: Page, type: text, help: Its address.}   # flow
  # The second.
  patience:
    label: 'How long'   # single
    help: >-
      folded text
      here

  # The third.
  third: &third
      label: Third     # four columns in
      type: text
  fourth:
    <<: *third
    label: Fourth
# At the margin.
outputs: {Status: "The status."}
steps:
- key: a
  name: A      # the first step
# Between the steps.
-   key: b
    name: B
    tags: [x, y]
"""


def set_at(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for word in path[:-1]:
            data = data[word]
        data[path[-1]] = to

    return change


def remove(*path: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for word in path[:-1]:
            data = data[word]
        del data[path[-1]]

    return change


def reorder(data: Any) -> None:
    data["parameters"] = {key: data["parameters"][key] for key in ("third", "page", "fourth", "patience")}


@pytest.mark.parametrize(
    ("change", "gone", "new"),
    [
        pytest.param(
            set_at("name", to='Say "it"'), ['name:   "A - B"'], ['name:   "Say \\"it\\""'], id="quotes and columns stay"
        ),
        pytest.param(
            set_at("parameters", "patience", "label", to="it's"),
            ["    label: 'How long'   # single"],
            ["    label: 'it''s'   # single"],
            id="single quotes, and the comment behind",
        ),
        pytest.param(
            set_at("parameters", "page", "label", to="x: y"),
            ["  page: {label: Page, type: text, help: Its address.}   # flow"],
            ['  page: {label: "x: y", type: text, help: Its address.}   # flow'],
            id="within brackets",
        ),
        pytest.param(
            set_at("parameters", "page", "default", to="a, b"),
            ["  page: {label: Page, type: text, help: Its address.}   # flow"],
            ['  page: {label: Page, type: text, help: Its address., default: "a, b"}   # flow'],
            id="a new key within brackets",
        ),
        pytest.param(
            set_at("parameters", "page", "help", to="One.\nTwo."),
            ["  page: {label: Page, type: text, help: Its address.}   # flow"],
            ["  page:   # flow", "    label: Page", "    help: |-", "      One.", "      Two."],
            id="brackets open for several lines, and their comment stays outside of the block",
        ),
        pytest.param(
            set_at("description", to="One.\n\nThree.\n"), ["  # Two, a heading."], ["  Three."], id="a line of a block"
        ),
        pytest.param(
            remove("parameters", "patience"),
            [
                "  patience:",
                "    label: 'How long'   # single",
                "    help: >-",
                "      folded text",
                "      here",
            ],
            [],
            id="a key that is removed leaves all comments of their own lines",
        ),
        pytest.param(
            remove("parameters", "page", "type"),
            ["  page: {label: Page, type: text, help: Its address.}   # flow"],
            ["  page: {label: Page, help: Its address.}   # flow"],
            id="a key that is removed from brackets",
        ),
        pytest.param(
            set_at("parameters", "fifth", to={"label": "Fifth", "help": "a\n\nb"}),
            [],
            ["  fifth:", "    label: Fifth", "      a", "      b"],
            id="a new key stands behind the last one",
        ),
        pytest.param(
            set_at("parameters", "third", "label", to="3rd"),
            ["      label: Third     # four columns in"],
            ["      label: 3rd     # four columns in"],
            id="a value that a merge hands on, and that is overridden there",
        ),
        pytest.param(
            set_at("parameters", "third", "type", to="lines"),
            ["      type: text"],
            ["      type: lines"],
            id="a value that a merge hands on stays for the others",
        ),
        pytest.param(
            set_at("parameters", "fourth", "type", to="lines"),
            [],
            ["    type: lines"],
            id="a merged value gets a key of its own",
        ),
        pytest.param(
            remove("parameters", "third"),
            ["  third: &third", "      label: Third     # four columns in", "      type: text", "    <<: *third", "  fourth:"],
            ["    type: text"],
            id="an anchor that others need goes",
        ),
        pytest.param(reorder, [], [], id="keys in another order take the comments above them along"),
        pytest.param(
            set_at("outputs", "Status", to="It."),
            ['outputs: {Status: "The status."}'],
            ['outputs: {Status: "It."}'],
            id="quotes within brackets",
        ),
        pytest.param(set_at("outputs", to={}), ['outputs: {Status: "The status."}'], ["outputs: {}"], id="emptied"),
        pytest.param(
            set_at("steps", 1, "tags", to=["x", "z"]), ["    tags: [x, y]"], ["    tags: [x, z]"], id="a list of words"
        ),
        pytest.param(
            remove("steps", 0), ["- key: a", "  name: A      # the first step"], [], id="an item of a list"
        ),
        pytest.param(
            lambda data: data["steps"].insert(1, {"key": "n", "name": "N"}),
            [],
            ["- key: n", "  name: N"],
            id="a new item between others",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CR LF"])
def test_only_what_differs_is_another_line(
    change: Callable[[Any], None], gone: list[str], new: list[str], ends: str
) -> None:
    """Every other line stands there as before; comments are never lost; byte order mark and line ends stay."""
    content = b"\xef\xbb\xbf" + FILE.replace("\n", ends).encode()
    wanted = copy.deepcopy(parse_source(content, name="").data)
    change(wanted)
    made = edit(content, wanted)
    assert made.startswith(b"\xef\xbb\xbf") and (b"\r\n" in made) == (ends == "\r\n")
    lines = made.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    before = FILE.split("\n")
    assert parse_source(made, name="").data == wanted
    lost = [line for line in before if line not in lines]
    assert set(gone) <= set(before)
    assert not set(lost) - set(gone), lost
    assert [line for line in new if line not in lines] == []
    comments = [line for line in before if line.strip().startswith("#")]
    assert [line for line in comments if line not in lines and line not in gone] == []


def test_an_edit_of_nothing_gives_the_same_bytes() -> None:
    content = FILE.encode()
    assert content == edit(content, parse_source(content, name="").data)
