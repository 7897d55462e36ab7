#!/usr/bin/env python3
# A comment that belongs to nothing.
"""The docstring of the module is not shipped."""

from __future__ import annotations

import collections.abc as abc
import json
import os
import os.path
import shutil
import urllib.parse
import urllib.request
from collections import OrderedDict as Ordered
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from generator.runtime.step import StepFailure
from generator.runtime.words import spoken

# --- A section ---

# Two lines
# above a constant.
LIMIT = 3
FACTORS = (
    LIMIT,  # a comment inside
    # and a line of its own
    LIMIT * 2,
)

BOTH, OTHER = 1, 2
WIDE: abc.Mapping[str, int] = {"ä": 1}
NOT_REACHED = 4


def not_reached():
    return NOT_REACHED, shutil


class Pair(NamedTuple):
    """Reached by an annotation only."""

    left: int
    right: int


# Above the decorator.
@dataclass(frozen=True)
class Point:
    """A point.

	A tab and trailing space stay: 	
    """

    x: int = LIMIT
    y: int = 0

    def moved(self, by: Pair) -> Point:
        return Point(self.x + by.left, self.y + by.right)


class Base:
    words = deque("ab")


class Derived(Base):
    pass


def decorate(function):
    return function


def shift(number, *, by=FACTORS):
    return number << by[0]


async def later():
    return json.dumps({"a": [1]}), urllib.parse.quote("a"), urllib.request.Request


@decorate
def main(form):
    # Comments inside stay, "#" + "{" too.
    text = """
    # not a comment
"""
    if form.host is None:
        raise StepFailure(spoken(["a", "b"]))
    return (text, Point().moved, Derived, shift, later, Ordered, os.path.join, os.sep, BOTH, WIDE)

    # The last comment.


# Below everything.
