"""Greets."""

from __future__ import annotations


def main(parameters):
    parameters.step.output("Said", parameters.greeting)


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
