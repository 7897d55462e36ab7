"""Fails unless a page answers."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Any

from generator.runtime.step import TIMED_OUT


def main(parameters: Any) -> None:
    step = parameters.step
    deadline = time.monotonic() + parameters.patience.total_seconds()
    while True:
        try:
            with urllib.request.urlopen(parameters.page, timeout=10) as answer:
                step.output("Status", str(answer.status))
                step.log.highlight(f"{parameters.page} answers {answer.status}")
                return
        except (urllib.error.URLError, OSError) as error:
            step.log.verbose(f"{parameters.page}: {error}")
            if time.monotonic() >= deadline:
                step.fail(TIMED_OUT, f"{parameters.page} does not answer: {error}")
        time.sleep(1)
