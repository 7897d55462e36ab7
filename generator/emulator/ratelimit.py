"""Rate limiting as servers since 2026.3 do it: a token bucket for each user, advisory headers, 429.

Source: docs, Rate Limiting (`Octopus-RateLimit-Policy: l=200;rpm=600`, `Octopus-RateLimit: r=7;t=18`, Retry-After as a hint).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class RateLimit:
    """`burst` tokens at most, `per_minute` refilled; `hint` False leaves `Retry-After` out, as a server may."""

    burst: int = 200
    per_minute: float = 600
    hint: bool = True
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def spend(self, user: str, now: float) -> tuple[bool, dict[str, str]]:
        """Whether the request may go on, and the headers of its answer. `now` in seconds of the server's clock."""
        tokens, since = self._buckets.get(user, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - since) * self.per_minute / 60)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
        self._buckets[user] = (tokens, now)
        refill = math.ceil((self.burst - tokens) * 60 / self.per_minute)
        headers = {
            "Octopus-RateLimit-Policy": f"l={self.burst};rpm={self.per_minute:g}",
            "Octopus-RateLimit": f"r={int(tokens)};t={refill}",
        }
        if not allowed and self.hint:
            headers["Retry-After"] = str(max(1, math.ceil((1 - tokens) * 60 / self.per_minute)))
        return allowed, headers
