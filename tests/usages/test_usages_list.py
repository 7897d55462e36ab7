"""`octosteps usages` without --update: what it finds, what it says that it cannot see, and how much it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scene import Document
from tests.usages.shop_window import Window, open_window, own_step, parameter

AFTER = "print('two')"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    with open_window(tmp_path) as found:
        yield found


def states(document: Document) -> dict[str, str]:
    return {
        f"{item['project']}/{item['branch'] or item['runbook'] or ''}/{item['step']}": item["state"]
        for item in document["usages"]
    }


def listed(window: Window, *words: str) -> Document:
    ended = window.run(*words, "-f", "json")
    assert ended.exit_code == 0, ended
    document: Document = json.loads(ended.out)
    return document


def owned(step: Document, owner: str) -> Document:
    step["Actions"][0]["Properties"]["octosteps.step"] = f"key@{owner}"
    return step


def test_every_usage_with_its_version_and_state(window: Window) -> None:
    """Deployment processes, runbooks, the default branch of a project in Git; owned steps are told, a clone's are not taken for
    ours; `usages` asks in a handful of requests."""
    window.make_template()
    window.make_template("Web - Gone")
    old = window.make_project("Old", window.step("Greet"), own_step("Own"), window.step("Lost", "Web - Gone"))
    window.scene.make_runbook("Old", "Nightly", [window.step("Wake")])
    window.make_project("Git", window.step("Say"))
    window.move_to_git("Git")
    window.make_branch("Git", "feature/x")
    window.save_template(script=AFTER)
    new = window.make_project("New", window.step("Greet"), window.step("Edited"))
    window.edit("New", "Edited", script="print('mine')")
    ahead = window.step("Ahead")
    ahead["Actions"][0]["Properties"]["Octopus.Action.Template.Version"] = "9"
    mine = window.make_project("Mine", ahead)
    window.scene.put_steps(
        "Mine", [ahead, owned(window.step("Ours"), mine["Id"]), owned(window.step("Cloned"), old["Id"])]
    )
    window.make_template("Web - Unused")
    with window.scene.by_hand():
        identity = window.templates["Web - Gone"]["Id"]
        del window.scene.emulator.state.collection("ActionTemplates")[identity]
    with window.counted() as requests:
        found = listed(window)
    assert states(found) == {
        "Old//Greet": "behind",
        "Old//Lost": "orphaned",
        "Old/Nightly/Wake": "behind",
        "Git/main/Say": "behind",
        "New//Greet": "current",
        "New//Edited": "edited",
        "Mine//Ahead": "ahead",
        "Mine//Ours": "owned",
        "Mine//Cloned": "current",
    }
    [greet] = [item for item in found["usages"] if item["project"] == "Old" and item["step"] == "Greet"]
    assert (greet["version"], greet["current"], greet["template"], greet["owned"]) == (
        0,
        1,
        "Web - Greet",
        False,
    )
    assert "Git: 1 other branch, feature/x (--branch)" in found["unseen"]
    assert any("releases and runbook snapshots" in sentence for sentence in found["unseen"])
    assert len(requests) <= 12, requests
    assert {request.split()[0] for request in requests} == {"GET"}
    assert new["Id"] != mine["Id"]


def test_tables_lines_and_filters(window: Window) -> None:
    window.make_template()
    window.make_template("Web - Other")
    window.make_project("Shop", window.step("Greet"))
    window.make_project("Shopping", window.step("Greet"), window.step("Other", "Web - Other"))
    window.save_template(script=AFTER)
    table = window.run()
    assert table.exit_code == 0, table
    assert "3 usages of 2 templates in 2 projects: 2 behind, 1 current." in table.out, table
    assert "branch" not in table.out, table
    lines = window.run("web - other", "-f", "basic").out
    assert lines == "Default\tWeb - Other\tShopping\tdeployment\t-\tOther\t0\t0\tcurrent\n"
    assert list(states(listed(window, "--project", "SHOP"))) == ["Shop//Greet"]
    assert list(states(listed(window, "--project", "shop*", "--behind"))) == [
        "Shop//Greet",
        "Shopping//Greet",
    ]
    waits = window.run("--exit-code", "-p", "shop")
    assert waits.exit_code == 4, waits
    assert window.run("--exit-code", "Web - Other").exit_code == 0


def test_what_cannot_be_is_told(window: Window) -> None:
    window.make_template("Web - Greet", parameter("Greet.Name"))
    window.make_project("Shop", window.step("Greet"))
    for words, code, sentence in (
        (["Web - Gret"], 1, "the library has no step template 'Web - Gret': did you mean 'Web - Greet'?"),
        (["-p", "Shp"], 1, "no project matches 'Shp': did you mean 'Shop'?"),
        (["--first", "Shop"], 2, "--first is about --update"),
        (["--set", "A=1"], 2, "--set is about --update and --diff"),
        (["--update", "--exit-code"], 2, "leave --update out"),
        (["--put-back", "x", "Web - Greet"], 2, "takes no other choice"),
        (["--diff", "--set", "A", "--set", "Greet.Nme=1"], 1, "--set takes KEY=VALUE"),
        (["--diff", "--set", "A", "--set", "Greet.Nme=1"], 1, "did you mean 'Greet.Name'?"),
    ):
        ended = window.run(*words)
        assert (ended.exit_code, sentence in ended.err) == (code, True), ended
        assert "Traceback" not in ended.err


def test_branches_are_read_as_far_as_they_are_asked_for(window: Window) -> None:
    """The default one; those that Octopus lists released usages on, for templates that are named; those of the patterns."""
    window.make_template()
    window.make_project("Git", window.step("Say"))
    window.move_to_git("Git")
    window.save_template(script=AFTER)
    for name in ("release/1", "release/2", "feature/x"):
        window.make_branch("Git", name)
    with window.scene.by_hand():
        window.scene.make_release("Git", "1.0.0", VersionControlReference={"GitRef": "release/1"})
    assert list(states(listed(window))) == ["Git/main/Say"]
    assert list(states(listed(window, "Web - Greet"))) == ["Git/main/Say", "Git/release/1/Say"]
    found = listed(window, "--branch", "release/*")
    assert list(states(found)) == ["Git/release/1/Say", "Git/release/2/Say"]
    assert "Git: 2 other branches, feature/x, main (--branch)" in found["unseen"]


def test_projects_that_the_account_cannot_see_are_told_where_octopus_names_them(window: Window) -> None:
    """And a process that it may not read is told, and hides no other."""
    window.make_template()
    shop = window.make_project("Shop", window.step("Greet"))
    window.make_project("Secret", window.step("Greet"))
    key = window.scene.emulator.add_key(projects={shop["Id"]})
    ended = window.run("Web - Greet", environ={"OCTOPUS_API_KEY": key})
    assert ended.exit_code == 0, ended
    assert (
        "not seen: Secret: Octopus lists usages there, and this account may not see the project" in ended.out
    )
    assert "1 usage of 1 template in 1 project: 1 current." in ended.out, ended
    blind = window.scene.emulator.add_key(permissions={"ActionTemplateView", "ProjectView", "RunbookView"})
    ended = window.run(environ={"OCTOPUS_API_KEY": blind})
    assert "not seen: Shop: no permission for GET" in ended.out, ended
    assert "ProcessView" in ended.out, ended


def test_servers_that_know_less_are_read_all_the_same(window: Window) -> None:
    """One that lists no processes is asked for each; one without runbooks has none, and it is told."""
    window.make_template()
    window.make_project("Shop", window.step("Greet"))
    window.make_project("Web", window.step("Greet"))
    window.scene.make_runbook("Web", "Nightly", [window.step("Wake")])
    faults = window.scene.emulator.faults
    faults.add(path=r"/(deployment|runbook)processes$", method="GET", status=404, count=None)
    assert list(states(listed(window))) == ["Shop//Greet", "Web//Greet", "Web/Nightly/Wake"]
    faults.add(path=r"/runbooks$", method="GET", status=404, count=None)
    found = listed(window)
    assert list(states(found)) == ["Shop//Greet", "Web//Greet"]
    assert any(sentence.startswith("runbooks: ") for sentence in found["unseen"])


def test_all_spaces(window: Window) -> None:
    window.make_template()
    window.make_project("Shop", window.step("Greet"))
    with window.scene.by_hand() as client:
        made = client.post("/api/spaces", {"Name": "Second", "SpaceManagersTeams": ["teams-administrators"]})
        body = {"Name": "Second - Step", "ActionType": "Octopus.Script", "SpaceId": made["Id"]}
        client.post(f"/api/{made['Id']}/actiontemplates", body)
    assert "1 other space (--all-spaces)" in listed(window)["unseen"]
    found = listed(window, "--all-spaces")
    assert not any("space" in sentence for sentence in found["unseen"])
    assert [item["space"] for item in found["usages"]] == ["Default"]
    window.save_template(script=AFTER)
    assert "~ Web - Greet: Default / Shop: Greet: version 0 -> 1" in window.run("--all-spaces", "--diff").out
    assert window.run("Second - Step").exit_code == 1
    assert window.run("Second - Step", "--all-spaces").exit_code == 0


def test_names_cannot_speak_to_a_terminal(window: Window) -> None:
    window.make_template(script="print('\x1b[2J')")
    window.make_project("Shop\x1b[31m", window.step("Greet"))
    window.save_template(script="print('\x1b[3J')")
    for words in ([], ["--diff"], ["-f", "basic"]):
        assert "\x1b" not in window.run(*words).out
