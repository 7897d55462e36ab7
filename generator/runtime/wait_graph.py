"""Looks for deadlocks while a step waits: reads who waits for whom, twice, and says who gives way.

It reads from the own wait outwards: announcements of running tasks (`announcements`), and what queued ones stand behind
(`queues`). One pass costs a request or two for each task on the way, none where the awaited do not wait themselves. What is found
in one pass may be made of waits that were never there together; only what a second pass finds again counts (`persistent`).
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence

from generator.runtime.announcements import Announcement, Announcer, Target, announced_waits, still_needs
from generator.runtime.api import Api, ApiError
from generator.runtime.deadlocks import (
    NEEDS_ANY,
    NEEDS_SLOT,
    STANDS_BEHIND,
    Deadlock,
    Edge,
    chain_in_words,
    find_deadlock,
    persistent,
)
from generator.runtime.log import Log
from generator.runtime.markers import own_task
from generator.runtime.orphans import read_own_task
from generator.runtime.queues import NO_SLOT, SAME_TAG, Queues, Standing
from generator.runtime.record import Record
from generator.runtime.tasks import RUNNING_STATES, Task, utc_now

FIRST_PASS = 45.0  # seconds after a wait began, or has got another target
# Seconds after a pass that found something. Who waits looks every 25 s at the latest and announces what it finds: what is still
# announced after this is no wait that has ended without its announcer knowing yet.
SECOND_PASS = 30.0
NEXT_PASS = 120.0  # seconds after one that found nothing, or that leaves it to somebody else
TURN = 240.0  # seconds for which the next youngest lets the younger ones give way
MOST_READ = 14  # tasks in one pass
LEAST_COST = 3.0  # requests
CREDIT = 5.0  # requests that a second pass may be ahead of the budget
MOST_OWN_TARGETS = 4  # in one pass
MOST_SLOTS = 12  # a task cap above that is not read through
MOST_DEPTH = 8
CAP_ADVICE = "raise the task cap, or let fewer tasks wait at the same time"


class Seen(Record):
    """A task as it was last read, with the details of its log; None where they were not needed."""

    task: Task
    details: Optional[Mapping[str, Any]]


class WaitGraph:
    """Reads edges. `may_ask` says before each request whether the budget still allows one."""

    def __init__(self, api: Api, queues: Queues, own: str, may_ask: Callable[[], bool]) -> None:
        self.api = api
        self.queues = queues
        self.own = own
        self.may_ask = may_ask
        self.names: dict[str, str] = {}
        self.is_complete = True
        self._seen: dict[str, Seen] = {}
        self._goals: dict[tuple[str, str, str], Target] = {}

    def read(self, own: Announcement, targets: Sequence[Target], fresh: Mapping[str, Seen]) -> list[Edge]:
        """The edges that lead away from the own wait for `targets`. `fresh` was read in this very moment for other purposes."""
        self.is_complete = True
        self._seen, self._goals = dict(fresh), {}
        edges = [self.edge(self.own, own, target, "") for target in targets]
        line = [(target.task, 1) for target in targets]
        done = {self.own}
        while line:
            task, depth = line.pop(0)
            if task in done or depth > MOST_DEPTH:
                continue
            if len(done) > MOST_READ:
                break
            done.add(task)
            found = self.edges_from(task)
            edges.extend(found)
            line.extend((edge.target, depth + 1) for edge in found)
        return [edge for edge in edges if self.stands(edge)]

    def edge(self, waiter: str, wait: Announcement, target: Target, step: str) -> Edge:
        why = " ".join(
            words
            for words in (
                f"for its step {target.step}" if target.step else "",
                f'in "{step}"' if step else "",
            )
            if words
        )
        self._goals[waiter, wait.wait, target.task] = target
        return Edge(waiter, target.task, wait.need, wait.wait, wait.since, True, why)

    def stands(self, edge: Edge) -> bool:
        """Whether what the waiter needs cannot come before the steps of the target that wait: see `still_needs`."""
        goal, seen = self._goals.get((edge.waiter, edge.wait, edge.target)), self._seen.get(edge.target)
        if goal is None or not goal.step:
            return True
        if edge.target == self.own and seen is None:
            seen = self.look_at(self.own)
        if seen is None:
            return False
        if seen.details is None:
            return seen.task.is_waiting_in_queue
        held = [
            step for announcement, step in announced_waits(seen.details) if announcement.need != NEEDS_ANY
        ]
        return seen.task.is_waiting_in_queue or still_needs(goal, seen.details, held)

    def edges_from(self, task_id: str) -> list[Edge]:
        """What this task waits for now; nothing when it runs, has ended, or is unknown."""
        known = self._seen.get(task_id) or self.look_at(task_id)
        if known is None:
            return []
        task = known.task
        self.names[task.id] = task.description
        if task.is_waiting_in_queue:
            return [] if task.is_scheduled(utc_now(self.api)) else self.queue_edges(task)
        if task.state != "Executing" or task.is_paused:
            return []
        details = known.details or getattr(self.look_at(task_id), "details", None)
        return [
            self.edge(task.id, announcement, target, step)
            for announcement, step in announced_waits(details or {})
            for target in announcement.targets
        ]

    def look_at(self, task_id: str) -> Optional[Seen]:
        """The task with its log; ids are unique on the server, and so the space is left out."""
        details = self.ask(lambda: self.api.get(f"/api/tasks/{task_id}/details", verbose="false", tail=0))
        document = (details or {}).get("Task") or {}
        if document.get("Id") != task_id:
            return None
        self._seen[task_id] = Seen(Task(document), details)
        return self._seen[task_id]

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer; None where the account may not see it, or when the budget is spent: then the pass is not complete."""
        if not self.may_ask():
            self.is_complete = False
            return None
        try:
            return question()
        except ApiError as error:
            if error.status == 401:
                raise
            return None

    def queue_edges(self, task: Task) -> list[Edge]:
        standing: Optional[Standing] = self.ask(lambda: self.queues.read(task, for_people=False))
        if standing is None:
            return []
        edges = [
            Edge(task.id, one.task.id, STANDS_BEHIND, why=f"({standing.reason})")
            for one in standing.tasks
            if one.cause == SAME_TAG
        ]
        holders = [
            one for one in standing.tasks if one.cause != SAME_TAG and one.task.state in RUNNING_STATES
        ]
        if holders and len(holders) <= MOST_SLOTS:
            # Those that run with the same tag hold a slot too.
            running = [one for one in standing.tasks if one.task.state in RUNNING_STATES]
            sure = standing.is_whole and all(one.cause in (SAME_TAG, NO_SLOT) for one in standing.tasks)
            edges += [
                Edge(task.id, one.task.id, NEEDS_SLOT, is_sure=sure, why=f"({standing.reason})")
                for one in running
            ]
        for one in standing.tasks:
            self.names[one.task.id] = one.task.description
        return edges


