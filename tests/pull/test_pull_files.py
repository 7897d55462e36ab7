"""`octosteps pull FILE ...`: which files are written, what is updated in place, and what is never touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from generator.commands import build, check, pull
from generator.errors import Problems
from generator.outcome import Outcome
from tests.commandline import octosteps
from tests.pull.documents import BODY, ID, SYNTAX, make_document, make_parameter, write_documents

SPEC, SCRIPT = "step_templates/shop-greet.yaml", "templates/steps/shop_greet.ps1"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    root.mkdir()
    return root


def run(library: Path, *documents: dict[str, Any], name: str = "shop-greet.json", **options: Any) -> Outcome:
    files = write_documents(
        library.parent / "incoming",
        {name if not number else f"{number}-{name}": document for number, document in enumerate(documents)},
    )
    return pull.run(root=library, files=files, environ={}, **options)


def states(outcome: Outcome) -> list[str]:
    data: Any = outcome.data
    return [item["state"] for item in data["templates"]]


def faults(library: Path, *contents: bytes | dict[str, Any]) -> list[str]:
    """What is wrong with files of these contents, as a person reads it."""
    folder = library.parent / "bad"
    folder.mkdir()
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"{number}.json")
        files[-1].write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(Problems) as caught:
        pull.run(root=library, files=files, environ={})
    assert not any(library.rglob("*.yaml"))
    return [str(problem).replace(f"{folder.as_posix()}/", "") for problem in caught.value.problems]


def test_a_template_becomes_a_spec_that_reads_well(library: Path) -> None:
    """Words for what has words, blocks for Markdown, the script in a file with its ending, the rest under `fields`."""
    document = make_document(
        Author="x",
        Parameters=[
            make_parameter(HelpText="One.\n\nTwo."),
            make_parameter(
                "Greet.How", kind="Select", options="loud|Loudly\nlow|Softly", DefaultValue="loud"
            ),
            make_parameter("Greet.Key", kind="Sensitive", DefaultValue=None, Links={}),
        ],
    )
    outcome = run(library, document)
    assert outcome.parts == [
        f"  + Shop - Greet: {library / SPEC}, {library / SCRIPT}",
        "1 step template: 1 new.",
        "Next: octosteps check, then octosteps build.",
    ]
    assert (library / SCRIPT).read_text() == "Write-Host $OctopusParameters['Greet.Whom']\n"
    lines = (library / SPEC).read_text().split("\n")
    pulled = lines.pop(5)
    assert pulled.startswith("pulled: ") and len(pulled) == 24
    assert (
        "\n".join(lines)
        == f"""\
# yaml-language-server: $schema=../.octosteps/schema.json
id: {ID}
name: Shop - Greet
category: shop
version: 3
verbatim: true
action_type: Octopus.Script
description: |-
  Says **hello**.

  Twice.
script: shop_greet.ps1
parameters:
  Greet.Whom:
    label: Whom
    type: text
    default: World
    help: |-
      One.

      Two.
    id: c0a8f1f4-0b52-4d0f-9a51-f5a1a7a2b7c3
  Greet.How:
    label: Whom
    type: choice
    default: loud
    choices:
      loud: Loudly
      low: Softly
    help: Whom to greet.
    id: c0a8f1f4-0b52-4d0f-9a51-f5a1a7a2b7c3
  Greet.Key:
    label: Whom
    type: secret
    default: null
    help: Whom to greet.
    id: c0a8f1f4-0b52-4d0f-9a51-f5a1a7a2b7c3
    fields:
      Links: {{}}
properties:
  Octopus.Action.Script.ScriptSource: Inline
  Octopus.Action.Script.Syntax: PowerShell
packages: []
fields:
  CommunityActionTemplateId: null
  Author: x
