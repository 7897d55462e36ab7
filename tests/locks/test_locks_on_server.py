"""The lock steps on an emulated server: rendered scripts in processes of their own, as Octopus' runner starts them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from lock_scene import (
    ACQUIRE,
    RELEASE,
    LockScene,
    answer,
    cancel,
    manual,
    named,
    open_lock_scene,
    together,
    variables,
)

from generator.commands.locks import run as show_locks
from generator.octopus.client import connect
from generator.runtime.lock_state import LOCK_FORMAT_VARIABLE, LOCK_SET_NAME
from tests.processes import needs_proc, script_processes
from tests.scene import ROOT, Scene, own_step


@pytest.fixture
def locks() -> Iterator[LockScene]:
    with open_lock_scene() as opened:
        yield opened


def test_two_projects_exclude_each_other(locks: LockScene) -> None:
    """The second waits in line, says for whom, and holds the lock when the first has given it back."""
    for name in ("Shop", "Web"):
        locks.project(name, own_step("Work", seconds=20))
    first = locks.begin("Shop")
    locks.until_held_by(first)
    second = locks.begin("Web")
    locks.until_waiting(second)
    assert locks.holders() == [first]
    assert [locks.scene.wait(task)["State"] for task in (first, second)] == ["Success", "Success"]
    log = locks.scene.log(second)
    assert "Wait: Waiting: the lock Database is held by Shop 1.0.0 to Test, step Take (" + first in log, log
    assert f"{locks.emulator.url}/app#/Spaces-1/deployments/Deployments-1" in log, log
    assert "Highlight: This task holds the lock Database after" in log, log
    assert "Highlight: The lock Database is given back, held for" in locks.scene.log(first)
    state = locks.lock()
    assert state.holders == state.waiters == ()
    assert state.fence > 1_700_000_000


def test_a_paused_holder_keeps_it_and_a_cancelled_one_loses_it(locks: LockScene) -> None:
    """A task that waits for a person is alive; a cancelled one is not, and the next waiter sees it at its next look."""
    locks.project("Shop", manual("Approve"))
    locks.project("Web")
    holder = locks.begin("Shop")
    locks.until_held_by(holder)
    scene = locks.scene
    scene.wait_until(lambda: scene.task(holder)["HasPendingInterruptions"], "it is paused")
    assert scene.task(holder)["State"] == "Queued"
    waiter = locks.begin("Web")
    locks.until_waiting(waiter)
    looks = locks.looks()
    scene.wait_until(lambda: locks.looks() > looks + 6, "it was looked at again and again", waiter)
    assert locks.holders() == [holder]
    cancel(scene, holder)
    looks = len([one for one in locks.emulator.seen if one.path == "/api/Spaces-1/tasks"])
    assert scene.wait(waiter)["State"] == "Success"
    after = [one for one in locks.emulator.seen if one.path == "/api/Spaces-1/tasks"][looks:]
    log = scene.log(waiter)
    # One look that began before the cancel may still be under way; then the very next one sees it; the last is the release's.
    assert len(after) <= 3, (after, log)
    assert f"step Take ({holder}) has ended as Canceled without giving its place back" in log, log
    assert "waits for a person" in log, log


def test_a_killed_waiter_leaves_nothing_that_lasts(locks: LockScene) -> None:
    """The place of a waiter whose task was cancelled goes with the next one's look."""
    locks.project("Shop", manual("Approve"))
    locks.project("Web")
    locks.project("Search")
    holder = locks.begin("Shop")
    locks.until_held_by(holder)
    cancelled, waiter = locks.begin("Web"), ""
    locks.until_waiting(cancelled)
    cancel(locks.scene, cancelled)
    assert locks.scene.wait(cancelled)["State"] == "Canceled"
    assert locks.waiters() == [cancelled]
    waiter = locks.begin("Search")
    locks.scene.wait_until(lambda: locks.waiters() == [waiter], "the dead waiter is gone", waiter)
    answer(locks.scene, holder)
    assert [locks.scene.wait(task)["State"] for task in (holder, waiter)] == ["Success", "Success"]


