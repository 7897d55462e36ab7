"""Trouble on demand, over a real socket: what a client meets, and what the server has done meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from world import World, step

from generator.emulator import Emulator
from generator.emulator.ratelimit import RateLimit


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    """A client over the socket, with no patience of its own."""
    headers = {"X-Octopus-ApiKey": world.emulator.api_key}
    with httpx.Client(base_url=f"{world.emulator.url}/api/Spaces-1/", headers=headers, timeout=10) as client:
        yield client


def test_a_lost_answer_comes_after_the_write(world: World, http: httpx.Client) -> None:
    release, environment = world.release(world.project("Web", step("One"))), world.environment()
    fault = world.emulator.faults.add(method="POST", path="/deployments$", kind="lost_answer")
    with pytest.raises(httpx.NetworkError):
        http.post("deployments", json={"ReleaseId": release["Id"], "EnvironmentId": environment["Id"]})
    assert (1, 1) == (world.get("deployments")["TotalResults"], fault.hits)


def test_a_reset_comes_before_the_write(world: World, http: httpx.Client) -> None:
    world.emulator.faults.add(method="POST", kind="reset")
    with pytest.raises(httpx.NetworkError):
        http.post("environments", json={"Name": "Test"})
    assert [] == world.get("environments/all")


def test_a_reset_in_process_is_the_same_exception_as_a_socket_raises(world: World) -> None:
    world.emulator.faults.add(path="environments", kind="lost_answer")
    with pytest.raises(ConnectionResetError):
        world.api.post("environments", json={"Name": "Test"})
    assert ["Test"] == [item["Name"] for item in world.get("environments/all")]


def test_a_truncated_answer(world: World, http: httpx.Client) -> None:
    world.emulator.faults.add(path="lifecycles", kind="truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("lifecycles")
    assert 200 == http.get("lifecycles").status_code


def test_a_slow_answer(world: World, http: httpx.Client) -> None:
    world.emulator.faults.add(path="lifecycles", kind="slow", delay=0.3)
    began = time.monotonic()
    assert 200 == http.get("lifecycles").status_code
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("fault", "status", "media", "retry_after"),
    [
        pytest.param({"status": 503}, 503, "application/json", None, id="busy"),
        pytest.param(
            {"status": 429, "retry_after": 7}, 429, "application/json", "7", id="rate limited with a hint"
        ),
        pytest.param({"kind": "html", "status": 502}, 502, "text/html", None, id="page of a proxy"),
        pytest.param(
            {"kind": "html", "status": 200},
            200,
            "text/html",
            None,
            id="page of a proxy that calls itself a success",
        ),
    ],
)
def test_an_answer_in_place_of_the_servers(
    world: World, http: httpx.Client, fault: dict[str, Any], status: int, media: str, retry_after: str | None
) -> None:
    world.emulator.faults.add(method="POST", path="environments", **fault)
    answer = http.post("environments", json={"Name": "Test"})
    assert (status, retry_after) == (answer.status_code, answer.headers.get("Retry-After"))
    assert answer.headers["Content-Type"].startswith(media)
    assert [] == world.get("environments/all"), "nothing was carried out"


def test_rules_strike_in_their_order_and_number(world: World) -> None:
    faults = world.emulator.faults
    faults.add(path="lifecycles", status=500, count=2, after=1)
    faults.add(path="lifecycles", status=502, count=None)
    assert [502, 500, 500, 502, 502] == [world.api.get("lifecycles").status_code for _ in range(5)]
    faults.clear()
    assert 200 == world.api.get("lifecycles").status_code


def test_an_unknown_kind_is_a_mistake_of_the_test(world: World) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        world.emulator.faults.add(kind="teapot")  # type: ignore[arg-type]


# --- rate limits ---------------------------------------------------------------------------------------------------


def test_over_the_rate_limit_nothing_is_done(world: World) -> None:
    """docs, Rate Limiting: 429, a hint, and advisory headers on every answer."""
    world.emulator.rate_limit = RateLimit(burst=2, per_minute=0.001)
    first = world.api.get("environments")
    assert ("l=2;rpm=0.001", "r=1") == (
        first.headers["Octopus-RateLimit-Policy"],
        first.headers["Octopus-RateLimit"].split(";")[0],
    )
    assert 201 == world.api.post("environments", json={"Name": "A"}).status_code
    refused = world.api.post("environments", json={"Name": "B"})
    assert (429, True) == (refused.status_code, int(refused.headers["Retry-After"]) > 0)
    world.emulator.rate_limit = None
    assert ["A"] == [item["Name"] for item in world.get("environments/all")]


@pytest.mark.parametrize(
    ("seconds", "allowed"),
    [
        pytest.param(0, False, id="at once"),
        pytest.param(0.9, False, id="too early"),
        pytest.param(1.1, True, id="refilled"),
    ],
)
def test_tokens_come_back(seconds: float, allowed: bool) -> None:
    limit = RateLimit(burst=1, per_minute=60)
    assert limit.spend("u", 0.0)[0]
    assert allowed == limit.spend("u", seconds)[0]


def test_each_user_has_a_bucket(world: World) -> None:
    world.emulator.rate_limit = RateLimit(burst=1, per_minute=0.001, hint=False)
    other = world.client(key=world.emulator.add_key(user="robot"))
    assert [200, 429, 200] == [
        world.api.get("environments").status_code,
        world.api.get("environments").status_code,
        other.get("environments").status_code,
    ]
    assert "Retry-After" not in world.api.get("environments").headers


def test_a_server_that_stops_refuses_connections() -> None:
    with Emulator() as emulator:
        url = emulator.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/api")
