"""Version-controlled projects: steps go to a branch of our own, people merge it, and the same file works again afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from generator.branches import default_name
from generator.commands import apply, plan
from generator.emulator import repositories
from generator.errors import Problems
from tests.importer.shop import VERIFY, Document, Shop, step
from tests.racing import Racing
from tests.scene import Scene, open_scene, own_step

OURS = "octosteps/coordination"


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        scene.publish(VERIFY)
        yield scene


class GitShop(Shop):
    """A shop whose process is on branches; `people` do what they do in the portal and with Git."""

    def __init__(self, scene: Scene, name: str, folder: Path, **settings: Any) -> None:
        super().__init__(scene, name, folder)
        sent = {
            "Type": "VersionControlled",
            "Url": "https://git.test/shop.git",
            "DefaultBranch": "main",
            **settings,
        }
        with scene.by_hand() as client:
            client.post(
                f"projects/{self.id}/git/convert", {"CommitMessage": "Begin", "VersionControlSettings": sent}
            )

    @property
    def id(self) -> str:
        return str(self.scene.projects[self.name]["Id"])

    @property
    def stored(self) -> Document:
        return self.scene.emulator.state.get("Projects", self.id)

    @property
    def branches(self) -> list[str]:
        return [name.removeprefix("refs/heads/") for name in repositories.refs(self.stored, "refs/heads/")]

    def path(self, branch: str) -> str:
        return f"projects/{self.id}/{quote(f'refs/heads/{branch}', safe='')}/deploymentprocesses"

    def process_on(self, branch: str) -> Document:
        with self.scene.by_hand() as client:
            return client.get(self.path(branch))

    def names_on(self, branch: str) -> list[str]:
        return [item["Name"] for item in self.process_on(branch)["Steps"]]

    def edit_on(self, branch: str, change: Callable[[list[Document]], Any]) -> None:
        process = self.process_on(branch)
        change(process["Steps"])
        with self.scene.by_hand() as client:
            client.put(self.path(branch), {**process, "ChangeDescription": "By people"})

    def message_on(self, branch: str) -> str:
        project = self.stored
        found = repositories.resolved(project, branch)
        assert found is not None
        return str(repositories.commit_of(project, found[1])["message"])

    def merge(self, branch: str, into: str = "main", *, delete: bool = False) -> None:
        project = self.stored
        repositories.merge(self.scene.emulator.state, project, branch, into)
        if delete:
            repositories.delete_branch(project, branch)


@pytest.fixture
def shop(server: Scene, tmp_path: Path) -> GitShop:
    return GitShop(server, f"Shop {len(server.projects)}", tmp_path)


def test_steps_are_committed_to_a_branch_of_our_own_and_nowhere_else(shop: GitShop) -> None:
    before = shop.process_on("main")
    [change] = shop.changes(step("db", "after: Announce"))
    assert change["reason"] == f"after 'Announce'; on branch '{OURS}', to be made from 'main'"
    assert shop.branches == ["main"]
    outcome = shop.apply(step("db", "after: Announce"))
    assert shop.branches == ["main", OURS]
    assert shop.process_on("main") == before
    assert shop.names_on(OURS) == ["Announce", "Verify Database", "Smoke test"]
    assert [item for item in shop.process_on(OURS)["Steps"] if item["Name"] != "Verify Database"] == before[
        "Steps"
    ]
    assert shop.message_on(OURS) == "Update the steps of coordination (octosteps)\n\nCreate Verify Database"
    assert outcome.data["effects"] == [outcome.parts[-1]]  # type: ignore[index]
    assert outcome.parts[-1] == (
        f"{shop.name}: committed to branch '{OURS}' of its repository. Merge it into 'main': "
        "it takes effect with the next release made from there."
    )


def test_a_branch_that_waits_is_told_and_continued(shop: GitShop) -> None:
    shop.apply(step("db", "after: Announce"))
    outcome = shop.run(plan.run, step("db", "after: Announce"), exit_code=True)
    assert outcome.exit_code == 0
    told = f"{shop.name}: branch '{OURS}' waits to be merged into 'main'"
    assert shop.warnings(step("db", "after: Announce")) == [told]
    wanted = (step("db", "after: Announce", version="[2.0,3.0)"), step("new", name="New"))
    assert {change["reason"].partition("; on ")[2] for change in shop.changes(*wanted)} == {
        f"branch '{OURS}'"
    }
    shop.entry = "    git: {message: Ask for two}\n"
    shop.apply(*wanted)
    assert shop.branches == ["main", OURS]
    assert shop.names_on(OURS) == ["Announce", "Verify Database", "New", "Smoke test"]
    assert shop.message_on(OURS) == "Ask for two\n\nUpdate Verify Database\nCreate New"


@pytest.mark.parametrize("delete", [True, False], ids=["and deleted", "and left there"])
def test_the_same_file_works_again_after_the_merge(shop: GitShop, delete: bool) -> None:
    shop.apply(step("db", "after: Announce"))
    shop.edit_on("main", lambda steps: steps.append(own_step("By people")))
    shop.merge(OURS, delete=delete)
    merged = shop.process_on("main")
    assert [item["Name"] for item in merged["Steps"]] == [
        "Announce",
        "Verify Database",
        "Smoke test",
        "By people",
    ]
    again = shop.run(plan.run, step("db", "after: Announce"), exit_code=True)
    assert again.exit_code == 0
    assert shop.warnings(step("db", "after: Announce")) == []
    shop.apply(step("db", "after: Announce", version="[2.0,3.0)"))
    next_one = OURS if delete else f"{OURS}-2"
    assert sorted(shop.branches) == sorted({"main", OURS, next_one})
    assert shop.names_on(next_one) == ["Announce", "Verify Database", "Smoke test", "By people"]
    assert shop.process_on("main") == merged
    shop.merge(next_one)
    assert shop.plan(step("db", "after: Announce", version="[2.0,3.0)")) == {"Verify Database": "leave"}


def test_a_branch_is_made_from_the_one_that_the_file_names(shop: GitShop) -> None:
    with shop.scene.by_hand() as client:
        client.post(
            f"projects/{shop.id}/git/branches/v2", {"BaseGitRef": "main", "NewBranchName": "release/2"}
        )
    shop.edit_on("release/2", lambda steps: steps.append(own_step("Only in 2")))
    shop.entry = "    git: {branch: octosteps/two, from: release/2}\n"
    shop.apply(step("db"))
    assert shop.names_on("octosteps/two") == ["Announce", "Smoke test", "Only in 2", "Verify Database"]
    assert shop.names_on("release/2") == ["Announce", "Smoke test", "Only in 2"]


def test_a_conflict_names_the_branch_that_people_edited(shop: GitShop) -> None:
    shop.apply(step("db"))

    def edit(steps: list[Document]) -> None:
        steps[-1]["Actions"][0]["Properties"]["VerifyDeployment.Version"] = "9.9"

    shop.edit_on(OURS, edit)
    [change] = shop.changes(step("db", version="2.0"))
    assert (change["action"], change["reason"]) == (
        "conflict",
        "VerifyDeployment.Version was changed in the file and by people; --force takes the file's "
        f"(on branch '{OURS}')",
    )
    shop.apply(step("db", version="2.0"), force=True)
    assert shop.plan(step("db", version="2.0")) == {"Verify Database": "leave"}


def problems_of(shop: Shop, *steps: str) -> list[str]:
    with pytest.raises(Problems) as caught:
        shop.run(apply.run, *steps)
    return [re.sub(r"^.*(?=coordination\.yaml)", "", str(problem)) for problem in caught.value.problems]


def test_an_unknown_base_is_told_with_its_place(shop: GitShop) -> None:
    shop.entry = "    git: {from: mian}\n"
    told = f"coordination.yaml:4:17: project '{shop.name}' has no branch 'mian' (did you mean 'main'?)"
    assert problems_of(shop, step("db")) == [told]


def test_protected_branches_are_told_before_anything_is_written(server: Scene, tmp_path: Path) -> None:
    """OctopusDeploy/Issues 9456: a commit to one fails, and the portal says nothing."""
    patterns = ["octosteps/*"]
    shop = GitShop(
        server, "Protected", tmp_path, ProtectedDefaultBranch=True, ProtectedBranchNamePatterns=patterns
    )
    [told] = problems_of(shop, step("db"))
    assert f"the project protects the branch '{OURS}' by the pattern 'octosteps/*'" in told
    assert shop.branches == ["main"]
    shop.stored["PersistenceSettings"]["ProtectedBranchNamePatterns"] = []
    shop.apply(step("db"))
    assert shop.names_on(OURS)[-1] == "Verify Database"
    shop.stored["PersistenceSettings"]["ProtectedBranchNamePatterns"] = patterns
    assert f"protects the branch '{OURS}'," in problems_of(shop, step("db", version="1.0"))[0]


def test_a_commit_that_the_server_refuses_is_told_in_its_words(shop: GitShop) -> None:
    def protect(question: str) -> bool:
        shop.stored["PersistenceSettings"]["ProtectedBranchNamePatterns"] = ["octosteps/*"]
        return True

    outcome = shop.run(apply.run, step("db"), confirm=protect)
    assert outcome.exit_code == 1
    assert any("is a protected branch" in str(part) for part in outcome.parts), outcome.parts


def test_a_branch_for_a_project_in_the_database_is_refused(server: Scene, tmp_path: Path) -> None:
    shop = Shop(server, "Plain", tmp_path)
    shop.entry = "    git: {}\n"
    [told] = problems_of(shop, step("db"))
    assert "project 'Plain' has its process in the database, where no branch keeps a change back" in told


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "html"])
def test_a_lost_answer_makes_no_second_branch_and_no_second_commit(shop: GitShop, kind: Any) -> None:
    faults = shop.scene.emulator.faults
    hits = [
        faults.add(path="/git/branches/v2", method="POST", kind=kind),
        faults.add(path="/deploymentprocesses", method="PUT", kind=kind),
    ]
    shop.apply(step("db"))
    assert [fault.hits for fault in hits] == [1, 1]
    assert shop.branches == ["main", OURS]
    assert len(shop.stored["_git"]["commits"]) == 2


def test_edits_on_our_branch_are_neither_lost_nor_overwritten(shop: GitShop) -> None:
    shop.apply(step("db", "after: Announce"))

    def edit(count: int) -> None:
        shop.edit_on(OURS, lambda steps: steps.append(own_step(f"By people {count}")))

    racing = Racing(path="/deploymentprocesses", times=2, edit=edit)
    shop.apply(step("db", "after: Announce", version="2.0"), http=httpx.Client(transport=racing))
    assert racing.done == 2
    assert shop.names_on(OURS)[-2:] == ["By people 1", "By people 2"]


def test_a_branch_that_was_merged_and_deleted_meanwhile_stops_the_write(shop: GitShop) -> None:
    shop.apply(step("db"))
    told: list[str] = []

    def merge_first(question: str) -> bool:
        shop.merge(OURS, delete=True)
        return True

    outcome = shop.run(apply.run, step("db", version="2.0"), confirm=merge_first)
    told = [str(part) for part in outcome.parts]
    assert outcome.exit_code == 1
    assert any("the server has moved since the plan" in part for part in told)
    assert shop.branches == ["main"]


def test_a_revert_in_the_file_reaches_the_branch_that_waits(shop: GitShop) -> None:
    """The default branch has what the file says; what waits on ours would undo it once merged."""
    shop.apply(step("db"))
    shop.merge(OURS)
    shop.apply(step("db", version="2.0"))
    assert shop.plan(step("db")) == {"Verify Database": "update"}
    shop.apply(step("db"))
    assert shop.warnings(step("db")) == []


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("coordination", OURS),
        ("a b..c", "octosteps/a-b.c"),
        ("x.lock", "octosteps/x"),
        ("..", "octosteps/coordination"),
    ],
)
def test_a_branch_is_named_after_its_file(file: str, expected: str) -> None:
    assert default_name(file) == expected
