"""Makes what a scenario describes, through the emulator's own API in process, so that its rules hold for the scenario too.

Three stages, because a release freezes the process and variables that it finds: the world; releases and published runbooks; the
deployments. Who wants steps imported does it between the first two: see `commands/emulate`.
Deployments of the past are created by the API at their moment, and then ended without running a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import httpx

from generator.emulator import queue, scenario
from generator.emulator.actions import DURATION, MESSAGE, OUTCOME
from generator.emulator.ratelimit import RateLimit
from generator.emulator.scenario import ADMIN, Node, Scenario
from generator.emulator.server import Emulator
from generator.emulator.tasks import CANCELED, FAILED, SUCCESS, TIMED_OUT, Task
from generator.errors import Problem, Problems
from generator.step_template import to_api
from generator.workspace import Built

Json = dict[str, Any]

CONDITIONS = {"success": "Success", "failure": "Failure", "always": "Always"}
TENANTED = {"never": "Untenanted", "optional": "TenantedOrUntenanted", "always": "Tenanted"}
STATES = {"success": SUCCESS, "failed": FAILED, "canceled": CANCELED, "timed_out": TIMED_OUT}
EARLIER = 3600
"""By how many seconds everything else is older than the oldest deployment."""


class _Refused(Exception):
    """The emulated server's answer when it is no success, in its words."""


@dataclass
class Space:
    """A space being filled: `ids` of what was made, by kind and name without regard to case."""

    id: str
    node: Node
    ids: dict[tuple[str, str], str] = field(default_factory=dict)

    def note(self, kind: str, name: str, document: Mapping[str, Any]) -> None:
        self.ids[kind, name.casefold()] = str(document["Id"])

    def find(self, kind: str, name: str) -> str:
        """The id of what was made under that name. Errors: _Refused when the server refused it, which is told already."""
        found = self.ids.get((kind, name.casefold()))
        if found is None:
            raise _Missing
        return found

    def all(self, kind: str, names: list[str]) -> list[str]:
        return [self.find(kind, name) for name in names]


class _Missing(Exception):
    """Something needs what could not be made."""


