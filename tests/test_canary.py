"""The canary can die: a key that gets out on any way is found, and the test that let it out fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from generator.emulator import Emulator
from generator.emulator.runner import ScriptJob, start_script
from generator.errors import Refusal
from generator.outcome import Outcome, complain
from tests.canary import PATTERN, Watch, make_key, make_secret
from tests.commandline import here, octosteps

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def key() -> str:
    return make_key()


def test_every_key_that_an_emulator_makes_is_a_canary() -> None:
    with Emulator() as emulator:
        assert PATTERN.fullmatch(emulator.api_key)
        assert PATTERN.fullmatch(emulator.add_key(user="ci"))
    assert PATTERN.fullmatch(make_secret())


def test_what_a_command_gives_back_is_looked_through(watch: Watch, key: str) -> None:
    Outcome(parts=(f"the key is {key}",))
    Outcome(data={"plan": {"key": key}})
    assert ["what a command came to"] * 2 == [found.partition(":")[0] for found in watch.take()]


@pytest.mark.shows_keys("pytest captures what it complains about")
def test_errors_and_tracebacks_are_looked_through(watch: Watch, key: str) -> None:
    Refusal(f"{key} is not accepted")
    complain(f"Traceback: {key}")
    assert 2 == len(watch.take())


def test_processes_are_looked_through(watch: Watch, key: str) -> None:
    subprocess.run([sys.executable, "-c", f"print({key!r})"], capture_output=True, check=True)
    found = watch.take()
    assert {"the arguments of a process", "what a process printed"} == {
        one.partition(":")[0] for one in found
    }
    assert key not in "".join(found), "what is told about it must not let it out again"


def test_a_command_line_is_looked_through(watch: Watch, key: str, tmp_path: Path) -> None:
    octosteps("new", key, folder=tmp_path)
    here("new", key, folder=tmp_path)
    assert {"the arguments of a process", "what a process printed", "an error"} <= {
        one.partition(":")[0] for one in watch.take()
    }


def test_a_scripts_log_is_looked_through_before_it_is_masked(watch: Watch, key: str) -> None:
    job = ScriptJob(script=f"print({key!r})")
    with start_script(job, lambda event: None) as script:
        script.wait(30)
    assert any(one.startswith("what a script printed") for one in watch.take())


def test_a_server_is_looked_through(watch: Watch, key: str) -> None:
    with Emulator() as emulator:
        emulator.state.add("Events", {"Message": key, "SpaceId": "Spaces-1"})
    assert any(one.startswith("the server's Events") for one in watch.take())


def test_files_are_looked_through(watch: Watch, key: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "plan.json").write_text(key)
    watch.look_at_files(tmp_path)
    assert any("plan.json" in one for one in watch.take())
    (tmp_path / "sub" / "plan.json").unlink()


@pytest.mark.shows_keys("pytest shows what a test that failed has printed")
def test_a_test_that_lets_a_key_out_fails() -> None:
    """For real: a run of pytest over a test that prints a key, one that leaves it in a file, and one that says it must."""
    folder = ROOT / "tests" / "cases" / "canary"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(folder / "leaks.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == ended.returncode, ended.stdout + ended.stderr
    assert "1 passed" not in ended.stdout and "4 passed, 3 errors" in ended.stdout, ended.stdout
    assert "ERROR tests/cases/canary/leaks.py::test_prints_it - a key or a secret got out:" in ended.stdout
