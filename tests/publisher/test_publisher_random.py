"""A random editor changes templates by the API while `apply` runs in trouble: nothing foreign is overwritten silently.

`OCTOSTEPS_RANDOM_RUNS` sets how many runs there are (300 take a quarter of an hour), `OCTOSTEPS_RANDOM_SEED` which ones.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.publisher.random_editor import open_world

RUNS = int(os.environ.get("OCTOSTEPS_RANDOM_RUNS", "10"))
SEED = int(os.environ.get("OCTOSTEPS_RANDOM_SEED", "6"))


def test_nothing_foreign_is_overwritten_silently_and_every_run_says_the_truth(tmp_path: Path) -> None:
    with open_world(tmp_path, SEED) as world:
        for _ in range(RUNS):
            world.one_round()
        world.finish()
        print(f"seed {SEED}: {world.tally}")
        assert RUNS == world.tally.runs == world.tally.ended + world.tally.killed + world.tally.refused
        assert world.tally.saves and world.tally.edits and world.tally.covered_and_told
