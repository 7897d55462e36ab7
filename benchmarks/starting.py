"""How long a command line takes to start, beside jenkins-jobs; and a step to its first request."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.first_request import measure_starts
from benchmarks.stopwatch import Command, compare

BIN = Path(sys.executable).parent


def measure() -> list[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "HOME": folder}
        ours = Command(words=[str(BIN / "octosteps"), "--help"], folder=Path(folder), environ=environ)
        theirs = Command(words=[str(BIN / "jenkins-jobs"), "--version"], folder=Path(folder), environ=environ)
        found = compare(ours, theirs, runs=9)
        starts = measure_starts(Path(folder))
    return [
        f"octosteps --help: {found.ours * 1000:.0f} ms; jenkins-jobs --version: {found.theirs * 1000:.0f} ms; "
        f"{1 / found.ratio:.2f} of it (at most 0.35)",
        *starts,
    ]
