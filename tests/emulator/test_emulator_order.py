"""Which task goes next: priorities, the share of each project, the place of one that was superseded."""

from __future__ import annotations

import pytest
from world import Json, World, lasting, step

LONG = 100_000.0


def blocker(world: World, environment: Json) -> Json:
    """A task that fills the only slot until it is cancelled."""
    deployment = world.deploy(world.release(world.project("Blocker", lasting(LONG))), environment)
    world.until_state(deployment, "Executing")
    return deployment


def free(world: World, blocking: Json, *waiting: Json) -> list[str]:
    """The waiting deployments' task ids in the order in which they started once the slot was free."""
    world.post(f"tasks/{blocking['TaskId']}/cancel")
    for deployment in waiting:
        world.ended(deployment)
    started = world.get("events", eventCategories="DeploymentStarted", take=1000)["Items"]
    ids = {deployment["TaskId"] for deployment in waiting}
    return [item for event in reversed(started) for item in event["RelatedDocumentIds"] if item in ids]


def tasks(*deployments: Json) -> list[str]:
    return [deployment["TaskId"] for deployment in deployments]


@pytest.mark.emulator(task_cap=1)
def test_moved_to_top_goes_before_priority_and_priority_before_the_others(world: World) -> None:
    """docs, Prioritize tasks, Task processing order."""
    environment = world.environment()
    blocking = blocker(world, environment)
    plain = world.deploy(world.release(world.project("A", step())), environment)
    urgent = world.deploy(world.release(world.project("B", step())), environment, Priority="On")
    moved = world.deploy(world.release(world.project("C", step())), environment)
    world.post(f"tasks/{moved['TaskId']}/prioritize")
    behind = world.get(f"tasks/{plain['TaskId']}/queued-behind")["Items"]
    assert {*tasks(blocking, urgent, moved)} == {item["Id"] for item in behind}
    assert tasks(moved, urgent, plain) == free(world, blocking, plain, urgent, moved)


@pytest.mark.emulator(task_cap=1)
@pytest.mark.parametrize(
    ("priority", "goes_first"),
    [
        pytest.param("LifecycleDefault", True, id="the phase decides"),
        pytest.param("Off", False, id="off beats the phase"),
        pytest.param("On", True, id="on"),
    ],
)
def test_a_phase_of_the_lifecycle_can_have_priority(world: World, priority: str, goes_first: bool) -> None:
    """docs, Prioritize tasks, Priority lifecycle phases."""
    environment = world.environment()
    blocking = blocker(world, environment)
    lifecycle = world.lifecycle(
        {"Name": "P", "OptionalDeploymentTargets": [environment["Id"]], "IsPriorityPhase": True}
    )
    plain = world.deploy(world.release(world.project("A", step())), environment)
    project = world.project("B", step(), LifecycleId=lifecycle["Id"])
    urgent = world.deploy(world.release(project), environment, Priority=priority)
    expected = tasks(urgent, plain) if goes_first else tasks(plain, urgent)
    assert expected == free(world, blocking, plain, urgent)


@pytest.mark.emulator(task_cap=4)
def test_projects_with_priority_tasks_share_the_task_cap(world: World) -> None:
    """docs, Fairer task queue: its own example, four slots full of A's, one of A's and one of B's waiting."""
    a, b = world.project("A", lasting(LONG)), world.project("B", lasting(LONG))
    everywhere = world.lifecycle({"Name": "All"})
    for project in (a, b):
        world.put(f"projects/{project['Id']}", {**project, "LifecycleId": everywhere["Id"]})
    environments = [world.environment(f"E{number}") for number in range(6)]
    release = world.release(a)
    running = [world.deploy(release, environment, Priority="On") for environment in environments[:4]]
    for deployment in running:
        world.until_state(deployment, "Executing")
    of_a = world.deploy(release, environments[4], Priority="On")
    of_b = world.deploy(world.release(b), environments[5], Priority="On")
    world.post(f"tasks/{running[0]['TaskId']}/cancel")
    world.until(lambda: "Queued" != world.task(of_a).state or "Queued" != world.task(of_b).state)
    assert ("Queued", "Executing") == (world.task(of_a).state, world.task(of_b).state)


