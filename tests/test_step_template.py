"""The normal form of step templates, their three dialects, the marker and the digest."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generator.step_template import (
    Marker,
    StepTemplate,
    TemplateParameter,
    digest,
    from_api,
    from_json,
    json_text,
    marker_holds,
    read_marker,
    to_api,
    to_json,
    to_text,
    with_digest,
)

SPEC_ID = "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10"
BODY = "Octopus.Action.Script.ScriptBody"
SCRIPT = f"""\
# Demo - Say Hello
#
# spec: step_templates/say-hello.yaml
# id: {SPEC_ID}
# revision: 3
# digest:

print("# digest: not this one")
"""


def make_template(**changes: Any) -> StepTemplate:
    template = StepTemplate(
        spec_id=SPEC_ID,
        revision=3,
        name="Demo - Say Hello",
        description="Says hello.",
        properties={"Octopus.Action.RunOnServer": "true", BODY: SCRIPT},
        parameters=(
            TemplateParameter(
                id="11111111-1111-4111-8111-111111111111", name="P.Text", label="Text", default="x"
            ),
            TemplateParameter(name="P.Secret", label="Secret", control_type="Sensitive"),
            TemplateParameter(name="P.Kind", control_type="Select", select_options=("a|A", "b|B | more")),
        ),
        packages=({"Name": "P.Tool", "PackageId": None, "FeedId": None, "Properties": {"Extract": "True"}},),
        category="demo",
    )
    return replace(template, **changes)


def sealed(template: StepTemplate) -> StepTemplate:
    """The template with its digest in the header, as `render` leaves it."""
    script = with_digest(template.script, digest(template))
    return replace(template, properties={**template.properties, BODY: script})


def server_answer(template: StepTemplate, **changes: Any) -> dict[str, Any]:
    """What a server gives back for what we sent: its own ids, version, links, and its habits."""
    document = to_api(template, "Spaces-1")
    for number, parameter in enumerate(document["Parameters"]):
        parameter["Id"] = f"server-made-{number}"
        parameter["Links"] = {}
    for package in document["Packages"]:
        package["Id"] = "server-made"
        package["Version"] = None
    return {
        **document,
        "Id": "ActionTemplates-7",
        "Version": 0,
        "LastModifiedBy": "x",
        "Links": {},
        **changes,
    }


def test_the_file_has_the_portals_fields_in_its_order() -> None:
    document = to_json(make_template())
    assert [
        "Id", "Name", "Description", "ActionType", "Version", "CommunityActionTemplateId", "Packages", "GitDependencies",
        "Properties", "Parameters", "$Meta", "LastModifiedBy", "Category",
    ] == list(document)  # fmt: skip
    assert {"ExportedAt", "OctopusVersion", "Type"} == set(document["$Meta"])
    assert "ActionTemplate" == document["$Meta"]["Type"]
    assert all(isinstance(value, str) for value in document["Properties"].values())
    assert to_text(make_template()).endswith("}\n")


def test_what_was_written_is_read_back() -> None:
    template = make_template()
    assert template == from_json(to_json(template))
    assert to_json(template) == to_json(from_json(to_json(template)))


def test_a_secret_never_has_a_default() -> None:
    document = to_json(make_template())
    assert document["Parameters"][1]["DefaultValue"] is None
    document["Parameters"][1]["DefaultValue"] = "canary"
    assert "canary" not in to_text(from_json(document))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="its own ids and links"),
        pytest.param({"Description": "Says hello.\r\n"}, id="line ends of Windows"),
        pytest.param(
            {"Version": 12, "LastModifiedOn": "2026-01-01", "HistoryUrl": None}, id="version and dates"
        ),
        pytest.param({"GitDependencies": None, "SpaceId": "Spaces-9"}, id="null for an empty list"),
    ],
)
def test_equal_content_is_equal(change: dict[str, Any]) -> None:
    """Whatever a server adds or rewrites by itself, an unedited template is `==` and its marker holds."""
    template = sealed(make_template())
    answer = server_answer(template, **change)
    assert template == from_api(answer)
    assert marker_holds(answer)


def test_null_and_empty_mean_the_same() -> None:
    template = make_template()
    answer = server_answer(template)
    answer["Parameters"][2].update({"DefaultValue": None, "Label": None, "HelpText": None})
    answer["Properties"]["Octopus.Action.Script.ScriptFileName"] = None
    assert template == from_api(answer)


EDITS: dict[str, Any] = {
    "script": lambda document: document["Properties"].update({BODY: SCRIPT + "print()\n"}),
    "property": lambda document: document["Properties"].update({"Octopus.Action.RunOnServer": "false"}),
    "description": lambda document: document.update({"Description": "Edited."}),
    "default": lambda document: document["Parameters"][0].update({"DefaultValue": "y"}),
    "label": lambda document: document["Parameters"][0].update({"Label": "Other"}),
    "help": lambda document: document["Parameters"][0].update({"HelpText": "Other"}),
    "control": lambda document: document["Parameters"][0].update({"DisplaySettings": {"Octopus.ControlType": "MultiLineText"}}),
    "options": lambda document: document["Parameters"][2]["DisplaySettings"].update({"Octopus.SelectOptions": "a|A"}),
    "order": lambda document: document["Parameters"].reverse(),
    "one more": lambda document: document["Parameters"].append({"Name": "P.More", "DisplaySettings": {}}),
    "package": lambda document: document["Packages"].clear(),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_on_the_server_breaks_the_marker(edit: Any) -> None:
    template = sealed(make_template())
    answer = server_answer(template)
    edit(answer)
    assert template != from_api(answer)
    assert not marker_holds(answer)
    assert read_marker(answer) is not None


def test_a_secret_default_set_on_the_server_is_neither_seen_nor_lost() -> None:
    """The API shows that there is one; sent back like that it stays (OctopusClients, PropertyValueResource)."""
    template = sealed(make_template())
    answer = server_answer(template)
    answer["Parameters"][1]["DefaultValue"] = {"HasValue": True, "NewValue": None, "Hint": "****"}
    assert template == from_api(answer)
    assert marker_holds(answer)
    body = to_api(template, "Spaces-1", found=answer)
    assert {"HasValue": True, "NewValue": None, "Hint": None} == body["Parameters"][1]["DefaultValue"]
    assert "ActionTemplates-7" == body["Id"]


def test_the_digest_does_not_depend_on_what_servers_choose() -> None:
    template = make_template()
    others = [
        replace(template, spec_id="9" + SPEC_ID[1:], revision=9, category="other", exported_at="x", last_modified_by="y"),
        replace(template, parameters=tuple(replace(parameter, id="") for parameter in template.parameters)),
        sealed(template),
        replace(template, properties=dict(reversed(template.properties.items()))),
    ]  # fmt: skip
    assert {digest(template)} == {digest(other) for other in others}


def test_only_the_headers_own_line_takes_the_digest() -> None:
    script = with_digest(SCRIPT, "sha256:" + "a" * 64)
    assert f"# digest: sha256:{'a' * 64}\n" in script
    assert 'print("# digest: not this one")' in script
    assert SCRIPT == with_digest(script, "")
    plain = "print(1)\n# digest:\n"
    assert plain == with_digest(plain, "x")


def test_a_pasted_template_is_known_by_its_header() -> None:
    """The portal's import keeps no marker properties; the script tells spec, revision and digest."""
    template = sealed(make_template())
    pasted = server_answer(template)
    for name in [name for name in pasted["Properties"] if name.startswith("octosteps.")]:
        del pasted["Properties"][name]
    assert Marker(spec_id=SPEC_ID, revision=3, digest=digest(template)) == read_marker(pasted)
    assert marker_holds(pasted)
    assert template == from_api(pasted)


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param({}, id="nothing"),
        pytest.param({BODY: "echo hello"}, id="another script"),
        pytest.param({BODY: "print(1)\n" + SCRIPT}, id="a header that is not at the top"),
        pytest.param({BODY: None}, id="no script"),
        pytest.param({"octosteps.template.id": SPEC_ID}, id="half a marker"),
    ],
)
def test_others_templates_are_not_ours(properties: dict[str, Any]) -> None:
    document = {"Name": "Somebody's", "Properties": properties}
    assert read_marker(document) is None
    assert not marker_holds(document)


def test_a_document_is_not_changed_by_reading_it() -> None:
    answer = server_answer(make_template())
    before = copy.deepcopy(answer)
    from_api(answer)
    read_marker(answer)
    assert before == answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON)
def test_the_files_text_is_that_of_the_json_module(value: object) -> None:
    assert json.dumps(value, indent=2, ensure_ascii=False) == json_text(value)
