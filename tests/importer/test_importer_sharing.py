"""What several files, and everything else that names a step, have to do with each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, plan
from generator.references import broken_references
from generator.runtime.lock_state import LOCK_SET_NAME
from tests.importer.shop import VERIFY, Document, Shop, step
from tests.scene import Scene, open_scene, own_step


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield scene


@pytest.fixture
def shop(server: Scene, tmp_path: Path) -> Shop:
    return Shop(server, f"Shop {len(server.projects)}", tmp_path)


# --- two files -------------------------------------------------------------------------------------------------------------


def test_prune_removes_no_step_of_another_file(shop: Shop) -> None:
    shop.head = "name: one\n"
    shop.apply(step("a", "after: Announce", name="A"))
    shop.head = "name: two\n"
    shop.apply(step("b", "after: Announce", name="B"), prune=True)
    assert shop.names == ["Announce", "A", "B", "Smoke test"] or shop.names == [
        "Announce",
        "B",
        "A",
        "Smoke test",
    ]
    assert shop.plan(step("b", "after: Announce", name="B")) == {"A": "leave", "B": "leave"}
    [told] = [item for item in shop.changes(prune=True) if item["name"].endswith(": A")]
    assert told["reason"] == "--prune leaves it: it belongs to the file 'one'"
    shop.apply(prune=True)
    assert shop.names == ["Announce", "A", "Smoke test"]


def test_a_key_belongs_to_one_file_until_force_hands_it_over(shop: Shop) -> None:
    shop.head = "name: one\n"
    shop.apply(step("a", name="A"))
    shop.head = "name: two\n"
    [change] = shop.changes(step("a", name="A"))
    assert change["action"] == "conflict"
    assert (
        "its key belongs to the file 'one': choose another key, unless that file is renamed"
        in change["reason"]
    )
    shop.apply(step("a", name="A"), force=True)
    assert shop.properties("A")["octosteps.file"] == "two"
    assert shop.plan(step("a", name="A")) == {"A": "leave"}


def test_a_step_that_names_no_file_is_anybodys(shop: Shop) -> None:
    shop.apply(step("a", name="A"), step("b", name="B"))
    shop.edit(lambda steps: [item["Actions"][0]["Properties"].pop("octosteps.file", None) for item in steps])
    assert shop.plan(step("a", name="A"), prune=True) == {"A": "update", "B": "remove"}


# --- references --------------------------------------------------------------------------------------------------------------


def test_references_to_renamed_and_removed_steps_are_told_before(shop: Shop) -> None:
    shop.apply(step("a", name="A [x]"), step("b", name="B"))
    script = "Octopus.Action.Script.ScriptBody"

    def refer(steps: list[Document]) -> None:
        announce, smoke = steps[0], steps[1]
        announce["Actions"][0]["Properties"][script] = (
            "echo $OctopusParameters['octopus.action[a [x]].Output.State']"
        )
        smoke["Properties"]["Octopus.Step.ConditionVariableExpression"] = "#{Octopus.Step[B].Status.Code}"

    shop.edit(refer)
    with shop.scene.by_hand() as client:
        identity = shop.step("B")["Actions"][0]["Id"]
        project = shop.scene.projects[shop.name]
        shop.scene.set_variables(
            project["VariableSetId"],
            [
                {"Name": "Found", "Value": "#{Octopus.Action[B].Output.State}"},
                {"Name": "Narrow", "Value": "x", "Scope": {"Action": [identity]}},
                {"Name": "Other", "Value": "#{Octopus.Action[BB].Output.State}"},
            ],
        )
        assert client.get(f"variables/{project['VariableSetId']}")["Version"] == 1
    assert shop.warnings(step("a", name="A [x]"), step("b", name="B")) == []
    assert shop.warnings(step("a", name="A2"), prune=True) == [
        f"{shop.name}: step 'Announce' refers to octopus.action[a [x]]: that step is renamed to 'A2'",
        f"{shop.name}: step 'Smoke test' refers to Octopus.Step[B]: that step is removed",
        f"{shop.name}: variable 'Found' refers to Octopus.Action[B]: that step is removed",
        f"{shop.name}: variable 'Narrow' is scoped to the step 'B', which is removed",
    ]


def test_a_name_that_only_changes_its_case_breaks_nothing() -> None:
    before: Any = [{"Name": "Ab", "Actions": [{"Id": "1", "Name": "Ab"}]}]
    after: Any = [
        {
            "Name": "AB",
            "Actions": [{"Id": "1", "Name": "AB", "Properties": {"x": ["#{Octopus.Action[Ab].Id}"]}}],
        }
    ]
    assert list(broken_references(before, after, None, {})) == []


# --- the set for locks --------------------------------------------------------------------------------------------------------


def test_the_set_for_locks_is_made_once_and_never_touched_again(tmp_path: Path) -> None:
    acquire = "key: l; template: Octopus - Acquire Lock; name: Lock; with: {lock: db, api_key: '#{Coordination.ApiKey}'}"
    with open_scene() as scene:
        scene.publish("Octopus - Acquire Lock")
        shop = Shop(scene, "Shop", tmp_path)

        def sets() -> list[Document]:
            with scene.by_hand() as client:
                return [item for item in client.pages("libraryvariablesets") if item["Name"] == LOCK_SET_NAME]

        [change, _] = shop.changes(acquire)
        assert (change["action"], change["kind"], change["name"]) == (
            "create",
            "library variable set",
            LOCK_SET_NAME,
        )
        assert sets() == []
        shop.apply(acquire)
        [made] = sets()
        variables = scene.client.get(f"variables/{made['VariableSetId']}")
        assert shop.plan(acquire) == {"Lock": "leave"}
        shop.apply(acquire, force=True, prune=True)
        assert scene.client.get(f"variables/{made['VariableSetId']}") == variables
        shop.apply(prune=True)
        assert sets() == [made]


def test_publishing_a_lock_template_makes_the_set_and_no_other_does(tmp_path: Path) -> None:
    with open_scene() as scene:
        options: Any = {"root": tmp_path, "environ": scene.environ}

        def names() -> set[str]:
            with scene.by_hand() as client:
                return {item["Name"] for item in client.pages("libraryvariablesets")}

        assert apply.run(names=[VERIFY], **options).exit_code == 0
        assert LOCK_SET_NAME not in names()
        assert apply.run(names=["Octopus - Acquire Lock"], **options).exit_code == 0
        assert LOCK_SET_NAME in names()
        again = plan.run(names=["Octopus - Acquire Lock"], exit_code=True, **options)
        assert again.exit_code == 0


def test_a_set_that_cannot_be_seen_is_a_warning(shop: Shop) -> None:
    rights = {"SpaceView", "ActionTemplateView", "ActionTemplateCreate"}
    environ = {**shop.scene.environ, "OCTOPUS_API_KEY": shop.scene.emulator.add_key(permissions=rights)}
    outcome = plan.run(root=shop.folder, names=["Octopus - Acquire Lock"], environ=environ)
    assert "whether the space has the set for locks cannot be seen" in str(outcome.data)


def test_locks_in_another_space_are_told(shop: Shop) -> None:
    shop.scene.publish("Octopus - Acquire Lock")
    acquire = (
        "key: l; template: Octopus - Acquire Lock; name: Lock; "
        "with: {lock: db, space: Ops, api_key: '#{Coordination.ApiKey}'}"
    )
    assert shop.plan(acquire) == {"Lock": "create"}
    [told] = shop.warnings(acquire)
    assert told == (
        f"{shop.name}: Lock: its locks are kept in space 'Ops', which needs the set for them: "
        "octosteps apply -s 'Ops' -n 'Octopus - Acquire Lock'"
    )


# --- permissions ---------------------------------------------------------------------------------------------------------------


def test_missing_rights_are_named_before_anything_is_written(shop: Shop) -> None:
    """A process and a variable are to be written; the account may write the process only."""
    shop.entry = "    concurrency_tag: one\n"
    rights = {
        "SpaceView", "ProjectView", "ProcessView", "ProcessEdit", "ActionTemplateView", "VariableView",
        "LibraryVariableSetView",
    }  # fmt: skip
    before = shop.process
    environ = {**shop.scene.environ, "OCTOPUS_API_KEY": shop.scene.emulator.add_key(permissions=rights)}
    outcome = apply.run(root=shop.folder, files=[shop.file(step("db"))], environ=environ)
    assert outcome.exit_code == 1
    assert any("VariableEdit" in str(part) for part in outcome.parts)
    assert shop.process == before
    planned = plan.run(root=shop.folder, files=[shop.file(step("db"))], environ=environ)
    assert any("VariableEdit" in str(part) for part in planned.parts)


def test_the_step_goes_where_the_file_says_worker_container_and_tags_included(shop: Shop) -> None:
    client = shop.scene.client
    with shop.scene.by_hand():
        feed = client.post("feeds", {"Name": "Hub", "FeedType": "Docker", "FeedUri": "https://hub.test"})
        client.post("tagsets", {"Name": "Ring", "Tags": [{"Name": "One", "Color": "#333333"}]})
    shop.apply(
        step(
            "db",
            "worker_pool: '#{Shop.Pool}'",
            "container: {image: 'py:3', feed: hub}",
            "tenant_tags: [Ring/One]",
            "excluded_environments: [production]",
            "condition: always",
        )
    )
    item = shop.step("Verify Database")
    [action] = item["Actions"]
    assert item["Condition"] == "Always"
    assert (action["WorkerPoolId"], action["WorkerPoolVariable"]) == (None, "Shop.Pool")
    assert (action["Container"]["Image"], action["Container"]["FeedId"]) == ("py:3", feed["Id"])
    assert action["TenantTags"] == ["Ring/One"]
    assert action["ExcludedEnvironments"] == [shop.scene.environments["Production"]]
    shop.apply(step("db", "worker_pool: '#{Shop.Pool}'"))
    [action] = shop.step("Verify Database")["Actions"]
    assert (action["Container"]["Image"], action["TenantTags"], action["ExcludedEnvironments"]) == (
        None,
        [],
        [],
    )
    assert shop.step("Verify Database")["Condition"] == "Success"


def test_a_group_keeps_its_steps_whatever_prune_takes(shop: Shop) -> None:
    head, beside = (
        step("head", "after: Announce", name="Head"),
        step("side", "after: Head", "parallel: true", name="Side"),
    )
    shop.apply(head, beside)
    shop.edit(lambda steps: steps.insert(3, own_step("Theirs", StartTrigger="StartWithPrevious")))
    assert shop.names == ["Announce", "Head", "Side", "Theirs", "Smoke test"]
    shop.apply(beside, prune=True)
    assert shop.names == ["Announce", "Side", "Theirs", "Smoke test"]
    assert [item["StartTrigger"] for item in shop.steps[1:3]] == ["StartAfterPrevious", "StartWithPrevious"]
    [change] = shop.changes(prune=True)
    assert (change["action"], change["reason"]) == (
        "conflict",
        "it heads a parallel group, and 'Theirs' behind it would join the step in front",
    )
