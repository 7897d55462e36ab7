"""What one action does on one machine: a Python script really runs, a manual intervention waits, everything else pretends.

Properties that only the emulator reads, on actions that it does not really run:
    octosteps.emulator.duration    emulated seconds that the action takes (default 0)
    octosteps.emulator.outcome     success (default), failure or warning; a list with commas has one for each time the
                                   action runs, and the last one from then on
    octosteps.emulator.message     what it logs, and its error when it fails; with a list of outcomes only when it is no success
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from generator.emulator import runner
from generator.emulator.documents import Document, text_of
from generator.emulator.manifest import Output, StepVariables
from generator.emulator.octostache import Variables
from generator.emulator.resources import artifacts, interruptions
from generator.emulator.state import State
from generator.emulator.tasks import EXECUTING, QUEUED, Activity, Task

SUCCESS, FAILED, SKIPPED, CANCELED = "success", "failed", "skipped", "canceled"

DURATION = "octosteps.emulator.duration"
OUTCOME = "octosteps.emulator.outcome"
MESSAGE = "octosteps.emulator.message"

BODY = "Octopus.Action.Script.ScriptBody"
SYNTAX = "Octopus.Action.Script.Syntax"
SOURCE = "Octopus.Action.Script.ScriptSource"
ARGUMENTS = "Octopus.Action.Script.ScriptParameters"
TIME_LIMIT = "Octopus.Action.ExecutionTimeout.Minutes"
BLOCK = "Octopus.Action.Manual.BlockConcurrentDeployments"
# Steps that have no time limit (source: docs, Conditions).
UNLIMITED = frozenset({"Octopus.Manual", "Octopus.Email", "Octopus.HealthCheck", "Octopus.DeployRelease"})

LARGEST_ARTIFACT = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an action runs: a worker, or a machine."""

    name: str
    machine_id: str | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    outcome: str
    message: str = ""
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything an action needs. `node` is where its log goes; `stands_alone`: it is the only action of its step."""

    state: State
    task: Task
    action: Document
    variables: StepVariables
    node: Activity
    place: Place
    interpreter: str | None
    stands_alone: bool

    def log(self, category: str, text: str) -> None:
        with self.state.lock:
            self.task.log(self.node, category, text, self.state.clock.now())

    def text(self, name: str, default: str = "") -> str:
        """The evaluated property or variable of that name."""
        return Variables(self.variables.values).get(name) or default

    def shown(self, name: str) -> str:
        """The same, as a log or a form may show it: sensitive values masked."""
        text, variables = self.text(name), Variables(self.variables.values)
        secrets = {variables.get(secret) or "" for secret in self.variables.sensitive}
        for value in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(value, "********")
        return text


def run(context: Context) -> Result:
    return _kind_of(context)(context)


def _kind_of(context: Context) -> Callable[[Context], Result]:
    properties = context.action["Properties"]
    if context.action["ActionType"] == "Octopus.Manual":
        return intervene
    inline = text_of(properties.get(SOURCE)) in ("", "Inline")
    python = text_of(properties.get(SYNTAX)) == "Python"
    if context.action["ActionType"] == "Octopus.Script" and python and inline:
        return run_script
    return pretend


# --- scripts -------------------------------------------------------------------------------------------------------


def run_script(context: Context) -> Result:
    """Runs the action's Python script under Octopus' script contract (`runner`), and collects what it made."""
    properties, task = context.action["Properties"], context.task
    minutes, limit = _time_limit(context)
    job = runner.ScriptJob(
        script=text_of(properties.get(BODY) or properties.get(f"{BODY}[Python]")),
        variables=context.variables.values,
        sensitive=context.variables.sensitive,
        arguments=context.text(ARGUMENTS),
        interpreter=context.interpreter,
        speed=context.state.clock.speed,
        started_at=context.state.clock.now(),
        timeout=limit,
    )
    outputs: list[Output] = []
    files: list[runner.Artifact] = []

    def on_event(event: runner.Event) -> None:
        match event:
            case runner.LogLine(category, text):
                context.log(category, text)
            case runner.Progress(percentage, message):
                with context.state.lock:
                    context.node.progress = percentage
                    context.node.progress_message = message
            case runner.OutputVariable(name, value, sensitive):
                outputs.append(Output(context.action["Name"], context.place.name, name, value, sensitive))
            case runner.Artifact():
                files.append(event)

    with context.state.lock:
        if task.cancel.is_set():
            return Result(CANCELED, task.canceled_by)
        running = runner.start_script(job, on_event)
        task.on_cancel.append(running.kill)
    try:
        result = running.wait()
        for file in files:
            _collect(context, file)
    finally:
        with context.state.lock:
            task.on_cancel.remove(running.kill)
        running.close()
    if result.exit_code == 0:
        return Result(SUCCESS, "", tuple(outputs))
    if task.cancel.is_set() and result.killed:
        return Result(CANCELED, task.canceled_by, tuple(outputs))
    if result.killed:
        sentence = _timed_out(context, minutes)
    else:
        sentence = result.message or f"The remote script failed with exit code {result.exit_code}"
    return Result(FAILED, sentence, tuple(outputs))


def _time_limit(context: Context) -> tuple[str, float | None]:
    """The time limit as it is written in minutes, and in seconds; None = none."""
    minutes = context.text(TIME_LIMIT)
    if context.action["ActionType"] in UNLIMITED or not minutes.replace(".", "", 1).isdigit():
        return minutes, None
    return minutes, float(minutes) * 60 or None


def _timed_out(context: Context, minutes: str) -> str:
    """Source of the sentence: OctopusDeploy/Issues 8776."""
    return f"Execution timeout of {minutes} minute(s) reached. Action {context.action['Name']} has been cancelled."


def _collect(context: Context, file: runner.Artifact) -> None:
    """The file as it is after the script has ended (source: docs, Artifacts)."""
    path = Path(file.path)
    try:
        if path.stat().st_size > LARGEST_ARTIFACT:
            raise OSError(f"larger than {LARGEST_ARTIFACT} bytes")
        content = path.read_bytes()
    except OSError as error:
        context.log("Warning", f"The artifact '{file.filename}' could not be collected: {error}")
        return
    with context.state.lock:
        artifacts.add(
            context.state,
            task_id=context.task.id,
            filename=file.filename,
            source=context.place.name,
            correlation=context.node.id,
            content=content,
        )


# --- everything else -----------------------------------------------------------------------------------------------


def pretend(context: Context) -> Result:
    """Lasts as long as the action's own properties say, and ends as they say."""
    wanted = _outcome(context)
    seconds = _seconds(context.text(DURATION, "0"))
    message = context.shown(MESSAGE)
    syntax = text_of(context.action["Properties"].get(SYNTAX))
    what = f"{context.action['ActionType']} {syntax}".strip()
    context.log(
        "Verbose",
        f"The emulator does not run {what}; this step takes {seconds:g} seconds and ends in {wanted}",
    )
    minutes, limit = _time_limit(context)
    if context.task.cancel.wait(context.state.clock.real(seconds if limit is None else min(seconds, limit))):
        return Result(CANCELED, context.task.canceled_by)
    if limit is not None and seconds > limit:
        return Result(FAILED, _timed_out(context, minutes))
    if wanted == "failure":
        return Result(FAILED, message or f"The step '{context.action['Name']}' failed")
    if wanted == "warning":
        context.log("Warning", message or f"The step '{context.action['Name']}' warns")
    elif message and "," not in context.text(OUTCOME):
        context.log("Info", message)
    return Result(SUCCESS)


