"""Publishing templates to the emulated library: what is written, what is left, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from generator import history, library, publication
from generator.apply import Applied, apply
from generator.emulator import Emulator
from generator.errors import Refusal
from generator.octopus import Client, connect
from generator.outcome import quiet
from generator.plan import Plan, sorted_plan
from generator.step_template import (
    MARKER_DIGEST,
    MARKER_REVISION,
    SCRIPT_BODY,
    StepTemplate,
    TemplateParameter,
    to_api,
)
from tests.canary import make_secret
from tests.racing import Racing

ID = "5d9a4b1e-0000-4000-8000-00000000000"


def make_template(number: int = 1, *, script: str = "print('hello')\n", **fields: Any) -> StepTemplate:
    return StepTemplate(
        **{
            "spec_id": f"{ID}{number}",
            "revision": 1,
            "name": f"Test - Template {number}",
            "description": "Says hello.",
            "properties": {
                "Octopus.Action.Script.ScriptSource": "Inline",
                "Octopus.Action.Script.Syntax": "Python",
                SCRIPT_BODY: script,
            },
            "parameters": (
                TemplateParameter(
                    id="11111111-0000-4000-8000-000000000001",
                    name="T.Project",
                    label="Project",
                    default="Web",
                ),
                TemplateParameter(
                    id="11111111-0000-4000-8000-000000000002",
                    name="T.Key",
                    label="Key",
                    control_type="Sensitive",
                ),
            ),
            **fields,
        }
    )


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator
        assert not emulator.refused


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Client]:
    """A client that never really pauses."""
    with connect(emulator.url, api_key=emulator.api_key, sleep=lambda seconds: None) as client:
        yield client


def make_plan(client: Client, *templates: StepTemplate, force: bool = False) -> Plan:
    found = library.read_found(client)
    histories = history.read_histories(client, library.doubtful(templates, found))
    changes = library.plan(templates, found, histories=histories, force=force)
    return sorted_plan(client.where, changes, library.warn(templates, found, histories))


def carry_out(client: Client, plan: Plan, *templates: StepTemplate) -> Applied:
    by_name = {template.name: template for template in templates}
    return apply(plan, lambda changes: publication.write(client, changes, by_name), progress=quiet)


def publish(client: Client, *templates: StepTemplate, force: bool = False) -> Applied:
    return carry_out(client, make_plan(client, *templates, force=force), *templates)


def actions(plan: Plan) -> Mapping[str, str]:
    return {change.name: change.action for change in plan.changes}


def found(client: Client, name: str = "Test - Template 1") -> dict[str, Any]:
    [document] = [item for item in client.pages("actiontemplates") if item["Name"] == name]
    return document


def edit(client: Client, script: str = "print('by people')\n", **fields: Any) -> dict[str, Any]:
    """A person saves the template in the portal."""
    document = found(client)
    properties = {**document["Properties"], SCRIPT_BODY: script}
    edited: dict[str, Any] = client.put(
        f"actiontemplates/{document['Id']}", {**document, "Properties": properties, **fields}
    )
    return edited


def reason(plan: Plan) -> str:
    [change] = plan.changes
    assert change.action == "conflict", change
    return change.reason


def test_what_is_missing_is_created_and_the_second_plan_is_empty(client: Client) -> None:
    templates = [make_template(1), make_template(2)]
    plan = make_plan(client, *templates)
    assert actions(plan) == {"Test - Template 1": "create", "Test - Template 2": "create"}
    assert carry_out(client, plan, *templates).went_well
    again = make_plan(client, *templates)
    assert actions(again) == {"Test - Template 1": "leave", "Test - Template 2": "leave"}
    assert again.writes == ()
    assert found(client)["Version"] == 0


def test_equal_content_is_never_put(client: Client) -> None:
    """Each PUT would make a version that every project is then told to update to."""
    publish(client, make_template())
    publish(client, make_template())
    assert found(client)["Version"] == 0


def test_a_change_of_the_spec_is_an_update_with_a_diff_of_real_lines(client: Client) -> None:
    publish(client, make_template())
    wanted = make_template(
        script="print('hello')\nprint('again')\n", revision=2, description="Says hello twice."
    )
    plan = make_plan(client, wanted)
    assert actions(plan) == {wanted.name: "update"}
    lines = plan.changes[0].diff
    assert "+print('again')" in lines
    assert "-description: Says hello." in lines and "+description: Says hello twice." in lines
    assert carry_out(client, plan, wanted).went_well
    document = found(client)
    assert (document["Version"], document["Properties"][MARKER_REVISION]) == (1, "2")
    assert make_plan(client, wanted).writes == ()


def test_parameter_ids_are_ours_and_stay(client: Client) -> None:
    publish(client, make_template())
    before = [parameter["Id"] for parameter in found(client)["Parameters"]]
    publish(client, make_template(script="pass\n", revision=2))
    assert [parameter["Id"] for parameter in found(client)["Parameters"]] == before
    assert before[0] == "11111111-0000-4000-8000-000000000001"


def test_a_secret_default_that_people_set_is_kept_and_is_no_edit(client: Client) -> None:
    publish(client, make_template())
    document = found(client)
    document["Parameters"][1]["DefaultValue"] = {"HasValue": True, "NewValue": make_secret()}
    client.put(f"actiontemplates/{document['Id']}", document)
    assert actions(make_plan(client, make_template())) == {"Test - Template 1": "leave"}
    plan = make_plan(client, make_template(script="pass\n", revision=2))
    assert carry_out(client, plan, make_template(script="pass\n", revision=2)).went_well
    assert found(client)["Parameters"][1]["DefaultValue"]["HasValue"] is True
    assert "CANARY-SECRET" not in repr(plan)


def test_an_edit_on_the_server_is_a_conflict_that_names_the_editor(client: Client) -> None:
    publish(client, make_template())
    edit(client)
    plan = make_plan(client, make_template(script="pass\n", revision=2))
    assert reason(plan).startswith("it was edited on the server by ")
    assert "--force overwrites it" in reason(plan)
    assert "+print('by people')" in plan.changes[0].diff
    with pytest.raises(Refusal, match="nothing was written"):
        carry_out(client, plan, make_template(script="pass\n", revision=2))
    assert found(client)["Properties"][SCRIPT_BODY] == "print('by people')\n"


def test_an_edit_on_the_server_shows_although_the_spec_has_not_changed(client: Client) -> None:
    publish(client, make_template())
    edit(client)
    assert "it was edited on the server" in reason(make_plan(client, make_template()))


def test_force_overwrites_an_edit(client: Client) -> None:
    publish(client, make_template())
    edit(client)
    assert publish(client, make_template(), force=True).went_well
    assert make_plan(client, make_template()).writes == ()
    assert found(client)["Version"] == 2


def test_an_older_checkout_does_not_downgrade(client: Client) -> None:
    publish(client, make_template(script="new\n", revision=5))
    assert "newer revision (5, this spec is 4)" in reason(make_plan(client, make_template(revision=4)))


def test_a_template_that_someone_else_made_is_not_touched(client: Client) -> None:
    body = to_api(make_template(script="theirs\n"), "Spaces-1")
    body["Properties"] = {SCRIPT_BODY: "theirs\n"}
    client.post("actiontemplates", body)
    assert "someone else made a template of this name" in reason(make_plan(client, make_template()))
    assert publish(client, make_template(), force=True).went_well
    assert make_plan(client, make_template()).writes == ()


def test_names_are_compared_as_octopus_does(client: Client) -> None:
    body = to_api(make_template(name="TEST - template 1"), "Spaces-1")
    body["Properties"] = {SCRIPT_BODY: "theirs\n"}
    client.post("actiontemplates", body)
    assert "someone else made" in reason(make_plan(client, make_template()))


def test_a_pasted_template_of_equal_content_is_left(client: Client) -> None:
    """Imported by hand from build/: it has the header's marker at most, and needs no new version."""
    body = to_api(make_template(), "Spaces-1")
    for name in [name for name in body["Properties"] if name.startswith("octosteps.")]:
        del body["Properties"][name]
    client.post("actiontemplates", body)
    assert actions(make_plan(client, make_template())) == {"Test - Template 1": "leave"}


