"""`Emulator`: state, engine and application together, served on loopback."""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Iterable
from types import TracebackType

from generator.emulator.app import Application, Seen
from generator.emulator.clock import Clock
from generator.emulator.engine import Engine
from generator.emulator.execution import Settings
from generator.emulator.faults import Faults
from generator.emulator.listener import HOST, Listener
from generator.emulator.ratelimit import RateLimit
from generator.emulator.resources.spaces import seed
from generator.emulator.state import Key, State


class Emulator:
    """A local Octopus Server. Listens from its making, serves and runs tasks from `start` (a `with` block does both).

    `api_key`: the administrator's, made up when not given (`^API-[A-Z0-9]+$`, source: go-octopusdeploy). `speed`: how much
    faster than real its clock runs. `port` 0 picks a free one. `interpreter`: the Python for script steps. `virtual_directory`:
    as in `/octopus`. `task_cap`: how many tasks run at once (default 5, source: docs, Task cap).
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        speed: float = 1.0,
        port: int = 0,
        interpreter: str | None = None,
        virtual_directory: str = "",
        task_cap: int = 5,
    ) -> None:
        directory = "/" + virtual_directory.strip("/") if virtual_directory.strip("/") else ""
        self.state = State(clock=Clock(speed=speed), task_cap=task_cap, virtual_directory=directory)
        seed(self.state)
        self.faults = Faults()
        self.app = Application(self.state, self.faults)
        self.engine = Engine(self.state, Settings(interpreter=interpreter))
        self.app.go_away = self.go_away
        self._listener = Listener(self.app, port)
        self.state.base_url = self.url
        self.api_key = self.add_key(key=api_key)
        self._is_started = False
        self._stopped = threading.Event()
        self._return: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address that a person would give a client, without a slash at its end."""
        return f"http://{HOST}:{self._listener.port}{self.state.virtual_directory}"

    @property
    def refused(self) -> list[str]:
        """Requests that the emulator did not know, as "METHOD /path"."""
        return self.state.refused

    @property
    def seen(self) -> list[Seen]:
        """The requests that arrived, oldest first, each with the emulated moment."""
        return list(self.app.seen)

    @property
    def rate_limit(self) -> RateLimit | None:
        return self.app.rate_limit

    @rate_limit.setter
    def rate_limit(self, limit: RateLimit | None) -> None:
        self.app.rate_limit = limit

    def add_key(
        self,
        *,
        key: str | None = None,
        permissions: Iterable[str] | None = None,
        projects: Iterable[str] | None = None,
        user: str | None = None,
    ) -> str:
        """A new API key (or access token, when `key` looks like one). `permissions` None = all, `projects` (ids) None = all;
        to a key, documents of other projects do not exist. `user` = the name of another user, made when it is new."""
        made = key or "API-" + "".join(
            secrets.choice(string.ascii_uppercase + string.digits) for _ in range(32)
        )
        with self.state.lock:
            self.state.keys[made] = Key(
                user_id=self._user(user),
                permissions=None if permissions is None else frozenset(permissions),
                projects=None if projects is None else frozenset(projects),
            )
        return made

    def _user(self, name: str | None) -> str:
        if name is None:
            return "Users-1"
        for known in self.state.where("Users", Username=name):
            return str(known["Id"])
        user = dict(self.state.get("Users", "Users-1"), Username=name, DisplayName=name, IsService=True)
        return str(self.state.add("Users", user)["Id"])

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> Emulator:
        if not self._is_started:
            self._is_started = True
            self.engine.start()
            self._listener.start()
        return self

    def go_away(self, seconds: float, *, restart: bool = False) -> None:
        """Connections are refused from now on, for so many real seconds. With `restart` the running tasks are lost.

        Queued tasks, and those that wait for a person outside a slot, are as before when it comes back; one that ran is
        Failed. Source: OctopusDeploy/Issues 5174 ("We currently mark tasks as failed when the server comes back
        online") and 3309 (release note: Failed instead of TimedOut). That scripts end with the server is true of the
        built-in worker; a script on another machine may run on, which is not imitated. Cancelling ones end Canceled:
        unconfirmed.
        """
        with self.state.lock:
            if self.app.is_away or self._stopped.is_set():
                return
            self.app.is_away = True
        if restart:
            self.engine.suspend()
        self._listener.go_away()
        self._return = threading.Thread(
            target=self._come_back, args=(seconds, restart), name="emulator returns", daemon=True
        )
        self._return.start()

    def _come_back(self, seconds: float, restart: bool) -> None:
        if restart:
            self.engine.lose_running()
        if self._stopped.wait(seconds):
            return
        self.app.is_away = False
        if restart:
            self.engine.resume()
        self._listener.start()

    def stop(self) -> None:
        """Kills what runs and ends. Errors: the first fault of the emulator itself that a request or a task met."""
        self._stopped.set()
        if self._return is not None:
            self._return.join()
        if self._is_started:
            self._is_started = False
            self.engine.stop()
        self._listener.stop()
        bugs = [*self.app.bugs, *self.engine.bugs]
        if bugs:
            raise bugs[0]

    def wait(self) -> None:
        """Blocks until another thread stops it, or until the interrupt that a person sends."""
        self._stopped.wait()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except Exception:
            if error is None:
                raise
