"""Verify Deployment on several projects: every condition found against wanted, the rendered script against an emulated past."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from generator.emulator import Emulator
from generator.emulator.scenario import read_scenario
from generator.emulator.seeding import Seeding
from generator.octopus.client import connect
from generator.runtime.clauses import parse_clauses
from generator.runtime.conditions import condition_table, parse_since, parse_version_rule
from tests.scene import Scene, own_step
from tests.stage import Run, Stage

VERIFY = "Octopus - Verify Deployment"

WORLD = """
speed: 30
task_cap: 20
spaces:
  Default:
    environments: [Test, Staging, Production]
    tag_sets: {Region: [Europe, Asia]}
    tenants:
      Acme: {tags: [Region/Europe], projects: {Portal: [Test, Production]}}
      Zenith: {tags: [Region/Europe], projects: {Portal: [Test]}}
      Elsewhere: {tags: [Region/Asia], projects: {}}
    projects:
      Web: {steps: [{name: Work}], releases: ["1.0.0", "2.0.0"]}
      Search: {steps: [{name: Work}], releases: ["1.4.0", "1.5.0"]}
      Database: {steps: [{name: Work}], releases: ["3.0.0"]}
      Withdrawn: {steps: [{name: Work}], releases: ["1.0.0"]}
      Blocked: {steps: [{name: Work}], releases: ["7.0.0"]}
      Never: {steps: [{name: Work}], releases: ["1.0.0"]}
      Portal: {tenants: always, steps: [{name: Work}], releases: ["1.0.0", "1.1.0"]}
    deployments:
      - {project: Web, release: "1.0.0", environment: Test, ago: 5h}
      - {project: Web, release: "1.0.0", environment: Staging, ago: 4h}
      - {project: Web, release: "1.0.0", environment: Production, ago: 3h}
      - {project: Web, release: "2.0.0", environment: Test, ago: 2h}
      - {project: Search, release: "1.4.0", environment: Test, ago: 3h}
      - {project: Search, release: "1.5.0", environment: Test, state: failed, ago: 1h}
      - {project: Database, release: "3.0.0", environment: Test, ago: 20h}
      - {project: Withdrawn, release: "1.0.0", environment: Test, ago: 6h}
      - {project: Withdrawn, release: "1.0.0", environment: Test, state: timed_out, ago: 1h}
      - {project: Blocked, release: "7.0.0", environment: Test, ago: 6h}
      - {project: Portal, release: "1.0.0", environment: Test, tenant: Acme, ago: 4h}
      - {project: Portal, release: "1.1.0", environment: Test, tenant: Zenith, ago: 4h}
