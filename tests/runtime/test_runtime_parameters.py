"""From the strings that Octopus keeps to typed values; every bad one named at once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from generator.runtime.moments import moment_or_none, parse_duration, parse_moment, spoken
from generator.runtime.parameters import Secret, parse_parameters, parse_value, reads

OPENER = "#" + "{"


def make_row(kind: str = "text", **changes: Any) -> dict[str, Any]:
    row = {"key": "x", "variable": "P.X", "label": "The X", "type": kind, "required": False, "choices": None}
    return {**row, **changes}


def parse(kind: str, text: str, **changes: Any) -> Any:
    return parse_value(make_row(kind, **changes), text, lambda name: "")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "Web", "Web"),
        ("lines", "a\r\n\r\n  b \n", ("a", "b")),
        ("pairs", "a = 1\nb=x=y\n", {"a": "1", "b": "x=y"}),
        ("pairs", "empty =", {"empty": ""}),
        ("boolean", "True", True),
        ("boolean", "false", False),
        ("integer", "-5", -5),
        ("duration", "1h30m", timedelta(minutes=90)),
        ("duration", "90S", timedelta(seconds=90)),
        ("duration", "1d 2h", timedelta(hours=26)),
        ("step", "Deploy site", "Deploy site"),
        ("worker_pool", "WorkerPools-1", "WorkerPools-1"),
        ("moment", "2026-08-01T10:00:00+02:00", datetime(2026, 8, 1, 8, tzinfo=timezone.utc)),
    ],
)
def test_value(kind: str, text: str, value: object) -> None:
    assert value == parse(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("boolean", "yes", "neither True nor False"),
        ("integer", "1.5", "not a whole number"),
        ("duration", "90", "not a duration such as"),
        ("duration", "-5m", "not a duration"),
        ("duration", "99999999999999d", "longer than any calendar"),
        ("pairs", "no separator", "not of the form: name = value"),
        ("pairs", "a=1\na=2", "'a' is given twice"),
        ("moment", "2026-08-01T10:00", "has no zone"),
        ("moment", "2026-13-01T10:00Z", "is not a moment"),
        ("moment", "tomorrow", "neither a moment"),
        ("moment", "2026-08-01T10:00 Mars/Olympus", "no data for the zone Mars/Olympus"),
        ("version_range", "[2,1]", "no version lies in"),
    ],
)
def test_bad_value(kind: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(kind, text)


def test_choice_by_key_and_by_label() -> None:
    choices = {"fail": "Fail this step", "warn": "Warn and go on"}
    assert ["fail", "warn", "warn"] == [
        parse("choice", text, choices=choices) for text in ("fail", "WARN", "warn and go on")
    ]
    with pytest.raises(ValueError, match="'stop' is none of: fail, warn"):
        parse("choice", "stop", choices=choices)


def test_reference_reads_its_fields() -> None:
    """A certificate's and an account's fields are variables below the parameter's, a package's stand under its own name."""
    variables = {
        "P.Cert.Thumbprint": "AB12",
        "Octopus.Action.Package[P.Pack].PackageVersion": "1.2",
    }
    certificate = parse_value(
        make_row("certificate", variable="P.Cert"), "Certificates-1", variables.__getitem__
    )
    package = parse_value(make_row("package", variable="P.Pack"), "Acme.Web", variables.__getitem__)
    assert ("Certificates-1", "AB12", "1.2") == (
        certificate.id,
        certificate.value("Thumbprint"),
        package.value("PackageVersion"),
    )


def test_secret_shows_nothing() -> None:
    secret = Secret("API-HIDDEN")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", repr([secret])]
    assert not [text for text in shown if "HIDDEN" in text]
    assert secret.reveal() == "API-HIDDEN"


def test_all_faults_together() -> None:
    """One message names every bad value by its label; a grammar of the entry script counts as well."""

    def even(value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value

    @reads(number=even)
    def main(parameters: Any) -> None:
        raise AssertionError("never called")

    table = [
        make_row(key="name", label="Name", required=True, variable="P.Name"),
        make_row("duration", key="limit", label="Limit", variable="P.Limit"),
        make_row("integer", key="number", label="Number", variable="P.Number"),
        make_row(key="where", label="Where", required=True, variable="P.Where"),
        make_row("secret", key="key", label="Key", required=True, variable="P.Key"),
        make_row(key="fine", label="Fine", variable="P.Fine"),
    ]
    values = {
        "P.Limit": "5",
        "P.Number": "3",
        "P.Where": OPENER + "Nowhere}",
        "P.Key": "half" + OPENER + "Key}",
        "P.Fine": "ok",
    }
    form = parse_parameters(table, lambda name: values.get(name, ""), vars(main)["grammars"])
    assert [
        "Name: a value is required",
        "Limit: '5' is not a duration such as 90s, 30m, 2h, 1d or 1h30m",
        "Number: 3 is odd",
        "Where: " + OPENER + "Nowhere} was not resolved",
        "Key: its expression was not resolved",
    ] == [str(fault) for fault in form.faults]
    assert form.parameters.fine == "ok"


def test_unresolved_optional_field_is_not_set_and_told() -> None:
    values = {"P.X": OPENER + "Octopus.Deployment.Tenant.Name}"}
    form = parse_parameters([make_row()], lambda name: values[name])
    assert form.parameters.x is None
    assert [("The X", OPENER + "Octopus.Deployment.Tenant.Name}")] == form.unresolved


def test_unknown_attribute() -> None:
    form = parse_parameters([make_row()], lambda name: "a")
    with pytest.raises(AttributeError, match="no parameter is named 'y'"):
        _ = form.parameters.y


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param(
            "2026-08-01T10:00:00.1234567+00:00", "2026-08-01T10:00:00.123456+00:00", id="seven digits of .NET"
        ),
        pytest.param("2026-08-01 10:00Z", "2026-08-01T10:00:00+00:00", id="Z"),
        pytest.param("2026-08-01T10:00-0430", "2026-08-01T10:00:00-04:30", id="offset without colon"),
        pytest.param("2026-08-01T10:00 UTC", "2026-08-01T10:00:00+00:00", id="UTC"),
    ],
)
def test_moment(text: str, moment: str) -> None:
    assert moment == parse_moment(text).isoformat()


def test_delay_from_now() -> None:
    now = datetime(2026, 8, 1, tzinfo=timezone.utc)
    assert datetime(2026, 8, 1, 1, 30, tzinfo=timezone.utc) == parse_moment("+90m", now)


def test_named_zone_and_the_clock_change() -> None:
    """A local time that does not exist, or exists twice, is refused instead of guessed."""
    pytest.importorskip("zoneinfo")
    assert "2026-08-01T10:00:00+02:00" == parse_moment("2026-08-01T10:00 Europe/Berlin").isoformat()
    for text in ("2026-03-29T02:30 Europe/Berlin", "2026-10-25T02:30 Europe/Berlin"):
        with pytest.raises(ValueError, match="write the offset instead"):
            parse_moment(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 m"),
        (125, "2 m 5 s"),
        (7200, "2 h"),
        (7500, "2 h 5 m"),
        (90000, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_spoken(seconds: float, text: str) -> None:
    assert text == spoken(timedelta(seconds=seconds))


def test_moment_of_a_document_that_has_none() -> None:
    assert [None, None, None] == [moment_or_none(value) for value in (None, "Queued...", 5)]


def test_duration_needs_units_everywhere() -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration("1h30")
