"""Greets."""

from __future__ import annotations


def main(parameters, step):
    parameters.step.output("Said", parameters.greeting)
