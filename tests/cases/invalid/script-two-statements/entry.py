"""Greets."""

from __future__ import annotations

A = 1; B = 2


def main(parameters):
    parameters.step.output("Said", parameters.greeting * A * B)
