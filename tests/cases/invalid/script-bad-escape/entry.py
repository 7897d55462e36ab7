"""Greets."""

from __future__ import annotations

import re

DIGITS = re.compile("\d+")


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
