"""Octopus - Cancel Orphans: exactly the awaited children of ended parents, and a reason for everything else.

Children are what the steps themselves have made, or carry a marker as a step elsewhere would have written it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from generator.runtime.markers import AWAITED, LEFT, Marker, ParentTask
from tests.scene import Document, Scene, open_scene, own_step
from tests.stage import Run, Stage

ORPHANS, DEPLOY = "Octopus - Cancel Orphans", "Octopus - Deploy Release"
LONG = 3600.0


@pytest.fixture
def stage() -> Iterator[Stage]:
    """*Child* takes an hour of the emulator's time, and its deployments stand in the queue without giving way to each other."""
    with open_scene(speed=20, task_cap=50) as scene:
        scene.make_project("Child", steps=[own_step("Work", seconds=LONG)], releases=["1.0.0"])
        settings = scene.emulator.state.collection("DeploymentSettings").values()
        for one in settings:
            one["CancelQueuedTasks"] = False
        scene.make_project("Over", steps=[own_step("Work")], releases=["1.0.0"])
        yield Stage(scene)


def over(scene: Scene) -> ParentTask:
    """A parent that has ended."""
    return parent(scene, scene.run("Over", "1.0.0")["Id"])


def parent(scene: Scene, task: str, *, server: str = "", space: str = "Spaces-1") -> ParentTask:
    return ParentTask(server or scene.emulator.url, space, task)


def marked(scene: Scene, by: ParentTask, stance: str = AWAITED) -> Document:
    """A deployment of *Child* that a step of this parent has made."""
    return scene.deploy("Child", "1.0.0", Comments=f"Triggered by a test {Marker('0' * 24, 1, stance, by)}")


def run(stage: Stage, **values: Any) -> Run:
    return stage.run(ORPHANS, values)


def state(stage: Stage, child: Document) -> str:
    return str(stage.scene.task(child["TaskId"])["State"])


def test_a_cancelled_parents_child_is_cancelled_and_nothing_else(stage: Stage) -> None:
    """One parent was cancelled, one still waits, one was told not to wait: what each of their steps has made."""
    scene = stage.scene
    values = {"project": "Child", "environment": "Test", "more": {"watchdog": "off"}}
    parents: dict[str, str] = {}
    children: dict[str, Document] = {}
    for name, changes in (("cancelled", {}), ("waiting", {}), ("not waiting", {"wait": False})):
        parents[name] = stage.begin(DEPLOY, {**values, **changes})
        scene.wait_until(
            lambda: len(scene.deployments("Child")) > len(children), "its child is there", parents[name]
        )
        children[name] = scene.deployments("Child")[0]
    scene.client.post(f"tasks/{parents['cancelled']}/cancel")
    scene.wait(parents["cancelled"])
    ended = run(stage)
    assert ("Success", children["cancelled"]["TaskId"]) == (ended.state, ended.outputs["Orphans"]), ended.log
    assert ended.outputs["Orphans"] == ended.outputs["Cancelled"]
    assert {"cancelled"} == {name for name, child in children.items() if state(stage, child) == "Canceled"}
    assert "its parent is Executing" in ended.log
    assert "its parent ended as Canceled" in ended.log
    assert "the step that made it was told not to wait" in ended.log
    again = run(stage)
    assert ("", "") == (again.outputs["Orphans"], again.outputs["Cancelled"])
    assert "No orphans." in again.log


def test_what_nobody_can_tell_is_left_alone_and_told(stage: Stage) -> None:
    scene, ended = stage.scene, over(stage.scene)
    expected = {
        "is on another server, https://other.example": parent(
            scene, ended.id, server="https://other.example"
        ),
        "made outside Octopus": ParentTask("", "", ""),
        "ServerTasks-999 in Spaces-1 was deleted, or this account may not see it": parent(
            scene, "ServerTasks-999"
        ),
        f"{ended.id} in Spaces-99 was deleted, or": parent(scene, ended.id, space="Spaces-99"),
    }
    children = [marked(scene, by) for by in expected.values()]
    cleaned = run(stage)
    assert "Success" == cleaned.state
    assert "" == cleaned.outputs["Orphans"]
    assert {child["TaskId"] for child in children} == set(cleaned.outputs["Uncertain"].split(","))
    for words in expected:
        assert words in cleaned.log
    assert all(state(stage, child) != "Canceled" for child in children)