def test_parallel_steps_of_one_task_do_not_both_enter(locks: LockScene) -> None:
    """A second step of the task that holds the lock would wait for itself: it fails, and the lock is given back all the same."""
    locks.scene.make_project(
        "Shop",
        steps=[*together(locks.take("Left"), locks.take("Right")), locks.give_back()],
        releases=["1.0.0"],
    )
    task = locks.begin("Shop")
    error = locks.error(task)
    log = locks.scene.log(task)
    assert "misconfigured: the lock Database is held by another step of this task (" in error, log
    assert log.count("This task holds the lock Database") == 1, log
    assert "The lock Database is given back" in log, log
    assert locks.lock().holders == locks.lock().waiters == ()


def test_machines_of_one_step_do_not_both_enter(locks: LockScene) -> None:
    """A rolling step takes the lock machine by machine: the second one finds it busy."""
    for name in ("web01", "web02"):
        body = {"Name": name, "Roles": ["web"], "EnvironmentIds": [locks.scene.environments["Test"]]}
        locks.scene.client.post("machines", body)
    step = {**locks.take(when_busy="fail"), "Properties": {"Octopus.Action.TargetRoles": "web"}}
    locks.scene.make_project("Shop", steps=[step, locks.give_back()], releases=["1.0.0"])
    task = locks.begin("Shop")
    error, log = locks.error(task), locks.scene.log(task)
    assert "refused: the lock Database is held by Shop 1.0.0 to Test, step Take on web01" in error, log
    assert log.count("This task holds the lock Database") == 1, log
    assert "The lock Database is given back" in log, log


def test_modes_scopes_and_refusals_in_one_deployment(locks: LockScene) -> None:
    """Shared with others up to n; one lock for each environment; a lock that is not held is given back with a message."""
    locks.project("Shop", manual("Approve"), mode="shared by up to 2")
    locks.project("Web", mode="shared 2")
    locks.project("Search", mode="shared by up to 2", when_busy="fail")
    locks.project("Alone", when_busy="fail")
    first = locks.begin("Shop")
    locks.until_held_by(first)
    second = locks.begin("Web")
    assert locks.scene.wait(second)["State"] == "Success", locks.scene.log(second)
    assert "This task holds the lock Database, shared by up to 2. Fence" in locks.scene.log(second)
    assert "refused: the lock Database is held by Shop 1.0.0 to Test" in locks.error(locks.begin("Alone"))
    steps = [
        locks.take("Take", scope="environment", when_busy="fail"),
        locks.give_back("Give back another", lock="Other"),
        locks.give_back("Give back", scope="environment"),
    ]
    locks.scene.make_project("Scoped", steps=steps, releases=["1.0.0"])
    scoped = locks.begin("Scoped")
    assert locks.scene.wait(scoped)["State"] == "Success", locks.scene.log(scoped)
    assert locks.lock("Database (in Test)").fence > 0
    log = locks.scene.log(scoped)
    told = "Info: This task does not hold the lock Other: there is nothing to give back. It holds: Database (in Test)."
    assert told in log, log
    locks.project("Late", wait_limit="40s")
    task = locks.begin("Late")
    error = locks.error(task)
    assert error.startswith("timed out: not within 40 s: the lock Database is held by Shop"), error
    assert locks.holders() == [first]
    assert locks.waiters() == []
    answer(locks.scene, first)
    assert locks.scene.wait(first)["State"] == "Success"


