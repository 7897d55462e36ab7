"""What an update will make of a step's copy, and the text of it for people. Pure functions."""

from __future__ import annotations

from typing import Any

import pytest

from generator.step_copy import Foreseen, fingerprint, foresee, form_lines, packages_after, shown
from tests.usages.shop_window import CHECKBOX, SECRET, VERSION, parameter, script_of, secret

CLOSED = {"HasValue": True, "NewValue": None, "Hint": None}


def make_template(*parameters: Any, version: int = 0, script: str = "one", **properties: Any) -> Any:
    return {
        "Id": "ActionTemplates-1",
        "Version": version,
        "Properties": {**script_of(script), **properties},
        "Parameters": list(parameters),
    }


def make_action(held: Any, **values: Any) -> Any:
    filled = {item["Name"]: item["DefaultValue"] for item in held["Parameters"]}
    return {
        "Id": "1",
        "Properties": {**held["Properties"], **filled, VERSION: str(held["Version"]), **values},
    }


def look(held: Any, wanted: Any, given: Any = None, **values: Any) -> Foreseen:
    return foresee(make_action(held, **values), held, wanted, given or {})


def test_values_stay_and_defaults_follow() -> None:
    """What people typed stays; what they left at the default becomes the new default; what is gone goes; other things stay."""
    held = make_template(parameter("A", "old"), parameter("B", "old"), parameter("C", "old"), Extra="x")
    wanted = make_template(parameter("A", "new"), parameter("B", "new"), version=3, script="two")
    seen = look(held, wanted, A="mine", people="theirs")
    assert seen.goes_well
    assert seen.properties == {
        **script_of("two"),
        "A": "mine",
        "B": "new",
        "people": "theirs",
        "Octopus.Action.Template.Id": "ActionTemplates-1",
        VERSION: "3",
    }


@pytest.mark.parametrize(
    ("new", "given", "missing"),
    [
        pytest.param(parameter("N", "d"), {}, (), id="a default"),
        pytest.param(parameter("N"), {}, ("N",), id="nothing"),
        pytest.param(parameter("N"), {"N": ""}, (), id="an empty value that was given is one"),
        pytest.param(parameter("N", control=SECRET), {}, ("N",), id="a secret"),
        pytest.param(
            parameter("N", control=SECRET), {"N": secret("s3cret")}, (), id="a secret that was given"
        ),
    ],
)
def test_a_new_parameter_needs_a_value(new: Any, given: Any, missing: tuple[str, ...]) -> None:
    seen = look(make_template(), make_template(new, version=1), given)
    assert seen.missing == missing
    assert "s3cret" not in repr(seen)


def test_what_a_person_must_merge() -> None:
    held = make_template(parameter("A"))
    assert look(held, make_template(parameter("A", control=CHECKBOX), version=1)).reasons == {
        "A": "the parameter changed from SingleLineText to Checkbox"
    }
    gone = foresee(make_action(held), None, make_template(parameter("A"), version=1), {})
    assert list(gone.reasons) == [VERSION]


def test_secrets_that_will_be_lost_are_named() -> None:
    held = make_template(parameter("Key", control=SECRET), parameter("Empty", control=SECRET))
    seen = look(held, make_template(version=1), Key=CLOSED, Empty={"HasValue": False})
    assert seen.lost == ("Key",)


def test_what_people_edited_in_the_copy_is_named() -> None:
    """Line ends, the case of booleans and our own marks aside."""
    mark: dict[str, Any] = {"octosteps.template.version": "0", "Octopus.Action.RunOnServer": "True"}
    held = make_template(script="a\nb", **mark)
    body = "Octopus.Action.Script.ScriptBody"
    values = {body: "a\r\nb", "octosteps.template.version": "7", "Octopus.Action.RunOnServer": "true"}
    assert look(held, make_template(version=1), **values).edited == ()
    assert look(held, make_template(version=1), **{body: "mine"}).edited == (body,)


def test_chosen_packages_stay() -> None:
    chosen = {"Name": "Tool", "PackageId": "hammer", "Properties": {}}
    deferred = {"Name": "Tool", "PackageId": None, "Properties": {"SelectionMode": "deferred"}}
    fixed = {"Name": "Fixed", "PackageId": "two", "Properties": {}}
    assert packages_after([chosen, {**fixed, "PackageId": "one"}], [deferred, fixed]) == (chosen, fixed)


def test_a_copy_is_shown_as_text_without_secrets_and_marks() -> None:
    lines = list(
        form_lines(
            {
                **script_of("the script stands for itself"),
                "Key": CLOSED,
                "Many": "a\nb",
                "Empty": "",
                "octosteps.template.digest": "x",
                VERSION: "4",
            },
            [{"Name": "", "PackageId": "web", "FeedId": "feeds-builtin"}, {"Name": "Tool"}],
        )
    )
    assert lines == [
        "version: 4",
        "Key: (a secret)",
        "Many:",
        "  a",
        "  b",
        "Octopus.Action.Script.ScriptSource: Inline",
        "Octopus.Action.Script.Syntax: Python",
        "package (primary): web feeds-builtin",
        "package Tool: chosen in the step",
    ]


def test_what_a_terminal_would_obey_is_shown_as_its_code() -> None:
    assert shown("a\tb\x1b[31m\u202e") == "a\tb\\x1b[31m\\u202e"


def test_a_fingerprint_does_not_mind_what_servers_fill_in() -> None:
    action = {"ActionType": "Octopus.Script", "Properties": {"A": "1"}, "Packages": [{"Name": "Tool"}]}
    filled = {
        "ActionType": "Octopus.Script",
        "Properties": {"A": "1", "B": "", "C": None},
        "Packages": [{"Id": "7", "Name": "Tool", "Version": None, "Properties": {}}],
        "GitDependencies": [],
    }
    assert fingerprint(action) == fingerprint(filled)  # type: ignore[arg-type]
    assert fingerprint(action) != fingerprint({**action, "Properties": {"A": "2"}})  # type: ignore[arg-type, typeddict-item]
