"""`octosteps bump`: raise `version:` in the specs whose content has changed, or in those that are named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from generator.build_folder import write_whole
from generator.errors import Refusal
from generator.outcome import Outcome
from generator.revisions import differs, raise_version, read_built
from generator.source import closest, parse_source
from generator.workspace import SpecFile, Workspace, read_workspace, render_workspace


def run(*, root: Path, names: Sequence[str] = ()) -> Outcome:
    """Raise the version of the named specs (slug, file or template name) by one; without names, of all that differ from
    `build/` and have its version. Comments and layout stay as they are. Errors: Problems, Refusal.
    """
    workspace = read_workspace(root)
    files = [_find(workspace, name) for name in dict.fromkeys(names)] if names else _changed(workspace)
    raised = [(file, *raise_version(file)) for file in dict.fromkeys(files)]
    for file, content, _ in raised:
        write_whole(workspace.root / file.relative, content)
    lines = [f"{file.shown}: version {version - 1} -> {version}" for file, _, version in raised]
    return Outcome(
        data={"raised": {file.relative: version for file, _, version in raised}},
        parts=lines or ["Every step template's content is that of build/: nothing to raise."],
        lines=[file.relative for file, _, _ in raised],
    )


def _changed(workspace: Workspace) -> list[SpecFile]:
    before = read_built(workspace)
    files = {file.slug: file for file in workspace.specs}
    return [
        files[built.slug]
        for built in render_workspace(workspace)
        if built.slug in before and differs(built, before[built.slug])
    ]


def _find(workspace: Workspace, name: str) -> SpecFile:
    slugs = {file.slug: file for file in workspace.specs}
    for file in workspace.specs:
        if name in (file.slug, file.relative, file.shown, Path(file.relative).name):
            return file
    for file in workspace.specs:
        if parse_source(file.content, name=file.shown).data.get("name") == name:
            return file
    hint = closest(name, slugs) or "there are " + (", ".join(slugs) or "none")
    raise Refusal(f"no spec is named '{name}': {hint}")
