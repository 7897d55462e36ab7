"""What every test may use: the option that accepts new goldens, and the Pythons that a worker could have."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from generator.emulator import Emulator
from generator.emulator.interpreters import Interpreter, find_interpreters, prepare_interpreter
from tests.canary import MARKER, canaries, pytest_runtest_makereport, watch
from tests.clients.contract import uncontracted
from tests.processes import environment_of, watchdogs

__all__ = ["canaries", "pytest_runtest_makereport", "watch"]
INTERPRETERS = find_interpreters()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_report_header() -> str:
    return "scripts run under: " + ", ".join(map(str, INTERPRETERS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `interpreter` (or `python`, its path) runs with every one that was found."""
    if "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", INTERPRETERS, ids=str, indirect=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/test_cases.py --accept` writes what came out into the case folders; the diff is then reviewed."""
    parser.addoption("--accept", action="store_true", help="Write the goldens of tests/cases anew.")


@pytest.fixture(autouse=True, scope="session")
def no_watchdog_outlives_the_tests() -> Iterator[None]:
    """An emulator that stops takes its scripts with it, as a worker that goes down would not: their watchdogs would look for it
    for as long as the steps could have waited."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCTOSTEPS_TEST_PROCESS", str(os.getpid()))
        yield
    for process in watchdogs():
        with suppress(OSError):  # it has ended by itself
            if f"OCTOSTEPS_TEST_PROCESS={os.getpid()}\0" in environment_of(process):
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    """Whether goldens are written instead of compared."""
    return bool(request.config.getoption("--accept"))


@pytest.fixture
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    """One of the interpreters that were found; the test runs with each."""
    found: Interpreter = request.param
    return found


@pytest.fixture
def python(interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of `interpreter`, able to import pycryptodome."""
    return prepare_interpreter(interpreter.path, tmp_path_factory.getbasetemp() / "pythons")


@pytest.fixture(autouse=True, scope="module")
def held_to_the_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where our client and scripts are tested, each request must be known to old servers, or stand in a table with its source."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder in ("clients", "contract", "emulator"):
        yield
        return
    stop, seen = Emulator.stop, []

    def watched(emulator: Emulator) -> None:
        seen.extend(uncontracted(emulator.seen, prefix=emulator.state.virtual_directory))
        stop(emulator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Emulator, "stop", watched)
        yield
    hint = (
        "give them a source in NEWER or IGNORED of tests/clients/contract.py, and a row in docs/emulator.md"
    )
    assert not seen, (
        f"requests that the contract of Octopus Server 2019.6.7 does not have: {sorted(set(seen))}; {hint}"
    )
