"""One function over many items in several processes, where forking one is cheap and safe; in this one elsewhere.

The children inherit everything that was read and imported before, so that only results travel. They must not touch what others
own: the function computes, the caller writes.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

from generator.errors import Refusal

Item = TypeVar("Item")
Result = TypeVar("Result")

FEWEST = 32
"""Fewer items than this are done sooner than processes are made."""


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The function's results in the order of the items. Results must be picklable.

    Errors: whatever the function raises here; from a child a Refusal as it is, for the rest RuntimeError with its traceback.
    """
    processes = min(_processors(), len(items) // (FEWEST // 2))
    if processes < 2 or len(items) < FEWEST or not _may_fork():
        return map(function, items)
    return _forked(function, items, processes)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _may_fork() -> bool:
    """Linux only: macOS' own libraries do not survive a fork. A process with threads may hold locks for ever in the child."""
    return sys.platform == "linux" and threading.active_count() == 1


def _forked(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    children: list[tuple[int, BinaryIO]] = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for number in range(processes):
            reading, writing = os.pipe()
            _widen(writing)
            child = os.fork()
            if child == 0:
                os.close(reading)
                _work(function, items[number::processes], writing)
            os.close(writing)
            children.append((child, os.fdopen(reading, "rb", buffering=1 << 20)))
        for index in range(len(items)):
            yield _receive(children[index % processes][1])
    finally:
        for child, stream in children:
            stream.close()  # a child that still writes ends by that
            os.waitpid(child, 0)


def _widen(pipe: int) -> None:
    """A wide pipe lets a child run ahead of the others."""
    import fcntl  # not on Windows, where nothing forks

    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _work(function: Callable[[Any], Any], items: Sequence[Any], writing: int) -> None:
    """The child's whole life: it must never return into the parent's code."""
    code = 1
    try:
        with os.fdopen(writing, "wb", buffering=1 << 20) as stream:
            try:
                for item in items:
                    pickle.dump((True, function(item)), stream, protocol=5)
            except Refusal as error:
                pickle.dump((None, str(error)), stream)
            except BaseException:
                pickle.dump((False, traceback.format_exc()), stream)
        code = 0
    finally:
        os._exit(code)


def _receive(stream: BinaryIO) -> Any:
    try:
        good, result = pickle.load(stream)
    except EOFError:
        raise RuntimeError("a child process ended before its work was done") from None
    if good is None:
        raise Refusal(result)
    if not good:
        raise RuntimeError(f"in a child process:\n{result}")
    return result
