"""Greets."""

from __future__ import annotations


def main(parameters):
    parameters.step.output("Sad", parameters.greeting)
    parameters.step.output("Other", "x")
