"""What the real command line does with its streams: JSON in every case, consoles without letters, readers that go, full disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commandline import octosteps

NAME = "Größe - 部署 🚀"
SPEC = f"""\
id: 4c0f5f2e-6f1d-4a39-9d0b-0d3f2a8c7e55
name: {NAME}
category: web
version: 1
description: Says what it was given.
script: say.py
prefix: Say
run_on: worker
parameters:
  text: {{label: Text, type: text, required: true}}
  key: {{label: Key, type: secret}}
"""
SCRIPT = """\
def main(parameters):
    print(parameters.text)
    if parameters.key:
        print("the key is", parameters.key.reveal())
        parameters.step.artifact("key.txt", parameters.key.reveal())
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for file, text in {"step_templates/say.yaml": SPEC, "templates/steps/say.py": SCRIPT}.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


def shell(line: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A line for the shell, in which `octosteps` is the command line."""
    command = f'octosteps() {{ "{sys.executable}" -m generator "$@"; }}; {line}'
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "PYTHONUTF8": "1",
        **environ,
    }
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        encoding=environ.get("PYTHONIOENCODING", "utf-8"),
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "key"),
    [
        pytest.param(("check",), 0, "problems", id="nothing is wrong"),
        pytest.param(("check", "none.yaml"), 1, "problems", id="problems"),
        pytest.param(("bump", "none"), 1, "refused", id="a refusal"),
        pytest.param(("check", "--none"), 2, "usage", id="an unknown option"),
        pytest.param(("none",), 2, "usage", id="an unknown command"),
        pytest.param(("run", NAME, "--set", "text=x"), 0, "log", id="a run"),
        pytest.param(("run", NAME), 1, "message", id="a run that fails"),
    ],
)
def test_json_is_one_document_whatever_happens(
    library: Path, words: tuple[str, ...], code: int, key: str
) -> None:
    ended = octosteps(*words, "-f", "json", folder=library)
    assert code == ended.exit_code, ended
    assert key in json.loads(ended.out), ended


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_console_that_lacks_letters(library: Path, encoding: str, form: str) -> None:
    """What it cannot show is shown as code; as JSON it is still the same text."""
    line = f"octosteps run '{NAME}' --set 'text=部' -f {form}"
    ended = shell(line, library, PYTHONIOENCODING=encoding)
    assert 0 == ended.returncode, ended
    if form == "json":
        assert NAME == json.loads(ended.stdout)["name"]
    else:
        assert ("部" if encoding == "utf-8" else "\\u90e8") in ended.stdout


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param("octosteps check", 0, id="nothing is wrong"),
        pytest.param("octosteps build --check", 1, id="not current"),
        pytest.param("octosteps bump none 2>&1", 1, id="a refusal"),
        pytest.param(f"octosteps run '{NAME}' --set text=x", 0, id="a log"),
    ],
)
def test_a_reader_that_has_seen_enough(library: Path, line: str, code: int) -> None:
    """No traceback, and the exit code is the command's own."""
    ended = shell(f"{line} | true; echo ${{PIPESTATUS[0]}}", library)
    assert f"{code}\n" == ended.stdout
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream(library: Path, stream: str) -> None:
    ended = shell(f"octosteps check {stream}", library)
    assert 0 == ended.returncode, ended
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("form", ["table", "json"])
def test_output_that_cannot_be_written(library: Path, form: str) -> None:
    ended = shell(f"octosteps check -f {form} > /dev/full", library)
    assert 1 == ended.returncode
    assert "octosteps: the output cannot be written: No space left on device\n" == ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ulimit")
@pytest.mark.parametrize("specs", [1, 100], ids=["one spec", "specs for several processes"])
def test_a_disk_that_is_full(library: Path, specs: int) -> None:
    """One sentence, and `build/` as it was. A limit of the size of files stands for the disk's."""
    for number in range(specs - 1):
        text = SPEC.replace("4c0f5f2e", f"{number:08}").replace("prefix: Say", f"prefix: Say{number}")
        file = library / f"step_templates/say-{number}.yaml"
        file.write_text(text.replace("🚀", str(number)), encoding="utf-8")
    ended = shell("ulimit -f 2; octosteps build", library, PYTHONDONTWRITEBYTECODE="1")
    assert 1 == ended.returncode, ended
    assert "cannot be written: File too large" in ended.stderr and "Traceback" not in ended.stderr
    assert not (library / "build").exists()
    assert [".gitignore"] == [file.name for file in (library / ".octosteps").iterdir()]


def test_interrupted(library: Path) -> None:
    """Ctrl-C ends the command with 130 and one word."""
    with subprocess.Popen(
        [sys.executable, "-m", "generator", "run", NAME, "--set", "text=x"],
        cwd=library,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        (library / "templates/steps/say.py").write_text(SCRIPT)
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (130, "octosteps: interrupted") == (process.returncode, err.strip())


def test_a_secret_is_masked_in_all_that_a_run_shows(library: Path) -> None:
    """As Octopus does it, whatever a script prints."""
    for form in ("table", "json", "basic"):
        ended = octosteps(
            "run", NAME, "--set", "text=x", "--set", "key=env:KEY", "-f", form,
            folder=library, environ={"KEY": "CANARY-of-the-key"},
        )  # fmt: skip
        assert 0 == ended.exit_code, ended
        assert "CANARY" not in ended.out + ended.err
