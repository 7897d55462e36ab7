"""Staying below a server's rate limit: the arithmetic with a clock of its own, and many threads against the emulator."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from generator.emulator import Emulator
from generator.emulator.ratelimit import RateLimit
from generator.octopus import connect
from generator.octopus.pace import Pace, Paces, numbers

LIMIT = "l=10;rpm=60"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answer(pace: Pace, left: int, policy: str = LIMIT) -> None:
    """One request, and what its answer says."""
    with pace.turn():
        pace.read_answer({"octopus-ratelimit-policy": policy, "octopus-ratelimit": f"r={left};t=9"})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock=clock)


def pauses(pace: Pace, turns: int) -> list[float]:
    """What each of these requests, sent and answered one after another, has to wait."""
    found = []
    for _ in range(turns):
        with pace.turn() as pause:
            found.append(round(pause, 3))
    return found


def test_a_server_that_says_nothing_is_asked_at_once(pace: Pace) -> None:
    assert pauses(pace, 1000) == [0.0] * 1000


def test_what_is_left_is_used_at_once_and_then_at_the_servers_rate(pace: Pace, clock: Clock) -> None:
    answer(pace, left=2)
    assert pauses(pace, 4) == [0, 0, 1, 2]
    clock.now += 5
    assert pauses(pace, 5) == [0, 0, 0, 1, 2]


def test_requests_under_way_are_taken_off_what_an_answer_says_is_left(pace: Pace) -> None:
    with pace.turn(), pace.turn(), pace.turn():
        answer(pace, left=4)
    assert pauses(pace, 2) == [0, 1]


def test_an_answer_that_was_overtaken_changes_nothing(pace: Pace) -> None:
    answer(pace, left=0)
    answer(pace, left=9)
    assert pauses(pace, 1) == [2]


def test_a_request_that_fails_is_not_under_way_for_ever(pace: Pace) -> None:
    with pytest.raises(OSError), pace.turn():
        raise OSError
    answer(pace, left=1)
    assert pauses(pace, 2) == [0, 1]


def test_no_more_than_eight_are_under_way(pace: Pace) -> None:
    with (
        pace.turn(),
        pace.turn(),
        pace.turn(),
        pace.turn(),
        pace.turn(),
        pace.turn(),
        pace.turn(),
        pace.turn(),
    ):
        assert not pace.at_once.acquire(blocking=False)


def test_the_bucket_never_holds_more_than_it_can(pace: Pace, clock: Clock) -> None:
    answer(pace, left=10)
    clock.now += 3600
    assert pauses(pace, 11) == [0] * 10 + [1]


def test_a_429_holds_everybody(pace: Pace, clock: Clock) -> None:
    pace.hold(7)
    assert pauses(pace, 2) == [7, 7]
    clock.now += 7
    assert pauses(pace, 1) == [0]


def test_after_a_429_nobody_trusts_what_was_left(pace: Pace) -> None:
    answer(pace, left=10)
    pace.hold(0.5)
    assert pauses(pace, 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        pytest.param("", "", id="none"),
        pytest.param("l=10", "r=0", id="no rate"),
        pytest.param("l=10;rpm=0", "r=0", id="a rate of nothing"),
        pytest.param("l=10;rpm=60", "t=3", id="nothing about what is left"),
        pytest.param("l=ten;rpm=60", "r=0", id="words"),
        pytest.param("l=10;rpm=-60", "r=0", id="below zero"),
    ],
)
def test_headers_that_cannot_be_understood_are_not_obeyed(pace: Pace, policy: str, left: str) -> None:
    with pace.turn():
        pace.read_answer({"octopus-ratelimit-policy": policy, "octopus-ratelimit": left})
    assert pauses(pace, 3) == [0, 0, 0]


def test_unknown_parameters_are_ignored() -> None:
    assert numbers("l=200; rpm=600;shard=eu;x=1.5") == {"l": 200.0, "rpm": 600.0, "x": 1.5}


def test_an_account_has_one_pace_and_its_key_is_not_kept() -> None:
    paces = Paces()
    one = paces.of("https://o.test", "API-ONE")
    assert one is paces.of("https://O.test", "API-ONE")
    assert one is not paces.of("https://o.test", "API-TWO") and one is not paces.of(
        "https://p.test", "API-ONE"
    )
    assert "API-ONE" not in repr(vars(paces))


class Counting(httpx.HTTPTransport):
    """Counts how many requests are under way, and how the server answered."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.under_way, self.most, self.statuses = threading.Lock(), 0, 0, list[int]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            response = super().handle_request(request)
        finally:
            with self.lock:
                self.under_way -= 1
        with self.lock:
            self.statuses.append(response.status_code)
        return response


@pytest.mark.parametrize("hint", [True, False], ids=["with Retry-After", "without"])
def test_twenty_threads_of_two_clients_meet_no_429(hint: bool) -> None:
    """The bucket holds 15; 60 requests are made at 50 a second."""
    with Emulator() as emulator:
        emulator.rate_limit = RateLimit(burst=15, per_minute=3000, hint=hint)
        transport, pace = Counting(), Pace()
        clients = [
            connect(emulator.url, api_key=emulator.api_key, http=httpx.Client(transport=transport), pace=pace)
            for _ in range(2)
        ]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda number: clients[number % 2].get("/api"), range(60)))
    assert set(transport.statuses) == {200}
    assert 1 < transport.most <= 8


def test_a_bucket_that_others_empty_is_waited_for() -> None:
    """Another user of the same account leaves nothing: the server's 429 is heard, and every request is answered in the end."""
    with Emulator() as emulator:
        emulator.rate_limit = RateLimit(burst=5, per_minute=300)
        transport = Counting()
        with connect(
            emulator.url, api_key=emulator.api_key, http=httpx.Client(transport=transport)
        ) as client:
            other = httpx.Client(base_url=emulator.url, headers={"X-Octopus-ApiKey": emulator.api_key})
            while other.get("/api").status_code == 200:
                pass
            assert client.get("/api")["Version"]
    assert transport.statuses[-1] == 200 and 429 in transport.statuses
