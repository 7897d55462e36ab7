"""docs/importing.md, word by word: its files are written, its commands run, and their output is what the page shows.

`--accept` writes the outputs anew; the diff is then reviewed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from generator import cli
from generator.emulator import repositories
from tests.scene import ROOT, Scene, open_scene, own_step

PAGE = ROOT / "docs" / "importing.md"
ADDRESS = "http://127.0.0.1:8065"
RIGHTS = {
    "SpaceView", "ProjectView", "ProcessView", "ProcessEdit", "ActionTemplateView", "VariableView",
    "LibraryVariableSetView", "EnvironmentView",
}  # fmt: skip


def edit_in_the_portal(scene: Scene) -> None:
    """Somebody renames our step and asks for another release."""
    steps = scene.process("Shop")["Steps"]
    ours = next(step for step in steps if step["Name"] == "Deploy Database")
    ours["Name"] = ours["Actions"][0]["Name"] = "Database first"
    ours["Actions"][0]["Properties"]["DeployRelease.Release"] = "highest"
    scene.put_steps("Shop", steps)


def refer_to_our_step(scene: Scene) -> None:
    steps = scene.process("Shop")["Steps"]
    script = "Write-Host $OctopusParameters['Octopus.Action[Database first].Output.Version']"
    steps[-1]["Actions"][0]["Properties"]["Octopus.Action.Script.ScriptBody"] = script
    scene.put_steps("Shop", steps)


def put_docs_in_git(scene: Scene) -> None:
    settings = {
        "Type": "VersionControlled",
        "Url": "https://git.example.com/docs.git",
        "DefaultBranch": "main",
    }
    scene.client.post(
        f"projects/{scene.projects['Docs']['Id']}/git/convert", {"VersionControlSettings": settings}
    )


def take_a_right_away(scene: Scene) -> None:
    """The account may not edit variables, and the tag in the file changes."""
    for name in ("Shop", "Database"):
        scene.set_variables(scene.projects[name]["VariableSetId"], [])


# What people do before the commands of a section.
PEOPLE: Mapping[str, Callable[[Scene], None]] = {
    "What belongs to whom": edit_in_the_portal,
    "Removing": refer_to_our_step,
    "Version-controlled projects": put_docs_in_git,
    "Permissions": take_a_right_away,
}


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    with open_scene() as scene:
        with scene.by_hand():
            for name in ("Octopus - Deploy Release", "Octopus - Wait For Deployment"):
                scene.publish(name)
            scene.make_project("Database", steps=[own_step("Migrate")])
            scene.make_project("Shop", steps=[own_step("Approve"), own_step("Smoke test")])
            scene.make_project("Docs", steps=[own_step("Build site")])
            scene.make_runbook("Shop", "Nightly copy", [own_step("Copy")])
        yield scene


def test_every_line_of_the_page_holds(
    scene: Scene,
    tmp_path: Path,
    accept: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**scene.environ, "CI": "1", "COLUMNS": "140"}.items():
        monkeypatch.setenv(name, value)
    text = PAGE.read_text(encoding="utf-8")
    written = []
    for section in re.split(r"(?=^## )", text, flags=re.MULTILINE):
        title = section.partition("\n")[0].removeprefix("## ")
        if title in PEOPLE:
            with scene.by_hand():
                PEOPLE[title](scene)
        if title == "Permissions":
            monkeypatch.setenv("OCTOPUS_API_KEY", scene.emulator.add_key(permissions=RIGHTS))

        def play(found: re.Match[str]) -> str:
            language, block = found.groups()
            if language == "yaml" and block.startswith("# "):
                (tmp_path / block.partition("\n")[0].removeprefix("# ")).write_text(block, encoding="utf-8")
            if language != "console":
                return found[0]
            lines = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
            return "```console\n" + "\n".join(type_line(line, scene, capfd) for line in lines) + "```"

        written.append(re.sub(r"```(\w+)\n(.*?)```", play, section, flags=re.DOTALL))
    if accept:
        PAGE.write_text("".join(written), encoding="utf-8")
    assert accept or text == "".join(written)
    project = scene.emulator.state.get("Projects", scene.projects["Docs"]["Id"])
    assert repositories.refs(project, "refs/heads/octosteps") == ["refs/heads/octosteps/docs"]


def type_line(line: str, scene: Scene, capfd: pytest.CaptureFixture[str]) -> str:
    """The line and what it prints, as the page shows it."""
    name, *words = shlex.split(line)
    assert name == "octosteps"
    capfd.readouterr()
    with pytest.raises(SystemExit):
        cli.main(words)
    out, err = capfd.readouterr()
    printed = (err + out).replace(scene.emulator.url, ADDRESS)
    return f"$ {line}\n" + re.sub(r"(?<=Checksum )\w+", "92bccc386dc1", printed)
