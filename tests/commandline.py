"""Runs octosteps as a person would: a fresh process, its own folder, only the environment that is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LONGEST = 120


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command printed, and how it ended."""

    arguments: tuple[str, ...]
    exit_code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ octosteps {' '.join(self.arguments)}\n{self.out}\n--- stderr\n{self.err}\n--- exit code {self.exit_code}"


def octosteps(*arguments: str | Path, folder: Path, environ: Mapping[str, str] | None = None) -> Ended:
    """Run one command line in `folder` with an empty HOME and no credentials but those in `environ`."""
    words = tuple(map(str, arguments))
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "COLUMNS": "120",
        **(environ or {}),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "generator", *words],
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    return Ended(
        arguments=words,
        exit_code=ended.returncode,
        out=ended.stdout.decode(),
        err=ended.stderr.decode(),
    )
