"""One secret in every place that takes one, searched for in everything that the server says."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import pytest
from world import Json, World, good, python, secret, step

from generator.emulator.routes import ROUTES

CANARY = "c4nary-7f3e9a"
CLOSED = {"HasValue": True, "NewValue": CANARY}
SENSITIVE = {"DisplaySettings": {"Octopus.ControlType": "Sensitive"}}


def approve(world: World, deployment: Json) -> None:
    world.until(lambda: world.task(deployment).interruptions)
    [asked] = world.get("interruptions", pendingOnly="true")["Items"]
    world.put(f"interruptions/{asked['Id']}/responsible")
    world.post(f"interruptions/{asked['Id']}/submit", {"Result": "Proceed"})


def hidden_everywhere(world: World) -> list[str]:
    """Ids of documents that hold the canary, or come from runs that did."""
    environment = world.environment()
    library = world.post(
        "libraryvariablesets",
        {"Name": "Shared", "Templates": [{"Name": "Token", "DefaultValue": CLOSED, **SENSITIVE}]},
    )
    world.set_variables(library, secret("Library.Key", CANARY))
    parameter = {"Name": "Greet.Key", "DefaultValue": CLOSED, **SENSITIVE}
    template = world.post(
        "actiontemplates",
        {
            "Name": "Greet",
            "ActionType": "Octopus.Script",
            "Parameters": [parameter],
            "Properties": {"Own.Key": CLOSED},
        },
    )
    world.put(f"actiontemplates/{template['Id']}", {**template, "Description": "again"})
    tells = (
        "for name in ('Project.Key', 'Library.Key', 'Step.Key', 'Prompted', 'Token', 'Local'):\n"
        f"    value = get_octopusvariable(name)\n    print(name, value == {CANARY[:6]!r} + {CANARY[6:]!r}, value)\n"
        "import sys\nprint('on stderr', get_octopusvariable('Project.Key'), file=sys.stderr)\n"
        "printwarning('warned ' + value)\nupdateprogress(5, value)\n"
        "set_octopusvariable('Made', value, True)\n"
        "failstep('failed over ' + value)\n"
    )
    reads = "print(get_octopusvariable('Octopus.Action[Tell].Output.Made'))\n"
    project = world.project(
        "Web",
        python(tells, "Tell", properties={"Step.Key": CLOSED}),
        python(reads, "Read", Condition="Always"),
        step(
            "Approve",
            kind="Octopus.Manual",
            properties={"Octopus.Action.Manual.Instructions": "because #" + "{Project.Key}"},
            Condition="Always",
        ),
        step(
            "Pretend",
            properties={"octosteps.emulator.message": "says #" + "{Project.Key}"},
            Condition="Always",
        ),
        TenantedDeploymentMode="Tenanted",
        IncludedLibraryVariableSetIds=[library["Id"]],
        Templates=[{"Name": "Local", "DefaultValue": CLOSED, **SENSITIVE}],
    )
    world.set_variables(
        project,
        secret("Project.Key", CANARY),
        secret("Prompted", CANARY, Prompt={"Label": "Key", "Required": True}),
    )
    tenant = world.post(
        "tenants", {"Name": "Acme", "ProjectEnvironments": {project["Id"]: [environment["Id"]]}}
    )
    values = world.get(f"tenants/{tenant['Id']}/variables")
    own = values["ProjectVariables"][project["Id"]]
    own["Variables"][environment["Id"]] = {own["Templates"][0]["Id"]: CLOSED}
    shared = values["LibraryVariables"][library["Id"]]
    shared["Variables"] = {shared["Templates"][0]["Id"]: CLOSED}
    world.put(f"tenants/{tenant['Id']}/variables", values)
    release = world.release(project)
    preview = world.get(f"releases/{release['Id']}/deployments/preview/{environment['Id']}/{tenant['Id']}")
    [element] = [item["Name"] for item in preview["Form"]["Elements"]]
    deployment = world.deploy(release, environment, TenantId=tenant["Id"], FormValues={element: CANARY})
    approve(world, deployment)
    task = world.ended(deployment)
    printed = world.printed(task)
    assert [
        f"{name} True ********"
        for name in ("Project.Key", "Library.Key", "Step.Key", "Prompted", "Token", "Local")
    ] == printed[:6], world.log(task)
    assert "********" == printed[6], "the sensitive output reached the next step"
    command = {
        "SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web", "ReleaseVersion": "1.0.0",
        "EnvironmentName": "Test", "Tenants": ["Acme"], "Variables": {"Prompted": CANARY},
    }  # fmt: skip
    [made] = world.post("deployments/create/tenanted/v1", command)["DeploymentServerTasks"]
    world.until(lambda: world.emulator.state.tasks[made["ServerTaskId"]].interruptions)
    arguments = {"ActionTemplateId": template["Id"], "Properties": {"Greet.Key": CLOSED}}
    by_hand = world.post("tasks", {"Name": "AdHocScript", "Description": "By hand", "Arguments": arguments})
    world.ended({"TaskId": by_hand["Id"]})
    in_git = world.project("Git", step(properties={"Step.Key": CLOSED}))
    credentials = {"Type": "UsernamePassword", "Username": "me", "Password": CLOSED}
    settings = {"Url": "https://git.example.com/x.git", "Credentials": credentials}
    world.post(f"projects/{in_git['Id']}/git/convert", {"VersionControlSettings": settings})
    clone = good(
        world.api.post("projects", params={"clone": project["Id"]}, json={**project, "Name": "Clone"})
    )
    return [
        item["Id"]
        for item in (project, in_git, clone, release, deployment, task, by_hand, template, library, tenant)
    ]


def links_in(value: Any) -> set[str]:
    """Server-relative addresses in a document, their optional parameters cut off."""
    if isinstance(value, dict):
        return {link for item in value.values() for link in links_in(item)}
    if isinstance(value, list):
        return {link for item in value for link in links_in(item)}
    if isinstance(value, str) and value.startswith("/api"):
        return {re.sub(r"\{[/?].*?\}", "", value)}
    return set()


def visited(world: World) -> dict[str, str]:
    """Every address that can be reached from the roots by links, and each route with each id, with its answer's text."""
    found: dict[str, str] = {}
    pending = deque(["/api", "/api/Spaces-1", "/api/users/me"])
    state = world.emulator.state
    ids = [*state.tasks, *(key for name, documents in state.collections.items() for key in documents)]
    for route in ROUTES:
        if route.method != "GET":
            continue
        base = "/api/" if route.scope == "system" else "/api/Spaces-1/"
        if "{" not in route.template:
            pending.append(base + route.template + "?take=1000")
        elif route.template.count("{") == 1:
            pending.extend(base + re.sub(r"\{.*?\}", identifier, route.template) for identifier in ids)
    pending.extend(["/", *(f"/tasks/{task}" for task in state.tasks)])
    while pending:
        path = pending.popleft()
        if path in found or "{" in path:
            continue
        answer = world.web.get(path)
        found[path] = answer.text
        if answer.is_success and "json" in answer.headers.get("Content-Type", ""):
            pending.extend(links_in(answer.json()) - found.keys())
    return found