def test_a_parent_that_the_account_may_not_see(stage: Stage) -> None:
    """The same child with two keys: the one that sees the parent cancels, the other leaves it alone."""
    scene = stage.scene
    child = marked(scene, over(scene))
    blind = scene.emulator.add_key(projects={scene.projects["Child"]["Id"]})
    assert child["TaskId"] == run(stage, api_key=blind).outputs["Uncertain"]
    assert "Executing" == state(stage, child)
    assert child["TaskId"] == run(stage).outputs["Cancelled"]


def test_runbook_runs_and_scheduled_deployments_are_children_too(stage: Stage) -> None:
    scene, ended = stage.scene, over(stage.scene)
    runbook = scene.make_runbook("Child", "Tidy", [own_step("Tidy", seconds=LONG)])
    comments = f"Triggered by a test {Marker('0' * 24, 1, AWAITED, ended)}"
    tidying = scene.run_runbook(runbook, Comments=comments)
    scheduled = scene.deploy("Child", "1.0.0", Comments=comments, QueueTime="2099-01-01T00:00:00Z")
    cleaned = run(stage)
    assert {tidying["TaskId"], scheduled["TaskId"]} == set(cleaned.outputs["Cancelled"].split(",")), (
        cleaned.log
    )
    assert ["Canceled", "Canceled"] == [state(stage, tidying), state(stage, scheduled)]


def test_what_if_cancels_nothing(stage: Stage) -> None:
    child = marked(stage.scene, over(stage.scene))
    cleaned = run(stage, what_if=True)
    assert ("Success", child["TaskId"], "") == (
        cleaned.state,
        cleaned.outputs["Orphans"],
        cleaned.outputs["Cancelled"],
    )
    assert "What-if: 1 would be cancelled. Nothing was changed." in cleaned.log
    assert "Canceled" != state(stage, child)


def test_project_and_environment_narrow_the_search(stage: Stage) -> None:
    child = marked(stage.scene, over(stage.scene))
    assert "" == run(stage, project="Over").outputs["Orphans"]
    assert "" == run(stage, environment="Production").outputs["Orphans"]
    assert child["TaskId"] == run(stage, project="Child", environment="Test").outputs["Cancelled"]


def test_a_refused_cancel_fails_and_names_the_permission(stage: Stage) -> None:
    scene = stage.scene
    child = marked(scene, over(scene))
    weak = scene.emulator.add_key(
        permissions={"TaskView", "DeploymentView", "ProjectView", "EnvironmentView", "RunbookRunView"}
    )
    cleaned = run(stage, api_key=weak)
    assert ("Failed", "refused by the server") == (cleaned.state, cleaned.error.partition(":")[0]), (
        cleaned.log
    )
    assert "probably TaskCancel" in cleaned.error
    assert "Canceled" != state(stage, child)


def test_many_children_take_few_requests(stage: Stage) -> None:
    """Twenty to look at: one list of tasks, one of deployments, one of parents."""
    scene = stage.scene
    running = parent(scene, scene.deploy("Child", "1.0.0", "Test")["TaskId"])
    for _ in range(10):
        marked(scene, running)
        marked(scene, running, LEFT)
    before = len(scene.emulator.app.seen)
    task = stage.begin(ORPHANS, {})
    cleaned = stage.end(task)
    asked = [
        one.path
        for one in list(scene.emulator.app.seen)[before:]
        if "ids" in one.query or "active" in one.query
    ]
    assert "" == cleaned.outputs["Orphans"], cleaned.log
    assert ["tasks", "deployments", "tasks"] == [path.rsplit("/", 1)[-1] for path in asked]


def test_what_a_step_left_alone_in_time_is_no_orphan(stage: Stage) -> None:
    """Its marker says awaited; the result of the step that let it go on says so. Without the right to read that it is one."""
    scene = stage.scene
    values = {"project": "Child", "run_limit": "30s", "on_timeout": "leave"}
    late = stage.run(DEPLOY, values)
    assert "it goes on, as the step is told" in late.error
    [child] = scene.deployments("Child")
    assert [child["TaskId"]] == late.artifacts["Ours.result.json"]["left"]
    spared = run(stage)
    assert ("", "Executing") == (spared.outputs["Orphans"], state(stage, child)), spared.log
    assert "the step that awaited it left it alone when its time was out" in spared.log
    scene.emulator.faults.add(method="GET", path=r"/artifacts$", kind="status", status=403)
    assert child["TaskId"] == run(stage, what_if=True).outputs["Orphans"]
