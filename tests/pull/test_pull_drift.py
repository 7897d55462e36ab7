"""What people edit in a published template comes home: into the spec with its comments, and into the entry script."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, build, plan, pull
from generator.errors import Problems, Refusal
from generator.outcome import Outcome
from generator.source import parse_source
from tests.pull.documents import BODY, SYNTAX, make_document, make_parameter, write_documents
from tests.scene import ROOT, Scene, open_scene

Document = dict[str, Any]
NAME = "Shop - Greet People"
SPEC = """\
# yaml-language-server: $schema=../.octosteps/schema.json
id: 4c0f5f2e-6f1d-4a39-9d0b-0d3f2a8c7e00   # ours, for ever
name:   "Shop - Greet People"
category: shop
version: 1
description: |
  Says **hello**.

  The account needs no permission.
script: greet_people.py
prefix: GreetPeople
run_on: worker

# Whom, and how.
parameters:
  # The one that is always asked.
  whom: {label: Whom, type: text, required: true, help: Who is greeted.}   # short
  how:
    label: 'How'
    type: choice
    default: loud
    choices: {loud: Loudly, low: Softly}
  times: &number
    label: Times
    type: integer
    default: 3
  pause:
    <<: *number
    label: Pause
    type: duration
    default: 5s
  key: {label: Key, type: secret}
outputs:
  Said: What was said.
