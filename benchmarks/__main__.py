"""Runs every benchmark, or those that are named: `python -m benchmarks building starting`."""

from __future__ import annotations

import importlib
import sys

ALL = ("starting", "building", "publishing", "waiting", "emulator")

for name in sys.argv[1:] or ALL:
    if name not in ALL:
        sys.exit(f"unknown benchmark {name!r}: {', '.join(ALL)}")
    for line in importlib.import_module(f"benchmarks.{name}").measure():
        print(line, flush=True)