def test_spaces_and_runbooks(locks: LockScene) -> None:
    """A deployment in one space and a runbook in another exclude each other by a lock that is kept in a third place."""
    emulator = locks.emulator
    with locks.scene.by_hand() as client:
        client.post("/api/spaces", {"Name": "Other", "SpaceManagersTeamMembers": ["Users-1"]})
    with connect(emulator.url, api_key=emulator.api_key, space="Other") as client:
        other = LockScene(Scene(emulator, client), with_set=False)
        other.scene.make_environment("Test")
        where = {"space": "Default"}
        steps = [other.take(**where), own_step("Work", seconds=1), other.give_back(**where)]
        other.scene.make_project("There")
        runbook = other.scene.make_runbook("There", "Tidy up", steps)
        locks.project("Here", manual("Approve"))
        holder = locks.begin("Here")
        locks.until_held_by(holder)
        waiter = str(other.scene.run_runbook(runbook)["TaskId"])
        locks.until_waiting(waiter)
        listed: Any = show_locks(root=ROOT, environ=locks.scene.environ).data
        [lock] = listed["locks"]
        assert [one["task"] for one in (*lock["holders"], *lock["waiters"]) if one["isAlive"]] == [
            holder,
            waiter,
        ]
        answer(locks.scene, holder)
        assert other.scene.wait(waiter)["State"] == "Success", other.scene.log(waiter)
        again = str(other.scene.run_runbook(runbook)["TaskId"])
        locks.until_held_by(again)
        cancel(other.scene, again)
        task = locks.begin("Here")
        locks.until_held_by(task)
        log = locks.scene.log(task)
        assert "There Tidy up to Test, step Take" in log, log
        answer(locks.scene, task)
        assert locks.scene.wait(task)["State"] == "Success"


def test_an_owner_that_may_not_be_seen_keeps_the_lock(locks: LockScene) -> None:
    """Not returned is not ended: the missing permission is named, and only an explicit age breaks the lock."""
    locks.project("Shop", manual("Approve"))
    scene = locks.scene
    holder = locks.begin("Shop")
    locks.until_held_by(holder)
    cancel(scene, holder)
    assert scene.wait(holder)["State"] == "Canceled"
    web = scene.make_project("Web")
    blind = locks.emulator.add_key(projects=[web["Id"]])
    scene.put_steps("Web", [locks.take(api_key=blind, wait_limit="1m"), locks.give_back(api_key=blind)])
    scene.make_release("Web", "1.0.0")
    task = locks.begin("Web")
    assert locks.error(task).startswith("timed out: not within 1 m: the lock Database is held by Shop"), (
        scene.log(task)
    )
    log = scene.log(task)
    assert "Warning: The lock Database: the server does not show this account the task of Shop" in log, log
    assert "TaskView is missing for its project in Spaces-1" in log, log
    assert locks.holders() == [holder]
    scene.put_steps("Web", [locks.take(api_key=blind, break_after="1m"), locks.give_back(api_key=blind)])
    scene.make_release("Web", "1.1.0")
    task = str(scene.deploy("Web", "1.1.0")["TaskId"])
    assert scene.wait(task)["State"] == "Success", scene.log(task)
    assert "is broken, for its task is not to be seen and it is older than 1 m" in scene.log(task)


@needs_proc
def test_a_killed_and_retried_step_holds_on(locks: LockScene) -> None:
    """The step was killed when the server had just written its claim; its retry finds the lock its own, with a newer fence."""
    scene, faults = locks.scene, locks.emulator.faults
    step = locks.take()
    step["Actions"][0]["Properties"]["Octopus.Action.AutoRetry.MaximumCount"] = "1"
    scene.make_project("Shop", steps=[step, locks.give_back()], releases=["1.0.0"])
    variables_of_set = r"/variables/variableset-Lib"
    faults.add(path=variables_of_set, method="PUT", kind="lost_answer")
    faults.add(path=variables_of_set, method="GET", kind="slow", delay=3, after=1)
    task = locks.begin("Shop")
    state = locks.emulator.state
    set_id, _ = variables_id(scene)
    scene.wait_until(
        lambda: len(state.get("Variables", set_id)["Variables"]) > 1, "the server has written the claim", task
    )
    [victim] = script_processes()
    os.kill(victim, signal.SIGKILL)
    assert scene.wait(task)["State"] == "Success", scene.log(task)
    log = scene.log(task)
    fences = [int(line.rsplit("Fence ", 1)[1].rstrip(".")) for line in log.splitlines() if "Fence " in line]
    assert len(fences) == 2, log
    assert fences[0] == fences[1], log
    assert locks.lock().fence == fences[0]


def variables_id(scene: Scene) -> tuple[str, str]:
    [found] = [
        one for one in scene.emulator.state.where("LibraryVariableSets") if one["Name"] == LOCK_SET_NAME
    ]
    return found["VariableSetId"], found["Id"]


