"""Names that people write, as documents of the server: never a guess, and near names when there is none."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError
from generator.runtime.record import Record
from generator.runtime.step import MISCONFIGURED, StepFailure

DOCUMENT_ID = r"(?:Spaces|Projects|Environments|Tenants|Channels|Runbooks)-[0-9]+"


class NotFound(StepFailure):
    """Nothing on the server has that name, or the account may not see it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(MISCONFIGURED, sentence)


def find_named(api: Api, collection: str, what: str, name: str) -> Mapping[str, Any]:
    """The document of `collection` with that name, id or slug; an exact name goes before one in another case.

    `what` says in messages what is looked for. Raises NotFound with near names.
    """
    if re.fullmatch(DOCUMENT_ID, name):
        found = api.by_ids(collection, [name])
    else:
        found = list(api.pages(collection, partialName=name))
    match = best_match(found, name)
    if match is None:
        # The filter knows names only: slugs and near names need the whole list, read only when something is wrong.
        everything = list(api.pages(collection))
        match = best_match(everything, name)
        if match is None:
            raise NotFound(absence(what, name, [document["Name"] for document in everything]))
    return match


def best_match(documents: list[Mapping[str, Any]], name: str) -> Optional[Mapping[str, Any]]:
    """By name, then id, then name ignoring case, then slug."""
    for key, wanted in (("Name", name), ("Id", name)):
        for document in documents:
            if document.get(key) == wanted:
                return document
    for key in ("Name", "Slug"):
        for document in documents:
            if (document.get(key) or "").lower() == name.lower():
                return document
    return None


def absence(what: str, name: str, names: Sequence[str]) -> str:
    return f"there is no {what} {name!r} that this account can see ({hint_among(name, names)})"


def hint_among(name: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return "did you mean {}?".format(" or ".join(near)) if near else "none has a similar name"


def find_space(api: Api, name: str) -> str:
    """The space's id. An id is taken as it is: the first request within it shows whether it exists."""
    if re.fullmatch(DOCUMENT_ID, name):
        return name
    spaces = api.get("/api/spaces/all")
    match = best_match(spaces, name)
    if match is None:
        raise NotFound(absence("space", name, [space["Name"] for space in spaces]))
    return str(match["Id"])


class Place(Record):
    """Where deployments happen: a project in an environment, for a tenant or untenanted (tenant None).

    With a `runbook` of the project: where that is run. Its run has the fields of a deployment, with a snapshot for a release.
    """

    project: Mapping[str, Any]
    environment: Mapping[str, Any]
    tenant: Optional[Mapping[str, Any]]
    runbook: Optional[Mapping[str, Any]] = None

    @property
    def collection(self) -> str:
        return "runbookRuns" if self.runbook is not None else "deployments"

    @property
    def frozen_field(self) -> str:
        """What a deployment or run names as the thing that it carries out."""
        return "RunbookSnapshotId" if self.runbook is not None else "ReleaseId"

    @property
    def verb(self) -> str:
        return "run" if self.runbook is not None else "deployed"

    @property
    def tenant_id(self) -> Optional[str]:
        return str(self.tenant["Id"]) if self.tenant is not None else None

    def __str__(self) -> str:
        what = "{} of ".format(self.runbook["Name"]) if self.runbook is not None else ""
        where = what + "{} in {}".format(self.project["Name"], self.environment["Name"])
        return where + (" for {}".format(self.tenant["Name"]) if self.tenant is not None else "")

    def query(self) -> dict[str, Any]:
        """Filters for a list of deployments. Without a tenant the list holds tenanted ones too: `holds` sorts them out."""
        query = {
            "projects": self.project["Id"],
            "environments": self.environment["Id"],
            "tenants": self.tenant_id,
        }
        return query if self.runbook is None else {**query, "runbooks": self.runbook["Id"]}

    def task_query(self) -> dict[str, Any]:
        """The same for a list of tasks."""
        query = {
            "project": self.project["Id"],
            "environment": self.environment["Id"],
            "tenant": self.tenant_id,
        }
        if self.runbook is not None:
            return {**query, "runbook": self.runbook["Id"], "name": "RunbookRun"}
        return {**query, "name": "Deploy"}

    def holds(self, deployment: Mapping[str, Any]) -> bool:
        return (
            deployment["ProjectId"] == self.project["Id"]
            and deployment["EnvironmentId"] == self.environment["Id"]
            and (deployment.get("TenantId") or None) == self.tenant_id
            and deployment.get("RunbookId") == (self.runbook["Id"] if self.runbook is not None else None)
        )


def find_channel(api: Api, project: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    channels = "projects/{}/channels".format(project["Id"])
    return find_named(api, channels, "channel of {}".format(project["Name"]), name)


def find_default_channel(api: Api, project: Mapping[str, Any]) -> Mapping[str, Any]:
    channels = list(api.pages("projects/{}/channels".format(project["Id"])))
    for channel in channels:
        if channel.get("IsDefault"):
            return channel
    raise NotFound("{} has no default channel that this account can see: name one".format(project["Name"]))


def read_release(api: Api, project: Mapping[str, Any], number: str) -> Mapping[str, Any]:
    """The release of `project` with exactly that number; NotFound when there is none."""
    try:
        path = "projects/{}/releases/{}".format(project["Id"], urllib.parse.quote(number, safe=""))
        found: Mapping[str, Any] = api.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        raise NotFound(
            "{} has no release {} that this account can see (that takes ReleaseView)".format(
                project["Name"], number
            )
        ) from None
    return found
