"""The library variable set that keeps the locks: read whole, and changed by compare-and-swap on its Version.

A PUT of a variable set is refused with 400 when its Version is not the stored one (source: docs, API reference, variables;
Swagger of Octopus Server 2020.5). The set goes back as it was read but for one variable: sensitive values read as null, and null
keeps them (source: OctopusClients, Model/VariableResource.cs).
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from generator.runtime.api import LONGEST_PAUSE, LONGEST_RETRY_AFTER, Api, ApiError, LostAnswer
from generator.runtime.lock_state import (
    LOCK_FORMAT,
    LOCK_FORMAT_VARIABLE,
    LOCK_SET_NAME,
    Attempt,
    LockState,
    lock_to_text,
    parse_lock,
)
from generator.runtime.step import GAVE_UP, MISCONFIGURED, REFUSED_BY_SERVER, StepFailure

SHORTEST_WRITE = 60.0  # seconds in which a change may fail to succeed, though its own deadline is nearer
FIRST_WRITE_PAUSE, LONGEST_WRITE_PAUSE = 0.25, 10.0
REFUSED_STATUSES = (400, 409)


class LockSet:
    """One set, by the path of its variables."""

    def __init__(self, api: Api, path: str) -> None:
        self.api = api
        self.path = path

    def read(self, *, patience: Optional[float] = None) -> Mapping[str, Any]:
        """The variables as the server has them. A StepFailure when they are not those of a set for locks."""
        document: Mapping[str, Any] = self.api.get(self.path, patience=patience)
        mark = find_lock_variable(document, LOCK_FORMAT_VARIABLE)
        if mark is None:
            raise StepFailure(
                MISCONFIGURED,
                f"the variable set {LOCK_SET_NAME!r} shows no variable {LOCK_FORMAT_VARIABLE}: `octosteps apply` completes a set "
                f"(by hand: add it, unscoped, with the value {LOCK_FORMAT}), or the account lacks VariableViewUnscoped",
            )
        if mark.get("Value") != LOCK_FORMAT:
            raise StepFailure(
                MISCONFIGURED,
                f"the locks are kept in format {mark.get('Value')!r}, and this step knows {LOCK_FORMAT}: publish the newer steps",
            )
        return document

    def lock(self, document: Mapping[str, Any], name: str) -> LockState:
        """The lock of that name; one that nobody ever held has nothing in it, and a fence of now."""
        variable = find_lock_variable(document, name)
        if variable is None:
            return LockState(int(self.api.wall_clock()))
        try:
            if any((variable.get("Scope") or {}).values()):
                raise ValueError("it is scoped")
            return parse_lock(variable.get("Value"))
        except ValueError as error:
            raise StepFailure(
                MISCONFIGURED,
                f"the variable {name!r} of the set {LOCK_SET_NAME!r} holds no lock ({error}): make sure that nobody needs it, "
                "and delete the variable",
            ) from None

    def change(self, name: str, decide: Callable[[LockState], Attempt], *, deadline: float) -> Attempt:
        """Makes of the lock what `decide` says, as one step that nobody comes between; what it said.

        It is asked again for each fresh read: after a stale Version, and after an answer that was lost, when it sees its own
        earlier work. Raises StepFailure when that has not succeeded at `deadline`.
        """
        deadline = max(deadline, self.api.clock() + SHORTEST_WRITE)
        refused_version: Any = None
        tries = 0
        while True:
            document = self.read(patience=max(0.0, deadline - self.api.clock()))
            state = self.lock(document, name)
            wanted = decide(state)
            if wanted.state == state:
                return wanted
            pause = 0.0
            try:
                answer = self.api.put(self.path, with_lock(document, name, wanted.state))
            except LostAnswer as error:
                trouble: StepFailure = error
                self.api.tell(f"{error.sentence}. Looking whether the lock was changed.")
            except ApiError as error:
                version_stands = error.status == 400 and document.get("Version") == refused_version
                if version_stands or error.status not in (*REFUSED_STATUSES, 429):
                    raise
                trouble, pause = error, min(error.retry_after, LONGEST_RETRY_AFTER)
                refused_version = document.get("Version") if error.status == 400 else None
            else:
                if self.shows(answer, name, wanted.state):
                    return wanted
                trouble = StepFailure(GAVE_UP, "the server answers a PUT of variables with nothing")
            tries += 1
            if self.api.clock() >= deadline:
                raise StepFailure(
                    GAVE_UP, f"the lock could not be changed in {tries} attempts; last: {trouble.sentence}"
                )
            if isinstance(trouble, LostAnswer):
                pause = min(LONGEST_PAUSE, 2.0 ** min(tries - 1, 10)) * (0.5 + self.api.chance() / 2)
            else:  # somebody was faster: whoever waits the shortest is the next
                longest = min(LONGEST_WRITE_PAUSE, FIRST_WRITE_PAUSE * 2.0 ** min(tries, 10))
                pause = max(pause, longest * self.api.chance())
            self.api.sleep(pause)

    def shows(self, answer: Any, name: str, wanted: LockState) -> bool:
        """Whether the answer to a write holds the lock as written; False when it holds no variables at all.

        A server that says yes and keeps something else has left out what the account may not edit.
        """
        if not isinstance(answer, dict) or "Variables" not in answer:
            return False
        variable = find_lock_variable(answer, name)
        if variable is None or variable.get("Value") != lock_to_text(wanted):
            raise StepFailure(
                REFUSED_BY_SERVER,
                "the server took the lock's variable without keeping it: the account needs VariableViewUnscoped and "
                "VariableEditUnscoped",
            )
        return True


def find_lock_variable(document: Mapping[str, Any], name: str) -> Optional[Mapping[str, Any]]:
    """The variable of that name, ignoring case; a StepFailure when there are several."""
    found = [one for one in document.get("Variables") or () if one["Name"].lower() == name.lower()]
    if len(found) > 1:
        raise StepFailure(
            MISCONFIGURED,
            f"the set {LOCK_SET_NAME!r} has {len(found)} variables {name!r}: delete all but one of them",
        )
    return found[0] if found else None


def with_lock(document: Mapping[str, Any], name: str, state: LockState) -> dict[str, Any]:
    """The variables as they were read, with this lock."""
    text = lock_to_text(state)
    variables = [
        {**one, "Value": text} if one["Name"].lower() == name.lower() else one
        for one in document["Variables"]
    ]
    if find_lock_variable(document, name) is None:
        variables.append(
            {
                "Name": name,
                "Value": text,
                "Type": "String",
                "IsSensitive": False,
                "IsEditable": True,
                "Scope": {},
            }
        )
    return {**document, "Variables": variables}


def find_lock_set(api: Api) -> LockSet:
    """The set of the space; a StepFailure that says how to get one when it has none."""
    for document in api.pages("libraryvariablesets", contentType="Variables", partialName=LOCK_SET_NAME):
        if (document.get("Name") or "").lower() == LOCK_SET_NAME.lower():
            return LockSet(api, f"variables/{document['VariableSetId']}")
    raise StepFailure(
        MISCONFIGURED,
        f"the library has no variable set {LOCK_SET_NAME!r} that this account can see (that takes LibraryVariableSetView): "
        "`octosteps apply` makes it together with the steps that need it; the field Space says in which space",
    )
