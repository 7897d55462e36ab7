"""Step templates as others make them: documents in the Library's format for tests, and files of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]

BODY = "Octopus.Action.Script.ScriptBody"
SYNTAX = "Octopus.Action.Script.Syntax"
ID = "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f00"


def make_document(**fields: Any) -> Document:
    """A template as the portal exports it and the Library keeps it."""
    return {
        "Id": ID,
        "Name": "Shop - Greet",
        "Description": "Says **hello**.\n\nTwice.",
        "ActionType": "Octopus.Script",
        "Version": 3,
        "CommunityActionTemplateId": None,
        "Packages": [],
        "Properties": {
            "Octopus.Action.Script.ScriptSource": "Inline",
            SYNTAX: "PowerShell",
            BODY: "Write-Host $OctopusParameters['Greet.Whom']\n",
        },
        "Parameters": [make_parameter("Greet.Whom")],
        "$Meta": {
            "ExportedAt": "2021-02-22T10:00:00.000Z",
            "OctopusVersion": "2020.5.256",
            "Type": "ActionTemplate",
        },
        "LastModifiedBy": "somebody",
        "Category": "shop",
        **fields,
    }


def make_parameter(
    name: str = "Greet.Whom", *, kind: str = "SingleLineText", options: str | None = None, **fields: Any
) -> Document:
    settings = {"Octopus.ControlType": kind}
    if options is not None:
        settings["Octopus.SelectOptions"] = options
    return {
        "Id": "c0a8f1f4-0b52-4d0f-9a51-f5a1a7a2b7c3",
        "Name": name,
        "Label": "Whom",
        "HelpText": "Whom to greet.",
        "DefaultValue": "World",
        "DisplaySettings": settings,
        **fields,
    }


def write_documents(folder: Path, documents: Mapping[str, Document]) -> list[Path]:
    """Each document in a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, document in documents.items():
        files.append(folder / name)
        files[-1].write_text(json.dumps(document, indent=2), encoding="utf-8")
    return files
