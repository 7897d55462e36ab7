"""A process that outlives a step that was killed, and cancels the children that it awaited.

Octopus ends a cancelled script and its whole process tree without a warning (SIGKILL; source: Tentacle, SilentProcessRunner),
so nothing in the script can clean up. The watchdog is detached: its parent has ended, so that no tree holds it. It blocks on a
pipe whose only write end the step holds, and wakes up when that is closed.

What happens to the awaited children:
- The step ends by itself, whether well or not: it has said what became of them, and the watchdog ends at once.
- The step was killed, and its task is Cancelling or has ended: they are cancelled.
- The step was killed, and its task goes on (a retry, an execution timeout, steps for the case of failure): they are left
  alone until the task is Cancelling or has ended. If a later run of the step has ended by itself meanwhile, it took them over
  and has said what became of them (its result is among the task's artifacts): nothing is cancelled. Otherwise they are.
- The task goes on for longer than the step could have waited, or is not returned any more: nothing is cancelled.

Children are known by the keys in their markers, told before they are made: a creation that was under way is found too.
Joined deployments carry no key of ours. Credentials and the code come over the pipe alone; no file is left behind.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import IO, Any, Container, Iterable, Mapping, NoReturn, Optional

from generator.runtime.api import Api, ApiError
from generator.runtime.log import Log
from generator.runtime.markers import ParentTask, own_task
from generator.runtime.orphans import marked_children, read_own_task
from generator.runtime.parameters import Secret
from generator.runtime.step import StepFailure, result_name
from generator.runtime.tasks import Task, ask_to_cancel
from generator.runtime.transport import http_transport

# Where there is no fork: starts the watchdog and ends, so that the watchdog has no parent in the tree that Octopus kills.
RELAY = """\
import subprocess, sys
quiet = subprocess.DEVNULL
subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=quiet, stderr=quiet, creationflags=int(sys.argv[2]))
"""
# Reads until the step closes the pipe. Only when it has not said "done" is the code loaded that it sent: the step's own script.
WATCHER = """\
import sys
sys.path[:] = filter(None, sys.path)
lines = sys.stdin.buffer.read().split(b"\\n")[:-1]
if lines and lines[-1] != b"done":
    import json
    told = [json.loads(line) for line in lines]
    script = sys.modules["Script"] = type(sys)("Script")
    exec(compile(told[0]["script"], "Script.py", "exec"), script.__dict__)
    getattr(script, told[0]["function"])(told[0], told[1:])
