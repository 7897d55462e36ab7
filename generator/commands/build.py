"""`octosteps build`: render every spec into `build/`, or with `--check` say whether it is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generator.build_folder import Work, carry_out, plan_build
from generator.errors import Refusal
from generator.outcome import Outcome, Progress, quiet
from generator.workspace import Workspace, read_workspace


def run(*, root: Path, check_only: bool = False, progress: Progress = quiet) -> Outcome:
    """Bring `build/` up to date, or with `check_only` only compare: exit code 1 when a file differs.

    Nothing is written when anything is wrong. Errors: Problems, Refusal.
    """
    workspace = read_workspace(root)
    if not workspace.specs:
        raise Refusal(
            f"no specs in {workspace.shown(workspace.settings.step_templates)}: begin one with "
            "octosteps new 'Noun - Verb'"
        )
    work = plan_build(workspace, track=lambda files: progress(files, "Rendering"))
    data = {
        "written": sorted(work.write),
        "removed": list(work.remove),
        "rendered": work.rendered,
        "specs": work.specs,
    }
    if check_only:
        return _compared(workspace, work, data)
    carry_out(workspace, work)
    shown = workspace.shown(workspace.settings.build)
    lines = [f"wrote {shown}/{name}" for name in sorted(work.write)]
    lines += [f"removed {shown}/{name}: its spec is gone" for name in work.remove]
    return Outcome(data=data, parts=[*lines, _summary(work)], lines=sorted(work.write))


def _compared(workspace: Workspace, work: Work, data: dict[str, Any]) -> Outcome:
    shown = workspace.shown(workspace.settings.build)
    lines = [
        f"{shown}/{name} {'differs from its spec' if (workspace.build / name).exists() else 'is missing'}"
        for name in sorted(work.write)
    ]
    lines += [f"{shown}/{name} is left over: its spec is gone" for name in work.remove]
    if not lines:
        return Outcome(data=data, parts=[f"{shown} is current: {_count(work.specs)}."])
    return Outcome(
        data=data,
        parts=[*lines, f"{shown} is not current: run octosteps build and commit what it writes."],
        lines=[*sorted(work.write), *work.remove],
        exit_code=1,
    )


def _summary(work: Work) -> str:
    if not work.write and not work.remove:
        return f"{_count(work.specs)}, nothing to do."
    return f"{_count(work.specs)}, {work.rendered} rendered, {len(work.write)} files written."


def _count(specs: int) -> str:
    return f"{specs} step template{'' if specs == 1 else 's'}"
