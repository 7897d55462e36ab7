"""The watchdog's own process, and its decision. What it does to real parents and children is in tests/test_no_orphans.py."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runtime_fakes import FakeServer, VirtualTime, make_api

from generator.runtime.markers import ParentTask
from generator.runtime.watchdog import LEAST_POLLING, must_cancel
from tests.processes import is_running, needs_proc, open_files, parent_of, watchdog_of

ROOT = Path(__file__).resolve().parents[2]
OWN = ParentTask("http://octopus.example", "Spaces-1", "ServerTasks-1")
HOUR = 3600.0


@needs_proc
@pytest.mark.parametrize("start", ["start_by_fork", "start_by_relay"])
def test_it_is_detached_and_ends_with_the_pipe(python: str, start: str) -> None:
    """Both ways to start it, under every Python; a descriptor that the step itself inherited is not passed on."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from generator.runtime.watchdog import {start}\n"
        f"pipe = {start}()\n"
        "print('started', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with open("/dev/zero") as inherited:  # noqa: PTH123
        step = subprocess.Popen(
            [python, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(inherited.fileno(),),
            text=True,
        )
        with step:
            assert step.stdout is not None and step.stdin is not None
            assert "started\n" == step.stdout.readline()
            assert "/dev/zero" in open_files(step.pid).values()
            watchdog = until(lambda: watchdog_of(step.pid))
            assert parent_of(watchdog) != step.pid
            files = until(lambda: exactly_streams(open_files(watchdog)))  # while it starts it reads modules
            assert ("/dev/null", "/dev/null") == (files[1], files[2])
            assert Path("/") == Path(f"/proc/{watchdog}/cwd").readlink()
            step.stdin.close()
    until(lambda: not is_running(watchdog))


def exactly_streams(files: dict[int, str]) -> dict[int, str]:
    return files if set(files) == {0, 1, 2} else {}


def until(ready: Callable[[], Any]) -> Any:
    """What `ready` gives, as soon as it is true."""
    deadline = time.monotonic() + 30
    while not (given := ready()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return given


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(VirtualTime())


def decide(server: FakeServer, longest: float = HOUR) -> bool:
    return must_cancel(make_api(server.time, server), OWN, "Ours.result.json", longest)


@pytest.mark.parametrize("state", ["Success", "Failed", "Canceled", "TimedOut"])
def test_a_task_that_has_ended(server: FakeServer, state: str) -> None:
    server.add(starts=0, ends=0, state=state)
    assert decide(server)
    assert 0 == server.time.now


def test_a_task_that_ends_later_is_noticed_soon(server: FakeServer) -> None:
    server.add(starts=0, ends=1800, state="Failed")
    assert decide(server)
    assert 1800 <= server.time.now <= 1810


def test_a_task_that_goes_on_is_followed_for_as_long_as_the_step_could_wait(server: FakeServer) -> None:
    """And nothing is cancelled then; six requests a minute."""
    server.add(starts=0)
    assert not decide(server)
    assert HOUR <= server.time.now <= HOUR + 10
    assert len(server.requests) <= HOUR / 10 + 10


def test_a_short_limit_leaves_time_for_a_retry(server: FakeServer) -> None:
    server.add(starts=0)
    assert not decide(server, longest=5)
    assert LEAST_POLLING <= server.time.now <= LEAST_POLLING + 10


def test_a_task_that_is_not_returned_decides_nothing(server: FakeServer) -> None:
    """It may have been deleted, or hidden from the account: that it has ended is only a guess."""
    assert not decide(server)
