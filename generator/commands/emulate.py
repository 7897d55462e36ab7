"""`octosteps emulate`: a local Octopus Server until it is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from generator.emulator import Emulator
from generator.errors import Refusal
from generator.outcome import Outcome

KEY_FORM = "API- followed by capital letters and digits"


def run(
    *,
    announce: Callable[[Mapping[str, str]], None],
    port: int = 8065,
    api_key: str | None = None,
    speed: float = 1.0,
    task_cap: int = 5,
    interpreter: str | None = None,
    virtual_directory: str = "",
) -> Outcome:
    """Serves until interrupted. `announce` gets `{"url": ..., "apiKey": ...}` once connections are accepted.

    `port` 0 picks a free one, `api_key` None makes one up, `interpreter` None runs steps with our own Python.
    Errors: Refusal for a port in use, a key that no client would send, a speed that is not positive.
    """
    if api_key is not None and not _is_key(api_key):
        raise Refusal(f"an API key for the emulator must be {KEY_FORM}: official clients refuse any other")
    if not 0 <= port <= 65535:
        raise Refusal(f"port {port} does not exist: use 0 to 65535, 0 picks a free one")
    if not 0 < speed <= 10_000:
        raise Refusal(f"a speed of {speed:g} is not possible: use a number greater than 0, at most 10000")
    if task_cap < 1:
        raise Refusal(f"a task cap of {task_cap} would run nothing: use 1 or more")
    try:
        emulator = Emulator(
            api_key=api_key,
            speed=speed,
            port=port,
            task_cap=task_cap,
            interpreter=interpreter,
            virtual_directory=virtual_directory,
        )
    except (OSError, SystemExit) as error:  # werkzeug turns a port in use into SystemExit
        raise Refusal(
            f"port {port} cannot be used: is another program listening there? Try --port 0"
        ) from error
    with emulator, _ended_by_term():
        announce({"url": emulator.url, "apiKey": emulator.api_key})
        # Being interrupted is how serving ends, not how it fails. The tasks that run are killed with their processes.
        with suppress(KeyboardInterrupt):
            emulator.wait()
    return Outcome()


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Makes SIGTERM, with which services are stopped, an interrupt: scripts that run must not be left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_key(text: str) -> bool:
    """As go-octopusdeploy checks it before it sends one: `^(API-)([A-Z\\d])+$`."""
    head, tail = text[:4], text[4:]
    return head == "API-" and tail.isascii() and tail.isalnum() and tail == tail.upper()
