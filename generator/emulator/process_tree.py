"""How Octopus ends a script: SIGKILL to a process and all its descendants, found by parent links.

A process that has lost its parent (a double fork) is not found and lives on, as on a worker; process groups and sessions
play no part. POSIX only. Source: OctopusTentacle, SilentProcessRunner; .NET, Process.Kill(entireProcessTree: true).
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def kill(root: int) -> None:
    """Kill `root` and its descendants. Each is stopped before its children are listed, so that it cannot have more."""
    _signal(root, signal.SIGSTOP)
    seen: set[int] = set()
    while new := children(root) - seen:  # a fork may have been under way while the stop was
        for child in new:
            kill(child)
        seen |= new
    _signal(root, signal.SIGKILL)


def children(parent: int) -> set[int]:
    """The ids of the living children of `parent`."""
    return _children_by_proc(parent) if (_PROC / "self" / "stat").exists() else _children_by_ps(parent)


def _children_by_proc(parent: int) -> set[int]:
    found = set()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it has ended since
            state, parent_id = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if int(parent_id) == parent and state != b"Z":
                found.add(int(folder.name))
    return found


def _children_by_ps(parent: int) -> set[int]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, check=True, text=True
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return {
        int(pid)
        for pid, parent_id, state, *_ in rows
        if int(parent_id) == parent and not state.startswith("Z")
    }


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # a zombie, or a program that became somebody else
        os.kill(process, number)