class Seeding:
    """A scenario on its way into an emulator that has not started yet. `keys`: its API keys by their names."""

    def __init__(self, wanted: Scenario, emulator: Emulator) -> None:
        self.scenario, self.emulator = wanted, emulator
        self.spaces: dict[str, Space] = {}
        self.keys: dict[str, str] = {ADMIN: emulator.api_key}
        self._problems: list[Problem] = []
        self._now = emulator.state.clock.now()
        self._http = httpx.Client(
            transport=httpx.WSGITransport(app=emulator.app),
            base_url=f"http://emulator{emulator.state.virtual_directory}",
            headers={"X-Octopus-ApiKey": emulator.api_key},
        )

    def seed(self, import_steps: Callable[[], None] = lambda: None) -> None:
        """Everything, and then the faults. `import_steps` is called before the releases are made.

        Errors: Problems with all that the server refuses.
        """
        self.make_world()
        import_steps()
        self.make_releases()
        self.make_deployments()
        self.begin_faults()

    # --- the three stages ------------------------------------------------------------------------------------------

    def make_world(self) -> None:
        """All but releases and deployments, older than the oldest deployment."""
        root = self.scenario.root
        past = [
            item
            for _, space in scenario.spaces(root)
            for item in space.items("deployments")
            if _is_past(item)
        ]
        if past:
            self._go_to(-max(map(_ago, past)) - EARLIER)
        for name, node in scenario.spaces(root):
            self._make_space(name, node)
        for name, node in root.named("api_keys"):
            self._make_key(name, node)
        for space in self.spaces.values():
            self._fill(space)
        self._settle()

    def make_releases(self) -> None:
        for space in self.spaces.values():
            for name, project in space.node.named("projects"):
                for release in project.items("releases"):
                    with self._telling(release):
                        self._make_release(space, name, release)
                for runbook, entry in project.named("runbooks"):
                    with self._telling(entry, at_key=True):
                        self._publish_runbook(space, name, runbook)
        self._settle()

    def make_deployments(self) -> None:
        """Deployments of the past, the oldest first; then, at the present moment, those that are queued."""
        everything = [
            (space, item) for space in self.spaces.values() for item in space.node.items("deployments")
        ]
        past = [(space, item) for space, item in everything if _is_past(item)]
        queued = [(space, item) for space, item in everything if not _is_past(item)]
        for space, item in sorted(past, key=lambda entry: -_ago(entry[1])):
            with self._telling(item):
                self._go_to(-_ago(item))
                self._end(self._deploy(space, item), item)
        if past:
            self._go_to(0)
        for space, item in queued:
            with self._telling(item):
                self._deploy(space, item)
        self._settle()

    def begin_faults(self) -> None:
        """From now on the server is as troubled as the scenario wants it."""
        root = self.scenario.root
        if root.has("rate_limit"):
            self.emulator.rate_limit = RateLimit(**root.get("rate_limit"))
        for fault in root.items("faults"):
            count = fault.get("count", 1)
            self.emulator.faults.add(
                path=fault.get("route", ""),
                method=fault.get("method"),
                kind=fault.get("kind"),
                status=fault.get("status", 503),
                retry_after=fault.get("retry_after"),
                count=None if count == "always" else count,
                after=fault.get("after", 0),
                delay=fault.get("seconds", 1.0),
                probability=fault.get("probability", 1.0),
                seed=fault.get("seed", 0),
            )

    # --- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._http.request(method, path, json=body)
        if answer.is_success:
            return answer.json() if answer.content else None
        told = answer.json()
        raise _Refused(" ".join(told.get("Errors") or [told["ErrorMessage"]]))

    def _post(self, space: Space, path: str, body: object) -> Json:
        made: Json = self._ask("POST", f"/api/{space.id}/{path}", body)
        return made

    def _change(self, space: Space, path: str, **fields: object) -> None:
        found = self._ask("GET", f"/api/{space.id}/{path}")
        self._ask("PUT", f"/api/{space.id}/{path}", {**found, **fields})

    @contextmanager
    def _telling(self, node: Node, *, at_key: bool = False) -> Iterator[None]:
        """Notes a refusal as a problem at that place of the file. What needed it is left out silently."""
        try:
            yield
        except _Refused as refused:
            self._problems.append(node.problem(f"the server refuses it: {refused}", at_key=at_key))
        except _Missing:
            pass

    def _settle(self) -> None:
        if self._problems:
            raise Problems(self._problems)

    def _go_to(self, offset: float) -> None:
        self.emulator.state.clock.set(self._now + offset)

    # --- the world -------------------------------------------------------------------------------------------------

    def _make_space(self, name: str, node: Node) -> None:
        with self._telling(node, at_key=True):
            if name.casefold() == scenario.DEFAULT_SPACE.casefold():
                [made] = [item for item in self._ask("GET", "/api/spaces/all") if item["IsDefault"]]
            else:
                made = self._ask(
                    "POST", "/api/spaces", {"Name": name, "SpaceManagersTeams": ["teams-administrators"]}
                )
            space = self.spaces[name] = Space(made["Id"], node)
            for path in ("lifecycles", "workerpools", "projectgroups"):
                for item in self._ask("GET", f"/api/{space.id}/{path}/all"):
                    space.note(path, item["Name"], item)
            self._make_places(space)
            for project, entry in node.named("projects"):
                with self._telling(entry, at_key=True):
                    self._make_project(space, project, entry)
            for tenant, entry in node.named("tenants"):
                with self._telling(entry, at_key=True):
                    self._make_tenant(space, tenant, entry)
            for machine, entry in node.named("machines"):
                with self._telling(entry, at_key=True):
                    self._make_machine(space, machine, entry)

    def _make(self, space: Space, path: str, name: str, **fields: object) -> Json:
        made = self._post(space, path, {"Name": name, **fields})
        space.note(path, name, made)
        return made

    def _make_places(self, space: Space) -> None:
        node = space.node
        for order, place in enumerate(node.items("environments")):
            with self._telling(place):
                self._make(space, "environments", place.value, SortOrder=order)
        for name, phases in node.named("lifecycles"):
            with self._telling(phases, at_key=True):
                self._make(space, "lifecycles", name, Phases=[_phase(space, phase) for phase in phases.value])
        for order, (name, tags) in enumerate(node.named("tag_sets")):
            with self._telling(tags, at_key=True):
                tag_list = [
                    {"Name": tag, "CanonicalTagName": f"{name}/{tag}", "SortOrder": at}
                    for at, tag in enumerate(tags.value)
                ]
                self._make(space, "tagsets", name, SortOrder=order, Tags=tag_list)
        for place in node.items("worker_pools"):
            with self._telling(place):
                self._make(space, "workerpools", place.value)
        for name, variables in node.named("variable_sets"):
            with self._telling(variables, at_key=True):
                made = self._make(space, "libraryvariablesets", name, ContentType="Variables")
                space.ids["variables of set", name.casefold()] = made["VariableSetId"]

    def _make_project(self, space: Space, name: str, node: Node) -> None:
        group = node.get("group", "Default Project Group")
        if ("projectgroups", group.casefold()) not in space.ids:
            self._make(space, "projectgroups", group)
        made = self._make(
            space,
            "projects",
            name,
            LifecycleId=space.find("lifecycles", node.get("lifecycle", scenario.DEFAULT_LIFECYCLE)),
            ProjectGroupId=space.find("projectgroups", group),
            IncludedLibraryVariableSetIds=space.all("libraryvariablesets", node.get("variable_sets", [])),
            TenantedDeploymentMode=TENANTED[node.get("tenants", "never")],
        )
        [default] = self._ask("GET", f"/api/{space.id}/projects/{made['Id']}/channels")["Items"]
        space.note(f"channels of {made['Id']}", default["Name"], default)
        for channel, entry in node.named("channels"):
            with self._telling(entry, at_key=True):
                fields: Json = {
                    "ProjectId": made["Id"],
                    "Name": channel,
                    "IsDefault": entry.get("default", False),
                }
                if entry.has("lifecycle"):
                    fields["LifecycleId"] = space.find("lifecycles", entry.get("lifecycle"))
                space.note(f"channels of {made['Id']}", channel, self._post(space, "channels", fields))

    def _make_tenant(self, space: Space, name: str, node: Node) -> None:
        connected = {
            space.find("projects", project): space.all("environments", places)
            for project, places in node.get("projects", {}).items()
        }
        self._make(space, "tenants", name, TenantTags=node.get("tags", []), ProjectEnvironments=connected)

    def _make_machine(self, space: Space, name: str, node: Node) -> None:
        tenants, tags = space.all("tenants", node.get("tenants", [])), node.get("tenant_tags", [])
        self._make(
            space,
            "machines",
            name,
            EnvironmentIds=space.all("environments", node.get("environments")),
            Roles=node.get("roles"),
            IsDisabled=node.get("disabled", False),
            TenantIds=tenants,
            TenantTags=tags,
            TenantedDeploymentParticipation="TenantedOrUntenanted" if tenants or tags else "Untenanted",
        )

    def _make_key(self, name: str, node: Node) -> None:
        with self._telling(node, at_key=True):
            projects = None
            if node.has("projects"):
                wanted = {project.casefold() for project in node.get("projects")}
                projects = [
                    identifier
                    for space in self.spaces.values()
                    for (kind, project), identifier in space.ids.items()
                    if kind == "projects" and project in wanted
                ]
            self.keys[name] = self.emulator.add_key(
                key=node.get("key"),
                user=node.get("user", name),
                permissions=node.get("permissions"),
                projects=projects,
            )

    def _fill(self, space: Space) -> None:
        """Variables and processes: they may name everything else."""
        node = space.node
        for place in node.items("step_templates"):
            with self._telling(place):
                self._publish(space, place.value)
        for name, variables in node.named("variable_sets"):
            with self._telling(variables, at_key=True):
                self._set_variables(space, space.find("variables of set", name), variables, channels="")
        for name, project in node.named("projects"):
            with self._telling(project, at_key=True):
                identifier = space.find("projects", name)
                if project.has("variables"):
                    owner = f"channels of {identifier}"
                    self._set_variables(
                        space, f"variableset-{identifier}", project.at("variables"), channels=owner
                    )
                steps = [self._step(space, name, identifier, step) for step in project.items("steps")]
                if steps:
                    self._change(space, f"deploymentprocesses/deploymentprocess-{identifier}", Steps=steps)
                for runbook, entry in project.named("runbooks"):
                    with self._telling(entry, at_key=True):
                        self._make_runbook(space, name, runbook, entry)

    def _make_runbook(self, space: Space, project: str, name: str, node: Node) -> None:
        identifier = space.find("projects", project)
        made = self._post(space, "runbooks", {"Name": name, "ProjectId": identifier})
        space.note(f"runbooks of {identifier}", name, made)
        steps = [self._step(space, project, identifier, step) for step in node.items("steps")]
        if steps:
            self._change(space, f"runbookProcesses/{made['RunbookProcessId']}", Steps=steps)

    # --- variables -------------------------------------------------------------------------------------------------

    def _set_variables(self, space: Space, identifier: str, node: Node, *, channels: str) -> None:
        variables = [
            self._variable(space, name, value, channels=channels)
            for name in node.value
            for value in scenario.variable_values(node, name)
        ]
        self._change(space, f"variables/{identifier}", Variables=variables)

    def _variable(self, space: Space, name: str, node: Node, *, channels: str) -> Json:
        if isinstance(node.value, str):
            return {"Name": name, "Value": node.value, "Type": "String", "Scope": {}}
        scope = {
            "Environment": space.all("environments", node.get("environments", [])),
            "Channel": space.all(channels, node.get("channels", [])),
            "Role": node.get("roles", []),
        }
        made: Json = {
            "Name": name,
            "Value": node.get("value", ""),
            "Type": "String",
            "Scope": {kind: values for kind, values in scope.items() if values},
        }
        if node.has("secret"):
            made.update(Value=self._secret(node.get("secret")), Type="Sensitive", IsSensitive=True)
        if node.has("prompt"):
            prompt = node.get("prompt")
            made["Prompt"] = {
                "Label": prompt.get("label", name),
                "Description": prompt.get("description", ""),
                "Required": prompt.get("required", False),
            }
        return made

    def _secret(self, text: str) -> str:
        kind, _, name = text.partition(":")
        return self.keys[name] if kind == "key" else self.scenario.secrets[name]

    # --- steps -----------------------------------------------------------------------------------------------------

    def _step(self, space: Space, project: str, project_id: str, node: Node) -> Json:
        action: Json = {
            "Name": node.get("name"),
            "ActionType": "Octopus.Script",
            "Properties": {},
            "IsDisabled": node.get("disabled", False),
            "IsRequired": node.get("required", False),
            "Environments": space.all("environments", node.get("environments", [])),
            "ExcludedEnvironments": space.all("environments", node.get("excluded_environments", [])),
            "Channels": space.all(f"channels of {project_id}", node.get("channels", [])),
            "TenantTags": node.get("tenant_tags", []),
        }
        if node.has("worker_pool"):
            action["WorkerPoolId"] = space.find("workerpools", node.get("worker_pool"))
        make = next((MAKERS[kind] for kind in MAKERS if node.has(kind)), _pretended)
        made = make(self, space, project, node)
        action.update({name: value for name, value in made.items() if name != "Properties"})
        properties = {"Octopus.Action.RunOnServer": "true", **made["Properties"]}
        if node.has("retries"):
            properties["Octopus.Action.AutoRetry.MaximumCount"] = str(node.get("retries"))
        if node.has("time_limit"):
            minutes = scenario.seconds(node.get("time_limit")) // 60
            properties["Octopus.Action.ExecutionTimeout.Minutes"] = str(minutes)
        action["Properties"] = properties
        own: Json = {"Name": node.get("name"), "Properties": {}, "Actions": [action]}
        if node.has("target_roles"):
            own["Properties"]["Octopus.Action.TargetRoles"] = ",".join(node.get("target_roles"))
        if node.get("parallel"):
            own["StartTrigger"] = "StartWithPrevious"
        condition = node.get("condition", "success")
        if isinstance(condition, str):
            own["Condition"] = CONDITIONS[condition]
        else:
            own["Condition"] = "Variable"
            own["Properties"]["Octopus.Step.ConditionVariableExpression"] = condition["variable"]
        return own

    def _publish(self, space: Space, name: str) -> tuple[Built, Json]:
        """The step template in the space's library, published when it is not there yet."""
        built = self.scenario.templates[name]
        if ("actiontemplates", name.casefold()) not in space.ids:
            space.note(
                "actiontemplates",
                name,
                self._post(space, "actiontemplates", to_api(built.template, space.id)),
            )
        identifier = space.find("actiontemplates", name)
        return built, self._ask("GET", f"/api/{space.id}/actiontemplates/{identifier}")

    def from_template(self, space: Space, project: str, node: Node) -> Json:
        """A step as the portal makes one from a template: a copy of its properties, and the values."""
        built, published = self._publish(space, node.get("template"))
        values, problems = scenario.template_values(project, node, built)
        self._problems += problems
        defaults = {parameter.variable: parameter.default or "" for parameter in built.spec.parameters}
        properties = {
            **published["Properties"],
            **defaults,
            **values,
            "Octopus.Action.Template.Id": published["Id"],
            "Octopus.Action.Template.Version": str(published["Version"]),
        }
        return {
            "ActionType": published["ActionType"],
            "Properties": properties,
            "Packages": published["Packages"],
            "GitDependencies": published["GitDependencies"],
        }

    def from_script(self, space: Space, project: str, node: Node) -> Json:
        return _inline("Python", self.scenario.scripts[node.get("script")])

    def intervention(self, space: Space, project: str, node: Node) -> Json:
        properties = {
            "Octopus.Action.Manual.Instructions": node.get("manual"),
            "Octopus.Action.Manual.BlockConcurrentDeployments": str(node.get("block", False)),
        }
        return {"ActionType": "Octopus.Manual", "Properties": properties}

    def pretended(self, space: Space, project: str, node: Node) -> Json:
        """What people have in PowerShell: it lasts and ends as the scenario says."""
        made = _inline("PowerShell", f"Write-Host '{node.get('name')}'")
        outcome = node.get("outcome", "success")
        made["Properties"].update(
            {
                DURATION: str(scenario.seconds(node.get("duration", "0s"))),
                OUTCOME: outcome if isinstance(outcome, str) else ", ".join(outcome),
                MESSAGE: node.get("message", ""),
            }
        )
        return made

    # --- releases and deployments ----------------------------------------------------------------------------------

    def _make_release(self, space: Space, project: str, node: Node) -> None:
        identifier = space.find("projects", project)
        version = scenario.release_version(node)
        body: Json = {"ProjectId": identifier, "Version": version}
        if node.has("channel"):
            body["ChannelId"] = space.find(f"channels of {identifier}", node.get("channel"))
        if node.has("notes"):
            body["ReleaseNotes"] = node.get("notes")
        made = self._post(space, "releases", body)
        space.note(f"releases of {identifier}", version, made)
        if node.has("blocked"):
            self._post(space, f"releases/{made['Id']}/defects", {"Description": node.get("blocked")})

    def _publish_runbook(self, space: Space, project: str, name: str) -> None:
        """A snapshot of the runbook as it is now, published."""
        identifier = space.find("projects", project)
        runbook = space.find(f"runbooks of {identifier}", name)
        body = {"ProjectId": identifier, "RunbookId": runbook}
        made = self._post(space, "runbookSnapshots?publish=true", body)
        space.note(f"snapshots of {identifier}", name, made)

    def _deploy(self, space: Space, node: Node) -> Task:
        """A deployment, or the run of a runbook."""
        project = space.find("projects", node.get("project"))
        body: Json = {
            "EnvironmentId": space.find("environments", node.get("environment")),
            "Comments": node.get("comments"),
        }
        if node.has("tenant"):
            body["TenantId"] = space.find("tenants", node.get("tenant"))
        if node.has("in"):
            start = self.emulator.state.clock.now() + scenario.seconds(node.get("in"))
            body["QueueTime"] = datetime.fromtimestamp(start, timezone.utc).isoformat()
        if node.has("runbook"):
            body["RunbookId"] = space.find(f"runbooks of {project}", node.get("runbook"))
            body["RunbookSnapshotId"] = space.find(f"snapshots of {project}", node.get("runbook"))
            made = self._post(space, "runbookRuns", body)
        else:
            body["ReleaseId"] = space.find(f"releases of {project}", node.get("release"))
            made = self._post(space, "deployments", body)
        return self.emulator.state.tasks[made["TaskId"]]

    def _end(self, task: Task, node: Node) -> None:
        """Carries a deployment of the past through its life without running anything. One that timed out never began."""
        state, outcome = self.emulator.state, STATES[node.get("state", "success")]
        lasted = scenario.seconds(node.get("lasted", "30s"))
        with state.lock:
            if outcome != TIMED_OUT:
                queue.begin(state, task)
                self._write_log(task, outcome, lasted=lasted, error=node.get("error"))
            else:
                self._go_to(lasted - _ago(node))
            task.error = "" if outcome == SUCCESS else node.get("error", PAST_ERRORS[outcome])
            queue.finish(state, task, outcome)

    def _write_log(self, task: Task, outcome: str, *, lasted: float, error: str | None) -> None:
        """The steps of the release's process, of which the last one tells the outcome. Leaves the clock at the end."""
        state, clock = self.emulator.state, self.emulator.state.clock
        deployment = state.get("Deployments", task.arguments["DeploymentId"])
        steps = state.get("DeploymentProcesses", deployment["DeploymentProcessId"])["Steps"]
        begun, offset = clock.now(), clock.now() - self._now
        for number, step in enumerate(steps, start=1):
            is_last = number == len(steps)
            node = task.root.child(f"Step {number}: {step['Name']}")
            node.begin(begun + lasted * (number - 1) / len(steps))
            task.log(node, "Verbose", PAST, begun)
            if is_last and outcome == FAILED:
                task.log(node, "Error", error or PAST_ERRORS[FAILED], begun + lasted)
            node.end(outcome if is_last else SUCCESS, begun + lasted * number / len(steps))
        self._go_to(offset + lasted)


