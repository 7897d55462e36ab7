"""Greets."""

from __future__ import annotations


def main(parameters):
    parameters.step.output("Said", parameters.greting + parameters.loud)
