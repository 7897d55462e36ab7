"""A coordination file from the steps of a project: what apply put there and people changed comes back, and plan is empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, plan, pull
from generator.errors import Refusal
from generator.outcome import Outcome
from tests.importer.shop import DEPLOY, VERIFY, Shop, step
from tests.scene import Scene, open_scene, own_step


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    """A server whose library has our templates."""
    with open_scene() as scene:
        scene.publish(VERIFY)
        scene.publish(DEPLOY)
        yield scene


@pytest.fixture
def shop(server: Scene, tmp_path: Path) -> Shop:
    return Shop(server, f"Shop {len(server.projects)}", tmp_path)


def pulled(shop: Shop, *files: Path, **options: Any) -> Outcome:
    return pull.run(root=shop.folder, project=shop.name, files=files, environ=shop.scene.environ, **options)


def assert_plan_is_empty(shop: Shop, file: Path) -> None:
    data: Any = plan.run(root=shop.folder, files=[file], environ=shop.scene.environ).data
    assert {"leave"} == {change["action"] for change in data["changes"]}, data


def assert_apply_moves_nothing(shop: Shop, file: Path) -> None:
    """A place that is told differently from when the step was put there is noted in the step, and then plan is empty."""
    before = [(item["Name"], item.get("StartTrigger")) for item in shop.steps]
    apply.run(root=shop.folder, files=[file], environ=shop.scene.environ)
    assert before == [(item["Name"], item.get("StartTrigger")) for item in shop.steps]
    assert_plan_is_empty(shop, file)


FULL = (
    step("first", "before: Announce", "condition: always", "retries: 2", "time_limit: 1h30m"),
    step(
        "second",
        "after: announce",
        "environments: [Test, Production]",
        "condition: {variable: '#{Go}'}",
        project="Web",
        environment="Test",
    ),
    step("third", "after: second", "parallel: true", template=DEPLOY, project="Search", name="Deploy Search"),
    step("last", "excluded_environments: [Test]", "channels: [Default]", project="Shop Shop"),
)


def test_a_new_file_gives_an_empty_plan(shop: Shop, tmp_path: Path) -> None:
    """Key, template, name, place, conditions, scopes and values stand in it, and nothing that is a default."""
    shop.apply(*FULL)
    (tmp_path / "coordination.yaml").unlink()
    outcome = pulled(shop)
    assert (outcome.exit_code, outcome.data) == (
        0,
        {"file": (tmp_path / "coordination.yaml").as_posix(), "state": "new", "steps": 4, "left": []},
    )
    text = (tmp_path / "coordination.yaml").read_text()
    assert (
        "\n".join(text.split("\n")[1:])
        == f"""\
projects:
  {shop.name}:
    process: deployment
    steps:
      - key: first
        template: Octopus - Verify Deployment
        name: Verify Database
        before: Announce
        condition: always
        retries: 2
        time_limit: 1h30m
        with:
          project: Database
          version: same
          api_key: "#{{Coordination.ApiKey}}"
      - key: second
        template: Octopus - Verify Deployment
        name: Verify Web
        after: Announce
        condition:
          variable: "#{{Go}}"
        environments: [Test, Production]
        with:
          project: Web
          environment: Test
          version: same
          api_key: "#{{Coordination.ApiKey}}"
      - key: third
        template: Octopus - Deploy Release
        name: Deploy Search
        after: second
        parallel: true
        with:
          project: Search
          api_key: "#{{Coordination.ApiKey}}"
      - key: last
        template: Octopus - Verify Deployment
        name: Verify Shop Shop
        excluded_environments: [Test]
        channels: [Default]
        with:
          project: Shop Shop
          version: same
          api_key: "#{{Coordination.ApiKey}}"
"""
    )
    assert_plan_is_empty(shop, tmp_path / "coordination.yaml")


def test_a_file_that_says_all_that_already_is_not_touched(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*FULL)
    before = (tmp_path / "coordination.yaml").read_bytes()
    outcome = pulled(shop)
    assert isinstance(outcome.data, dict) and outcome.data["state"] == "unchanged"
    assert before == (tmp_path / "coordination.yaml").read_bytes()


def test_what_people_changed_is_brought_into_the_file_with_its_comments(shop: Shop, tmp_path: Path) -> None:
    """Only the lines that differ are other ones; the former file's words stay for what they still say."""
    shop.apply(*FULL)
    file = tmp_path / "coordination.yaml"
    text = file.read_text().replace(
        "      - key: second\n", "      # The web site.\n      - key: second   # ours, for ever\n"
    )
    file.write_text(text)

    def change(item: dict[str, Any]) -> None:
        item["Name"] = item["Actions"][0]["Name"] = "Is the web there?".replace("?", "")
        item["Actions"][0]["Properties"]["VerifyDeployment.Environment"] = "Production"
        item["Actions"][0]["Environments"] = [shop.scene.environments["Test"]]

    shop.edit_step("Verify Web", change)
    outcome = pulled(shop)
    assert outcome.exit_code == 0, outcome
    after = file.read_text()
    assert after == (
        text.replace("name: Verify Web", "name: Is the web there")
        .replace("environments: [Test, Production]", "environments: [Test]")
        .replace('"environment": "Test"', '"environment": "Production"')
        .replace('environment: "Test"', 'environment: "Production"')
    )
    assert_plan_is_empty(shop, file)