def test_a_template_of_another_spec_is_not_taken_over(client: Client) -> None:
    publish(client, make_template(2, name="Test - Template 1", script="other\n"))
    assert f"published from another spec (id {ID}2)" in reason(make_plan(client, make_template()))


def test_two_templates_with_one_id_are_a_conflict_that_names_both(client: Client) -> None:
    publish(client, make_template())
    client.post("actiontemplates", {**to_api(make_template(), "Spaces-1"), "Name": "Copy of it"})
    told = reason(make_plan(client, make_template()))
    assert "'Test - Template 1' (ActionTemplates-" in told and "'Copy of it' (ActionTemplates-" in told


def test_a_spec_that_changed_its_name_does_not_rename(client: Client) -> None:
    publish(client, make_template())
    told = reason(make_plan(client, make_template(name="Test - Better Name"), force=True))
    assert "it is published as 'Test - Template 1'" in told and "never renamed" in told


def test_a_template_renamed_by_people_is_not_made_anew(client: Client) -> None:
    """Making it anew under the old name would succeed, and every later save of it would fail."""
    publish(client, make_template())
    edit(client, Name="Renamed")
    assert "it is published as 'Renamed'" in reason(make_plan(client, make_template()))


def test_the_name_trap_is_told_when_a_save_is_refused(client: Client) -> None:
    """Someone renamed a template and its name was used again: the first save succeeds, the second is refused by Octopus."""
    client.post("actiontemplates", {**to_api(make_template(2), "Spaces-1"), "Name": "Test - Template 1"})
    first = found(client)
    client.put(f"actiontemplates/{first['Id']}", {**first, "Name": "Old Name"})
    publish(client, make_template())
    applied = publish(client, make_template(script="second\n", revision=2))
    [fault] = applied.faults
    assert "the cause: 'Old Name' (ActionTemplates-" in fault
    assert "was called 'Test - Template 1' before" in fault
    assert applied.written == ()