"""


@contextmanager
def seeded(scenario: str, folder: Path) -> Iterator[Stage]:
    """A server that holds this scenario, and a stage on it."""
    file = folder / "scenario.yaml"
    file.write_text(scenario, encoding="utf-8")
    wanted = read_scenario(file, environ={}, templates=dict)
    emulator = Emulator(speed=wanted.speed, task_cap=wanted.task_cap)
    Seeding(wanted, emulator).seed()
    with emulator, connect(emulator.url, api_key=emulator.api_key) as client:
        scene = Scene(emulator, client)
        scene.environments.update((one["Name"], one["Id"]) for one in client.pages("environments"))
        scene.projects.update((one["Name"], one) for one in client.pages("projects"))
        yield Stage(scene)
        assert not emulator.refused, f"the emulator does not know these requests: {emulator.refused}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with seeded(WORLD, tmp_path_factory.mktemp("verify")) as stage:
        with stage.scene.by_hand() as client:
            release = client.get(f"projects/{stage.scene.projects['Blocked']['Id']}/releases/7.0.0")
            client.post(f"releases/{release['Id']}/defects", {"Description": "Loses orders"})
        yield stage


def verify(
    stage: Stage, first: dict[str, str], *lines: str
) -> tuple[Run, dict[tuple[str, str], tuple[str, str, bool]]]:
    """The run, and (where, condition): (found, wanted, met) of its table."""
    run = stage.run(VERIFY, {**first, "projects": "\n".join(lines)})
    rows = json.loads(run.outputs["Conditions"])
    assert rows == run.artifacts["Ours.result.json"]["conditions"]
    table = {}
    for row in rows:
        where = f"{row['project']} in {row['environment']}" + (
            f" for {row['tenant']}" if row["tenant"] else ""
        )
        assert row["met"] is (not row["fault"])
        assert (where, row["condition"]) not in table
        table[where, row["condition"]] = (row["found"], row["wanted"], row["met"])
    return run, table


def test_everything_holds(stage: Stage) -> None:
    run, table = verify(
        stage,
        {"project": "Web", "environment": "Production", "version": "at least in Staging"},
        "Search; environment = Test; version = any; state = ended",
        "database; environment = test; version = [3.0,4.0); max_age = 1d",
        "Withdrawn; environment = Test; version = same",
        "Portal; environment = Test; version = at least 1.0.0; tenant = Region/Europe",
        "Never; environment = Test; state = any; version =",
        "Web; environment = Test; version = at least in Production; deployed_after = 2020-01-01T00:00Z",
    )  # fmt: skip
    assert ("Success", "", "True") == (run.state, run.error, run.outputs["Verified"]), run.log
    nothing = ("no", "no", True)
    assert {
        ("Web in Production", "state"): ("Success", "Success", True),
        ("Web in Production", "release"): ("1.0.0", "at least in Staging (1.0.0)", True),
        ("Web in Production", "being replaced"): nothing,
        ("Search in Test", "state"): ("Failed", "any", True),
        ("Search in Test", "being replaced"): nothing,
        ("Database in Test", "state"): ("Success", "Success", True),
        ("Database in Test", "release"): ("3.0.0", "[3.0,4.0)", True),
        ("Database in Test", "age"): (table["Database in Test", "age"][0], "at most 1 d", True),
        ("Database in Test", "being replaced"): nothing,
        ("Withdrawn in Test", "state"): ("Success", "Success", True),
        ("Withdrawn in Test", "release"): ("1.0.0", "1.0.0", True),
        ("Withdrawn in Test", "being replaced"): nothing,
        ("Portal in Test for Acme", "state"): ("Success", "Success", True),
        ("Portal in Test for Acme", "release"): ("1.0.0", "at least 1.0.0", True),
        ("Portal in Test for Acme", "being replaced"): nothing,
        ("Portal in Test for Zenith", "state"): ("Success", "Success", True),
        ("Portal in Test for Zenith", "release"): ("1.1.0", "at least 1.0.0", True),
        ("Portal in Test for Zenith", "being replaced"): nothing,
        ("Never in Test", "being replaced"): nothing,
        ("Web in Test", "state"): ("Success", "Success", True),
        ("Web in Test", "release"): ("2.0.0", "at least in Production (1.0.0)", True),
        ("Web in Test", "begun"): (
            table["Web in Test", "begun"][0], "after 2020-01-01 00:00:00 UTC", True,
        ),
        ("Web in Test", "being replaced"): nothing,
    } == table  # fmt: skip
    assert "Highlight: Verified: 23 conditions at 8 places" in run.log
    assert "Portal in Test for Zenith  release         1.1.0" in run.log


UNMET = [
    (
        "Web; environment = Production; version = at least in Test",
        "Web in Production is at 1.0.0, wanted at least in Test (2.0.0)",
    ),
    ("Web; environment = Test; version = same", "Web in Test is at 2.0.0, wanted 1.0.0"),
    (
        "Web; environment = Staging; version = in Test",
        "Web in Staging is at 1.0.0, wanted in Test (2.0.0)",
    ),
    (
        "Search; environment = Test",
        "Search in Test ended as Failed at its last deployment (1.5.0, LINK)",
    ),
    ("Never; environment = Test", "Never in Test has never been deployed"),
    (
        "Database; environment = Test; version = in Production; max_age = 5m",
        "Database in Test is at 3.0.0, wanted in Production, where no deployment has succeeded; "
        "Database in Test was deployed AGE ago, wanted at most 5 m",
    ),
    (
        "Database; environment = Staging; deployed_after = my release",
        "Database in Staging has never been deployed",
    ),
    (
        "Portal; environment = Test; tenant = Acme; version = [1.1,)",
        "Portal in Test for Acme is at 1.0.0, wanted [1.1,)",
    ),
    (
        "Portal; environment = Production; tenant = Zenith",
        "Portal in Production for Zenith cannot be deployed: "
        "Zenith is connected to Portal in 1 other environment, not in Production",
    ),
    (
        "Blocked; environment = Test; blocked = refused",
        "Blocked in Test has the release 7.0.0, whose progression is blocked: Loses orders",
    ),
]


def test_every_unmet_row_is_one_sentence(stage: Stage) -> None:
    run = stage.run(
        VERIFY,
        {
            "project": "Withdrawn",
            "environment": "Production",
            "state": "any",
            "projects": "\n".join(f"{line}; state = success" for line, _ in UNMET),
        },
    )
    found = run.error.removeprefix("refused: 10 of 11 are not as wanted: ")
    found = re.sub(r"deployed (20 h|19 h 5\d m) ago", "deployed AGE ago", found)
    expected = "; ".join(sentence for _, sentence in UNMET).replace(", LINK)", ",")
    assert expected == found, run.log
    assert len(UNMET) + 1 == len(run.outputs["Faults"].splitlines())
    assert "False" == run.outputs["Verified"]


def test_warns_with_every_sentence(stage: Stage) -> None:
    run, _ = verify(
        stage,
        {"project": "Never", "environment": "Test", "on_mismatch": "warn"},
        "Web; environment = Test; version = 9.9",
    )
    assert "Success" == run.state
    assert "Warning: Never in Test has never been deployed\n" in run.log
    assert "Warning: Web in Test is at 2.0.0, wanted 9.9\n" in run.log


def test_the_own_deployment_is_no_other(stage: Stage) -> None:
    """A step may look at its own project, where its own deployment is on its way."""
    run = stage.run(VERIFY, {"project": "#{Octopus.Project.Name}", "environment": "Test", "state": "any"})
    assert ("", "True") == (run.error, run.outputs["Verified"])


def test_only_tells(stage: Stage) -> None:
    run = stage.run(VERIFY, {"project": "Never", "environment": "Test", "on_mismatch": "tell"})
    assert ("Success", "False") == (run.state, run.outputs["Verified"])
    assert "Highlight: Never in Test has never been deployed\n" in run.log
    assert "Warning: " not in run.log


def test_deployed_after_the_own_release_was_assembled(stage: Stage) -> None:
    """The parent's release is made after everything in the emulated past, so only a deployment of now is younger."""
    values = {"project": "Web", "environment": "Test", "deployed_after": "my release"}
    before = stage.run(VERIFY, values)
    assert "Web in Test was last deployed at" in before.error and "this release was assembled" in before.error
    scene = stage.scene
    [parent] = [one for one in scene.projects.values() if one["Name"].startswith("Parent")][-1:]
    scene.run("Web", "2.0.0", "Test")
    assert "Success" == scene.run(parent["Name"], "1.0.0", "Test")["State"]
    again = stage.run(VERIFY, {**values, "deployed_after": "my deployment"})
    assert again.error.startswith("refused: Web in Test was last deployed at") and "was queued" in again.error


