"""What was built last time from which bytes, so that unchanged specs are not rendered again.

Lives in `<root>/.octosteps/`, which keeps itself out of git. It is a hint only: a missing, foreign or broken cache means that
everything is rendered, and a file in `build/` counts as current by its content alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generator.errors import Place
from generator.rules import Claim

FOLDER = ".octosteps"
FILE = "build.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One spec's last build: digests of its inputs and of each file it became, its script's path, its claims."""

    inputs: str
    script: str
    files: Mapping[str, str]
    claims: tuple[Claim, ...]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Entries by the spec's path below the root; empty when made by another octosteps."""

    tool: str
    entries: Mapping[str, Entry] = field(default_factory=dict)


def text_digest(content: bytes) -> str:
    """The digest by which files are compared."""
    return hashlib.sha256(content).hexdigest()


def tool_digest(folders: Mapping[str, Path]) -> str:
    """A digest of the code that builds: every file directly in the folders, the runtime's included, and this Python."""
    digest = hashlib.sha256(repr(sys.version_info).encode())
    for name, folder in folders.items():
        for file in sorted(folder.iterdir()):
            if file.suffix in (".py", ".json", ".j2") and file.is_file():
                digest.update(f"{name}/{file.name}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read_cache(root: Path, *, tool: str) -> Cache:
    """The cache of the library at `root`; empty when it is not there, not ours, not whole, or made by other code."""
    try:
        document = json.loads((root / FOLDER / FILE).read_bytes())
        if document["tool"] != tool:
            return Cache(tool=tool)
        return Cache(
            tool=tool, entries={str(name): _entry(entry) for name, entry in document["specs"].items()}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Cache(tool=tool)


def _entry(document: Mapping[str, Any]) -> Entry:
    return Entry(
        inputs=str(document["inputs"]),
        script=str(document["script"]),
        files={str(name): str(digest) for name, digest in document["files"].items()},
        claims=tuple(
            Claim(
                path=str(path),
                place=Place(line=int(line), column=int(column)),
                key=str(key),
                value=str(value),
            )
            for path, line, column, key, value in document["claims"]
        ),
    )


def write_cache(root: Path, cache: Cache) -> None:
    """Keep the cache for the next build. A folder that cannot be written costs time, not the build."""
    document = {
        "tool": cache.tool,
        "specs": {
            name: {
                "inputs": entry.inputs,
                "script": entry.script,
                "files": dict(entry.files),
                "claims": [
                    [claim.path, claim.place.line, claim.place.column, claim.key, claim.value]
                    for claim in entry.claims
                ],
            }
            for name, entry in cache.entries.items()
        },
    }
    folder = root / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="ascii")
        partial = folder / f"{FILE}.{os.getpid()}"
        partial.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        partial.replace(folder / FILE)
    except OSError:
        return
