"""What a lifecycle does by itself, what it lets pass, and on which machines a step runs."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, good, lasting, step, variable


def phase(name: str, *environments: Json, automatic: bool = False, **fields: Any) -> Json:
    ids = [item["Id"] for item in environments]
    key = "AutomaticDeploymentTargets" if automatic else "OptionalDeploymentTargets"
    return {"Name": name, key: ids, **fields}


def sent(world: World, release: Json) -> list[tuple[str, str | None]]:
    """(environment, tenant) of the release's deployments, oldest first."""
    items = world.get(f"releases/{release['Id']}/deployments")["Items"]
    return [(item["EnvironmentId"], item["TenantId"]) for item in reversed(items)]


def settled(world: World) -> None:
    """Until the server has looked at every release and every task has ended."""
    state = world.emulator.state
    world.until(lambda: not state.promotions and all(task.is_completed for task in state.tasks.values()))


def test_automatic_targets_are_deployed_to_as_the_release_reaches_them(world: World) -> None:
    """docs, Lifecycles: as soon as the release enters the phase."""
    dev, test, prod = (world.environment(name) for name in ("Dev", "Test", "Prod"))
    lifecycle = world.lifecycle(
        phase("1", dev, automatic=True), phase("2", test, automatic=True), phase("3", prod), name="Auto"
    )
    release = world.release(world.project("Web", step(), LifecycleId=lifecycle["Id"]))
    settled(world)
    assert [(dev["Id"], None), (test["Id"], None)] == sent(world, release)
    world.ended(world.deploy(release, prod))
    settled(world)
    assert 3 == len(sent(world, release))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"IsOptionalPhase": True}, id="optional phases make none"),
        pytest.param({}, id="a failure opens nothing"),
    ],
)
def test_where_nothing_goes_by_itself(world: World, fields: Json) -> None:
    dev, test = world.environment("Dev"), world.environment("Test")
    one = phase("1", dev, automatic=True, **fields)
    lifecycle = world.lifecycle(one, phase("2", test, automatic=not fields))
    failing = lasting(0, outcome="failure")
    release = world.release(world.project("Web", failing, LifecycleId=lifecycle["Id"]))
    settled(world)
    assert ([] if fields else [(dev["Id"], None)]) == sent(world, release)


def test_a_blocked_release_waits_until_the_defect_is_resolved(world: World) -> None:
    dev, test = world.environment("Dev"), world.environment("Test")
    lifecycle = world.lifecycle(phase("1", dev), phase("2", test, automatic=True))
    release = world.release(world.project("Web", step(), LifecycleId=lifecycle["Id"]))
    world.post(f"releases/{release['Id']}/defects", {"Description": "broken"})
    world.ended(world.deploy(release, dev))
    settled(world)
    assert [(dev["Id"], None)] == sent(world, release)
    world.post(f"releases/{release['Id']}/defects/resolve")
    settled(world)
    assert [(dev["Id"], None), (test["Id"], None)] == sent(world, release)


@pytest.mark.parametrize(
    ("mode", "tags", "expected"),
    [
        pytest.param("TenantedOrUntenanted", [], {"Acme", "Bolt", None}, id="both"),
        pytest.param("Tenanted", [], {"Acme", "Bolt"}, id="tenants only"),
        pytest.param("Untenanted", [], {None}, id="no tenants"),
        pytest.param("Tenanted", ["Ring/Early"], {"Bolt"}, id="those that the channel's tags admit"),
    ],
)
def test_tenants_are_deployed_to_by_themselves(
    world: World, mode: str, tags: list[str], expected: set[str]
) -> None:
    """docs, Lifecycles, Tenants and automatic-environments."""
    dev = world.environment("Dev")
    world.post("tagsets", {"Name": "Ring", "Tags": [{"Name": "Early"}]})
    lifecycle = world.lifecycle(phase("1", dev, automatic=True))
    project = world.project("Web", step(), LifecycleId=lifecycle["Id"], TenantedDeploymentMode=mode)
    names: dict[str | None, str | None] = {None: None}
    for name, own, connected in (("Acme", [], True), ("Bolt", ["Ring/Early"], True), ("Core", [], False)):
        where = {project["Id"]: [dev["Id"]]} if connected else {}
        made = world.post("tenants", {"Name": name, "TenantTags": own, "ProjectEnvironments": where})
        names[made["Id"]] = name
    [channel] = world.get(f"projects/{project['Id']}/channels")["Items"]
    world.put(f"channels/{channel['Id']}", {**channel, "TenantTags": tags})
    release = world.release(project)
    settled(world)
    assert expected == {names[tenant] for _, tenant in sent(world, release)}


def test_a_refusal_is_told_by_an_event(world: World) -> None:
    dev = world.environment("Dev")
    lifecycle = world.lifecycle(phase("1", dev, automatic=True))
    project = world.project("Web", step(), LifecycleId=lifecycle["Id"])
    world.set_variables(project, variable("Reason", "", Prompt={"Required": True}))
    release = world.release(project)
    settled(world)
    [event] = world.get("events", eventCategories="AutoDeploymentErrorOccurred")["Items"]
    assert "The variable 'Reason' is required." in event["Message"]
    assert [] == sent(world, release)