"""
WINDOWS_FLAGS = 0x00000008 | 0x00000200  # DETACHED_PROCESS, CREATE_NEW_PROCESS_GROUP
LONGEST_START = 10.0
LONGEST_POLL = 10.0
LEAST_POLLING = 600.0
LOOKS = (
    0.0,
    2.0,
    4.0,
    9.0,
    15.0,
    30.0,
)  # pauses: a creation under way may be carried out up to a minute later
NOT_GUARDED = "if this task is cancelled, what it awaits goes on (Octopus - Cancel Orphans finds it)"


class Watchdog:
    """The step's end of the pipe, and a context manager: left normally or by a StepFailure, the step has ended by itself.

    Whatever is wrong with the watchdog costs a warning, never the step. Without a `pipe` nothing is guarded.
    """

    def __init__(
        self, log: Log, pipe: Optional[IO[bytes]] = None, orders: Optional[Mapping[str, Any]] = None
    ) -> None:
        self._log = log
        self._pipe = pipe
        self._orders = orders  # until they have been sent

    def guard(self, keys: Iterable[str], project_id: str) -> None:
        """From now on these children are guarded and no others. To be called before they are made."""
        if self._orders is not None:
            self._tell(self._orders)
            self._orders = None
        self._tell({"keys": list(keys), "project": project_id})

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """A bug in the step is no end by itself: then the pipe is closed without a word."""
        if error is None or isinstance(error, StepFailure):
            self._write(b"done\n")
        self._release()

    def _tell(self, message: Mapping[str, Any]) -> None:
        self._write(json.dumps(message).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(line)
            self._pipe.flush()
        except OSError as error:
            self._log.warning(f"There is no watchdog any more ({error}): {NOT_GUARDED}.")
            self._release()

    def _release(self) -> None:
        if self._pipe is not None:
            with suppress(OSError):  # what could not be written is of no use any more
                self._pipe.close()
        self._pipe = None


def start_watchdog(parameters: Any, api: Api, longest: timedelta, *, wanted: bool = True) -> Watchdog:
    """A watchdog that is just starting; one that guards nothing where it is not `wanted` or cannot see the own task.

    `longest` is how long the step may have to wait: for so long the watchdog outlives it at most, while its task goes on.
    """
    step = parameters.step
    log: Log = step.log
    own = own_task(step)
    if not wanted or not own.id:
        return Watchdog(log)
    if read_own_task(api, step) is None:
        log.warning(
            f"There is no watchdog, for {api.url} does not show this account the running task {own.id} "
            f"(that takes TaskView for this project, on the same server): {NOT_GUARDED}."
        )
        return Watchdog(log)
    try:
        with open(globals()["__file__"], encoding="utf-8-sig") as file:  # noqa: PTH123 - pathlib costs start-up time
            script = file.read()
        pipe = start_by_relay() if sys.platform == "win32" else start_by_fork()
    except (OSError, ValueError) as error:
        log.warning(f"There is no watchdog ({error}): {NOT_GUARDED}.")
        return Watchdog(log)
    orders = {
        "script": script,
        "function": outlive.__name__,
        "server": api.url,
        "space": api.space,
        "credential": parameters.api_key.reveal(),
        "ca": absolute_ca(parameters.ca_file or ""),
        "own": list(own),
        "result": result_name(step),
        "longest": longest.total_seconds(),
    }
    return Watchdog(log, pipe, orders)


def start_by_fork() -> IO[bytes]:
    """Starts the watchdog, the child of a child that has ended; the only write end of the pipe that it reads. Takes 3 ms."""
    import os

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        become_watchdog(reading)
    os.close(reading)
    os.waitpid(child, 0)
    return os.fdopen(writing, "wb")


def become_watchdog(pipe: int) -> NoReturn:
    """In a child of the step: leaves its session, stream and folder. What fails here shows itself as a pipe without a reader."""
    import os

    try:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            nothing = os.open(os.devnull, os.O_RDWR)
            for ours, stream in ((pipe, 0), (nothing, 1), (nothing, 2)):
                os.dup2(ours, stream)
            for name in os.listdir("/dev/fd"):  # noqa: PTH208 - what the step itself has inherited
                if int(name) > 2:
                    with suppress(OSError):
                        os.close(int(name))
            os.execv(sys.executable, [sys.executable, "-c", WATCHER])
    finally:
        os._exit(0)


def start_by_relay() -> IO[bytes]:
    """The same without fork, as on Windows: without a console, and without the step's streams and folder."""
    import os
    import subprocess

    flags = WINDOWS_FLAGS if sys.platform == "win32" else 0
    relay = subprocess.Popen(
        [sys.executable, "-S", "-c", RELAY, WATCHER, str(flags)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=os.path.abspath(os.sep),  # noqa: PTH100
        creationflags=flags,
        start_new_session=not flags,
    )
    assert relay.stdin is not None
    try:
        if relay.wait(LONGEST_START) != 0:
            raise OSError(f"its start ended with {relay.returncode}")
    except subprocess.TimeoutExpired:
        raise OSError(f"it did not start within {LONGEST_START:.0f} s") from None
    return relay.stdin


def absolute_ca(ca: str) -> str:
    """A CA file by its whole path, for the watchdog runs in another folder; PEM text as it is."""
    import os

    return ca if not ca or ca.lstrip().startswith("-----BEGIN") else os.path.abspath(ca)  # noqa: PTH100


# --- In the watchdog's process ---


def outlive(orders: Mapping[str, Any], messages: Iterable[Mapping[str, Any]]) -> None:
    """What the watchdog does when the step was killed: `orders` and `messages` are all that it was told before."""
    told = list(messages)
    if not told or not told[-1]["keys"]:
        return
    api = Api(
        orders["server"],
        Secret(orders["credential"]),
        space=orders["space"],
        transport=http_transport(orders["ca"]),
    )
    if must_cancel(api, ParentTask(*orders["own"]), orders["result"], orders["longest"]):
        cancel_guarded(api, told[-1]["keys"], told[-1]["project"])


def must_cancel(api: Api, own: ParentTask, result: str, longest: float) -> bool:
    """Follows the own task until it is Cancelling or has ended: True then, unless a later run of the step has told its result."""
    deadline = api.clock() + max(longest, LEAST_POLLING)
    before: Optional[set[str]] = None
    pause = 1.0
    while True:
        patience = max(0.0, deadline - api.clock())
        for item in api.by_ids(f"/api/{own.space}/tasks", [own.id], patience=patience):
            task = Task(item)
            if not task.is_alive or task.state == "Cancelling":
                return before is None or read_results(api, own, result) <= before
            if before is None:
                before = read_results(api, own, result)
        if api.clock() >= deadline:
            return False
        api.sleep(pause)
        pause = min(2 * pause, LONGEST_POLL)


def read_results(api: Api, own: ParentTask, name: str) -> set[str]:
    """The ids of the results among the own task's artifacts; none where the account may not see them (ArtifactView)."""
    try:
        artifacts = list(api.pages(f"/api/{own.space}/artifacts", regarding=own.id))
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return set()
    return {artifact["Id"] for artifact in artifacts if artifact.get("Filename") == name}


def cancel_guarded(api: Api, keys: Container[str], project_id: str) -> None:
    """Cancels what is on its way under one of `keys`; looks several times, for one more may just have been asked for."""
    for pause in LOOKS:
        api.sleep(pause)
        for child in marked_children(api, project=project_id):
            if child.marker.key in keys and child.is_awaited and child.task.state != "Cancelling":
                try:
                    ask_to_cancel(api, child.task.id)
                except ApiError as error:
                    if error.status == 401:
                        raise
