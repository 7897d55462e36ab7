"""People who edit everything all the time, and the witness that none of their edits is ever overwritten.

They use the same API, by requests in process that spell the paths without a space: faults that are set for the other spelling
strike octosteps only. Every edit of theirs carries the `Version` that they read, as the portal's does.
"""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from generator.concurrency_tag import NAME as TAG
from generator.emulator import Emulator, repositories
from tests.scene import own_step

Document = dict[str, Any]
KEY, PROJECT = "octosteps.step", "VerifyDeployment.Project"
ANCHOR = "Anchor"


@dataclass
class Place:
    """A process or variable set; `path` is where people edit it. `foreign` is everything in it that is not ours."""

    path: str
    foreign: list[Document] = field(default_factory=list)
    # What people changed in our steps: (action id, what) -> the value, and the one that was there before.
    touched: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    # The same of an edit that is not saved yet.
    pending: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    edits: int = 0

    @property
    def is_process(self) -> bool:
        return not self.path.startswith("variables/")


class People(threading.Thread):
    """Edit until `stop`; `lost` tells every edit of theirs that was gone when they looked again."""

    def __init__(self, emulator: Emulator, seed: int) -> None:
        super().__init__(daemon=True)
        self.emulator, self.dice = emulator, random.Random(seed)
        self.places: dict[str, Place] = {}
        self.repositories: list[str] = []  # ids of version-controlled projects
        self.lost: list[str] = []
        self.refused: list[str] = []
        self.quiet = threading.RLock()
        self.ended = threading.Event()
        self.made: Counter[str] = Counter()
        self.http = httpx.Client(
            transport=httpx.WSGITransport(app=emulator.app),
            base_url="http://emulator/api/",
            headers={"X-Octopus-ApiKey": emulator.api_key},
        )

    def watch(self, path: str) -> None:
        """From now on it is edited, and looked after."""
        place = self.places[path] = Place(path)
        place.foreign = foreign(self.get(path))

    def run(self) -> None:
        while not self.ended.is_set():
            with self.quiet:
                self.find_branches()
                self.edit(self.places[self.dice.choice(sorted(self.places))])
                if self.repositories and self.dice.random() < 0.03:
                    self.merge(self.dice.choice(self.repositories))
            time.sleep(self.dice.random() * 0.1)

    def stop(self) -> None:
        self.ended.set()
        self.join()

    def find_branches(self) -> None:
        """People look at our branches, too, and edit there as long as they exist."""
        there = {
            branch_path(project_id, ref)
            for project_id in self.repositories
            for ref in repositories.refs(
                self.emulator.state.get("Projects", project_id), "refs/heads/octosteps/"
            )
        }
        for path in [path for path in self.places if quote("refs/heads/octosteps/", safe="") in path]:
            if path not in there:
                del self.places[path]
        for path in there - self.places.keys():
            self.watch(path)

    # --- requests --------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Document:
        while True:
            try:
                answer = self.http.get(path)
            except ConnectionRefusedError:  # the server restarts
                time.sleep(0.02)
                continue
            assert answer.status_code == 200, answer.text
            found: Document = answer.json()
            return found

    def save(self, place: Place, change: Callable[[Document], object]) -> bool:
        """Edit as the portal does: read, change, write with the Version that was read; again when somebody was faster."""
        while True:
            document = self.get(place.path)
            self.look(place, document)
            before = copy.deepcopy(document)
            place.pending = {}
            if change(document) is False:
                return False
            try:
                answer = self.http.put(place.path, json=document)
            except ConnectionRefusedError:
                time.sleep(0.02)
                continue
            if answer.status_code == 400 and self.get(place.path)["Version"] != before["Version"]:
                continue
            if answer.status_code != 200:
                self.refused.append(answer.text)
                return False
            place.foreign = foreign(answer.json())
            place.touched |= place.pending
            place.edits += 1
            return True

    # --- the witness -----------------------------------------------------------------------------------------------------

    def look(self, place: Place, document: Document) -> None:
        """Note what is not there any more. Only people change what is theirs, and they are one."""
        if foreign(document) != place.foreign:
            self.lost.append(
                f"{place.path}: {json.dumps(place.foreign)} became {json.dumps(foreign(document))}"
            )
        for (identity, what), (value, _) in list(place.touched.items()):
            action = next((one for one in own_actions(document) if one["Id"] == identity), None)
            if action is None:
                del place.touched[identity, what]  # the file does not name that step any more
            elif read(action, what) != value:
                self.lost.append(
                    f"{place.path}: {what} of {action['Name']!r} was {value!r}, is {read(action, what)!r}"
                )

    def look_everywhere(self) -> None:
        with self.quiet:
            self.find_branches()
            for place in self.places.values():
                self.look(place, self.get(place.path))

    def written(self) -> Mapping[str, int]:
        """How often somebody else than people has written each process and set outside Git, by path."""
        with self.quiet:
            return {
                path: self.get(path)["Version"] - place.edits
                for path, place in self.places.items()
                if "projects/" not in path
            }

    # --- edits -----------------------------------------------------------------------------------------------------------

    def edit(self, place: Place) -> None:
        number = sum(self.made.values())
        if not place.is_process:
            kind = "add a variable"
            done = self.save(
                place,
                lambda document: document["Variables"].append({"Name": f"P{number}", "Value": str(number)}),
            )
        else:
            kind = self.dice.choice(sorted(EDITS))
            done = self.save(place, lambda document: EDITS[kind](self, place, document["Steps"], number))
        self.made[kind if done else f"not possible: {kind}"] += 1

    def touch(self, place: Place, steps: list[Document], what: str, value: str) -> bool:
        actions = own_actions({"Steps": steps})
        if not actions:
            return False
        action = self.dice.choice(actions)
        mark = (action["Id"], what)
        before = place.touched.get(mark, ("", read(action, what)))[1]
        write(action, what, value)
        if what == "Name":
            next(step for step in steps if action in step["Actions"])["Name"] = value
        place.pending[mark] = (value, before)
        return True

    def settle(self) -> None:
        """People take back what can stand in a file's way: their edits in our steps, and groups that begin behind ours."""
        with self.quiet:
            self.find_branches()
            for place in self.places.values():
                if place.is_process and self.save(place, partial(self.take_back, place)):
                    place.touched.clear()

    def take_back(self, place: Place, document: Document) -> None:
        steps = document["Steps"]
        for (identity, what), (_, before) in place.touched.items():
            for step in steps:
                for action in step["Actions"]:
                    if action["Id"] == identity:
                        write(action, what, before)
                        if what == "Name":
                            step["Name"] = before
        for step in steps:
            if not is_ours(step):
                step["StartTrigger"] = "StartAfterPrevious"

    def merge(self, project_id: str) -> None:
        """Somebody merges one of our branches with Git, and deletes it or not."""
        state = self.emulator.state
        with state.lock:
            project = state.get("Projects", project_id)
            names = [
                ref.removeprefix("refs/heads/") for ref in repositories.refs(project, "refs/heads/octosteps/")
            ]
            if not names:
                return
            try:
                repositories.merge(state, project, names[-1], "main")
            except ValueError:  # both have changed one step
                self.made["not possible: merge"] += 1
                return
            if self.dice.random() < 0.5:
                repositories.delete_branch(project, names[-1])
        self.find_branches()
        main = self.places[branch_path(project_id, "refs/heads/main")]
        main.foreign = foreign(self.get(main.path))
        main.touched.clear()
        self.made["merge"] += 1


