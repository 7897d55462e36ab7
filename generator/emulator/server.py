"""`Emulator`: state, engine and application together, served on loopback."""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Iterable
from types import TracebackType

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from generator.emulator.app import Application, Seen
from generator.emulator.clock import Clock
from generator.emulator.engine import Engine
from generator.emulator.execution import Settings
from generator.emulator.faults import Faults
from generator.emulator.ratelimit import RateLimit
from generator.emulator.resources.spaces import seed
from generator.emulator.state import Key, State

HOST = "127.0.0.1"


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
        self._server: BaseWSGIServer = make_server(
            HOST, port, self.app, threaded=True, request_handler=_Quiet
        )
        self.state.base_url = self.url
        self.api_key = self.add_key(key=api_key)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address that a person would give a client, without a slash at its end."""
        return f"http://{HOST}:{self._server.server_port}{self.state.virtual_directory}"

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
        if self._thread is None:
            self.engine.start()
            self._thread = threading.Thread(target=self._serve, name="emulator server", daemon=True)
            self._thread.start()
        return self

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Kills what runs and ends. Errors: the first fault of the emulator itself that a request or a task met."""
        if self._thread is not None:
            self.engine.stop()
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        bugs = [*self.app.bugs, *self.engine.bugs]
        if bugs:
            raise bugs[0]

    def wait(self) -> None:
        """Blocks until another thread stops it, or until the interrupt that a person sends."""
        if self._thread is not None:
            self._thread.join()

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


class _Quiet(WSGIRequestHandler):
    """Requests are no news, and a client that goes away is no error."""

    def log(self, type: str, message: str, *args: object) -> None:
        return

    def connection_dropped(self, error: BaseException, environ: object = None) -> None:
        """Nothing more is read from a connection that is gone, or that a fault has reset."""
        self.close_connection = True
