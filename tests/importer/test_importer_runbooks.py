"""Steps in runbooks of an emulated server, through the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from generator.commands import apply, plan
from generator.errors import Problems
from tests.importer.shop import VERIFY, Document, Shop, step
from tests.racing import Racing
from tests.scene import Scene, open_scene, own_step


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield scene


class RunbookShop(Shop):
    """A shop whose file is about its runbook *Nightly copy*."""

    def __init__(self, scene: Scene, name: str, folder: Path) -> None:
        super().__init__(scene, name, folder)
        self.kind = "runbook nightly COPY"
        self.runbook = scene.make_runbook(name, "Nightly copy", [own_step("Copy")])

    @property
    def path(self) -> str:
        return f"runbookProcesses/{self.runbook['RunbookProcessId']}"

    @property
    def process(self) -> Document:
        with self.scene.by_hand() as client:
            return client.get(self.path)

    def edit(self, change: object) -> None:
        process = self.process
        assert callable(change)
        change(process["Steps"])
        with self.scene.by_hand() as client:
            client.put(self.path, process)


@pytest.fixture
def shop(server: Scene, tmp_path: Path) -> RunbookShop:
    return RunbookShop(server, f"Shop {len(server.projects)}", tmp_path)


def test_a_step_is_imported_into_a_runbook_and_is_the_runbooks_own(shop: RunbookShop) -> None:
    """The runbook is found ignoring case; the project's deployment process is not touched."""
    before, deployment = shop.process, shop.scene.process(shop.name)
    [change] = shop.changes(step("db", "after: Copy"))
    assert change["name"] == f"{shop.name}, runbook nightly COPY: Verify Database"
    outcome = shop.apply(step("db", "after: Copy"))
    assert (
        outcome.parts[-1]
        == "A change of a runbook's steps takes effect with the runbook's next published snapshot."
    )
    assert shop.names == ["Copy", "Verify Database"]
    assert shop.steps[0] == before["Steps"][0]
    assert shop.properties("Verify Database")["octosteps.step"] == f"db@{shop.runbook['Id']}"
    assert shop.scene.process(shop.name) == deployment
    assert [item["action"] for item in shop.changes(step("db", "after: Copy"))] == ["leave"]


def test_a_published_snapshot_keeps_the_steps_that_it_has(shop: RunbookShop) -> None:
    shop.apply(step("db"))
    with shop.scene.by_hand() as client:
        snapshot = client.get(f"runbookSnapshots/{shop.runbook['PublishedRunbookSnapshotId']}")
        frozen = client.get(f"runbookProcesses/{snapshot['FrozenRunbookProcessId']}")
    assert [item["Name"] for item in frozen["Steps"]] == ["Copy"]


def test_no_edit_of_a_runbook_is_lost(shop: RunbookShop) -> None:
    def edit(count: int) -> None:
        shop.edit(lambda steps: steps.append(own_step(f"By people {count}")))

    racing = Racing(path="/runbookProcesses/", times=2, edit=edit)
    shop.apply(step("db", "after: Copy"), http=httpx.Client(transport=racing))
    assert shop.names == ["Copy", "Verify Database", "By people 1", "By people 2"]


def test_deployment_and_runbook_of_one_project_stand_in_one_file(shop: RunbookShop) -> None:
    file = shop.folder / "both.yaml"
    text = shop.file(step("db")).read_text()
    steps = text.partition("    steps:\n")[2].replace("      ", "          ")
    entries = "".join(
        f"    - process: {kind}\n      steps:\n{steps}" for kind in ("deployment", "runbook Nightly copy")
    )
    file.write_text(f"projects:\n  {shop.name}:\n{entries}")
    outcome = apply.run(root=shop.folder, files=[file], environ=shop.scene.environ)
    assert outcome.exit_code == 0, outcome
    assert shop.names == ["Copy", "Verify Database"]
    assert [item["Name"] for item in shop.scene.process(shop.name)["Steps"]][-1] == "Verify Database"
    assert {str(part) for part in outcome.parts[-2:]} == {
        "A change of steps takes effect with the project's next release.",
        "A change of a runbook's steps takes effect with the runbook's next published snapshot.",
    }


def test_a_branch_for_a_runbook_is_refused(shop: RunbookShop) -> None:
    shop.entry = "    git: {}\n"
    with pytest.raises(
        Problems, match="has its runbooks in the database, where no branch keeps a change back"
    ):
        shop.run(plan.run, step("db"))


def test_runbooks_in_git_are_told(shop: RunbookShop) -> None:
    project = shop.scene.emulator.state.get("Projects", shop.scene.projects[shop.name]["Id"])
    project["PersistenceSettings"] = {"ConversionState": {"RunbooksAreInGit": True}}
    with pytest.raises(Problems, match=r"coordination\.yaml:3:14: the runbooks of project '.*' are in Git"):
        shop.run(plan.run, step("db"))
