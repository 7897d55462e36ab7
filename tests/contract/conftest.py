"""Every CPython of this machine that a worker could have, made ready for Octopus' bootstrap."""

from __future__ import annotations

import pytest

from generator.emulator.interpreters import Interpreter, find_interpreters, prepare_interpreter

INTERPRETERS = find_interpreters()


def pytest_report_header() -> str:
    return "scripts run under: " + ", ".join(map(str, INTERPRETERS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", INTERPRETERS, ids=str, indirect=True)


@pytest.fixture
def interpreter(request: pytest.FixtureRequest) -> Interpreter:
    """One of the interpreters that were found; the test runs with each."""
    found: Interpreter = request.param
    return found


@pytest.fixture
def python(interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of `interpreter`, able to import pycryptodome."""
    return prepare_interpreter(interpreter.path, tmp_path_factory.getbasetemp() / "pythons")