"""
SCRIPT = '''\
"""Greets people. (This text is not part of the script in Octopus.)"""

from __future__ import annotations

from typing import Any

from generator.runtime.step import MISCONFIGURED

# How it is said.
LOUD = "{}!"
LOW = "{}"


def unused() -> None:
    """Stands here only."""


def spoken(parameters: Any) -> str:
    text = LOUD if parameters.how == "loud" else LOW
    return text.format(f"Hello, {parameters.whom}")


def main(parameters: Any) -> None:
    step = parameters.step
    if parameters.times < 1 or parameters.pause.total_seconds() < 0:
        step.fail(MISCONFIGURED, "how often?")
    if not parameters.key:
        step.log.verbose("without a key")
    for _ in range(parameters.times):
        step.log.highlight(spoken(parameters))
    step.output("Said", spoken(parameters))
'''


@pytest.fixture(scope="module")
def server() -> Iterator[Scene]:
    with open_scene() as scene:
        yield scene


class Library:
    """A library with one published template, and a person who edits it in the portal."""

    def __init__(self, scene: Scene, root: Path) -> None:
        self.scene, self.root = scene, root
        self.spec = root / "step_templates/greet-people.yaml"
        self.script = root / "templates/steps/greet_people.py"
        for file, text in ((self.spec, SPEC), (self.script, SCRIPT)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, verb: Callable[..., Outcome], **options: Any) -> Outcome:
        return verb(root=self.root, environ=self.scene.environ, **options)

    def publish(self) -> None:
        build.run(root=self.root)
        assert self.run(apply.run).exit_code == 0

    def pull(self, **options: Any) -> Outcome:
        return self.run(pull.run, **{"names": [NAME], **options})

    @property
    def found(self) -> Document:
        return next(item for item in self.scene.client.pages("actiontemplates") if item["Name"] == NAME)

    def edit(self, change: Callable[[Document], Any]) -> None:
        document = self.found
        change(document)
        self.scene.client.put(f"actiontemplates/{document['Id']}", document)

    def edit_script(self, old: str, new: str) -> None:
        def change(document: Document) -> None:
            assert document["Properties"][BODY].count(old) == 1, old
            document["Properties"][BODY] = document["Properties"][BODY].replace(old, new)

        self.edit(change)

    def changes(self) -> dict[str, tuple[str, str]]:
        data: Any = self.run(plan.run).data
        return {change["name"]: (change["action"], change["reason"]) for change in data["changes"]}

    def removed(self) -> list[str]:
        """The lines of the spec that are not there any more."""
        now = self.spec.read_text().split("\n")
        return [line for line in SPEC.split("\n") if line not in now]

    def assert_home(self) -> None:
        """Built, the plan is an update without conflict; applied, it is empty."""
        build.run(root=self.root)
        [(action, _)] = self.changes().values()
        assert action == "update"
        assert self.run(apply.run).exit_code == 0
        assert [action for action, _ in self.changes().values()] == ["leave"]
        data: Any = self.pull().data
        assert [item["state"] for item in data["templates"]] == ["unchanged"]


@pytest.fixture
def library(server: Scene, tmp_path: Path) -> Iterator[Library]:
    library = Library(server, tmp_path)
    library.publish()
    yield library
    with server.by_hand() as client:
        for document in list(client.pages("actiontemplates")):
            client.delete(f"actiontemplates/{document['Id']}")


def parameter(document: Document, name: str) -> Document:
    return next(item for item in document["Parameters"] if item["Name"] == f"GreetPeople.{name}")


def told(outcome: Outcome) -> list[str]:
    data: Any = outcome.data
    [item] = data["templates"]
    return [*item["brought"], *(f"not: {text}" for text in item["left"])]


def test_the_form_comes_home_without_a_lost_comment(library: Library) -> None:
    """Labels, defaults, help, choices, the description and a property; every line that needs no change is the same."""

    def change(document: Document) -> None:
        document["Description"] = "Says **hello** to people.\r\n\r\nThe account needs no permission."
        document["Properties"]["Octopus.Action.EnabledFeatures"] = "Octopus.Features.SubstituteInFiles"
        document["Properties"]["Octopus.Action.RunOnServer"] = "false"
        parameter(document, "Whom").update(
            Label="Who: is it?", HelpText="Who is greeted, and\nwhy.", DefaultValue="World"
        )
        parameter(document, "How")["DisplaySettings"]["Octopus.SelectOptions"] = (
            "loud|Very loudly\nlow|Softly\nno|Not at all"
        )
        parameter(document, "How")["DefaultValue"] = "low"
        parameter(document, "Times").update(DefaultValue="4", Label="How often")

    library.edit(change)
    outcome = library.pull()
    assert (outcome.exit_code, told(outcome)) == (
        0,
        [
            "description",
            "run_on",
            "property Octopus.Action.EnabledFeatures",
            "parameter whom: label",
            "parameter whom: default",
            "parameter whom: help",
            "parameter how: choices",
            "parameter how: default",
            "parameter times: label",
            "parameter times: default",
        ],
    )
    assert library.removed() == [
        "version: 1",
        "  Says **hello**.",
        "run_on: worker",
        "  whom: {label: Whom, type: text, required: true, help: Who is greeted.}   # short",
        "    default: loud",
        "    choices: {loud: Loudly, low: Softly}",
        "    label: Times",
        "    default: 3",
    ]
    assert "# short" in library.spec.read_text()
    data = parse_source(library.spec.read_bytes(), name="").data
    assert data["parameters"]["pause"] == {"label": "Pause", "type": "duration", "default": "5s"}
    assert (data["version"], data["run_on"]) == (2, "targets")
    library.assert_home()


def test_parameters_that_were_added_removed_and_moved_come_home(library: Library) -> None:
    """A new one must be read by the script, and check says so; one that is gone must not be read."""

    def change(document: Document) -> None:
        times, key = parameter(document, "Times"), parameter(document, "Key")
        document["Parameters"] = [item for item in document["Parameters"] if item not in (times, key)]
        document["Parameters"].insert(
            0, make_parameter("GreetPeople.InWhatTone", Id="", Label="Tone", HelpText=None, DefaultValue="")
        )
        document["Parameters"].append(key)
        document["Parameters"][1], document["Parameters"][2] = (
            document["Parameters"][2],
            document["Parameters"][1],
        )

    library.edit(change)
    outcome = library.pull()
    assert told(outcome) == [
        "parameter times removed",
        "parameter in_what_tone added",
        "order of the parameters",
    ]
    data = parse_source(library.spec.read_bytes(), name="").data
    assert list(data["parameters"]) == ["in_what_tone", "how", "whom", "pause", "key"]
    assert data["parameters"]["pause"] == {"label": "Pause", "type": "duration", "default": "5s"}
    assert "# The one that is always asked.\n  whom: {label: Whom" in library.spec.read_text()
    assert outcome.exit_code == 1
    assert [str(problem).partition(": ")[2] for problem in outcome.problems] == [
        "the script never reads the parameter 'in_what_tone'",
        f"the script reads parameters.times, which {library.spec.as_posix()} does not declare",
        f"the script reads parameters.times, which {library.spec.as_posix()} does not declare",
    ]
    library.script.write_text(
        library.script.read_text().replace("parameters.times", "len(parameters.in_what_tone)")
    )
    library.assert_home()


def test_lines_of_the_script_come_home_into_the_entry_script(library: Library) -> None:
    """Changed, added and removed lines, a function and an import; what the bundle leaves out of the file stays in it."""
    library.edit_script('LOUD = "{}!"', 'LOUD = "{}!!"')
    library.edit_script("    return text.format", "    text = text.strip()\n\n    return text.format")
    library.edit_script('    if not parameters.key:\n        step.log.verbose("without a key")\n', "")
    library.edit_script("def main(", "def pause() -> None:\n    time.sleep(1)\n\n\ndef main(")
    library.edit_script(
        "        step.log.highlight(spoken(parameters))\n",
        "        step.log.highlight(spoken(parameters))\n        pause()\n        platform.node()\n",
    )
    library.edit_script("import sys\n", "import platform\nimport sys\n")
    outcome = library.pull()
    assert told(outcome) == ["templates/steps/greet_people.py: the script"]
    expected = (
        SCRIPT.replace('"{}!"', '"{}!!"')
        .replace("    return text.format", "    text = text.strip()\n\n    return text.format")
        .replace('    if not parameters.key:\n        step.log.verbose("without a key")\n', "")
        .replace("def main(", "def pause() -> None:\n    time.sleep(1)\n\n\ndef main(")
        .replace(
            "(spoken(parameters))\n    step",
            "(spoken(parameters))\n        pause()\n        platform.node()\n    step",
        )
        .replace("from typing import Any\n", "from typing import Any\nimport platform\n")
    )
    assert expected == library.script.read_text()
    assert library.removed() == ["version: 1"]


def test_a_script_with_other_line_ends_keeps_them(library: Library) -> None:
    library.script.write_bytes(b"\xef\xbb\xbf" + SCRIPT.replace("\n", "\r\n").encode())
    library.edit_script('LOUD = "{}!"', 'LOUD = "{}!!"')
    assert library.pull().exit_code == 0
    content = library.script.read_bytes()
    assert content == b"\xef\xbb\xbf" + SCRIPT.replace('"{}!"', '"{}!!"').replace("\n", "\r\n").encode()
    library.assert_home()


def test_lines_of_the_runtime_cannot_come_home_and_are_told(library: Library) -> None:
    """With the module, the lines, and what to do; the plan stays a conflict, and what could be brought is brought."""
    library.edit_script("def parse_duration(text: str)", "def parse_duration(text: str = '')")
    library.edit(lambda document: parameter(document, "Whom").update(Label="Who"))
    outcome = library.pull()
    assert outcome.exit_code == 1
    brought, left = told(outcome)
    assert brought == "parameter whom: label"
    assert left.startswith(
        "not: lines in generator/runtime/moments.py, which comes with octosteps and is no file of this library: change it where "
        'octosteps comes from, or give the published text back with octosteps apply --force -n "Shop - Greet People"\n@@ line '
    )
    assert "-def parse_duration(text: str) -> timedelta:" in left
    assert "+def parse_duration(text: str = '') -> timedelta:" in left
    assert "pulled:" not in library.spec.read_text() and "{label: Who," in library.spec.read_text()
    build.run(root=library.root)
    assert library.changes()[NAME][0] == "conflict"
    assert library.run(apply.run, force=True).exit_code == 0
    assert library.changes()[NAME][0] == "leave"


def test_what_only_the_library_changed_stays_and_both_sides_meet(library: Library) -> None:
    """Theirs and ours, each where the other has not moved."""
    library.spec.write_text(SPEC.replace("default: 5s", "default: 9s").replace("version: 1", "version: 7"))
    library.script.write_text(SCRIPT.replace('"how often?"', '"how often, please?"'))
    library.edit(lambda document: parameter(document, "How").update(Label="In what way"))
    library.edit_script('LOUD = "{}!"', 'LOUD = "{}!!"')
    assert told(library.pull()) == ["parameter how: label", "templates/steps/greet_people.py: the script"]
    spec = library.spec.read_text()
    assert "default: 9s" in spec and "label: 'In what way'" in spec and "version: 7" in spec
    assert "how often, please?" in library.script.read_text() and '"{}!!"' in library.script.read_text()
    library.assert_home()


def test_what_both_changed_is_a_conflict_with_both_values(library: Library) -> None:
    library.spec.write_text(SPEC.replace("label: 'How'", "label: 'How loud'"))
    library.script.write_text(SCRIPT.replace('LOUD = "{}!"', 'LOUD = "{}?"'))
    library.edit(lambda document: parameter(document, "How").update(Label="In what way"))
    library.edit_script('LOUD = "{}!"', 'LOUD = "{}!!"')
    before = library.spec.read_text()
    outcome = library.pull()
    assert outcome.exit_code == 1
    assert told(outcome) == [
        "not: parameter how: label was changed here and there: 'How loud' here, 'In what way' there; pull --force takes theirs",
        "not: lines changed here and there: bring these lines into templates/steps/greet_people.py by hand\n@@ line 2 @@\n"
        '-LOUD = "{}!"\n+LOUD = "{}!!"',
    ]
    assert before == library.spec.read_text()
    library.pull(force=True)
    assert "label: 'In what way'" in library.spec.read_text()


def test_what_a_spec_cannot_say_is_told(library: Library) -> None:
    def change(document: Document) -> None:
        document["Name"] = "Shop - Say Hello"
        document["Properties"][SYNTAX] = "Bash"
        parameter(document, "Pause")["DefaultValue"] = "soon"
        parameter(document, "Whom")["Label"] = ""
        document["Parameters"].append(make_parameter("Other.Prefix", Id=""))
        document["Parameters"].append(make_parameter("GreetPeople.Größe", Id=""))

    library.edit(change)
    outcome = library.pull(names=["greet-people"])
    assert told(outcome) == [
        "not: it is called 'Shop - Say Hello' there: Octopus keeps old names reserved, so give it back its name "
        "'Shop - Greet People' on the server, or make it a template of its own: a new id and name",
        f"not: the property {SYNTAX} is 'Bash' there, which octosteps writes itself",
        "not: parameter whom: its label is empty there, and a form needs one",
        "not: parameter pause: the default 'soon' does not fit the type duration: 'soon' is not a duration such as 90s, 30m, 2h, "
        "1d or 1h30m",
        "not: the parameter Other.Prefix was added there, and its name does not begin with GreetPeople.",
        "not: the parameter GreetPeople.Größe was added there under a name that no key of a spec gives",
    ]
    assert SPEC == library.spec.read_text()


def test_an_old_version_that_was_put_back_is_an_edit(library: Library) -> None:
    old = library.found
    library.spec.write_text(
        SPEC.replace("label: 'How'", "label: 'How loud'").replace("version: 1", "version: 2")
    )
    library.publish()
    library.edit(
        lambda document: document.update({k: old[k] for k in ("Properties", "Parameters", "Description")})
    )
    assert "was put back" in library.changes()[NAME][1]
    assert told(library.pull()) == ["parameter how: label"]
    assert "label: 'How'\n" in library.spec.read_text()
    library.assert_home()


def test_an_older_checkout_takes_nothing_from_a_newer_publication(library: Library) -> None:
    library.spec.write_text(SPEC.replace("version: 1", "version: 5").replace("'How'", "'How loud'"))
    library.publish()
    library.spec.write_text(SPEC)
    outcome = library.pull()
    assert "published from a newer revision (5, this spec is 1): update your checkout" in str(outcome.parts)
    assert SPEC == library.spec.read_text()


def test_an_edited_built_in_template_becomes_the_librarys_own(server: Scene, tmp_path: Path) -> None:
    """Its spec and script are copied with the edits in them, and take the built-in one's place."""
    name = "Octopus - Verify Deployment"
    server.publish(name)
    document = next(item for item in server.client.pages("actiontemplates") if item["Name"] == name)
    document["Parameters"][0]["Label"] = "Which project"
    server.client.put(f"actiontemplates/{document['Id']}", document)
    outcome = pull.run(root=tmp_path, names=[name], environ=server.environ)
    assert outcome.exit_code == 0, outcome
    before = (ROOT / "step_templates/verify-deployment.yaml").read_text()
    after = (tmp_path / "step_templates/verify-deployment.yaml").read_text()
    assert len(set(after.split("\n")) - set(before.split("\n"))) == 3  # version, pulled and the label
    assert (tmp_path / "templates/steps/verify_deployment.py").read_bytes() == (
        ROOT / "templates/steps/verify_deployment.py"
    ).read_bytes()
    build.run(root=tmp_path)
    data: Any = plan.run(root=tmp_path, environ=server.environ).data
    assert [change["action"] for change in data["changes"]] == ["update"]
    server.client.delete(f"actiontemplates/{document['Id']}")


