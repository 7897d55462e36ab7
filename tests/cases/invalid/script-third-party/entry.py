"""Greets."""

from __future__ import annotations

import requests
from yaml import safe_load


def main(parameters):
    import numpy

    parameters.step.output("Said", parameters.greeting)
