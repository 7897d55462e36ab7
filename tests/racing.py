"""A transport by which somebody else is quicker: just before a matching write arrives, `edit` happens."""

from __future__ import annotations

from collections.abc import Callable

import httpx


class Racing(httpx.HTTPTransport):
    """Lets `edit(n)` happen before each of the first `times` PUTs whose path holds `path`; n counts from 1."""

    def __init__(self, *, path: str, times: int, edit: Callable[[int], object]) -> None:
        super().__init__()
        self.path, self.times, self.edit = path, times, edit
        self.done = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT" and self.path in request.url.path and self.done < self.times:
            self.done += 1
            self.edit(self.done)
        return super().handle_request(request)
