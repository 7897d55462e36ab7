"""Runs octosteps as a person would: a fresh process, its own folder, only the environment that is given."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from generator.cli import run_words

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


def here(*arguments: str | Path, folder: Path, environ: Mapping[str, str] | None = None) -> Ended:
    """The same without a process of its own: a tenth of the time, and enough where the process is not what a test is about."""
    words = tuple(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        for name in ("OCTOPUS_URL", "OCTOPUS_API_KEY", "OCTOPUS_ACCESS_TOKEN", "OCTOPUS_SPACE"):
            patch.delenv(name, raising=False)
        for name, value in (environ or {}).items():
            patch.setenv(name, value)
        patch.setenv("CI", "1")
        exit_code = run_words(list(words))
    return Ended(arguments=words, exit_code=exit_code, out=out.getvalue(), err=err.getvalue())
