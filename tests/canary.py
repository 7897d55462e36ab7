"""Keys and secrets that the tests hand out are canaries, and wherever one turns up that test fails.

Every key that an emulator makes up for a test carries the mark, and so do secrets made by `make_secret`. Looked through
are: what commands give back and print, plans, errors and tracebacks, arguments of processes, what they print, the lines of
scripts before the emulator masks them, progress messages, artifacts, task logs, the audit log, and the files left behind.
"""

from __future__ import annotations

import json
import re
import secrets
import string
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from generator import errors, outcome
from generator.emulator import Emulator, runner

ALPHABET = string.ascii_uppercase + string.digits
PATTERN = re.compile(r"(?:API-CANARY|CANARY-SECRET-)[A-Z0-9]{10,}")
LARGEST_FILE = 20_000_000
EXEMPT: Mapping[str, str] = {
    "tests/contract/": "its scripts print secrets to see that Octopus' log would hide them",
    "tests/emulator/": "what the emulator itself shows is tested there with secrets of its own",
}
"""Where showing a secret is the very subject, by the beginning of the test's path. A single test says so by the marker."""
MARKER = "shows_keys(reason): the subject of this test prints a key, so it is not searched for canaries"


def make_key() -> str:
    return "API-CANARY" + "".join(secrets.choice(ALPHABET) for _ in range(24))


def make_secret() -> str:
    """Any other secret: a sensitive default, a sensitive variable."""
    return "CANARY-SECRET-" + "".join(secrets.choice(ALPHABET) for _ in range(16))


class Watch:
    """What has been found so far, as sentences without the secret."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def look(self, where: str, text: object) -> None:
        """Look through a text, or anything that has one."""
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        elif not isinstance(text, str):
            text = json.dumps(text, default=str)
        for hit in PATTERN.finditer(text):
            around = text[max(0, hit.start() - 60) : hit.start()]
            self.found.append(f"{where}: {around}{hit.group()[:10]}...")

    def look_at_files(self, folder: Path) -> None:
        """Look through every file below a folder, its name included."""
        for file in sorted(folder.rglob("*")):
            self.look("a file's name", str(file.relative_to(folder)))
            with suppress(OSError):  # it has gone meanwhile, or is none
                if file.is_file() and not file.is_symlink() and file.stat().st_size < LARGEST_FILE:
                    self.look(f"the file {file}", file.read_bytes())

    def look_at_server(self, emulator: Emulator) -> None:
        """Look through everything on a server that people may read and that is meant to be told."""
        state = emulator.state
        for task in list(state.tasks.values()):
            self.look(f"the log of {task.id}", task.raw(state.clock, "0"))
            for _, activity in task.root.walk():
                self.look(f"the progress of {task.id}", activity.progress_message)
        for name, content in list(state.contents.items()):
            self.look(f"the artifact {name}", content.data)
        for collection in ("Artifacts", "Events", "Deployments", "RunbookRuns", "Interruptions"):
            self.look(f"the server's {collection}", list(state.collections.get(collection, {}).values()))

    def take(self) -> list[str]:
        """What was found, each once; and forget it."""
        found, self.found = list(dict.fromkeys(self.found)), []
        return found


WATCH = Watch()


@pytest.fixture
def watch() -> Watch:
    """For the tests of the watch itself."""
    return WATCH


def install(patch: pytest.MonkeyPatch, watch: Watch) -> None:
    """Hand out canaries, and look wherever something is said."""
    add_key, stop, emit = Emulator.add_key, Emulator.stop, runner.RunningScript._emit
    start, communicate = subprocess.Popen.__init__, subprocess.Popen.communicate
    make_outcome, read_captured = outcome.Outcome.__init__, pytest.CaptureFixture.readouterr

    def handing_out(emulator: Emulator, *, key: str | None = None, **options: Any) -> str:
        return add_key(emulator, key=key or make_key(), **options)

    def stopping(emulator: Emulator) -> None:
        stop(emulator)
        watch.look_at_server(emulator)

    def emitting(script: runner.RunningScript, event: Any) -> None:
        for name in ("text", "message"):
            if isinstance(getattr(event, name, None), str):
                watch.look("what a script printed", getattr(event, name))
        emit(script, event)

    def starting(process: Any, *arguments: Any, **options: Any) -> None:
        words = arguments[0] if arguments else options.get("args")
        watch.look("the arguments of a process", words if isinstance(words, str) else list(map(str, words)))
        start(process, *arguments, **options)

    def communicating(process: Any, *arguments: Any, **options: Any) -> Any:
        streams = communicate(process, *arguments, **options)
        for stream in streams:
            watch.look("what a process printed", stream or "")
        return streams

    def concluding(made: outcome.Outcome, **fields: Any) -> None:
        make_outcome(made, **fields)
        watch.look("what a command came to", [made.data, made.parts, made.lines, made.problems])

    def printing(*texts: object, **options: Any) -> None:
        watch.look("what a command printed", list(map(str, texts)))
        print(*texts, **options)

    def refusing(error: Exception, *arguments: object) -> None:
        watch.look("an error", list(map(str, arguments)))
        Exception.__init__(error, *arguments)

    def reading(fixture: Any) -> Any:
        captured = read_captured(fixture)
        watch.look("what a test captured", [str(captured.out), str(captured.err)])
        return captured

    patch.setattr(Emulator, "add_key", handing_out)
    patch.setattr(Emulator, "stop", stopping)
    patch.setattr(runner.RunningScript, "_emit", emitting)
    patch.setattr(subprocess.Popen, "__init__", starting)
    patch.setattr(subprocess.Popen, "communicate", communicating)
    patch.setattr(outcome.Outcome, "__init__", concluding)
    patch.setattr(outcome, "print", printing, raising=False)
    patch.setattr(errors.Refusal, "__init__", refusing, raising=False)
    patch.setattr(pytest.CaptureFixture, "readouterr", reading)


@pytest.fixture(autouse=True, scope="session")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Canaries are handed out from the first test on; after the last one the files of all of them are looked through."""
    left = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(left))
        install(patch, WATCH)
        yield
    last = Watch()
    last.look_at_files(left)
    assert not last.take()


def is_exempt(item: pytest.Item) -> bool:
    path = item.nodeid.replace("\\", "/")
    return item.get_closest_marker("shows_keys") is not None or any(path.startswith(one) for one in EXEMPT)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """When a test and its fixtures are done: fail it for every canary that got out meanwhile."""
    result: Any = yield
    report = result.get_result()
    if call.when != "teardown":
        return
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    if folder is not None and folder.exists():
        WATCH.look_at_files(folder)
    for title, text in report.sections:
        WATCH.look(title, text)
    found = WATCH.take()
    if found and report.passed and not is_exempt(item):
        report.outcome = "failed"
        report.longrepr = "a key or a secret got out:\n  " + "\n  ".join(found)
