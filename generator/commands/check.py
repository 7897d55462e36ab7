"""`octosteps check`: every fault in a library's specs, scripts and coordination file, without writing anything."""

from __future__ import annotations

from pathlib import Path

from generator.build_folder import plan_build
from generator.commands.build import read_known
from generator.coordination import check_coordination, read_coordination
from generator.errors import Problem, Problems, Refusal
from generator.outcome import Outcome
from generator.revisions import check_revisions, read_at
from generator.rules import check_builtin_claims
from generator.workspace import Workspace, builtin_claims, read_workspace, render_known, render_workspace

COORDINATION = "coordination.yaml"


def run(*, root: Path, against: str | None = None) -> Outcome:
    """Exit code 0 when nothing is wrong; with `against` a content that differs from that git ref needs a new version, too.

    Errors: Problems with all faults, Refusal.
    """
    workspace = read_workspace(root)
    coordination = root / COORDINATION
    if not workspace.specs and not coordination.exists():
        raise Refusal(
            f"nothing to check: no specs in {workspace.shown(workspace.settings.step_templates)}, "
            f"no {workspace.shown(COORDINATION)}"
        )
    work = plan_build(workspace, read_known(root))
    problems: list[Problem] = []
    if not workspace.builtin:
        problems += check_builtin_claims(work.claims, builtin_claims())
    if against is not None:
        before = read_at(workspace, against, [file.slug for file in workspace.specs])
        problems += check_revisions(render_workspace(workspace), before, workspace, ref=against)
    if coordination.exists() and not problems:
        problems += _coordination_problems(root, coordination)
    if problems:
        raise Problems(problems)
    return Outcome(data={"specs": work.specs, "problems": []}, parts=[_summary(workspace)])


def _coordination_problems(root: Path, file: Path) -> list[Problem]:
    specs = {name: built.spec for name, built in render_known(root).items()}
    return check_coordination(read_coordination([file]), specs)


def _summary(workspace: Workspace) -> str:
    count = len(workspace.specs)
    return f"{count} step template{'' if count == 1 else 's'}, no problems."
