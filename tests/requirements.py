"""What a test needs from the machine beyond Python. Without it the test is skipped with its reason printed, unless
OCTOSTEPS_REQUIRE (a comma-separated list, as in `browser,node`) names it: then it fails. CI names them all.
"""

from __future__ import annotations

import os

import pytest

KNOWN = frozenset({"browser", "node"})


def require(name: str, found: bool, reason: str) -> None:
    """Goes on when it was `found`. `name` is one of KNOWN, `reason` a sentence that says what is missing."""
    assert name in KNOWN, f"'{name}' is none of {', '.join(sorted(KNOWN))}"
    if found:
        return
    if name in demanded():
        pytest.fail(f"OCTOSTEPS_REQUIRE demands {name}: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")


def demanded() -> frozenset[str]:
    """What may not be missing here. Errors: ValueError for a name that no test knows."""
    names = frozenset(
        name.strip() for name in os.environ.get("OCTOSTEPS_REQUIRE", "").split(",") if name.strip()
    )
    if names - KNOWN:
        raise ValueError(f"OCTOSTEPS_REQUIRE names {', '.join(sorted(names - KNOWN))}, which no test needs")
    return names
