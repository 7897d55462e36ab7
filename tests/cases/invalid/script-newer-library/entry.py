"""Greets."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

Names = list[str]


@dataclass(frozen=True, slots=True)
class Greeting:
    words: list[str]


def main(parameters):
    parameters.step.output("Said", parameters.greeting.removeprefix("a"))
