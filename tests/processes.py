"""The processes of running scripts, and the watchdogs that belong to them, as Linux' /proc tells."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from generator.runtime.watchdog import WATCHER

PROC = Path("/proc")
needs_proc = pytest.mark.skipif(
    not (PROC / "self" / "stat").exists(), reason="processes are found by /proc, which only Linux has"
)


def script_processes() -> list[int]:
    """The second of the two processes that run a script, of every script that is a child of this process."""
    return [
        process
        for process in processes()
        if parent_of(process) == os.getpid() and any("Bootstrap." in word for word in words_of(process))
    ]


def watchdogs() -> list[int]:
    """Every watchdog on this machine, those of other tests included."""
    return [process for process in processes() if words_of(process)[1:] == ["-c", WATCHER]]


def watchdog_of(script: int) -> int | None:
    """The watchdog that reads from a pipe of this script's process, once it has lost its parent."""
    ours = {target for target in open_files(script).values() if target.startswith("pipe:")}
    for process in watchdogs():
        if open_files(process).get(0) in ours:
            return process
    return None


def processes() -> list[int]:
    """Every process; none where there is no /proc."""
    return [int(folder.name) for folder in PROC.iterdir() if folder.name.isdigit()] if PROC.is_dir() else []


def is_running(process: int) -> bool:
    return any(process == one for one in watchdogs())


def parent_of(process: int) -> int | None:
    try:
        return int((PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return None


def words_of(process: int) -> list[str]:
    """Its command line."""
    try:
        return (PROC / str(process) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def environment_of(process: int) -> str:
    return (PROC / str(process) / "environ").read_bytes().decode(errors="replace")


def open_files(process: int) -> dict[int, str]:
    """What each of its open file descriptors leads to."""
    found = {}
    with suppress(OSError):  # it has just ended, or is somebody else's
        for entry in (PROC / str(process) / "fd").iterdir():
            found[int(entry.name)] = str(entry.readlink())
    return found
