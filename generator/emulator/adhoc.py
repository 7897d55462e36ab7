"""Tasks that belong to no project: a script or a step template run by hand, and the server's own chores, which pretend.

Source: OctopusClients, Model/BuiltInTasks.cs (names and arguments) and Repositories/Async/TaskRepository.cs
(ExecuteAdHocScript, ExecuteActionTemplate). Which variables such a script sees is unconfirmed beyond its own parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from generator.emulator import actions
from generator.emulator.actions import CANCELED, FAILED, Place
from generator.emulator.documents import Document, Secret, text_of
from generator.emulator.execution import WORKER, Settings
from generator.emulator.manifest import StepVariables
from generator.emulator.state import State
from generator.emulator.tasks import Task

SCRIPT = "AdHocScript"
# They find nothing to do and succeed.
CHORES = frozenset({"Health", "Retention", "Backup", "Upgrade", "UpdateCalamari", "TestEmail"})


@dataclass(frozen=True)
class AdHocRun:
    state: State
    task: Task
    settings: Settings

    def run(self) -> str:
        """The state that the task ends in."""
        if self.task.name != SCRIPT:
            with self.state.lock:
                self._log("Info", f"The emulator has nothing to do for {self.task.name}")
            return "Success"
        action = self.task.arguments["_action"]
        with self.state.lock:
            places = list(self._places())
            if not places:
                self.task.error = "There are no machines to run the script on."
                self._log("Fatal", self.task.error)
        results = [self._run_at(place, action) for place in places]
        failed = [result for result in results if result.outcome in (FAILED, CANCELED)]
        if failed:
            self.task.error = failed[0].message
        return "Failed" if failed or not places else "Success"

    def _run_at(self, place: Place, action: Document) -> actions.Result:
        with self.state.lock:
            node = self.task.root.child(f"Run script on: {place.name}")
            node.begin(self.state.clock.now())
        result = actions.run(
            actions.Context(
                state=self.state,
                task=self.task,
                action=action,
                variables=self._variables(place, action),
                node=node,
                place=place,
                interpreter=self.settings.interpreter,
                stands_alone=False,
            )
        )
        with self.state.lock:
            if result.outcome == FAILED:
                self.task.log(node, "Fatal", result.message, self.state.clock.now())
            status = {FAILED: "Failed", CANCELED: "Canceled"}.get(result.outcome, "Success")
            node.end(
                "SuccessWithWarning" if status == "Success" and node.troubled else status,
                self.state.clock.now(),
            )
            self.state.changed.notify_all()
        return result

    def _places(self) -> Iterator[Place]:
        """`TargetType`: Machines, Environments (with `TargetRoles`), or a worker for all others."""
        arguments = self.task.arguments
        kind = arguments.get("TargetType") or ("Machines" if arguments.get("MachineIds") else "OctopusServer")
        if kind not in ("Machines", "Environments"):
            yield Place(name=WORKER)
            return
        roles = {role.casefold() for role in arguments.get("TargetRoles") or ()}
        ids, environments = arguments.get("MachineIds") or (), set(arguments.get("EnvironmentIds") or ())
        for machine in self.state.where("Machines", SpaceId=self.task.space_id, IsDisabled=False):
            named = machine["Id"] in ids
            around = environments & set(machine["EnvironmentIds"]) and (
                not roles or roles & {role.casefold() for role in machine["Roles"]}
            )
            if named or (kind == "Environments" and around):
                yield Place(name=machine["Name"], machine_id=machine["Id"], roles=tuple(machine["Roles"]))

    def _variables(self, place: Place, action: Document) -> StepVariables:
        space = self.state.get("Spaces", self.task.space_id)
        values = {
            "Octopus.Web.ServerUri": self.state.base_url,
            "Octopus.Web.BaseUrl": self.state.base_url,
            "Octopus.Space.Id": space["Id"],
            "Octopus.Space.Name": space["Name"],
            "Octopus.Task.Id": self.task.id,
            "Octopus.Task.Name": self.task.name,
            "Octopus.Machine.Id": place.machine_id or "",
            "Octopus.Machine.Name": place.name,
        }
        secrets = set()
        for name, value in action["Properties"].items():
            values[name] = text_of(value)
            if isinstance(value, Secret):
                secrets.add(name)
        return StepVariables(values, frozenset(secrets), ())

    def _log(self, category: str, text: str) -> None:
        self.task.log(self.task.root, category, text, self.state.clock.now())
