"""Why a task stands in the queue: in words for people, and told apart for those who look for deadlocks.

The server names the tasks ahead and not why (source: docs, API reference, tasks, queued-behind). The cause is found by what can
be read: tasks with one concurrency tag run one at a time, by default those of one project, environment and tenant (source: docs,
System variables); everybody else ahead means that the task cap is full (source: docs, Task cap).
"""

from __future__ import annotations

import re
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.api import Api, ApiError
from generator.runtime.moments import moment_or_none
from generator.runtime.record import Record
from generator.runtime.tasks import RUNNING_STATES, Task, utc_now

CONCURRENCY_TAG = "Octopus.Task.ConcurrencyTag"
MOST_AHEAD = 30
MOST_MANIFESTS = 8
KEPT = 300.0  # seconds for which freezes and nodes that were read are good enough for words
MOST_NAMED = 3
SAME_TAG, NO_SLOT, NOT_KNOWN = "same tag", "no slot", "not known"
TAG_EXPRESSION = r"#\{\s*([^{}|\s]+)\s*\}"
# What may stand in a tag, as the field of the run that tells it. A name is as good as the id of what has it.
TAG_FIELDS: Mapping[str, str] = {
    "Octopus.Project.Id": "ProjectId",
    "Octopus.Project.Name": "ProjectId",
    "Octopus.Environment.Id": "EnvironmentId",
    "Octopus.Environment.Name": "EnvironmentId",
    "Octopus.Deployment.Tenant.Id": "TenantId",
    "Octopus.Deployment.Tenant.Name": "TenantId",
    "Octopus.Release.Channel.Id": "ChannelId",
    "Octopus.Release.Channel.Name": "ChannelId",
    "Octopus.Runbook.Id": "RunbookId",
    "Octopus.Runbook.Name": "RunbookId",
    "Octopus.Space.Id": "SpaceId",
    "Octopus.Space.Name": "SpaceId",
}


class Ahead(Record):
    """A task that comes first, and why it holds the other one up: SAME_TAG, NO_SLOT or NOT_KNOWN."""

    task: Task
    cause: str


class Standing(Record):
    """Where a task stands in the queue. `tasks` are the first of those ahead, `position` counts all of them and itself.

    `cap` is how many tasks run at once on all nodes, 0 when that cannot be read; `is_whole`: no other task than those runs.
    `reason` says why, for people, `notes` what else keeps it there.
    """

    tasks: Sequence[Ahead]
    position: int
    reason: str
    notes: Sequence[str] = ()
    cap: int = 0
    is_whole: bool = False

    def __str__(self) -> str:
        parts = []
        if self.tasks:
            names = [one.task.description for one in self.tasks[:MOST_NAMED]]
            more = self.position - 1 - len(names)
            parts.append("behind " + ", ".join(names) + (f" and {more} more" if more > 0 else ""))
            parts.append(f"({self.reason})")
        elif self.reason:
            parts.append(f"({self.reason})")
        return " ".join(parts) + "".join(f"; {note}" for note in self.notes)


class Nodes(Record):
    """The task caps of the nodes that start tasks together, and how many tasks run there."""

    cap: int
    running: int


