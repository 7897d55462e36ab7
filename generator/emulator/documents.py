"""Documents as the server keeps them: JSON objects in Octopus' own spelling, secrets wrapped so that they cannot leak.

A document is a plain dict, because it is Octopus' and not ours. Names that begin with `_` are the emulator's own and
never leave it. `shown` is the only way out, `normalised` the only way in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]

# Below these, the names belong to the user and keep their case (source: Swagger of Octopus Server 2020.5, all
# fields of type "object with additional properties").
DICTIONARIES = frozenset(
    {
        "properties", "scope", "displaysettings", "formvalues", "projectenvironments", "customfields", "arguments",
        "defaultpropertyvalues", "overrides", "actionidsbyprocessid", "tenantvariables", "values", "links",
        "details", "sensitiveproperties", "settings", "projectenvironmentscope", "projectvariables", "libraryvariables",
    }
)  # fmt: skip

# Names whose case cannot be guessed by raising the first letter.
SPELLINGS = {
    name.lower(): name
    for name in (
        "Id", "SpaceId", "ProjectId", "ReleaseId", "EnvironmentId", "TenantId", "ChannelId", "LifecycleId",
        "ProjectGroupId", "RunbookId", "RunbookSnapshotId", "TaskId", "SpaceIdOrName", "ProjectName", "ReleaseVersion",
        "EnvironmentName", "EnvironmentNames", "ChannelName", "PackageVersion", "ReleaseNotes", "GitRef", "GitCommit",
        "FormValues", "SkipActions", "SkipStepNames", "QueueTime", "QueueTimeExpiry", "UseGuidedFailure", "Comments",
        "Version", "Variables", "Tenants", "TenantTags", "RunAt", "NoRunAfter", "ActionTemplateId", "ActionsToUpdate",
        "ActionType", "ActionIds", "ProcessId", "ProcessType", "NewValue", "HasValue", "IsSensitive", "Prompt",
    )
}  # fmt: skip


class Secret:
    """A sensitive value. Nothing prints it, and in an answer it is what Octopus makes of it.

    In a `Properties` dictionary that is `{"HasValue": true}`; as the `Value` of a variable (`bare`) it is null
    (source: OctopusClients, Model/SensitiveValue.cs and Model/VariableResource.cs).
    """

    __slots__ = ("bare", "value")

    def __init__(self, value: str | None, *, bare: bool = False) -> None:
        self.value = value
        self.bare = bare

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    @property
    def shown(self) -> object:
        return None if self.bare else {"HasValue": bool(self.value), "NewValue": None, "Hint": None}


def shown(value: Any) -> Any:
    """`value` as an answer may hold it: secrets closed, names with a leading `_` left out, everything copied."""
    if isinstance(value, Secret):
        return value.shown
    if isinstance(value, Mapping):
        if value.keys() >= {"HasValue", "NewValue"}:  # kept as it was sent, in a field that nobody reads
            return Secret(value["NewValue"] or ("?" if value["HasValue"] else None)).shown
        return {name: shown(item) for name, item in value.items() if not name.startswith("_")}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return value


def normalised(value: Any) -> Any:
    """A request's JSON with PascalCase names: the server matches them without regard to case.

    Source: the Go client sends `releaseVersion`, the TypeScript client `ReleaseVersion` to the same endpoint
    (go-octopusdeploy, pkg/deployments; api-client.ts, src/features/projects/releases/deployments).
    """
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for name, item in value.items():
        spelled = SPELLINGS.get(name.lower()) or name[:1].upper() + name[1:]
        # `Variables` is a list of documents in a variable set and a dictionary in the create commands.
        own_names = name.lower() in DICTIONARIES or (spelled == "Variables" and isinstance(item, dict))
        result[spelled] = item if own_names else normalised(item)
    return result


def secret_properties(properties: Any, before: Mapping[str, Any]) -> Document:
    """`properties` as stored: `{"HasValue": .., "NewValue": ..}` becomes a Secret, and one without a new value keeps
    what was there before (source: OctopusClients, Model/PropertyValueResource.cs)."""
    stored: Document = {}
    for name, value in (properties or {}).items():
        if isinstance(value, dict):
            stored[name] = _secret_of({key.lower(): item for key, item in value.items()}, before.get(name))
        elif value is None or isinstance(value, str):
            stored[name] = value
        else:
            # Octopus keeps property values as text; its own booleans come out as "True" and "False".
            stored[name] = str(value)
    return stored


def _secret_of(value: Mapping[str, Any], before: Any) -> Secret:
    if value.get("newvalue") is not None:
        return Secret(str(value["newvalue"]))
    if not value.get("hasvalue"):
        return Secret(None)
    if isinstance(before, Secret):
        return before
    return Secret(before) if isinstance(before, str) else Secret(None)


def text_of(value: Any) -> str:
    """A stored property or variable value as a script would see it."""
    if isinstance(value, Secret):
        return value.value or ""
    return "" if value is None else str(value)


def slug_of(name: str, taken: Iterable[str] = ()) -> str:
    """`Deploy Child!` -> `deploy-child`, made unique with a number. The exact rule of the server is unconfirmed."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "item"
    used = set(taken)
    slug, number = stem, 1
    while slug in used:
        number += 1
        slug = f"{stem}-{number}"
    return slug


def same_name(one: object, other: object) -> bool:
    return (
        isinstance(one, str) and isinstance(other, str) and one.strip().casefold() == other.strip().casefold()
    )
