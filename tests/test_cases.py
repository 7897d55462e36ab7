"""Every case folder: specs that build to exactly these files, and faults with exactly these messages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from generator.build_cache import Cache
from generator.build_folder import carry_out, plan_build, staging
from generator.errors import Problems
from generator.step_template import SCRIPT_BODY, digest, from_json, read_marker, to_json
from generator.workspace import Workspace, read_workspace, render_workspace

CASES = Path(__file__).parent / "cases"
VALID = sorted(folder.name for folder in (CASES / "valid").iterdir())
INVALID = sorted(folder.name for folder in (CASES / "invalid").iterdir())


def make_library(case: Path, root: Path) -> None:
    """The case's files where a library has them."""
    specs, scripts = root / "step_templates", root / "templates" / "steps"
    specs.mkdir(parents=True)
    scripts.mkdir(parents=True)
    files = [file for file in case.iterdir() if file.is_file() and file.name != "expected.txt"]
    for file in files:
        if file.name == "octosteps.yaml":
            shutil.copy(file, root)
        else:
            shutil.copy(file, specs if file.suffix == ".yaml" else scripts)
    if not any(file.suffix in (".py", ".j2") for file in files):
        shutil.copy(CASES / "entry.py", scripts)


def read(monkeypatch: pytest.MonkeyPatch, case: Path, root: Path) -> Workspace:
    """The library of a case, seen from its own folder, so that messages read as they do for a person."""
    make_library(case, root)
    monkeypatch.chdir(root)
    return read_workspace(Path(), runtime=CASES / "runtime")


def build(workspace: Workspace) -> None:
    with staging(workspace.root) as staged:
        carry_out(workspace, plan_build(workspace, Cache(tool=""), staged=staged))


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept: bool) -> None:
    """What is built is what the case expects, to the byte, and compiles as a whole."""
    workspace = read(monkeypatch, CASES / "valid" / name, tmp_path)
    build(workspace)
    made = {file.name: file.read_bytes() for file in sorted((tmp_path / "build").iterdir())}
    expected = CASES / "valid" / name / "expected"
    if accept:
        shutil.rmtree(expected, ignore_errors=True)
        expected.mkdir()
        for file, content in made.items():
            (expected / file).write_bytes(content)
    assert {file.name: file.read_bytes() for file in sorted(expected.iterdir())} == made
    for file, content in made.items():
        if file.endswith(".py"):
            compile(content, file, "exec")
            assert b"#{" not in content
            assert b"\r" not in content
            assert content.endswith(b"\n") and not content.endswith(b"\n\n")


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accept: bool) -> None:
    """The whole message is the expected one, `build` says it, too, and nothing is written."""
    file = CASES / "invalid" / name / "expected.txt"
    told = []
    for number, attempt in enumerate((render_workspace, build)):
        root = tmp_path / str(number)
        with pytest.raises(Problems) as caught:
            attempt(read(monkeypatch, CASES / "invalid" / name, root))
        assert not (root / "build").exists()
        told.append(f"{caught.value}\n")
    if accept:
        file.write_text(told[0], encoding="utf-8")
    expected = file.read_text(encoding="utf-8")
    assert [expected, expected] == told


@pytest.mark.parametrize("name", VALID)
def test_two_renderings_give_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, and in another one with another hash seed, seen from another folder."""
    workspace = read(monkeypatch, CASES / "valid" / name, tmp_path / "library")
    first, second = render_workspace(workspace), render_workspace(workspace)
    assert [built.files for built in first] == [built.files for built in second]
    program = (
        "import sys; from pathlib import Path; from generator.workspace import *\n"
        "workspace = read_workspace(Path(sys.argv[1]), runtime=Path(sys.argv[2]))\n"
        "for built in render_workspace(workspace):\n"
        "    for text in built.files.values(): sys.stdout.buffer.write(text.encode())\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "library"), str(CASES / "runtime")],
        env={"PYTHONPATH": str(CASES.parent.parent), "PYTHONHASHSEED": "12345"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert "".join(text for built in first for text in built.files.values()).encode() == there.stdout


@pytest.mark.parametrize("name", VALID)
def test_the_template_survives_its_json(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `to_json` wrote gives the same template back, with its ids, and the header's digest is its own."""
    for built in render_workspace(read(monkeypatch, CASES / "valid" / name, tmp_path)):
        document = to_json(built.template)
        back = from_json(document)
        assert built.template == back
        if built.spec.verbatim:
            continue  # its document is kept, and it has no header
        assert document == to_json(back)
        marker = read_marker({"Properties": {SCRIPT_BODY: built.script}})
        assert marker is not None
        assert (built.spec.id, built.spec.version, digest(built.template)) == (
            marker.spec_id,
            marker.revision,
            marker.digest,
        )
