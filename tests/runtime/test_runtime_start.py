"""When a child begins: every way to write it, and what a clock change does to it."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from generator.runtime.moments import parse_start

NOW = datetime(
    2026, 3, 25, 12, 0, tzinfo=timezone.utc
)  # a Wednesday, four days before Europe's clocks go forward


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("+90m", "2026-03-25T13:30", id="delay"),
        pytest.param("2026-04-01T10:00+02:00", "2026-04-01T08:00", id="moment"),
        pytest.param("22:00 +02:00", "2026-03-25T20:00", id="later today"),
        pytest.param("13:30 +02:00", "2026-03-26T11:30", id="that is over for today"),
        pytest.param("12:00 Z", "2026-03-26T12:00", id="now is not later"),
        pytest.param("Wed 23:00 UTC", "2026-03-25T23:00", id="this weekday"),
        pytest.param("wednesday 09:00 UTC", "2026-04-01T09:00", id="this weekday, over for today"),
        pytest.param("MON 22:00 Europe/Berlin", "2026-03-30T20:00", id="next Monday, in summer time already"),
        pytest.param(
            "Sat 22:00 Europe/Berlin", "2026-03-28T21:00", id="Saturday before, in winter time still"
        ),
        pytest.param(
            "Sun 02:30 Europe/Berlin",
            "2026-03-29T01:30",
            id="skipped by the clock change: 03:30 in summer time",
        ),
        pytest.param("Thu 01:00 +14:00", "2026-04-01T11:00", id="a weekday that begins far in the east"),
    ],
)
def test_start(text: str, expected: str) -> None:
    assert datetime.fromisoformat(expected + "+00:00") == parse_start(text, NOW)


def test_a_time_that_comes_twice_is_the_first() -> None:
    before = datetime(2026, 10, 24, 12, 0, tzinfo=timezone.utc)
    assert datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc) == parse_start(
        "Sun 02:30 Europe/Berlin", before
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("2020-01-01T00:00Z", "lies in the past", id="past"),
        pytest.param("Mon 22:00", "is neither a moment", id="no zone"),
        pytest.param("25:00 Z", "is not a time of day", id="no time"),
        pytest.param(
            "Mon 22:00 Europe/Atlantis", "has no data for the zone Europe/Atlantis", id="unknown zone"
        ),
        pytest.param(
            "2026-10-25T02:30 Europe/Berlin", "ambiguous or skips it", id="a date in full must be clear"
        ),
        pytest.param("22:00 +99:00", "an offset that no place has", id="no offset"),
    ],
)
def test_what_is_no_start(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_start(text, NOW)
