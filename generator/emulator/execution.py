"""A deployment as it runs: steps in their order with their conditions, actions on machines, retries and results.

Source: docs, Conditions; Output variables; Manual intervention; Custom scripts; OctopusClients, Model/ActivityElement.cs.
The wording of the log's own sentences is unconfirmed except where a source stands beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from generator.emulator import actions, manifest, queue, runs
from generator.emulator.actions import CANCELED, FAILED, SKIPPED, SUCCESS, Place, Result
from generator.emulator.documents import Document, text_of
from generator.emulator.manifest import Output, StepVariables
from generator.emulator.octostache import Variables, is_truthy
from generator.emulator.resources import freezes
from generator.emulator.scoping import machines_for
from generator.emulator.state import State
from generator.emulator.tasks import Activity, Task

RETRIES = "Octopus.Action.AutoRetry.MaximumCount"
BACKOFF = "Octopus.Action.AutoRetry.MinimumBackoff"
MOST_RETRIES = 3  # source: Library, deployment process; docs, Conditions
WORKER = "Worker"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`interpreter`: the Python for script steps, None = the one that runs the emulator."""

    interpreter: str | None = None


@dataclass(frozen=True)
class Step:
    number: int
    document: Document
    activity: Activity

    @property
    def name(self) -> str:
        return str(self.document["Name"])


