"""The task queue as rules over the state: what waits for what, what may start, what has expired. No threads.

Source: docs, Task cap; Prioritize tasks (moved to top first, then priority tasks, then the others, each first in first
out); Fairer task queue; System variables (Octopus.Task.ConcurrencyTag); Superseded tasks; docs, API reference, tasks and
deployments (QueueTime, QueueTimeExpiry).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from generator.emulator import events, runs
from generator.emulator.documents import Document
from generator.emulator.state import State
from generator.emulator.tasks import (
    CANCELED,
    CANCELLING,
    EXECUTING,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCESS,
    TIMED_OUT,
    Task,
)


def in_order(state: State) -> list[Task]:
    """Queued tasks, the next first: moved to top, priority, the others, each in the order of their places.

    While several projects have priority tasks waiting, those of projects that run fewer than their equal share of the task
    cap go ahead of those of the others (source: docs, Fairer task queue; a server of 2026.2 may still have it off).
    """
    queued = [task for task in state.tasks.values() if task.state == QUEUED]
    now = state.clock.now()
    ready = [task for task in queued if task.queue_time <= now and not is_paused(task)]
    waiting = {task.project_id for task in ready if task.has_priority}
    share = state.task_cap / max(1, len(waiting))
    runs_now = Counter(task.project_id for task in running(state)) if len(waiting) > 1 else Counter()

    def key(task: Task) -> tuple[int, bool, int]:
        if not task.has_priority:
            return 2, False, task.place
        return int(runs_now[task.project_id] >= share), not task.moved_to_top, task.place

    return sorted(queued, key=key)


def running(state: State) -> list[Task]:
    return [task for task in state.tasks.values() if task.state in RUNNING]


def startable(state: State) -> Iterator[Task]:
    """Tasks that may start now. The caller starts each before it asks for the next: every start changes the order."""
    while (task := _next(state)) is not None:
        yield task


def _next(state: State) -> Task | None:
    now, active = state.clock.now(), running(state)
    if len(active) >= state.task_cap:
        return None
    busy = active + paused_blockers(state)
    for task in in_order(state):
        if task.queue_time > now or _stopped(state, task) or is_paused(task):
            continue
        if not any(blocks(other, task) for other in busy):
            return task
    return None


def _stopped(state: State, task: Task) -> bool:
    space = state.find("Spaces", task.space_id)
    return space is None or bool(space["TaskQueueStopped"])


def is_paused(task: Task) -> bool:
    """True while it waits for a person outside a slot."""
    return bool(task.interruptions)


def paused_blockers(state: State) -> list[Task]:
    return [task for task in state.tasks.values() if task.state == QUEUED and task.blocks_while_paused]


def blocks(other: Task, task: Task) -> bool:
    """Tasks with one concurrency tag run one at a time."""
    return other is not task and other.tag is not None and other.tag == task.tag


def queued_behind(state: State, task: Task) -> list[Task]:
    """What a queued task waits for: running and earlier tasks with its tag; with a full task cap, all that run or come first.

    Which tasks the real server names here is unconfirmed beyond "tasks it waits for".
    """
    if task.state != QUEUED or task.queue_time > state.clock.now():
        return []
    order = in_order(state)
    earlier = order[: order.index(task)]
    active = running(state)
    full = len(active) >= state.task_cap
    return [other for other in active + earlier if full or blocks(other, task)]


def expire(state: State) -> list[Task]:
    """Ends queued tasks whose time to start has passed (source: docs, API reference, deployments: `QueueTimeExpiry`)."""
    now = state.clock.now()
    late = [
        task
        for task in in_order(state)
        if task.queue_time_expiry is not None and task.queue_time_expiry <= now and not task.picked_up
    ]
    for task in late:
        task.error = "The task was not started before its queue time expired."
        finish(state, task, TIMED_OUT)
    return late


def next_moment(state: State) -> float | None:
    """When the queue changes by itself: the next scheduled start or expiry, in emulated seconds."""
    now = state.clock.now()
    moments = [
        moment
        for task in in_order(state)
        for moment in (task.queue_time, task.queue_time_expiry)
        if moment is not None and moment > now
    ]
    return min(moments, default=None)


def cancel(state: State, task: Task, *, user_id: str | None, reason: str = "") -> None:
    """A queued task is Canceled at once; one that runs becomes Cancelling and its engine thread ends it.

    Cancelling a finished task changes nothing. Source: docs, Abandoning stuck tasks; at once for queued ones is unconfirmed.
    """
    if task.is_completed or task.state == CANCELLING:
        return
    task.cancel.set()
    task.canceled_by = reason or "The task was canceled"
    if task.state == QUEUED and task.resume is None:
        task.error = task.canceled_by
        finish(state, task, CANCELED)
    else:
        task.state = CANCELLING
        task.updated = state.clock.now()
        for stop in list(task.on_cancel):
            stop()
    events.record(
        state,
        "TaskCanceled",
        f"{task.description} was canceled{f': {reason}' if reason else ''}",
        space_id=task.space_id,
        related=related(task),
        user_id=user_id,
    )
    state.changed.notify_all()


def finish(state: State, task: Task, outcome: str) -> None:
    """The task in its last state, with nothing pending."""
    now = state.clock.now()
    task.state, task.completed, task.updated = outcome, now, now
    for identifier in task.interruptions:
        state.get("Interruptions", identifier)["IsPending"] = False
    task.interruptions.clear()
    task.resume = None
    if task.root.ended is None:
        status = {CANCELED: "Canceled", TIMED_OUT: "Canceled"}.get(outcome, outcome)
        task.root.end("SuccessWithWarning" if status == "Success" and task.root.troubled else status, now)
    if outcome == SUCCESS and "DeploymentId" in task.arguments:
        state.promotions.append(runs.run_of(state, task)["ReleaseId"])
    kind = runs.events_of(task)
    if kind is None:
        state.changed.notify_all()
        return
    ended = {SUCCESS: f"{kind}Succeeded", FAILED: f"{kind}Failed", TIMED_OUT: "TaskCanceled"}
    if outcome in ended:  # who cancelled it is told by `cancel`
        events.record(
            state,
            ended[outcome],
            f"{task.description}: {outcome}",
            space_id=task.space_id,
            related=related(task),
        )
    state.changed.notify_all()


def begin(state: State, task: Task) -> None:
    now = state.clock.now()
    task.state, task.picked_up, task.updated = EXECUTING, True, now
    if task.started is None:
        task.started = now
        task.root.begin(now)
        kind = runs.events_of(task)
        if kind is not None:
            events.record(
                state,
                f"{kind}Started",
                f"{task.description} started",
                space_id=task.space_id,
                related=related(task),
            )
    state.changed.notify_all()


def related(task: Task) -> tuple[object, ...]:
    return (task.id, task.project_id, task.environment_id, task.tenant_id, *task.arguments.values())


def supersede(state: State, deployment: Document, task: Task) -> None:
    """A new deployment cancels older queued ones of its project, environment and tenant, from the back of the queue, and
    takes the place of the earliest. It stops at one that does not run everything (machine filters, skipped steps).

    On by default for new projects (source: docs, Superseded tasks). Scheduled ones, old and new, are left alone: unconfirmed.
    """
    settings, now = runs.settings_of(state, deployment), state.clock.now()
    if not settings["CancelQueuedTasks"] or is_partial(deployment) or task.queue_time > now:
        return
    for other in runs.in_same_cell(state, deployment):
        old = state.task_of(other)
        waiting = old is not task and old.state == QUEUED and not old.picked_up and not is_paused(old)
        if not waiting or old.queue_time > now:
            continue
        if is_partial(other):
            return
        cancel(state, old, user_id=None, reason=f"superseded by {task.id}")
        task.place = min(task.place, old.place)


def is_partial(deployment: Document) -> bool:
    names = ("SkipActions", "SpecificMachineIds", "ExcludedMachineIds")
    return any(deployment.get(name) for name in names)


def supersede_paused(state: State, deployment: Document, task: Task) -> None:
    """A successful deployment cancels older ones of its cell that wait for a person, unless one of both does not run
    everything (source: docs, Superseded tasks)."""
    settings = runs.settings_of(state, deployment)
    if not settings["CancelRunningTasks"] or is_partial(deployment):
        return
    for other in runs.in_same_cell(state, deployment):
        old = state.task_of(other)
        if old is not task and is_paused(old) and old.queued_at <= task.queued_at and not is_partial(other):
            cancel(state, old, user_id=None, reason=f"superseded by {task.id}")
