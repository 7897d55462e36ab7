"""Importing steps into the processes of an emulated server, through the commands, while people edit the same processes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generator.commands import apply, plan
from generator.errors import Problems, Refusal
from tests.importer.shop import DEPLOY, VERIFY, Document, Shop, step
from tests.racing import Racing
from tests.scene import Scene, open_scene, own_step


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    """A server whose library has our templates."""
    with open_scene() as scene:
        scene.publish(VERIFY)
        scene.publish(DEPLOY)
        yield scene


@pytest.fixture
def shop(server: Scene, tmp_path: Path, request: pytest.FixtureRequest) -> Shop:
    return Shop(server, f"Shop {len(server.projects)}", tmp_path)


def test_a_step_is_put_in_and_everything_else_stays_as_it_was(shop: Shop) -> None:
    before = shop.process
    assert shop.plan(step("db", "after: Announce")) == {"Verify Database": "create"}
    assert shop.process == before
    outcome = shop.apply(step("db", "after: Announce"))
    assert "A change of steps takes effect with the project's next release." in outcome.parts
    after = shop.process
    assert [item["Name"] for item in after["Steps"]] == ["Announce", "Verify Database", "Smoke test"]
    theirs = [item for item in after["Steps"] if item["Name"] != "Verify Database"]
    assert theirs == before["Steps"]
    assert {**after, "Steps": [], "Version": 0} == {**before, "Steps": [], "Version": 0}
    assert shop.plan(step("db", "after: Announce")) == {"Verify Database": "leave"}


def test_the_step_holds_the_templates_copy_and_every_value(shop: Shop) -> None:
    shop.apply(step("db"))
    template = shop.scene.templates[VERIFY]
    properties = shop.properties("Verify Database")
    assert properties["Octopus.Action.Template.Id"] == template["Id"]
    assert properties["Octopus.Action.Template.Version"] == "0"
    assert {name: properties[name] for name in template["Properties"]} == template["Properties"]
    assert properties["VerifyDeployment.Project"] == "Database"
    assert properties["VerifyDeployment.ApiKey"] == "#{Coordination.ApiKey}"
    assert properties["VerifyDeployment.Server"] == "#{Octopus.Web.ServerUri}"
    assert shop.step("Verify Database")["Actions"][0]["ActionType"] == "Octopus.Script"


def test_nothing_is_written_when_nothing_differs(shop: Shop) -> None:
    shop.apply(step("db"))
    version = shop.process["Version"]
    shop.apply(step("db"))
    assert shop.process["Version"] == version


def test_every_setting_reaches_octopus(shop: Shop) -> None:
    pool = next(iter(shop.scene.client.pages("workerpools")))
    shop.apply(
        step(
            "db",
            "condition: {variable: '#{Go}'}",
            "environments: [Test, production]",
            "channels: [Default]",
            f"worker_pool: {pool['Name']}",
            "retries: 2",
            "time_limit: 1h30m",
        )
    )
    item = shop.step("Verify Database")
    [action] = item["Actions"]
    assert (item["Condition"], item["Properties"]["Octopus.Step.ConditionVariableExpression"]) == (
        "Variable",
        "#{Go}",
    )
    assert set(action["Environments"]) == set(shop.scene.environments.values())
    assert len(action["Channels"]) == 1 and action["WorkerPoolId"] == pool["Id"]
    assert action["Properties"]["Octopus.Action.AutoRetry.MaximumCount"] == "2"
    assert action["Properties"]["Octopus.Action.ExecutionTimeout.Minutes"] == "90"


def test_parallel_steps_and_their_places(shop: Shop) -> None:
    shop.apply(
        step("first", "before: Announce", name="First"),
        step("web", "after: Announce", name="Web"),
        step("search", "after: Web", "parallel: true", name="Search"),
        step("last", "after: web", name="Last"),
    )
    assert shop.names == ["First", "Announce", "Web", "Search", "Last", "Smoke test"]
    assert [item["StartTrigger"] == "StartWithPrevious" for item in shop.steps] == [
        False,
        False,
        False,
        True,
        False,
        False,
    ]


def test_steps_without_a_place_follow_each_other_at_the_end(shop: Shop) -> None:
    shop.apply(step("a", name="A"), step("b", name="B"))
    assert shop.names == ["Announce", "Smoke test", "A", "B"]


def test_siblings_stand_in_the_order_of_the_file_whenever_each_was_added(shop: Shop) -> None:
    one, two, three = (step(key, "after: Announce", name=key.upper()) for key in ("one", "two", "three"))
    shop.apply(two)
    shop.apply(one, two, three)
    assert shop.names == ["Announce", "ONE", "TWO", "THREE", "Smoke test"]


def test_a_changed_value_is_updated_with_a_diff(shop: Shop) -> None:
    shop.apply(step("db"))
    identity = shop.step("Verify Database")["Actions"][0]["Id"]
    [change] = shop.changes(step("db", version="[2.0,3.0)"))
    assert change["action"] == "update"
    assert "-VerifyDeployment.Version: same" in change["diff"]
    assert "+VerifyDeployment.Version: [2.0,3.0)" in change["diff"]
    shop.apply(step("db", version="[2.0,3.0)"))
    assert shop.properties("Verify Database")["VerifyDeployment.Version"] == "[2.0,3.0)"
    assert shop.step("Verify Database")["Actions"][0]["Id"] == identity


def test_a_step_that_people_renamed_and_moved_is_found_again(shop: Shop) -> None:
    shop.apply(step("db", "after: Announce"))

    def rename_and_move(steps: list[Document]) -> None:
        [ours] = [item for item in steps if item["Name"] == "Verify Database"]
        ours["Name"] = ours["Actions"][0]["Name"] = "Is the database there"
        steps.remove(ours)
        steps.append(ours)

    shop.edit(rename_and_move)
    assert shop.plan(step("db", "after: Announce")) == {"Is the database there": "leave"}
    shop.apply(step("db", "after: Announce", version="[2.0,3.0)"))
    assert shop.names == ["Announce", "Smoke test", "Is the database there"]
    assert shop.properties("Is the database there")["VerifyDeployment.Version"] == "[2.0,3.0)"


def test_a_new_place_in_the_file_moves_the_step(shop: Shop) -> None:
    shop.apply(step("db", "after: Announce"))
    [change] = shop.changes(step("db", "before: Announce"))
    assert (change["action"], change["reason"]) == ("update", "moves: as the first step")
    shop.apply(step("db", "before: Announce", version="[2.0,3.0)"))
    assert shop.names == ["Verify Database", "Announce", "Smoke test"]
    assert shop.plan(step("db", "before: Announce", version="[2.0,3.0)")) == {"Verify Database": "leave"}


def test_people_move_a_step_away_from_a_place_that_it_had_already(shop: Shop) -> None:
    """The file tells the same place in other words; that is remembered, so that it does not pull the step back later."""
    shop.apply(step("db", "after: Announce"))
    [change] = shop.changes(step("db", "before: Smoke test"))
    assert (change["action"], change["reason"]) == (
        "update",
        "stands where the file wants it now: after 'Announce'",
    )
    shop.apply(step("db", "before: Smoke test"))
    shop.edit(lambda steps: steps.append(steps.pop(1)))
    assert shop.names == ["Announce", "Smoke test", "Verify Database"]
    assert shop.plan(step("db", "before: Smoke test")) == {"Verify Database": "leave"}


def test_a_step_takes_along_what_stands_by_it(shop: Shop) -> None:
    side, after = (
        step("side", "after: head", "parallel: true", name="Side"),
        step("after", "after: head", name="After"),
    )
    shop.apply(step("head", "after: Announce", name="Head"), side, after)
    assert shop.names == ["Announce", "Head", "Side", "After", "Smoke test"]
    shop.apply(step("head", "after: Smoke test", name="Head"), side, after)
    assert shop.names == ["Announce", "Smoke test", "Head", "Side", "After"]
    assert [item["StartTrigger"] == "StartWithPrevious" for item in shop.steps] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert set(shop.plan(step("head", "after: Smoke test", name="Head"), side, after).values()) == {"leave"}


def test_what_people_have_moved_away_does_not_follow(shop: Shop) -> None:
    after = step("after", "after: head", name="After")
    shop.apply(step("head", "after: Announce", name="Head"), after)
    shop.edit(lambda steps: steps.insert(0, steps.pop(2)))
    assert shop.names == ["After", "Announce", "Head", "Smoke test"]
    shop.apply(step("head", "after: Smoke test", name="Head"), after)
    assert shop.names == ["After", "Announce", "Smoke test", "Head"]


def test_an_anchor_that_is_removed_meanwhile_stops_the_write(shop: Shop) -> None:
    def remove(question: str) -> bool:
        shop.edit(lambda steps: steps.pop(0))
        return True

    outcome = shop.run(apply.run, step("db", "after: Announce"), confirm=remove)
    assert outcome.exit_code == 1
    assert any("the server has moved since the plan" in str(part) for part in outcome.parts)
    assert shop.names == ["Smoke test"]


def test_what_people_changed_in_our_step_is_kept(shop: Shop) -> None:
    shop.apply(step("db"))
    shop.edit_step(
        "Verify Database",
        lambda item: item["Actions"][0].update(Environments=[shop.scene.environments["Test"]]),
    )
    [change] = shop.changes(step("db", version="[2.0,3.0)"))
    assert change["reason"] == "people changed, and keep, environments"
    shop.apply(step("db", version="[2.0,3.0)"))
    assert shop.step("Verify Database")["Actions"][0]["Environments"] == [shop.scene.environments["Test"]]


def test_a_secret_that_people_typed_in_is_kept_and_never_shown(shop: Shop) -> None:
    shop.apply(step("db"))
    canary = "API-CANARY123"
    shop.edit_step(
        "Verify Database",
        lambda item: item["Actions"][0]["Properties"].update(
            {"VerifyDeployment.ApiKey": {"HasValue": True, "NewValue": canary}}
        ),
    )
    outcome = shop.apply(step("db", version="[2.0,3.0)"))
    assert canary not in repr(outcome)
    assert shop.properties("Verify Database")["VerifyDeployment.ApiKey"]["HasValue"] is True
    stored = shop.scene.emulator.state.get("DeploymentProcesses", shop.process["Id"])
    [kept] = [
        action["Properties"]["VerifyDeployment.ApiKey"].value
        for item in stored["Steps"]
        for action in item["Actions"]
        if "VerifyDeployment.ApiKey" in action["Properties"]
    ]
    assert kept == canary


def test_what_both_changed_is_a_conflict_and_nothing_is_written(shop: Shop) -> None:
    shop.apply(step("db"))
    shop.edit_step(
        "Verify Database",
        lambda item: item["Actions"][0]["Properties"].update({"VerifyDeployment.Version": "9.9"}),
    )
    before = shop.process
    wanted = (step("db", version="[2.0,3.0)"), step("new", name="New"))
    [conflict, create] = shop.changes(*wanted)
    assert (
        conflict["reason"]
        == "VerifyDeployment.Version was changed in the file and by people; --force takes the file's"
    )
    assert create["action"] == "create"
    outcome = shop.run(apply.run, *wanted)
    assert outcome.exit_code == 1
    assert shop.process == before
    shop.apply(*wanted, force=True)
    assert shop.properties("Verify Database")["VerifyDeployment.Version"] == "[2.0,3.0)"


def test_a_step_of_the_same_name_that_is_not_ours_is_a_conflict(shop: Shop) -> None:
    [change] = shop.changes(step("db", name="smoke TEST"))
    assert change["action"] == "conflict"
    assert "a step of this name is there already, and it is not ours" in change["reason"]


def test_a_step_that_people_copied_is_a_conflict_that_names_both(shop: Shop) -> None:
    shop.apply(step("db"))

    def clone(steps: list[Document]) -> None:
        other = copy.deepcopy(next(item for item in steps if item["Name"] == "Verify Database"))
        other["Name"] = other["Actions"][0]["Name"] = "Verify Database (2)"
        for item in (other, other["Actions"][0]):
            del item["Id"], item["Slug"]
        steps.append(other)

    shop.edit(clone)
    [change] = shop.changes(step("db"))
    assert change["action"] == "conflict"
    assert "'Verify Database' and 'Verify Database (2)' both carry the key 'db'" in change["reason"]


def test_the_steps_of_a_cloned_project_are_not_ours(shop: Shop, server: Scene, tmp_path: Path) -> None:
    shop.apply(step("db"))
    name = f"Clone of {shop.name}"
    clone = Shop(server, name, tmp_path)
    with server.by_hand() as client:
        donor = server.projects[shop.name]
        client.delete(f"projects/{server.projects[name]['Id']}")
        body = {"Name": name, "ProjectGroupId": donor["ProjectGroupId"], "LifecycleId": donor["LifecycleId"]}
        server.projects[name] = client.post("projects", body, clone=donor["Id"])
    before = clone.process
    assert clone.names == ["Announce", "Smoke test", "Verify Database"]
    assert clone.plan(step("db", name="Another")) == {"Another": "create"}
    [change] = clone.changes(step("db"), force=True, prune=True)
    assert (change["action"], change["reason"]) == (
        "conflict",
        "a step of this name is there already, and it is not ours: choose another name, "
        "or remove that one: it came with a clone of another project",
    )
    assert clone.process == before


def test_a_newer_template_is_copied_into_the_steps(shop: Shop) -> None:
    client = shop.scene.client
    shop.apply(step("db"))
    template = client.get(f"actiontemplates/{shop.scene.templates[VERIFY]['Id']}")
    body = "Octopus.Action.Script.ScriptBody"
    edited = {
        **template,
        "Properties": {**template["Properties"], body: template["Properties"][body] + "# more\n"},
    }
    try:
        newer = client.put(f"actiontemplates/{template['Id']}", edited)
        [change] = shop.changes(step("db"))
        assert change["action"] == "update" and "+# more" in change["diff"]
        shop.apply(step("db"))
        properties = shop.properties("Verify Database")
        assert properties["Octopus.Action.Template.Version"] == str(newer["Version"])
        assert properties[body].endswith("# more\n")
        assert shop.plan(step("db")) == {"Verify Database": "leave"}
    finally:
        client.put(f"actiontemplates/{template['Id']}", template)


def test_prune_removes_only_what_was_ours(shop: Shop) -> None:
    shop.apply(step("db"), step("web", name="Web"))
    [left, told] = shop.changes(step("db"))
    assert (left["action"], told["action"]) == ("leave", "leave")
    assert told["reason"] == "the file does not name it any more: --prune removes it"
    assert shop.plan(step("db"), prune=True) == {"Verify Database": "leave", "Web": "remove"}
    shop.apply(step("db"), prune=True)
    assert shop.names == ["Announce", "Smoke test", "Verify Database"]
    shop.apply(prune=True)
    assert shop.names == ["Announce", "Smoke test"]


def test_prune_never_lets_peoples_steps_join_another_group(shop: Shop) -> None:
    shop.apply(step("db", "before: Smoke test"))
    shop.edit_step("Smoke test", lambda item: item.update(StartTrigger="StartWithPrevious"))
    [change] = shop.changes(prune=True)
    assert change["action"] == "conflict"
    assert "'Smoke test' behind it would join the step in front" in change["reason"]


# --- while others write ----------------------------------------------------------------------------------------------------


def test_a_stale_write_is_tried_again_and_loses_no_edit(shop: Shop) -> None:
    def edit(count: int) -> None:
        shop.edit(lambda steps: steps.append(own_step(f"By people {count}")))

    racing = Racing(path="/deploymentprocesses/", times=3, edit=edit)
    shop.apply(step("db", "after: Announce"), http=httpx.Client(transport=racing))
    assert racing.done == 3
    by_people = ["By people 1", "By people 2", "By people 3"]
    assert shop.names == ["Announce", "Verify Database", "Smoke test", *by_people]


def test_an_edit_of_our_own_step_meanwhile_stops_the_write(shop: Shop) -> None:
    shop.apply(step("db"))

    def edit(count: int) -> None:
        shop.edit_step(
            "Verify Database",
            lambda item: item["Actions"][0]["Properties"].update({"VerifyDeployment.Project": "Else"}),
        )

    racing = httpx.Client(transport=Racing(path="/deploymentprocesses/", times=1, edit=edit))
    outcome = shop.run(apply.run, step("db", version="[2.0,3.0)"), http=racing)
    assert outcome.exit_code == 1
    assert any("the server has moved since the plan" in str(part) for part in outcome.parts)
    assert shop.properties("Verify Database")["VerifyDeployment.Project"] == "Else"
    assert shop.properties("Verify Database")["VerifyDeployment.Version"] == "same"


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "truncated", "html"])
def test_a_lost_answer_is_decided_by_reading(shop: Shop, kind: Any) -> None:
    faults = shop.scene.emulator.faults
    fault = faults.add(path="/deploymentprocesses/", method="PUT", kind=kind)
    version = shop.process["Version"]
    shop.apply(step("db"))
    assert fault.hits == 1
    assert shop.process["Version"] == version + 1
    assert shop.names.count("Verify Database") == 1


# --- what is refused -------------------------------------------------------------------------------------------------------


def problems_of(shop: Shop, *steps: str) -> list[str]:
    before = shop.process
    with pytest.raises(Problems) as caught:
        shop.run(apply.run, *steps)
    assert shop.process == before
    return [str(problem).removeprefix(f"{shop.folder.as_posix()}/") for problem in caught.value.problems]


def test_every_unknown_name_is_told_in_one_run_with_its_place(shop: Shop) -> None:
    steps = (
        step(
            "db",
            "after: Anounce",
            "environments: [Tset]",
            "channels: [Stable]",
            "worker_pool: Linux",
            name="A",
        ),
        step("web", template="Octopus - Verify Deploymnt", name="B"),
        step("app", "container: {image: 'py:3', feed: Hub}", "tenant_tags: [Ring/One]", projct="x", name="C"),
    )
    told = problems_of(shop, *steps)
    pool = next(iter(shop.scene.client.pages("workerpools")))["Name"]
    for expected in (
        "coordination.yaml:8:16: unknown step 'Anounce' in " + shop.name + " (did you mean 'Announce'?)",
        "coordination.yaml:9:24: unknown environment 'Tset' (did you mean 'Test'?)",
        "coordination.yaml:10:20: unknown channel 'Stable' (known are Default)",
        f"coordination.yaml:11:22: unknown worker pool 'Linux' (known are {pool})",
        "coordination.yaml:14:19: unknown step template 'Octopus - Verify Deploymnt' "
        "(did you mean 'Octopus - Verify Deployment'?)",
        "coordination.yaml:21:23: unknown tenant tag 'Ring/One'",
    ):
        assert expected in told, "\n".join(told)
    assert any("unknown feed 'Hub'" in line for line in told)
    assert any("has no parameter 'projct' (did you mean 'project'?)" in line for line in told)


def test_an_unknown_project_is_told_with_what_it_might_be(server: Scene, tmp_path: Path) -> None:
    server.make_project("Warehouse")
    file = tmp_path / "c.yaml"
    file.write_text(
        f"projects:\n  Warehuose:\n    process: deployment\n    steps:\n      - {{{step().replace('; ', ', ')}}}\n"
    )
    with pytest.raises(
        Problems, match=r"c\.yaml:2:3: unknown project 'Warehuose' \(did you mean 'Warehouse'\?\)"
    ):
        plan.run(root=tmp_path, files=[file], environ=server.environ)


def test_a_template_that_is_not_published_yet_is_told(shop: Shop) -> None:
    wait = "key: w; template: Octopus - Wait For Deployment; name: W; with: {project: Web, api_key: '#{Coordination.ApiKey}'}"
    [told] = problems_of(shop, wait)
    assert told.endswith(
        "'Octopus - Wait For Deployment' is not in the library of this space (publish it first: octosteps apply)"
    )


def test_a_variable_that_no_set_of_the_project_has_is_a_warning(shop: Shop) -> None:
    outcome = shop.run(plan.run, step("db", project="#{Shop.Childd}", name="V"))
    assert outcome.data["warnings"] == [  # type: ignore[index]
        f"{shop.name}: V: no variable set of the project has 'Shop.Childd', which its values refer to"
    ]


def test_files_and_names_exclude_each_other(shop: Shop) -> None:
    with pytest.raises(Refusal, match="not both"):
        shop.run(plan.run, step(), names=[VERIFY])


def test_a_no_writes_nothing(shop: Shop) -> None:
    asked: list[str] = []

    def say_no(question: str) -> bool:
        asked.append(question)
        return False

    before = shop.process
    outcome = shop.run(apply.run, step("db"), confirm=say_no)
    assert (outcome.exit_code, outcome.parts) == (1, ("Nothing was written.",))
    assert "+ create step" in asked[0] and asked[0].endswith("Write this?")
    assert shop.process == before


def test_a_template_that_differs_from_its_spec_is_a_warning(shop: Shop) -> None:
    """The steps are copied from the library, so they would not get what the spec says."""
    client = shop.scene.client
    template = client.get(f"actiontemplates/{shop.scene.templates[VERIFY]['Id']}")
    try:
        client.put(f"actiontemplates/{template['Id']}", {**template, "Description": "Other words."})
        outcome = shop.run(plan.run, step("db"))
        [warning] = outcome.data["warnings"]  # type: ignore[index]
        assert warning.startswith("'Octopus - Verify Deployment' in the library differs from its spec")
    finally:
        client.put(f"actiontemplates/{template['Id']}", template)


def test_without_a_right_to_see_variables_there_is_no_warning_about_them(shop: Shop) -> None:
    rights = {"SpaceView", "ProjectView", "ProcessView", "ActionTemplateView", "EnvironmentView"}
    environ = {**shop.scene.environ, "OCTOPUS_API_KEY": shop.scene.emulator.add_key(permissions=rights)}
    outcome = plan.run(
        root=shop.folder, files=[shop.file(step("db", project="#{Nobody.Knows}", name="V"))], environ=environ
    )
    assert "variable set" not in str(outcome.data)


def test_no_right_to_edit_the_process_is_named_and_nothing_is_written(shop: Shop) -> None:
    before = shop.process
    rights = {
        "SpaceView",
        "ProjectView",
        "ProcessView",
        "ActionTemplateView",
        "VariableView",
        "LibraryVariableSetView",
    }
    environ = {**shop.scene.environ, "OCTOPUS_API_KEY": shop.scene.emulator.add_key(permissions=rights)}
    outcome = apply.run(root=shop.folder, files=[shop.file(step("db"))], environ=environ)
    assert outcome.exit_code == 1
    assert any("ProcessEdit" in str(part) for part in outcome.parts)
    assert shop.process == before


def test_an_unknown_runbook_is_told(shop: Shop) -> None:
    file = shop.file(step("db"))
    file.write_text(file.read_text().replace("deployment", "runbook Nightly"))
    with pytest.raises(Problems, match=f"project '{shop.name}' has no runbook 'Nightly'"):
        plan.run(root=shop.folder, files=[file], environ=shop.scene.environ)
