"""Where a step is put in, and how it is taken out, as small pictures: `a b|c` is a, then b and c in parallel."""

from __future__ import annotations

from typing import Any

import pytest

from generator.octopus.records import StepDocument
from generator.step_order import Place, find_step, is_placed, put_in, take_out


def steps_of(picture: str) -> list[StepDocument]:
    steps: list[StepDocument] = []
    for group in picture.split():
        for index, name in enumerate(group.split("|")):
            trigger = "StartWithPrevious" if index else "StartAfterPrevious"
            steps.append({"Name": name, "StartTrigger": trigger, "Actions": [{"Name": name}]})
    return steps


def picture_of(steps: list[StepDocument]) -> str:
    picture = ""
    for index, step in enumerate(steps):
        picture += ("|" if step["StartTrigger"] == "StartWithPrevious" else " " if index else "") + step[
            "Name"
        ]
    return picture


@pytest.mark.parametrize(
    ("there", "where", "expected"),
    [
        pytest.param("a b", {"anchor": "a"}, "a NEW b", id="after"),
        pytest.param("a b", {"anchor": "b", "before": True}, "a NEW b", id="before"),
        pytest.param("a", {"anchor": "a", "before": True}, "NEW a", id="before the first"),
        pytest.param("a", {"anchor": None}, "a NEW", id="at the end"),
        pytest.param("", {"anchor": None}, "NEW", id="into an empty process"),
        pytest.param("", {"anchor": None, "parallel": True}, "NEW", id="parallel to nothing"),
        pytest.param("a b|c d", {"anchor": "b"}, "a b|c NEW d", id="after the whole group"),
        pytest.param("a b|c d", {"anchor": "c", "before": True}, "a NEW b|c d", id="before the whole group"),
        pytest.param("a b", {"anchor": "a", "parallel": True}, "a|NEW b", id="beside"),
        pytest.param("a b|c d", {"anchor": "b", "parallel": True}, "a b|c|NEW d", id="into a group"),
        pytest.param(
            "a b", {"anchor": "b", "before": True, "parallel": True}, "a b|NEW", id="before and beside"
        ),
        pytest.param("a o1 b", {"anchor": "a"}, "a o1 NEW b", id="behind our earlier sibling"),
        pytest.param("a o1|x o9 b", {"anchor": "a"}, "a o1|x NEW o9 b", id="between our siblings"),
        pytest.param(
            "a o1 o9 b", {"anchor": "b", "before": True}, "a o1 NEW o9 b", id="before, between our siblings"
        ),
    ],
)
def test_a_step_is_put_in_without_touching_others(there: str, where: dict[str, Any], expected: str) -> None:
    steps = steps_of(there)
    anchor = where.pop("anchor")
    new: StepDocument = {"Name": "NEW", "Actions": []}
    place: Place = {
        "anchor": None if anchor is None else find_step(steps, anchor),
        "before": where.get("before", False),
        "parallel": where.get("parallel", False),
        "goes_first": lambda step: step["Name"] == "o1",
        "goes_later": lambda step: step["Name"] == "o9",
    }
    assert put_in(steps, new, **place) == ""
    assert picture_of(steps) == expected
    place["anchor"] = None if anchor is None else find_step(steps, anchor)
    index = find_step(steps, "NEW")
    assert index is not None and is_placed(steps, index, **place)


@pytest.mark.parametrize(
    ("there", "where", "expected"),
    [
        pytest.param("a b NEW", {"anchor": "a"}, False, id="behind somebody else"),
        pytest.param("a o1 NEW b", {"anchor": "a"}, True, id="behind a sibling that goes first"),
        pytest.param("a o9 NEW b", {"anchor": "a"}, False, id="behind a sibling that goes later"),
        pytest.param("NEW a", {"anchor": "a"}, False, id="on the other side"),
        pytest.param("a|NEW b", {"anchor": "a"}, False, id="beside instead of after"),
        pytest.param("a NEW b", {"anchor": "a", "parallel": True}, False, id="after instead of beside"),
        pytest.param("a NEW|c b", {"anchor": "c"}, False, id="the head of its group"),
        pytest.param(
            "a NEW|c b", {"anchor": "c", "parallel": True}, True, id="heading the group that it joins"
        ),
        pytest.param("a NEW", {"anchor": None}, True, id="at the end"),
        pytest.param("NEW a", {"anchor": None}, False, id="not at the end"),
    ],
)
def test_whether_a_step_stands_where_it_should(there: str, where: dict[str, Any], expected: bool) -> None:
    steps = steps_of(there)
    anchor, index = where["anchor"], find_step(steps, "NEW")
    assert index is not None
    where["anchor"] = None if anchor is None else find_step(steps, anchor)
    ours = {"goes_first": lambda step: step["Name"] == "o1", "goes_later": lambda step: step["Name"] == "o9"}
    assert is_placed(steps, index, **where, **ours) == expected


def test_a_first_step_that_would_join_ours_is_a_fault() -> None:
    """A first step may be set to start with the previous one, of which there is none: something in front would change that."""
    steps = steps_of("a")
    steps[0]["StartTrigger"] = "StartWithPrevious"
    assert "'a' is set to start with the previous" in put_in(steps, {"Name": "NEW"}, anchor=0, before=True)
    assert picture_of(steps) == "|a"


@pytest.mark.parametrize(
    ("there", "gone", "expected"),
    [
        pytest.param("a o b", "o", "a b", id="alone"),
        pytest.param("a b|o c", "o", "a b c", id="a follower"),
        pytest.param("a o|o2 c", "o", "a o2 c", id="a head, and ours behind it heads the group"),
        pytest.param("a o|o2|b c", "o", "a o2|b c", id="a head, and ours behind it heads the others too"),
        pytest.param("o|b c", "o", "|b c", id="the first head: what follows has nothing to join"),
    ],
)
def test_a_step_is_taken_out(there: str, gone: str, expected: str) -> None:
    steps = steps_of(there)
    index = find_step(steps, gone)
    assert index is not None
    assert take_out(steps, index, is_ours=lambda step: step["Name"].startswith("o")) == ""
    assert picture_of(steps) == expected


def test_the_head_of_other_peoples_group_stays() -> None:
    steps = steps_of("a o|b c")
    assert "'b' behind it would join" in take_out(steps, 1, is_ours=lambda step: step["Name"] == "o")
    assert picture_of(steps) == "a o|b c"


def test_a_step_is_found_by_its_name_before_an_actions_name() -> None:
    steps = steps_of("a b")
    steps[0]["Actions"][0]["Name"] = "B"
    assert find_step(steps, "B") == 1
    steps[1]["Name"] = "c"
    assert find_step(steps, "b") == 0
    assert find_step(steps, "z") is None