class Lookout:
    """Announces what this step waits for, and finds out whether that can never end. `need` is a word of `deadlocks`.

        lookout = Lookout(api, step)                        # once a step
        lookout.announce(NEEDS_LOCK, [Target(owner)])       # whenever that changes; [] when the wait is over
        sentence = lookout.look(budget.level)               # once a poll: why this step is to give way, "" while it is not

    Elsewhere than in a task, and for tasks of another server, it does nothing.
    """

    def __init__(self, api: Api, step: Any) -> None:
        self.api = api
        self.log: Log = step.log
        self.own = visible_own_task(api, step)
        self.announcer = Announcer(step.log, self.own)
        self.queues = Queues(api)
        self.suspicion = ""
        self.held: set[str] = set()  # the own targets that can never end
        self._names: dict[str, str] = {}
        self._first: Optional[list[Edge]] = None
        self._targets: Sequence[Target] = ()
        self._wait = ""
        self._due = 0.0
        self._cost = LEAST_COST  # of the last pass, in requests
        self._found_at: Optional[float] = None
        self.told: set[str] = set()  # warnings

    @property
    def is_proving(self) -> bool:
        """Whether one pass has found something, which the next is to find again."""
        return self._first is not None

    def announce(self, need: str, targets: Sequence[Target]) -> None:
        self.announcer.announce(need, targets, self.api.wall_clock())
        current = self.announcer.current
        wait = current.wait if current is not None else ""
        if wait != self._wait:
            self._wait = wait
            self._forget(FIRST_PASS)

    def look(
        self,
        level: Callable[[], float] = lambda: float(MOST_READ),
        *,
        suspects: Optional[Sequence[Target]] = None,
        fresh: Mapping[str, Seen] = {},
    ) -> str:
        """`level`: how many requests may still be made. `suspects`: of the own targets those that may wait themselves. `fresh`:
        see `WaitGraph.read`."""
        current, now = self.announcer.current, self.api.clock()
        if current is None or current.need == NEEDS_ANY or now < self._due or suspects == []:
            return ""
        credit = CREDIT if self._first is not None else 0.0
        if level() + credit < self._cost:
            return ""
        if self._first is None:
            self._targets = list(current.targets if suspects is None else suspects)[:MOST_OWN_TARGETS]
        self.queues.kept.pop("nodes", None)
        requests = self.api.requests
        graph = WaitGraph(self.api, self.queues, self.own, lambda: level() + credit >= 1)
        edges = graph.read(current, [one for one in self._targets if one in current.targets], fresh)
        self._names.update(graph.names)
        self._cost = self.api.requests - requests
        if not graph.is_complete:
            self._cost += LEAST_COST
            return ""
        standing = edges if self._first is None else persistent(self._first, edges)
        deadlock = find_deadlock(standing, self.own)
        if deadlock is None:
            self._forget(NEXT_PASS)
            return ""
        is_proved, self._first = self._first is not None, edges
        self._due = now + SECOND_PASS
        return self._judge(deadlock, current.wait) if is_proved else ""

    def _forget(self, pause: float) -> None:
        self._first, self._found_at = None, None
        self.suspicion, self.held = "", set()
        self._due = self.api.clock() + pause

    def _judge(self, deadlock: Deadlock, wait: str) -> str:
        """The sentence with which this step gives way, or "" when that is for another one, or when nothing is certain."""
        now = self.api.clock()
        self._due = now + NEXT_PASS
        chain = chain_in_words(deadlock.chain, self._names, self.own)
        advice = ""
        if any(edge.need == NEEDS_SLOT for edge in deadlock.chain):
            others = dict.fromkeys(task for _, _, task in deadlock.waits if task != self.own)
            who = ", ".join(f"{self._names.get(task, task)} ({task})" for task in others)
            among = f"; waiting tasks hold all slots, {who} among them" if who else ""
            advice = f"{among}; {CAP_ADVICE}"
        if not deadlock.is_certain:
            self.suspicion = f"this looks like a deadlock: {chain}{advice}"
            self._warn(f"T{self.suspicion[1:]}. Not certain: this account cannot see everything that runs.")
            return ""
        self.held = {edge.target for edge in deadlock.chain[:1]}
        self._found_at = now if self._found_at is None else self._found_at
        rank = deadlock.rank_of(wait)
        if rank is None:
            self._warn(f"This step waits for a deadlock of others: {chain}{advice}.")
            return ""
        if now - self._found_at >= rank * TURN:
            return f"{chain}; of those that wait this step began last, and gives way{advice}"
        _, _, youngest = deadlock.waits[0]
        who = self._names.get(youngest, youngest)
        self._warn(
            f"Deadlock: {chain}. It is for {who} ({youngest}) to give way, which began to wait last{advice}."
        )
        return ""

    def _warn(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            self.log.warning(text)


def visible_own_task(api: Api, step: Any) -> str:
    """The id of the task that runs this step, when its tasks are those of the server in `api`; "" otherwise."""
    own = own_task(step)
    if own.is_known and own.server == api.url.lower():
        return own.id
    seen = read_own_task(api, step)
    return seen.id if seen is not None else ""