PAST = "This deployment was over when the emulator started: nothing of it was run"
PAST_ERRORS = {
    FAILED: "The deployment failed",
    CANCELED: "The task was canceled",
    TIMED_OUT: "The task was not started before its queue time expired.",
}

_pretended = Seeding.pretended
MAKERS: Mapping[str, Callable[[Seeding, Space, str, Node], Json]] = {
    "script": Seeding.from_script,
    "template": Seeding.from_template,
    "manual": Seeding.intervention,
}
"""What a step of the file is made of, by the word that says what it is; without one it only pretends."""


def _inline(syntax: str, body: str) -> Json:
    return {
        "Properties": {
            "Octopus.Action.Script.ScriptSource": "Inline",
            "Octopus.Action.Script.Syntax": syntax,
            "Octopus.Action.Script.ScriptBody": body,
        }
    }


def _phase(space: Space, phase: Mapping[str, Any]) -> Json:
    return {
        "Name": phase["name"],
        "OptionalDeploymentTargets": space.all("environments", phase.get("environments", [])),
        "MinimumEnvironmentsBeforePromotion": phase.get("minimum", 0),
        "IsOptionalPhase": phase.get("optional", False),
    }


def _is_past(deployment: Node) -> bool:
    return str(deployment.get("state", "success")) != "queued"


def _ago(deployment: Node) -> int:
    """How many seconds ago it was created."""
    return scenario.seconds(deployment.get("ago", "1h"))