exported_at: 2021-02-22T10:00:00.000Z
octopus_version: 2020.5.256
last_modified_by: somebody
""".replace("exported_at: 2021-02-22T10:00:00.000Z", 'exported_at: "2021-02-22T10:00:00.000Z"')
    )


@pytest.mark.parametrize(
    ("syntax", "ending"),
    [
        *(("PowerShell", "ps1"), ("Bash", "sh"), ("Python", "py"), ("CSharp", "csx"), ("FSharp", "fsx")),
        *((None, "ps1"), ("Cobol", "txt")),
    ],
)
def test_scripts_get_their_ending(library: Path, syntax: str | None, ending: str) -> None:
    properties = {BODY: "x"} if syntax is None else {BODY: "x", SYNTAX: syntax}
    run(library, make_document(Properties=properties))
    assert [f"shop_greet.{ending}"] == [file.name for file in (library / "templates/steps").iterdir()]


def test_further_scripts_have_files_of_their_own(library: Path) -> None:
    run(
        library,
        make_document(
            Properties={
                BODY: "a",
                "Octopus.Action.CustomScripts.PreDeploy.sh": "b",
                "Octopus.Action.CustomScripts.PostDeploy.ps1": "c",
                f"{BODY}[Python]": "d",
            }
        ),
    )
    made = {file.name: file.read_text() for file in (library / "templates/steps").iterdir()}
    assert made == {
        "shop_greet.ps1": "a",
        "shop_greet.PreDeploy.sh": "b",
        "shop_greet.PostDeploy.ps1": "c",
        "shop_greet.Python.py": "d",
    }


def test_line_ends_survive_what_git_makes_of_them(library: Path) -> None:
    """A script with CR LF is kept with LF, and `build` gives CR LF back whatever a checkout has made of the file."""
    run(library, make_document(Properties={BODY: "a\r\nb\r\n", SYNTAX: "Bash"}))
    script = library / "templates/steps/shop_greet.sh"
    assert script.read_bytes() == b"a\nb\n" and "line_ends: crlf" in (library / SPEC).read_text()
    for content in (b"a\nb\n", b"a\r\nb\r\n"):
        script.write_bytes(content)
        build.run(root=library)
        made = json.loads((library / "build/shop-greet.json").read_text())
        assert made["Properties"][BODY] == "a\r\nb\r\n"


def test_mixed_line_ends_and_a_byte_order_mark_are_kept_byte_for_byte(library: Path) -> None:
    run(library, make_document(Properties={BODY: "\ufeffa\r\nb\nc\r", SYNTAX: "Bash"}))
    assert (library / "templates/steps/shop_greet.sh").read_bytes() == b"\xef\xbb\xbfa\r\nb\nc\r"
    assert "line_ends: mixed" in (library / SPEC).read_text()


def test_a_file_with_a_byte_order_mark_and_a_folder_are_read(library: Path) -> None:
    folder = library.parent / "folder"
    folder.mkdir()
    (folder / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(make_document()).encode())
    (folder / "notes.txt").write_text("not a template")
    assert states(pull.run(root=library, files=[folder], environ={})) == ["new"]


# --- again ----------------------------------------------------------------------------------------------------------------


def contents(library: Path) -> dict[str, bytes]:
    return {
        file.relative_to(library).as_posix(): file.read_bytes()
        for file in sorted(library.rglob("*"))
        if file.is_file() and ".octosteps" not in file.parts
    }


def test_pulling_again_changes_nothing(library: Path) -> None:
    run(library, make_document())
    before = contents(library)
    assert states(run(library, make_document())) == ["unchanged"]
    assert before == contents(library)


def test_a_newer_file_is_brought_into_the_spec_with_its_comments(library: Path) -> None:
    """Name of the files, order, quotes and comments stay; only lines that differ are other ones."""
    run(library, make_document())
    spec = library / "step_templates/greeting.yml"
    text = (library / SPEC).read_text()
    text = text.replace("label: Whom", "label: 'Whom'   # asked often").replace("name: ", "# ours\nname: ")
    (library / SPEC).unlink()
    spec.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    newer = make_document(
        Version=4, Parameters=[make_parameter(Label="Who"), make_parameter("Greet.New")], Author="z"
    )
    newer["Properties"] = {**newer["Properties"], BODY: "new\n"}
    assert states(run(library, newer)) == ["updated"]
    content = spec.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and content.count(b"\r\n") == content.count(b"\n")
    after = content.decode("utf-8-sig").replace("\r\n", "\n")
    assert "# ours\nname: " in after and "label: 'Who'   # asked often\n" in after
    assert [line for line in text.split("\n") if line not in after.split("\n")] == [
        "version: 3",
        text.split("\n")[6],
        "    label: 'Whom'   # asked often",
    ]
    assert (library / SCRIPT).read_text() == "new\n"
    assert states(run(library, newer)) == ["unchanged"]


def test_what_changed_here_only_stays(library: Path) -> None:
    run(library, make_document())
    (library / SCRIPT).write_text("ours\n")
    outcome = run(library, make_document())
    assert states(outcome) == ["kept"] and (library / SCRIPT).read_text() == "ours\n"


def test_what_changed_here_and_there_is_a_fault_that_force_decides(library: Path) -> None:
    run(library, make_document())
    (library / SCRIPT).write_text("ours\n")
    newer = make_document(Description="Newer.")
    with pytest.raises(
        Problems, match=r"shop-greet.yaml:3:7: changed here, and in .*: --force|--force takes"
    ):
        run(library, newer)
    assert (library / SCRIPT).read_text() == "ours\n"
    assert states(run(library, newer, force=True)) == ["updated"]
    assert (library / SCRIPT).read_text() == make_document()["Properties"][BODY]


def test_nothing_unrelated_is_overwritten(library: Path) -> None:
    """A script or JSON of another kind that has the name already: the next name is taken."""
    script = library / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text("somebody's own")
    run(library, make_document())
    assert script.read_text() == "somebody's own"
    assert (library / "step_templates/shop-greet-2.yaml").exists()
    assert (library / "templates/steps/shop_greet_2.ps1").exists()


def test_an_interrupted_run_is_finished_by_the_next(library: Path) -> None:
    """The spec is written last: a script without one is what a killed run left."""
    script = library / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(make_document()["Properties"][BODY])
    run(library, make_document())
    assert [SPEC, SCRIPT] == list(contents(library))


def test_one_file_name_in_two_folders_gives_two_specs(library: Path) -> None:
    one, two = library.parent / "one", library.parent / "two"
    files = [
        *write_documents(one, {"con.json": make_document()}),
        *write_documents(two, {"con.json": make_document(Id=ID[:-1] + "9", Name="Shop - Other")}),
    ]
    pull.run(root=library, files=files, environ={})
    made = sorted(file.name for file in (library / "step_templates").iterdir())
    assert made == ["con-template-2.yaml", "con-template.yaml"]


# --- faults ---------------------------------------------------------------------------------------------------------------


def test_every_fault_of_every_file_is_told_and_nothing_written(library: Path) -> None:
    told = faults(
        library,
        b"",
        b"{\n  'Name': 1}",
        b"[1]",
        b'{"Name": "", "Properties": []}',
        b'{"a": \xff}',
        "{}".encode("utf-16"),
        b'{"Name": "A", "ActionType": "B", "Properties": {}, "Name": "C"}',
        b'{"Name": "A", "ActionType": "B", "Properties": {"x": "\\ud83d", "y": NaN}}',
        b'{"Name": "A", "ActionType": "B", "Properties": {"": {"x": "\\ud83d"}, "y": 1e999}}',
        b'{"$Meta": {"Type": "ProcessTemplate"}}',
        b'{"Name": "A", "ActionType": "B", "Properties": {"x": ' + b"[" * 70 + b"]" * 70 + b"}}",
        make_document(),
        make_document(Name="Shop - Other"),
        make_document(Id=ID[:-1] + "9"),
    )
    assert told == [
        "0.json:1:1: the file is empty",
        "1.json:2:3: not JSON: expecting property name enclosed in double quotes",
        "10.json:1:1: nested deeper than 56 levels",
        "12.json:1:1: the Id '0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f00' is that of "
        f"{library.parent}/bad/11.json: every server's copy is recognised by it (give one of both a fresh GUID)".replace(
            f"{library.parent}/bad/", ""
        ),
        "13.json:1:1: the name 'Shop - Greet' is that of 11.json: Octopus knows a step template by its name (rename one of both)",
        "2.json:1:1: no step template: the file holds a list, not one template",
        "3.json:1:1: no step template: the field 'ActionType' is missing",
        "3.json:1:1: no step template: the field 'Name' must be a text",
        "3.json:1:1: no step template: the field 'Properties' must be an object",
        "4.json:1:7: not UTF-8: the byte 0xFF cannot stand here (save the file as UTF-8)",
        "5.json:1:1: not UTF-8: this looks like UTF-16 (save the file as UTF-8)",
        "6.json:1:1: the field 'Name' stands twice in one object",
        "7.json:1:1: not JSON: NaN is no number",
        "8.json:1:1: a field has no name",
        "8.json:1:1: a number is larger than computers count",
        "8.json:1:1: a text holds half a character, U+D83D, which no UTF-8 file can hold",
        "9.json:1:1: no step template: its $Meta.Type is 'ProcessTemplate'",
    ]


def test_the_command_line_tells_faults_as_it_tells_all_others(library: Path) -> None:
    ended = octosteps("pull", "nothing.json", folder=library)
    assert (ended.exit_code, ended.err) == (
        1,
        "nothing.json:1:1: cannot be read: No such file or directory\n",
    )
    (library / "empty").mkdir()
    ended = octosteps("pull", "empty", folder=library)
    assert (ended.exit_code, ended.err) == (1, "empty:1:1: the folder holds no .json file\n")
    ended = octosteps("pull", folder=library)
    assert ended.exit_code == 1 and "no server is named" in ended.err


# --- towards a template of ours ----------------------------------------------------------------------------------------------


def test_warnings_do_not_stop_and_come_again(library: Path) -> None:
    """Expressions in Python, bare names and secrets' defaults: told by `check`, also when nothing has changed since."""
    run(
        library,
        make_document(
            Properties={BODY: "print('x')\nprint('#{X}')\n", SYNTAX: "Python"},
            Parameters=[
                make_parameter("Whom"),
                make_parameter("Greet.Key", kind="Sensitive", DefaultValue="in the open"),
                make_parameter("Greet.Bound", kind="Sensitive", DefaultValue="#{Shop.Key}"),
            ],
        ),
    )
    build.run(root=library)
    for _ in range(2):
        outcome = check.run(root=library)
        assert [str(part).replace(f"{library}/", "") for part in outcome.parts] == [
            "warning: step_templates/shop-greet.yaml:15:3: without a prefix a project variable of the same name hides a "
            "parameter: 'Whom'",
            "warning: step_templates/shop-greet.yaml:24:5: everybody can read the default of the secret 'Greet.Key', and "
            "apply does not publish it",
            "warning: templates/steps/shop_greet.py:2:8: Octopus replaces '#{' here before Python reads the script",
            "1 step template, no problems, 3 warnings.",
        ]