def test_names_that_lead_nowhere_are_told_together(stage: Stage) -> None:
    run = stage.run(
        VERIFY,
        {"project": "Web", "environment": "Test", "projects": "Serch\nWeb; environment = Prodction\n"
         "Portal; tenant = Acne\nPortal; tenant = Region/Asia; environment = Test"},
    )  # fmt: skip
    assert (
        "misconfigured: there is no project 'Serch' that this account can see (did you mean Search?); "
        "there is no environment 'Prodction' that this account can see (did you mean Production?); "
        "there is no tenant 'Acne' that this account can see (did you mean Acme?); "
        "no tenant with the tag Region/Asia is connected to Portal in Test"
    ) == run.error


def test_faults_of_lines_are_told_with_all_others(stage: Stage) -> None:
    run = stage.run(
        VERIFY,
        {"project": "Web", "environment": "Test", "version": "[2.0,1.0]", "deployed_after": "tomorrow",
         "projects": "Search; verison = 1.0\nWeb; state = great; max_age = 5\n; version = 1.0"},
    )  # fmt: skip
    assert (
        "misconfigured: Version: no version lies in the range '[2.0,1.0]'; "
        "Deployed after: 'tomorrow' is none of: my release, my deployment, a moment such as 2026-08-01T10:00+02:00; "
        "More projects: line 1 (Search): there is no option 'verison' (did you mean version?); "
        "line 2 (Web): state: 'great' is none of: success, ended, any; "
        "max_age: '5' is not a duration such as 90s, 30m, 2h, 1d or 1h30m; "
        "line 3 (; version = 1.0): a line begins with the name of a project, and then ;"
    ) == run.error


def test_what_is_on_its_way(stage: Stage) -> None:
    """Paused ones may be allowed; what executes or is being cancelled never is, unless everything is."""
    scene = stage.scene
    ask = {
        "Name": "Approve",
        "ActionType": "Octopus.Manual",
        "Properties": {"Octopus.Action.Manual.Instructions": "May we?", "Octopus.Action.RunOnServer": "true"},
    }
    scene.make_project(
        "Asking", steps=[{"Name": "Approve", "Properties": {}, "Actions": [ask]}], releases=["1.0.0"]
    )
    scene.make_project("Busy", steps=[own_step("Long", seconds=3600)], releases=["1.0.0"])
    asking, busy = stage.deploy("Asking", "1.0.0"), stage.deploy("Busy", "1.0.0")
    stage.until_executing(busy)
    scene.wait_until(lambda: scene.task(asking)["HasPendingInterruptions"], "it asks")
    _, table = verify(
        stage,
        {
            "project": "Asking",
            "environment": "Test",
            "state": "any",
            "active": "paused",
            "on_mismatch": "warn",
        },
        "Busy",
        "Busy; environment = Production",
        "Busy; active = anything; state = any",
    )
    link = f"http://127.0.0.1:{scene.emulator.url.rsplit(':', 1)[-1]}/app#/Spaces-1/deployments/"
    found, wanted, met = table["Asking in Test", "being replaced"]
    assert ("by none but what waits for a person", True) == (wanted, met)
    assert found.startswith("by 1.0.0 (Queued, waits for a person, ") or "Executing, waits" in found
    found, wanted, met = table["Busy in Test", "being replaced"]
    assert found.startswith(f"by 1.0.0 (Executing, {link}") and not met
    assert table["Busy in Production", "being replaced"][2]
    strict = stage.run(VERIFY, {"project": "Asking", "environment": "Test", "state": "any"})
    assert "refused: Asking in Test is being deployed: 1.0.0 (" in strict.error
    for task in (asking, busy):
        scene.client.post(f"tasks/{task}/cancel")
        scene.wait(task)


