"""Runs a script under the contract and keeps what it did."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from generator.emulator.runner import Category, Event, LogLine, ScriptJob, ScriptResult, start_script

Kind = TypeVar("Kind")

# Real seconds after which a hanging script is a failed test.
PATIENCE = 30.0


@dataclass(frozen=True)
class Ran:
    """A script that has ended, and its events in order."""

    result: ScriptResult
    events: tuple[Event, ...]

    def lines(self, category: Category | None = "Info") -> list[str]:
        """The log's lines of one category, or of all."""
        return [e.text for e in self.events if isinstance(e, LogLine) and category in (None, e.category)]

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]


def run_script(script: str, *, before_close: Callable[[Any], None] = lambda running: None, **job: Any) -> Ran:
    """`script`, dedented, run to its end with the other fields of its ScriptJob."""
    events: list[Event] = []
    with start_script(ScriptJob(script=textwrap.dedent(script), **job), events.append) as running:
        result = running.wait(PATIENCE)
        before_close(running)
    return Ran(result, tuple(events))
