"""What every test may use: the option that accepts new goldens, and the Pythons that a worker could have."""

from __future__ import annotations

import pytest

from generator.emulator.interpreters import Interpreter, find_interpreters, prepare_interpreter

INTERPRETERS = find_interpreters()


def pytest_report_header() -> str:
    return "scripts run under: " + ", ".join(map(str, INTERPRETERS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `interpreter` (or `python`, its path) runs with every one that was found."""
    if "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", INTERPRETERS, ids=str, indirect=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/test_cases.py --accept` writes what came out into the case folders; the diff is then reviewed."""
    parser.addoption("--accept", action="store_true", help="Write the goldens of tests/cases anew.")


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
