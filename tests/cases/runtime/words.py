"""Text."""

from __future__ import annotations

import re
from typing import Sequence

# One space, whatever stood there.
GAP = re.compile(r"\s+")
NOT_USED = re.compile(r"x")


def joined(words: Sequence[str]) -> str:
    return GAP.sub(" ", " ".join(words))  # a comment at the end of a line
    # a comment after the last statement


def spoken(words: Sequence[str]) -> str:
    """Only scripts that import it hold this."""
    return joined([*words[:-1], "and", *words[-1:]])
