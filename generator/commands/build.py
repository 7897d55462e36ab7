"""`octosteps build`: render every spec into `build/`, or with `--check` say whether it is current."""

# pathlib is not used here: pathlib objects would be built only to be turned into text.
# ruff: noqa: PTH100, PTH112, PTH120

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.build_cache import Cache, count_unchanged, read_cache, tool_digest
from generator.errors import Refusal
from generator.outcome import Outcome, Progress, quiet

if TYPE_CHECKING:
    from generator.build_folder import Work
    from generator.workspace import SpecFile, Workspace

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def run(*, root: Path, check_only: bool = False, progress: Progress = quiet) -> Outcome:
    """Bring `build/` up to date, or with `check_only` only compare: exit code 1 when a file differs.

    Nothing is written when anything is wrong. Errors: Problems, Refusal.
    """
    cache = read_known(root)
    unchanged = count_unchanged(root.as_posix(), cache)
    if unchanged is not None:
        return _nothing_to_do(unchanged, 0, check_only)
    # Only now: reading YAML and rendering take longer to load than looking at an unchanged library.
    from generator.build_folder import carry_out, plan_build, staging
    from generator.editor_schemas import refresh_schemas
    from generator.workspace import read_workspace

    workspace = read_workspace(root)
    if not workspace.specs:
        folder = workspace.shown(workspace.settings.step_templates)
        raise Refusal(f"no specs in {folder}: begin one with octosteps new 'Noun - Verb'")

    def track(files: Sequence[SpecFile]) -> Iterable[SpecFile]:
        return progress(files, "Rendering")

    if check_only:
        return _compared(workspace, plan_build(workspace, cache, track=track))
    with staging(workspace.root) as staged:
        work = plan_build(workspace, cache, staged=staged, track=track)
        carry_out(workspace, work)
    if not workspace.builtin:
        refresh_schemas(workspace.root)
    shown = workspace.shown(workspace.settings.build)
    lines = [f"wrote {shown}/{name}" for name in sorted(work.write)]
    lines += [f"removed {shown}/{name}: its spec is gone" for name in work.remove]
    if not lines:
        return _nothing_to_do(work.specs, work.rendered, check_only)
    done = f"{_count(work.specs)}, {work.rendered} rendered, {len(work.write)} files written."
    return Outcome(data=_data(work), parts=[*lines, done], lines=sorted(work.write))


def read_known(root: Path) -> Cache:
    """What the last build of the library left for this one, as far as the same code made it."""
    beside = PACKAGE if os.path.isdir(f"{PACKAGE}/templates") else os.path.dirname(PACKAGE)
    tool = tool_digest((PACKAGE, f"{PACKAGE}/runtime", f"{beside}/templates"))
    return read_cache(root.as_posix(), tool=tool)


def _nothing_to_do(specs: int, rendered: int, check_only: bool) -> Outcome:
    data = {"written": [], "removed": [], "rendered": rendered, "specs": specs}
    said = "build/ is current" if check_only else "nothing to do"
    return Outcome(data=data, parts=[f"{_count(specs)}, {said}."])


def _compared(workspace: Workspace, work: Work) -> Outcome:
    shown = workspace.shown(workspace.settings.build)
    lines = [
        f"{shown}/{name} {'differs from its spec' if (workspace.build / name).exists() else 'is missing'}"
        for name in sorted(work.write)
    ]
    lines += [f"{shown}/{name} is left over: its spec is gone" for name in work.remove]
    if not lines:
        return _nothing_to_do(work.specs, work.rendered, check_only=True)
    return Outcome(
        data=_data(work),
        parts=[*lines, f"{shown} is not current: run octosteps build and commit what it writes."],
        lines=[*sorted(work.write), *work.remove],
        exit_code=1,
    )


def _data(work: Work) -> dict[str, Any]:
    return {
        "written": sorted(work.write),
        "removed": list(work.remove),
        "rendered": work.rendered,
        "specs": work.specs,
    }


def _count(specs: int) -> str:
    return f"{specs} step template{'' if specs == 1 else 's'}"
