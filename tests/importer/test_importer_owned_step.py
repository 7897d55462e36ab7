"""The three-way merge of a step of ours: the file, people, and what we last wrote."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from generator.octopus.records import StepDocument
from generator.owned_step import (
    FACTS,
    MARKER,
    PUT,
    SECRET,
    TEMPLATE_VERSION,
    Owned,
    ReadyStep,
    decide,
    diff,
    find_owned,
    hash_of,
    merge,
    new_step,
)

SCRIPT = "Octopus.Action.Script.ScriptBody"


def make_ready(**fields: Any) -> ReadyStep:
    facts = dict.fromkeys(FACTS, "")
    facts |= {
        "name": "Deploy Database",
        "condition": "Success",
        "with.P.Project": "Database",
        "with.P.Key": "#{Key}",
    }
    facts |= fields.pop("facts", {})
    version = fields.pop("version", "3")
    copied = {
        SCRIPT: f"print({version})\n",
        "Octopus.Action.Template.Id": "ActionTemplates-1",
        TEMPLATE_VERSION: version,
    }
    return ReadyStep(
        **{
            "key": "db",
            "owner": "Projects-1",
            "file": "coordination",
            "template": "Octopus - Deploy Release",
            "template_version": int(version),
            "action_type": "Octopus.Script",
            "position": "after approve",
            "anchor": "Approve",
            "before": False,
            "parallel": False,
            "facts": facts,
            "copied": copied,
            "sensitive": frozenset({"P.Key"}),
            "names": {"Environments-1": "Test"},
            **fields,
        }
    )


def make_owned(ready: ReadyStep) -> Owned:
    """The step as a server gives it back after we wrote it."""
    step = new_step(ready)
    step["Id"] = "step-guid"
    step["Actions"][0]["Id"] = "action-guid"
    return Owned(step, step["Actions"][0])


Edit = Callable[[Owned], None]


def set_value(name: str, value: Any) -> Edit:
    return lambda owned: owned.action["Properties"].update({name: value})


def set_field(name: str, value: Any) -> Edit:
    return lambda owned: owned.action.update({name: value})  # type: ignore[misc]


def rename(owned: Owned) -> None:
    owned.step["Name"] = owned.action["Name"] = "Renamed"


def test_what_was_just_written_needs_nothing() -> None:
    ready = make_ready()
    owned = make_owned(ready)
    before = copy.deepcopy(owned.step)
    assert merge(ready, owned, force=False) == (False, (), ())
    assert owned.step == before


@pytest.mark.parametrize(
    ("ours", "theirs", "base", "expected"),
    [
        ("a", "a", "z", "same"),
        ("b", "a", "a", "ours"),
        ("a", "b", "a", "theirs"),
        ("b", "c", "a", "both"),
        ("b", "", None, "ours"),
        ("b", "c", None, "both"),
        ("", "", None, "same"),
    ],
)
def test_who_has_moved(ours: str, theirs: str, base: str | None, expected: str) -> None:
    assert decide(ours, theirs, None if base is None else hash_of(base)) == expected


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        pytest.param(rename, "name", id="a new name"),
        pytest.param(set_value("P.Project", "Other"), "P.Project", id="another value"),
        pytest.param(set_value("P.Key", {"HasValue": True}), "P.Key", id="a secret typed in"),
        pytest.param(set_field("Environments", ["Environments-1"]), "environments", id="an environment"),
        pytest.param(set_field("WorkerPoolId", "WorkerPools-2"), "worker pool", id="a worker pool"),
        pytest.param(set_value("Octopus.Action.AutoRetry.MaximumCount", "2"), "retries", id="retries"),
        pytest.param(
            lambda owned: owned.step.update(Condition="Always"), "condition", id="the run condition"
        ),
    ],
)
def test_what_only_people_changed_is_kept(edit: Edit, kept: str) -> None:
    ready = make_ready()
    owned = make_owned(ready)
    edit(owned)
    before = copy.deepcopy(owned.step)
    assert merge(ready, owned, force=True) == (False, (), (kept,))
    assert owned.step == before


def test_what_only_the_file_changed_is_written_and_the_rest_stays() -> None:
    owned = make_owned(make_ready())
    owned.action["Notes"] = "by people"  # type: ignore[typeddict-unknown-key]
    owned.action["Properties"]["Foreign"] = "x"
    wanted = make_ready(facts={"with.P.Project": "Web", "environments": "Environments-1"})
    assert merge(wanted, owned, force=False) == (True, (), ())
    assert owned.action["Properties"]["P.Project"] == "Web"
    assert owned.action["Environments"] == ["Environments-1"]
    assert owned.action["Properties"]["Foreign"] == "x"
    assert owned.action["Notes"] == "by people"  # type: ignore[typeddict-item]
    assert merge(wanted, owned, force=False) == (False, (), ())


def test_what_both_changed_is_a_conflict_that_force_decides() -> None:
    owned = make_owned(make_ready())
    set_value("P.Project", "Theirs")(owned)
    wanted = make_ready(facts={"with.P.Project": "Ours"})
    untouched = copy.deepcopy(owned.step)
    assert merge(wanted, owned, force=False).conflicts == ("P.Project was changed in the file and by people",)
    assert owned.step == untouched
    assert merge(wanted, owned, force=True).changed
    assert owned.action["Properties"]["P.Project"] == "Ours"


def test_what_both_changed_alike_is_no_conflict() -> None:
    owned = make_owned(make_ready())
    set_value("P.Project", "Web")(owned)
    assert merge(make_ready(facts={"with.P.Project": "Web"}), owned, force=False) == (False, (), ())


def test_a_newer_template_is_copied_into_the_step() -> None:
    owned = make_owned(make_ready())
    set_value("P.Project", "Theirs")(owned)
    assert merge(make_ready(version="4"), owned, force=False) == (True, (), ("P.Project",))
    assert owned.action["Properties"][SCRIPT] == "print(4)\n"
    assert owned.action["Properties"][TEMPLATE_VERSION] == "4"
    assert owned.action["Properties"]["P.Project"] == "Theirs"


def test_a_step_that_people_updated_in_the_portal_goes_on_from_there() -> None:
    owned = make_owned(make_ready())
    set_value(SCRIPT, "print(4)\n")(owned)
    set_value(TEMPLATE_VERSION, "4")(owned)
    assert merge(make_ready(version="4"), owned, force=False) == (False, (), ())
    assert merge(make_ready(version="5"), owned, force=False) == (True, (), ())


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(set_value(SCRIPT, "print('mine')\n"), "people edited its copy", id="an edited script"),
        pytest.param(
            lambda owned: owned.action["Properties"].pop("Octopus.Action.Template.Id"),
            "detached",
            id="a detached step",
        ),
    ],
)
def test_an_edited_copy_is_a_conflict_that_force_decides(edit: Edit, expected: str) -> None:
    ready = make_ready()
    owned = make_owned(ready)
    edit(owned)
    [conflict] = merge(ready, owned, force=False).conflicts
    assert expected in conflict
    assert merge(ready, owned, force=True).changed
    assert owned.action["Properties"][SCRIPT] == "print(3)\n"


def test_a_parameter_that_the_template_lost_goes_unless_people_filled_it_in() -> None:
    old = make_ready(facts={"with.P.Old": "x", "with.P.Used": "y"})
    owned = make_owned(old)
    set_value("P.Used", "by people")(owned)
    assert merge(make_ready(), owned, force=False).changed
    assert "P.Old" not in owned.action["Properties"]
    assert owned.action["Properties"]["P.Used"] == "by people"
    assert not merge(make_ready(), owned, force=False).changed


def test_packages_that_people_chose_survive_a_newer_template() -> None:
    owned = make_owned(make_ready(packages=({"Name": "Tool", "PackageId": None, "Id": "1"},)))
    owned.action["Packages"] = [{"Name": "Tool", "PackageId": "theirs", "Id": "9"}]
    merge(
        make_ready(version="4", packages=({"Name": "Tool", "PackageId": None}, {"Name": "New"})),
        owned,
        force=False,
    )
    assert owned.action["Packages"] == [{"Name": "Tool", "PackageId": "theirs", "Id": "9"}, {"Name": "New"}]


@pytest.mark.parametrize("text", ["", "no json", "[1]", None])
def test_without_readable_hashes_nothing_of_people_is_overwritten(text: str | None) -> None:
    owned = make_owned(make_ready())
    set_value(PUT, text)(owned)
    assert merge(make_ready(), owned, force=False) == (False, (), ())
    set_value("P.Project", "Theirs")(owned)
    assert merge(make_ready(), owned, force=False).conflicts != ()


def test_a_clone_of_the_project_is_not_ours() -> None:
    steps: list[StepDocument] = [make_owned(make_ready()).step]
    assert list(find_owned(steps, "Projects-1")) == ["db"]
    assert dict(find_owned(steps, "Projects-2")) == {}


def test_a_hand_made_step_of_the_same_template_is_not_ours() -> None:
    step = make_owned(make_ready()).step
    del step["Actions"][0]["Properties"][MARKER]
    assert dict(find_owned([step], "Projects-1")) == {}


def test_only_the_action_is_renamed_when_people_added_child_steps() -> None:
    owned = make_owned(make_ready())
    owned.step["Actions"].append({"Name": "Child", "Properties": {}})
    merge(make_ready(facts={"name": "New Name"}), owned, force=False)
    assert (owned.action["Name"], owned.step["Name"]) == ("New Name", "Deploy Database")


def test_a_diff_shows_names_and_no_secret() -> None:
    ready = make_ready(facts={"environments": "Environments-1"})
    before = make_owned(ready)
    set_value("P.Key", "API-CANARY")(before)
    after = make_owned(replace(ready, facts={**ready.facts, "with.P.Project": "Web"}))
    text = "\n".join(diff(before, after, ready))
    assert "-P.Project: Database" in text and "+P.Project: Web" in text
    assert "environments: Test" in text
    assert f"-P.Key: {SECRET}" in text and "API-CANARY" not in text