def test_lost_answers_and_foreign_edits(locks: LockScene) -> None:
    """Writes whose answers are lost are looked for; what people keep in the set, secrets included, is still there afterwards."""
    scene = locks.scene
    set_id, found = variables(scene)
    secret = {"Name": "Secret", "Value": "s3cret", "Type": "Sensitive", "IsSensitive": True, "Scope": {}}
    scoped = {"Name": "Scoped", "Value": "x", "Scope": {"Environment": [scene.environments["Test"]]}}
    scene.set_variables(set_id, [*found, secret, scoped])
    before = {one["Name"]: one for one in locks.emulator.state.get("Variables", set_id)["Variables"]}
    locks.project("Shop")
    paths = r"/variables/variableset-Lib"
    locks.emulator.faults.add(path=paths, method="PUT", kind="lost_answer")
    locks.emulator.faults.add(path=paths, method="PUT", kind="status", status=503)
    locks.emulator.faults.add(path=paths, method="GET", kind="html", status=502, after=1)
    task = locks.begin("Shop")
    assert scene.wait(task)["State"] == "Success", scene.log(task)
    assert [fault.hits for fault in locks.emulator.faults.rules] == [1, 1, 1]
    after = {one["Name"]: one for one in locks.emulator.state.get("Variables", set_id)["Variables"]}
    assert {name: after[name] for name in before} == before
    assert (
        after["Secret"]["Value"] is before["Secret"]["Value"]
        or after["Secret"]["Value"] == before["Secret"]["Value"]
    )
    assert locks.lock().holders == ()


def test_what_is_not_set_up_is_told(locks: LockScene) -> None:
    """No set, a set without its mark, one of a newer format, a variable that holds no lock, an account without the permission."""
    scene = locks.scene
    set_id, found = variables(scene)
    locks.project("Shop", when_busy="fail")
    mark = named(found, LOCK_FORMAT_VARIABLE)
    cases = [
        (
            [{"Name": "Database", "Value": "{}", "Scope": {}}, mark],
            "holds no lock (KeyError: 'fence'): make sure that",
        ),
        ([{**mark, "Value": "2"}], "the locks are kept in format '2', and this step knows 1"),
        ([], "shows no variable octosteps.locks: `octosteps apply` completes a set"),
    ]
    for written, sentence in cases:
        scene.set_variables(set_id, written)
        error = locks.error(locks.begin("Shop"))
        assert error.startswith("misconfigured: "), error
        assert sentence in error
        if written:
            assert {one["Name"]: one["Value"] for one in variables(scene)[1]} == {
                one["Name"]: one["Value"] for one in written
            }
    with scene.by_hand() as client:
        [kept] = [one for one in client.pages("libraryvariablesets") if one["Name"] == LOCK_SET_NAME]
        client.put(f"libraryvariablesets/{kept['Id']}", {**kept, "Name": "Put aside"})
    error = locks.error(locks.begin("Shop"))
    assert error.startswith(f"misconfigured: the library has no variable set '{LOCK_SET_NAME}'"), error
    with scene.by_hand() as client:
        client.put(f"libraryvariablesets/{kept['Id']}", kept)
    scene.set_variables(set_id, [dict(mark)])
    reader = locks.emulator.add_key(
        permissions=["LibraryVariableSetView", "VariableView", "TaskView", "SpaceView"]
    )
    scene.put_steps("Shop", [locks.take(api_key=reader)])
    scene.make_release("Shop", "2.0.0")
    task = str(scene.deploy("Shop", "2.0.0")["TaskId"])
    error = locks.error(task)
    assert error.startswith("refused by the server: PUT /api/Spaces-1/variables/"), error
    assert "probably LibraryVariableSetEdit, VariableEdit and VariableEditUnscoped" in error


def test_the_templates_are_built_in() -> None:
    from generator.locks import LOCK_TEMPLATES
    from tests.scene import known

    assert {ACQUIRE, RELEASE} == LOCK_TEMPLATES <= set(known())
