"""`octosteps emulate`: a local Octopus Server until it is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from generator.commands import apply
from generator.coordination import read_coordination
from generator.emulator import Emulator
from generator.emulator.scenario import ADMIN, Scenario, read_scenario
from generator.emulator.seeding import Seeding
from generator.errors import Refusal
from generator.outcome import Outcome
from generator.workspace import render_known

KEY_FORM = "API- followed by capital letters and digits"


def run(
    *,
    announce: Callable[[Mapping[str, object]], None],
    root: Path = Path(),
    scenario: Path | None = None,
    environ: Mapping[str, str] | None = None,
    port: int = 8065,
    api_key: str | None = None,
    speed: float | None = None,
    task_cap: int | None = None,
    interpreter: str | None = None,
    virtual_directory: str = "",
) -> Outcome:
    """Serves until interrupted. `announce` gets `{"url": ..., "apiKey": ...}` once connections are accepted, with a scenario
    that has keys of its own also `"apiKeys": {name: key}`.

    `port` 0 picks a free one, `api_key` None makes one up, `interpreter` None runs steps with our own Python. `speed` and
    `task_cap` None take the scenario's; its step templates are those of the library at `root` and the built-in ones, its
    secrets come from `environ`. Errors: Refusal for a port in use, a key that no client would send, a speed that is not
    positive; Problems of the scenario.
    """
    if api_key is not None and not _is_key(api_key):
        raise Refusal(f"an API key for the emulator must be {KEY_FORM}: official clients refuse any other")
    if not 0 <= port <= 65535:
        raise Refusal(f"port {port} does not exist: use 0 to 65535, 0 picks a free one")
    if speed is not None and not 0 < speed <= 10_000:
        raise Refusal(f"a speed of {speed:g} is not possible: use a number greater than 0, at most 10000")
    if task_cap is not None and task_cap < 1:
        raise Refusal(f"a task cap of {task_cap} would run nothing: use 1 or more")
    wanted = _read(scenario, root, environ or {}) if scenario else None
    try:
        emulator = Emulator(
            api_key=api_key,
            speed=speed or (wanted.speed if wanted else 1.0),
            port=port,
            task_cap=task_cap or (wanted.task_cap if wanted else 5),
            interpreter=interpreter,
            virtual_directory=virtual_directory,
        )
    except OSError as error:
        raise Refusal(
            f"port {port} cannot be used: is another program listening there? Try --port 0"
        ) from error
    facts: dict[str, object] = {"url": emulator.url, "apiKey": emulator.api_key}
    if wanted is not None:
        seeding = Seeding(wanted, emulator)
        try:
            seeding.seed(lambda: import_steps(emulator, wanted, root=root))
        except BaseException:
            emulator.stop()
            raise
        own = {name: key for name, key in seeding.keys.items() if name != ADMIN}
        facts.update({"apiKeys": own} if own else {})
    with emulator, _ended_by_term():
        announce(facts)
        # Being interrupted is how serving ends, not how it fails. The tasks that run are killed with their processes.
        with suppress(KeyboardInterrupt):
            emulator.wait()
    return Outcome()


def import_steps(emulator: Emulator, wanted: Scenario, *, root: Path) -> None:
    """The steps of the scenario's coordination files, and the templates they are made from, as `apply` brings them to a server.

    Errors: Problems of the files; Refusal when something is not written.
    """
    for space, files in wanted.coordination.items():
        environ = {"OCTOPUS_URL": emulator.url, "OCTOPUS_API_KEY": emulator.api_key}
        names = sorted({step.template for process in read_coordination(files) for step in process.steps})
        for what in ({"names": names}, {"files": files}):
            with httpx.Client(transport=httpx.WSGITransport(app=emulator.app)) as http:
                done = apply.run(root=root, environ=environ, space=space, http=http, **what)
            if done.exit_code:
                raise Refusal("\n".join(str(part) for part in done.parts))


def _read(file: Path, root: Path, environ: Mapping[str, str]) -> Scenario:
    return read_scenario(file, environ=environ, templates=lambda: render_known(root))


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