@pytest.mark.emulator(task_cap=1)
def test_without_priority_first_in_is_first_out_whatever_the_project(world: World) -> None:
    environment, other = world.environment("Test"), world.environment("Other")
    blocking = blocker(world, environment)
    everywhere = world.lifecycle({"Name": "All"})
    release = world.release(world.project("A", step(), LifecycleId=everywhere["Id"]))
    first, second = world.deploy(release, environment), world.deploy(release, other)
    third = world.deploy(world.release(world.project("B", step())), environment)
    assert tasks(first, second, third) == free(world, blocking, first, second, third)


@pytest.mark.emulator(task_cap=1)
def test_the_superseding_deployment_takes_the_earliest_place(world: World) -> None:
    """docs, Superseded tasks: "The new task then takes the place of the earliest cancelled task in the queue"."""
    environment = world.environment()
    blocking = blocker(world, environment)
    project = world.project("A", step())
    old = world.deploy(world.release(project, "1.0.0"), environment)
    between = world.deploy(world.release(world.project("B", step())), environment)
    new = world.deploy(world.release(project, "1.1.0"), environment)
    assert "Canceled" == world.ended(old)["State"]
    assert tasks(new, between) == free(world, blocking, between, new)


@pytest.mark.emulator(task_cap=1)
@pytest.mark.parametrize(
    ("partial", "canceled"),
    [
        pytest.param("none", {"first", "second"}, id="all run everything"),
        pytest.param("second", set(), id="it stops at one that skips a step"),
        pytest.param("first", {"second"}, id="it has cancelled those behind that one"),
        pytest.param("new", set(), id="one that skips a step cancels nothing"),
    ],
)
def test_partial_deployments_are_not_superseded(world: World, partial: str, canceled: set[str]) -> None:
    """docs, Superseded tasks, Exclusions: from the back of the queue, up to the first that does not run everything."""
    environment = world.environment()
    blocker(world, environment)
    project = world.project("A", step())
    path = f"deploymentprocesses/{project['DeploymentProcessId']}"
    action = world.get(path)["Steps"][0]["Actions"][0]["Id"]
    settings = f"projects/{project['Id']}/deploymentsettings"
    made = {}
    # Switched off while the two queue up, because the second would supersede the first.
    world.put(settings, {**world.get(settings), "CancelQueuedTasks": False})
    for number, name in enumerate(("first", "second", "new")):
        if name == "new":
            world.put(settings, {**world.get(settings), "CancelQueuedTasks": True})
        skipped = [action] if name == partial else []
        release = world.release(project, f"1.{number}.0")
        made[name] = world.deploy(release, environment, SkipActions=skipped)
    states = {name: world.get(f"tasks/{item['TaskId']}")["State"] for name, item in made.items()}
    assert canceled == {name for name, state in states.items() if state == "Canceled"}


def paused(world: World, project: Json, environment: Json, version: str, **fields: object) -> Json:
    deployment = world.deploy(world.release(project, version), environment, **fields)
    world.until(lambda: world.task(deployment).interruptions)
    return deployment


def approve(world: World, deployment: Json) -> None:
    [asked] = world.get("interruptions", regarding=deployment["TaskId"], pendingOnly="true")["Items"]
    world.put(f"interruptions/{asked['Id']}/responsible")
    world.post(f"interruptions/{asked['Id']}/submit", {"Result": "Proceed"})


@pytest.mark.parametrize("switched_on", [True, False])
def test_a_success_cancels_the_older_ones_that_wait_for_a_person(world: World, switched_on: bool) -> None:
    """docs, Superseded tasks, Cancel running tasks; the younger ones go on waiting."""
    environment = world.environment()
    project = world.project("Web", step("Approve", kind="Octopus.Manual"))
    settings = f"projects/{project['Id']}/deploymentsettings"
    world.put(settings, {**world.get(settings), "CancelRunningTasks": switched_on})
    old, middle, young = (paused(world, project, environment, f"1.{number}.0") for number in range(3))
    approve(world, middle)
    assert "Success" == world.ended(middle)["State"]
    if switched_on:
        task = world.ended(old)
        assert ("Canceled", f"superseded by {middle['TaskId']}") == (task["State"], task["ErrorMessage"])
    else:
        assert world.get(f"tasks/{old['TaskId']}")["HasPendingInterruptions"]
    assert world.get(f"tasks/{young['TaskId']}")["HasPendingInterruptions"]
