"""A plan as a file: what `plan --out` saved, for a person to review and for `apply --plan` to carry out, exactly that or nothing.

The file holds what the command line asked for and the plans of all targets, diffs for reviewers included; no credentials, and no
value that the API keeps secret. Its checksum is over everything in it. The writes are not taken from the file: `apply` plans anew
and compares, so that neither a server nor a spec that has moved since, nor a changed file, is ever written by mistake.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generator.errors import Refusal
from generator.plan import Plan, to_json

FORMAT = "octosteps plan"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a command line asked for. `files` are coordination files, else it is about the library's templates."""

    files: Sequence[str] = ()
    names: Sequence[str] = ()
    force: bool = False
    prune: bool = False
    thorough: bool = False


@dataclass(frozen=True, kw_only=True)
class SavedTarget:
    """One target's plan as it was saved: where, by which space, and its changes as JSON."""

    name: str
    url: str
    space: str
    plan: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    wish: Wish
    targets: Sequence[SavedTarget]
    checksum: str


def target_of(plan: Plan, *, url: str, space: str) -> SavedTarget:
    return SavedTarget(name=plan.name, url=url, space=space, plan=to_json(plan))


def to_text(wish: Wish, targets: Sequence[SavedTarget]) -> str:
    """The file's text."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "files": list(wish.files),
        "names": list(wish.names),
        "force": wish.force,
        "prune": wish.prune,
        "thorough": wish.thorough,
        "targets": [
            {"name": one.name, "url": one.url, "space": one.space, "plan": dict(one.plan)} for one in targets
        ],
    }
    document["checksum"] = checksum(document)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def checksum(document: Mapping[str, Any]) -> str:
    """`sha256:<hex>` over everything in the file but this."""
    content = {name: value for name, value in document.items() if name != "checksum"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def write(path: Path, text: str) -> None:
    """Save a plan, in one go. Errors: Refusal for a file that is no plan: it is not overwritten."""
    if path.exists():
        try:
            read(path)
        except Refusal as fault:
            raise Refusal(f"{path} is not overwritten: {fault}") from None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", newline="\n", delete=False
        ) as file:
            file.write(text)
        Path(file.name).chmod(0o666 & ~current_umask())
        Path(file.name).replace(path)
    except OSError as error:
        raise Refusal(f"cannot write {path}: {error.strerror or error}") from error


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read(path: Path) -> SavedPlan:
    """The plan in a file. Errors: Refusal for what is no plan, was changed after it was saved, or is of another version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError:
        raise Refusal(f"{path} is no plan: `octosteps plan --out FILE` saves one") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Refusal(f"{path} is no plan: `octosteps plan --out FILE` saves one")
    if document.get("version") != VERSION:
        raise Refusal(
            f"{path} was saved by another version of octosteps (format {document.get('version')!r}, this one reads {VERSION}): "
            "plan again"
        )
    if document.get("checksum") != checksum(document):
        raise Refusal(f"{path} was changed after it was saved (its checksum does not fit): plan again")
    return parse(document)


def parse(document: Mapping[str, Any]) -> SavedPlan:
    """A document whose checksum fits: we wrote it."""
    return SavedPlan(
        wish=Wish(
            files=tuple(document["files"]),
            names=tuple(document["names"]),
            force=document["force"],
            prune=document["prune"],
            thorough=document["thorough"],
        ),
        targets=tuple(
            SavedTarget(name=one["name"], url=one["url"], space=one["space"], plan=one["plan"])
            for one in document["targets"]
        ),
        checksum=document["checksum"],
    )


def tell_moves(saved: SavedTarget, fresh: Plan) -> Iterator[str]:
    """How a target's fresh plan differs from the saved one, a sentence for each change; nothing when both write the same."""
    if saved.plan["checksum"] == fresh.checksum:
        return
    now = {key(change): change for change in plain(to_json(fresh))["changes"]}
    then = {key(change): change for change in saved.plan["changes"]}
    told = False
    for one in sorted(now.keys() | then.keys()):
        sentence = tell_move(then.get(one), now.get(one))
        if sentence:
            told = True
            yield f"{one[0]} {one[1]!r}: {sentence}"
    if not told:  # where, not what: the server or space is another one
        yield f"it was planned for {saved.plan['target']}, and this is {fresh.target}"


def tell_move(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """What became of one planned change."""
    if then is None or now is None:
        return "is not part of both plans"
    if then["action"] == now["action"] == "leave":
        return ""
    if then["before"] != now["before"]:
        return f"the server has moved: {words(then)} then, {words(now)} now"
    if then["after"] != now["after"]:
        return f"what is wanted has changed: {words(then)} then, {words(now)} now"
    if (then["action"], then["reason"]) != (now["action"], now["reason"]):
        return f"{words(then)} then, {words(now)} now"
    return ""


def words(change: Mapping[str, Any]) -> str:
    return f"{change['action']} ({change['reason']})" if change["reason"] else str(change["action"])


def key(change: Mapping[str, Any]) -> tuple[str, str]:
    return change["kind"], change["name"]


def plain(document: Mapping[str, object]) -> dict[str, Any]:
    """As it comes back from JSON: tuples are lists."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found
