"""The server's time: it starts now and can run faster than ours. Owns the two ways in which the API writes a moment.

Emulated seconds since 1970 are plain floats everywhere in the emulator; they become text only in documents.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """`now()` = start + speed * (real seconds since the start)."""

    def __init__(self, *, speed: float = 1.0, start: float | None = None) -> None:
        if not speed > 0:
            raise ValueError("the speed of the clock must be greater than 0")
        self.speed = speed
        self._start = time.time() if start is None else start
        self._began = time.monotonic()

    def now(self) -> float:
        """Emulated seconds since 1970."""
        return self._start + self.speed * (time.monotonic() - self._began)

    def set(self, moment: float) -> None:
        """From now on it is `moment`: for making a past, before anything runs."""
        self._start, self._began = moment, time.monotonic()

    def real(self, seconds: float) -> float:
        """How many real seconds `seconds` emulated ones last."""
        return seconds / self.speed


def iso(moment: float | None) -> str | None:
    """`2017-03-20T21:00:17.205+00:00` (source: OctopusClients, CannedResponses of machines' tasks)."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")


def spoken(moment: float) -> str:
    """`Monday, March 20, 2017 9:00 PM`, as `Completed` of a task has it (source: as `iso`)."""
    when = datetime.fromtimestamp(moment, timezone.utc)
    clock = when.strftime("%I:%M %p").lstrip("0")
    return f"{when:%A}, {when:%B} {when.day:02d}, {when.year} {clock}"


def spoken_duration(seconds: float) -> str:
    """`32 seconds`, as `Duration` of a task has it (source: as `iso`); the larger units are unconfirmed."""
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {word}{'' if count == 1 else 's'}"
    count = max(1, round(seconds))
    return f"{count} second{'' if count == 1 else 's'}"


def moment(text: object) -> float | None:
    """The emulated seconds that a client wrote as ISO 8601, None for nothing. A moment without offset is UTC.

    Errors: ValueError for anything else.
    """
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a moment")
    # Python 3.10 reads neither "Z" nor 7 digits of a second, which .NET writes.
    spelled = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    head, dot, tail = spelled.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        spelled = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    when = datetime.fromisoformat(spelled)
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
