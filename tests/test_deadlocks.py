"""Deadlocks at run time: real scripts on the emulator wait for each other; each circle is named, and the right step gives way.

Times are the emulator's. Three minutes is the promise; every parent here would otherwise wait for hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest

from tests.locks.lock_scene import LockScene
from tests.scene import Document, Scene, open_scene, own_step

DEPLOY = "Octopus - Deploy Release"
WAIT = "Octopus - Wait For Deployment"
PATIENT = {"queue_limit": "5h", "run_limit": "5h"}
SPEED = 20
LONGEST = 180.0


@pytest.fixture
def scene() -> Iterator[Scene]:
    with open_scene(speed=SPEED, task_cap=20) as opened:
        yield opened


def deploys(scene: Scene, child: str, **values: Any) -> Document:
    return scene.step(DEPLOY, f"Deploy {child}", {"project": child, **PATIENT, **values})


def waits(scene: Scene, project: str, **values: Any) -> Document:
    return scene.step(
        WAIT, f"Wait for {project}", {"project": project, "until": "ended", **PATIENT, **values}
    )


def make(scene: Scene, name: str, *steps: Document, variables: Sequence[Document] = ()) -> None:
    scene.make_project(name, steps=steps)
    if variables:
        scene.set_variables(scene.projects[name]["VariableSetId"], variables)
    scene.make_release(name, "1.0.0")


def tagged(value: str) -> list[Document]:
    return [{"Name": "Octopus.Task.ConcurrencyTag", "Value": value, "Type": "String", "Scope": {}}]


def lasted(task: Document) -> float:
    return (
        datetime.fromisoformat(task["CompletedTime"]) - datetime.fromisoformat(task["StartTime"])
    ).total_seconds()


def waited(scene: Scene, task: Document, line: str) -> float:
    """Seconds from that line of its log to the end of the task."""
    details = scene.client.get(f"tasks/{task['Id']}/details", verbose="true")
    elements = [one for activity in details["ActivityLogs"] for one in elements_of(activity)]
    [first, *_] = [one["OccurredAt"] for one in elements if line in one["MessageText"]]
    return (datetime.fromisoformat(task["CompletedTime"]) - datetime.fromisoformat(first)).total_seconds()


def elements_of(activity: Document) -> Iterator[Document]:
    yield from activity["LogElements"]
    for child in activity["Children"]:
        yield from elements_of(child)


def test_two_that_wait_for_each_other(scene: Scene) -> None:
    """A's child waits for A: the child's step began to wait last and gives way, and A reports that its child failed."""
    make(scene, "Child", waits(scene, "Parent"))
    make(scene, "Parent", deploys(scene, "Child"))
    parent = scene.deploy("Parent", "1.0.0")["TaskId"]
    ended = scene.wait(parent)
    [child] = scene.deployments("Child")
    log = scene.log(child["TaskId"])
    assert (scene.task(child["TaskId"])["State"], ended["State"]) == ("Failed", "Failed"), log
    error = scene.task(child["TaskId"])["ErrorMessage"]
    assert error.startswith("deadlock: "), error
    assert f"Deploy Parent release 1.0.0 to Test ({parent})" in error
    assert ended["ErrorMessage"].startswith("child failed: ")
    assert lasted(ended) <= LONGEST
    assert "this task waits for Deploy Parent" in log, log


def test_a_child_in_line_behind_its_own_parent(scene: Scene) -> None:
    """The parent deploys its own project to its own environment: one at a time, for ever."""
    scene.make_project("Parent")
    scene.put_steps("Parent", [deploys(scene, "Parent")])
    scene.make_release("Parent", "1.0.0")
    parent = scene.deploy("Parent", "1.0.0")["TaskId"]
    ended = scene.wait(parent)
    assert ended["State"] == "Failed"
    assert ended["ErrorMessage"].startswith("deadlock: 1.0.0 of Parent in Test"), ended["ErrorMessage"]
    assert "one at a time in the same project, environment and tenant" in ended["ErrorMessage"]
    assert lasted(ended) <= LONGEST
    assert scene.states("Parent") == ["Failed", "Canceled"]


def test_parent_and_child_with_one_concurrency_tag(scene: Scene) -> None:
    make(scene, "Child", own_step("Work"), variables=tagged("#{Octopus.Environment.Name}"))
    make(scene, "Parent", deploys(scene, "Child"), variables=tagged("#{Octopus.Environment.Name}"))
    ended = scene.run("Parent", "1.0.0")
    assert ended["ErrorMessage"].startswith("deadlock: 1.0.0 of Child in Test"), ended["ErrorMessage"]
    assert "they have a concurrency tag in common" in ended["ErrorMessage"]
    assert lasted(ended) <= LONGEST
    assert scene.states("Child") == ["Canceled"]


def test_a_task_cap_full_of_waiters() -> None:
    """Each of two parents holds one of two slots and waits for a child in the queue: one gives way, and the other goes on."""
    with open_scene(speed=SPEED, task_cap=2) as scene:
        for name in ("Left", "Right"):
            make(scene, f"{name} child", own_step("Work"))
            make(scene, name, deploys(scene, f"{name} child"))
        tasks = [scene.deploy(name, "1.0.0")["TaskId"] for name in ("Left", "Right")]
        ended = [scene.wait(task) for task in tasks]
        told = "\n".join(scene.log(task) for task in tasks)
        assert sorted(task["State"] for task in ended) == ["Failed", "Success"], told
        [failed] = [task for task in ended if task["State"] == "Failed"]
        assert failed["ErrorMessage"].startswith("deadlock: "), told
        assert "the task cap of 2 is full" in failed["ErrorMessage"]
        assert lasted(failed) <= LONGEST


def test_a_task_cap_of_one(scene: Scene) -> None:
    """A parent and its child would block each other for ever."""
    with open_scene(speed=SPEED, task_cap=1) as scene:
        make(scene, "Child", own_step("Work"))
        make(scene, "Parent", deploys(scene, "Child"))
        ended = scene.run("Parent", "1.0.0")
        assert ended["ErrorMessage"].startswith("deadlock: 1.0.0 of Child in Test"), ended["ErrorMessage"]
        assert "the task cap of 1 is full" in ended["ErrorMessage"]
        assert lasted(ended) <= LONGEST


def test_without_the_right_to_count_tasks_it_is_suspected() -> None:
    """The chain stands in the log within three minutes; what ends the wait is the queue limit, whose sentence tells it again."""
    with open_scene(speed=SPEED, task_cap=1) as scene:
        key = scene.emulator.add_key(permissions=ALL_BUT_NODES)
        make(scene, "Child", own_step("Work"))
        make(scene, "Parent", deploys(scene, "Child", api_key=key, queue_limit="3m"))
        ended = scene.run("Parent", "1.0.0")
        log = scene.log(ended["Id"])
        assert "Warning: This looks like a deadlock: this task waits for Deploy Child" in log, log
        assert ended["ErrorMessage"].startswith("timed out: 1.0.0 of Child in Test"), log
        assert "this looks like a deadlock" in ended["ErrorMessage"]


ALL_BUT_NODES = {
    "ProjectView", "EnvironmentView", "ReleaseView", "DeploymentView", "DeploymentCreate", "TaskView", "TaskCancel",
    "TenantView", "VariableView", "LifecycleView", "ProcessView", "InterruptionView", "ArtifactView",
}  # fmt: skip


def test_a_full_task_cap_without_waiters_is_no_deadlock() -> None:
    """The parent itself stands ahead of its child, among others that work: they end, and then it goes on."""
    with open_scene(speed=SPEED, task_cap=2) as scene:
        make(scene, "Child", own_step("Work"))
        make(scene, "Busy", own_step("Work", seconds=220))
        make(scene, "Parent", deploys(scene, "Child"))
        scene.deploy("Busy", "1.0.0")
        ended = scene.run("Parent", "1.0.0")
        log = scene.log(ended["Id"])
        assert ended["State"] == "Success", log
        assert "deadlock" not in log
        assert "the task cap of 2 is full" in log


def test_a_chain_of_five(scene: Scene) -> None:
    """One deploys Two, which deploys Three, and so on; Five waits for One."""
    names = ["One", "Two", "Three", "Four", "Five"]
    make(scene, "Five", waits(scene, "One"))
    for name, child in reversed(list(itertools.pairwise(names))):
        make(scene, name, deploys(scene, child))
    ended = scene.run("One", "1.0.0")
    [five] = scene.deployments("Five")
    error = scene.task(five["TaskId"])["ErrorMessage"]
    assert error.startswith("deadlock: "), error
    assert all(f"Deploy {name} release" in error for name in names[:4]), error
    assert ended["State"] == "Failed"
    assert lasted(scene.task(five["TaskId"])) <= LONGEST


# --- locks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def locks(scene: Scene) -> LockScene:
    return LockScene(scene)


def test_a_lock_held_by_a_task_that_waits_for_the_asker(locks: LockScene) -> None:
    """The parent holds the lock and waits for its child, which asks for it: the child began to wait last and gives way."""
    scene = locks.scene
    make(scene, "Child", locks.take(wait_limit="5h"), own_step("Work"), locks.give_back())
    make(scene, "Parent", locks.take(), deploys(scene, "Child"), locks.give_back())
    ended = scene.run("Parent", "1.0.0")
    [child] = scene.deployments("Child")
    task = scene.task(child["TaskId"])
    assert task["ErrorMessage"].startswith("deadlock: this step could never take the lock Database"), task
    assert "waits for a lock that is held by Deploy Parent release 1.0.0 to Test" in task["ErrorMessage"]
    assert ended["ErrorMessage"].startswith("child failed: ")
    assert waited(scene, task, "Waiting: the lock") <= LONGEST
    assert locks.holders() == locks.waiters() == []


def test_two_locks_taken_in_opposite_orders(locks: LockScene) -> None:
    """One of both gives way, and the other goes on when that one's locks are given back."""
    scene = locks.scene
    for name, first, second in (("Left", "One", "Two"), ("Right", "Two", "One")):
        steps = [
            locks.take("First", first),
            own_step("Pause", seconds=60),
            locks.take("Second", second, wait_limit="5h"),
            locks.give_back("Back", second),
            locks.give_back("Back too", first),
        ]
        make(scene, name, *steps)
    tasks = [locks.begin(name) for name in ("Left", "Right")]
    ended = [scene.wait(task) for task in tasks]
    told = "\n".join(scene.log(task) for task in tasks)
    assert sorted(task["State"] for task in ended) == ["Failed", "Success"], told
    [failed] = [task for task in ended if task["State"] == "Failed"]
    assert failed["ErrorMessage"].startswith("deadlock: this step could never take the lock"), told
    assert waited(scene, failed, "Waiting: the lock") <= LONGEST
