"""Greets."""

from __future__ import annotations

from os import open

PARAMETERS = ()


def print():
    """Not Python's."""


def failstep():
    """Not Octopus'."""


def main(parameters):
    print()
    open()
    failstep()
    parameters.step.output("Said", parameters.greeting)
