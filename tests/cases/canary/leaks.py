"""Tests that let a key out: `tests/test_canary.py` runs them and expects three of them to fail for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.canary import make_key


def test_prints_it() -> None:
    print(f"the key is {make_key()}")


def test_leaves_it_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(make_key())


def test_shows_it_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    print(make_key())
    assert capsys.readouterr().out


@pytest.mark.shows_keys("it is about showing a key")
def test_must_print_it() -> None:
    print(make_key())
