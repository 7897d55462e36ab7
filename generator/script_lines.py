"""A rendered script taken apart again: which of its lines come from the entry script, which from octosteps, and bringing edits
of the former back into the entry script's file.

The bundle copies definitions as they are written, so a line of the script's entry part is a line of the file. Everything here
is a pure function of texts.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from generator.bundle import Part

HEADER, IMPORTS, FORM = "header", "imports", "form"
RUNTIME = "generator/runtime/"
_TITLE = re.compile(r"# ---- (.+) ----")
_IMPORT = re.compile(r"(import|from) [\w.]+( |$)(?!.*\($)")
_FORM = "The form: one row a parameter"
_FUTURE = "from __future__ import annotations"


class Hunk(NamedTuple):
    """Lines `start` to `end` (exclusive, from 0) that others replaced by `lines`."""

    start: int
    end: int
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Brought:
    """The entry script's file with what could be brought into it; `rest` are the edits that could not, as lines of a diff by
    the part of the script that they are in."""

    text: str
    rest: Mapping[str, Sequence[str]] = field(default_factory=dict)


def sections(lines: Sequence[str]) -> Sequence[str]:
    """For each line of a rendered script the part that it belongs to: header, imports, a runtime module's path, the entry
    script's path, or the form."""
    found: list[str] = []
    here = HEADER
    for line in lines:
        title = _TITLE.fullmatch(line)
        if title:
            here = FORM if title.group(1) == _FORM else title.group(1)
        found.append(here)
        if here == HEADER and line == _FUTURE:
            here = IMPORTS
    return found


def body(script: str, part: str) -> list[str]:
    """The lines of one part, without its title and the blank lines around."""
    lines = script.split("\n")
    mine = [line for line, where in zip(lines, sections(lines), strict=True) if where == part]
    mine = mine[1:] if mine and _TITLE.fullmatch(mine[0]) else mine
    return "\n".join(mine).strip("\n").split("\n")


def hunks(before: Sequence[str], after: Sequence[str]) -> list[Hunk]:
    """What turns `before` into `after`."""
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    return [
        Hunk(i1, i2, list(after[j1:j2])) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"
    ]


def bring(text: str, part: Part, *, base: str, theirs: str, entry: str, is_rendered: bool = False) -> Brought:
    """The entry script's `text` with the edits that turned the script `base` into `theirs`.

    `part` is what the bundle takes from `text` now; `entry` is the path by which the script calls it. `is_rendered`: people have
    not touched `theirs`, it is an older version of ours, so that its header and form say nothing of their own.
    """
    before, after = base.split("\n"), theirs.split("\n")
    where = sections(before)
    rest: dict[str, list[str]] = {}
    for hunk in hunks(before, after):
        touched = set(where[hunk.start : hunk.end]) or {where[max(hunk.start - 1, 0)]}
        for name in sorted(touched - {entry, IMPORTS, *((HEADER, FORM) if is_rendered else ())}):
            rest.setdefault(name, []).extend(_shown(before, hunk))
    lines = text.split("\n")
    places = list(_places(part))
    own = [line for line, _ in places]
    old, new = body(base, entry), body(theirs, entry) if entry in sections(after) else body(base, entry)
    edits: list[Hunk] = []
    moved = difflib.SequenceMatcher(a=old, b=own, autojunk=False).get_matching_blocks()
    for hunk in hunks(old, new):
        at = _moved(hunk, moved)
        if at is not None:
            edits.append(Hunk(*at, hunk.lines))
        elif not _has(own, hunk.lines):
            rest.setdefault(entry, []).extend(_shown(old, hunk))
    added = _imports(body(theirs, IMPORTS)) - _imports(body(base, IMPORTS))
    for hunk in reversed(edits):
        top = [line for line in hunk.lines if _IMPORT.match(line) and line not in own]
        added |= _imports(top)
        rest_of_it = [line for line in hunk.lines if line not in top]
        while top and rest_of_it and not rest_of_it[0].strip():
            del rest_of_it[0]
        _apply(lines, [place for _, place in places], Hunk(hunk.start, hunk.end, rest_of_it))
    lines = _with_imports(lines, added - _imports(lines))
    return Brought(text="\n".join(lines), rest=rest)


