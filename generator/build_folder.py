"""`build/`: what it should hold, what it holds, and bringing one to the other without ever leaving half a file."""

# pathlib is not used here: pathlib costs as much as the writing.
# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH123, PTH208

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from generator.build_cache import (
    FOLDER,
    SETTINGS,
    Cache,
    Entry,
    Ledger,
    Stamp,
    built_names,
    content_digest,
    make_folder,
    write_cache,
)
from generator.errors import Place, Problem, Problems, Refusal
from generator.rules import Claim, check_claims
from generator.side_by_side import side_by_side
from generator.workspace import Renderer, SpecFile, Workspace, check_slugs

OUR_HEADER = "# A step of Octopus Deploy, made by octosteps."
"""Begins the third line of every script we make: what carries it may be removed when its spec is gone."""

STAGED = "staged-"
ABANDONED_AFTER = 3600.0

Track = Callable[[Sequence[SpecFile]], Iterable[SpecFile]]


@dataclass(frozen=True, kw_only=True)
class Product:
    """One spec, rendered: the digests of its files in `build/` by name, or problems. `scripts` are the files that it read, by
    path. Travels between processes."""

    scripts: Mapping[str, tuple[Stamp, str]]
    claims: tuple[Claim, ...]
    files: Mapping[str, str]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a build comes to: files to write, stale ones to remove, specs rendered and in all, and the cache for next time.

    `write` has the digests of files by their name in `build/`; their content lies ready in the folder `staged`. `warnings` are
    what is worth a look and stops nothing.
    """

    write: Mapping[str, str]
    staged: str
    remove: tuple[str, ...]
    rendered: int
    specs: int
    claims: tuple[Claim, ...]
    cache: Cache = field(repr=False)
    warnings: tuple[Problem, ...] = ()


@contextmanager
def staging(root: Path) -> Iterator[str]:
    """A folder beside the cache for files that are not yet where they belong; gone afterwards.

    Errors: Refusal when the library cannot be written.
    """
    folder = f"{root.as_posix()}/{FOLDER}"
    try:
        make_folder(folder)
        _remove_abandoned(folder)
        staged = tempfile.mkdtemp(prefix=STAGED, dir=folder)
    except OSError as error:
        raise Refusal(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _remove_abandoned(folder: str) -> None:
    """What builds left that were killed: none takes an hour."""
    for name in os.listdir(folder):
        if name.startswith(STAGED):
            path = f"{folder}/{name}"
            with suppress(OSError):
                if time.time() - os.stat(path).st_mtime > ABANDONED_AFTER:
                    shutil.rmtree(path, ignore_errors=True)


def plan_build(workspace: Workspace, cache: Cache, *, staged: str = "", track: Track | None = None) -> Work:
    """What would bring `build/` up to date. Specs whose inputs and files are as the cache knows them are not rendered.

    With a folder `staged` the content of what would be written is put there. Errors: Problems with the faults of all files.
    """
    settings = workspace.settings
    folders = (settings.step_templates, settings.scripts, settings.build)
    known = cache if cache.folders == folders else Cache(tool=cache.tool)
    ledger = Ledger(workspace.root.as_posix(), known.known)
    ledger.digest(SETTINGS)
    entries: dict[str, Entry] = {}
    claims: list[Claim] = []
    changed: list[SpecFile] = []
    for file in workspace.specs:
        entry = known.entries.get(file.relative)
        if entry is not None and _is_current(file, entry, known, ledger, settings.build):
            entries[file.relative] = entry
            claims += [_claim(claim, file) for claim in entry.claims]
        else:
            changed.append(file)
    problems = check_slugs(workspace.specs)
    write: dict[str, str] = {}
    present = built_names(workspace.build.as_posix())
    for file, product in _products(workspace, changed, staged, track):
        problems += product.problems
        claims += product.claims
        for name, digest in product.files.items():
            if name not in present or ledger.digest(f"{settings.build}/{name}") != digest:
                write[name] = digest
        ledger.note(file.relative, file.content, file.stamp)
        ledger.now.update(product.scripts)
        entries[file.relative] = Entry(
            scripts=tuple(product.scripts),
            files=tuple(product.files),
            claims=[
                [claim.place.line, claim.place.column, claim.key, claim.value] for claim in product.claims
            ],
            warnings=[
                [warning.path, warning.place.line, warning.place.column, warning.message, warning.hint]
                for warning in product.warnings
            ],
        )
    problems += check_claims(claims)
    if problems:
        raise Problems(problems)
    wanted = {name for entry in entries.values() for name in entry.files}
    left = present - wanted
    remove = tuple(
        name
        for name in sorted(left)
        if _is_ours(workspace.build / name) or _was_built(name, known, ledger, settings.build)
    )
    return Work(
        write=write,
        staged=staged,
        remove=remove,
        rendered=len(changed),
        specs=len(workspace.specs),
        claims=tuple(claims),
        cache=Cache(
            tool=cache.tool,
            folders=folders,
            entries=entries,
            foreign=frozenset(left.difference(remove)),
            known=ledger.now,
        ),
        warnings=tuple(sorted({_warning(item) for entry in entries.values() for item in entry.warnings})),
    )


def _is_current(file: SpecFile, entry: Entry, cache: Cache, ledger: Ledger, build: str) -> bool:
    paths = (file.relative, *entry.scripts, *(f"{build}/{name}" for name in entry.files))
    return all(path in cache.known and ledger.digest(path) == cache.known[path][1] for path in paths)


def _was_built(name: str, cache: Cache, ledger: Ledger, build: str) -> bool:
    """Whether the last build made the file and nobody has touched it since: templates that are kept as they are hold no sign
    of ours."""
    path = f"{build}/{name}"
    made = any(name in entry.files for entry in cache.entries.values())
    return made and path in cache.known and ledger.digest(path) == cache.known[path][1]


def _warning(remembered: Sequence[object]) -> Problem:
    path, line, column, message, hint = remembered
    place = Place(line=int(str(line)), column=int(str(column)))
    return Problem(path=str(path), place=place, message=str(message), hint=str(hint))


def _claim(remembered: Sequence[object], file: SpecFile) -> Claim:
    line, column, key, value = remembered
    place = Place(line=int(str(line)), column=int(str(column)))
    return Claim(path=file.shown, place=place, key=str(key), value=str(value))


def _products(
    workspace: Workspace, files: Sequence[SpecFile], staged: str, track: Track | None
) -> Iterator[tuple[SpecFile, Product]]:
    if not files:
        return
    renderer = Renderer(workspace)

    def make(file: SpecFile) -> Product:
        rendered = renderer.render(file)
        digests: dict[str, str] = {}
        for name, text in rendered.built.files.items() if rendered.built else ():
            content = text.encode()
            digests[name] = content_digest(content)
            if staged:
                try:
                    write_bytes(f"{staged}/{name}", content)
                except OSError as error:
                    raise Refusal(f"{staged} cannot be written: {error.strerror or error}") from error
        return Product(
            scripts={
                script.relative: (script.stamp, content_digest(script.content)) for script in rendered.scripts
            },
            claims=rendered.claims,
            files=digests,
            problems=rendered.problems,
            warnings=rendered.warnings,
        )

    with _collection_paused():
        first = make(files[0])  # reads the runtime and the frame, which the other processes then have
        others = side_by_side(make, files[1:])
        for index, file in enumerate(track(files) if track else files):
            yield file, first if index == 0 else next(others)
        for _ in others:  # its end, so that the processes are gone
            pass


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Syntax trees are many small objects without cycles: looking for cycles among them would take a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def carry_out(workspace: Workspace, work: Work) -> None:
    """Put the staged files in their places and remove the stale ones. Errors: Refusal when the disk says no."""
    build = workspace.build.as_posix()
    try:
        if work.write:
            os.makedirs(build, exist_ok=True)
        for name in work.write:
            put(f"{work.staged}/{name}", f"{build}/{name}")
        for name in work.remove:
            (workspace.build / name).unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(f"{build} cannot be written: {error.strerror or error}") from error
    ledger = Ledger(workspace.root.as_posix(), {})
    ledger.now.update(work.cache.known)
    for name, digest in work.write.items():
        ledger.note_written(f"{workspace.settings.build}/{name}", digest)
    write_cache(workspace.root.as_posix(), Cache(**{**work.cache.__dict__, "known": ledger.now}))


def put(staged: str, file: str) -> None:
    """Move a whole file into the place of another, which is never seen half written."""
    try:
        os.replace(staged, file)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with open(staged, "rb") as stream:  # `build/` lies on another file system
            write_whole(Path(file), stream.read())


def write_whole(file: Path, content: bytes) -> None:
    """Put `content` in the place of the file, which is never seen half written."""
    partial = f"{file.parent}/.{file.name}.{os.getpid()}"
    try:
        write_bytes(partial, content)
        os.replace(partial, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def write_bytes(file: str, content: bytes) -> None:
    """A new file with this content."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _is_ours(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            text = json.loads(text)["Properties"]["Octopus.Action.Script.ScriptBody"]
        return text.split("\n")[2].startswith(OUR_HEADER)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False
