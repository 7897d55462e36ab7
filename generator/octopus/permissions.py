"""What the account may do, asked before anything is written, where the API tells (Swagger of Octopus Server 2020.5: the user's
`permissions`; names from OctopusClients, Model/Permission.cs)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from generator.octopus.client import Client
from generator.octopus.records import Document
from generator.octopus.wire import OctopusError

EVERYTHING = "AdministerSystem"


@dataclass(frozen=True, kw_only=True, order=True)
class Need:
    """A permission that a plan needs; `project` (an id) where it could be granted for some projects only."""

    permission: str
    project: str = ""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What the account may not do; empty when nothing is missing, and when the server does not tell."""

    account: str = ""
    permissions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.permissions)

    def __str__(self) -> str:
        return f"the account {self.account!r} lacks {' and '.join(self.permissions)}"


def read_lack(client: Client, needs: Iterable[Need]) -> Lack:
    """Which of the needs the account does not have in the client's space: two requests, none when nothing is needed.

    A server that does not say (an answer refused or incomplete) lacks nothing: the write itself will tell.
    """
    wanted = sorted(set(needs))
    if not wanted or client.space is None:
        return Lack()
    try:
        user = client.get("/api/users/me")
        granted = client.get(f"/api/users/{user['Id']}/permissions")
    except (OctopusError, KeyError):
        return Lack()
    if granted.get("IsPermissionsComplete") is False or EVERYTHING in (
        granted.get("SystemPermissions") or ()
    ):
        return Lack()
    permissions = granted.get("SpacePermissions")
    if not isinstance(permissions, Mapping):
        return Lack()
    missing = [need.permission for need in wanted if not is_granted(permissions, need, client.space.id)]
    return Lack(account=str(user.get("Username") or user["Id"]), permissions=tuple(dict.fromkeys(missing)))


def is_granted(permissions: Mapping[str, list[Document]], need: Need, space_id: str) -> bool:
    """Whether some grant covers the need. One that is restricted to project groups, environments or tenants may cover it."""
    for grant in permissions.get(need.permission) or ():
        if grant.get("SpaceId") not in (None, "", space_id):
            continue
        projects = grant.get("RestrictedToProjectIds") or ()
        if (
            not need.project
            or not projects
            or need.project in projects
            or grant.get("RestrictedToProjectGroupIds")
        ):
            return True
    return False
