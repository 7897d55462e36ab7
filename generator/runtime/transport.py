"""One HTTP exchange by `urllib.request`: proxies of the environment, verified TLS, and no redirect followed.

Raises OSError and http.client.HTTPException as they come; what they mean is `api`'s business.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any, Callable, Mapping, NamedTuple, Optional

from generator.runtime.step import MISCONFIGURED, StepFailure


class ConnectionMisconfigured(StepFailure):
    """No request can succeed before somebody changes the connection fields."""

    def __init__(self, sentence: str) -> None:
        super().__init__(MISCONFIGURED, sentence)


class HttpRequest(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: Optional[bytes]


class HttpAnswer(NamedTuple):
    """`headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Transport = Callable[[HttpRequest, float], HttpAnswer]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Hands redirects to us: urllib would carry the key to whatever host the answer names."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def urllib_transport(ca: str) -> Transport:
    """Sends by urllib, through the proxies of the environment. `ca` is a file or PEM text to trust as well, or ""."""
    openers: dict[str, urllib.request.OpenerDirector] = {}

    def send(request: HttpRequest, timeout: float) -> HttpAnswer:
        scheme = request.url.partition(":")[0]
        if scheme not in openers:
            openers[scheme] = make_opener(scheme, ca)
        wire = urllib.request.Request(
            request.url, data=request.body, headers=dict(request.headers), method=request.method
        )
        try:
            with openers[scheme].open(wire, timeout=timeout) as answer:
                return HttpAnswer(answer.status, lower_names(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return HttpAnswer(error.code, lower_names(error.headers), error.read())

    return send


def make_opener(scheme: str, ca: str) -> urllib.request.OpenerDirector:
    """What `urllib.request.build_opener` makes, but without the trust store where it is not needed: loading it takes 20 ms."""
    opener = urllib.request.OpenerDirector()
    handlers: list[Any] = [
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        NoRedirects(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=tls_context(ca)))
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def lower_names(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


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
