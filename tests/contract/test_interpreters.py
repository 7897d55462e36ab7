"""Finding the Pythons of a machine and making each ready, without touching anything outside the cache folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from generator.emulator.interpreters import Interpreter, find_interpreters, prepare_interpreter
from generator.errors import Refusal


def fake_python(folder: Path, name: str, answer: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{answer}'\n")
    file.chmod(0o755)
    return file


def test_our_own_python_is_found_without_looking_elsewhere() -> None:
    (found,) = find_interpreters({"PATH": "", "HOME": "/nowhere"})
    assert Interpreter(path=sys.executable, version=sys.version_info[:3]) == found


def test_one_of_each_minor_version_is_kept(tmp_path: Path) -> None:
    """On PATH and under pyenv, the highest patch; nothing older, newer, unfinished, free-threaded or not CPython."""
    path, pyenv = tmp_path / "bin", tmp_path / "pyenv"
    fake_python(path, "python3", "cpython|3|8|1|final||x")
    fake_python(path, "python3-config", "cpython|3|9|1|final||x")
    fake_python(path, "python3.7", "cpython|3|7|9|final||x")
    fake_python(path, "python3.13", "cpython|3|13|2|final|t|x")
    fake_python(path, "python3.14", "cpython|3|14|0|candidate||x")
    fake_python(path, "python3.15", "cpython|3|15|0|final||x")
    fake_python(path, "python3.9", "pypy|3|9|0|final||x")
    highest = fake_python(pyenv / "versions" / "3.8.18" / "bin", "python3", "cpython|3|8|18|final||x")
    other = fake_python(pyenv / "versions" / "3.14.1" / "bin", "python3.14", "cpython|3|14|1|final||x")
    fake_python(pyenv / "shims", "python3.9", "cpython|3|9|1|final||x")
    found = find_interpreters({"PATH": f"{path}:{pyenv / 'shims'}", "PYENV_ROOT": str(pyenv)})
    ours = Interpreter(path=sys.executable, version=sys.version_info[:3])
    assert (
        Interpreter(path=str(highest), version=(3, 8, 18)),
        ours,
        Interpreter(path=str(other), version=(3, 14, 1)),
    ) == found


def test_a_prepared_interpreter_has_pycryptodome_and_its_own_version(
    interpreter: Interpreter, python: str
) -> None:
    code = "import sys, Crypto.Cipher.AES; print(*sys.version_info[:3])"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert interpreter.version == tuple(map(int, said.split()))


def test_a_prepared_interpreter_is_made_once(interpreter: Interpreter, tmp_path: Path) -> None:
    first = prepare_interpreter(interpreter.path, tmp_path / "cache")
    made = sorted((tmp_path / "cache").rglob("pyvenv.cfg"))
    assert first == prepare_interpreter(interpreter.path, tmp_path / "cache")
    assert made == sorted((tmp_path / "cache").rglob("pyvenv.cfg"))
    assert len(made) == (0 if interpreter.path == sys.executable else 1)


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho 'no venv here' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(Refusal, match="cannot make a virtual environment: no venv here"):
        prepare_interpreter(str(broken), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == []
