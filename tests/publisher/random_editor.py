"""A random editor, a faulty server, and runs of `apply` that are told apart by what they say: the world of the random proof.

Everything is drawn from one seed. Who saved which version is known from the server itself: the editor and the publisher are
different users.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from generator.commands import apply, plan
from generator.emulator import Emulator
from generator.errors import Problems, Refusal
from generator.octopus import Client, connect
from generator.outcome import Outcome, show
from generator.step_template import SCRIPT_BODY
from tests.publisher.own_library import Document, OwnLibrary

PUBLISHER, EDITOR = "ci", "editor"
TEMPLATES = 4
ROOT = Path(__file__).resolve().parents[2]
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after": 0.1},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "lost_answer"},
    {"kind": "lost_answer", "method": "PUT"},
    {"kind": "lost_answer", "method": "POST"},
    {"kind": "truncated"},
    {"kind": "html", "status": 200},
    {"kind": "html", "status": 502},
    {"kind": "slow", "delay": 0.05},
    {"kind": "refused", "delay": 0.2},
    {"kind": "restart", "delay": 0.2},
)
Histories = Mapping[str, tuple[tuple[int, str, str], ...]]
"""By template name: (version, who saved it, what people change in it), oldest first."""


@dataclass
class Tally:
    """What happened in all runs, for the report."""

    runs: int = 0
    ended: int = 0
    killed: int = 0
    refused: int = 0
    saves: int = 0
    edits: int = 0
    faults: int = 0
    covered_and_told: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


@dataclass
class Run:
    """What one run of `apply` said. `outcome` is None when it was killed or refused, and for a process of its own."""

    text: str
    outcome: Outcome | None = None
    refusal: str = ""
    killed: bool = False

    @property
    def data(self) -> Any:
        assert self.outcome is not None
        return self.outcome.data


class Meddling(httpx.HTTPTransport):
    """Between the publisher and the server: people save in the very moment, and the process is interrupted in the middle."""

    def __init__(self, edit: Callable[[], None], chance: random.Random, *, interrupts: bool) -> None:
        super().__init__()
        self.edit, self.chance, self.interrupts = edit, chance, interrupts
        self.lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return super().handle_request(request)
        with self.lock:
            before, after, stops = (self.chance.random() for _ in range(3))
        if before < 0.25:
            self.edit()
        if self.interrupts and stops < 0.1:
            raise KeyboardInterrupt
        response = super().handle_request(request)
        if after < 0.15:
            self.edit()
        if self.interrupts and stops > 0.9:
            raise KeyboardInterrupt
        return response


@dataclass
class World:
    """One server, one library, one editor."""

    emulator: Emulator
    folder: Path
    chance: random.Random
    tally: Tally = field(default_factory=Tally)
    version: int = 1
    # Foreign versions that a save of ours has covered in a run that could not say so any more.
    untold: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.library = OwnLibrary(self.folder / "library", templates=TEMPLATES)
        self.names = [f"Own - Template {number}" for number in range(1, TEMPLATES + 1)]
        self.key = self.emulator.add_key(user=PUBLISHER)
        self.people = connect(self.emulator.url, api_key=self.emulator.add_key(user=EDITOR), sleep=nap)
        self.guard = threading.Lock()

    # --- what people do ------------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """A person saves a random template: the script, the help of a parameter, or an old version again."""
        with self.guard:
            kind, name, mark = (
                self.chance.random(),
                self.chance.choice(self.names),
                self.chance.getrandbits(48),
            )
        try:
            there = [item for item in self.people.pages("actiontemplates") if item["Name"] == name]
            if not there:
                return
            document = there[0]
            path = f"actiontemplates/{document['Id']}"
            if kind < 0.15:
                versions = self.people.array(f"{path}/versions")
                document = versions[mark % len(versions)]
            elif kind < 0.4:
                document["Parameters"][0]["HelpText"] = f"by people {mark}"
            else:
                document["Properties"][SCRIPT_BODY] += f"# by people {mark}\n"
            self.people.put(path, document)
            self.tally.edits += 1
        except Refusal:
            pass  # the server was in trouble: whether it was saved, the history tells

    def change_specs(self) -> None:
        """The library goes on: some of its specs say something else."""
        for number in range(1, TEMPLATES + 1):
            if self.chance.random() < 0.5:
                self.version += 1
                self.library.write(number, version=self.version, says=f"hello {self.version}")

    def trouble(self) -> None:
        for _ in range(self.chance.choice((0, 1, 1, 2, 3))):
            options = dict(self.chance.choice(FAULTS))
            options.setdefault("method", self.chance.choice((None, "GET", "POST", "PUT")))
            self.emulator.faults.add(
                path="/actiontemplates",
                count=self.chance.choice((1, 1, 2)),
                after=self.chance.randrange(6),
                **options,
            )

    # --- runs ----------------------------------------------------------------------------------------------------------

    def run(self, *, force: bool, interrupts: bool) -> Run:
        """`apply` in this process; an interrupt is what a terminal sends, in the middle of a write."""
        out = io.StringIO()
        transport = Meddling(self.edit, random.Random(self.chance.getrandbits(64)), interrupts=interrupts)
        said: list[str] = []
        try:
            outcome = apply.run(
                root=self.library.folder,
                environ={"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.key},
                force=force,
                tell=said.append,
                http=httpx.Client(transport=transport, timeout=30),
            )
        except (Refusal, Problems) as error:
            return Run(text="\n".join(said), refusal=str(error))
        except KeyboardInterrupt:
            return Run(text="\n".join(said), killed=True)
        with redirect_stdout(out):
            show(outcome)
        return Run(text="\n".join([*said, out.getvalue()]), outcome=outcome)

    def run_to_kill(self, *, force: bool) -> Run:
        """`apply` as a process of its own, killed at a random moment while people edit. It may be quicker than that."""
        words = [sys.executable, "-m", "generator", "apply", "--no-prompt", *(["--force"] if force else [])]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OCTOPUS_URL": self.emulator.url,
            "OCTOPUS_API_KEY": self.key,
        }
        with subprocess.Popen(
            words,
            cwd=self.library.folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            writes = self.writes_of_publisher() + self.chance.randrange(TEMPLATES)
            while process.poll() is None and self.writes_of_publisher() <= writes:
                time.sleep(0.002)
                if self.chance.random() < 0.02:
                    self.edit()
            killed = process.poll() is None
            process.kill()
            text = process.stdout.read() if process.stdout else ""
        return Run(text=text, killed=killed or process.returncode < 0)

    def writes_of_publisher(self) -> int:
        return sum(
            version["LastModifiedBy"] == PUBLISHER
            for versions in list(self.emulator.state.template_versions.values())
            for version in list(versions)
        ) + sum(
            item["LastModifiedBy"] == PUBLISHER
            for item in list(self.emulator.state.collection("ActionTemplates").values())
        )

    def histories(self) -> Histories:
        """Straight from the server's memory, whatever trouble it is in."""
        state, found = self.emulator.state, {}
        with state.lock:
            for identity, document in state.collection("ActionTemplates").items():
                rows = [*state.template_versions[identity], document]
                found[document["Name"]] = tuple(
                    (
                        row["Version"],
                        row["LastModifiedBy"],
                        row["Properties"][SCRIPT_BODY] + row["Parameters"][0]["HelpText"],
                    )
                    for row in rows
                )
        return found

    # --- the proof -----------------------------------------------------------------------------------------------------

    def one_round(self) -> None:
        """Something changes, `apply` runs in trouble, and what it said is held against what happened."""
        self.tally.runs += 1
        self.change_specs()
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            self.edit()
        self.trouble()
        before = self.histories()
        force = self.chance.random() < 0.6
        kind = self.chance.random()
        run = self.run_to_kill(force=force) if kind < 0.15 else self.run(force=force, interrupts=kind < 0.45)
        self.settle()
        self.judge(run, before, self.histories())

    def settle(self) -> None:
        """Every fault is over, and a request that was on its way when its sender died has arrived."""
        self.tally.faults += sum(rule.hits for rule in self.emulator.faults.rules)
        self.emulator.faults.clear()
        deadline = time.monotonic() + 30
        while True:
            try:
                self.people.get("/api")
                break
            except Refusal:
                assert time.monotonic() < deadline, "the server has not come back"
        before = None
        while before != (now := self.histories()):
            before = now
            time.sleep(0.05)

    def judge(self, run: Run, before: Histories, after: Histories) -> None:
        told = self.told_versions(run)
        self.untold -= told
        for name, versions in after.items():
            known = {number for number, _, _ in before.get(name, ())}
            for number, _ in [(n, who) for n, who, _ in versions if who == PUBLISHER and n not in known]:
                self.tally.saves += 1
                for foreign in self.covered_by(versions, number):
                    if (name, foreign) in told:
                        self.tally.covered_and_told += 1
                    else:
                        assert run.killed, (
                            f"{name!r}: version {number} covered version {foreign} silently\n{run.text}"
                        )
                        self.untold.add((name, foreign))
        if run.killed:
            self.tally.killed += 1
        elif run.outcome is not None:
            self.tally.ended += 1
            self.judge_words(run, before, after)
        elif run.refusal:
            self.tally.refused += 1
            assert self.saves_of(before) == self.saves_of(after), f"refused, and still written\n{run.refusal}"
        else:
            self.tally.ended += 1

    @staticmethod
    def saves_of(histories: Histories) -> set[tuple[str, int]]:
        return {
            (name, number) for name, rows in histories.items() for number, who, _ in rows if who == PUBLISHER
        }

    @staticmethod
    def covered_by(versions: tuple[tuple[int, str, str], ...], ours: int) -> list[int]:
        """The foreign versions right below a save of ours whose content that save replaced; none where people had put back
        themselves what we had saved last."""
        who = {number: (saver, content) for number, saver, content in versions}
        found = []
        number = ours - 1
        while number in who and who[number][0] == EDITOR:
            found.append(number)
            number -= 1
        is_as_before = bool(found) and number in who and who[number][1] == who[ours - 1][1]
        return [] if is_as_before else found

    def told_versions(self, run: Run) -> set[tuple[str, int]]:
        """(template, version) of every foreign version that the run's words name."""
        told = set()
        for line in run.text.splitlines():
            for name in self.names:
                if name in line:
                    told |= {(name, int(number)) for number in re.findall(r"version (\d+)", line)}
                    if " times before" in line:
                        told |= {(name, number) for number in range(1000)}
        return told

    def judge_words(self, run: Run, before: Histories, after: Histories) -> None:
        """Exit code 0 is said when all that was planned stands there; what was written is named, and only that."""
        assert run.outcome is not None
        data, text = run.data, run.text
        written = set(data["written"])
        for name, versions in after.items():
            known = {number for number, _, _ in before.get(name, ())}
            new = [number for number, who, _ in versions if who == PUBLISHER and number not in known]
            hints = " ".join(data["faults"])
            assert bool(new) <= (name in written or name in hints or not new), (name, text)
            if new and name not in written:
                assert name in hints, f"{name!r} was written and not told\n{text}"
            if name in written:
                assert new, f"{name!r} was told to be written and was not\n{text}"
        planned = {
            change["name"] for change in data["plan"]["changes"] if change["action"] in ("create", "update")
        }
        if run.outcome.exit_code == 0:
            assert not data["alarms"] and not data["faults"] and written == planned, text
        else:
            conflicts = data["plan"]["summary"]["conflict"]
            assert data["alarms"] or data["faults"] or conflicts or data["hindrance"], text

    def finish(self) -> None:
        """Trouble is over and nobody edits: one run publishes everything, and then there is nothing to do."""
        environ = {"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.key}
        folder = self.library.folder
        said: list[str] = []
        last = apply.run(root=folder, environ=environ, force=True, tell=said.append)
        text = "\n".join([*said, *map(str, last.parts)])
        self.untold -= self.told_versions(Run(text=text))
        assert 0 == last.exit_code, text
        again: Any = plan.run(root=folder, environ=environ, exit_code=True)
        assert 0 == again.exit_code and not again.data["summary"]["conflict"], again
        # What a save has covered is told until the next one.
        assert set(again.data["warnings"]) <= set(last.data["plan"]["warnings"]), again
        assert not self.untold, f"covered and never told: {sorted(self.untold)}"


def nap(seconds: float) -> None:
    """People wait as well, but not as long."""
    time.sleep(min(seconds, 0.05))


@contextmanager
def open_world(folder: Path, seed: int) -> Iterator[World]:
    with Emulator() as emulator:
        world = World(emulator, folder, random.Random(seed))
        yield world
        world.people.close()
        assert not emulator.refused


def describe(client: Client) -> str:
    """Every template as it is, for a failure's report."""
    documents: list[Document] = list(client.pages("actiontemplates"))
    return json.dumps([[one["Name"], one["Version"], one["LastModifiedBy"]] for one in documents])