def _outcome(context: Context) -> str:
    """What the action wants this time to end in, counted over all its runs on this server."""
    outcomes = [word.strip().lower() for word in context.text(OUTCOME, "success").split(",")]
    with context.state.lock:
        runs = context.state.pretended.get(context.action["Id"], 0)
        context.state.pretended[context.action["Id"]] = runs + 1
    return outcomes[min(runs, len(outcomes) - 1)]


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def ask_for_guidance(context: Context, error: str) -> str | None:
    """What a person wants done about a failure (Fail, Retry, Ignore or Exclude), None when the task was cancelled first.

    The task stays Executing while it waits: unconfirmed (the sources speak of manual interventions only).
    """
    state, task = context.state, context.task
    with state.changed:
        raised = interruptions.raise_guided(
            state,
            task,
            context.action,
            context.node,
            error=error,
            machine=context.place.machine_id is not None,
        )
        task.log(context.node, "Wait", "Waiting for guidance", state.clock.now())
        state.changed.notify_all()
        while raised["IsPending"] and not task.cancel.is_set():
            state.changed.wait()
        if task.cancel.is_set():
            return None
        guidance = str(raised["Form"]["Values"]["Guidance"])
        user = state.get("Users", raised["ResponsibleUserId"])
        task.log(context.node, "Info", f"{guidance} by {user['DisplayName']}", state.clock.now())
    return guidance


def intervene(context: Context) -> Result:
    """Waits for a person. Alone in its step, the task gives up its slot and reads Queued; otherwise it stays Executing.

    Source: docs, Manual intervention; OctopusDeploy/Issues 4564, 5666, 5675, 10041. That a child step keeps the task Executing
    is inferred from them.
    """
    state, task = context.state, context.task
    instructions = context.shown(interruptions.INSTRUCTIONS)
    with state.changed:
        raised = interruptions.raise_manual(
            state, task, context.action, context.node, instructions=instructions
        )
        task.log(context.node, "Wait", "Waiting for manual intervention", state.clock.now())
        if context.stands_alone:
            task.state, task.resume = QUEUED, threading.Event()
            task.blocks_while_paused = context.text(BLOCK).strip().lower() == "true"
        state.changed.notify_all()
        while raised["IsPending"] and not task.cancel.is_set():
            state.changed.wait()
        # Answered: wait for a free slot, which the engine gives by `resume`.
        while task.resume is not None and not task.resume.is_set() and not task.cancel.is_set():
            state.changed.wait()
        task.resume, task.blocks_while_paused = None, False
        if task.cancel.is_set():
            return Result(CANCELED, task.canceled_by)
        task.state = EXECUTING
        values = raised["Form"]["Values"]
        user = state.get("Users", raised["ResponsibleUserId"])
        task.log(context.node, "Info", f"{values['Result']} by {user['DisplayName']}", state.clock.now())
    outputs = {
        "Manual.Notes": values["Notes"] or "",
        "Manual.Approved": str(values["Result"] == "Proceed"),
        "Manual.ResponsibleUser.Id": user["Id"],
        "Manual.ResponsibleUser.Username": user["Username"],
        "Manual.ResponsibleUser.DisplayName": user["DisplayName"],
        "Manual.ResponsibleUser.EmailAddress": user["EmailAddress"],
    }
    made = tuple(
        Output(context.action["Name"], context.place.name, name, value) for name, value in outputs.items()
    )
    if values["Result"] == "Abort":
        return Result(FAILED, "The deployment was aborted by a manual intervention", made)
    return Result(SUCCESS, "", made)
