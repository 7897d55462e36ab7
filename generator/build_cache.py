"""What was built last time from which bytes, so that unchanged specs are not rendered again.

Lives in `<root>/.octosteps/`, which keeps itself out of git. It is a hint only: a missing, foreign or broken cache means that
everything is rendered, and a file counts as unchanged by its content. A file whose size, times and inode are those of last time
is not read for that, as git does it; times too fresh to tell two writes apart are not trusted.

Imports next to nothing: when nothing has changed, looking is all that a build does.
"""

# pathlib is not used here: pathlib is slower than the whole look at an unchanged library.
# ruff: noqa: PTH103, PTH105, PTH110, PTH116, PTH123, PTH208

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOLDER = ".octosteps"
FILE = "build.json"
SETTINGS = "octosteps.yaml"
FORMAT = 1

FRESH = 20_000_000  # ns: the kernel's clock for files ticks every few milliseconds
FRESH_WHERE_COARSE = 2_000_000_000  # ns: file systems that keep whole seconds

# Without waiting for a writer, where somebody made a pipe instead of a file.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

Stamp = tuple[int, int, int, int]
NO_STAMP: Stamp = (-1, -1, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One spec's last build: its scripts' paths below the root, the names of its files in `build/`; claims and warnings as
    plain lists."""

    scripts: tuple[str, ...]
    files: tuple[str, ...]
    claims: Sequence[Sequence[Any]]
    warnings: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Cache:
    """All that is remembered. `folders` are those of specs, scripts and `build/`; `known` has a stamp and digest by path."""

    tool: str
    folders: tuple[str, str, str] = ("", "", "")
    entries: Mapping[str, Entry] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()
    known: Mapping[str, tuple[Stamp, str]] = field(default_factory=dict)


class Ledger:
    """The digests of files below a root, read again only where a stamp says so."""

    def __init__(self, root: str, known: Mapping[str, tuple[Stamp, str]]) -> None:
        self.root = root
        self.before = known
        self.now: dict[str, tuple[Stamp, str]] = {}

    def digest(self, relative: str) -> str:
        """The digest of the file's content; empty when it cannot be read."""
        if relative in self.now:
            return self.now[relative][1]
        path = f"{self.root}/{relative}"
        before = self.before.get(relative)
        try:
            if before is not None and before[0] == _stamp(os.stat(path)) != NO_STAMP:
                self.now[relative] = before
                return before[1]
            content, stamp = read_stamped(path)
        except (OSError, ValueError):
            return ""
        return self.note(relative, content, stamp)

    def note(self, relative: str, content: bytes, stamp: Stamp) -> str:
        """Remember a file that was read before, and give back its digest."""
        digest = content_digest(content)
        self.now[relative] = (stamp, digest)
        return digest

    def note_written(self, relative: str, digest: str) -> None:
        """Remember a file that was just written with known content."""
        try:
            self.now[relative] = (_stamp(os.stat(f"{self.root}/{relative}")), digest)
        except OSError:
            self.now.pop(relative, None)


def read_stamped(path: str) -> tuple[bytes, Stamp]:
    """A file's content, and the stamp it had before it was read: what is changed meanwhile has another one.

    With as few calls to the system as can be: for a library of hundreds of files they are what a build waits for.
    """
    handle = os.open(path, _READ)
    try:
        found = os.fstat(handle)
        pieces = []
        while piece := os.read(handle, found.st_size + 1):
            pieces.append(piece)
            if sum(map(len, pieces)) == found.st_size:
                break
    finally:
        os.close(handle)
    return b"".join(pieces), _stamp(found)


def content_digest(content: bytes) -> str:
    """The digest by which files are compared."""
    return hashlib.sha256(content).hexdigest()


def _stamp(found: os.stat_result) -> Stamp:
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    fresh = FRESH if newest % 1_000_000_000 else FRESH_WHERE_COARSE
    if time.time_ns() - newest < fresh:
        return NO_STAMP
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def tool_digest(folders: Iterable[str]) -> str:
    """A digest of the code that builds: every file directly in the folders, the runtime's included, and this Python."""
    digest = hashlib.sha256(f"{FORMAT} {sys.version_info!r}".encode())
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if name.endswith((".py", ".json", ".j2")):
                with open(f"{folder}/{name}", "rb") as file:
                    digest.update(f"{name}\0{content_digest(file.read())}\0".encode())
    return digest.hexdigest()


def read_cache(root: str, *, tool: str) -> Cache:
    """The cache of the library at `root`; empty when it is not there, not ours, not whole, or made by other code."""
    try:
        with open(f"{root}/{FOLDER}/{FILE}", "rb") as file:
            document = json.loads(file.read())
        if document["tool"] != tool:
            return Cache(tool=tool)
        specs, folder, build = document["folders"]
        return Cache(
            tool=tool,
            folders=(str(specs), str(folder), str(build)),
            entries={
                name: Entry(
                    scripts=tuple(scripts),
                    files=tuple(files),
                    claims=[
                        (int(line), int(column), str(key), str(value)) for line, column, key, value in claims
                    ],
                    warnings=[
                        (str(path), int(line), int(column), str(message), str(hint))
                        for path, line, column, message, hint in warnings
                    ],
                )
                for name, (scripts, files, claims, warnings) in document["specs"].items()
            },
            foreign=frozenset(document["foreign"]),
            known={
                name: ((size, mtime, ctime, inode), str(digest))
                for name, (size, mtime, ctime, inode, digest) in document["known"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Cache(tool=tool)


def write_cache(root: str, cache: Cache) -> None:
    """Keep the cache for the next build. A folder that cannot be written costs time, not the build."""
    document = {
        "tool": cache.tool,
        "folders": cache.folders,
        "specs": {
            name: [entry.scripts, entry.files, entry.claims, entry.warnings]
            for name, entry in cache.entries.items()
        },
        "foreign": sorted(cache.foreign),
        "known": {name: [*stamp, digest] for name, (stamp, digest) in cache.known.items()},
    }
    folder = f"{root}/{FOLDER}"
    partial = f"{folder}/{FILE}.{os.getpid()}"
    try:
        make_folder(folder)
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(partial, f"{folder}/{FILE}")
    except OSError:
        return


def make_folder(folder: str) -> None:
    """The folder that keeps itself out of git."""
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(f"{folder}/.gitignore"):
        with open(f"{folder}/.gitignore", "w", encoding="ascii") as ignore:
            ignore.write("*\n")


def spec_names(folder: str) -> list[str]:
    """The names of the spec files in a folder, sorted; none when there is no such folder."""
    try:
        return sorted(
            name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")) and name[0] != "."
        )
    except (FileNotFoundError, NotADirectoryError):
        return []


def built_names(folder: str) -> set[str]:
    """The names of the files in `build/` that may be ours."""
    try:
        return {name for name in os.listdir(folder) if name.endswith((".json", ".py")) and name[0] != "."}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def count_unchanged(root: str, cache: Cache) -> int | None:
    """How many specs the library has when nothing at all has changed since the cache was written, else None.

    Refreshes the cache's stamps on disk when files were touched without being changed.
    """
    if not cache.entries:
        return None
    specs, _, build = cache.folders
    ledger = Ledger(root, cache.known)
    if ledger.digest(SETTINGS) != cache.known.get(SETTINGS, (NO_STAMP, ""))[1]:
        return None
    if [f"{specs}/{name}" for name in spec_names(f"{root}/{specs}")] != sorted(cache.entries):
        return None
    wanted = {name for entry in cache.entries.values() for name in entry.files}
    if built_names(f"{root}/{build}") != wanted | cache.foreign:
        return None
    for name, entry in cache.entries.items():
        for path in (name, *entry.scripts, *(f"{build}/{file}" for file in entry.files)):
            if path not in cache.known or ledger.digest(path) != cache.known[path][1]:
                return None
    if ledger.now != dict(cache.known):
        write_cache(root, Cache(**{**cache.__dict__, "known": ledger.now}))
    return len(cache.entries)
