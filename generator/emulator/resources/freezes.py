"""Deployment freezes: times in which projects, environments or tenants take no deployments. They belong to no space.

Source: docs, Deployment freezes and API reference, deployment-freeze; go-octopusdeploy, pkg/deploymentfreezes (path, filters,
fields). The text of the refusal and the status code are unconfirmed. Recurring schedules are kept and not computed.
"""

from __future__ import annotations

from generator.emulator import refusals
from generator.emulator.clock import moment
from generator.emulator.documents import Document, same_name
from generator.emulator.requests import Answer, Request, created, narrowed
from generator.emulator.state import State

OVERRIDE = "DeploymentFreezeAdminister"


def list_page(request: Request) -> Document:
    """`{Count, DeploymentFreezes}` instead of the usual envelope."""
    query, state = request.query, request.state
    wanted = {
        name: set(query.all(name))
        for name in ("projectIds", "environmentIds", "tenantIds")
        if query.all(name)
    }
    ended = query.flag("includeComplete")
    freezes = [
        item
        for item in narrowed(request, state.collection("DeploymentFreezes").values())
        if all(ids & _ids(item)[name] for name, ids in wanted.items())
        if ended or (moment(item["End"]) or 0) > state.clock.now()
    ]
    skip, take = query.number("skip", 0), query.number("take", 30)
    shown = request.show_all("DeploymentFreezes", freezes[skip : skip + take])
    return {"Count": len(freezes), "DeploymentFreezes": shown}


def _ids(freeze: Document) -> dict[str, set[str]]:
    projects = freeze["ProjectEnvironmentScope"]
    tenants = freeze["TenantProjectEnvironmentScope"]
    return {
        "projectIds": set(projects) | {item.get("ProjectId") for item in tenants},
        "environmentIds": {name for names in projects.values() for name in names}
        | {item.get("EnvironmentId") for item in tenants},
        "tenantIds": {item.get("TenantId") for item in tenants},
    }


def get(request: Request) -> Document:
    return request.show("DeploymentFreezes", request.find("DeploymentFreezes", request.argument("id")))


def create(request: Request) -> Answer:
    freeze = request.state.add("DeploymentFreezes", _fields(request, {}))
    return created(request.show("DeploymentFreezes", freeze))


def modify(request: Request) -> Document:
    freeze = request.find("DeploymentFreezes", request.argument("id"))
    freeze.update(_fields(request, freeze))
    return request.show("DeploymentFreezes", freeze)


def delete(request: Request) -> Document:
    freeze = request.find("DeploymentFreezes", request.argument("id"))
    del request.state.collection("DeploymentFreezes")[freeze["Id"]]
    return {}


def _fields(request: Request, before: Document) -> Document:
    body = {**before, **request.document()}
    for name in ("Name", "Start", "End"):
        if not body.get(name):
            raise refusals.REQUIRED(field=name)
    try:
        start, end = moment(body["Start"]), moment(body["End"])
    except ValueError:
        raise refusals.BAD_FREEZE() from None
    if start is None or end is None or end <= start:
        raise refusals.BAD_FREEZE()
    return {
        "Name": body["Name"],
        "Description": body.get("Description") or "",
        "Start": body["Start"],
        "End": body["End"],
        "ProjectEnvironmentScope": dict(body.get("ProjectEnvironmentScope") or {}),
        "TenantProjectEnvironmentScope": list(body.get("TenantProjectEnvironmentScope") or ()),
        "RecurringSchedule": body.get("RecurringSchedule"),
    }


# --- their effect --------------------------------------------------------------------------------------------------


def in_force(state: State, project: str, environment: str, tenant: str | None) -> list[Document]:
    """The freezes that hold there now."""
    now = state.clock.now()
    return [
        item
        for item in state.collection("DeploymentFreezes").values()
        if (moment(item["Start"]) or 0) <= now < (moment(item["End"]) or 0)
        if environment in item["ProjectEnvironmentScope"].get(project, ())
        or any(
            (scope.get("TenantId"), scope.get("ProjectId"), scope.get("EnvironmentId")) == (tenant, project, environment)
            for scope in item["TenantProjectEnvironmentScope"]
        )
    ]  # fmt: skip


def overridden(
    request: Request, project: Document, environment: Document, tenant: Document | None, body: Document
) -> list[str]:
    """Ids of the freezes that hold now and that the request overrides, by name or id and with a reason.

    Errors: Refused while one holds that it does not override.
    """
    found = in_force(request.state, project["Id"], environment["Id"], tenant["Id"] if tenant else None)
    named = [*(body.get("DeploymentFreezeNames") or ()), *(body.get("FreezeIds") or ())]
    left = [
        item
        for item in found
        if not any(name == item["Id"] or same_name(name, item["Name"]) for name in named)
    ]
    names = ", ".join(item["Name"] for item in left or found)
    if left:
        raise refusals.FROZEN(project=project["Name"], environment=environment["Name"], freezes=names)
    if not found:
        return []
    if not str(body.get("DeploymentFreezeOverrideReason") or body.get("Reason") or "").strip():
        raise refusals.FREEZE_REASON(freezes=names)
    if not request.key.may(OVERRIDE):
        raise refusals.NO_PERMISSION(permission=OVERRIDE)
    return [item["Id"] for item in found]


def stops(state: State, run: Document) -> Document | None:
    """The freeze that makes a deployment fail which begins now (source: docs, Deployment freezes). Runbook runs go on: they
    are not deployments, which is all that the page says."""
    if "RunbookId" in run:
        return None
    found = in_force(state, run["ProjectId"], run["EnvironmentId"], run["TenantId"])
    return next((item for item in found if item["Id"] not in run["_overrides"]), None)