# --- the count of requests -----------------------------------------------------------------------------------------


def crowd(projects: int, history: int) -> str:
    """A server on which one project is deployed all the time, some a few times, and the others once, long ago."""
    names = [f"P{number:03}" for number in range(projects)]
    lines = ["speed: 30", "spaces:", "  Default:", "    environments: [Test]", "    projects:"]
    lines += [
        f'      {name}: {{steps: [{{name: Work}}], releases: ["1.{number}.0"]}}'
        for number, name in enumerate(names)
    ]
    lines.append("    deployments:")
    for number, name in enumerate(names):
        release = f'release: "1.{number}.0", environment: Test'
        lines.append(f"      - {{project: {name}, {release}, ago: {300 + number}h}}")
        repeats = history if number == 0 else 3 if number % 10 == 0 else 0
        lines += [f"      - {{project: {name}, {release}, ago: {20 + repeat}m}}" for repeat in range(repeats)]
    return "\n".join(lines) + "\n"


def test_a_hundred_projects_cost_a_handful_of_requests(tmp_path: Path) -> None:
    """One hundred projects, 101 lines of the form, 300 conditions: the requests of the whole step, its start included."""
    with seeded(crowd(100, history=150), tmp_path) as stage:
        lines = [f"P{number:03}; version = 1.{number}.0" for number in range(1, 100)]
        values = {"project": "P000", "version": "1.0.0", "projects": "\n".join(lines)}
        with requests_of_the_script(stage) as asked:
            run = stage.run(VERIFY, values)
        assert ("Success", "True") == (run.state, run.outputs["Verified"]), run.error
        assert 300 == len(run.artifacts["Ours.result.json"]["conditions"])
        assert "P099 in Test" in run.log
        assert len(asked) <= 9, asked


@contextmanager
def requests_of_the_script(stage: Stage) -> Iterator[list[str]]:
    """What arrives from clients that call themselves as our scripts do; the list is full once the block has ended."""
    asked: list[str] = []
    serve = stage.scene.emulator.app.__class__.__call__

    def note(app: Any, environ: Any, begin: Any) -> Any:
        if environ.get("HTTP_USER_AGENT") == "octosteps":
            asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        return serve(app, environ, begin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.scene.emulator.app.__class__, "__call__", note)
        yield asked


# --- the grammar by itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "reference", "at_least"),
    [
        pytest.param("any", None, "", False, id="any"),
        pytest.param("1.2.3", "1.2.3", "", False, id="exact"),
        pytest.param("in  Test", "in Test", "Test", False, id="as in an environment"),
        pytest.param(
            "At least in Pre Production", "At least in Pre Production", "Pre Production", True, id="at least"
        ),
        pytest.param("at least 2.0", "at least 2.0", "", True, id="at least a number"),
        pytest.param("2026.4.*", "2026.4.*", "", False, id="wildcard"),
    ],
)
def test_version_rules(text: str, shown: str | None, reference: str, at_least: bool) -> None:
    rule = parse_version_rule(text)
    if shown is None:
        assert rule is None
        return
    assert rule is not None
    assert (shown, reference, at_least) == (str(rule), rule.reference, rule.at_least)


@pytest.mark.parametrize("text", ["at least [1.0,2.0)", "latest", "highest", "[2.0", "at least 2026.*"])
def test_version_rules_that_say_nothing(text: str) -> None:
    with pytest.raises(ValueError):
        parse_version_rule(text)


@pytest.mark.parametrize("text", ["+90m", "yesterday", "2026-01-01", "my  project"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is none of: my release"):
        parse_since(text)


def test_a_line_says_only_what_it_says() -> None:
    first, second = parse_clauses(
        condition_table(), ["Web; Max Age = 1h; tenant =", "A = B project; version = 1.0".replace(" = B", "")]
    )
    assert ("Web", {"max_age", "tenant"}, "") == (first.subject, set(first.values), first.values["tenant"])
    assert ("A project", {"version"}) == (second.subject, set(second.values))
