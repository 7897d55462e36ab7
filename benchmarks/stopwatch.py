"""Times whole commands, two against each other in turn, so that a machine whose speed drifts does not spoil the ratio."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command to be timed. `before` runs ahead of each counted run, uncounted."""

    words: Sequence[str]
    folder: Path
    environ: Mapping[str, str]
    before: Callable[[], None] | None = None
    exit_codes: frozenset[int] = frozenset({0})

    def seconds(self) -> float:
        if self.before:
            self.before()
        begun = time.perf_counter()
        ended = subprocess.run(
            self.words, cwd=self.folder, env=dict(self.environ), capture_output=True, check=False
        )
        lasted = time.perf_counter() - begun
        if ended.returncode not in self.exit_codes:
            raise SystemExit(
                f"{' '.join(self.words)} ended with {ended.returncode}:\n{ended.stderr.decode()}"
            )
        return lasted


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How two commands compare: the medians in seconds, and the median of the pairwise ratios `theirs / ours`."""

    ours: float
    theirs: float
    ratio: float


def compare(ours: Command, theirs: Command, *, runs: int = 5) -> Ratio:
    """Both commands in turn, `runs` times after one warm-up each."""
    ours.seconds(), theirs.seconds()
    pairs = [(ours.seconds(), theirs.seconds()) for _ in range(runs)]
    return Ratio(
        ours=statistics.median(own for own, _ in pairs),
        theirs=statistics.median(their for _, their in pairs),
        ratio=statistics.median(their / own for own, their in pairs),
    )
