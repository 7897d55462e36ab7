"""Greets."""

from __future__ import annotations

import os
from datetime import timedelta

print("at once")
HOME = os.getenv("HOME")
PAUSE = timedelta(seconds=1)
NAMES = frozenset("a b".split())
if HOME:
    PAUSE = None
for name in NAMES:
    pass


class Loud:
    print("loud")


def main(parameters):
    parameters.step.output("Said", parameters.greeting)


if __name__ == "__main__":
    main(None)
