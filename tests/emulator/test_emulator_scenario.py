"""Scenario files by the real command line: what the server then holds, and every fault of a file with its place."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commandline import Ended, octosteps

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
LONGEST = 60.0
ENDED = {"Success", "Failed", "Canceled", "TimedOut"}


class Running:
    """A served scenario and a client of its default space."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.http = httpx.Client(
            base_url=f"{facts['url']}/api/Spaces-1/",
            headers={"X-Octopus-ApiKey": facts["apiKey"]},
            timeout=30,
        )

    def get(self, path: str, **query: object) -> Any:
        return self._read(path, {name: str(value) for name, value in query.items()}).json()

    def _read(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        """The answer; a 429 is a fault that a scenario asks for, and is survived as any client does."""
        for _ in range(20):
            answer = self.http.get(path, params=query)
            if answer.status_code != 429:
                break
        assert answer.is_success, answer.text
        return answer

    def named(self, path: str) -> dict[str, Any]:
        return {item["Name"]: item for item in self.get(f"{path}/all")}

    def deploy(self, project: str, version: str, environment: str, **fields: object) -> Any:
        """The ended task of a new deployment."""
        release = self.get(f"projects/{project.lower()}/releases/{version}")
        body = {
            "ReleaseId": release["Id"],
            "EnvironmentId": self.named("environments")[environment]["Id"],
            **fields,
        }
        made = self.http.post("deployments", json=body)
        assert made.is_success, made.text
        return self.ended(made.json()["TaskId"])

    def ended(self, task_id: str) -> Any:
        deadline = time.monotonic() + LONGEST
        while (task := self.get(f"tasks/{task_id}"))["State"] not in ENDED:
            assert time.monotonic() < deadline, self.log(task)
            time.sleep(0.05)
        return task

    def log(self, task: Mapping[str, Any]) -> str:
        return self._read(f"tasks/{task['Id']}/raw", {}).text


@contextmanager
def emulate(file: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`octosteps emulate --scenario FILE` as a process of its own, ended as a person ends it."""
    words = [
        sys.executable,
        "-m",
        "generator",
        "emulate",
        "--scenario",
        str(file),
        "--port",
        "0",
        "-f",
        "json",
    ]
    surroundings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})}
    with subprocess.Popen(
        [*words, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=surroundings,
        cwd=file.parent,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1].decode()
            running = Running(json.loads(line))
            yield running
            running.http.close()
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=30)
            assert (0, b"", b"") == (process.returncode, rest, errors)
        finally:
            process.kill()


@contextmanager
def written(folder: Path, text: str, *arguments: str, **options: Any) -> Iterator[Running]:
    file = folder / "scenario.yaml"
    file.write_text(text)
    with emulate(file, *arguments, **options) as running:
        yield running


def refused(folder: Path, text: str, **environ: str) -> Ended:
    (folder / "scenario.yaml").write_text(text)
    return octosteps("emulate", "--scenario", "scenario.yaml", "--port", "0", folder=folder, environ=environ)


# --- what a scenario makes -----------------------------------------------------------------------------------------


def test_the_example_has_a_past_and_carries_out_what_is_queued() -> None:
    """examples/emulator: history by the server's rules, scripts that run, a step of our own template that deploys."""
    with emulate(EXAMPLES / "emulator" / "scenario.yaml", "--speed", "60") as server:
        assert {"robot": "API-ROBOT"} == server.facts["apiKeys"]
        tasks = server.get("tasks", take=100)["Items"]
        states = {task["Description"]: task["State"] for task in reversed(tasks)}
        assert ("Success", "Canceled") == (
            states["Deploy Database release 1.3.0 to Production"],
            states["Deploy Payments release 3.2.0 to Test for Contoso"],
        )
        [failed] = [task for task in tasks if task["Description"] == "Deploy Database release 1.4.0 to Test"][
            -1:
        ]
        assert ("Failed", "deadlock on table orders", "30 seconds") == (
            failed["State"],
            failed["ErrorMessage"],
            failed["Duration"],
        )
        [web] = [task for task in tasks if task["Description"] == "Deploy Web release 2.7.0 to Test"]
        ended = server.ended(web["Id"])
        assert "Success" == ended["State"], server.log(ended)
        assert "Database 1.4.0" in server.log(ended) or "1.4.0 of Database" in server.log(ended)
        databases = server.get("deployments", projects=server.named("projects")["Database"]["Id"])["Items"]
        newest = server.get(f"tasks/{databases[0]['TaskId']}")
        assert "Success" == newest["State"]
        assert "deadlock on table orders" in server.log(newest), (
            "its first attempt fails, as the scenario wants"
        )
        [payments] = [
            task
            for task in tasks
            if task["HasPendingInterruptions"] or "3.1.0 to Prod" in task["Description"]
        ][:1]
        assert "Payments go through https://pay.example.com" in server.log(payments)


def test_the_demos_world_is_the_example_of_the_shop() -> None:
    with emulate(EXAMPLES / "shop" / "scenario.yaml") as server:
        assert {"Database", "Web", "Search", "Shop"} == set(server.named("projects"))
        versions = [item["Version"] for item in server.get("projects/database/releases")["Items"]]
        assert ["1.4.0", "1.3.0"] == versions


FULL = """\
speed: 100
task_cap: 7
rate_limit: {burst: 1000, per_minute: 60000}
api_keys:
  robot: {user: Robot, permissions: [ProjectView], projects: [Web]}
spaces:
  default:
    environments: [Test, Production]
    lifecycles:
      Own: [{name: First, environments: [Test], minimum: 1}, {name: Then}]
    tag_sets: {Regions: [EMEA, APAC]}
    tenants:
      Acme: {tags: [Regions/EMEA], projects: {Web: [Test]}}
    worker_pools: [Linux]
    machines:
      web-01: {environments: [Test], roles: [web], tenants: [Acme]}
      web-02: {environments: [Test], roles: [web], tenant_tags: [Regions/APAC]}
    variable_sets:
      Shared:
        Shared.Key: {secret: key:robot}
        Shared.Word: hello
    step_templates: [Octopus - Verify Deployment]
    projects:
      web:
        group: Sites
        lifecycle: own
        tenants: optional
        channels: {Hotfix: {default: true}}
        variable_sets: [Shared]
        variables:
          Password: {secret: env:WEB_PASSWORD}
          Colour: [{value: blue, environments: [Test]}, {value: green, environments: [Production]}]
          Lane: {value: slow, channels: [Hotfix]}
          Reason: {prompt: {label: Why, required: true}}
        steps:
          - {name: Look, script: look.py}
          - {name: Serve, duration: 2m, target_roles: [web], message: served}
          - {name: Beside, parallel: true, environments: [Production], worker_pool: Linux}
          - {name: Sometimes, condition: {variable: "#{if Colour == \\"green\\"}true#{/if}"}}
          - {name: Alarm, condition: failure, disabled: true}
          - {name: Regional, tenant_tags: [Regions/EMEA], channels: [hotfix], retries: 2, time_limit: 2h, required: true}
        releases: ["1.0.0", {version: 1.1.0, channel: Default, notes: Old lane}]
  Other:
    environments: [Lab]
    projects: {Lonely: {}}
"""
LOOK = """\
print(get_octopusvariable("Colour"), get_octopusvariable("Lane"), get_octopusvariable("Shared.Word"))
print("password", get_octopusvariable("Password"), "key", get_octopusvariable("Shared.Key"))
print("asked", get_octopusvariable("Reason"))
"""


def test_everything_that_a_scenario_can_say(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    secret = {"WEB_PASSWORD": "s3cret-of-web"}
    with written(tmp_path, FULL, environ=secret) as server:
        robot = {"X-Octopus-ApiKey": server.facts["apiKeys"]["robot"]}
        seen = httpx.get(f"{server.facts['url']}/api/projects/all", headers=robot).json()
        assert ["web"] == [item["Name"] for item in seen]
        assert 403 == httpx.get(f"{server.facts['url']}/api/releases", headers=robot).status_code
        assert ["Lab"] == [
            item["Name"]
            for item in server.http.get(f"{server.facts['url']}/api/Spaces-2/environments/all").json()
        ]
        assert "l=1000;rpm=60000" == server.http.get("projects").headers["Octopus-RateLimit-Policy"]
        assert ["First", "Then"] == [phase["Name"] for phase in server.named("lifecycles")["Own"]["Phases"]]
        project = server.named("projects")["web"]
        assert ("Sites", "TenantedOrUntenanted") == (
            next(
                name
                for name, group in server.named("projectgroups").items()
                if group["Id"] == project["ProjectGroupId"]
            ),
            project["TenantedDeploymentMode"],
        )
        assert ["Octopus - Verify Deployment"] == [
            item["Name"] for item in server.get("actiontemplates")["Items"]
        ]
        tenant = server.named("tenants")["Acme"]
        task = server.deploy("web", "1.0.0", "Test", TenantId=tenant["Id"], FormValues={"Reason": "because"})
        log = server.log(task)
        assert "Success" == task["State"], log
        assert "blue slow hello" in log and "password ******** key ********" in log and "asked because" in log
        [root] = server.get(f"tasks/{task['Id']}/details")["ActivityLogs"]
        assert {
            "Look": "Success",
            "Serve": "Success",
            "Beside": "Skipped",
            "Sometimes": "Skipped",
            "Alarm": "Skipped",
            "Regional": "Success",
        } == {child["Name"].split(": ")[1]: child["Status"] for child in root["Children"]}
        assert ["web-01"] == [child["Name"] for child in root["Children"][1]["Children"]]
        [_, regional] = [
            step["Actions"][0]["Properties"]
            for step in server.get(f"deploymentprocesses/deploymentprocess-{project['Id']}")["Steps"]
            if step["Name"] in ("Look", "Regional")
        ]
        assert ("2", "120") == (
            regional["Octopus.Action.AutoRetry.MaximumCount"],
            regional["Octopus.Action.ExecutionTimeout.Minutes"],
        )


IMPORTED = """\
speed: 60
spaces:
  Default:
    environments: [Test]
    coordination: [more.yaml]
    variable_sets: {Keys: {Key: {secret: key:admin}}}
    projects:
      Web: {steps: [{name: Work}], releases: ["1.0.0", {version: 1.1.0, blocked: Loses orders}]}
      Shop:
        variable_sets: [Keys]
        steps: [{name: Serve}]
        runbooks: {Look: {steps: [{name: Look round, script: look.py}]}, Empty: {}}
        releases: ["2.0.0"]
    deployments:
      - {project: Web, release: 1.0.0, environment: Test, ago: 1h}
      - {project: Shop, release: 2.0.0, environment: Test, state: queued}
      - {project: Shop, runbook: look, environment: Test, state: queued, in: 5m}
"""
MORE = """\
projects:
  Shop:
    - process: deployment
      steps:
        - {key: web, template: Octopus - Verify Deployment, name: Web is there, before: Serve,
           with: {project: Web, api_key: "#{Key}"}}
    - process: runbook Look
      steps:
        - {key: web, template: Octopus - Verify Deployment, name: Web is there, before: Look round,
           with: {project: Web, version: 1.0.0, blocked: refused, api_key: "#{Key}"}}
"""


def test_steps_are_imported_before_releases_and_runbooks_are_published(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(MORE)
    (tmp_path / "look.py").write_text("print('looked round')\n")
    with written(tmp_path, IMPORTED) as server:
        _, deployment, run = sorted(
            server.get("tasks")["Items"], key=lambda task: int(task["Id"].split("-")[1])
        )
        early, late = [datetime.fromisoformat(task["QueueTime"]) for task in (deployment, run)]
        assert 290 <= (late - early).total_seconds() <= 310
        assert "Success" == server.ended(deployment["Id"])["State"], server.log(deployment)
        assert "Verified: Web in Test is at 1.0.0" in server.log(deployment)
        assert "Success" == server.ended(run["Id"])["State"], server.log(run)
        assert "looked round" in server.log(run) and "Verified: Web in Test is at 1.0.0" in server.log(run)
        blocked = server.get(f"projects/{server.named('projects')['Web']['Id']}/releases/1.1.0")
        [defect] = server.get(f"releases/{blocked['Id']}/defects")["Items"]
        assert ("Loses orders", "Unresolved") == (defect["Description"], defect["Status"])


def test_faults_of_an_imported_file_are_told_with_its_places(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        MORE.replace("before: Serve", "before: Server").replace("version: 1.0.0", "verison: x")
    )
    (tmp_path / "look.py").write_text("pass\n")
    ended = refused(tmp_path, IMPORTED)
    assert (1, "") == (ended.exit_code, ended.out)
    assert "more.yaml:5:89: " in ended.err and "(did you mean 'Serve'?)" in ended.err, ended.err
    assert "has no parameter 'verison' (did you mean 'version'?)" in ended.err


def test_options_win_over_the_scenario(tmp_path: Path) -> None:
    text = "speed: 0.5\ntask_cap: 1\nspaces: {Default: {}}\n"
    with written(tmp_path, text, "--task-cap", "9", "--speed", "3", "--api-key", "API-MINE") as server:
        [node] = server.http.get(f"{server.facts['url']}/api/octopusservernodes").json()["Items"]
        assert ("API-MINE", 9) == (server.facts["apiKey"], node["MaxConcurrentTasks"])
        assert "3× as fast" in httpx.get(server.facts["url"]).text


def test_a_step_ends_each_time_as_its_list_says(tmp_path: Path) -> None:
    text = """\
speed: 100
spaces:
  Default:
    environments: [Test]
    projects:
      Web: {steps: [{name: Try, outcome: [failure, warning, success]}], releases: ["1.0.0"]}
"""
    with written(tmp_path, text) as server:
        tasks = [server.deploy("Web", "1.0.0", "Test") for _ in range(4)]
        assert [("Failed", True), ("Success", True), ("Success", False), ("Success", False)] == [
            (task["State"], task["HasWarningsOrErrors"]) for task in tasks
        ]


def test_faults_begin_once_the_server_is_there(tmp_path: Path) -> None:
    text = """\
spaces: {Default: {environments: [Test]}}
faults:
  - {kind: status, status: 429, retry_after: 3, route: environments, method: GET, after: 1, count: 2}
  - {kind: html, status: 502, route: projects$}
  - {kind: truncated, route: lifecycles}
  - {kind: restart, route: tasks$, seconds: 0.3}
"""
    with written(tmp_path, text) as server:
        http = server.http
        answers = [http.get("environments") for _ in range(4)]
        assert [200, 429, 429, 200] == [answer.status_code for answer in answers]
        assert "3" == answers[1].headers["Retry-After"]
        assert (502, "text/html") == ((bad := http.get("projects")).status_code, bad.headers["Content-Type"])
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("lifecycles")
        with pytest.raises(httpx.NetworkError):
            http.get("tasks")
        with pytest.raises(httpx.ConnectError):
            http.get("tasks")
        deadline = time.monotonic() + LONGEST
        while True:
            try:
                assert 200 == http.get("tasks").status_code
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def shown_scenario() -> str:
    """The one in docs/emulator.md."""
    [block] = re.findall(
        r"```yaml\n(# scenario\.yaml\n.*?)```", (ROOT / "docs" / "emulator.md").read_text(), re.DOTALL
    )
    return str(block)


def test_what_the_documentation_shows_is_what_happens(tmp_path: Path) -> None:
    with written(tmp_path, shown_scenario(), "--speed", "240") as server:
        [web] = server.get("tasks", partialName="Deploy", description="Web")["Items"]
        log = server.log(server.ended(web["Id"]))
        for words in (
            "1.4.0 is to be deployed",
            "Looking for 60 s whether it was made",
            "It was made: http://127",
        ):
            assert words in log, log
        assert re.search(r"Success, ran [89] m.*, with warnings", log), log


def test_the_faults_that_the_documentation_shows_are_told_so(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "emulator.md").read_text()
    misspelt = (
        shown_scenario()
        .replace("when:", "wen:")
        .replace("Database, release: 1.4.0", "Databse, release: 1.4.0")
    )
    assert (told := refused(tmp_path, misspelt).err) and told in page, told
    forbidden = shown_scenario().replace("environment: Test, ago: 9d", "environment: Production, ago: 9d")
    assert (told := refused(tmp_path, forbidden).err.splitlines()[0]) in page, told


# --- faults of the file --------------------------------------------------------------------------------------------

WRONG = """\
spaces:
  Default:
    environments: [Test, Production]
    tenants:
      Acme: {projects: {Webb: [Test], Web: [Tset]}}
    projects:
      Web:
        lifecycle: Default Lifecicle
        variables:
          Key: {secret: key:robbot}
          Word: {secret: env:NOWHERE_TO_BE_FOUND}
        steps:
          - {name: One, environments: [Prodduction], duration: 5s, script: missing.py}
          - {name: Two, template: Octopus - Deploy Relese}
          - {name: Three, template: Octopus - Deploy Release, with: {projct: Web, timeout: 5}}
        releases: ["1.0.0"]
    deployments:
      - {project: Web, release: 1.0.1, environment: Test}
      - {project: Web, release: 1.0.0, environment: Test, state: queued, ago: 3h}
api_keys:
  robot: {}
faults:
  - {kind: reset, status: 500, route: "("}
"""


WRONG_TOLD = """\
scenario.yaml:5:25: unknown project 'Webb' (did you mean 'Web'?)
scenario.yaml:5:45: unknown environment 'Tset' (did you mean 'Test'?)
scenario.yaml:8:20: unknown lifecycle 'Default Lifecicle' (did you mean 'Default Lifecycle'?)
scenario.yaml:10:25: unknown API key 'robbot' (did you mean 'robot'?)
scenario.yaml:11:26: the environment has no variable 'NOWHERE_TO_BE_FOUND'
scenario.yaml:13:40: unknown environment 'Prodduction' (did you mean 'Production'?)
scenario.yaml:13:54: 'duration' is for steps that only pretend: a step with 'script' shows by itself
scenario.yaml:13:76: there is no script 'missing.py'
scenario.yaml:14:35: unknown step template 'Octopus - Deploy Relese' (did you mean 'Octopus - Deploy Release'?)
scenario.yaml:15:13: the step template 'Octopus - Deploy Release' needs a value for project, api_key (under with:)
scenario.yaml:15:70: the step template 'Octopus - Deploy Release' has no parameter 'projct' (did you mean 'project'?)
scenario.yaml:15:83: the step template 'Octopus - Deploy Release' has no parameter 'timeout' (did you mean 'on_timeout'?)
scenario.yaml:18:33: unknown release of Web '1.0.1' (did you mean '1.0.0'?)
scenario.yaml:19:74: 'ago' does not fit a deployment that is 'queued'
scenario.yaml:23:19: 'status' says nothing about a fault of the kind 'reset' (it belongs to status, html)
scenario.yaml:23:39: not a regular expression: missing ), unterminated subpattern at position 0
"""


def test_every_fault_is_told_at_once_with_its_place_and_a_hint(tmp_path: Path) -> None:
    ended = refused(tmp_path, WRONG)
    assert (1, "") == (ended.exit_code, ended.out)
    assert ended.err == WRONG_TOLD


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "spaces: {Default: {enviroments: [Test]}}\n",
            "scenario.yaml:1:20: unknown key 'enviroments' (did you mean 'environments'?)\n",
            id="misspelt key",
        ),
        pytest.param(
            "spaces: {Default: {projects: {Web: {releases: [1.10]}}}}\n",
            "scenario.yaml:1:48: item 1 must be a text or a mapping, but YAML reads 1.10 as 1.1 "
            '(put it in quotes: "1.10")\n',
            id="a version that YAML takes for a number",
        ),
        pytest.param(
            'spaces: {Default: {projects: {Web: {steps: [{name: A, duration: "12"}]}}}}\n',
            "scenario.yaml:1:65: 'duration' must be a duration with its unit, like 90s, 30m or 1h30m: '12'\n",
            id="a duration without its unit",
        ),
        pytest.param(
            "speed: 0\nspaces: {Default: {}}\n",
            "scenario.yaml:1:8: 'speed' must be more than 0\n",
            id="a clock that stands",
        ),
        pytest.param(
            "spaces: {Default: {}}\nfaults: [{kind: tea}]\n",
            "scenario.yaml:2:17: 'kind' cannot be 'tea' (one of status, html, slow, truncated, reset, lost_answer, "
            "refused, restart)\n",
            id="a fault that is none",
        ),
        pytest.param(
            "spaces:\n  Default:\n    environments: [Test, test]\n",
            "scenario.yaml:3:26: the server refuses it: The Environment name 'test' is already in use. "
            "Please use a different name.\n",
            id="two names that Octopus takes for one",
        ),
        pytest.param(
            """\
spaces:
  Default:
    environments: [Test, Production]
    projects: {Web: {releases: ["1.0.0"]}}
    deployments:
      - {project: Web, release: 1.0.0, environment: Production}
""",
            "scenario.yaml:6:9: the server refuses it: Release '1.0.0' cannot be deployed to environment 'Production'",
            id="a past that the lifecycle forbids",
        ),
        pytest.param(
            """\
spaces:
  Default:
    environments: [Test]
    coordination: [coordnation.yaml]
    projects:
      Web:
        runbooks: {Clean: {steps: [{name: Work, manual: Sure?, duration: 1s}]}}
        releases: ["1.0.0"]
    deployments:
      - {project: Web, runbook: Cleen, environment: Test, state: queued}
      - {project: Web, runbook: Clean, environment: Test}
      - {project: Web, runbook: Clean, release: 1.0.0, environment: Test, in: 5m}
      - {project: Web, environment: Test}
""",
            "scenario.yaml:4:20: there is no file 'coordnation.yaml' (did you mean 'coordination.yaml'?)\n"
            "scenario.yaml:7:64: 'duration' is for steps that only pretend: a step with 'manual' shows by itself\n"
            "scenario.yaml:10:33: unknown runbook of Web 'Cleen' (did you mean 'Clean'?)\n"
            "scenario.yaml:11:24: a run of a runbook begins when the server has started (add 'state: queued')\n"
            "scenario.yaml:12:9: a deployment has a release; a run of a runbook has 'runbook' instead\n"
            "scenario.yaml:12:75: 'in' does not fit a deployment that is 'success'\n"
            "scenario.yaml:13:9: a deployment has a release; a run of a runbook has 'runbook' instead\n",
            id="runbooks, and files that are not there",
        ),
        pytest.param("spaces: {Default: [}\n", "scenario.yaml:1:20: not YAML: the bracket", id="not YAML"),
    ],
)  # fmt: skip
def test_faults_of_a_file(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "coordination.yaml").write_text("")
    ended = refused(tmp_path, text)
    assert (1, "") == (ended.exit_code, ended.out)
    assert ended.err.startswith(expected) if not expected.endswith("\n") else ended.err == expected, str(
        ended
    )


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    ended = octosteps("emulate", "--scenario", "nowhere.yaml", folder=tmp_path)
    assert (1, "nowhere.yaml:1:1: cannot be read: No such file or directory\n") == (
        ended.exit_code,
        ended.err,
    )


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    """Not in a refusal of the server, and not in the lines that a person reads."""
    text = """\
spaces:
  Default:
    environments: [Test, test]
    variable_sets: {Keys: {Word: {secret: env:WORD}}}
"""
    ended = refused(tmp_path, text, WORD="s3cret-word")
    assert 1 == ended.exit_code
    assert "s3cret-word" not in ended.out + ended.err


# --- the schema ----------------------------------------------------------------------------------------------------


def test_the_schema_is_a_schema_that_says_what_each_key_means() -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads((ROOT / "generator" / "emulator" / "scenario.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    plain = {"name", "version", "notes", "label", "description", "required", "disabled", "project", "release"}
    plain |= {"environment", "tenant", "comments", "variable"}
    silent = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                if "description" not in value and key not in plain and "#/$defs/variables" not in str(value):
                    silent.append(f"{path}/{key}")
                walk(value, f"{path}/{key}")
            for key, value in node.items():
                if key != "properties":
                    walk(value, path)
        elif isinstance(node, list):
            for item in node:
                walk(item, path)

    walk(schema, "")
    assert [] == silent
