"""Version-controlled projects: updates go to a branch of our own, which people merge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from generator.emulator import repositories
from tests.usages.shop_window import BODY, MAIN, VERSION, Window, open_window

AFTER = "print('two')"
OWN = "refs/heads/octosteps/update-main-web-greet-1"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    with open_window(tmp_path) as found:
        yield found


def in_git(window: Window, **settings: Any) -> None:
    """A project `Git` whose default branch has a step of version 0, and the template at version 1."""
    window.make_template()
    window.make_project("Git", window.step("Greet"))
    window.move_to_git("Git", **settings)
    window.save_template(script=AFTER)


def update(window: Window, *words: str, code: int = 0) -> Any:
    ended = window.run("--update", "-f", "json", *words)
    assert ended.exit_code == code, ended
    return json.loads(ended.out)


def merge(window: Window) -> None:
    """As people would with Git."""
    state = window.scene.emulator.state
    project = state.get("Projects", window.scene.projects["Git"]["Id"])
    repositories.merge(state, project, OWN.removeprefix("refs/heads/"), into="main")


def test_an_update_goes_to_a_branch_of_our_own(window: Window) -> None:
    """The default branch may be protected; the second run goes on where the first was, and says that people must merge."""
    in_git(window, ProtectedDefaultBranch=True)
    before = window.process("Git", MAIN)
    document = update(window)
    [result] = document["results"]
    assert result["updateBranch"] == OWN.removeprefix("refs/heads/")
    assert result["sentence"].startswith(
        "updated from version 0 to 1, and read back on branch octosteps/update-main-"
    )
    assert window.process("Git", MAIN) == before
    now = window.properties("Git", "Greet", OWN)
    assert (now[VERSION], now[BODY]) == ("1", AFTER)
    with window.counted() as requests:
        again = window.run("--update")
    assert again.exit_code == 0, again
    assert "is at version 1 already on branch octosteps/update-main-web-greet-1" in again.out, again
    assert "  Git: merge branch octosteps/update-main-web-greet-1; the update takes effect" in again.out, (
        again
    )
    assert {request.split()[0] for request in requests} == {"GET"}, requests
    listed = window.run()
    assert "note: Git: octosteps/update-main-web-greet-1 holds updates of an earlier run" in listed.out, (
        listed
    )
    merge(window)
    assert "1 usage of 1 template in 1 project: 1 current." in window.run().out


def test_a_branch_of_ours_that_is_protected_is_told_in_octopus_words(window: Window) -> None:
    """OctopusDeploy/Issues 9456: never success by silence."""
    in_git(window, ProtectedBranchNamePatterns=["octosteps/*"])
    [result] = update(window, code=1)["results"]
    assert result["outcome"] == "failed"
    assert "is a protected branch. Cannot commit to protected branches." in result["sentence"]
    assert "let octosteps/* take commits" in result["sentence"]
    assert window.properties("Git", "Greet", MAIN)[VERSION] == "0"


def test_each_branch_that_was_asked_for_gets_its_own(window: Window) -> None:
    in_git(window)
    window.make_branch("Git", "release/1")
    document = update(window, "--branch", "*")
    assert sorted(item["updateBranch"] for item in document["results"]) == [
        "octosteps/update-main-web-greet-1",
        "octosteps/update-release-1-web-greet-1",
    ]
    again = update(window, "--branch", "octosteps/*")
    assert again["results"] == [], "what stands on our branches is current"


def test_a_branch_that_people_changed_is_left_to_them(window: Window) -> None:
    """Their edits of our branch are not overwritten."""
    in_git(window)
    project = window.scene.projects["Git"]
    window.make_branch("Git", OWN.removeprefix("refs/heads/"))
    process = window.process("Git", OWN)
    process["Steps"][0]["Actions"][0]["Properties"]["theirs"] = "1"
    with window.scene.by_hand() as client:
        client.put(f"projects/{project['Id']}/{quote(OWN, safe='')}/deploymentprocesses", process)
    [result] = update(window, code=1)["results"]
    assert "somebody changed the step on branch octosteps/update-main-web-greet-1" in result["sentence"]
    process["Steps"][0]["Name"] = process["Steps"][0]["Actions"][0]["Name"] = "Another"
    process["Steps"][0]["Actions"][0].update(Id="other", Slug="other")
    process["Version"] = window.process("Git", OWN)["Version"]
    with window.scene.by_hand() as client:
        client.put(f"projects/{project['Id']}/{quote(OWN, safe='')}/deploymentprocesses", process)
    [result] = update(window, code=1)["results"]
    assert "the step is not there any more on branch octosteps/update-main-web-greet-1" in result["sentence"]


def test_the_former_copy_goes_back_on_the_branch_with_a_message(window: Window) -> None:
    in_git(window)
    update(window)
    [record] = window.records()
    ended = window.run("--put-back", record, "--update")
    assert ended.exit_code == 0, ended
    assert window.properties("Git", "Greet", OWN)[VERSION] == "0"
    project = window.scene.emulator.state.get("Projects", window.scene.projects["Git"]["Id"])
    head = project["_git"]["commits"][project["_git"]["refs"][OWN]]
    assert head["message"] == "Put back steps made from Web - Greet"
    del project["_git"]["refs"][OWN]
    gone = window.run("--put-back", record, "--update")
    assert gone.exit_code == 1, gone
    assert "the process is gone (a branch that was merged and deleted: put it back in Git)" in gone.out, gone


def test_a_runbook_of_a_project_in_git_is_updated_in_the_database(window: Window) -> None:
    """OctopusDeploy/Issues 7457: servers of 2022.1 failed at that."""
    in_git(window)
    held = {**window.step("Wake")}
    held["Actions"][0]["Properties"][VERSION] = "0"
    held["Actions"][0]["Properties"][BODY] = "print('one')"
    window.scene.make_runbook("Git", "Nightly", [held])
    found = {item["step"]: item for item in update(window)["results"]}
    assert (found["Wake"]["outcome"], found["Wake"]["updateBranch"]) == ("updated", None)
    assert window.run("Web - Greet", "--behind", "-f", "basic").out.count("\n") == 1
