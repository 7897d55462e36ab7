"""A plan as data: how it reads, its checksum, and its order."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from generator.apply import apply
from generator.errors import Refusal
from generator.outcome import quiet
from generator.plan import Change, sorted_plan, summary, to_json, to_parts, visible


def make_change(name: str = "A", **fields: Any) -> Change:
    return Change(
        **{
            "action": "create",
            "kind": "step template",
            "name": name,
            "unit": name,
            "reason": "not there",
            **fields,
        }
    )


def test_a_plan_reads_as_lines_diffs_and_a_summary() -> None:
    changes = [
        make_change(
            "B", action="update", reason="differs", diff=("--- x", "+++ y", "@@ -1 +1 @@", "-a", "+b")
        ),
        make_change("A"),
        make_change("C", action="leave", reason=""),
    ]
    plan = sorted_plan("https://o.test, space 'Default'", changes, ["look at this", "look at this"])
    assert list(to_parts(plan)) == [
        "https://o.test, space 'Default':",
        "  + create step template A: not there",
        "  ~ update step template B: differs",
        "--- x\n+++ y\n@@ -1 +1 @@\n-a\n+b",
        "  warning: look at this",
        f"1 to create, 1 to update, 1 left as they are. Checksum {plan.checksum[7:19]}.",
    ]


def test_an_empty_plan_says_so() -> None:
    assert summary(sorted_plan("t", [])) == "Nothing to do."
    assert summary(sorted_plan("t", [make_change(action="leave")])) == "Nothing to do: 1 left as they are."


def test_the_checksum_is_about_what_is_written_only() -> None:
    plan = sorted_plan("t", [make_change()])
    assert (
        plan.checksum
        == sorted_plan("t", [make_change(diff=("+x",)), make_change("B", action="leave")]).checksum
    )
    assert plan.checksum != sorted_plan("t", [make_change(after={"digest": "1"})]).checksum
    assert plan.checksum != sorted_plan("t", [make_change(action="remove")]).checksum


def test_changes_of_one_process_keep_the_order_of_its_steps() -> None:
    changes = [
        make_change("Shop: Z", unit="Shop"),
        make_change("App: Y", unit="App"),
        make_change("Shop: A", unit="Shop"),
    ]
    assert [change.name for change in sorted_plan("t", changes).changes] == ["App: Y", "Shop: Z", "Shop: A"]


def test_json_holds_everything_and_counts() -> None:
    document: Any = to_json(sorted_plan("t", [make_change(diff=("+x",))], ["w"]))
    assert document["summary"]["create"] == 1 and document["warnings"] == ["w"]
    assert document["changes"][0]["diff"] == ["+x"]


def test_apply_writes_each_unit_once_and_together() -> None:
    changes = [make_change("S: 1", unit="S"), make_change("S: 2", unit="S"), make_change("T: 1", unit="T")]
    seen: list[tuple[str, ...]] = []
    lock = threading.Lock()

    def write(unit: Any) -> tuple[str, ...]:
        with lock:
            seen.append(tuple(change.name for change in unit))
        return ()

    applied = apply(sorted_plan("t", changes), write, progress=quiet)
    assert sorted(seen) == [("S: 1", "S: 2"), ("T: 1",)]
    assert [change.name for change in applied.written] == ["S: 1", "S: 2", "T: 1"]


def test_a_bug_while_writing_is_not_taken_for_a_refusal() -> None:
    def write(unit: Any) -> tuple[str, ...]:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        apply(sorted_plan("t", [make_change()]), write, progress=quiet)


def test_a_plan_with_a_conflict_writes_nothing() -> None:
    def write(unit: Any) -> tuple[str, ...]:
        raise AssertionError("written")

    with pytest.raises(Refusal, match="in conflict: B"):
        apply(sorted_plan("t", [make_change(), make_change("B", action="conflict")]), write, progress=quiet)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("+print('ä\tb')", "+print('ä\tb')", id="text stays"),
        pytest.param("+\x1b[2J\x07", r"+\x1b[2J\x07", id="a terminal's control characters"),
        pytest.param(" ##octopus[setVariable name='x']", " # #octopus[setVariable name='x']", id="Octopus"),
        pytest.param("+##teamcity[buildStop]", "+# #teamcity[buildStop]", id="TeamCity"),
        pytest.param(
            "-##vso[task.setvariable]x ##[error]", "-# #vso[task.setvariable]x # #[error]", id="Azure DevOps"
        ),
        pytest.param("   ::add-mask::x", "   : :add-mask::x", id="GitHub Actions"),
        pytest.param("+x::y", "+x::y", id="two colons in code"),
        pytest.param("\u202eevil", r"\u202eevil", id="reversed text"),
    ],
)
def test_what_others_wrote_is_shown_and_carried_out_by_nobody(line: str, shown: str) -> None:
    assert visible(line) == shown
    assert list(to_parts(sorted_plan("t", [make_change(diff=(line,))])))[2] == visible(line)
