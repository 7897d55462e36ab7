"""Threads that run one at a time, in an order that a seeded lot decides: races that can be repeated.

Whoever is at a request or asleep waits for its turn. Time is virtual: when nobody is due, it moves on to the first who is.
"""

from __future__ import annotations

import random
import threading
from typing import Protocol


class Time(Protocol):
    """`now`: seconds since the test began."""

    now: float


class Turns:
    """Lets one thread run at a time. `wait_until[name]` is when a sleeping one may go on."""

    def __init__(self, time: Time, lot: random.Random) -> None:
        self.time, self.lot = time, lot
        self.condition = threading.Condition()
        self.wait_until: dict[str, float] = {}
        self.running: str | None = None
        self.expected = 0

    def take(self, name: str, seconds: float = 0.0) -> None:
        """Gives the turn away, and returns when it has come back."""
        with self.condition:
            self.wait_until[name] = self.time.now + seconds
            self.running = None
            self.pass_on()
            while self.running != name:
                assert self.condition.wait(20), "a turn was lost"
            del self.wait_until[name]

    def leave(self) -> None:
        with self.condition:
            self.expected -= 1
            self.running = None
            self.pass_on()

    def pass_on(self) -> None:
        """Once all are waiting, one that is due is drawn; when none is, time moves on to the first."""
        if self.running is not None or len(self.wait_until) < self.expected or not self.wait_until:
            return
        self.time.now = max(self.time.now, min(self.wait_until.values()))
        due = sorted(name for name, at in self.wait_until.items() if at <= self.time.now)
        self.running = self.lot.choice(due)
        self.condition.notify_all()
