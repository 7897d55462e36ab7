"""Copies of our JSON Schemas in a user's library, where the first line of a spec or coordination file names them for editors.

They lie beside the cache, out of git: each `build` brings them up to date with the octosteps that is installed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from generator.build_cache import FOLDER, make_folder
from generator.build_folder import write_whole
from generator.workspace import PACKAGE, Workspace

SPEC_SCHEMA, COORDINATION_SCHEMA = SCHEMAS = ("schema.json", "coordination.schema.json")


def refresh_schemas(root: Path) -> None:
    """Write the copies that are missing or of another version. Editors can do without: a folder that refuses is left alone."""
    with suppress(OSError):
        make_folder((root / FOLDER).as_posix())
        for name in SCHEMAS:
            content, copy = (PACKAGE / name).read_bytes(), root / FOLDER / name
            if not copy.is_file() or copy.read_bytes() != content:
                write_whole(copy, content)


def schema_reference(workspace: Workspace, schema: str = SPEC_SCHEMA, *, folder: Path | None = None) -> str:
    """Where the editor finds a schema from a file in `folder` (default: that of the specs): the package's in a checkout, else
    the copy beside the cache, which is made for it."""
    start = folder or workspace.root / workspace.settings.step_templates
    file = PACKAGE / schema
    if not workspace.builtin:
        refresh_schemas(workspace.root)
        file = workspace.root / FOLDER / schema
    return Path(os.path.relpath(file.resolve(), start.resolve())).as_posix()
