"""One HTTP exchange by `http.client`: proxies of the environment, verified TLS, and no redirect followed.

Raises OSError, BrokenAnswer among them; what they mean is `api`'s business. Everything here is loaded before a step's first
request, hence no `urllib.request` (10 ms) where no proxy is set, and no `ssl` (10 ms) for plain HTTP.
"""

from __future__ import annotations

import os
import sys
import urllib.parse
from typing import Any, Callable, Mapping, Optional

from generator.runtime.record import Record
from generator.runtime.step import MISCONFIGURED, StepFailure

PORTS = {"http": 80, "https": 443}


class ConnectionMisconfigured(StepFailure):
    """No request can succeed before somebody changes the connection fields."""

    def __init__(self, sentence: str) -> None:
        super().__init__(MISCONFIGURED, sentence)


class BrokenAnswer(OSError):
    """The answer is cut short, or no HTTP."""


class HttpRequest(Record):
    method: str
    url: str
    headers: Mapping[str, str]
    body: Optional[bytes]


class HttpAnswer(Record):
    """`headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Transport = Callable[[HttpRequest, float], HttpAnswer]


def http_transport(ca: str) -> Transport:
    """Sends each request over a connection of its own. `ca` is a file or PEM text to trust as well, or ""."""
    client = load_http_client()
    contexts: list[Any] = []  # none before the first https request, for loading the trust store takes 20 ms

    def send(request: HttpRequest, timeout: float) -> HttpAnswer:
        server = urllib.parse.urlsplit(request.url)
        proxy = find_proxy(server)
        reached = proxy or server
        headers = {**request.headers, "Connection": "close"}
        target = urllib.parse.urlunsplit(("", "", server.path or "/", server.query, ""))
        host = reached.hostname or ""
        connection = client.HTTPConnection(host, reached.port or PORTS[reached.scheme], timeout=timeout)
        if proxy is not None and server.scheme == "https":
            connection.set_tunnel(server.hostname, server.port or 443, authorization(proxy))
        elif proxy is not None:
            target = request.url
            headers.update(authorization(proxy))
        try:
            if "https" in (server.scheme, reached.scheme):
                contexts.extend([] if contexts else [tls_context(ca)])
                connection.connect()
                name = server.hostname if server.scheme == "https" else host
                connection.sock = contexts[0].wrap_socket(connection.sock, server_hostname=name)
                connection.default_port = PORTS["https"]  # which the header Host leaves out
            connection.request(request.method, target, request.body, headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.headers.items()}
            return HttpAnswer(answer.status, names, answer.read())
        except client.HTTPException as error:
            raise BrokenAnswer(f"{type(error).__name__}: {error}") from None
        except UnicodeError:  # raised for host names alone
            raise ConnectionMisconfigured(f"no server can be called {host!r}") from None
        finally:
            connection.close()

    return send


def load_http_client() -> Any:
    """`http.client`, which loads `ssl` for a class that is of no use here; a copy of our own: others find theirs whole."""
    if "ssl" not in sys.modules and "http.client" not in sys.modules:
        missing: Any = None
        sys.modules["ssl"] = missing
        try:
            import http.client

            return sys.modules.pop("http.client")
        finally:
            del sys.modules["ssl"]
    import http.client

    return http.client


def find_proxy(server: urllib.parse.SplitResult) -> Optional[urllib.parse.SplitResult]:
    """The proxy that the environment, on Windows and macOS also the system, names for `server`; None to go there directly."""
    names = (f"{server.scheme}_proxy", f"{server.scheme}_proxy".upper())
    if sys.platform not in ("win32", "darwin") and not any(os.environ.get(name) for name in names):
        return None
    from urllib.request import getproxies, proxy_bypass

    text = getproxies().get(server.scheme)
    if not text or proxy_bypass(server.netloc):
        return None
    try:
        proxy = urllib.parse.urlsplit(text if "://" in text else "http://" + text)
        usable = proxy.scheme in PORTS and proxy.hostname and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:  # not shown: it may hold a password
        raise ConnectionMisconfigured(f"the variable {names[1]} is not the address of an HTTP proxy")
    return proxy


def authorization(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    """The header for a proxy whose address holds a user and password."""
    if not proxy.username:
        return {}
    import base64

    words = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(words.encode()).decode()}


def tls_context(ca: str) -> Any:
    """Verifies always: against the interpreter's own store and `ca`."""
    import ssl

    context = ssl.create_default_context()
    if ca:
        try:
            if ca.lstrip().startswith("-----BEGIN"):
                context.load_verify_locations(cadata=ca)
            else:
                context.load_verify_locations(cafile=ca)
        except (OSError, ValueError) as error:
            raise ConnectionMisconfigured(f"the CA file cannot be read: {error}") from None
    return context
