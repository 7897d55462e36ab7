"""`concurrency_tag:` becomes a variable of the project, told apart from those of people, and never written over theirs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generator.commands import apply, plan
from generator.concurrency_tag import NAME, ReadyTag, outline
from generator.errors import Problems
from tests.importer.shop import VERIFY, Document, Shop, step
from tests.racing import Racing
from tests.scene import Scene, open_scene


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield scene


class TaggedShop(Shop):
    @property
    def set_id(self) -> str:
        return str(self.scene.projects[self.name]["VariableSetId"])

    @property
    def variables(self) -> list[Document]:
        with self.scene.by_hand() as client:
            return list(client.get(f"variables/{self.set_id}")["Variables"])

    @property
    def tags(self) -> list[str]:
        return [item["Value"] for item in self.variables if item["Name"] == NAME]

    def put(self, *variables: Document) -> None:
        with self.scene.by_hand():
            self.scene.set_variables(self.set_id, [*self.variables, *variables])

    def tag(self, value: str | None) -> None:
        self.entry = f"    concurrency_tag: '{value}'\n" if value else ""


@pytest.fixture
def shop(server: Scene, tmp_path: Path) -> TaggedShop:
    return TaggedShop(server, f"Tagged {len(server.projects)}", tmp_path)


def test_a_tag_is_made_changed_and_removed_and_everything_else_stays(shop: TaggedShop) -> None:
    shop.put(
        {"Name": "Theirs", "Value": "x", "Scope": {"Environment": [shop.scene.environments["Test"]]}},
        {"Name": "Secret", "Value": "hidden", "Type": "Sensitive", "IsSensitive": True},
    )
    theirs = shop.variables
    shop.tag("shop-database")
    [change] = shop.changes()
    assert (change["action"], change["kind"], change["name"]) == (
        "create",
        "variable",
        f"{shop.name}: {NAME}",
    )
    assert shop.tags == []
    outcome = shop.apply()
    assert outcome.parts[-1] == (
        "A concurrency tag takes effect with the project's next release, and its runbooks' next published snapshots."
    )
    assert shop.tags == ["shop-database"]
    assert shop.variables[:2] == theirs
    assert shop.plan() == {NAME: "leave"}
    shop.tag("shop-#{Octopus.Environment.Id}")
    [change] = shop.changes()
    assert f"-{NAME}: shop-database" in change["diff"]
    shop.apply()
    assert shop.tags == ["shop-#{Octopus.Environment.Id}"]
    shop.tag(None)
    [left] = shop.changes()
    assert (left["action"], left["reason"]) == (
        "leave",
        "the file does not name it any more: --prune removes it",
    )
    shop.apply(prune=True)
    assert shop.variables == theirs
    stored = shop.scene.emulator.state.get("Variables", shop.set_id)["Variables"]
    assert [item["Value"].value for item in stored if item["Name"] == "Secret"] == ["hidden"]


def test_a_tag_that_people_made_is_never_overwritten(shop: TaggedShop) -> None:
    shop.put({"Name": NAME.lower(), "Value": "theirs"})
    before = shop.variables
    shop.tag("ours")
    for options in ({}, {"force": True, "prune": True}):
        [change] = shop.changes(**options)
        assert (change["action"], change["reason"]) == (
            "conflict",
            "people made it ('theirs'), and it is never overwritten: remove it, or concurrency_tag from the file",
        )
        assert shop.run(apply.run, **options).exit_code == 1
    assert shop.variables == before
    shop.tag("theirs")
    assert shop.plan() == {NAME: "leave"}
    shop.tag(None)
    assert shop.plan(prune=True) == {}


def edit_tag(shop: TaggedShop, **fields: Any) -> None:
    variables = shop.variables
    next(item for item in variables if item["Name"] == NAME).update(fields)
    with shop.scene.by_hand():
        shop.scene.set_variables(shop.set_id, variables)


@pytest.mark.parametrize("edit", ["Value", "Scope"])
def test_what_people_changed_is_kept_and_a_change_by_both_is_a_conflict(shop: TaggedShop, edit: str) -> None:
    shop.tag("one")
    shop.apply()
    edited = "two" if edit == "Value" else {"Environment": [shop.scene.environments["Test"]]}
    edit_tag(shop, **{edit: edited})
    [change] = shop.changes()
    assert (change["action"], change["reason"]) == ("leave", "people changed, and keep, its value")
    shop.tag("three")
    [change] = shop.changes()
    assert change["action"] == "conflict" and "changed in the file and by people" in change["reason"]
    shop.apply(force=True)
    [variable] = [item for item in shop.variables if item["Name"] == NAME]
    assert (variable["Value"], variable["Scope"]) == ("three", {})


def test_a_clones_tag_is_not_ours(shop: TaggedShop, tmp_path: Path) -> None:
    shop.tag("one")
    shop.apply()
    clone = TaggedShop(shop.scene, f"Clone of {shop.name}", tmp_path)
    clone.put(*[{**item, "Id": None} for item in copy.deepcopy(shop.variables)])
    clone.tag("two")
    [change] = clone.changes()
    assert (change["action"], change["reason"]) == (
        "conflict",
        "it came with a clone of another project ('one'): remove it, and the file makes the project's own",
    )


def test_prune_leaves_the_tag_of_another_file(shop: TaggedShop) -> None:
    shop.head = "name: one\n"
    shop.tag("tag")
    shop.apply()
    shop.head = "name: two\n"
    shop.tag(None)
    assert shop.plan(prune=True) == {}
    shop.tag("other")
    assert shop.plan() == {NAME: "conflict"}


def test_edits_of_the_variables_meanwhile_are_not_lost(shop: TaggedShop) -> None:
    def edit(count: int) -> None:
        shop.put({"Name": f"By people {count}", "Value": "x"})

    shop.tag("one")
    racing = Racing(path="/variables/", times=2, edit=edit)
    outcome = shop.run(apply.run, http=httpx.Client(transport=racing))
    assert (outcome.exit_code, racing.done) == (0, 2)
    assert {item["Name"] for item in shop.variables} == {NAME, "By people 1", "By people 2"}


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "html", "truncated"])
def test_a_lost_answer_is_decided_by_reading(shop: TaggedShop, kind: Any) -> None:
    fault = shop.scene.emulator.faults.add(path="/variables/", method="PUT", kind=kind)
    shop.tag("one")
    shop.apply()
    assert (fault.hits, shop.tags) == (1, ["one"])


def test_a_tag_made_by_people_after_the_plan_stops_the_write(shop: TaggedShop) -> None:
    shop.tag("ours")

    def be_faster(question: str) -> bool:
        shop.put({"Name": NAME, "Value": "theirs"})
        return True

    outcome = shop.run(apply.run, confirm=be_faster)
    assert outcome.exit_code == 1
    assert any("the server has moved since the plan" in str(part) for part in outcome.parts)
    assert shop.tags == ["theirs"]


def test_tasks_with_one_tag_run_one_at_a_time(server: Scene, tmp_path: Path) -> None:
    """Two projects, one tag: what the variable is for."""
    from tests.scene import own_step

    shops = [TaggedShop(server, name, tmp_path) for name in ("Left", "Right")]
    for shop in shops:
        with server.by_hand():
            server.put_steps(shop.name, [own_step("Work", seconds=30)])
        shop.tag("both")
        shop.apply()
        with server.by_hand():
            server.make_release(shop.name, "1.0")
    with server.by_hand():
        first, second = (server.deploy(shop.name, "1.0")["TaskId"] for shop in shops)
        server.wait_until(lambda: server.task(first)["State"] == "Executing", "the first runs")
        assert server.task(second)["State"] == "Queued"
        for task in (first, second):
            server.client.post(f"tasks/{task}/cancel")
            server.wait(task)


def test_variables_in_git_are_told(shop: TaggedShop) -> None:
    project = shop.scene.emulator.state.get("Projects", shop.scene.projects[shop.name]["Id"])
    project["PersistenceSettings"] = {"ConversionState": {"VariablesAreInGit": True}}
    shop.tag("one")
    with pytest.raises(
        Problems, match=r"coordination\.yaml:4:22: the variables of project '.*' are in Git \(add"
    ):
        shop.run(plan.run)


def test_a_variable_that_the_tag_refers_to_must_exist(shop: TaggedShop) -> None:
    shop.tag("#{Nobody.Knows}")
    told = (
        f"{shop.name}: no variable set of the project has 'Nobody.Knows', which its concurrency tag refers to"
    )
    assert shop.warnings(step("db")) == [told]


def test_two_of_ours_are_a_conflict() -> None:
    ready = ReadyTag(project="Shop", owner="Projects-1", file="c", path="variables/v", value="one")
    twice = [{"Name": NAME, "Value": "one", "Description": ready.describe("one")}] * 2
    [change] = outline(ready, {"Version": 1, "Variables": twice}, force=True, prune=False).changes
    assert (change.action, change.reason) == (
        "conflict",
        "it is there more than once, with our mark: remove all but one",
    )
