"""What the server knows: documents by collection, tasks, keys. No HTTP, no threads of its own, one lock.

Every handler and every step of the engine holds `lock` while it reads or changes anything; `changed` is that lock's
condition and is notified whenever something may have become possible (a task queued, cancelled, ended).
"""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from generator.emulator.clock import Clock, iso
from generator.emulator.documents import Document, slug_of
from generator.emulator.tasks import Task

VERSION = "2026.3.1234"
INSTALLATION = "6f1b0c52-3b0e-4a43-8b53-0c7f9c2d6a10"
NODE = "OCTOSTEPS-EMULATOR"


@dataclass(frozen=True, kw_only=True)
class Key:
    """An API key or an access token. `permissions` None = all of them; `projects` None = all of them."""

    user_id: str
    permissions: frozenset[str] | None = None
    projects: frozenset[str] | None = None
    # Emulated seconds since 1970; None = never.
    expires: float | None = None

    def may(self, permission: str | None) -> bool:
        return permission is None or self.permissions is None or permission in self.permissions

    def sees(self, document: Mapping[str, object], collection: str) -> bool:
        """False for what belongs to a project outside `projects`: to this key it does not exist.

        Source: 404 means "no such document or no right to see it" (OctopusClients, OctopusExceptionFactory.cs).
        """
        if self.projects is None:
            return True
        project = document.get("Id") if collection == "Projects" else document.get("ProjectId")
        return project is None or project in self.projects


@dataclass(frozen=True, kw_only=True)
class Content:
    """The bytes of an artifact, once they are there."""

    data: bytes
    media_type: str = "application/octet-stream"


@dataclass
class State:
    clock: Clock
    task_cap: int = 5
    base_url: str = "http://localhost"
    virtual_directory: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Condition = field(init=False)
    collections: dict[str, dict[str, Document]] = field(default_factory=dict)
    template_versions: dict[str, list[Document]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    # Releases whose lifecycle is to be looked at for automatic deployments; the engine does, and empties it.
    promotions: list[str] = field(default_factory=list)
    # How often each action that only pretends has run, by its id.
    pretended: dict[str, int] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.changed = threading.Condition(self.lock)

    def now(self) -> str:
        return str(iso(self.clock.now()))

    # --- documents -------------------------------------------------------------------------------------------------

    def collection(self, name: str) -> dict[str, Document]:
        return self.collections.setdefault(name, {})

    def next_id(self, collection: str) -> str:
        """`Projects-1`, `Projects-2`, ...: never given twice (source: ids in every recorded answer)."""
        self._numbers[collection] = self._numbers.get(collection, 0) + 1
        return f"{collection}-{self._numbers[collection]}"

    def add(self, collection: str, document: Document, *, identifier: str | None = None) -> Document:
        """The same document, stored under `identifier` or the collection's next id, which becomes its first field."""
        fields = {name: value for name, value in document.items() if name != "Id"}
        document.clear()
        document["Id"] = identifier or self.next_id(collection)
        document.update(fields)
        self.collection(collection)[document["Id"]] = document
        return document

    def find(self, collection: str, identifier: object) -> Document | None:
        return self.collection(collection).get(identifier) if isinstance(identifier, str) else None

    def get(self, collection: str, identifier: object) -> Document:
        """The document that must be there: a missing one is a fault of the emulator, not of a client."""
        found = self.find(collection, identifier)
        if found is None:
            raise KeyError(f"{collection}: {identifier}")
        return found

    def where(self, collection: str, **fields: object) -> list[Document]:
        """Documents whose fields have these values, oldest first."""
        return [
            document
            for document in self.collection(collection).values()
            if all(document.get(name) == value for name, value in fields.items())
        ]

    def free_slug(self, collection: str, name: str, **within: object) -> str:
        return slug_of(name, (document.get("Slug", "") for document in self.where(collection, **within)))

    def environments(self, space_id: str) -> list[Document]:
        return sorted(self.where("Environments", SpaceId=space_id), key=lambda item: item["SortOrder"])

    # --- tasks -----------------------------------------------------------------------------------------------------

    def newest_tasks(self) -> Iterator[Task]:
        return reversed(self.tasks.values())

    def task_of(self, deployment: Mapping[str, object]) -> Task:
        return self.tasks[str(deployment["TaskId"])]

    def deployments_of(
        self, *, project: str, environment: str, tenant: str | None, states: Iterable[str] | None = None
    ) -> list[Document]:
        """Deployments in one cell of the dashboard, newest first, those in `states` only when given."""
        wanted = None if states is None else frozenset(states)
        return [
            deployment
            for deployment in reversed(self.collection("Deployments").values())
            if deployment["ProjectId"] == project
            and deployment["EnvironmentId"] == environment
            and deployment["TenantId"] == tenant
            and (wanted is None or self.task_of(deployment).state in wanted)
        ]


def snapshot_suffix() -> str:
    """The random end of a snapshot's id, as in `deploymentprocess-Projects-1-s-12-ABCDE`."""
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(5))
