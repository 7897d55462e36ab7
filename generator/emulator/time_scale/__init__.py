"""Faster time for a Python process that we start: the environment that puts our `sitecustomize` in front.

What is and what is not scaled is listed at the head of `site/sitecustomize.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_SITE = Path(__file__).parent / "site"


def environment(
    speed: float,
    started_at: float | None = None,
    *,
    began: float | None = None,
    python_path: str | None = None,
) -> dict[str, str]:
    """The variables under which Python's clocks run `speed` times as fast since `began`, when they showed `started_at`.

    `began` is a time of our monotonic clock (default: now), `started_at` seconds since 1970 (default: the real time of the
    call); `python_path` is the PYTHONPATH to keep behind ours.
    """
    epoch = time.time() if started_at is None else started_at
    began = time.monotonic() if began is None else began
    return {
        "PYTHONPATH": f"{_SITE}{os.pathsep}{python_path}" if python_path else str(_SITE),
        "OCTOSTEPS_CLOCK": f"{float(speed)!r} {epoch!r} {began!r}",
    }
