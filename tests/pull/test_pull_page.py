"""docs/pulling.md, word by word: its files are written, its commands run, and their output is what the page shows.

`--accept` writes the outputs anew; the diff is then reviewed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from generator import cli
from tests.pull.documents import BODY, SYNTAX, make_document, make_parameter
from tests.scene import ROOT, Scene, open_scene, own_step

PAGE = ROOT / "docs" / "pulling.md"
ADDRESS = "http://127.0.0.1:8065"
NAME = "Shop - Notify Team"
SPEC, SCRIPT = Path("step_templates/notify-team.yaml"), Path("templates/steps/notify_team.py")
COORDINATION = """\
name: coordination
projects:
  Shop:
    process: deployment
    steps:
      - key: database
        template: Octopus - Verify Deployment
        name: Verify Database
        before: Announce
        environments: [Production]
        with: {project: Database, environment: Test, version: same, api_key: "#{Coordination.ApiKey}"}
"""
THEIRS = make_document(
    Id="6f5c1d2e-4b77-4d0c-9a51-0d3f2a8c7e11",
    Name=NAME,
    Version=4,
    Description="Tells the team what was deployed.\n\nNeeds an address to *post* to.",
    Author="somebody",
    Properties={
        "Octopus.Action.Script.ScriptSource": "Inline",
        SYNTAX: "Python",
        BODY: "import urllib.request\r\n\r\nprint('#{Octopus.Project.Name} was deployed')\r\n",
    },
    Parameters=[
        make_parameter(
            "NotifyTeam.Url", Label="Address", DefaultValue="", HelpText="Where the team listens."
        ),
        make_parameter(
            "Urgency",
            kind="Select",
            options="low|Low\nhigh|High",
            Label="Urgency",
            DefaultValue="low",
            HelpText="How urgent it is.",
        ),
    ],
)


def start(scene: Scene) -> None:
    Path("notify-team.json").write_text(json.dumps(THEIRS))


def remove_verbatim(scene: Scene) -> None:
    SPEC.write_text(SPEC.read_text().replace("verbatim: true\n", ""))


def edit(scene: Scene, change: Callable[[dict[str, Any]], Any]) -> None:
    found = next(item for item in scene.client.pages("actiontemplates") if item["Name"] == NAME)
    change(found)
    scene.client.put(f"actiontemplates/{found['Id']}", found)


def edit_in_the_portal(scene: Scene) -> None:
    def change(document: dict[str, Any]) -> None:
        document["Description"] = "Tells the team what was deployed, and where."
        document["Parameters"][0]["Label"] = "Address of the team"
        document["Parameters"][1]["DefaultValue"] = "high"
        document["Properties"][BODY] = document["Properties"][BODY].replace(
            '    return f"{project} was deployed"',
            '    environment = parameters.step.variable("Octopus.Environment.Name") or "nowhere"\n'
            '    return f"{project} was deployed to {environment}"',
        )

    edit(scene, change)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "step_templates", "templates"], check=True)


def edit_the_runtime(scene: Scene) -> None:
    def change(document: dict[str, Any]) -> None:
        document["Parameters"][1]["DefaultValue"] = "low"
        document["Properties"][BODY] = document["Properties"][BODY].replace(
            'UNIT_SECONDS = {"d": 86400,', 'UNIT_SECONDS = {"w": 604800, "d": 86400,'
        )

    edit(scene, change)


def put_a_step_into_shop(scene: Scene) -> None:
    for name in (SPEC, SCRIPT, Path("build/notify-team.json"), Path("build/notify-team.py")):
        name.unlink()
    Path("coordination.yaml").write_text(COORDINATION)
    with pytest.raises(SystemExit):
        cli.main(["apply", "coordination.yaml", "--no-prompt"])
    Path("coordination.yaml").unlink()


# What happens before the commands of a section.
BEFORE: Mapping[str, Callable[[Scene], None]] = {
    "Adopting a template that somebody else wrote": start,
    "Step by step to a template of ours": remove_verbatim,
    "Bringing an edit back": edit_in_the_portal,
    "What cannot come back": edit_the_runtime,
    "The steps of a project": put_a_step_into_shop,
}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene() as scene:
        with scene.by_hand():
            scene.publish("Octopus - Verify Deployment")
            scene.make_project("Shop", steps=[own_step("Announce"), own_step("Smoke test")])
        yield scene


def test_every_line_of_the_page_holds(
    scene: Scene,
    tmp_path: Path,
    accept: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        **scene.environ,
        "CI": "1",
        "COLUMNS": "140",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    text = PAGE.read_text(encoding="utf-8")
    written = []
    for section in re.split(r"(?=^## )", text, flags=re.MULTILINE):
        title = section.partition("\n")[0].removeprefix("## ")
        if title in BEFORE:
            BEFORE[title](scene)

        def play(found: re.Match[str]) -> str:
            language, block = found.groups()
            if language in ("yaml", "python") and block.startswith("# "):
                head, _, content = block.partition("\n")
                Path(head.removeprefix("# ")).write_text(content, encoding="utf-8")
            if language != "console":
                return found[0]
            lines = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
            return "```console\n" + "".join(type_line(line, scene, capfd) for line in lines) + "```"

        written.append(re.sub(r"```(\w+)\n(.*?)```", play, section, flags=re.DOTALL))
    if accept:
        PAGE.write_text("".join(written), encoding="utf-8")
    assert accept or text == "".join(written)


def type_line(line: str, scene: Scene, capfd: pytest.CaptureFixture[str]) -> str:
    """The line and what it prints, as the page shows it."""
    name, *words = shlex.split(line)
    capfd.readouterr()
    if name == "octosteps":
        with pytest.raises(SystemExit):
            cli.main(words)
        out, err = capfd.readouterr()
        printed = err + out
    else:
        assert name in ("cat", "git")
        printed = subprocess.run([name, *words], capture_output=True, check=True, text=True).stdout
    printed = printed.replace(scene.emulator.url, ADDRESS)
    printed = re.sub(r"(?<=Checksum )\w+", "92bccc386dc1", printed)
    printed = re.sub(r"(?<= on )\d{4}-\d\d-\d\d \d\d:\d\d", "2026-11-23 09:13", printed)
    printed = re.sub(r"(?<=digest: sha256:)\w+", "...", printed)
    printed = re.sub(r"(?<=^pulled: )\w+", "0123456789abcdef", printed, flags=re.MULTILINE)
    printed = re.sub(r"(?<=^\+pulled: )\w+", "0123456789abcdef", printed, flags=re.MULTILINE)
    printed = re.sub(r"^index .*\n", "", printed, flags=re.MULTILINE)
    return f"$ {line}\n" + re.sub(r"@@ -\d+,?\d* \+\d+,?\d* @@|@@ line \d+ @@", "@@ ... @@", printed)