# --- templates of others ------------------------------------------------------------------------------------------------------


def make_foreign(server: Scene, **fields: Any) -> Document:
    document = make_document(**fields)
    body = {
        name: value for name, value in document.items() if name not in ("Id", "$Meta", "Category", "Version")
    }
    with server.by_hand() as client:
        made: Document = client.post("actiontemplates", body)
    return made


def test_a_template_of_others_is_adopted_edited_and_published(library: Library) -> None:
    """All of the space: ours is as published, theirs becomes a spec; a change of it is an update, not a conflict."""
    theirs = make_foreign(
        library.scene,
        Parameters=[
            make_parameter(
                "Greet.Key", kind="Sensitive", DefaultValue={"HasValue": True, "NewValue": "CANARY"}
            )
        ],
    )
    outcome = library.pull(names=())
    data: Any = outcome.data
    assert [(item["name"], item["state"]) for item in data["templates"]] == [
        ("Shop - Greet", "new"),
        (NAME, "unchanged"),
    ]
    assert "the server does not show the default of the secret Greet.Key" in str(outcome.parts)
    assert "CANARY" not in "".join(file.read_text() for file in library.root.rglob("*.yaml"))
    assert library.changes()["Shop - Greet"][0] == "leave"
    script = library.root / "templates/steps/shop_greet.ps1"
    script.write_text("Write-Host ours\n")
    assert library.changes()["Shop - Greet"][0] == "update"
    library.publish()
    assert library.changes()["Shop - Greet"][0] == "leave"
    document = library.scene.client.get(f"actiontemplates/{theirs['Id']}")
    document["Properties"][BODY] = "Write-Host theirs\n"
    document["Parameters"][0]["Label"] = "The key"
    with library.scene.by_hand() as client:
        client.put(f"actiontemplates/{theirs['Id']}", document)
    assert library.changes()["Shop - Greet"][0] == "conflict"
    spec = library.root / "step_templates/shop-greet.yaml"
    spec.write_text("# adopted\n" + spec.read_text())
    assert library.pull(names=["shop - greet"]).exit_code == 0
    assert script.read_text() == "Write-Host theirs\n"
    assert spec.read_text().startswith("# adopted\n") and "label: The key" in spec.read_text()
    assert library.changes()["Shop - Greet"][0] == "leave"
    script.write_text("Write-Host both\n")
    assert library.changes()["Shop - Greet"][0] == "update"
    library.publish()
    assert library.changes()["Shop - Greet"][0] == "leave"


