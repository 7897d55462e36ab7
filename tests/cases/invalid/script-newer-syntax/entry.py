"""Greets."""

from __future__ import annotations


def main(parameters):
    match parameters.greeting:
        case "a":
            return
    parameters.step.output("Said", parameters.greeting)
