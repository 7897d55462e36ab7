"""Release numbers: order, ranges, choices."""

from __future__ import annotations

import pytest

from generator.runtime.releases import is_newer, parse_release_choice, parse_wanted_release
from generator.runtime.versions import parse_version, parse_version_range


def test_semver_precedence() -> None:
    """The example of semver.org, section 11, with what NuGet and Octopus add: four places, a leading v, case."""
    ordered = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "v1.0.0.1",
        "1.9",
        "1.10",
        "2026.01.02",
        "2026.10.1",
    ]
    assert ordered == sorted({*ordered}, key=lambda text: parse_version(text).rank())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("1.0", "1.0.0.0", id="missing places are zero"),
        pytest.param("1.0.0+linux", "1.0.0+windows", id="build metadata does not count"),
        pytest.param("1.0.0-RC.1", "1.0.0-rc.1", id="pre-release words ignore case"),
        pytest.param("2026.08.01", "2026.8.1", id="leading zeros do not count"),
    ],
)
def test_equal_rank(one: str, other: str) -> None:
    assert parse_version(one).rank() == parse_version(other).rank()


@pytest.mark.parametrize("text", ["", "1.2.3.4.5", "1..2", "1.2-", "a.b", "1.2 3", "-1"])
def test_not_a_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        pytest.param("1.2.3", ["1.2.3", "1.2.3.0"], ["1.2.4", "1.2.3-rc.1"], id="exact"),
        pytest.param("[1.2.3]", ["1.2.3"], ["1.2.2"], id="exact in brackets"),
        pytest.param("[1.0,2.0)", ["1.0", "1.5", "2.0.0-rc.1"], ["0.9", "2.0", "1.0-rc.1"], id="half open"),
        pytest.param("(1.0,2.0]", ["1.0.1", "2.0"], ["1.0", "2.0.1"], id="half open below"),
        pytest.param("[1.0,)", ["1.0", "99.0"], ["0.9.9"], id="no upper end"),
        pytest.param("(,2.0)", ["0.1", "1.9"], ["2.0"], id="no lower end"),
        pytest.param(" [ 1.0 , 2.0 ] ", ["1.0", "2.0"], ["2.0.1"], id="blanks do not matter"),
        pytest.param("2026.4.*", ["2026.4.0", "2026.4.7-beta"], ["2026.5.0", "2026.40.1"], id="wildcard"),
        pytest.param("*", ["0.0.1", "7"], [], id="any"),
    ],
)
def test_range(text: str, inside: list[str], outside: list[str]) -> None:
    admitted = parse_version_range(text)
    assert ([True] * len(inside), [False] * len(outside)) == (
        [admitted.admits(parse_version(one)) for one in inside],
        [admitted.admits(parse_version(one)) for one in outside],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[2.0,1.0)", "no version lies in", id="upside down"),
        pytest.param("(1.0,1.0)", "no version lies in", id="empty"),
        pytest.param("[1.0,2.0", "must end with", id="not closed"),
        pytest.param("(1.0)", "must have two ends", id="one open end"),
        pytest.param("[,]", "one or two ends", id="no end"),
        pytest.param("[1,2,3]", "one or two ends", id="three ends"),
        pytest.param("[a,b]", "'a' is not a version", id="words"),
        pytest.param("newest", "neither a version", id="neither"),
    ],
)
def test_broken_range(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_version_range(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("latest", "latest"),
        ("Highest", "highest"),
        (" same ", "same"),
        ("1.2.3", "exact"),
        ("hotfix-7", "exact"),
        ("2026.4.*", "range"),
        ("[1.0,2.0)", "range"),
    ],
)
def test_release_choice(text: str, rule: str) -> None:
    assert rule == parse_release_choice(text).rule


def test_wanted_release_knows_no_latest() -> None:
    with pytest.raises(ValueError, match="says nothing here"):
        parse_wanted_release("latest")


@pytest.mark.parametrize(
    ("wanted", "number", "admitted"),
    [
        pytest.param("1.0", "1.0.0", True, id="versions are compared as such"),
        pytest.param("Hotfix-A", "hotfix-a", True, id="other numbers as text, ignoring case"),
        pytest.param("hotfix", "1.0", False, id="a word is no version"),
        pytest.param("[1.0,2.0)", "hotfix", False, id="a word lies in no range"),
    ],
)
def test_wanted_release_admits(wanted: str, number: str, admitted: bool) -> None:
    assert admitted is parse_wanted_release(wanted).admits(number)


def test_is_newer() -> None:
    assert [True, False, False, None] == [
        is_newer("1.10", "1.9"),
        is_newer("1.9", "1.9.0"),
        is_newer("1.0-rc.1", "1.0"),
        is_newer("hotfix", "1.0"),
    ]
