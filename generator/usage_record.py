"""What steps held before an update: a file of lines that a run writes as it goes, and the way back from it.

Each line is a JSON object: the first names the server, then `before` with the former copy of a step ahead of every write, and
`after` with a fingerprint of what the update left. A run that was killed leaves a file that can be used all the same. There is no
secret of Octopus in it, for the API shows none; values that people typed as plain text are, so only its owner may read it.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from generator.branches import HEADS
from generator.errors import Place as FilePlace
from generator.errors import Problem, Problems, Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import ActionDocument, Document, PropertyValue
from generator.owned_step import TEMPLATE_VERSION, text_of
from generator.step_copy import fingerprint, form_diff, has_secret, script_diff
from generator.usages import Usage

FORMAT = 1
KEPT = ("ActionType", "Properties", "Packages", "GitDependencies")
WRITE_ATTEMPTS = 6


class Record:
    """The file that one run writes. Nothing is made before the first former copy is kept, which is told; safe from several
    threads. With `is_new` the run gets a file of its own, its name numbered if need be; else it adds to what is there."""

    def __init__(
        self,
        path: Path,
        *,
        server: str,
        is_new: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path, self.server, self._is_new, self._tell = path, server, is_new, tell
        self.is_begun = False
        self._lock = threading.Lock()

    def keep(
        self,
        usage: Usage,
        action: ActionDocument,
        *,
        where: str,
        path: str,
        action_id: str,
        wanted: int,
        expected: str,
    ) -> None:
        """The step's copy as it is now, and a fingerprint of what the update is expected to leave. Refusal when it cannot be
        written: then nothing must be changed."""
        self._write(
            {
                "event": "before",
                "space": usage.place.space.id,
                "path": path,
                "where": where,
                "template": usage.template_name,
                "action": action_id,
                "slug": action.get("Slug"),
                "held": usage.held,
                "wanted": wanted,
                "fingerprint": fingerprint(action),
                "expected": expected,
                "copy": {name: action.get(name) for name in KEPT},
            }
        )

    def done(self, *, path: str, action_id: str, fingerprint: str) -> None:
        """What the update has left, as a fingerprint."""
        self._write({"event": "after", "path": path, "action": action_id, "fingerprint": fingerprint})

    def _write(self, event: Mapping[str, object]) -> None:
        with self._lock:
            lines = (
                [] if self.is_begun else [{"octosteps": "usages", "format": FORMAT, "server": self.server}]
            )
            text = "".join(json.dumps(line) + "\n" for line in (*lines, event))
            try:
                with os.fdopen(self._open(), "r+b") as file:
                    file.write((("\n" if is_cut_off(file) else "") + text).encode())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise Refusal(
                    f"{self.path}: the former copies cannot be kept there ({error.strerror}): give --record FILE"
                ) from error
            if not self.is_begun:
                self._tell(f"The former copies are kept in {self.path}.")
            self.is_begun = True

    def _open(self) -> int:
        """A handle of the file, which only its owner may read."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        if self.is_begun or not self._is_new:
            return os.open(self.path, flags, 0o600)
        stem = self.path.stem
        for number in itertools.count(2):
            try:
                return os.open(self.path, flags | os.O_EXCL, 0o600)
            except FileExistsError:
                self.path = self.path.with_stem(f"{stem}-{number}")
        raise AssertionError("numbers do not end")


def is_cut_off(file: BinaryIO) -> bool:
    """Whether a run was killed in the middle of the last line."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One step of a record. `left` is the fingerprint of what the update left; where the run was cut off, what it should have."""

    space: str
    path: str
    where: str
    template: str
    action_id: str
    slug: str
    held: int | None
    wanted: int
    fingerprint: str
    copy: Mapping[str, Any] = field(repr=False)
    left: str


