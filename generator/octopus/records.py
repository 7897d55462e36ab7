"""The shapes of Octopus' documents that we touch, and what names a server to us.

The documents are not ours: they are kept as received, unknown fields included, so the TypedDicts name only the fields that
are read or written here. Source of the fields: Octopus' API reference, pages "action templates", "deployment processes",
"projects", "variables".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict

Json: TypeAlias = Any
Document: TypeAlias = dict[str, Any]
PropertyValue: TypeAlias = str | Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Space:
    """One space of a server."""

    id: str
    name: str
    slug: str = ""
    is_default: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to publish: a server, a space, and the credentials, which never enter a `repr`.

    `space` is a name, an id or a slug; None means the server's default space.
    """

    name: str
    url: str
    space: str | None
    api_key: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)


class ProjectDocument(TypedDict, total=False):
    """A project: which process and variables are its own."""

    Id: str
    Name: str
    Slug: str
    DeploymentProcessId: str
    VariableSetId: str
    IncludedLibraryVariableSetIds: list[str]
    IsVersionControlled: bool
    Templates: list[Document]


class ActionDocument(TypedDict, total=False):
    """One action of a step; ours holds its markers in `Properties`."""

    Id: str
    Name: str
    Slug: str
    ActionType: str
    Properties: dict[str, PropertyValue]
    Environments: list[str]
    ExcludedEnvironments: list[str]
    Channels: list[str]
    TenantTags: list[str]
    WorkerPoolId: str | None
    WorkerPoolVariable: str | None
    Container: dict[str, str | None] | None
    Packages: list[Document]
    GitDependencies: list[Document]


class StepDocument(TypedDict, total=False):
    """One step of a process. `StartTrigger` says whether it joins the parallel group of the step before it."""

    Id: str
    Name: str
    Slug: str
    Condition: str
    StartTrigger: str
    PackageRequirement: str
    Properties: dict[str, PropertyValue]
    Actions: list[ActionDocument]


class ProcessDocument(TypedDict, total=False):
    """A deployment or runbook process. A PUT must carry the `Version` that was read; 400 when it is stale."""

    Id: str
    ProjectId: str
    RunbookId: str
    Version: int
    Steps: list[StepDocument]