class Queues:
    """Reads standings; what stays the same is read once. `refused` are the questions that this account may not ask."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.refused: set[str] = set()
        self.kept: dict[str, tuple[float, Any]] = {}
        self.runs: dict[str, Mapping[str, Any]] = {}
        self.tags: dict[str, Optional[str]] = {}
        self.manifests: dict[str, Any] = {}

    def read(self, task: Task, *, for_people: bool = True) -> Optional[Standing]:
        """Where `task` stands now, in one to a handful of requests; None when the account may not see that.

        `for_people`: with notes, and from what was read some minutes ago as far as that will do.
        """
        page = self.ask(f"/api/tasks/{task.id}/queued-behind", what="queued-behind", take=MOST_AHEAD)
        if page is None:
            return None
        ahead = [Task(item) for item in page.get("Items") or ()]
        total = max(len(ahead), int(page.get("TotalResults") or 0))
        told = self.notes(task) if for_people else []
        if not ahead:
            return Standing([], 1, self.why_nothing_is_ahead(task) if for_people else "", told)
        self.read_runs([task, *ahead])
        causes = [Ahead(one, self.cause(task, one)) for one in ahead]
        others = any(one.cause != SAME_TAG for one in causes)
        nodes = self.read_nodes() if others else None
        running = [one for one in ahead if one.state in RUNNING_STATES]
        if nodes is not None:
            full = nodes.running >= nodes.cap
            causes = [
                one if one.cause == SAME_TAG else Ahead(one.task, NO_SLOT if full else SAME_TAG)
                for one in causes
            ]
        whole = nodes is not None and nodes.running == len(running) and total == len(ahead)
        cap = nodes.cap if nodes is not None else 0
        return Standing(causes, total + 1, self.reason(task, causes, cap), told, cap, whole)

    def ask(self, path: str, *, what: str, max_age: float = 0.0, **query: Any) -> Any:
        """The answer, up to `max_age` seconds old; None where the account may not ask, and then the question is not repeated."""
        if what in self.refused:
            return None
        now = self.api.clock()
        if what in self.kept and now - self.kept[what][0] < max_age:
            return self.kept[what][1]
        try:
            answer = self.api.get(path, **query)
            self.kept[what] = now, answer
            return answer
        except ApiError as error:
            if error.status == 401:
                raise
            self.refused.add(what)
            return None

    # --- the cause -------------------------------------------------------------------------------------------------

    def read_runs(self, tasks: Sequence[Task]) -> None:
        """The deployments and runbook runs of `tasks`, as far as they are in this space."""
        for collection, ids in (
            ("deployments", [task.deployment_id for task in tasks]),
            ("runbookRuns", [task.runbook_run_id for task in tasks]),
        ):
            wanted = [one for one in ids if one and one not in self.runs]
            if not wanted or collection in self.refused:
                continue
            try:
                found = self.api.by_ids(collection, wanted)
            except ApiError as error:
                if error.status == 401:
                    raise
                self.refused.add(collection)
                continue
            self.runs.update({item["Id"]: item for item in found})
            self.runs.update({one: {} for one in wanted if one not in self.runs})

    def run_of(self, task: Task) -> Mapping[str, Any]:
        return self.runs.get(task.deployment_id or task.runbook_run_id) or {}

    def cause(self, task: Task, other: Task) -> str:
        """Why `other` comes before `task`."""
        run, first = self.run_of(task), self.run_of(other)
        if not run or not first:
            return NOT_KNOWN
        own, same_cell = self.tag(run), cell_of(run) == cell_of(first)
        if own is None:
            return SAME_TAG if same_cell else NOT_KNOWN
        if own == default_tag(run):
            return SAME_TAG if same_cell else NO_SLOT
        theirs = self.tag(first)
        if theirs is None:
            return NOT_KNOWN
        return SAME_TAG if own == theirs else NO_SLOT

    def tag(self, run: Mapping[str, Any]) -> Optional[str]:
        """The concurrency tag of a deployment or run; None when it cannot be told."""
        identifier = str(run["Id"])
        if identifier not in self.tags:
            manifest = self.read_manifest(run)
            self.tags[identifier] = None if manifest is None else evaluated_tag(manifest, run)
        return self.tags[identifier]

    def read_manifest(self, run: Mapping[str, Any]) -> Any:
        """The variables of a run, those of its release being good enough: they may be many. None when they cannot be read."""
        release = str(run.get("ReleaseId") or run.get("RunbookSnapshotId"))
        if release not in self.manifests and len(self.manifests) < MOST_MANIFESTS:
            path = f"variables/{run.get('ManifestVariableSetId')}"
            self.manifests[release] = self.ask(path, what="variables")
        return self.manifests.get(release)

    def read_nodes(self) -> Optional[Nodes]:
        """Source: api-client.ts, OctopusServerNodeSummaryResource; takes AdministerSystem."""
        document = self.ask("/api/octopusservernodes/summary", what="nodes", max_age=KEPT)
        if document is None:
            return None
        nodes = [one for one in document.get("Nodes") or () if not one.get("IsOffline")]
        starting = [one for one in nodes if not one.get("IsInMaintenanceMode")]
        return Nodes(
            sum(int(one.get("MaxConcurrentTasks") or 0) for one in starting),
            sum(int(one.get("RunningTaskCount") or 0) for one in nodes),
        )

    # --- in words --------------------------------------------------------------------------------------------------

    def reason(self, task: Task, ahead: Sequence[Ahead], cap: int) -> str:
        causes = {one.cause for one in ahead}
        full = f"the task cap of {cap} is full" if cap else "the task cap is full"
        if NOT_KNOWN in causes:
            return "the task cap is full, or they have a concurrency tag in common"
        if SAME_TAG not in causes:
            return full
        run = self.run_of(task)
        tag = self.tags.get(str(run.get("Id"))) if run else None
        same = [one.task for one in ahead if one.cause == SAME_TAG]
        if run and all(cell_of(self.run_of(one)) == cell_of(run) for one in same):
            words = "one at a time in the same project, environment and tenant"
        else:
            words = "they have a concurrency tag in common" + (f", {tag}" if tag else "")
        return f"{words}; and {full}" if NO_SLOT in causes else words

    def why_nothing_is_ahead(self, task: Task) -> str:
        space = self.ask(f"/api/spaces/{task.space_id}", what="space") if task.space_id else None
        if space is not None and space.get("TaskQueueStopped"):
            return f"the task queue of the space {space.get('Name')} is stopped"
        return ""

    def notes(self, task: Task) -> list[str]:
        """What keeps it there beside the tasks ahead: approvals outside of Octopus, deployment freezes."""
        found = []
        if task.preconditions:
            found.append(f"it waits for {', '.join(task.preconditions)}")
        freeze = self.freeze_of(task)
        if freeze:
            found.append(freeze)
        return found

    def freeze_of(self, task: Task) -> str:
        """The freeze that holds where the task deploys to: what begins then fails (source: docs, Deployment freezes)."""
        self.read_runs([task])
        run = self.run_of(task)
        if not run or not task.deployment_id:
            return ""
        document = self.ask("/api/deploymentfreezes", what="freezes", max_age=KEPT, skip=0, take=1000)
        now = utc_now(self.api)
        for freeze in (document or {}).get("DeploymentFreezes") or ():
            start, end = moment_or_none(freeze.get("Start")), moment_or_none(freeze.get("End"))
            if start is not None and end is not None and start <= now < end and holds_for(freeze, run):
                return (
                    f"the deployment freeze {freeze.get('Name')} holds there until {end:%Y-%m-%d %H:%M} UTC"
                )
        return ""


def cell_of(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the default concurrency tag is made of."""
    return run.get("ProjectId"), run.get("EnvironmentId"), run.get("TenantId") or None