@dataclass
class DeploymentRun:
    state: State
    task: Task
    settings: Settings
    outputs: list[Output] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    # Machines that a person excluded while it ran (guided failure).
    excluded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.deployment = runs.run_of(self.state, self.task)

    def run(self) -> str:
        """Carries out the deployment; the state its task ends in (a cancelled one is the engine's to tell)."""
        with self.state.lock:
            freeze = freezes.stops(self.state, self.deployment)
            if freeze is not None:
                self.task.error = f"The deployment was prevented by the deployment freeze '{freeze['Name']}'."
                self._log(self.task.root, "Fatal", self.task.error)
                return "Failed"
            process = runs.process_of(self.state, self.deployment)
            steps = [
                Step(number, document, self.task.root.child(f"Step {number}: {document['Name']}"))
                for number, document in enumerate(process["Steps"], start=1)
            ]
        for group in groups(steps):
            if self.task.cancel.is_set():
                break
            self._run_group(group)
        with self.state.lock:
            now = self.state.clock.now()
            for step in steps:
                if step.activity.ended is None:
                    step.activity.end("Canceled", now)
            if self.errors:
                self.deployment["FailureEncountered"] = True
                self.task.error = self.errors[0]
                # The general sentence stands in the log as Octopus writes it; the task carries the step's own message
                # (source: docs, Custom scripts, failing a script with a message).
                self._log(self.task.root, "Fatal", "The deployment failed because one or more steps failed. "
                          "Please see the deployment log for details.")  # fmt: skip
            elif not self.task.cancel.is_set():
                queue.supersede_paused(self.state, self.deployment, self.task)
        return "Failed" if self.errors else "Success"

    def _run_group(self, group: Sequence[Step]) -> None:
        """Steps of one group side by side; what they set is seen by the groups after them."""
        before = tuple(self.outputs)
        failed = bool(self.errors)
        results: list[list[Output]] = [[] for _ in group]
        bugs: list[Exception] = []

        def work(index: int, step: Step) -> None:
            try:
                results[index] = self._run_step(step, before, failed=failed)
            except Exception as error:  # told in the thread that can do something about it
                bugs.append(error)

        threads = [
            threading.Thread(
                target=work, args=(index, step), name=f"emulator {self.task.id} {step.name}", daemon=True
            )
            for index, step in enumerate(group[1:], start=1)
        ]
        for thread in threads:
            thread.start()
        work(0, group[0])
        for thread in threads:
            thread.join()
        if bugs:
            raise bugs[0]
        for outputs in results:
            self.outputs.extend(outputs)
            with self.state.lock:
                manifest.add_outputs(self.state, self.deployment, outputs)

    # --- one step --------------------------------------------------------------------------------------------------

    def _run_step(self, step: Step, before: tuple[Output, ...], *, failed: bool) -> list[Output]:
        reason = self._why_skipped(step, before, failed=failed)
        if reason:
            self._skip(step.activity, reason)
            self._note(step, SKIPPED, "")
            return []
        with self.state.lock:
            step.activity.begin(self.state.clock.now())
        made: list[Output] = []
        outcome, message = SKIPPED, ""
        for position, action in enumerate(step.document["Actions"], start=1):
            several = len(step.document["Actions"]) > 1
            with self.state.lock:
                label = f"Step {step.number}.{position}: {action['Name']}"
                node = step.activity.child(label) if several else step.activity
            if outcome in (FAILED, CANCELED):
                self._skip(node, "an earlier action of this step did not succeed")
                continue
            result = self._run_action(step, action, position, node, (*before, *made))
            made.extend(result.outputs)
            if result.outcome != SKIPPED:
                outcome, message = result.outcome, result.message
        with self.state.lock:
            now = self.state.clock.now()
            if step.activity.ended is None:
                step.activity.end(_status(outcome, step.activity), now)
            self._note(step, outcome, message)
            if outcome == FAILED:
                self.errors.append(message)
            self.state.changed.notify_all()
        return made

    def _why_skipped(self, step: Step, before: tuple[Output, ...], *, failed: bool) -> str | None:
        """The reason not to run the step at all, by its condition and the scope of its actions."""
        condition = step.document["Condition"]
        if condition == "Success" and failed:
            return "a previous step failed"
        if condition == "Failure" and not failed:
            return "no previous step failed"
        if condition == "Variable":
            expression = text_of(step.document["Properties"].get("Octopus.Step.ConditionVariableExpression"))
            if not self._holds(expression, step, before):
                return "its variable run condition was not true"
        reasons = [self._why_action_skipped(action) for action in step.document["Actions"]]
        return reasons[0] if all(reasons) else None

    def _why_action_skipped(self, action: Document) -> str | None:
        where = manifest.where_of_deployment(self.state, self.deployment)
        if action["IsDisabled"]:
            return "it is disabled"
        if action["Id"] in self.deployment["SkipActions"] and not action["IsRequired"]:
            return "it was excluded from this deployment"
        if where.excludes(action):
            return "it does not apply to this environment, channel or tenant"
        return None

    def _holds(
        self, expression: str, step: Step, before: tuple[Output, ...], action: Document | None = None
    ) -> bool:
        """Octostache's idea of true; an expression that stays unresolved is not (source: docs, Conditions)."""
        with self.state.lock:
            found = self._variables(step, action, 1, Place(name=WORKER), before)
        return Variables(found.values).evaluate_truthy(expression)

    def _skip(self, node: Activity, reason: str) -> None:
        with self.state.lock:
            now = self.state.clock.now()
            node.begin(now)
            self._log(node, "Info", f"Skipping this step as {reason}")
            node.end("Skipped", now)
            self.state.changed.notify_all()

    def _note(self, step: Step, outcome: str, message: str) -> None:
        """Status variables for later steps (source: docs, System variables, `Octopus.Step.Status`)."""
        code = {SUCCESS: "Succeeded", FAILED: "Failed", SKIPPED: "Skipped", CANCELED: "Canceled"}[outcome]
        with self.state.lock:
            for kind, names in (
                ("Step", [step.name]),
                ("Action", [action["Name"] for action in step.document["Actions"]]),
            ):
                for name in names:
                    self.statuses[f"Octopus.{kind}[{name}].Status.Code"] = code
                    self.statuses[f"Octopus.{kind}[{name}].Status.Error"] = message
                    self.statuses[f"Octopus.{kind}[{name}].Status.ErrorDetail"] = message
                    self.statuses[f"Octopus.{kind}[{name}].IsSkipped"] = str(outcome == SKIPPED)

    # --- one action ------------------------------------------------------------------------------------------------

    def _run_action(
        self, step: Step, action: Document, position: int, node: Activity, before: tuple[Output, ...]
    ) -> Result:
        reason = self._why_action_skipped(action)
        if reason is None and action["Condition"] == "Variable":
            expression = text_of(action["Properties"].get("Octopus.Action.ConditionVariableExpression"))
            reason = (
                None
                if self._holds(expression, step, before, action)
                else "its variable run condition was not true"
            )
        if reason:
            self._skip(node, reason)
            return Result(SKIPPED)
        places = list(self._places(step, action))
        if not places:
            self._skip(node, "no machine has one of its roles in this environment")
            return Result(SKIPPED)
        with self.state.lock:
            if node.started is None:
                node.begin(self.state.clock.now())
            reached = [place.machine_id for place in places if place.machine_id is not None]
            known = self.deployment["DeployedToMachineIds"]
            known.extend(identifier for identifier in reached if identifier not in known)
        outputs: list[Output] = []
        results = []
        for place in places:
            result = self._run_guided(step, action, position, place, node, before)
            outputs.extend(result.outputs)
            results.append(result)
            if result.outcome in (FAILED, CANCELED):
                break
        with self.state.lock:
            if node is not step.activity:
                node.end(_status(results[-1].outcome, node), self.state.clock.now())
        return Result(results[-1].outcome, results[-1].message, tuple(outputs))

    def _places(self, step: Step, action: Document) -> Iterator[Place]:
        """Where the action runs: once on a worker, or for each machine with one of the step's roles."""
        environment = self.state.get("Environments", self.deployment["EnvironmentId"])
        tenant = self.state.find("Tenants", self.deployment["TenantId"])
        machines = machines_for(self.state, step.document, action, environment=environment, tenant=tenant)
        if machines is None:
            yield Place(name=WORKER)
            return
        only = self.deployment["SpecificMachineIds"]
        never = {*self.deployment["ExcludedMachineIds"], *self.excluded}
        for machine in machines:
            if (not only or machine["Id"] in only) and machine["Id"] not in never:
                yield Place(name=machine["Name"], machine_id=machine["Id"], roles=tuple(machine["Roles"]))

    def _run_guided(
        self,
        step: Step,
        action: Document,
        position: int,
        place: Place,
        parent: Activity,
        before: tuple[Output, ...],
    ) -> Result:
        """As `_run_with_retries`; with guided failure a person decides what becomes of a failure.

        Source: docs, Guided failures. That an aborted manual intervention asks nobody is unconfirmed.
        """
        with self.state.lock:
            node = parent.child(place.name)
            node.begin(self.state.clock.now())
        while True:
            context, result = self._run_with_retries(step, action, position, place, node, before)
            if result.outcome != FAILED:
                break
            with self.state.lock:
                self._log(node, "Fatal", result.message)
            if not self.deployment["UseGuidedFailure"] or action["ActionType"] == "Octopus.Manual":
                break
            guidance = actions.ask_for_guidance(context, result.message)
            if guidance is None:
                result = Result(CANCELED, self.task.canceled_by, result.outputs)
            elif guidance == "Exclude" and place.machine_id is not None:
                self.excluded.add(place.machine_id)
            if guidance in ("Ignore", "Exclude"):
                result = Result(SUCCESS, "", result.outputs)
            if guidance != "Retry":
                break
        with self.state.lock:
            node.end(_status(result.outcome, node), self.state.clock.now())
            self.state.changed.notify_all()
        return result

    def _run_with_retries(
        self,
        step: Step,
        action: Document,
        position: int,
        place: Place,
        node: Activity,
        before: tuple[Output, ...],
    ) -> tuple[actions.Context, Result]:
        properties = action["Properties"]
        retries = min(_whole(text_of(properties.get(RETRIES))), MOST_RETRIES)
        pause = _whole(text_of(properties.get(BACKOFF)))
        for attempt in range(retries + 1):
            with self.state.lock:
                found = self._variables(step, action, position, place, before)
                self._warn_of_duplicates(found, action, node)
            context = actions.Context(
                state=self.state,
                task=self.task,
                action=action,
                variables=found,
                node=node,
                place=place,
                interpreter=self.settings.interpreter,
                stands_alone=len(step.document["Actions"]) == 1,
            )
            result = actions.run(context)
            if result.outcome != FAILED or attempt == retries:
                break
            with self.state.lock:
                self._log(node, "Warning", f"Attempt {attempt + 1} failed: {result.message}")
                self._log(node, "Info", f"Retrying ({attempt + 1} of {retries}) in {pause} seconds")
            if self.task.cancel.wait(self.state.clock.real(pause)):
                result = Result(CANCELED, self.task.canceled_by)
                break
        return context, result

    def _variables(
        self, step: Step, action: Document | None, position: int, place: Place, before: tuple[Output, ...]
    ) -> StepVariables:
        error = self.errors[0] if self.errors else ""
        several = len(step.document["Actions"]) > 1
        own = {
            **self.statuses,
            "Octopus.Deployment.Error": error,
            "Octopus.Deployment.ErrorDetail": error,
            **({"Octopus.RunbookRun.Error": error} if "RunbookId" in self.deployment else {}),
            "Octopus.Step.Id": step.document["Id"],
            "Octopus.Step.Name": step.name,
            "Octopus.Step.Number": str(step.number),
        }
        properties: Document = {}
        where = manifest.where_of_deployment(self.state, self.deployment)
        if action is not None:
            properties = {**step.document["Properties"], **action["Properties"]}
            own.update(
                {
                    "Octopus.Action.Id": action["Id"],
                    "Octopus.Action.Name": action["Name"],
                    "Octopus.Action.Number": f"{step.number}.{position}" if several else str(step.number),
                    "Octopus.Action.IsSkipped": "False",
                    "Octopus.Machine.Id": place.machine_id or "",
                    "Octopus.Machine.Name": place.name,
                    "Octopus.Machine.Roles": ",".join(place.roles),
                }
            )
            pool = self.state.find("WorkerPools", action["WorkerPoolId"])
            if pool is not None:
                own.update({"Octopus.WorkerPool.Id": pool["Id"], "Octopus.WorkerPool.Name": pool["Name"]})
            where = where.in_step(action["Id"], machine=place.machine_id, roles=place.roles)
        return manifest.for_action(
            self.state,
            self.deployment,
            self.task,
            step=own,
            properties=properties,
            outputs=before,
            where=where,
        )

    def _warn_of_duplicates(self, found: StepVariables, action: Document, node: Activity) -> None:
        """Source of the sentence: OctopusDeploy/Issues 3814; forum help.octopus.com, topic 25233."""
        silent = any(name.casefold() == "octopussuppressduplicatevariablewarning" and is_truthy(value)
                     for name, value in found.values.items())  # fmt: skip
        if silent or not action["Properties"].get("Octopus.Action.Template.Id"):
            return
        for name in found.duplicates:
            self._log(
                node,
                "Warning",
                f"You have a duplicate variable {name} between the Step Template used in the '{action['Name']}' step and "
                "your Project or Variable Sets in use",
            )

    def _log(self, node: Activity, category: str, text: str) -> None:
        self.task.log(node, category, text, self.state.clock.now())


def groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps that run side by side: one that starts with the previous joins its group."""
    result: list[list[Step]] = []
    for step in steps:
        if result and step.document["StartTrigger"] == "StartWithPrevious":
            result[-1].append(step)
        else:
            result.append([step])
    return result


def _status(outcome: str, node: Activity) -> str:
    if outcome == SUCCESS:
        return "SuccessWithWarning" if node.troubled else "Success"
    return {FAILED: "Failed", SKIPPED: "Skipped", CANCELED: "Canceled"}[outcome]


def _whole(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
