"""A server that knows one variable set and some tasks, and what chance does to it: for locks under interleaved threads."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from generator.runtime.lock_state import (
    LOCK_FORMAT,
    LOCK_FORMAT_VARIABLE,
    LOCK_SET_NAME,
    LockState,
    parse_lock,
)
from generator.runtime.transport import HttpAnswer, HttpRequest
from tests.turns import Time

LAST = float("inf")
SET_PATH = "variables/variableset-LibraryVariableSets-1"
STALE = "Changes to these variables could not be saved, because another user has made changes"


@dataclass
class FakeTask:
    """One task; `ends`: seconds since the test began."""

    id: str
    space: str = "Spaces-1"
    ends: float = LAST
    ended_as: str = "Canceled"
    is_paused: bool = False

    def document(self, now: float) -> dict[str, Any]:
        return {
            "Id": self.id,
            "SpaceId": self.space,
            "State": self.ended_as if now >= self.ends else "Executing",
            "HasPendingInterruptions": self.is_paused,
            "QueueTime": "2027-01-15T08:00:00+00:00",
        }


@dataclass
class Chance:
    """How likely is each trouble, from 0 to 1."""

    lost: float = 0.0  # a write is carried out, its answer lost
    late: float = 0.0  # a write is carried out some time after its answer was lost
    never: float = 0.0  # a write is not carried out, and no answer tells
    unreadable: float = 0.0  # a read is answered by 503
    hidden: float = 0.0  # a task is left out of a list


@dataclass
class LockServer:
    """`requests` are `METHOD path`; `variables` is the set as the server has it."""

    time: Time
    lot: random.Random
    chance: Chance = field(default_factory=Chance)
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fences: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        mark = {"Id": "v1", "Name": LOCK_FORMAT_VARIABLE, "Value": LOCK_FORMAT, "Type": "String", "Scope": {}}
        secret = {"Id": "v2", "Name": "Foreign secret", "Value": None, "Type": "Sensitive", "Scope": {}}
        self.variables: dict[str, Any] = {
            "Id": "variableset-LibraryVariableSets-1",
            "Version": 1,
            "Variables": [mark, secret],
            "ScopeValues": {"Environments": []},
        }
        self.late: list[tuple[float, dict[str, Any]]] = []

    def __call__(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        parts = urlsplit(request.url)
        self.requests.append(f"{request.method} {parts.path}")
        for at, body in [item for item in self.late if item[0] <= self.time.now]:
            self.late.remove((at, body))
            self.write(body)
        status, document = self.answer(request, parts.path, dict(parse_qsl(parts.query)))
        return HttpAnswer(status, {}, json.dumps(document).encode())

    def answer(self, request: HttpRequest, path: str, query: dict[str, str]) -> tuple[int, Any]:
        inner = path.split("/", 3)[-1]
        if request.method == "PUT" and inner == SET_PATH:
            return self.put(json.loads(request.body or b""))
        if self.lot.random() < self.chance.unreadable:
            return 503, {"ErrorMessage": "busy"}
        if inner == SET_PATH:
            return 200, self.variables
        if inner == "libraryvariablesets":
            one = {
                "Id": "LibraryVariableSets-1",
                "Name": LOCK_SET_NAME,
                "VariableSetId": self.variables["Id"],
            }
            return 200, {"Items": [one], "TotalResults": 1}
        if inner == "tasks":
            space = path.split("/")[2]
            found = [self.tasks[one] for one in query["ids"].split(",") if one in self.tasks]
            seen = [one for one in found if one.space == space and self.lot.random() >= self.chance.hidden]
            return 200, {"Items": [one.document(self.time.now) for one in seen], "TotalResults": len(seen)}
        return 404, {"ErrorMessage": f"the fake does not know {request.method} {path}"}

    def put(self, body: dict[str, Any]) -> tuple[int, Any]:
        fate, chance = self.lot.random(), self.chance
        if fate < chance.never:
            return 502, {}
        if fate < chance.never + chance.late:
            self.late.append((self.time.now + self.lot.random() * 90, body))
            return 504, {}
        answer = self.write(body)
        return (504, {}) if fate < chance.never + chance.late + chance.lost else answer

    def write(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["Version"] != self.variables["Version"]:
            return 400, {"ErrorMessage": STALE}
        self.variables = copy.deepcopy({**self.variables, "Variables": body["Variables"]})
        self.variables["Version"] += 1
        for variable in self.variables["Variables"]:
            variable.setdefault("Id", f"v{self.variables['Version']}")
        return 200, copy.deepcopy(self.variables)

    def lock(self, name: str) -> LockState:
        [value] = [one["Value"] for one in self.variables["Variables"] if one["Name"] == name]
        return parse_lock(value)
