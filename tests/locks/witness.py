"""Stands outside the locks and sees who is inside: each holder keeps a connection open for as long as it works.

A process that is killed loses its connection in the same moment, so this is what truly runs, whatever the server says.
"""

from __future__ import annotations

import selectors
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType

SCRIPT = """\
import socket, time
fence = get_octopusvariable("Octopus.Action[Take].Output.Fence")
with socket.create_connection(("127.0.0.1", {port})) as witness:
    witness.sendall(("enter " + get_octopusvariable("Octopus.Task.Id") + " " + fence + "\\n").encode())
    witness.recv(1)
    time.sleep({seconds})
    witness.sendall(b"leave\\n")
    witness.recv(1)
"""


@dataclass
class Witness:
    """`entries` are (task, fence) in the order in which they came in; `most` is how many ever were inside at one time."""

    entries: list[tuple[str, int]] = field(default_factory=list)
    most: int = 0
    vanished: int = 0
    crowds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._inside: dict[socket.socket, str] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look, name="witness", daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def script(self, seconds: float) -> str:
        """A step that works inside for so long, by its own clock."""
        return SCRIPT.format(port=self.port, seconds=seconds)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _look(self) -> None:
        while not self._ending.is_set():
            ready = [key.fileobj for key, _ in self._selector.select(0.05)]
            # Those who leave before those who come: what happened in this order must not be seen in the other.
            for connection in (one for one in ready if one is not self._listener):
                assert isinstance(connection, socket.socket)
                self._hear(connection)
            if self._listener in ready:
                connection, _ = self._listener.accept()
                self._selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> None:
        try:
            words = connection.recv(200).decode().split()
        except OSError:  # reset
            words = []
        if words[:1] == ["enter"]:
            self._inside[connection] = words[1]
            self.entries.append((words[1], int(words[2])))
            if len(self._inside) > self.most:
                self.most = len(self._inside)
                self.crowds.append(" and ".join(self._inside.values()))
        else:
            self.vanished += connection in self._inside and words != ["leave"]
            self._inside.pop(connection, None)
        if not words:
            self._selector.unregister(connection)
            connection.close()
            return
        try:
            connection.sendall(b".")
        except OSError:  # it was killed while we heard it
            return