@pytest.mark.unknown_requests
def test_no_secret_is_ever_answered(world: World) -> None:
    ids = hidden_everywhere(world)
    answers = visited(world)
    assert len(answers) > 1000, "the search goes everywhere"
    for identifier in ids:
        assert any(identifier in path and '"Id"' in text for path, text in answers.items()), identifier
    assert [] == sorted(path for path, text in answers.items() if CANARY in text)


def test_a_secret_does_not_come_back_in_the_answer_to_its_own_write(world: World) -> None:
    bodies: list[tuple[str, Json]] = [
        ("actiontemplates", {"Name": "A", "ActionType": "Octopus.Script", "Properties": {"Key": CLOSED},
                             "Parameters": [{"Name": "P", "DefaultValue": CLOSED, **SENSITIVE}]}),
        ("libraryvariablesets", {"Name": "L", "Templates": [{"Name": "T", "DefaultValue": CLOSED, **SENSITIVE}]}),
        ("machines", {"Name": "M", "Endpoint": {"CommunicationStyle": "Ssh", "Secret": CLOSED}}),
        ("feeds", {"Name": "F", "FeedType": "NuGet", "FeedUri": "https://x", "Password": CLOSED}),
    ]  # fmt: skip
    for path, body in bodies:
        answer = world.api.post(path, json=body)
        assert (201, False) == (answer.status_code, CANARY in answer.text), (path, answer.text)
