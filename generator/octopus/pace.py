"""How fast one account may ask one server: all its threads and targets together stay below the rate limit. No I/O.

Servers since 2026.3 count requests by user, in a bucket that refills (docs, Rate Limiting). Each answer says how large it is and
what is left: `Octopus-RateLimit-Policy: l=200;rpm=600` and `Octopus-RateLimit: r=7;t=18`; unknown parameters are to be ignored.
Over the limit the answer is 429, perhaps with `Retry-After`, and nothing was carried out. Older servers send none of these, and
are asked as fast as they answer.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

POLICY, LEFT = "octopus-ratelimit-policy", "octopus-ratelimit"
MOST_AT_ONCE = 8
"""Requests under way at the same time to one server: enough to hide its distance, few enough to leave others their turn."""


class Pace:
    """Gives each request its turn. Safe to use from several threads.

    What is left is the least of what we count ourselves and of what each answer says, less the requests that are still under way:
    so answers that overtake each other make us slower, never too fast.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.at_once = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._left: float | None = None  # below zero: turns that were given ahead of their time
        self._per_second = self._burst = 0.0
        self._at = clock()  # when `_left` was true
        self._not_before = clock()

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Around one request: when its turn has come, the seconds to wait before it is sent."""
        with self.at_once:
            pause = self.begin()
            try:
                yield pause
            finally:
                with self._lock:
                    self._under_way -= 1

    def begin(self) -> float:
        """Count one more request under way. The seconds to wait before it is sent."""
        with self._lock:
            now = self._clock()
            pause = max(0.0, self._not_before - now)
            if self._left is not None:
                self._refill(now)
                pause = max(pause, (1 - self._left) / self._per_second)
                self._left -= 1
            self._under_way += 1
            return pause

    def read_answer(self, headers: Mapping[str, str]) -> None:
        """Learn from an answer's headers (their names in lower case) what the bucket holds, while its turn lasts."""
        policy, left = numbers(headers.get(POLICY, "")), numbers(headers.get(LEFT, ""))
        if not {"l", "rpm"} <= policy.keys() or "r" not in left or policy["rpm"] <= 0 or policy["l"] < 1:
            return
        with self._lock:
            now = self._clock()
            self._burst, self._per_second = policy["l"], policy["rpm"] / 60
            told = left["r"] - (self._under_way - 1)
            if self._left is None:
                self._left, self._at = told, now
            self._refill(now)
            self._left = min(self._left, told)

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long: the server said that it is enough."""
        with self._lock:
            now = self._clock()
            self._not_before = max(self._not_before, now + seconds)
            if self._left is not None:
                self._refill(now)
                self._left = min(self._left, 0.0)

    def _refill(self, now: float) -> None:
        if self._left is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
            self._at = now


class Paces:
    """One `Pace` for each account of each server that a command talks to."""

    def __init__(self) -> None:
        self._known: dict[str, Pace] = {}

    def of(self, root: str, secret: str) -> Pace:
        """The pace of this account; the secret itself is not kept."""
        account = hashlib.sha256(f"{root.lower()}\n{secret}".encode()).hexdigest()
        return self._known.setdefault(account, Pace())


def numbers(header: str) -> dict[str, float]:
    """`l=200;rpm=600` as numbers; what is none is left out."""
    found = {}
    for part in header.split(";"):
        name, _, value = part.partition("=")
        if value.strip().replace(".", "", 1).isdecimal():
            found[name.strip().lower()] = float(value)
    return found
