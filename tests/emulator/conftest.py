from __future__ import annotations

from collections.abc import Iterator

import pytest
from world import World

from generator.emulator import Emulator


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A running emulator whose hours last seconds. A request that it did not know fails the test, unless the test asks."""
    marker = request.node.get_closest_marker("emulator")
    options = {"speed": 60.0, **(marker.kwargs if marker else {})}
    with Emulator(**options) as emulator:
        yield World(emulator)
        assert request.node.get_closest_marker("unknown_requests") or emulator.refused == []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "emulator(**options): make the emulator of `world` with these options")
    config.addinivalue_line(
        "markers", "unknown_requests: the test sends requests that the emulator does not know"
    )