def test_a_foreign_save_in_the_same_moment_is_told_with_its_version(
    client: Client, emulator: Emulator
) -> None:
    """A PUT of a template carries no version: whether somebody saved after our last look, only the answer tells."""
    publish(client, make_template())
    wanted = make_template(script="ours\n", revision=2)
    plan = make_plan(client, wanted)
    racing = Racing(path="/actiontemplates/", times=1, edit=lambda number: edit(client))
    with connect(emulator.url, api_key=emulator.api_key, http=httpx.Client(transport=racing)) as quick:
        applied = carry_out(quick, plan, wanted)
    [alarm] = applied.alarms
    assert "version 1 was saved by admin on" in alarm and "as ours, version 2, which covers it" in alarm
    assert 'save that version again in the portal, and run `octosteps pull -n "Test - Template 1"`' in alarm
    assert not applied.went_well


def test_a_server_that_moved_since_the_plan_stops_the_write(client: Client) -> None:
    publish(client, make_template())
    wanted = make_template(script="ours\n", revision=2)
    plan = make_plan(client, wanted)
    edit(client)
    [fault] = carry_out(client, plan, wanted).faults
    assert "the server has moved since the plan: 'Test - Template 1'" in fault
    assert found(client)["Properties"][SCRIPT_BODY] == "print('by people')\n"


def test_a_template_made_since_the_plan_stops_the_write(client: Client) -> None:
    plan = make_plan(client, make_template())
    client.post("actiontemplates", {**to_api(make_template(2), "Spaces-1"), "Name": "Test - Template 1"})
    [fault] = carry_out(client, plan, make_template()).faults
    assert "somebody made a template of this name meanwhile" in fault


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "truncated", "html"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_lost_answer_is_decided_by_looking(
    client: Client, emulator: Emulator, kind: Any, method: str
) -> None:
    """Whether the write was carried out or not: in the end there is one template, with one version for each write."""
    if method == "PUT":
        publish(client, make_template())
    wanted = make_template(script="ours\n", revision=2)
    plan = make_plan(client, wanted)
    fault = emulator.faults.add(path="/actiontemplates", method=method, kind=kind)
    applied = carry_out(client, plan, wanted)
    assert fault.hits == 1
    assert applied.went_well, applied
    assert found(client)["Version"] == (1 if method == "PUT" else 0)
    assert make_plan(client, wanted).writes == ()


def test_after_a_fault_the_rest_waits_and_a_second_run_goes_on(client: Client, emulator: Emulator) -> None:
    templates = [make_template(number) for number in range(1, 9)]
    emulator.faults.add(path="/actiontemplates", method="POST", status=403, count=None, after=2)
    first = publish(client, *templates)
    assert first.faults and len(first.written) == 2
    emulator.faults.rules.clear()
    second = publish(client, *templates)
    assert second.went_well and len(second.written) == 6
    assert make_plan(client, *templates).writes == ()


def test_many_templates_are_read_in_few_requests(client: Client) -> None:
    templates = [make_template(number) for number in range(1, 8)]
    publish(client, *templates)
    counting = Counting(client)
    library.read_found(counting)  # type: ignore[arg-type]
    assert counting.lists == 1


class Counting:
    def __init__(self, client: Client) -> None:
        self.client, self.lists = client, 0

    def pages(self, path: str, **query: Any) -> Any:
        self.lists += 1
        return self.client.pages(path, **query)


