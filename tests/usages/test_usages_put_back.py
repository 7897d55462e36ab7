"""The way back: the record that an update writes, and `--put-back`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from generator.octopus import Space
from generator.usage_record import Record
from generator.usages import Place, Usage
from tests.usages.shop_window import BODY, SECRET, VERSION, Window, open_window, own_step, parameter, secret

BEFORE, AFTER = "print('one')", "print('two')"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    with open_window(tmp_path) as found:
        yield found


def updated(window: Window) -> Path:
    window.make_template("Web - Greet", parameter("Greet.Name", "World"))
    window.make_project("Shop", window.step("Greet", Greet_Name="Ann"), own_step("Own"), window.step("Again"))
    window.scene.make_runbook("Shop", "Nightly", [window.step("Wake")])
    window.save_template(
        script=AFTER, Parameters=[parameter("Greet.Name", "You"), parameter("Greet.New", "x")]
    )
    ended = window.run("--update")
    assert ended.exit_code == 0, ended
    [record] = window.records()
    return record


def test_the_former_copies_go_back_wholly(window: Window) -> None:
    """Shown first, done with --update; foreign steps stay; done twice, the second time has nothing to do."""
    window.make_template("Web - Unused")
    record = updated(window)
    window.edit("Shop", "Own", theirs="1")
    shown = window.run("--put-back", record.name)
    assert shown.exit_code == 0, shown
    for line in (
        "-print('two')",
        "+print('one')",
        "-Greet.New: x",
        "3 steps to put back: --update does this.",
    ):
        assert line in shown.out.splitlines(), shown
    assert window.versions("Shop") == ["1", "-", "1"]
    with window.counted() as requests:
        done = window.run("--put-back", record.name, "--update")
    assert done.exit_code == 0, done
    assert done.out.endswith("3 of 3 steps put back, and read back.\n"), done
    assert len([request for request in requests if request.startswith("PUT")]) == 2, requests
    assert window.versions("Shop") == ["0", "-", "0"]
    now = window.properties("Shop", "Greet")
    assert (now["Greet.Name"], now[BODY], "Greet.New" in now) == ("Ann", BEFORE, False)
    assert window.properties("Shop", "Own")["theirs"] == "1"
    again = window.run("--put-back", record.name, "--update")
    assert (again.exit_code, "Nothing to put back." in again.out) == (0, True), again
    assert "= Web - Greet: Shop: Greet: is as it was before the update" in again.out
    assert "3 behind" in window.run().out


def test_what_people_changed_since_is_left(window: Window) -> None:
    record = updated(window)
    window.edit("Shop", "Greet", Greet__Name="Eve")
    done = window.run("--put-back", record, "--update")
    assert done.exit_code == 1, done
    assert (
        "! Web - Greet: Shop: Greet: left: somebody changed the step since the update; --force" in done.out
    ), done
    assert window.versions("Shop") == ["1", "-", "0"]
    assert window.properties("Shop", "Greet")["Greet.Name"] == "Eve"
    forced = window.run("--put-back", record, "--update", "--force")
    assert forced.exit_code == 0, forced
    assert window.properties("Shop", "Greet")["Greet.Name"] == "Ann"


def test_a_secret_stays_and_one_that_the_update_dropped_is_told(window: Window) -> None:
    held = window.make_template(
        "Web - Greet", parameter("Keep", control=SECRET), parameter("Drop", control=SECRET)
    )
    window.make_project(
        "Shop", window.step("Greet", Keep=secret("kept-secret"), Drop=secret("dropped-secret"))
    )
    window.save_template(Parameters=[held["Parameters"][0]])
    update = window.run("--update")
    assert "the secret Drop goes, and Octopus never gives it back" in update.out, update
    [record] = window.records()
    assert "secret" not in json.loads(record.read_text().splitlines()[1])["copy"]["Properties"].values()
    back = window.run("--put-back", record, "--update")
    assert back.exit_code == 1, back
    assert "its secret Drop was dropped by the update and has to be entered again" in back.out, back
    [stored] = [
        item
        for item in window.scene.emulator.state.collection("DeploymentProcesses").values()
        if item["Steps"]
    ]
    properties = stored["Steps"][0]["Actions"][0]["Properties"]
    assert (properties["Keep"].value, properties[VERSION], "Drop" in properties) == (
        "kept-secret",
        "0",
        False,
    )


def test_a_record_that_was_cut_off_can_be_used(window: Window) -> None:
    """As a run leaves it that is killed: the last line half written, or nothing known of what the update left."""
    record = updated(window)
    lines = record.read_text().splitlines()
    kept = [line for line in lines if '"event": "after"' not in line]
    record.write_text("\n".join([*kept, lines[-1][:30]]))
    window.edit("Shop", "Again", Greet__Name="Eve")
    done = window.run("--put-back", record, "--update")
    assert (done.exit_code, "somebody changed the step since the update" in done.out) == (1, True), done
    assert window.versions("Shop") == ["0", "-", "1"]


def test_a_record_of_two_runs_leads_back_to_before_the_first(window: Window) -> None:
    record = updated(window)
    record.write_text(record.read_text() + '{"event": "befo')  # killed while it wrote
    window.save_template(script="print('three')")
    assert window.run("--update", "--record", record.name).exit_code == 0
    assert window.run("--put-back", record, "--update").exit_code == 0
    assert window.versions("Shop") == ["0", "-", "0"]


def test_runs_of_the_same_second_write_records_of_their_own(tmp_path: Path) -> None:
    """Without --record; only the owner may read them."""
    usage = Usage(
        place=Place(space=Space(id="Spaces-1", name="A"), project_id="P", project="Shop", process_id="d"),
        step="Greet",
        state="behind",
        held=0,
        template_id="ActionTemplates-1",
        template=None,
        action={"Id": "1", "Properties": {}},
    )
    for _ in range(3):
        record = Record(tmp_path / "usages-1.jsonl", server="https://o.test", is_new=True)
        for step in ("1", "2"):
            record.keep(
                usage, usage.action, where="Shop: Greet", path="d", action_id=step, wanted=1, expected="x"
            )
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["usages-1-2.jsonl", "usages-1-3.jsonl", "usages-1.jsonl"]
    assert {len(file.read_text().splitlines()) for file in files} == {3}
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


def test_what_is_no_record_is_told(window: Window) -> None:
    path = window.folder / "r.jsonl"
    head = json.dumps({"octosteps": "usages", "format": 1, "server": window.scene.emulator.url})
    for content, sentence in (
        (None, "cannot be read: No such file"),
        ("", "1:1: this is no record"),
        ('{"a": 1}\n', "1:1: this is no record"),
        (f'{head}\nnonsense\n{{"event": "x"}}\n', "2:1: this is no line of a record"),
        (
            f'{head}\n{{"event": "before", "path": "p", "action": "a"}}\n',
            "2:1: this line of the record lacks",
        ),
        (head.replace("http:", "https:"), "is a record of https:"),
    ):
        if content is not None:
            path.write_text(content)
        ended = window.run("--put-back", path, "--update")
        assert (ended.exit_code, sentence in ended.err) == (1, True), ended
        assert "Traceback" not in ended.err, ended
