"""What every test may use: the option that accepts new goldens."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/test_cases.py --accept` writes what came out into the case folders; the diff is then reviewed."""
    parser.addoption("--accept", action="store_true", help="Write the goldens of tests/cases anew.")


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    """Whether goldens are written instead of compared."""
    return bool(request.config.getoption("--accept"))
