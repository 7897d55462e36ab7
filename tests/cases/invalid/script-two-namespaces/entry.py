"""Greets."""

from __future__ import annotations

import time

from generator.runtime.clashing import now


def main(parameters):
    parameters.step.output("Said", parameters.greeting + str(now()) + str(time.time()))
