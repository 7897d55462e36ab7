"""Revisions of specs: what `build/` held at a git ref, which spec should have raised its `version:`, and raising it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from generator.errors import Problem, Refusal
from generator.source import parse_source
from generator.step_template import StepTemplate, digest, from_json
from generator.workspace import Built, SpecFile, Workspace


def read_at(workspace: Workspace, ref: str, slugs: Sequence[str]) -> Mapping[str, StepTemplate]:
    """The step templates that `build/` held at the git ref, by slug; those that were not there are left out.

    One git process reads all of them. Errors: Refusal when the ref, the repository or git is missing.
    """
    root = workspace.root
    if ref.startswith("-") or ref != "".join(ref.split()):
        raise Refusal(f"'{ref}' is no git ref")
    _git(root, "rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}", failure=f"git knows no '{ref}'")
    prefix = _git(root, "rev-parse", "--show-prefix", failure="not in a git repository").decode().strip()
    names = [f"{ref}:{prefix}{workspace.settings.build}/{slug}.json" for slug in slugs]
    answer = _git(
        root,
        "cat-file",
        "--batch",
        request="".join(f"{name}\n" for name in names),
        failure="git cat-file failed",
    )
    found: dict[str, StepTemplate] = {}
    position = 0
    for slug in slugs:
        end = answer.index(b"\n", position)
        head = answer[position:end].split(b" ")
        position = end + 1
        if len(head) == 3 and head[1] == b"blob":
            size = int(head[2])
            template = _template(answer[position : position + size])
            position += size + 1
            if template is not None:
                found[slug] = template
    return found


def read_built(workspace: Workspace) -> Mapping[str, StepTemplate]:
    """The step templates that `build/` holds now, by slug."""
    found: dict[str, StepTemplate] = {}
    for file in workspace.specs:
        try:
            template = _template((workspace.build / f"{file.slug}.json").read_bytes())
        except OSError:
            continue
        if template is not None:
            found[file.slug] = template
    return found


def _template(content: bytes) -> StepTemplate | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    return from_json(document) if isinstance(document, dict) else None


def _git(root: Path, *words: str, failure: str, request: str = "") -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], input=request.encode(), capture_output=True, check=False
        )
    except OSError as error:
        raise Refusal(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refusal(failure + (f": {told[-1].removeprefix('fatal: ')}" if told else ""))
    return done.stdout


def differs(built: Built, before: StepTemplate) -> bool:
    """Whether the content has changed while the revision has not."""
    return built.spec.version == before.revision and digest(built.template) != digest(before)


def check_revisions(
    built: Sequence[Built], before: Mapping[str, StepTemplate], workspace: Workspace, *, ref: str
) -> list[Problem]:
    """Specs whose content differs from what the ref held though `version:` does not, or whose version went back."""
    problems = []
    files = {file.slug: file for file in workspace.specs}
    for item in built:
        old = before.get(item.slug)
        if old is None:
            continue
        version = item.spec.version
        if version < old.revision:
            message = f"version {version} is older than {old.revision}, which {ref} had"
        elif differs(item, old):
            message = f"the content differs from that of {ref}, and version is still {version}"
        else:
            continue
        source = parse_source(files[item.slug].content, name=files[item.slug].shown)
        problems.append(source.problem(("version",), message, f"octosteps bump {item.slug}"))
    return problems


def raise_version(file: SpecFile) -> tuple[bytes, int]:
    """The spec file's bytes with `version:` raised by one, everything else as it was, and the new version.

    Errors: Refusal when the version is not a plain number. Problems when the file cannot be read as YAML.
    """
    source = parse_source(file.content, name=file.shown)
    version = source.data.get("version")
    place = source.places.get(("version",))
    text = file.content.decode("utf-8")
    lines = text.split("\n")
    if isinstance(version, int) and not isinstance(version, bool) and place and place.line <= len(lines):
        line = lines[place.line - 1]
        start = place.column - 1 + (place.line == 1 and line.startswith("\ufeff"))
        written = re.compile(r"\d+").match(line, start)
        if written and written.group() == str(version):
            lines[place.line - 1] = f"{line[:start]}{version + 1}{line[written.end() :]}"
            changed = "\n".join(lines).encode("utf-8")
            if parse_source(changed, name=file.shown).data == {**source.data, "version": version + 1}:
                return changed, version + 1
    raise Refusal(
        f"{file.shown}: version is not a plain number that could be raised: write it as 'version: 1'"
    )
