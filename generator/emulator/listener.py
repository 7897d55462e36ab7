"""The socket: accepts connections on loopback, and can go away for a while as a server does that is restarted.

While it is away the port stays ours, and whoever connects is refused by the operating system, not by us.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

HOST = "127.0.0.1"
BACKLOG = 128

# Open connections by the thread that serves each.
Connections = dict[int, socket.socket]


class Listener:
    """Listens from its making, answers from `start`. `port` 0 picks a free one. Errors: OSError for a port in use."""

    def __init__(self, app: Any, port: int) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._open: Connections = {}
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._waiting: socket.socket | None = _bound(port)
        self._waiting.listen(BACKLOG)
        self.port: int = self._waiting.getsockname()[1]

    def start(self) -> None:
        """Answer, for the first time or again. Nothing when it does already."""
        with self._lock:
            if self._waiting is None:
                return
            self._waiting.listen(BACKLOG)
            self._server = make_server(
                HOST,
                self.port,
                self._app,
                threaded=True,
                request_handler=_handler(self._open),
                fd=self._waiting.fileno(),
            )
            self._waiting.close()  # the server has a copy of its own
            self._waiting = None
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.05,), name="emulator server", daemon=True
            )
            self._thread.start()

    def go_away(self) -> None:
        """Refuse connections, and break off those that are open, until `start`. The port stays taken."""
        with self._lock:
            if self._server is not None:
                self._close_server()
                self._waiting = _bound(self.port)

    def stop(self) -> None:
        with self._lock:
            self._close_server()
            if self._waiting is not None:
                self._waiting.close()
                self._waiting = None

    def _close_server(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None
        for thread, connection in list(self._open.items()):
            if thread == threading.get_ident():
                continue  # whoever asks for this from within a request ends that one in its own way
            with suppress(OSError):  # its client was faster
                connection.shutdown(socket.SHUT_RDWR)


def _bound(port: int) -> socket.socket:
    """A socket that holds the port and does not listen: the system refuses connections to it."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs share the port
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, port))
    except BaseException:
        holder.close()
        raise
    return holder


def _handler(connections: Connections) -> type[WSGIRequestHandler]:
    """A request handler that keeps account of open connections."""

    class Quiet(WSGIRequestHandler):
        """Requests are no news, and a client that goes away is no error."""

        def setup(self) -> None:
            connections[threading.get_ident()] = self.request
            super().setup()

        def finish(self) -> None:
            connections.pop(threading.get_ident(), None)
            with suppress(OSError, ValueError):  # the connection may be gone
                super().finish()

        def log(self, type: str, message: str, *args: object) -> None:
            return

        def connection_dropped(self, error: BaseException, environ: object = None) -> None:
            """Nothing more is read from a connection that is gone, or that a fault has reset."""
            self.close_connection = True

    return Quiet
