"""Coordination files: every fault with its place, and values as Octopus keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from generator.coordination import (
    WantedBranch,
    WantedProcess,
    check_coordination,
    parse_coordination,
    parse_minutes,
    read_coordination,
    read_values,
)
from generator.errors import Problems
from generator.source import parse_source
from generator.spec import Parameter, Spec

HEAD = "projects:\n  Shop:\n    process: deployment\n    steps:\n"
STEP = "      - key: db\n        template: Octopus - Deploy Release\n        name: Deploy Database\n"


def parse(text: str) -> tuple[WantedProcess, ...]:
    return parse_coordination(parse_source(text.encode(), name="c.yaml"))


def problems_of(text: str) -> list[str]:
    with pytest.raises(Problems) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.problems]


def make_parameter(key: str, **fields: object) -> Parameter:
    name = key.title().replace("_", "")
    return Parameter(
        **{"key": key, "name": name, "variable": f"P.{name}", "label": key, "type": "text", **fields}
    )  # type: ignore[arg-type]


def make_spec(*parameters: Parameter) -> Spec:
    return Spec(
        source_name="s.yaml",
        id="5d9a4b1e-0000-4000-8000-000000000001",
        name="Octopus - Deploy Release",
        category="octopus",
        version=1,
        description="",
        script="s.py",
        prefix="P",
        run_on="worker",
        parameters=parameters,
    )


def test_a_whole_step_is_read() -> None:
    text = (
        HEAD
        + STEP
        + (
            "        after: Approve\n        parallel: true\n        condition: {variable: '#{Go}'}\n"
            "        environments: [Test]\n        worker_pool: Linux\n        container: {image: 'py:3', feed: Hub}\n"
            "        retries: 2\n        time_limit: 1h30m\n        with: {project: Database}\n"
        )
    )
    [process] = parse(text)
    [step] = process.steps
    assert (process.project, process.runbook, process.where) == ("Shop", None, "Shop")
    assert (step.key, step.after, step.parallel, step.position) == (
        "db",
        "Approve",
        True,
        "after approve parallel",
    )
    assert (step.condition, step.expression) == ("Variable", "#{Go}")
    assert (step.environments, step.worker_pool, step.retries, step.time_limit) == (("Test",), "Linux", 2, 90)
    assert step.container is not None and step.container.feed == "Hub"
    assert step.values == {"project": "Database"}


def test_several_processes_of_one_project_are_a_list() -> None:
    text = "projects:\n  Shop:\n    - {process: deployment, steps: []}\n    - {process: runbook Nightly Copy, steps: []}\n"
    assert [process.where for process in parse(text)] == ["Shop", "Shop, runbook Nightly Copy"]


@pytest.mark.parametrize(
    ("text", "minutes"), [("", 0), ("30m", 30), ("2h", 120), ("1d12h", 2160), ("1d1h1m", 1501)]
)
def test_minutes(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            HEAD + STEP.replace("template:", "templat:"),
            [
                "c.yaml:5:9: the key 'template' is missing in item 1",
                "c.yaml:6:9: unknown key 'templat' (did you mean 'template'?)",
            ],
            id="a misspelt key",
        ),
        pytest.param(
            HEAD.replace("deployment", "runbok Copy") + STEP,
            ["c.yaml:3:14: 'process' must be 'deployment' or 'runbook NAME': 'runbok Copy'"],
            id="neither deployment nor runbook",
        ),
        pytest.param(
            HEAD + STEP + STEP,
            [
                "c.yaml:8:14: the key 'db' is used twice in this process",
                "c.yaml:10:15: the name 'Deploy Database' is used twice in this process",
            ],
            id="a key and a name twice",
        ),
        pytest.param(
            HEAD + STEP + "        after: A\n        before: B\n",
            ["c.yaml:9:9: a step has one place: 'after' or 'before', not both"],
            id="two places",
        ),
        pytest.param(
            HEAD + STEP + "        after: db\n",
            ["c.yaml:8:16: the place of this step leads back to itself: db -> db"],
            id="after itself",
        ),
        pytest.param(
            HEAD + STEP.replace("Database", "What?"),
            ["c.yaml:7:15: 'name' must be one line without '?', which Octopus refuses: 'Deploy What?'"],
            id="a name that Octopus refuses",
        ),
        pytest.param(
            HEAD + STEP + "        environments: [Test]\n        excluded_environments: [Test]\n",
            ["c.yaml:9:32: 'Test' is in environments and in excluded_environments"],
            id="in and out",
        ),
    ],
)
def test_faults_of_the_file_have_their_places(text: str, expected: list[str]) -> None:
    assert problems_of(text) == expected


def test_a_circle_of_places_is_told_at_each_of_its_steps() -> None:
    text = (
        HEAD
        + STEP
        + "        after: web\n"
        + STEP.replace("db", "web").replace("Database", "Web")
        + "        after: db\n"
    )
    assert [line.rpartition(": ")[2] for line in problems_of(text)] == ["db -> web -> db", "web -> db -> web"]


def test_a_process_is_described_once_over_all_files(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text(HEAD + STEP)
    with pytest.raises(
        Problems, match=r"b\.yaml:2:3: the process of Shop is described twice .*a\.yaml, line 3"
    ):
        read_coordination(files)
    assert len(read_coordination([files[0], files[0]])) == 1


# --- values --------------------------------------------------------------------------------------------------------------

PARAMETERS = (
    make_parameter("project", required=True),
    make_parameter("api_key", type="secret"),
    make_parameter("timeout", type="duration", default="30m"),
    make_parameter("wait", type="boolean"),
)


def values_of(*lines: str) -> tuple[dict[str, str], list[str]]:
    text = HEAD + STEP + "        with:\n" + "".join(f"          {line}\n" for line in lines)
    [process] = parse(text)
    values, problems = read_values(process, process.steps[0], PARAMETERS)
    return dict(values), [str(problem) for problem in problems]


def test_values_become_octopus_text() -> None:
    values, problems = values_of("project: Web", 'api_key: "#{Shop.ApiKey}"', "timeout: 2h", "wait: true")
    assert problems == []
    assert values == {"P.Project": "Web", "P.ApiKey": "#{Shop.ApiKey}", "P.Timeout": "2h", "P.Wait": "True"}


def test_an_expression_fits_every_type() -> None:
    values, problems = values_of("project: '#{A}'", "timeout: '#{T}'", "wait: '#{W}'")
    assert (values, problems) == ({"P.Project": "#{A}", "P.Timeout": "#{T}", "P.Wait": "#{W}"}, [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            "projct: Web",
            "c.yaml:10:11: the step template 'Octopus - Deploy Release' has no parameter 'projct' (did you mean 'project'?)",
            id="an unknown parameter",
        ),
        pytest.param(
            "timeout: 90",
            "c.yaml:10:20: timeout does not fit the type duration",
            id="a duration without a unit",
        ),
        pytest.param(
            "api_key: API-123",
            "c.yaml:10:20: api_key does not fit the type secret: a secret must not",
            id="a secret",
        ),
        pytest.param(
            "api_key: 'x #{A}'", "a secret must not stand in a file", id="a secret beside an expression"
        ),
        pytest.param(
            "wait: #{W}", "an unquoted #{ begins a comment in YAML", id="an expression without quotes"
        ),
    ],
)
def test_faults_of_values_have_their_places(line: str, expected: str) -> None:
    _, [problem] = values_of("project: Web", line)
    assert expected in problem


def test_a_secret_is_not_repeated_in_its_problem() -> None:
    _, problems = values_of("project: Web", "api_key: API-CANARY")
    assert "API-CANARY" not in "".join(problems)


def test_a_required_value_must_be_there() -> None:
    assert values_of("wait: true")[1] == [
        "c.yaml:5:9: the step template 'Octopus - Deploy Release' needs a value for project (under with:)"
    ]
    assert values_of("project: ''")[1] == ["c.yaml:9:20: project must not be empty"]


def test_without_a_server_known_templates_are_checked_and_misspelt_ones_told() -> None:
    spec = make_spec(*PARAMETERS)
    processes = parse(HEAD + STEP + "        with: {projct: Web}\n")
    problems = [problem.message for problem in check_coordination(processes, {spec.name: spec})]
    assert len(problems) == 2 and "'projct'" in problems[0]
    misspelt = parse(HEAD + STEP.replace("Release", "Relase"))
    [problem] = check_coordination(misspelt, {spec.name: spec})
    assert problem.hint == "did you mean 'Octopus - Deploy Release'?"
    foreign = parse(HEAD + STEP.replace("Octopus - Deploy Release", "Slack - Notify"))
    assert check_coordination(foreign, {spec.name: spec}) == []


def test_a_concurrency_tag_a_branch_and_the_files_name_are_read() -> None:
    entry = (
        "    concurrency_tag: 'shop-#{Octopus.Environment.Id}'\n"
        "    git: {branch: octosteps/shop, from: release/2, message: Why}\n"
    )
    [process] = parse("name: shop-team\n" + HEAD.replace("    steps:\n", entry + "    steps: []\n"))
    assert (process.file, process.concurrency_tag) == ("shop-team", "shop-#{Octopus.Environment.Id}")
    assert process.git == WantedBranch(name="octosteps/shop", base="release/2", message="Why")
    [plain] = parse(HEAD + STEP)
    assert (plain.file, plain.concurrency_tag, plain.git) == ("c", None, None)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param("concurrency_tag: ''", "c.yaml:4:22: 'concurrency_tag' must be one line", id="no tag"),
        pytest.param(
            "git: {branch: main}",
            "c.yaml:4:19: 'branch' must begin with 'octosteps/'",
            id="a branch of people",
        ),
        pytest.param(
            "git: {branch: octosteps/a..b}", "c.yaml:4:19: 'branch' must begin with", id="no name for Git"
        ),
        pytest.param(
            "git: {form: main}", "c.yaml:4:11: unknown key 'form' (did you mean 'from'?)", id="misspelt"
        ),
    ],
)
def test_faults_around_tags_and_branches(entry: str, expected: str) -> None:
    [told] = problems_of(HEAD.replace("    steps:\n", f"    {entry}\n    steps: []\n"))
    assert told.startswith(expected)


def test_a_project_has_one_concurrency_tag(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "projects:\n  Shop:\n    - {process: deployment, concurrency_tag: one, steps: []}\n"
        "    - {process: runbook Copy, concurrency_tag: two, steps: []}\n"
    )
    with pytest.raises(Problems, match=r"c\.yaml:4:48: the project Shop has two concurrency tags") as caught:
        read_coordination([file])
    assert len(caught.value.problems) == 1
