"""`octosteps locks`: who holds which lock and who waits for it; with `--break`, take one from its holder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from generator.errors import Refusal
from generator.locks import FoundLock, LockSet, break_lock, read_lock_set, read_locks, read_owners
from generator.octopus import Client, connect, read_target
from generator.octopus.records import Document
from generator.outcome import Confirm, Outcome, Part, Table
from generator.runtime.lock_state import LOCK_FORMAT_VARIABLE, LOCK_SET_NAME, LockClaim
from generator.settings import read_settings
from generator.source import closest_or_all

ENDED = frozenset({"Success", "Failed", "Canceled", "TimedOut"})
UNFINISHED = (
    f"the set {LOCK_SET_NAME!r} shows no variable {LOCK_FORMAT_VARIABLE}: the account lacks VariableViewUnscoped, or "
    "`octosteps apply` has yet to complete the set"
)
DANGER = "A step that still works under it goes on without its protection: make sure that none does."


def run(
    *,
    root: Path,
    environ: Mapping[str, str],
    target: str | None = None,
    space: str | None = None,
    name: str | None = None,
    confirm: Confirm | None = None,
    http: httpx.Client | None = None,
) -> Outcome:
    """The locks of the space; with a `name` that lock is broken, once `confirm` (when it is not None) agrees.

    Exit code 1 when a variable of the set holds no lock, and when somebody said no.
    """
    place = read_target(environ, read_settings(root).targets, name=target, space=space)
    with connect(
        place.url, api_key=place.api_key, access_token=place.access_token, space=place.space, http=http
    ) as client:
        found = read_lock_set(client)
        if found is None:
            return without_set(client, name)
        locks = read_locks(client, found)
        owners = read_owners(client, (claim for lock in locks for claim in lock.claims))
        if name is not None:
            return breaking(client, found, chosen(locks, name), owners, confirm)
        return listing(client, found, locks, owners)


def without_set(client: Client, name: str | None) -> Outcome:
    sentence = (
        f"{client.where} has no variable set {LOCK_SET_NAME!r} that this account can see: `octosteps apply` makes it with "
        "the steps that need it"
    )
    if name is not None:
        raise Refusal(sentence)
    return Outcome(data={"locks": []}, parts=(f"{sentence}.",))


def chosen(locks: Sequence[FoundLock], name: str) -> FoundLock:
    for lock in locks:
        if lock.name.casefold() == " ".join(name.split()).casefold():
            return lock
    raise Refusal(f"there is no lock {name!r}: {closest_or_all(name, [lock.name for lock in locks])}")


def listing(
    client: Client, found: LockSet, locks: Sequence[FoundLock], owners: Mapping[str, Document]
) -> Outcome:
    faults = [] if found.is_ready else [UNFINISHED]
    faults += [
        f"{plain(lock.name)}: this variable holds no lock: {plain(lock.fault)}"
        for lock in locks
        if lock.fault
    ]
    rows = [row for lock in locks for row in rows_of(client, lock, owners)]
    parts: list[Part] = []
    if rows:
        parts.append(Table(columns=("Lock", "", "Who", "Since", "Fence", "Task", "Link"), rows=rows))
    elif found.is_ready:
        parts.append(f"{client.where}: no step has taken a lock yet.")
    parts += [f"! {fault}" for fault in faults]
    return Outcome(
        data={"locks": [as_json(client, lock, owners) for lock in locks]},
        parts=parts,
        lines=[f"{word(lock)} {lock.name}" for lock in locks],
        exit_code=1 if faults else 0,
    )


def word(lock: FoundLock) -> str:
    if lock.state is None:
        return "unreadable"
    return "held" if lock.state.holders else "free"


def rows_of(
    client: Client, lock: FoundLock, owners: Mapping[str, Document]
) -> Iterator[Sequence[str | None]]:
    """A row for each holder and each that waits; one for a lock that nobody has."""
    if lock.state is None:
        yield plain(lock.name), "unreadable", None, None, None, None, None
        return
    if not lock.claims:
        yield plain(lock.name), "free", None, None, str(lock.state.fence), None, None
    for number, claim in enumerate(lock.claims):
        shared = f" (of {claim.share})" if claim.share > 1 else ""
        yield (
            plain(lock.name) if number == 0 else "",
            ("holds" if claim.fence else "waits") + shared,
            plain(who(claim)),
            plain(claim.since.replace("T", " ").replace("+00:00", "Z")),
            str(claim.fence) if claim.fence else None,
            f"{plain(claim.task)} {state_in_words(owners.get(claim.task))}",
            link_of(client, claim) or None,
        )


def who(claim: LockClaim) -> str:
    """`Shop 1.2.3 to Production, step Migrate`."""
    return str(claim).rpartition(" (")[0]


def state_in_words(task: Document | None) -> str:
    if task is None:
        return "not to be seen"
    if task["State"] in ENDED:
        return f"has ended ({task['State']})"
    return "waits for a person" if task.get("HasPendingInterruptions") else str(task["State"])


def link_of(client: Client, claim: LockClaim) -> str:
    """The portal's page. The path was written by a step; it is relative to the server, virtual directory or not."""
    path = claim.about.get("link", "")
    if not path.startswith("/") or not path.isprintable():
        return ""
    parts = urlsplit(client.root)
    within = parts.path and not (path == parts.path or path.startswith(parts.path + "/"))
    return f"{parts.scheme}://{parts.netloc}{parts.path if within else ''}{path}"


def as_json(client: Client, lock: FoundLock, owners: Mapping[str, Document]) -> dict[str, object]:
    def claim_json(claim: LockClaim) -> dict[str, object]:
        task = owners.get(claim.task)
        return {
            **claim.to_json(),
            "link": link_of(client, claim),
            "taskState": task["State"] if task else None,
            "isAlive": task["State"] not in ENDED if task else None,
        }

    if lock.state is None:
        return {"name": lock.name, "fault": lock.fault}
    return {
        "name": lock.name,
        "fence": lock.state.fence,
        "holders": [claim_json(claim) for claim in lock.state.holders],
        "waiters": [claim_json(claim) for claim in lock.state.waiters],
    }


def breaking(
    client: Client,
    found: LockSet,
    lock: FoundLock,
    owners: Mapping[str, Document],
    confirm: Confirm | None,
) -> Outcome:
    document = {"lock": as_json(client, lock, owners)}
    if lock.state is not None and not lock.state.holders:
        return Outcome(
            data={**document, "broken": False}, parts=(f"Nobody holds the lock {plain(lock.name)}.",)
        )
    told = (
        [f"The lock {plain(lock.name)} is held by:"] if lock.state else [f"{plain(lock.name)} holds no lock."]
    )
    for claim in lock.state.holders if lock.state else ():
        link = link_of(client, claim)
        state = state_in_words(owners.get(claim.task))
        told.append(f"  {plain(str(claim))}, {state}" + (f" {link}" if link else ""))
    if confirm is not None and not confirm("\n".join((*told, DANGER, "Break it?"))):
        return Outcome(data={**document, "broken": False}, parts=("Nothing was broken.",), exit_code=1)
    broken = break_lock(client, found, lock)
    sentence = (
        "It is broken: who waits first takes it at the next look."
        if broken
        else "It was given back meanwhile."
    )
    return Outcome(
        data={**document, "broken": broken},
        parts=(*(told if confirm is None else ()), sentence),
        lines=[lock.name] if broken else (),
    )


def plain(text: str) -> str:
    """Text that others wrote, without what a terminal would act on."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