def test_a_plan_is_the_same_whatever_the_order_and_its_checksum_tells_targets_apart(client: Client) -> None:
    templates = [make_template(number) for number in (3, 1, 2)]
    one, other = make_plan(client, *templates), make_plan(client, *reversed(templates))
    assert one == other and one.checksum == other.checksum
    assert replace(one, target="elsewhere").checksum != one.checksum
    publish(client, templates[0])
    assert make_plan(client, *templates).checksum != one.checksum


def test_a_broken_digest_is_what_makes_an_edit(client: Client) -> None:
    """The marker travels with the content: a person who edits the script leaves the digest behind."""
    publish(client, make_template())
    digest = found(client)["Properties"][MARKER_DIGEST]
    edit(client)
    assert found(client)["Properties"][MARKER_DIGEST] == digest
    [template] = library.read_found(client)
    assert template.marker is not None and not template.is_intact


def test_a_community_template_is_nobodys_to_update(client: Client, emulator: Emulator) -> None:
    """Octopus refuses the save of an installed template ("Only custom templates can be directly updated"), --force or not."""
    theirs = make_template(script="theirs\n")
    body = {**to_api(theirs, "Spaces-1"), "Id": "CommunityActionTemplates-9"}
    body["Properties"] = {SCRIPT_BODY: "theirs\n"}
    made = client.post("actiontemplates", body)
    emulator.state.collection("ActionTemplates")[made["Id"]]["CommunityActionTemplateId"] = body["Id"]
    plan = make_plan(client, make_template(), force=True)
    assert reason(plan) == "it comes from the community library, which Octopus lets nobody update"


def test_every_parameter_has_a_control_type_and_one_without_is_read_as_text(client: Client) -> None:
    """A template whose parameter lacks it breaks the import (OctopusDeploy/Issues 6739); such ones are in libraries."""
    publish(client, make_template())
    document = found(client)
    assert [one["DisplaySettings"]["Octopus.ControlType"] for one in document["Parameters"]] == [
        "SingleLineText",
        "Sensitive",
    ]
    document["Parameters"][0]["DisplaySettings"] = {}
    client.put(f"actiontemplates/{document['Id']}", document)
    assert actions(make_plan(client, make_template())) == {"Test - Template 1": "leave"}


def test_a_template_of_another_kind_is_not_changed_into_ours(client: Client) -> None:
    body = {**to_api(make_template(), "Spaces-1"), "ActionType": "Octopus.TentaclePackage"}
    client.post("actiontemplates", body)
    assert "it is of the type Octopus.TentaclePackage, which Octopus never changes" in reason(
        make_plan(client, make_template(), force=True)
    )


def test_what_projects_will_meet_is_told_before_it_is_published(client: Client) -> None:
    """Where an update of steps will not go through by itself."""
    publish(client, make_template())
    one, key = make_template().parameters
    wanted = make_template(
        revision=2,
        parameters=(
            replace(one, control_type="MultiLineText"),
            key,
            TemplateParameter(id="11111111-0000-4000-8000-000000000003", name="T.New", label="New"),
        ),
    )
    first, second = make_plan(client, wanted).warnings
    assert "T.Project changes from SingleLineText to MultiLineText" in first and "merged by hand" in first
    assert "the new T.New has no default" in second


def test_packages_and_multi_line_texts_are_compared_line_by_line(client: Client) -> None:
    """A reviewer sees lines, never escaped JSON."""
    package = {"Name": "Tool", "PackageId": "tool", "Properties": {"Extract": "True", "Purpose": ""}}
    publish(client, make_template())
    wanted = make_template(revision=2, description='One.\nTwo "quoted".', packages=(package,))
    lines = make_plan(client, wanted).changes[0].diff
    assert {
        "+description:",
        '+  Two "quoted".',
        "+package Tool",
        "+  PackageId: tool",
        "+    Extract: True",
    } <= set(lines)
    assert not [line for line in lines if "\\n" in line or '\\"' in line]


def test_a_secrets_default_shows_in_no_diff(client: Client) -> None:
    """Not even one that stands there as text, in a template that people imported."""
    canary = make_secret()
    body = to_api(make_template(2, name="Test - Template 1"), "Spaces-1")
    body["Properties"] = {SCRIPT_BODY: "theirs\n"}
    body["Parameters"][1]["DefaultValue"] = canary
    client.post("actiontemplates", body)
    plan = make_plan(client, make_template(parameters=()), force=True)
    assert "-parameter T.Key (Sensitive)" in plan.changes[0].diff
    assert canary not in repr(plan)
