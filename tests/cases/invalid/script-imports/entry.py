"""Greets."""

from __future__ import annotations

import generator.runtime.step
from generator.runtime import step
from generator.runtime.stepp import StepFailure
from generator.runtime.step import StepFalure
from generator.runtime.step import Step as Running
from generator.runtime.words import *
from os import *
from . import sibling
from generator.spec import Spec


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
