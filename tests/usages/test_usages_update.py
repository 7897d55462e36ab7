"""`octosteps usages --update`: the four outcomes, what is left, values, the first project, permissions, foreign edits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import usages
from generator.octopus.records import Document
from generator.usages import Wish
from tests.usages.shop_window import (
    BODY,
    CHECKBOX,
    SECRET,
    VERSION,
    Window,
    open_window,
    own_step,
    parameter,
    secret,
)

AFTER = "print('two')"
CANARY = "canary-secret-of-a-step"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    with open_window(tmp_path) as found:
        yield found


def results(window: Window, *words: str, code: int = 0, **environ: str) -> dict[str, tuple[str, str]]:
    """Outcome and sentence of each step."""
    ended = window.run("--update", "-f", "json", *words, environ=environ)
    assert ended.exit_code == code, ended
    document = json.loads(ended.out)
    return {
        f"{item['project']}/{item['runbook'] or ''}/{item['step']}": (item["outcome"], item["sentence"])
        for item in document["results"]
    }


def test_every_step_that_is_behind_is_updated_and_read_back(window: Window) -> None:
    """Deployments, runbooks and child steps with conditions (OctopusDeploy/Issues 6532); steps of people and of other templates
    stay; a second run has nothing to do."""
    window.make_template("Web - Greet", parameter("Greet.Name", "World"), script="import sys\nprint('one')")
    window.make_template("Web - Other")
    window.make_project(
        "Shop",
        window.step("Greet", Greet_Name="Ann"),
        own_step("Own"),
        window.step("Again"),
        window.step("O", "Web - Other"),
    )
    window.scene.make_runbook("Shop", "Nightly", [window.step("Wake")])
    children = {**window.step("Child"), "Name": "Parent"}
    children["Actions"] += [*window.step("Second child")["Actions"], *own_step("Own child")["Actions"]]
    children["Actions"][0]["Condition"] = "Variable"
    window.make_project("Api", children)
    window.save_template(script="import sys\nprint('two')")
    window.save_template("Web - Other", script=AFTER)
    before = window.process("Shop")
    with window.counted() as requests:
        ended = window.run("Web - Greet", "--update")
    assert ended.exit_code == 0, ended
    for line in (
        "-print('one')",
        "+print('two')",
        "    script: the same change as in Api: Child",
        "  ~ Web - Greet: Shop: Greet: updated from version 0 to 1, and read back",
        "  ~ Web - Greet: Shop, runbook Nightly: Wake: updated from version 0 to 1, and read back",
        "  ~ Web - Greet: Api: Child: updated from version 0 to 1, and read back",
        "5 updated and read back.",
    ):
        assert line in ended.out.splitlines(), ended
    assert window.versions("Shop") == ["1", "-", "1", "0"]
    after = window.process("Shop")
    assert [after["Steps"][index] for index in (1, 3)] == [before["Steps"][index] for index in (1, 3)]
    assert after["Version"] == before["Version"] + 1
    assert window.properties("Shop", "Greet")["Greet.Name"] == "Ann"
    writes = [request for request in requests if not request.startswith("GET")]
    assert len(writes) == 3, requests
    assert window.versions("Api") == ["1", "1", "-"]
    again = window.run("Web - Greet", "--update")
    assert (again.exit_code, "Nothing to update." in again.out) == (0, True), again
    assert len(window.records()) == 1


def test_the_four_outcomes_are_sentences_with_what_to_do(window: Window) -> None:
    """One that is refused stops no other, in its process neither."""
    held = window.make_template("Web - Greet", parameter("Greet.Name"))
    tool = {"Name": "Tool", "PackageId": "tool", "FeedId": "feeds-builtin", "Properties": {}}
    window.make_template("Web - Pack", Packages=[tool])
    window.make_template("Web - Turn", parameter("Turn.On"))
    window.make_template("Web - Fine")
    project = window.make_project(
        "Shop",
        window.step("Greet"),
        window.step("Pack", "Web - Pack"),
        window.step("Turn", "Web - Turn"),
        window.step("Fine", "Web - Fine"),
    )
    reference = {"DeploymentAction": "Pack", "PackageReference": "Tool"}
    with window.scene.by_hand() as client:
        [channel] = client.pages(f"projects/{project['Id']}/channels")
        rule = {"VersionRange": "[1,2)", "ActionPackages": [reference]}
        client.put(f"channels/{channel['Id']}", {**channel, "Rules": [rule]})
    window.save_template(Parameters=[*held["Parameters"], parameter("Greet.Now")])
    window.save_template("Web - Pack", Packages=[])
    window.save_template("Web - Turn", Parameters=[parameter("Turn.On", control=CHECKBOX)])
    window.save_template("Web - Fine", script=AFTER)
    found = results(window, code=1)
    assert found == {
        "Shop//Fine": ("updated", "updated from version 0 to 1, and read back"),
        "Shop//Greet": (
            "failed",
            "new without a value: Greet.Now: give --set Greet.Now=VALUE (VALUE may be empty), or the template a default",
        ),
        "Shop//Pack": (
            "failed",
            "the new version drops a package that is still in use (Tool, by a version rule of channel Default): "
            "change that first, then run this again",
        ),
        "Shop//Turn": (
            "failed",
            "needs a merge by hand (Turn.On: The control type of the parameter has changed.): open the step in Octopus, "
            "press Update there and check its values; a parameter that changes its kind is better given a new name",
        ),
    }
    assert window.versions("Shop") == ["0", "0", "0", "1"]
    assert results(window, "Web - Greet", "--set", "Greet.Now=")["Shop//Greet"][0] == "updated"
    assert window.properties("Shop", "Greet")["Greet.Now"] == ""


def test_one_step_that_is_refused_keeps_no_other_of_its_request_back(window: Window) -> None:
    """Octopus refuses a request as a whole; what nothing foresees is found out by asking."""
    tool = {"Name": "Tool", "PackageId": "tool", "FeedId": "feeds-builtin", "Properties": {}}
    window.make_template(Packages=[tool])
    project = window.make_project("Shop", window.step("A"), window.step("B"), window.step("C"))
    donor = {"DeploymentAction": "B", "PackageReference": "Tool"}
    with window.scene.by_hand() as client:
        strategy = {"Template": None, "DonorPackage": donor}
        client.put(f"projects/{project['Id']}", {**project, "VersioningStrategy": strategy})
    window.save_template(Packages=[])
    found = results(window, code=1)
    assert {name: outcome for name, (outcome, _) in found.items()} == {
        "Shop//A": "updated",
        "Shop//B": "failed",
        "Shop//C": "updated",
    }
    assert "by the release numbers of project Shop" in found["Shop//B"][1]
    assert window.versions("Shop") == ["1", "0", "1"]


def test_what_is_left_and_why(window: Window) -> None:
    """Owned steps are the importer's: nothing failed. People's edits of a copy are not overwritten unless --force says so."""
    window.make_template()
    project = window.make_project("Shop", window.step("Edited"), window.step("Owned"))
    window.edit("Shop", "Edited", script="print('mine')")
    window.edit("Shop", "Owned", octosteps__step=f"key@{project['Id']}", octosteps__file="shop.yaml")
    window.save_template(script=AFTER)
    before = window.process("Shop")
    found = results(window, code=1)
    assert found == {
        "Shop//Edited": (
            "left",
            f"left: people edited its copy in the process ({BODY}); --force updates it all the same",
        ),
        "Shop//Owned": (
            "left",
            "left: a coordination file owns it; `octosteps apply` with that file shop.yaml updates it",
        ),
    }
    assert window.process("Shop") == before
    found = results(window, "--force")
    assert (found["Shop//Edited"][0], window.versions("Shop")) == ("updated", ["1", "0"])
    assert window.properties("Shop", "Edited")[BODY] == AFTER


def test_values_of_new_parameters(window: Window) -> None:
    """A secret comes from the environment and is in no output and no file; a given value wins over the template's default; a
    value for what is new nowhere is told."""
    window.make_template("Web - Greet", parameter("Greet.Name", "World"))
    window.make_project("Shop", window.step("Greet"))
    window.save_template(
        Parameters=[
            parameter("Greet.Name", "World"),
            parameter("Greet.Key", control=SECRET),
            parameter("Greet.Loud", "no"),
            parameter("Greet.Bound", control=SECRET),
            parameter("Greet.Empty", control=SECRET),
        ]
    )
    given = ["Greet.Loud=yes", "Greet.Bound=#{Shop.Key}", "Greet.Name=x", "Greet.Empty="]
    given = [word for setting in given for word in ("--set", setting)]
    refused = window.run("--update", *given, "--set", f"Greet.Key={CANARY}")
    assert refused.exit_code == 1, refused
    assert "Greet.Key=env:NAME" in refused.err, refused
    unset = window.run("--update", *given, "--set", "Greet.Key=env:GREETING")
    assert "'GREETING' is not set" in unset.err, unset
    ended = window.run("--update", *given, "--set", "Greet.Key=env:GREETING", environ={"GREETING": CANARY})
    assert ended.exit_code == 0, ended
    assert "+Greet.Key: (a secret)" in ended.out, ended
    assert "warning: --set Greet.Name: it is new in none of these steps" in ended.out, ended
    now = window.properties("Shop", "Greet")
    assert (now["Greet.Name"], now["Greet.Loud"], now["Greet.Bound"]) == ("World", "yes", "#{Shop.Key}")
    state = window.scene.emulator.state
    [stored] = [item for item in state.collection("DeploymentProcesses").values() if item["Steps"]]
    assert stored["Steps"][0]["Actions"][0]["Properties"]["Greet.Key"].value == CANARY
    [record] = window.records()
    everything = refused.out + refused.err + ended.out + ended.err + record.read_text()
    assert CANARY not in everything
    assert window.scene.emulator.api_key not in everything
    assert record.stat().st_mode & 0o077 == 0


def test_the_first_project_is_updated_alone(window: Window) -> None:
    """Where nobody can be asked it stops after it; run again without --first, the others follow."""
    window.make_template()
    for name in ("Shop", "Web", "Api"):
        window.make_project(name, window.step("Greet"))
    window.save_template(script=AFTER)
    unknown = window.run("--update", "--first", "Shp")
    assert (unknown.exit_code, "did you mean 'Shop'?" in unknown.err) == (1, True), unknown
    ended = window.run("--update", "--first", "shop")
    assert ended.exit_code == 0, ended
    assert "Stopped after Shop, as --first asks: 2 steps in 2 processes wait." in ended.out, ended
    assert window.versions("Shop", "Web", "Api") == ["1", "0", "0"]
    ended = window.run("--update")
    assert "2 updated and read back." in ended.out, ended
    assert window.versions("Shop", "Web", "Api") == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("answers", "versions", "code", "questions"),
    [
        pytest.param([False], "00", 1, ["Update 1 step in 1 process first?"], id="no"),
        pytest.param(
            [True, False],
            "10",
            0,
            ["Update 1 step in 1 process first?", "Update the other 1 step in 1 process?"],
            id="yes, then no",
        ),
        pytest.param(
            [True, True],
            "11",
            0,
            ["Update 1 step in 1 process first?", "Update the other 1 step in 1 process?"],
            id="yes twice",
        ),
    ],
)
def test_a_person_is_asked_with_what_they_need_to_know(
    window: Window, answers: list[bool], versions: str, code: int, questions: list[str]
) -> None:
    """The diff first; after the first project, what became of it."""
    window.make_template()
    for name in ("Shop", "Web"):
        window.make_project(name, window.step("Greet"))
    window.save_template(script=AFTER)
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answers[len(asked) - 1]

    outcome = usages.run(
        root=window.folder,
        asked=usages.Asked(wish=Wish(), update=True, first="Shop"),
        environ=window.scene.environ,
        confirm=confirm,
    )
    assert [question.splitlines()[-1] for question in asked] == questions
    assert "+print('two')" in asked[0]
    assert len(asked) == 1 or "Shop: Greet: updated from version 0 to 1, and read back" in asked[1]
    assert ("".join(window.versions("Shop", "Web")), outcome.exit_code) == (versions, code)


def test_what_the_account_lacks_is_told_before_anything_is_written(window: Window) -> None:
    window.make_template()
    window.make_project("Shop", window.step("Greet"))
    window.save_template(script=AFTER)
    views = {"ActionTemplateView", "ProjectView", "ProcessView", "RunbookView", "ActionTemplateEdit"}
    key = window.scene.emulator.add_key(permissions=views, user="reader")
    ended = window.run("--update", environ={"OCTOPUS_API_KEY": key})
    assert ended.exit_code == 1, ended
    assert "nothing was written: the account 'reader' lacks ProcessEdit" in ended.err, ended
    assert (window.versions("Shop"), window.records()) == (["0"], [])


def test_without_a_place_for_the_record_nothing_is_written(window: Window) -> None:
    window.make_template()
    window.make_project("Shop", window.step("Greet"))
    window.save_template(script=AFTER)
    found = results(window, "--record", "nowhere/record.jsonl", code=1)
    assert "the former copies cannot be kept there" in found["Shop//Greet"][1]
    assert window.versions("Shop") == ["0"]


class Meanwhile:
    """Somebody who does something as soon as the command asks for the first time what `path` names, `after` times later."""

    def __init__(self, window: Window, method: str, path: str, act: Any, *, after: int = 0) -> None:
        self.window, self.method, self.path, self.act, self.after = window, method, path, act, after
        self.done = threading.Event()

    def __enter__(self) -> Meanwhile:
        app = self.window.scene.emulator.app
        self.take = app.faults.take

        def take(method: str, path: str) -> Any:
            if method == self.method and self.path in path and not self.done.is_set():
                if self.after == 0:
                    self.done.set()
                    self.act()
                self.after -= 1
            return self.take(method, path)

        app.faults.take = take  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        self.window.scene.emulator.app.faults.take = self.take  # type: ignore[method-assign]


def test_an_edit_between_the_reading_and_the_update_is_never_lost(window: Window) -> None:
    """Of another step: both are in the process, and it is told. Of the step itself: it is left, and told."""
    window.make_template("Web - Greet", parameter("Greet.Name", "World"))
    window.make_project("Shop", window.step("Greet"), own_step("Own"))
    window.make_project("Web", window.step("Greet"))
    window.save_template(script=AFTER)
    with Meanwhile(window, "POST", "actionsUpdate", lambda: window.edit("Shop", "Own", theirs="1")) as theirs:
        found = results(window, "-p", "Shop")
    assert theirs.done.is_set()
    assert found["Shop//Greet"][1].endswith("meanwhile somebody changed Own: that is kept")
    assert (window.versions("Shop"), window.properties("Shop", "Own")["theirs"]) == (["1", "-"], "1")

    def edit() -> None:
        window.edit("Web", "Greet", Greet__Name="Bob")

    with Meanwhile(window, "GET", "/versions/0", edit) as theirs:
        found = results(window, "-p", "Web", code=1)
    assert theirs.done.is_set()
    assert found["Web//Greet"][1].startswith("somebody changed the step since it was read")
    assert (window.versions("Web"), window.properties("Web", "Greet")["Greet.Name"]) == (["0"], "Bob")
    with Meanwhile(window, "POST", "actionsUpdate", lambda: window.edit("Web", "Greet", Greet__Name="Eve")):
        found = results(window, "-p", "Web")
    assert "Greet.Name: not as it was shown" in found["Web//Greet"][1]
    assert (window.versions("Web"), window.properties("Web", "Greet")["Greet.Name"]) == (["1"], "Eve")


def test_a_value_that_an_update_clears_is_an_alarm(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """OctopusDeploy/Issues 2953."""
    from generator.emulator.resources import updates

    window.make_template("Web - Greet", parameter("Greet.Name"))
    window.make_project("Shop", window.step("Greet", Greet_Name="Ann"))
    window.save_template(script=AFTER)
    real = updates.updated

    def clearing(*arguments: Any, **rest: Any) -> tuple[Document, Document]:
        outcome, properties = real(*arguments, **rest)
        return outcome, {**properties, "Greet.Name": ""}

    monkeypatch.setattr(updates, "updated", clearing)
    found = results(window, code=1)
    assert "its values of Greet.Name are gone: put the former copy back" in found["Shop//Greet"][1]
    monkeypatch.undo()
    [record] = window.records()
    assert window.run("--put-back", record, "--update").exit_code == 0
    now = window.properties("Shop", "Greet")
    assert (now["Greet.Name"], now[VERSION]) == ("Ann", "0")


def test_a_step_that_holds_a_secret_keeps_it(window: Window) -> None:
    window.make_template("Web - Greet", parameter("Greet.Key", control=SECRET))
    window.make_project("Shop", window.step("Greet", Greet_Key=secret(CANARY)))
    window.save_template(script=AFTER)
    assert results(window)["Shop//Greet"] == ("updated", "updated from version 0 to 1, and read back")
    state = window.scene.emulator.state
    [stored] = [item for item in state.collection("DeploymentProcesses").values() if item["Steps"]]
    assert stored["Steps"][0]["Actions"][0]["Properties"]["Greet.Key"].value == CANARY
