"""A test that lacks something is skipped with its reason, and fails where OCTOSTEPS_REQUIRE demands the thing."""

from __future__ import annotations

import pytest

from tests.requirements import require


def test_what_is_there_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOSTEPS_REQUIRE", "node")
    require("node", True, "never told")


@pytest.mark.parametrize("demanded", ["", "browser", " , "])
def test_what_is_missing_skips_with_its_reason(monkeypatch: pytest.MonkeyPatch, demanded: str) -> None:
    monkeypatch.setenv("OCTOSTEPS_REQUIRE", demanded)
    with pytest.raises(pytest.skip.Exception, match="node: there is none"):
        require("node", False, "there is none")


@pytest.mark.parametrize("demanded", ["node", "browser, node"])
def test_what_is_missing_and_demanded_fails(monkeypatch: pytest.MonkeyPatch, demanded: str) -> None:
    monkeypatch.setenv("OCTOSTEPS_REQUIRE", demanded)
    with pytest.raises(pytest.fail.Exception, match="OCTOSTEPS_REQUIRE demands node: there is none"):
        require("node", False, "there is none")


def test_a_demand_that_no_test_knows_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOSTEPS_REQUIRE", "nodejs")
    with pytest.raises(ValueError, match="nodejs"):
        require("node", False, "there is none")
