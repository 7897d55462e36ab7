"""`build/`: what it should hold, what it holds, and bringing one to the other without ever leaving half a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from generator.build_cache import Cache, Entry, read_cache, text_digest, tool_digest, write_cache
from generator.errors import Refusal
from generator.workspace import (
    PACKAGE,
    Rendered,
    Renderer,
    SpecFile,
    Workspace,
    builtin_root,
    fingerprint,
    settle,
)

OUR_HEADER = "# A step of Octopus Deploy, made by octosteps."
"""The third line of every script we make: what carries it may be removed when its spec is gone."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a build comes to: files to write, stale files to remove, specs rendered and in all, and the cache for next time."""

    write: Mapping[str, str]
    remove: tuple[str, ...]
    rendered: int
    specs: int
    cache: Cache = field(repr=False)


def plan_build(
    workspace: Workspace,
    *,
    track: Callable[[Sequence[SpecFile]], Iterable[SpecFile]] | None = None,
) -> Work:
    """What would bring `build/` up to date. Specs whose inputs and files are as the cache knows them are not rendered.

    Errors: Problems with the faults of all files; nothing was written then.
    """
    tool = tool_digest(
        {"generator": PACKAGE, "runtime": workspace.runtime, "templates": builtin_root() / "templates"}
    )
    cache = read_cache(workspace.root, tool=tool)
    present = _digests(workspace.build)
    entries: dict[str, Entry] = {}
    changed: list[SpecFile] = []
    for file in workspace.specs:
        known = cache.entries.get(file.relative)
        current = (
            known is not None
            and known.inputs == fingerprint(workspace, file, known.script)
            and all(present.get(name) == digest for name, digest in known.files.items())
        )
        if current and known is not None:
            # The last build may have been asked for from another folder: problems name the file as seen from this one.
            seen = tuple(replace(claim, path=file.shown) for claim in known.claims)
            entries[file.relative] = replace(known, claims=seen)
        else:
            changed.append(file)
    rendered = _render(workspace, changed, track) if changed else []
    known_claims = [claim for entry in entries.values() for claim in entry.claims]
    write: dict[str, str] = {}
    settle(rendered, known_claims)
    for item in rendered:
        if item.built is None:
            continue
        files = item.built.files
        digests = {name: text_digest(text.encode()) for name, text in files.items()}
        write.update({name: text for name, text in files.items() if present.get(name) != digests[name]})
        entries[item.file.relative] = Entry(
            inputs=fingerprint(workspace, item.file, item.script),
            script=item.script,
            files=digests,
            claims=item.claims,
        )
    wanted = {name for entry in entries.values() for name in entry.files}
    return Work(
        write=write,
        remove=_stale(workspace.build, present.keys() - wanted),
        rendered=len(rendered),
        specs=len(workspace.specs),
        cache=Cache(tool=tool, entries=entries),
    )


def _render(
    workspace: Workspace,
    files: Sequence[SpecFile],
    track: Callable[[Sequence[SpecFile]], Iterable[SpecFile]] | None,
) -> list[Rendered]:
    renderer = Renderer(workspace)
    return [renderer.render(file) for file in (track(files) if track else files)]


def carry_out(workspace: Workspace, work: Work) -> None:
    """Write and remove what the work says, each file at once or not at all. Errors: Refusal when the disk says no."""
    try:
        if work.write:
            workspace.build.mkdir(parents=True, exist_ok=True)
        for name, text in work.write.items():
            write_whole(workspace.build / name, text)
        for name in work.remove:
            (workspace.build / name).unlink(missing_ok=True)
    except OSError as error:
        raise Refusal(f"{workspace.build.as_posix()} cannot be written: {error.strerror or error}") from error
    write_cache(workspace.root, work.cache)


def write_whole(file: Path, text: str) -> None:
    """Put `text` in the place of the file, which is never seen half written."""
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(partial).unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _digests(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        file.name: text_digest(file.read_bytes())
        for file in folder.iterdir()
        if file.suffix in (".json", ".py") and file.is_file()
    }


def _stale(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Of the files that no spec makes any more, those that we made: the script's header says so, in the JSON, too."""
    return tuple(name for name in sorted(names) if _is_ours(folder / name))


def _is_ours(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            text = json.loads(text)["Properties"]["Octopus.Action.Script.ScriptBody"]
        return OUR_HEADER in text.split("\n")[2]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False