# --- machines ------------------------------------------------------------------------------------------------------


def machine(world: World, name: str, environment: Json, **fields: Any) -> Json:
    body = {"Name": name, "Roles": ["web"], "EnvironmentIds": [environment["Id"]], **fields}
    return world.post("machines", body)


def on_web(name: str = "Do") -> Json:
    return step(name, step_properties={"Octopus.Action.TargetRoles": "web"})


def places(world: World, task: Json) -> list[str]:
    [root] = world.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
    return [place["Name"] for one in root["Children"] for place in one["Children"]]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, ["a", "b"], id="all"),
        pytest.param({"SpecificMachineIds": ["b"]}, ["b"], id="only these"),
        pytest.param({"ExcludedMachineIds": ["b"]}, ["a"], id="not these"),
        pytest.param({"SpecificMachineIds": ["a", "b"], "ExcludedMachineIds": ["a"]}, ["b"], id="both"),
        pytest.param({"SpecificMachineIds": ["elsewhere"]}, [], id="one of another environment"),
    ],
)
def test_machines_are_chosen_by_id(world: World, fields: Json, expected: list[str]) -> None:
    environment, other = world.environment("Test"), world.environment("Other")
    ids = {
        "a": machine(world, "a", environment)["Id"],
        "b": machine(world, "b", environment)["Id"],
        "elsewhere": machine(world, "elsewhere", other)["Id"],
    }
    machine(world, "off", environment, IsDisabled=True)
    chosen = {name: [ids[item] for item in names] for name, names in fields.items()}
    deployment = world.deploy(world.release(world.project("Web", on_web())), environment, **chosen)
    task = world.ended(deployment)
    assert expected == places(world, task)
    assert ("Success" if expected else "Skipped") == world.steps(task)["Do"]
    reached = world.get(f"deployments/{deployment['Id']}")["DeployedToMachineIds"]
    assert [ids[name] for name in expected] == reached


def test_machines_are_chosen_by_name_and_an_unknown_one_is_refused(world: World) -> None:
    """docs, API reference, deployments."""
    environment = world.environment()
    machine(world, "a", environment)
    machine(world, "b", environment)
    world.release(world.project("Web", on_web()))
    command = {
        "SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web", "ReleaseVersion": "1.0.0",
        "EnvironmentNames": ["Test"],
    }  # fmt: skip
    path = "deployments/create/untenanted/v1"
    [made] = good(world.api.post(path, json={**command, "SpecificMachineNames": ["b"]}))[
        "DeploymentServerTasks"
    ]
    assert ["b"] == places(world, world.ended({"TaskId": made["ServerTaskId"]}))
    assert 400 == world.api.post(path, json={**command, "SpecificMachineNames": ["nobody"]}).status_code


@pytest.mark.parametrize(
    ("participation", "tenanted", "untenanted"),
    [("Untenanted", False, True), ("Tenanted", True, False), ("TenantedOrUntenanted", True, True)],
)
def test_a_machine_takes_part_in_tenanted_deployments_or_in_others(
    world: World, participation: str, tenanted: bool, untenanted: bool
) -> None:
    """docs, Tenants, Tenanted deployment targets."""
    environment = world.environment()
    project = world.project("Web", on_web(), TenantedDeploymentMode="TenantedOrUntenanted")
    tenant = world.post(
        "tenants", {"Name": "Acme", "ProjectEnvironments": {project["Id"]: [environment["Id"]]}}
    )
    machine(world, "a", environment, TenantedDeploymentParticipation=participation, TenantIds=[tenant["Id"]])
    release = world.release(project)
    with_tenant = world.ended(world.deploy(release, environment, TenantId=tenant["Id"]))
    without = world.ended(world.deploy(release, environment))
    assert (tenanted, untenanted) == (places(world, with_tenant) == ["a"], places(world, without) == ["a"])


def test_the_preview_names_roles_and_machines(world: World) -> None:
    environment, empty = world.environment("Test"), world.environment("Empty")
    made = machine(world, "a", environment)
    release = world.release(world.project("Web", on_web("On web"), step("Anywhere")))
    path = f"releases/{release['Id']}/deployments/preview"
    web, anywhere = world.get(f"{path}/{environment['Id']}")["StepsToExecute"]
    assert (["web"], ["a"], [made["Id"]], False) == (
        web["Roles"], web["MachineNames"], [item["Id"] for item in web["Machines"]], web["HasNoApplicableMachines"],
    )  # fmt: skip
    assert ([], [], False) == (
        anywhere["Roles"],
        anywhere["MachineNames"],
        anywhere["HasNoApplicableMachines"],
    )
    assert world.get(f"{path}/{empty['Id']}")["StepsToExecute"][0]["HasNoApplicableMachines"]
