"""Runbook processes, which the emulator does not have yet, by a small server of documents that takes writes as Octopus does."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx

from generator import processes
from generator.coordination import parse_coordination
from generator.octopus import connect
from generator.resolution import resolve
from generator.source import parse_source

FILE = """\
projects:
  Shop:
    process: runbook nightly COPY
    steps:
      - {key: note, template: Chat - Notify, name: Tell them, after: Copy, with: {Chat.Text: done}}
"""
TEMPLATE = {
    "Id": "ActionTemplates-1",
    "Name": "Chat - Notify",
    "ActionType": "Octopus.Script",
    "Version": 2,
    "Properties": {"Octopus.Action.Script.ScriptBody": "print(1)\\n"},
    "Parameters": [
        {"Id": "p", "Name": "Chat.Text", "DisplaySettings": {"Octopus.ControlType": "SingleLineText"}}
    ],
}


class Documents:
    """GET gives a document or list by path; PUT of the process wants its Version."""

    def __init__(self) -> None:
        step = {
            "Id": "1",
            "Name": "Copy",
            "Actions": [{"Id": "2", "Name": "Copy", "Properties": {}}],
            "Odd": 1.50,
        }
        self.process: dict[str, Any] = {
            "Id": "RunbookProcess-Runbooks-7",
            "RunbookId": "Runbooks-7",
            "Version": 4,
            "Steps": [step],
        }
        self.lists: dict[str, list[Any]] = {
            "/api/spaces": [{"Id": "Spaces-1", "Name": "Default", "IsDefault": True}],
            "/api/Spaces-1/projects": [
                {"Id": "Projects-1", "Name": "Shop", "DeploymentProcessId": "d", "VariableSetId": "v"}
            ],
            "/api/Spaces-1/projects/Projects-1/runbooks": [
                {"Id": "Runbooks-7", "Name": "Nightly copy", "RunbookProcessId": "RunbookProcess-Runbooks-7"}
            ],
            "/api/Spaces-1/actiontemplates": [TEMPLATE],
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api":
            return httpx.Response(200, json={"Version": "2026.3.1", "ApiVersion": "3.0.0"})
        if path == "/api/Spaces-1/runbookProcesses/RunbookProcess-Runbooks-7":
            if request.method == "PUT":
                body = json.loads(request.content)
                assert body["Version"] == self.process["Version"]
                self.process = {**body, "Version": body["Version"] + 1}
            return httpx.Response(200, json=self.process)
        return httpx.Response(200, json={"Items": self.lists[path], "Links": {}})


def test_a_step_is_imported_into_a_runbook() -> None:
    """It is found ignoring case, marked as the runbook's, and the template of others is filled in by its parameters' names."""
    server = Documents()
    before = copy.deepcopy(server.process)
    wanted = parse_coordination(parse_source(FILE.encode(), name="c.yaml"))
    with connect(
        "https://o.test", api_key="API-X", http=httpx.Client(transport=httpx.MockTransport(server))
    ) as client:
        found = processes.read_found(client, wanted)
        [ready] = resolve(wanted, found, {})
        changes = processes.plan([ready], found)
        assert [(change.action, change.name) for change in changes] == [
            ("create", "Shop, runbook nightly COPY: Tell them")
        ]
        processes.write(client, changes, ready, force=False, prune=False)
        again = processes.plan([ready], processes.read_again(client, found))
    assert [change.action for change in again] == ["leave"]
    theirs, ours = server.process["Steps"]
    assert theirs == before["Steps"][0]
    properties = ours["Actions"][0]["Properties"]
    assert properties["octosteps.step"] == "note@Runbooks-7"
    assert (properties["Chat.Text"], properties["Octopus.Action.Template.Version"]) == ("done", "2")