def test_a_spec_that_is_gone_takes_its_json_with_it(library: Path) -> None:
    """`build` removes what it made, and nothing that somebody has changed or put there."""
    run(library, make_document(), make_document(Id=ID[:-1] + "9", Name="Shop - Other"))
    build.run(root=library)
    (library / SPEC).unlink()
    (library / "build/mine.json").write_text("{}")
    outcome = build.run(root=library)
    assert f"removed {library}/build/shop-greet.json: its spec is gone" in outcome.parts
    assert sorted(file.name for file in (library / "build").iterdir()) == ["1-shop-greet.json", "mine.json"]


def test_only_python_is_run(library: Path) -> None:
    run(library, make_document())
    ended = octosteps("run", "Shop - Greet", folder=library)
    assert (ended.exit_code, ended.err) == (
        1,
        "octosteps: Shop - Greet is PowerShell: only Python scripts run here\n",
    )


def test_the_same_from_the_command_line(library: Path) -> None:
    """With -f json nothing but JSON is printed, and git finds the built file equal to the pulled one."""
    write_documents(library, {"greet.json": make_document()})
    ended = octosteps("pull", "greet.json", "-f", "json", folder=library)
    assert (ended.exit_code, ended.err) == (0, "")
    assert json.loads(ended.out)["templates"][0]["state"] == "new"
    assert octosteps("build", folder=library).exit_code == 0
    dump = "import json,sys; print(json.dumps(json.load(open(sys.argv[1])), sort_keys=True))"
    both = [
        subprocess.run(["python3", "-c", dump, library / file], capture_output=True, check=True).stdout
        for file in ("greet.json", "build/greet.json")
    ]
    assert both[0] == both[1]