def read_record(path: Path) -> tuple[str, tuple[Entry, ...]]:
    """The server that a record is of, and its steps, each once with its oldest copy. Problems for what is no record."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    documents = [parse_line(text) for text in lines]
    faults = list(line_faults(path, documents))
    if faults:
        raise Problems(faults)
    entries: dict[tuple[str, str], Entry] = {}
    for number, line in enumerate(documents, 1):
        if line is None or is_head(line):
            continue
        try:
            key = (str(line["path"]), str(line["action"]))
            if line["event"] == "before":
                entries.setdefault(key, parse_entry(line))
            elif key in entries:
                entries[key] = replace(entries[key], left=str(line["fingerprint"]))
        except (KeyError, TypeError, ValueError) as error:
            message = f"this line of the record lacks or spoils {error}"
            raise Problems(
                [Problem(path=str(path), place=FilePlace(line=number), message=message)]
            ) from error
    assert documents[0] is not None
    return str(documents[0]["server"]), tuple(entries.values())


def line_faults(path: Path, documents: Sequence[Document | None]) -> Iterator[Problem]:
    """Lines that no run wrote. The last one of a run that was killed may be cut off."""
    if not documents or documents[0] is None or not is_head(documents[0]):
        yield Problem(path=str(path), message="this is no record that `octosteps usages --update` wrote")
        return
    servers = {str(line["server"]) for line in documents if line is not None and is_head(line)}
    if len(servers) > 1:
        yield Problem(
            path=str(path), message=f"this record is of several servers: {', '.join(sorted(servers))}"
        )
    for number, (line, following) in enumerate(zip(documents, [*documents[1:], None], strict=True), 1):
        if line is None and number < len(documents) and not (following and is_head(following)):
            message = "this is no line of a record that `octosteps usages --update` wrote"
            yield Problem(path=str(path), place=FilePlace(line=number), message=message)


def parse_line(text: str) -> Document | None:
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def is_head(line: Document) -> bool:
    return (
        line.get("octosteps") == "usages"
        and line.get("format") == FORMAT
        and isinstance(line.get("server"), str)
    )


def parse_entry(line: Document) -> Entry:
    kept = line["copy"]
    if not isinstance(kept, dict) or not isinstance(kept["Properties"], dict):
        raise TypeError("'copy'")
    return Entry(
        space=str(line["space"]),
        path=str(line["path"]),
        where=str(line["where"]),
        template=str(line["template"]),
        action_id=str(line["action"]),
        slug=str(line.get("slug") or ""),
        held=line["held"],
        wanted=int(line["wanted"]),
        fingerprint=str(line["fingerprint"]),
        copy=kept,
        left=str(line["expected"]),
    )


# --- putting back ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Return:
    """What can be done about one step of a record: `writes` when its former copy goes back, with the diffs of its form
    and of its script. `found` and `goal` are fingerprints of the step before and after."""

    entry: Entry
    sentence: str
    writes: bool = False
    ok: bool = True
    form: Sequence[str] = ()
    script: Sequence[str] = ()
    found: str = ""
    goal: str = ""


def plan_return(client: Client, entries: Sequence[Entry], *, force: bool) -> tuple[Return, ...]:
    """What putting back comes to, for the steps of one process."""
    try:
        process = client.get(entries[0].path)
    except ApiError as error:
        if error.status != 404:
            raise
        hint = (
            " (a branch that was merged and deleted: put it back in Git)"
            if HEADS_IN_PATH in entries[0].path
            else ""
        )
        return tuple(
            Return(entry=entry, sentence=f"the process is gone{hint}", ok=False) for entry in entries
        )
    return tuple(compare(entry, find(process, entry), force=force) for entry in entries)


HEADS_IN_PATH = HEADS.replace("/", "%2F")


def compare(entry: Entry, action: ActionDocument | None, *, force: bool) -> Return:
    if action is None:
        return Return(entry=entry, sentence="the step is not there any more", ok=False)
    now = fingerprint(action)
    if now == entry.fingerprint:
        return Return(entry=entry, sentence="is as it was before the update")
    version = text_of(action["Properties"].get(TEMPLATE_VERSION))
    if now != entry.left and not force:
        return Return(
            entry=entry,
            sentence="left: somebody changed the step since the update; --force puts the former copy back all the same",
            ok=False,
        )
    put, lost = former(entry, action)
    told = (
        f"; its secret {', '.join(lost)} was dropped by the update and has to be entered again"
        if lost
        else ""
    )
    return Return(
        entry=entry,
        sentence=f"version {version} -> {'the former copy' if entry.held is None else entry.held}{told}",
        writes=True,
        ok=not lost,
        form=form_diff(action, put["Properties"], put.get("Packages") or (), name=entry.where),
        script=script_diff(action, put["Properties"], name=entry.where),
        found=now,
        goal=fingerprint(put),
    )


def former(entry: Entry, action: ActionDocument) -> tuple[ActionDocument, tuple[str, ...]]:
    """The action with its former copy, and the secrets that cannot go back with it. A secret that the step still has stays:
    `HasValue` without a new value keeps it (OctopusClients, Model/PropertyValueResource.cs)."""
    properties: dict[str, PropertyValue] = {}
    lost = []
    for name, value in entry.copy["Properties"].items():
        if has_secret(value):
            if not has_secret(action["Properties"].get(name)):
                lost.append(name)
                continue
            properties[name] = {"HasValue": True, "NewValue": None}
        else:
            properties[name] = copy.deepcopy(value)
    put = cast(ActionDocument, {**action, **copy.deepcopy(dict(entry.copy)), "Properties": properties})
    return put, tuple(lost)


def find(process: Document, entry: Entry) -> ActionDocument | None:
    actions: list[ActionDocument] = [
        action for step in process.get("Steps") or () for action in step.get("Actions") or ()
    ]
    for action in actions:
        if str(action.get("Id")) == entry.action_id:
            return action
    for action in actions:
        if entry.slug and action.get("Slug") == entry.slug:
            return action
    return None


def put_back(client: Client, planned: Sequence[Return]) -> tuple[Return, ...]:
    """Write the former copies of one process' steps, from a fresh read, and again from one when somebody was faster: the process'
    Version makes sure that no edit of others is lost. Read back."""
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        process = client.get(planned[0].entry.path)
        writes, results = [], []
        for item in planned:
            action = find(process, item.entry)
            now = fingerprint(action) if action is not None else ""
            if now in (item.entry.fingerprint, item.goal):
                results.append(replace(item, sentence=f"put back: {item.sentence}, and read back"))
            elif action is None or now != item.found:
                sentence = "left: somebody changed the step since it was read: run this again"
                results.append(replace(item, sentence=sentence, ok=False, writes=False))
            else:
                writes.append((item, action))
        if not writes:
            return tuple(results)
        for item, action in writes:
            put, _ = former(item.entry, action)
            cast(Document, action).update(cast(Document, put))
        try:
            client.put(planned[0].entry.path, with_message(process, planned))
        except OctopusError as error:
            stale = isinstance(error, ApiError) and error.status in (400, 409)
            moved = stale and client.get(planned[0].entry.path).get("Version") != process.get("Version")
            if attempt == WRITE_ATTEMPTS or not (moved or error.maybe_done):
                raise
            client.pause_before_rewrite(attempt)
            continue
        return (*results, *read_back(client, [item for item, _ in writes]))
    raise AssertionError("the loop ends by returning or raising")


def with_message(process: Document, planned: Sequence[Return]) -> Document:
    """On a branch the write is a commit."""
    if HEADS_IN_PATH not in planned[0].entry.path:
        return process
    names = ", ".join(dict.fromkeys(item.entry.template for item in planned))
    return {**process, "ChangeDescription": f"Put back steps made from {names}"}


def read_back(client: Client, written: Sequence[Return]) -> Iterator[Return]:
    process = client.get(written[0].entry.path)
    for item in written:
        action = find(process, item.entry)
        version = text_of(action["Properties"].get(TEMPLATE_VERSION)) if action is not None else ""
        if action is None or version != text_of(item.entry.copy["Properties"].get(TEMPLATE_VERSION)):
            yield replace(item, sentence="read back, the step does not hold its former copy", ok=False)
        elif fingerprint(action) != item.goal:
            yield replace(
                item, sentence="read back, the step is not wholly as it was: look at it in Octopus", ok=False
            )
        else:
            yield replace(item, sentence=f"put back: {item.sentence}, and read back")


def by_process(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The steps that are written together."""
    found: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.space, entry.path].append(entry)
    return list(found.values())
