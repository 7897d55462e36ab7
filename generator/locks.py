"""The library variable set that keeps the locks of a space: made by `apply`, shown and broken by `locks`.

The steps never make it. What stands in it, and who may change a lock to what, is the runtime's `lock_state`. Facts about Octopus:
a PUT of a variable set carries the Version that was read and is refused with 400 when that is stale; sensitive values read back
as null, and null keeps them (source: docs, API reference, variables; OctopusClients, Model/VariableResource.cs).
"""

from __future__ import annotations

from dataclasses import dataclass

from generator.errors import Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import Document
from generator.runtime.lock_state import (
    LOCK_FORMAT,
    LOCK_FORMAT_VARIABLE,
    LOCK_SET_DESCRIPTION,
    LOCK_SET_NAME,
)

LOCK_TEMPLATES = frozenset({"Octopus - Acquire Lock", "Octopus - Release Lock"})
"""The step templates that need the set in their space."""
WRITE_ATTEMPTS = 6


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
