"""`apply` runs while people edit everything, answers are lost, servers restart and it is killed itself.

No edit of people is ever overwritten, every run that ends says the truth, and a last run leaves nothing to do. The suite does
some dozen runs; OCTOSTEPS_SOAK=300 does as many as the issue asks for, OCTOSTEPS_SOAK_SEED others of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from generator.commands import apply, plan
from generator.errors import Refusal
from generator.octopus import wire
from generator.outcome import Outcome
from tests.importer.shop import VERIFY
from tests.importer.soak import ANCHOR, People, branch_path
from tests.scene import ROOT, Scene, open_scene, own_step

RUNS = int(os.environ.get("OCTOSTEPS_SOAK", "14"))
SEED = int(os.environ.get("OCTOSTEPS_SOAK_SEED", "1"))
OURS = r"/api/Spaces-1/.*(deploymentprocesses|runbookProcesses|variables/|git/branches)"
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "lost_answer"},
    {"kind": "reset"},
    {"kind": "truncated"},
    {"kind": "html", "status": 502},
    {"kind": "status", "status": 429, "retry_after": 0.05},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500},
    {"kind": "restart", "delay": 0.1},
)


class Soak:
    """Three projects: a deployment process with a runbook and a tag, a plain one, and one in Git; and a file about them."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self.folder, self.dice = scene, folder, random.Random(SEED)
        self.people = People(scene.emulator, SEED)
        self.told: Counter[str] = Counter()
        steps = [own_step(ANCHOR), own_step("Other")]
        for name in ("Shop", "Web", "Docs"):
            made = scene.make_project(name, steps=steps)
            self.people.watch(f"variables/{made['VariableSetId']}")
            if name != "Docs":
                self.people.watch(f"deploymentprocesses/{made['DeploymentProcessId']}")
        runbook = scene.make_runbook("Shop", "Nightly", steps)
        self.people.watch(f"runbookProcesses/{runbook['RunbookProcessId']}")
        docs = scene.projects["Docs"]["Id"]
        settings = {"Type": "VersionControlled", "Url": "https://git.test/docs.git", "DefaultBranch": "main"}
        with scene.by_hand() as client:
            client.post(f"projects/{docs}/git/convert", {"VersionControlSettings": settings})
        self.people.repositories.append(docs)
        self.people.watch(branch_path(docs, "refs/heads/main"))

    @property
    def file(self) -> Path:
        return self.folder / "coordination.yaml"

    def write_file(self) -> None:
        shop = [self.entry("deployment", tag=True), self.entry("runbook Nightly")]
        projects = {"Shop": shop, "Web": self.entry("deployment", tag=True), "Docs": self.entry("deployment")}
        self.file.write_text(json.dumps({"projects": projects}))

    def entry(self, process: str, *, tag: bool = False) -> dict[str, Any]:
        entry = {"process": process, "steps": [self.step(key) for key in "abcd" if self.dice.random() < 0.6]}
        return (
            {**entry, "concurrency_tag": self.dice.choice(["x", "y"])}
            if tag and self.dice.random() < 0.7
            else entry
        )

    def step(self, key: str) -> dict[str, Any]:
        dice = self.dice
        place = {dice.choice(["after", "before"]): ANCHOR} if dice.random() < 0.7 else {}
        values = {
            "project": dice.choice(["Web", "Api"]),
            "version": "same",
            "api_key": "#{Coordination.ApiKey}",
        }
        return {
            "key": key,
            "template": VERIFY,
            "name": f"Ours {key}{dice.choice(['', ' again'])}",
            **place,
            **({"parallel": True} if "after" in place and dice.random() < 0.3 else {}),
            **({"environments": ["Test"]} if dice.random() < 0.5 else {}),
            "with": values,
        }

    def run(self, verb: Any, **options: Any) -> Outcome:
        outcome: Outcome = verb(
            root=self.folder, files=[self.file], environ=self.scene.environ, prune=True, **options
        )
        return outcome

    # --- one run --------------------------------------------------------------------------------------------------------

    def round(self) -> None:
        if self.dice.random() < 0.7:
            self.write_file()
        if self.dice.random() < 0.6:
            self.people.settle()
        with self.faults():
            if self.dice.random() < 0.25:
                self.be_killed()
                return
            before = self.people.written()
            try:
                outcome = self.run(apply.run)
            except Refusal as error:  # it could not even read: then it has written nothing
                self.told[type(error).__name__] += 1
                assert self.people.written() == before, error
                return
        self.check_truth(outcome, before)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Up to three of them strike, somewhere on the way."""
        faults = self.scene.emulator.faults
        for _ in range(self.dice.randrange(4)):
            method = self.dice.choice(["GET", "PUT", "PUT", "POST"])
            faults.add(path=OURS, method=method, after=self.dice.randrange(5), **self.dice.choice(KINDS))
        yield
        faults.clear()
        while self.scene.emulator.app.is_away:
            time.sleep(0.01)

    def be_killed(self) -> None:
        """SIGKILL, after so many of its requests have arrived, if it has not ended by then."""
        self.write_file()
        self.people.settle()
        words = ["-m", "generator", "apply", str(self.file), "--prune", "--no-prompt"]
        environ = {**os.environ, **self.scene.environ, "PYTHONPATH": str(ROOT), "CI": "1"}
        arrived = self.scene.emulator.faults.add(path="/api/Spaces-1/", kind="slow", delay=0, count=None)
        wanted = self.dice.randrange(10, 34)
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and arrived.hits < wanted:
            time.sleep(0.002)
        process.kill()
        self.told["killed" if process.wait() < 0 else "ended before it was killed"] += 1

    def check_truth(self, outcome: Outcome, before: Any) -> None:
        """What a run says is what the server holds, whatever people have done since."""
        data: Any = outcome.data
        with self.people.quiet:
            again: Any = self.run(plan.run).data
            written = self.people.written()
        waiting = {
            change["name"]
            for change in again["changes"]
            if change["action"] in ("create", "update", "remove")
        }
        assert not waiting & set(data["written"]), (
            f"it said that these were written: {waiting & set(data['written'])}"
        )
        if not data["written"] and not data["faults"]:
            assert written == before, "it said that it has written nothing"
        if outcome.exit_code == 0:
            assert not waiting, f"it said that all is done: {waiting}"
            self.told["went well" if data["written"] else "nothing to do"] += 1
        elif data["faults"]:
            self.told["stopped, and said why"] += 1
        else:
            assert data["hindrance"], outcome.parts
            self.told["in conflict"] += 1
            self.people.settle()


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    with open_scene() as scene, pytest.MonkeyPatch.context() as patch:
        scene.publish(VERIFY)
        patch.setattr(wire, "FIRST_PAUSE", 0.02)
        patch.setattr(wire, "LONGEST_PAUSE", 0.1)
        yield Soak(scene, tmp_path)


def test_no_edit_of_people_is_lost_every_run_tells_the_truth_and_it_converges(soak: Soak) -> None:
    people = soak.people
    soak.write_file()
    people.start()
    try:
        for number in range(RUNS):
            soak.round()
            people.look_everywhere()
            assert not people.lost, f"run {number}: {people.lost}"
    finally:
        people.stop()
    people.settle()
    last = soak.run(apply.run)
    assert last.exit_code == 0, last.parts
    end = soak.run(plan.run, exit_code=True)
    assert end.exit_code == 0, end.parts
    people.look_everywhere()
    assert (people.lost, people.refused) == ([], [])
    print(f"\n{RUNS} runs, seed {SEED}: {dict(soak.told)}\npeople: {dict(people.made)}")
