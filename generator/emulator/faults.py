"""Trouble on demand: what a network, a proxy or a busy server does to requests. Set by tests and scenarios.

emulator.faults.add(path=r"/deployments$", method="POST", kind="lost_answer")
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["status", "reset", "refused", "lost_answer", "slow", "truncated", "html", "restart"]


@dataclass(kw_only=True)
class Fault:
    """One rule; it holds for the next `count` matching requests (None = for ever), after letting `after` of them pass.

    status        answers `status` at once, with `Retry-After` when `retry_after` is given; nothing is carried out
    reset         the connection is reset before anything is carried out
    lost_answer   the request is carried out, then the connection is reset
    slow          the answer comes `delay` real seconds late
    truncated     the answer's body ends in the middle
    html          a proxy's page with `status`; nothing is carried out
    refused       the connection is reset, and for `delay` real seconds further ones are refused; tasks go on
    restart       the same, and what runs is lost as with a server that is restarted: see `Emulator.go_away`

    `probability` below 1 strikes by chance: the same `seed` strikes the same of the matching requests, counted in order.
    """

    path: str = ""
    method: str | None = None
    kind: Kind = "status"
    status: int = 503
    retry_after: float | None = None
    count: int | None = 1
    after: int = 0
    delay: float = 1.0
    probability: float = 1.0
    seed: int = 0
    # How often it struck.
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of fault {self.kind!r}, known: {', '.join(get_args(Kind))}")
        if not 0 < self.probability <= 1:
            raise ValueError(
                f"a probability of {self.probability:g} is not possible: use more than 0, at most 1"
            )
        self._pattern = re.compile(self.path, re.IGNORECASE)
        self._chance = random.Random(self.seed)

    def is_lucky(self) -> bool:
        """Whether chance lets the next matching request pass."""
        return self.probability < 1 and self._chance.random() >= self.probability

    def matches(self, method: str, path: str) -> bool:
        return (self.method is None or self.method.upper() == method) and self._pattern.search(
            path
        ) is not None


@dataclass
class Faults:
    rules: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        *,
        path: str = "",
        method: str | None = None,
        kind: Kind = "status",
        status: int = 503,
        retry_after: float | None = None,
        count: int | None = 1,
        after: int = 0,
        delay: float = 1.0,
        probability: float = 1.0,
        seed: int = 0,
    ) -> Fault:
        """A new rule; `path` is a regular expression searched in the request's path, the virtual directory included."""
        fault = Fault(
            path=path,
            method=method,
            kind=kind,
            status=status,
            retry_after=retry_after,
            count=count,
            after=after,
            delay=delay,
            probability=probability,
            seed=seed,
        )
        with self._lock:
            self.rules.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self.rules.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The first rule that strikes this request, counted."""
        with self._lock:
            for fault in self.rules:
                if not fault.matches(method, path) or (fault.count is not None and fault.hits >= fault.count):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                if fault.is_lucky():
                    continue
                fault.hits += 1
                return fault
        return None


PROXY_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{status} {reason}</title></head>\n"
    "<body><center><h1>{status} {reason}</h1></center><hr><center>nginx</center></body></html>\n"
)