def branch_path(project_id: str, ref: str) -> str:
    return f"projects/{project_id}/{quote(ref, safe='')}/deploymentprocesses"


def is_ours(step: Document) -> bool:
    return any(KEY in action["Properties"] for action in step["Actions"])


def own_actions(document: Document) -> list[Document]:
    return [
        action
        for step in document.get("Steps", ())
        for action in step["Actions"]
        if KEY in action["Properties"]
    ]


def foreign(document: Document) -> list[Document]:
    """Everything that belongs to people, in its order: steps, or variables."""
    if "Variables" in document:
        return [item for item in document["Variables"] if item["Name"] != TAG]
    return [step for step in document["Steps"] if not is_ours(step)]


def read(action: Document, what: str) -> str:
    return str((action if what in ("Name", "Notes") else action["Properties"]).get(what) or "")


def write(action: Document, what: str, value: str) -> None:
    (action if what in ("Name", "Notes") else action["Properties"])[what] = value


def theirs(steps: list[Document]) -> list[Document]:
    return [step for step in steps if not is_ours(step)]


def add(people: People, place: Place, steps: list[Document], number: int) -> object:
    return steps.insert(people.dice.randrange(len(steps) + 1), own_step(f"By people {number}"))


def annotate(people: People, place: Place, steps: list[Document], number: int) -> object:
    people.dice.choice(theirs(steps))["Actions"][0]["Notes"] = f"note {number}"
    return None


def drop(people: People, place: Place, steps: list[Document], number: int) -> object:
    some = [step for step in theirs(steps) if step["Name"] != ANCHOR]
    return steps.remove(people.dice.choice(some)) if len(some) > 2 else False


def condition(people: People, place: Place, steps: list[Document], number: int) -> object:
    people.dice.choice(theirs(steps))["Condition"] = people.dice.choice(["Success", "Always", "Failure"])
    return None


def group(people: People, place: Place, steps: list[Document], number: int) -> object:
    people.dice.choice(theirs(steps))["StartTrigger"] = people.dice.choice(
        ["StartWithPrevious", "StartAfterPrevious"]
    )
    return None


def move(people: People, place: Place, steps: list[Document], number: int) -> object:
    """One of ours, to anywhere."""
    ours = [step for step in steps if is_ours(step)]
    if not ours:
        return False
    step = people.dice.choice(ours)
    steps.remove(step)
    return steps.insert(people.dice.randrange(len(steps) + 1), step)


EDITS: Mapping[str, Callable[[People, Place, list[Document], int], object]] = {
    "add a step": add,
    "annotate a step": annotate,
    "remove a step": drop,
    "change a condition": condition,
    "change a group": group,
    "move our step": move,
    "rename our step": lambda people, place, steps, n: people.touch(place, steps, "Name", f"Renamed {n}"),
    "annotate our step": lambda people, place, steps, n: people.touch(place, steps, "Notes", f"note {n}"),
    "fill in our step": lambda people, place, steps, n: people.touch(place, steps, PROJECT, f"Theirs {n}"),
}
