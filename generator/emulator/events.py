"""The audit log: what happened, who did it, which documents it concerns.

Source: fields from OctopusClients, Model/EventResource.cs; categories from OctopusDeploy-Api, REST/PowerShell samples.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.emulator.state import State


def record(
    state: State,
    category: str,
    message: str,
    *,
    space_id: str,
    related: Iterable[object],
    user_id: str | None = None,
) -> None:
    """`user_id` None = the server itself."""
    user = state.find("Users", user_id) if user_id else None
    state.add(
        "Events",
        {
            "SpaceId": space_id,
            "Category": category,
            "UserId": user["Id"] if user else "users-system",
            "Username": user["Username"] if user else "system",
            "Occurred": state.now(),
            "Message": message,
            "MessageHtml": f"<log>{html.escape(message)}</log>",
            "MessageReferences": [],
            "Comments": None,
            "Details": None,
            "ChangeDetails": None,
            "IdentityEstablishedWith": "API key" if user else "",
            "UserAgent": "",
            "IsService": bool(user and user["IsService"]),
            "RelatedDocumentIds": [str(item) for item in related if item],
        },
    )
