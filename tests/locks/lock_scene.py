"""Projects on an emulated server whose steps take and give back locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from generator.locks import make_lock_set, read_lock_set
from generator.runtime.lock_state import LockState, parse_lock
from tests.scene import Document, Scene, open_scene, own_step

ACQUIRE, RELEASE = "Octopus - Acquire Lock", "Octopus - Release Lock"


class LockScene:
    """A server with the set for locks in its first space. `speed` is how much faster than real its clock runs."""

    def __init__(self, scene: Scene, *, with_set: bool = True) -> None:
        self.scene = scene
        self.emulator = scene.emulator
        if with_set:
            make_lock_set(scene.client)

    def take(self, name: str = "Take", lock: str = "Database", **values: Any) -> Document:
        return self.scene.step(ACQUIRE, name, {"lock": lock, **values})

    def give_back(self, name: str = "Give back", lock: str = "Database", **values: Any) -> Document:
        return {**self.scene.step(RELEASE, name, {"lock": lock, **values}), "Condition": "Always"}

    def project(self, name: str, *steps: Document, **values: Any) -> Document:
        """One that takes the lock, does `steps`, and gives the lock back. `values` are those of its first step."""
        steps = steps or (own_step("Work", seconds=5),)
        return self.scene.make_project(
            name, steps=[self.take(**values), *steps, self.give_back()], releases=["1.0.0"]
        )

    def begin(self, name: str, environment: str = "Test", **fields: Any) -> str:
        """The task id of a deployment that was just queued."""
        return str(self.scene.deploy(name, "1.0.0", environment, **fields)["TaskId"])

    def lock(self, name: str = "Database") -> LockState:
        """The lock as the server has it; one without claims when there is none."""
        found = read_lock_set(self.scene.client)
        assert found is not None
        for variable in self.scene.client.get(f"variables/{found.variables_id}")["Variables"]:
            if variable["Name"].lower() == name.lower():
                return parse_lock(variable["Value"])
        return LockState(0)

    def holders(self, name: str = "Database") -> list[str]:
        return [claim.task for claim in self.lock(name).holders]

    def waiters(self, name: str = "Database") -> list[str]:
        return [claim.task for claim in self.lock(name).waiters]

    def until_held_by(self, task: str, name: str = "Database") -> None:
        self.scene.wait_until(lambda: task in self.holders(name), f"{task} holds {name}", task)

    def until_waiting(self, task: str, name: str = "Database") -> None:
        self.scene.wait_until(lambda: task in self.waiters(name), f"{task} waits for {name}", task)

    def error(self, task: str) -> str:
        return str(self.scene.wait(task)["ErrorMessage"])

    def looks(self) -> int:
        """How often anybody has read the locks."""
        return sum(
            1
            for seen in self.emulator.seen
            if seen.method == "GET" and "/variables/variableset-Lib" in seen.path
        )


@contextmanager
def open_lock_scene(*, with_set: bool = True, **options: Any) -> Iterator[LockScene]:
    with open_scene(**{"speed": 30, "task_cap": 20, **options}) as scene:
        yield LockScene(scene, with_set=with_set)


def manual(name: str) -> Document:
    """A step that waits for a person."""
    properties = {"Octopus.Action.Manual.Instructions": "Go on?"}
    action = {"Name": name, "ActionType": "Octopus.Manual", "Properties": properties}
    return {"Name": name, "Properties": {}, "Actions": [action]}


def script_step(name: str, script: str) -> Document:
    """A Python step that people wrote."""
    properties = {
        "Octopus.Action.RunOnServer": "true",
        "Octopus.Action.Script.ScriptSource": "Inline",
        "Octopus.Action.Script.Syntax": "Python",
        "Octopus.Action.Script.ScriptBody": script,
    }
    action = {"Name": name, "ActionType": "Octopus.Script", "Properties": properties}
    return {"Name": name, "Properties": {}, "Actions": [action]}


def together(first: Document, *others: Document) -> list[Document]:
    """Steps that run side by side."""
    return [first, *({**one, "StartTrigger": "StartWithPrevious"} for one in others)]


def answer(scene: Scene, task: str, result: str = "Proceed") -> None:
    """What a person says who is asked by this task."""
    with scene.by_hand() as client:
        [asked] = scene.wait_until(
            lambda: list(client.pages("interruptions", regarding=task, pendingOnly="true")),
            "a person is asked",
            task,
        )
        client.put(f"interruptions/{asked['Id']}/responsible", None)
        client.post(f"interruptions/{asked['Id']}/submit", {"Result": result, "Notes": ""})


def cancel(scene: Scene, task: str) -> None:
    with scene.by_hand() as client:
        client.post(f"tasks/{task}/cancel")


def variables(scene: Scene) -> tuple[str, list[Document]]:
    """The id of the set's variables, and the variables."""
    found = read_lock_set(scene.client)
    assert found is not None
    listed: Sequence[Document] = scene.client.get(f"variables/{found.variables_id}")["Variables"]
    return found.variables_id, list(listed)


def add_variable(scene: Scene, variable: Document) -> None:
    """As a person does in the portal: what was read goes back with its Version. ApiError when others were faster."""
    set_id, _ = variables(scene)
    page = scene.client.get(f"variables/{set_id}")
    scene.client.put(f"variables/{set_id}", {**page, "Variables": [*page["Variables"], variable]})


def named(found: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    [one] = [item for item in found if item["Name"] == name]
    return one