def test_a_step_that_people_moved_is_told_where_it_stands(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*FULL)

    def move(steps: list[dict[str, Any]]) -> None:
        moved = next(item for item in steps if item["Name"] == "Verify Database")
        steps.remove(moved)
        steps.append(moved)

    shop.edit(move)
    outcome = pulled(shop)
    assert outcome.exit_code == 0, outcome
    assert "key: first" in (text := (tmp_path / "coordination.yaml").read_text())
    assert "before: Announce" not in text and "after: Smoke test" in text
    assert_apply_moves_nothing(shop, tmp_path / "coordination.yaml")


def test_the_place_is_told_by_neighbours_where_the_anchor_was_renamed(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*FULL)
    shop.edit_step("Announce", lambda item: item.update(Name="Tell everybody"))
    shop.edit_step("Tell everybody", lambda item: item["Actions"][0].update(Name="Tell everybody"))
    (tmp_path / "coordination.yaml").unlink()
    outcome = pulled(shop)
    assert outcome.exit_code == 0, outcome
    assert "before: Tell everybody" in (tmp_path / "coordination.yaml").read_text()
    assert_apply_moves_nothing(shop, tmp_path / "coordination.yaml")


def test_other_projects_and_unapplied_steps_stay_in_the_file(shop: Shop, tmp_path: Path) -> None:
    shop.apply(*FULL)
    file = tmp_path / "coordination.yaml"
    other = "  Other:   # not there yet\n    process: deployment\n    steps: []\n"
    file.write_text(
        file.read_text() + "      - {key: new, template: Octopus - Deploy Release, name: New}\n" + other
    )
    outcome = pulled(shop)
    assert isinstance(outcome.data, dict)
    assert outcome.data["left"] == ["the file's step 'new' is not in the process: apply would put it there"]
    assert file.read_text().endswith(other) and "key: new" in file.read_text()


def test_a_typed_secret_is_told_and_never_written(shop: Shop, tmp_path: Path) -> None:
    shop.apply(step("db"))

    def type_it(item: dict[str, Any]) -> None:
        item["Actions"][0]["Properties"]["VerifyDeployment.ApiKey"] = {
            "HasValue": True,
            "NewValue": "API-CANARY",
        }

    shop.edit_step("Verify Database", type_it)
    outcome = pulled(shop)
    assert outcome.exit_code == 1
    assert "people typed the secret api_key" in str(outcome.parts)
    assert "API-CANARY" not in (tmp_path / "coordination.yaml").read_text() + str(outcome)


def test_runbooks_are_taken_stock_of_too(shop: Shop, tmp_path: Path) -> None:
    shop.scene.make_runbook(shop.name, "Tidy up", [own_step("Sweep")])
    shop.apply(step("db"))
    file = tmp_path / "coordination.yaml"
    deployment = file.read_text()
    runbook = deployment.replace("process: deployment", "process: runbook Tidy up")
    both = tmp_path / "both.yaml"
    lines = runbook.split("\n")
    entry = "\n".join(["    - " + lines[2].strip(), *("  " + line for line in lines[3:])])
    both.write_text(f"name: coordination\nprojects:\n  {shop.name}:\n{entry}")
    apply.run(root=tmp_path, files=[both], environ=shop.scene.environ)
    both.unlink()
    file.unlink()
    assert pulled(shop).exit_code == 0
    assert "- process: deployment" in file.read_text() and "- process: runbook Tidy up" in file.read_text()
    assert_plan_is_empty(shop, file)


def test_steps_of_another_file_are_left_to_it(shop: Shop, tmp_path: Path) -> None:
    shop.head = "name: mine\n"
    shop.apply(step("db"))
    (tmp_path / "coordination.yaml").unlink()
    assert pulled(shop).exit_code == 0
    assert "\nname: mine\n" in (tmp_path / "coordination.yaml").read_text()
    assert_plan_is_empty(shop, tmp_path / "coordination.yaml")
    (tmp_path / "theirs.yaml").write_text(f"projects: {{{shop.name}: {{process: deployment, steps: []}}}}\n")
    with pytest.raises(Refusal, match="no steps of a coordination file named 'theirs'"):
        pulled(shop, tmp_path / "theirs.yaml")


def test_what_cannot_be_done_is_one_sentence(shop: Shop) -> None:
    with pytest.raises(Refusal, match="has no steps of ours"):
        pulled(shop)
    with pytest.raises(Refusal, match="has no project 'Nobody'"):
        pull.run(root=shop.folder, project="Nobody", environ=shop.scene.environ)
    with pytest.raises(Refusal, match="at most one"):
        pulled(shop, Path("a.yaml"), Path("b.yaml"))


def test_a_version_controlled_project_is_read_from_the_files_own_branch(shop: Shop, tmp_path: Path) -> None:
    settings = {
        "Type": "VersionControlled",
        "Url": "https://git.example.com/shop.git",
        "DefaultBranch": "main",
    }
    with shop.scene.by_hand() as client:
        path = f"projects/{shop.scene.projects[shop.name]['Id']}/git/convert"
        client.post(path, {"VersionControlSettings": settings})
    file = shop.file(step("db", "after: Announce")).rename(tmp_path / "shop.yaml")
    apply.run(root=tmp_path, files=[file], environ=shop.scene.environ)
    file.unlink()
    assert pulled(shop, file).exit_code == 0
    assert "after: Announce" in file.read_text()
    assert_plan_is_empty(shop, file)
    own = file.read_text().replace("    steps:", "    git: {branch: octosteps/mine}\n    steps:")
    file.write_text(own)
    apply.run(root=tmp_path, files=[file], environ=shop.scene.environ)
    outcome = pulled(shop, file)
    assert (outcome.exit_code, own) == (0, file.read_text())