def default_tag(run: Mapping[str, Any]) -> str:
    """Source: docs, System variables, `Octopus.Task.ConcurrencyTag`."""
    project, environment, tenant = cell_of(run)
    return f"{tenant}/{project}/{environment}" if tenant else f"{project}/{environment}"


def holds_for(freeze: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    project, environment, tenant = cell_of(run)
    if environment in ((freeze.get("ProjectEnvironmentScope") or {}).get(project) or ()):
        return True
    return any(
        (one.get("TenantId"), one.get("ProjectId"), one.get("EnvironmentId"))
        == (tenant, project, environment)
        for one in freeze.get("TenantProjectEnvironmentScope") or ()
    )


def evaluated_tag(manifest: Mapping[str, Any], run: Mapping[str, Any]) -> Optional[str]:
    """The tag that the variables of a run give it, the default one included; None when it cannot be told from them alone.

    Names of projects, environments and the like are written as their ids, so that equal tags are equal texts.
    """
    values: dict[str, list[Mapping[str, Any]]] = {}
    for variable in manifest.get("Variables") or ():
        values.setdefault((variable.get("Name") or "").lower(), []).append(variable)
    wanted = values.get(CONCURRENCY_TAG.lower())
    if not wanted:
        return default_tag(run)
    return expanded(scoped_value(wanted, run), values, run, 5)


def scoped_value(variables: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> Optional[str]:
    """The one value that holds for `run`; None when none or several do, or when it is a secret."""
    fields = {"Environment": "EnvironmentId", "Channel": "ChannelId"}
    fitting = []
    for variable in variables:
        scope = {name: ids for name, ids in (variable.get("Scope") or {}).items() if ids}
        if set(scope) - set(fields):
            return None
        if all(run.get(fields[name]) in ids for name, ids in scope.items()):
            fitting.append((len(scope), variable))
    best = [one for count, one in fitting if count == max(count for count, _ in fitting)]
    if len(best) != 1 or best[0].get("IsSensitive"):
        return None
    return str(best[0].get("Value") or "")


def expanded(
    text: Optional[str], values: Mapping[str, Sequence[Mapping[str, Any]]], run: Mapping[str, Any], depth: int
) -> Optional[str]:
    """`text` with what is known about `run` put in; None when something in it is not known."""
    if text is None or depth == 0:
        return None
    result, end = "", 0
    for match in re.finditer(TAG_EXPRESSION, text):
        name = match.group(1)
        if name in TAG_FIELDS:
            value: Optional[str] = str(run.get(TAG_FIELDS[name]) or "")
        elif name.lower() in values:
            value = expanded(scoped_value(values[name.lower()], run), values, run, depth - 1)
        else:
            return None
        if value is None:
            return None
        result += text[end : match.start()] + value
        end = match.end()
    result += text[end:]
    return None if "#" + "{" in result else result
