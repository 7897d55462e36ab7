"""The WSGI application: from an HTTP request to a handler and back. Knows no resource.

Source: docs, API reference (spellings of paths, status codes); OctopusClients, OctopusAsyncClient.cs (method override);
OctopusClients and go-octopusdeploy (where the key stands); docs, Rate Limiting.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Request as WebRequest

from generator.emulator import refusals
from generator.emulator.documents import Document
from generator.emulator.faults import PROXY_PAGE, Fault, Faults
from generator.emulator.page import Page, Visit
from generator.emulator.ratelimit import RateLimit
from generator.emulator.refusals import Refused, error_document
from generator.emulator.requests import Answer, Query, Request
from generator.emulator.resources.spaces import default_space, space_named
from generator.emulator.routes import ROUTES
from generator.emulator.routing import Found, Router
from generator.emulator.state import Key, State

LARGEST_BODY = 32 * 1024 * 1024
OVERRIDE = "X-HTTP-Method-Override"

StartResponse = Callable[..., Any]


class GoAway(Protocol):
    def __call__(self, seconds: float, *, restart: bool) -> None: ...


def _stay(seconds: float, *, restart: bool) -> None:
    """An application without a server around it cannot go away."""


class Seen(NamedTuple):
    """A request that arrived, unknown and refused ones included; `at` in emulated seconds since 1970. `query` are the names of
    its parameters, not their values: one of them may be a key."""

    method: str
    path: str
    at: float
    query: tuple[str, ...] = ()


class Application:
    def __init__(self, state: State, faults: Faults) -> None:
        self.state = state
        self.faults = faults
        self.rate_limit: RateLimit | None = None
        self.bugs: list[Exception] = []
        # The last requests, the oldest first: what they cost is for tests to judge.
        self.seen: deque[Seen] = deque(maxlen=100_000)
        # What a fault of the kind "refused" or "restart" does: real seconds, and whether running tasks are lost.
        self.go_away: GoAway = _stay
        self.is_away = False
        self._page = Page(state)
        self._router = Router(ROUTES)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        # On a socket the system refuses; this is for requests in process, and for those under way.
        if self.is_away:
            raise ConnectionRefusedError("the server is away")
        web = WebRequest(environ)
        web.max_content_length = LARGEST_BODY
        method = (web.headers.get(OVERRIDE) or web.method).upper()
        self.seen.append(Seen(method, web.path, self.state.clock.now(), tuple(web.args)))
        fault = self.faults.take(method, web.path)
        if fault is not None and fault.kind == "reset":
            # Read first: a client that still writes would meet another error than one that waits for the answer.
            web.get_data()
            reset(environ)
        if fault is not None and fault.kind in ("refused", "restart"):
            web.get_data()
            self.go_away(fault.delay, restart=fault.kind == "restart")
            reset(environ)
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.delay)
        answer = _instead(fault) or self._answer(web, method)
        if fault is not None and fault.kind == "lost_answer":
            reset(environ)
        body = encoded(answer.body)
        headers = {"Content-Type": answer.media_type, "Content-Length": str(len(body)), **answer.headers}
        if answer.status in (204, 304):
            del headers["Content-Type"]
        status = f"{answer.status} {_reason(answer.status)}"
        start_response(status, list(headers.items()))
        if fault is not None and fault.kind == "truncated":
            return _cut(environ, body)
        return [b"" if web.method == "HEAD" else body]

    # --- answering -------------------------------------------------------------------------------------------------

    def _answer(self, web: WebRequest, method: str) -> Answer:
        limits: dict[str, str] = {}
        try:
            answer = self._routed(web, method, limits)
        except Refused as refused:
            answer = Answer(status=refused.status, body=error_document(refused), headers=refused.headers)
        except (
            Exception
        ) as error:  # a bug of the emulator: the client gets its 500, `Emulator.stop` raises it
            self.bugs.append(error)
            bug = Refused(500, f"The emulator failed: {error!r}")
            answer = Answer(status=500, body=error_document(bug))
        return Answer(
            status=answer.status,
            body=answer.body,
            media_type=answer.media_type,
            headers={**answer.headers, **limits},
        )

    def _routed(self, web: WebRequest, method: str, limits: dict[str, str]) -> Answer:
        path = self._inner_path(web.path)
        method = "GET" if method == "HEAD" else method
        if path is not None and not path.lower().startswith("/api"):
            shown = self._page.answer(_visit(web, method, path))
            if shown is not None:
                return shown
        found = self._router.find(method, path) if path is not None else None
        if found is None or found.route is None:
            self._record(method, web.path)
            if found is None:
                raise refusals.UNKNOWN_REQUEST(method=method, path=web.path)
            raise refusals.WRONG_METHOD(method=method, path=web.path, known=", ".join(found.known))
        content = _content(web)
        with self.state.lock:
            key = self._key(web)
            self._spend(key, web, limits)
            if key is None and not found.route.anonymous:
                raise refusals.NOT_SIGNED_IN()
            key = key or Key(user_id="Users-1", permissions=frozenset())
            space = self._space(found)
            if not key.may(found.route.permission):
                raise refusals.NO_PERMISSION(permission=found.route.permission)
            result = found.route.handler(
                Request(
                    state=self.state,
                    method=method,
                    path=path or "",
                    arguments=found.arguments,
                    query=Query(web.args.items(multi=True)),
                    content=content,
                    file=_file(web),
                    key=key,
                    space=space,
                )
            )
            answer = result if isinstance(result, Answer) else Answer(body=result)
            # Encoded while nothing can change: documents share their lists with the state.
            return Answer(
                status=answer.status,
                body=encoded(answer.body),
                media_type=answer.media_type,
                headers=answer.headers,
            )

    def _inner_path(self, path: str) -> str | None:
        """The path below the virtual directory, None when it lies outside."""
        prefix = self.state.virtual_directory
        if prefix and not (path.lower() + "/").startswith(prefix.lower() + "/"):
            return None
        return path[len(prefix) :] or "/"

    def _record(self, method: str, path: str) -> None:
        with self.state.lock:
            self.state.refused.append(f"{method} {path}")

    def _key(self, web: WebRequest) -> Key | None:
        """Who asks; a blank header is no key (source: api-client.ts sends one when nothing is configured)."""
        bearer = web.headers.get("Authorization", "")
        given = [
            web.headers.get("X-Octopus-ApiKey"),
            web.headers.get("X-NuGet-ApiKey"),
            bearer[7:] if bearer.lower().startswith("bearer ") else None,
            next((value for name, value in web.args.items(multi=True) if name.lower() == "apikey"), None),
        ]
        presented = [value.strip() for value in given if value and value.strip()]
        if not presented:
            return None
        key = self.state.keys.get(presented[0])
        if key is None or (key.expires is not None and key.expires <= self.state.clock.now()):
            raise refusals.NOT_SIGNED_IN()
        return key

    def _spend(self, key: Key | None, web: WebRequest, limits: dict[str, str]) -> None:
        if self.rate_limit is None:
            return
        user = key.user_id if key else f"address {web.remote_addr}"
        allowed, headers = self.rate_limit.spend(user, self.state.clock.now())
        limits.update(headers)
        if not allowed:
            raise refusals.RATE_LIMITED()

    def _space(self, found: Found) -> Document | None:
        """The space in force: the one in the path, else for space-scoped requests the default one."""
        if found.route is None or found.route.scope == "system":
            return None
        if found.space is not None:
            space = space_named(self.state, found.space)
        elif found.route.scope == "mixed":
            return None
        else:
            space = default_space(self.state)
        if space is None:
            raise refusals.NOT_FOUND()
        return space


# --- bodies --------------------------------------------------------------------------------------------------------


def encoded(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _content(web: WebRequest) -> bytes:
    try:
        return web.get_data(cache=True, parse_form_data=False)
    except RequestEntityTooLarge:
        raise refusals.BODY_TOO_LARGE(limit=LARGEST_BODY) from None
    except (HTTPException, ValueError, OSError) as error:
        raise refusals.BAD_REQUEST(reason=f"The request body could not be read: {error}") from None


def _file(web: WebRequest) -> tuple[str, bytes] | None:
    """The first uploaded file (source: OctopusClients, OctopusAsyncClient.cs: a form with a part named `file`)."""
    if web.mimetype != "multipart/form-data":
        return None
    try:
        for storage in web.files.values():
            return storage.filename or "", storage.read()
    except (HTTPException, ValueError) as error:
        raise refusals.BAD_REQUEST(reason=f"The form could not be read: {error}") from None
    finally:
        web.close()
    return None


def _visit(web: WebRequest, method: str, path: str) -> Visit:
    """The request as the page for people sees it. In process nobody can have been led here by a foreign name."""
    skip = web.args.get("skip", "")
    try:
        form = dict(web.form.items()) if method == "POST" else {}
    except (HTTPException, ValueError):  # such a form lacks the token
        form = {}
    return Visit(
        method=method,
        path=path,
        host=web.headers.get("Host", "") if "werkzeug.socket" in web.environ else None,
        skip=int(skip) if skip.isascii() and skip.isdigit() and len(skip) < 9 else 0,
        form=form,
    )


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


# --- trouble -------------------------------------------------------------------------------------------------------


def _instead(fault: Fault | None) -> Answer | None:
    """The answer that a fault gives in place of the server's."""
    if fault is None or fault.kind not in ("status", "html"):
        return None
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.kind == "html":
        text = PROXY_PAGE.format(status=fault.status, reason=_reason(fault.status))
        return Answer(status=fault.status, body=text, media_type="text/html", headers=headers)
    refused = Refused(fault.status, f"{_reason(fault.status)} (a fault that was asked for)")
    return Answer(status=fault.status, body=error_document(refused), headers=headers)


def reset(environ: dict[str, Any]) -> None:
    """Ends the connection with a reset instead of an answer; in process, the same exception that a socket would raise."""
    connection = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket) and connection.fileno() >= 0:
        # Linger of zero seconds: closing sends RST. Detached, because the server holds the same object.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())
    raise ConnectionResetError("a fault that was asked for")


def _cut(environ: dict[str, Any], body: bytes) -> Iterator[bytes]:
    yield body[: len(body) // 2]
    connection = environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