def _shown(lines: Sequence[str], hunk: Hunk) -> list[str]:
    """An edit as a person reads it."""
    return [
        f"@@ line {hunk.start + 1} @@",
        *(f"-{line}" for line in lines[hunk.start : hunk.end]),
        *(f"+{line}" for line in hunk.lines),
    ]


def _places(part: Part) -> Iterator[tuple[str, int | None]]:
    """The lines of the bundled part, each with its number (from 0) in the file; blank lines in between have none."""
    lines = part.text.split("\n")
    at = 0
    for definition in part.definitions:
        own = definition.text.split("\n")
        while lines[at : at + len(own)] != own:
            yield lines[at], None
            at += 1
        for offset, line in enumerate(own):
            yield line, definition.first_line - 1 + offset
        at += len(own)


def _moved(hunk: Hunk, blocks: Sequence[difflib.Match]) -> tuple[int, int] | None:
    """Where the hunk's lines are now; None when they, or those beside an insertion, have been changed."""
    for block in blocks:
        first, last = block.a, block.a + block.size
        if first <= hunk.start and hunk.end <= last and block.size:
            shift = block.b - block.a
            return hunk.start + shift, hunk.end + shift
    return None


def _has(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the lines stand there already."""
    sought = [line for line in wanted if line.strip()]
    there = [line for line in lines if line.strip()]
    return any(there[at : at + len(sought)] == sought for at in range(len(there) - len(sought) + 1))


def _apply(lines: list[str], places: Sequence[int | None], hunk: Hunk) -> None:
    """Make one edit in the file's lines. Those after it must have been made before."""
    inside = [place for place in places[hunk.start : hunk.end] if place is not None]
    behind = next((place for place in places[hunk.end :] if place is not None), None)
    ahead = next((place for place in reversed(places[: hunk.start]) if place is not None), None)
    if inside:
        at = inside[0]
    elif hunk.start and places[hunk.start - 1] is not None and ahead is not None:
        at = ahead + 1
    elif behind is not None:
        at = behind
    else:
        at = (ahead if ahead is not None else len(lines) - 1) + 1
    if not inside and (_stands(lines[at:], hunk.lines) or _stands(lines[:at][::-1], hunk.lines[::-1])):
        return  # brought in before: what the script does not use the bundle does not hold
    for place in reversed(inside):
        del lines[place]
    lines[at:at] = hunk.lines


def _stands(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the lines begin with the wanted ones, blank ones aside."""
    sought = [line for line in wanted if line.strip()]
    there = [line for line in lines[: len(wanted) + 9] if line.strip()]
    return there[: len(sought)] == sought


Import = tuple[str, str | None, str | None]


def _imports(lines: Sequence[str]) -> set[Import]:
    """The names that import statements bind; nothing when they are no Python."""
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return set()
    found: set[Import] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None, alias.asname) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "", alias.name, alias.asname) for alias in node.names}
    return found


def _with_imports(lines: list[str], missing: set[Import]) -> list[str]:
    """The file with the imports that others added to the script. What is not used any more the bundle leaves out by itself."""
    if not missing:
        return lines
    at = _after_imports(lines)
    return [*lines[:at], *sorted(map(_statement, missing)), *lines[at:]]


def _statement(wanted: Import) -> str:
    module, name, alias = wanted
    text = f"import {module}" if name is None else f"from {module} import {name}"
    return f"{text} as {alias}" if alias else text


def _after_imports(lines: Sequence[str]) -> int:
    """Behind the last import of the standard library at the top, else behind the file's own docstring."""
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return 0
    at = 0
    for index, node in enumerate(tree.body):
        is_text = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_runtime = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("generator.")
        if is_text or (isinstance(node, ast.Import | ast.ImportFrom) and not is_runtime):
            at = node.end_lineno or at
    return at
