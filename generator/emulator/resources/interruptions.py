"""Interruptions: a task that waits for a person, answered in two calls (take responsibility, submit)."""

from __future__ import annotations

from generator.emulator import events, refusals
from generator.emulator.documents import Document
from generator.emulator.requests import Request, narrowed
from generator.emulator.state import State
from generator.emulator.tasks import Activity, Task

INSTRUCTIONS = "Octopus.Action.Manual.Instructions"


def raise_manual(
    state: State, task: Task, action: Document, activity: Activity, *, instructions: str
) -> Document:
    """A pending manual intervention (source: go-octopusdeploy, test/e2e/interruption_test.go, recorded)."""
    teams = str(action["Properties"].get("Octopus.Action.Manual.ResponsibleTeamIds") or "")
    buttons = [
        {"Text": "Proceed", "Value": "Proceed", "RequiresConfirmation": False},
        {"Text": "Abort", "Value": "Abort", "RequiresConfirmation": True},
    ]
    interruption = state.add(
        "Interruptions",
        {
            "SpaceId": task.space_id,
            "ProjectId": task.project_id,
            "Type": "ManualIntervention",
            "Title": action["Name"],
            "Created": state.now(),
            "IsPending": True,
            "IsLinkedToOtherInterruption": False,
            "TaskId": task.id,
            "CorrelationId": activity.id,
            "RelatedDocumentIds": [
                item
                for item in (
                    *task.arguments.values(),
                    task.id,
                    task.project_id,
                    task.environment_id,
                    task.tenant_id,
                )
                if item
            ],
            "ResponsibleTeamIds": [team.strip() for team in teams.split(",") if team.strip()],
            "ResponsibleUserId": None,
            "CanTakeResponsibility": True,
            "HasResponsibility": False,
            "PullRequests": [],
            "Form": {
                "Values": {"Instructions": None, "Notes": None, "Result": None},
                "Elements": [
                    {
                        "Name": "Instructions",
                        "IsValueRequired": False,
                        "Control": {"Type": "Paragraph", "Text": instructions, "ResolveLinks": False},
                    },
                    {
                        "Name": "Notes",
                        "IsValueRequired": False,
                        "Control": {"Type": "TextArea", "Label": "Notes"},
                    },
                    {
                        "Name": "Result",
                        "IsValueRequired": False,
                        "Control": {"Type": "SubmitButtonGroup", "Buttons": buttons},
                    },
                ],
            },
        },
    )
    task.interruptions.append(interruption["Id"])
    return interruption


def list_page(request: Request) -> Document:
    query = request.query
    regarding, pending = query.first("regarding"), query.flag("pendingOnly")
    chosen = [
        item
        for item in reversed(request.visible("Interruptions"))
        if regarding is None or regarding in item["RelatedDocumentIds"]
        if pending is not True or item["IsPending"]
    ]
    return request.page("Interruption", narrowed(request, chosen), lambda item: _show(request, item))


def _show(request: Request, interruption: Document) -> Document:
    document = request.show("Interruptions", interruption)
    document["HasResponsibility"] = interruption["ResponsibleUserId"] == request.key.user_id
    document["CanTakeResponsibility"] = interruption["IsPending"] and not document["HasResponsibility"]
    return document


def _interruption(request: Request) -> Document:
    return request.find("Interruptions", request.argument("id"))


def get(request: Request) -> Document:
    return _show(request, _interruption(request))


def get_responsible(request: Request) -> Document:
    interruption = _interruption(request)
    if interruption["ResponsibleUserId"] is None:
        raise refusals.NOT_FOUND()
    return request.show("Users", request.find("Users", interruption["ResponsibleUserId"]))


def take_responsibility(request: Request) -> Document:
    """200 with the user (source: docs, API reference, interruptions). The emulator's user is in every team."""
    interruption = _interruption(request)
    if not interruption["IsPending"]:
        raise refusals.INTERRUPTION_GONE()
    interruption["ResponsibleUserId"] = request.key.user_id
    return request.show("Users", request.user)


def submit(request: Request) -> Document:
    interruption, body = _interruption(request), request.document()
    if not interruption["IsPending"]:
        raise refusals.INTERRUPTION_SUBMITTED()
    if interruption["ResponsibleUserId"] is None:
        raise refusals.INTERRUPTION_NOT_TAKEN()
    if interruption["ResponsibleUserId"] != request.key.user_id:
        raise refusals.INTERRUPTION_TAKEN()
    if body.get("Result") not in ("Proceed", "Abort"):
        raise refusals.INTERRUPTION_FORM()
    values = interruption["Form"]["Values"]
    values.update(Notes=body.get("Notes"), Result=body["Result"])
    interruption["IsPending"] = False
    task = request.state.tasks.get(interruption["TaskId"])
    if task is not None and interruption["Id"] in task.interruptions:
        task.interruptions.remove(interruption["Id"])
    events.record(
        request.state,
        "InterruptionSubmitted",
        f"Submitted interruption {interruption['Title']} with notes: {body.get('Notes') or ''}",
        space_id=interruption["SpaceId"],
        related=interruption["RelatedDocumentIds"],
        user_id=request.key.user_id,
    )
    request.state.changed.notify_all()
    return _show(request, interruption)
