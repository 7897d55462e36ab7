"""The connection fields that every step with an API has: from typed values to an Api in the right space."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable, Mapping

from generator.runtime.api import Api, parse_credential, parse_server_url, token_expiry
from generator.runtime.lookup import find_space
from generator.runtime.moments import spoken
from generator.runtime.step import MISCONFIGURED
from generator.runtime.transport import http_transport

CONNECTION_GRAMMARS: Mapping[str, Callable[[Any], Any]] = {
    "server": parse_server_url,
    "api_key": parse_credential,
}


def connect(parameters: Any, limit: timedelta, *, transport: Any = None) -> Api:
    """The server, account and space that the form names. `limit` is how long this step may have to wait at most."""
    step = parameters.step
    api = Api(
        parameters.server,
        parameters.api_key,
        transport=transport or http_transport(parameters.ca_file or ""),
        tell=step.log.info,
    )
    expiry = token_expiry(parameters.api_key)
    if expiry is not None:
        left = timedelta(seconds=expiry - api.wall_clock())
        if left.total_seconds() <= 0:
            step.fail(MISCONFIGURED, f"{parameters.label('api_key')}: the access token has expired")
        if left < limit:
            step.log.warning(
                f"The access token ends in {spoken(left)}, but this step may wait for {spoken(limit)}: "
                "after that the server refuses every request with 401."
            )
    api.space = find_space(api, parameters.space)
    return api
