"""Greets."""

from __future__ import annotations


def start(parameters):
    parameters.step.output("Said", parameters.greeting)
