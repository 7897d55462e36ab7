"""Talking to an Octopus Server: `wire` builds requests and judges answers without I/O, `client` sends them by httpx."""

from __future__ import annotations

from generator.octopus.client import Client, connect, read_target
from generator.octopus.records import Space, Target
from generator.octopus.wire import ApiError, NotOctopus, OctopusError, Unreachable, server_root

__all__ = [
    "ApiError",
    "Client",
    "NotOctopus",
    "OctopusError",
    "Space",
    "Target",
    "Unreachable",
    "connect",
    "read_target",
    "server_root",
]
