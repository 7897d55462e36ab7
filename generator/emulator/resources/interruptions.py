"""Interruptions: a task that waits for a person, answered in two calls (take responsibility, submit)."""

from __future__ import annotations

from generator.emulator import events, refusals
from generator.emulator.documents import Document
from generator.emulator.requests import Request, narrowed
from generator.emulator.state import State
from generator.emulator.tasks import Activity, Task

INSTRUCTIONS = "Octopus.Action.Manual.Instructions"

# The field that holds the answer, by the interruption's type.
ANSWERS = {"ManualIntervention": "Result", "GuidedFailure": "Guidance"}

# Button texts of a guided failure (source: docs, Guided failures; values: docs, API reference, interruptions).
GUIDANCE = {
    "Fail": "Fail",
    "Retry": "Retry",
    "Ignore": "Ignore",
    "Exclude": "Exclude machine from deployment",
}


def raise_manual(
    state: State, task: Task, action: Document, activity: Activity, *, instructions: str
) -> Document:
    """A pending manual intervention (source: go-octopusdeploy, test/e2e/interruption_test.go, recorded)."""
    teams = str(action["Properties"].get("Octopus.Action.Manual.ResponsibleTeamIds") or "")
    buttons = [
        {"Text": "Proceed", "Value": "Proceed", "RequiresConfirmation": False},
        {"Text": "Abort", "Value": "Abort", "RequiresConfirmation": True},
    ]
    return _raise(
        state,
        task,
        activity,
        kind="ManualIntervention",
        title=action["Name"],
        text=instructions,
        answer="Result",
        buttons=buttons,
        teams=[team.strip() for team in teams.split(",") if team.strip()],
    )


def raise_guided(
    state: State, task: Task, action: Document, activity: Activity, *, error: str, machine: bool
) -> Document:
    """A pending question what to do about a failure. A required step is not ignored, a worker not excluded.

    Source: docs, Guided failures; Library, octopus-chain-deployment.json (the element is named Guidance).
    """
    offered = ["Fail", "Retry"]
    if not action["IsRequired"]:
        offered += ["Ignore", "Exclude"] if machine else ["Ignore"]
    return _raise(
        state,
        task,
        activity,
        kind="GuidedFailure",
        title=f"Guided failure: {action['Name']}",
        text=error,
        answer="Guidance",
        buttons=[
            {"Text": GUIDANCE[value], "Value": value, "RequiresConfirmation": value != "Retry"}
            for value in offered
        ],
        teams=[],
    )


def _raise(
    state: State,
    task: Task,
    activity: Activity,
    *,
    kind: str,
    title: str,
    text: str,
    answer: str,
    buttons: list[Document],
    teams: list[str],
) -> Document:
    related = (*task.arguments.values(), task.id, task.project_id, task.environment_id, task.tenant_id)
    interruption = state.add(
        "Interruptions",
        {
            "SpaceId": task.space_id,
            "ProjectId": task.project_id,
            "Type": kind,
            "Title": title,
            "Created": state.now(),
            "IsPending": True,
            "IsLinkedToOtherInterruption": False,
            "TaskId": task.id,
            "CorrelationId": activity.id,
            "RelatedDocumentIds": [item for item in related if item],
            "ResponsibleTeamIds": teams,
            "ResponsibleUserId": None,
            "CanTakeResponsibility": True,
            "HasResponsibility": False,
            "PullRequests": [],
            "Form": {
                "Values": {"Instructions": None, "Notes": None, answer: None},
                "Elements": [
                    {
                        "Name": "Instructions",
                        "IsValueRequired": False,
                        "Control": {"Type": "Paragraph", "Text": text, "ResolveLinks": False},
                    },
                    {
                        "Name": "Notes",
                        "IsValueRequired": False,
                        "Control": {"Type": "TextArea", "Label": "Notes"},
                    },
                    {
                        "Name": answer,
                        "IsValueRequired": False,
                        "Control": {"Type": "SubmitButtonGroup", "Buttons": buttons},
                    },
                ],
            },
        },
    )
    task.interruptions[interruption["Id"]] = kind
    events.record(
        state,
        f"{kind}InterruptionRaised",
        f"{task.description}: {title} waits for a person",
        space_id=task.space_id,
        related=related,
    )
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
    name, answer = _answer(interruption, body)
    interruption["Form"]["Values"].update({"Notes": body.get("Notes"), name: answer})
    interruption["IsPending"] = False
    task = request.state.tasks.get(interruption["TaskId"])
    if task is not None:
        task.interruptions.pop(interruption["Id"], None)
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


def _answer(interruption: Document, body: Document) -> tuple[str, str]:
    """The field of the form and what was pressed. "Abort" means Fail to a guided failure: the community step template Chain
    Deployment sends it; that a server takes it is unconfirmed. Errors: Refused for what no button offers."""
    name = ANSWERS[interruption["Type"]]
    pressed = body.get(name) or body.get("Result")
    if name == "Guidance" and pressed == "Abort":
        pressed = "Fail"
    buttons = next(item["Control"] for item in interruption["Form"]["Elements"] if item["Name"] == name)
    if pressed not in [button["Value"] for button in buttons["Buttons"]]:
        raise refusals.INTERRUPTION_FORM()
    return name, str(pressed)
