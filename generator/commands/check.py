"""`octosteps check`: every fault in a library's specs, scripts and coordination files, without writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from generator.build_folder import plan_build
from generator.commands.build import read_known
from generator.coordination import WantedProcess, check_coordination, read_coordination
from generator.deadlocks import Need, check_waits
from generator.errors import Problem, Problems, Refusal
from generator.outcome import Outcome
from generator.revisions import check_revisions, read_at
from generator.rules import check_builtin_claims
from generator.workspace import Workspace, builtin_claims, read_workspace, render_known, render_workspace

COORDINATION = "coordination.yaml"


def run(*, root: Path, files: Sequence[Path] = (), against: str | None = None) -> Outcome:
    """Exit code 0 when nothing is wrong; with `against` a content that differs from that git ref needs a new version, too.

    Coordination files are the given ones and the library's own. Errors: Problems with all faults, Refusal.
    """
    workspace = read_workspace(root)
    own = root / COORDINATION
    coordination = tuple(dict.fromkeys([*files, *([own] if own.exists() else ())]))
    if not workspace.specs and not coordination:
        raise Refusal(
            f"nothing to check: no specs in {workspace.shown(workspace.settings.step_templates)}, "
            f"no {workspace.shown(COORDINATION)}"
        )
    warnings: list[Problem] = []
    problems = [*_spec_problems(workspace, against, warnings)]
    wanted: Sequence[WantedProcess] = ()
    need: Need | None = None
    try:
        wanted = read_coordination(coordination)
    except Problems as error:
        problems += error.problems
    if wanted and not problems:
        specs = {name: built.spec for name, built in render_known(root).items()}
        problems += check_coordination(wanted, specs)
        if not problems:
            waits = check_waits(wanted, specs)
            problems += waits.problems
            warnings += waits.warnings
            need = waits.need
    if problems:
        raise Problems(problems)
    return Outcome(
        data={
            "specs": len(workspace.specs),
            "coordination": [file.as_posix() for file in coordination],
            "problems": [],
            "warnings": [str(warning) for warning in warnings],
            "task_cap": {"waiters": list(need.waiters), "slots": need.slots} if need else None,
        },
        parts=[
            *(f"warning: {warning}" for warning in warnings),
            *([f"Task cap: {need}."] if need and len(need.waiters) > 1 else []),
            _summary(len(workspace.specs), len(coordination), len(warnings)),
        ],
    )


def _spec_problems(workspace: Workspace, against: str | None, warnings: list[Problem]) -> Iterator[Problem]:
    """Faults of specs and scripts; what is only worth a look goes to `warnings`."""
    try:
        work = plan_build(workspace, read_known(workspace.root))
    except Problems as error:
        yield from error.problems
        return
    warnings.extend(work.warnings)
    if not workspace.builtin:
        yield from check_builtin_claims(work.claims, builtin_claims())
    if against is not None:
        before = read_at(workspace, against, [file.slug for file in workspace.specs])
        yield from check_revisions(render_workspace(workspace), before, workspace, ref=against)


def _summary(specs: int, files: int, warnings: int) -> str:
    """What was looked at: `2 step templates, 1 coordination file, no problems, 1 warning.`"""
    counts = ((specs, "step template"), (files, "coordination file"))
    told = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    told.append("no problems")
    if warnings:
        told.append(f"{warnings} warning{'' if warnings == 1 else 's'}")
    return ", ".join(told) + "."
