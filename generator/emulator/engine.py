"""The engine: starts queued tasks when the rules of `queue` allow it, one thread for each running task.

It waits on the state's condition, woken by every change and by the next scheduled moment; nothing polls.
"""

from __future__ import annotations

import threading

from generator.emulator import queue, runs
from generator.emulator.adhoc import AdHocRun
from generator.emulator.execution import DeploymentRun, Settings
from generator.emulator.resources import automatic
from generator.emulator.state import State
from generator.emulator.tasks import CANCELED, FAILED, RUNNING, Task

# Our wording.
LOST = "The Octopus Server was restarted while this task was running."


class Engine:
    def __init__(self, state: State, settings: Settings) -> None:
        self.state = state
        self.settings = settings
        # Faults of the emulator itself, met while a task ran: raised again when the emulator stops.
        self.bugs: list[Exception] = []
        self._stopping = False
        self._suspended = False
        self._runs: dict[str, threading.Thread] = {}
        self._dispatcher: threading.Thread | None = None

    def start(self) -> None:
        self._dispatcher = threading.Thread(target=self._dispatch, name="emulator engine", daemon=True)
        self._dispatcher.start()

    def stop(self) -> None:
        """Cancels what runs, kills its processes, waits for its threads."""
        with self.state.changed:
            self._stopping = True
            for task in list(self.state.tasks.values()):
                if task.id in self._runs and not task.is_completed:
                    queue.cancel(self.state, task, user_id=None, reason="the emulator is stopping")
            self.state.changed.notify_all()
        for thread in [self._dispatcher, *self._runs.values()]:
            if thread is not None:
                thread.join()

    def suspend(self) -> None:
        """Start nothing more until `resume`."""
        with self.state.changed:
            self._suspended = True

    def resume(self) -> None:
        with self.state.changed:
            self._suspended = False
            self.state.changed.notify_all()

    def lose_running(self) -> None:
        """End what runs as a restart of the server does, and wait until it has ended: Failed, no step of it goes on."""
        with self.state.changed:
            lost = [task for task in self.state.tasks.values() if task.state in RUNNING]
            threads = [self._runs[task.id] for task in lost if task.id in self._runs]
            for task in lost:
                task.lost = "" if task.cancel.is_set() else LOST
                task.cancel.set()
                for stop in list(task.on_cancel):
                    stop()
            self.state.changed.notify_all()
        for thread in threads:
            thread.join()

    def _dispatch(self) -> None:
        with self.state.changed:
            while not self._stopping:
                queue.expire(self.state)
                automatic.promote(self.state)
                if not self._suspended:
                    for task in queue.startable(self.state):
                        self._begin(task)
                moment = queue.next_moment(self.state)
                if moment is None:
                    self.state.changed.wait()
                else:
                    # A millisecond more, so that the moment has surely come.
                    left = self.state.clock.real(moment - self.state.clock.now())
                    self.state.changed.wait(max(0.0, left) + 0.001)

    def _begin(self, task: Task) -> None:
        queue.begin(self.state, task)
        if task.resume is not None:
            task.resume.set()
            self.state.changed.notify_all()
            return
        thread = threading.Thread(target=self._run, args=(task,), name=f"emulator {task.id}", daemon=True)
        self._runs[task.id] = thread
        thread.start()

    def _run(self, task: Task) -> None:
        try:
            run = DeploymentRun if runs.events_of(task) else AdHocRun
            outcome = run(self.state, task, self.settings).run()
        except Exception as error:
            with self.state.lock:
                self.bugs.append(error)
                task.error = f"The emulator failed: {error!r}"
                task.log(task.root, "Fatal", task.error, self.state.clock.now())
            outcome = FAILED
        with self.state.changed:
            if task.lost:
                task.error, outcome = task.lost, FAILED
                task.log(task.root, "Fatal", task.lost, self.state.clock.now())
            canceled = task.cancel.is_set() and not task.lost
            if canceled:
                task.error = task.error or task.canceled_by
            queue.finish(self.state, task, CANCELED if canceled else outcome)
            self._runs.pop(task.id, None)
