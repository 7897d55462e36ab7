"""Names that others have, too."""

from __future__ import annotations

from time import time


def joined() -> float:
    return time()


def now() -> float:
    return joined()
