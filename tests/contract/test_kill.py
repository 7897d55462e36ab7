"""Cancelling and timing out: SIGKILL to what parent links lead to, and only to that. With real processes."""

from __future__ import annotations

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from generator.emulator import process_tree
from generator.emulator.runner import (
    CANCELLED,
    TIMED_OUT,
    Event,
    LogLine,
    RunningScript,
    ScriptJob,
    ScriptResult,
    start_script,
)

# A script that starts a child, which starts a grandchild, and a process whose parents have gone. Each prints its id, ignores
# what can be ignored, and then blocks for ever.
TREE = """
import os, signal, subprocess, sys, time

def say(name):
    os.write(1, ("%s %d\\n" % (name, os.getpid())).encode())  # in one piece: all share one pipe

block = (
    "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "os.write(1, ('{0} %d' % os.getpid()).encode() + bytes([10])); {1}"
)
for_ever = "signal.pause()"
grandchild = block.format("grandchild", for_ever)
start = "import subprocess; subprocess.run([sys.executable, '-c', {0!r}], start_new_session=True)"
child = block.format("child", start.format(grandchild))
keep_output = KEEP_OUTPUT
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        say("orphan")
        if not keep_output:
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
        signal.pause()
    os._exit(0)
os.wait()
say("script")
try:
    subprocess.run([sys.executable, "-c", child])
finally:
    print("never said")
"""


def is_running(process: int) -> bool:
    """Whether it exists and is no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(ready: Callable[[], bool], patience: float = 20.0) -> bool:
    ends = time.monotonic() + patience
    while not ready() and time.monotonic() < ends:
        time.sleep(0.01)
    return ready()


@contextmanager
def running_tree(
    *, keep_output: bool, **job: float
) -> Iterator[tuple[RunningScript, dict[str, int], list[Event]]]:
    """The script above, once all of its processes have printed their ids; the orphan is ended afterwards."""
    said: queue.Queue[str] = queue.Queue()
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, LogLine) and event.category == "Info":
            said.put(event.text)

    ids: dict[str, int] = {}
    script = TREE.replace("KEEP_OUTPUT", str(keep_output))
    try:
        with start_script(ScriptJob(script=script, **job), listen) as running:
            while len(ids) < 4:
                name, _, process = said.get(timeout=20).partition(" ")
                ids[name] = int(process)
            yield running, ids, events
    finally:
        if "orphan" in ids and is_running(ids["orphan"]):
            os.kill(ids["orphan"], signal.SIGKILL)


linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")


@linux_only
@pytest.mark.parametrize("keep_output", [False, True], ids=["closes its streams", "keeps our pipes open"])
def test_a_kill_follows_parent_links(keep_output: bool) -> None:
    """Also into other sessions; what has lost its parent lives on, and cannot hold the step up."""
    with running_tree(keep_output=keep_output) as (running, ids, events):
        running.kill()
        assert ScriptResult(CANCELLED, None, True) == running.wait(20)
        for name in ("script", "child", "grandchild"):
            assert wait_until(lambda process=ids[name]: not is_running(process)), name  # type: ignore[misc]
        assert is_running(ids["orphan"])
        assert "never said" not in [event.text for event in events if isinstance(event, LogLine)]


def test_a_timeout_kills_too() -> None:
    """In seconds of the script's own clock."""
    job = ScriptJob(script="import signal; signal.pause()", timeout=1000.0, speed=5000.0)
    with start_script(job, lambda event: None) as running:
        assert ScriptResult(TIMED_OUT, None, True) == running.wait(20)


@linux_only
def test_close_kills_what_still_runs() -> None:
    with running_tree(keep_output=False) as (running, ids, _):
        running.close()
        assert not running.folder.exists()
        assert wait_until(lambda: not is_running(ids["grandchild"]))


@linux_only
def test_a_script_that_has_ended_waits_for_those_who_hold_its_output() -> None:
    """As in Octopus, where the step hangs; a kill ends that."""
    said: queue.Queue[Event] = queue.Queue()
    script = """
import os, signal
orphan = os.fork()
if orphan == 0:
    signal.pause()
print("ids %d %d" % (os.getpid(), orphan))
"""
    ids: list[int] = []
    with start_script(ScriptJob(script=script), said.put) as running:
        while not ids:
            event = said.get(timeout=20)
            if isinstance(event, LogLine) and event.text.startswith("ids"):
                ids = [int(word) for word in event.text.split()[1:]]
        try:
            assert wait_until(lambda: not is_running(ids[0]))
            with pytest.raises(TimeoutError):
                running.wait(0.2)
            running.kill()
            assert ScriptResult(CANCELLED, None, True) == running.wait(20)
            assert is_running(ids[1])
        finally:
            os.kill(ids[1], signal.SIGKILL)


def test_a_kill_before_the_script_runs() -> None:
    """Whatever it was about to start is not started."""
    events: list[Event] = []
    with start_script(ScriptJob(script="print('never')"), events.append) as running:
        running.kill()
        assert ScriptResult(CANCELLED, None, True) == running.wait(20)
    assert "never" not in [event.text for event in events if isinstance(event, LogLine)]


def test_a_kill_after_the_end_changes_nothing() -> None:
    with start_script(ScriptJob(script="pass"), lambda event: None) as running:
        assert ScriptResult(0, None, False) == running.wait(20)
        running.kill()
        assert ScriptResult(0, None, False) == running.wait(20)


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists() or not Path("/bin/ps").exists(), reason="needs both /proc and ps"
)
def test_both_ways_to_list_children_agree() -> None:
    with start_script(ScriptJob(script="import time; time.sleep(600)"), lambda event: None):
        assert wait_until(lambda: bool(process_tree.children(os.getpid())))
        by_ps = process_tree._children_by_ps(os.getpid())
        assert process_tree.children(os.getpid()) <= by_ps
