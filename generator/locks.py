"""The library variable set that keeps the locks of a space: made by `apply`, shown and broken by `locks`.

The steps never make it. What stands in it, and who may change a lock to what, is the runtime's `lock_state`. Facts about Octopus:
a PUT of a variable set carries the Version that was read and is refused with 400 when that is stale; sensitive values read back
as null, and null keeps them (source: docs, API reference, variables; OctopusClients, Model/VariableResource.cs).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from generator.errors import Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document
from generator.runtime.lock_state import (
    LOCK_FORMAT,
    LOCK_FORMAT_VARIABLE,
    LOCK_SET_DESCRIPTION,
    LOCK_SET_NAME,
    LockClaim,
    LockState,
    lock_to_text,
    parse_lock,
)

LOCK_TEMPLATES = frozenset({"Octopus - Acquire Lock", "Octopus - Release Lock"})
"""The step templates that need the set in their space."""
WRITE_ATTEMPTS = 6
TASKS_PER_REQUEST = 200  # an id takes some 20 bytes of the URL


@dataclass(frozen=True, kw_only=True)
class LockSet:
    """The set of a space. Without the format variable it `is_ready` for no step."""

    id: str
    variables_id: str
    is_ready: bool


def read_lock_set(client: Client) -> LockSet | None:
    """The set of the client's space; None where there is none that the account may see."""
    for document in client.pages("libraryvariablesets", contentType="Variables", partialName=LOCK_SET_NAME):
        if document["Name"].casefold() == LOCK_SET_NAME.casefold():
            variables = client.get(f"variables/{document['VariableSetId']}")
            return LockSet(
                id=document["Id"],
                variables_id=document["VariableSetId"],
                is_ready=find_variable(variables, LOCK_FORMAT_VARIABLE) is not None,
            )
    return None


def make_lock_set(client: Client) -> LockSet:
    """The set, made or completed where it was not; asked twice it changes nothing.

    Errors: OctopusError, and Refusal when it cannot be completed because others are always faster.
    """
    found = read_lock_set(client) or create_lock_set(client)
    if found.is_ready:
        return found
    for attempt in range(WRITE_ATTEMPTS):
        variables = client.get(f"variables/{found.variables_id}")
        if find_variable(variables, LOCK_FORMAT_VARIABLE) is not None:
            return LockSet(id=found.id, variables_id=found.variables_id, is_ready=True)
        added = {"Name": LOCK_FORMAT_VARIABLE, "Value": LOCK_FORMAT, "Type": "String", "Scope": {}}
        try:
            client.put(
                f"variables/{found.variables_id}",
                {**variables, "Variables": [*variables["Variables"], added]},
            )
        except OctopusError as error:
            refused = isinstance(error, ApiError) and error.status in (400, 409)
            if attempt == WRITE_ATTEMPTS - 1 or not (refused or error.maybe_done):
                raise
    raise Refusal(
        f"the variable {LOCK_FORMAT_VARIABLE} was written into the set {LOCK_SET_NAME!r} and is not shown: "
        "the account needs VariableViewUnscoped"
    )


def create_lock_set(client: Client) -> LockSet:
    """A new set, still without its variable. A lost answer, or somebody who was faster, is told by looking."""
    body = {"Name": LOCK_SET_NAME, "Description": LOCK_SET_DESCRIPTION, "ContentType": "Variables"}
    try:
        client.post("libraryvariablesets", body)
    except OctopusError as error:
        refused = isinstance(error, ApiError) and error.status in (400, 409)
        found = read_lock_set(client) if refused or error.maybe_done else None
        if found is None:
            raise
        return found
    made = read_lock_set(client)
    if made is None:
        raise Refusal(
            f"the variable set {LOCK_SET_NAME!r} was made and is not shown: the account needs LibraryVariableSetView"
        )
    return made


def find_variable(variables: Document, name: str) -> Document | None:
    """The variable of that name in a variable set, ignoring case as Octopus does."""
    for variable in variables["Variables"]:
        if variable["Name"].casefold() == name.casefold():
            found: Document = variable
            return found
    return None


# --- what stands in the set -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FoundLock:
    """One lock as the server has it. `state` is None, with the `fault`, for a variable that holds no lock."""

    name: str
    state: LockState | None
    fault: str = ""

    @property
    def claims(self) -> tuple[LockClaim, ...]:
        return (*self.state.holders, *self.state.waiters) if self.state else ()


def read_locks(client: Client, found: LockSet) -> tuple[FoundLock, ...]:
    """Every lock of the set, by name."""
    variables = client.get(f"variables/{found.variables_id}")["Variables"]
    locks = [parse_found(one) for one in variables if one["Name"].casefold() != LOCK_FORMAT_VARIABLE]
    return tuple(sorted(locks, key=lambda lock: lock.name.casefold()))


def parse_found(variable: Document) -> FoundLock:
    try:
        if any((variable.get("Scope") or {}).values()):
            raise ValueError("it is scoped")
        return FoundLock(name=variable["Name"], state=parse_lock(variable.get("Value")))
    except ValueError as error:
        return FoundLock(name=variable["Name"], state=None, fault=str(error))


def read_owners(client: Client, claims: Iterable[LockClaim]) -> dict[str, Document]:
    """The tasks of the claims that the server returns, by id: one request for each space and some two hundred of them."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for claim in claims:
        if claim.task not in wanted[claim.space]:
            wanted[claim.space].append(claim.task)
    found = {}
    for space, ids in wanted.items():
        for start in range(0, len(ids), TASKS_PER_REQUEST):
            chunk = ids[start : start + TASKS_PER_REQUEST]
            try:
                tasks = list(client.pages(f"/api/{quote(space, safe='')}/tasks", ids=",".join(chunk)))
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                continue  # a space that the account may not see
            found.update({task["Id"]: task for task in tasks if task["Id"] in chunk})
    return found


def break_lock(client: Client, found: LockSet, seen: FoundLock) -> bool:
    """Takes the holders out of the lock that were `seen` in it; what holds no lock becomes a free one. False when they had gone.

    Errors: Refusal when others hold it by now, or others are always faster; OctopusError.
    """
    nonces = {claim.nonce for claim in seen.state.holders} if seen.state else set()
    wrote = False
    for attempt in range(WRITE_ATTEMPTS):
        document = client.get(f"variables/{found.variables_id}")
        variable = find_variable(document, seen.name)
        now = parse_found(variable) if variable is not None else None
        if variable is None or now is None or (now.state is not None and not now.state.holders):
            return wrote
        holders = {claim.nonce for claim in now.state.holders} if now.state else set()
        if wrote and nonces.isdisjoint(holders):
            return True
        if not holders <= nonces:
            raise Refusal(f"the lock {seen.name!r} has changed meanwhile: look again who holds it")
        after = now.state.without(nonces) if now.state else LockState(int(time.time()))
        changed = {**variable, "Value": lock_to_text(after), "Scope": {}}
        variables = [changed if one is variable else one for one in document["Variables"]]
        try:
            client.put(f"variables/{found.variables_id}", {**document, "Variables": variables})
        except OctopusError as error:
            refused = isinstance(error, ApiError) and error.status in (400, 409)
            if attempt == WRITE_ATTEMPTS - 1 or not (refused or error.maybe_done):
                raise
            wrote = wrote or error.maybe_done
        else:
            return True
    raise Refusal(f"the lock {seen.name!r} could not be written: others were faster {WRITE_ATTEMPTS} times")