def test_a_template_that_changed_here_and_there_is_a_fault(library: Library) -> None:
    theirs = make_foreign(library.scene)
    library.pull(names=["Shop - Greet"])
    (library.root / "templates/steps/shop_greet.ps1").write_text("Write-Host ours\n")
    document = library.scene.client.get(f"actiontemplates/{theirs['Id']}")
    with library.scene.by_hand() as client:
        client.put(f"actiontemplates/{theirs['Id']}", {**document, "Description": "Theirs."})
    with pytest.raises(Problems, match=r"changed here, and in .*, since it was last pulled"):
        library.pull(names=["Shop - Greet"])
    assert library.pull(names=["Shop - Greet"], force=True).exit_code == 0
    assert library.changes()["Shop - Greet"][0] == "leave"


def test_a_file_of_the_library_and_the_server_are_one_template(library: Library, tmp_path: Path) -> None:
    """Pulled from a file, published, edited there, pulled from there: what a server does not know stays the spec's."""
    files = write_documents(tmp_path / "incoming", {"greet.json": make_document(Author="x", Website=None)})
    pull.run(root=library.root, files=files, environ={})
    library.publish()
    document = next(
        item for item in library.scene.client.pages("actiontemplates") if item["Name"] == "Shop - Greet"
    )
    with library.scene.by_hand() as client:
        client.put(f"actiontemplates/{document['Id']}", {**document, "Description": "Theirs."})
    library.pull(names=["Shop - Greet"])
    data = parse_source((library.root / "step_templates/greet.yaml").read_bytes(), name="").data
    assert data["fields"] == {"CommunityActionTemplateId": None, "Author": "x", "Website": None}
    assert (data["description"], data["version"], data["last_modified_by"]) == ("Theirs.", 4, "admin")
    assert data["exported_at"] == "2021-02-22T10:00:00.000Z"


def test_an_unknown_name_is_one_sentence(library: Library) -> None:
    with pytest.raises(
        Refusal, match="has no step template 'Shop - Gret People': did you mean 'Shop - Greet People'"
    ):
        library.pull(names=["Shop - Gret People"])
    with pytest.raises(Refusal, match="not both"):
        library.pull(files=[Path("x.json")])
    shutil.rmtree(library.root / "step_templates")
