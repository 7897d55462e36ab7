"""Deadlocks that coordination files show by themselves: each with its places, and none where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from generator.coordination import check_coordination, parse_coordination
from generator.deadlocks import Findings, check_waits
from generator.source import parse_source
from tests.commandline import octosteps
from tests.scene import ROOT, known

KEY = {"api_key": "#{K}"}
Steps = Mapping[str, Sequence[dict[str, Any]]]


def step(template: str, name: str, *, with_: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    key = name.lower().replace(" ", "-")
    return {
        "key": key,
        "template": f"Octopus - {template}",
        "name": name,
        "with": {**with_, **KEY},
        **fields,
    }


def deploy(
    project: str, *, name: str = "", fields: Mapping[str, Any] | None = None, **values: Any
) -> dict[str, Any]:
    return step(
        "Deploy Release", name or f"Deploy {project}", with_={"project": project, **values}, **(fields or {})
    )


def wait(project: str, *, fields: Mapping[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    return step(
        "Wait For Deployment", f"Wait for {project}", with_={"project": project, **values}, **(fields or {})
    )


def take(lock: str, **values: Any) -> dict[str, Any]:
    return step("Acquire Lock", f"Take {lock}", with_={"lock": lock, **values})


def give_back(lock: str, **values: Any) -> dict[str, Any]:
    return step("Release Lock", f"Give {lock} back", with_={"lock": lock, **values}, condition="always")


def text_of(
    steps: Steps, tags: Mapping[str, str] | None = None, runbooks: Mapping[str, str] | None = None
) -> str:
    projects = {
        name: {
            "process": f"runbook {(runbooks or {})[name]}" if name in (runbooks or {}) else "deployment",
            **({"concurrency_tag": (tags or {})[name]} if name in (tags or {}) else {}),
            "steps": list(some),
        }
        for name, some in steps.items()
    }
    return yaml.safe_dump({"projects": projects}, sort_keys=False)


def check(steps: Steps, tags: Mapping[str, str] | None = None) -> Findings:
    """One file for each project, as projects of several teams would have them."""
    specs = {name: built.spec for name, built in known().items()}
    processes = [
        process
        for name, some in steps.items()
        for process in parse_coordination(
            parse_source(text_of({name: some}, tags).encode(), name=f"{name.lower()}.yaml")
        )
    ]
    assert check_coordination(processes, specs) == []
    return check_waits(processes, specs)


CIRCLES: dict[str, Steps] = {
    "each deploys the other": {"A": [deploy("B")], "B": [deploy("A")]},
    "a child that waits for its parent": {"A": [deploy("B")], "B": [wait("A")]},
    "each waits for the other": {"A": [wait("B")], "B": [wait("A", until="ended")]},
    "a project that deploys itself": {"A": [deploy("A")]},
    "a long way around": {"A": [deploy("B")], "B": [deploy("C")], "C": [deploy("D")], "D": [wait("A")]},
    "a slug for a name": {"A": [deploy("b-two")], "B two": [wait("a")]},
    "in one environment alone": {
        "A": [deploy("B", fields={"environments": ["Production"]})],
        "B": [wait("A", fields={"excluded_environments": ["Test"]})],
    },
    "a fixed environment": {"A": [deploy("B", environment="Test")], "B": [wait("A", environment="Test")]},
    "one of several environments": {"A": [deploy("B", environment=["Test", "Production"])], "B": [wait("A")]},
    "a map": {"A": [deploy("B", environment=["UAT -> Staging"])], "B": [wait("A", environment="UAT")]},
    "one of more projects": {"A": [wait("C", projects=["B; until = ended"])], "B": [wait("A")], "C": []},
    "a step after the waiting one": {
        "A": [deploy("B"), deploy("C")],
        "B": [wait("A", until="passed_step", step_name="Deploy C")],
    },
    "the waiting step itself": {
        "A": [deploy("B")],
        "B": [wait("A", until="passed_step", step_name="deploy b")],
    },
    "a lock that the child asks for": {
        "A": [take("L"), deploy("B"), give_back("L")],
        "B": [take("L"), give_back("L")],
    },
    "locks in opposite orders": {
        "A": [take("L"), take("M"), give_back("M"), give_back("L")],
        "B": [take("M"), take("L"), give_back("L"), give_back("M")],
    },
}


@pytest.mark.parametrize("steps", CIRCLES.values(), ids=CIRCLES)
def test_a_circle_is_told_once(steps: Steps) -> None:
    found = check({name: some for name, some in steps.items() if some})
    assert len(found.problems) == 1, found
    assert not found.warnings
    [problem] = found.problems
    assert "for ever" in problem.message


HARMLESS: dict[str, Steps] = {
    "parent and children": {"A": [deploy("B"), deploy("C")], "B": [deploy("C", when="if_not_current")]},
    "not waited for": {"A": [deploy("B", wait=False)], "B": [wait("A")]},
    "only said what would be done": {"A": [deploy("B", what_if=True)], "B": [wait("A")]},
    "any of several": {"A": [wait("B", projects=["C"], how_many="any")], "B": [wait("A")]},
    "in different environments": {
        "A": [deploy("B", fields={"environments": ["Test"]})],
        "B": [wait("A", fields={"environments": ["Production"]})],
    },
    "from another environment": {
        "A": [wait("A", environment="Test", fields={"environments": ["Production"]})]
    },
    "a step before the waiting one": {
        "A": [deploy("C"), deploy("B")],
        "B": [wait("A", until="passed_step", step_name="Deploy C")],
    },
    "a step of people, whose place is not known": {
        "A": [deploy("B")],
        "B": [wait("A", until="reached_step", step_name="Migrate")],
    },
    "until the waiting step has begun": {
        "A": [deploy("B")],
        "B": [wait("A", until="reached_step", step_name="Deploy B")],
    },
    "a lock that was given back before": {
        "A": [take("L"), give_back("L"), deploy("B")],
        "B": [take("L"), give_back("L")],
    },
    "what else there is of the own project": {"A": [wait("A", until="idle")]},
    "a shared lock": {
        "A": [take("L", mode="shared by up to 3"), deploy("B"), give_back("L")],
        "B": [take("L", mode="shared by up to 3"), give_back("L")],
    },
    "a lock for each environment": {
        "A": [
            {**take("L", scope="environment"), "environments": ["Production"]},
            deploy("B", environment="Test", fields={"environments": ["Production"]}),
            give_back("L", scope="environment"),
        ],
        "B": [take("L", scope="environment"), give_back("L", scope="environment")],
    },
    "locks in one order": {
        "A": [take("L"), take("M"), give_back("M"), give_back("L")],
        "B": [take("L"), take("M"), give_back("M"), give_back("L")],
    },
    "a project that a variable names": {"A": [deploy("#{Next}", name="Deploy")], "B": [wait("A")]},
    "another space": {"A": [deploy("B", space="Other")], "B": [wait("A")]},
    "another tenant": {"A": [deploy("B", tenant="Acme")], "B": [wait("A")]},
}


@pytest.mark.parametrize("steps", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_deadlock(steps: Steps) -> None:
    found = check(steps)
    assert (list(found.problems), list(found.warnings)) == ([], [])


def test_each_wait_is_told_with_its_place() -> None:
    [problem] = check({"Shop": [deploy("Web")], "Web": [wait("Shop")]}).problems
    assert str(problem) == (
        "shop.yaml:9:18: these steps would wait for each other for ever: Shop waits for Web (shop.yaml:9:18), which waits for "
        "Shop (web.yaml:9:18) (let one of them not wait, wait for a step that comes before, or take locks in one order)"
    )


def test_a_lock_in_a_circle_is_named() -> None:
    [problem] = check(CIRCLES["a lock that the child asks for"]).problems
    assert "which waits for the lock L of A (b.yaml:" in problem.message, problem


def test_what_happens_only_under_a_condition_is_a_warning() -> None:
    """A run condition may exclude that both wait: people know, and the files do not."""
    maybe = {"condition": {"variable": "#{if X}True#{/if}"}}
    found = check({"A": [deploy("B", fields=maybe)], "B": [wait("A")]})
    assert (len(found.problems), len(found.warnings)) == (0, 1)


@pytest.mark.parametrize(
    ("left", "right", "is_conflict"),
    [
        pytest.param("one", "one", True, id="the same words"),
        pytest.param("one", "two", False, id="other words"),
        pytest.param(
            "#{Octopus.Environment.Name}", "#{Octopus.Environment.Name}", True, id="the environment"
        ),
        pytest.param("#{Octopus.Project.Name}", "#{Octopus.Project.Name}", False, id="the project"),
        pytest.param("#{Ours}", "#{Ours}", False, id="a variable of each project"),
    ],
)
def test_a_parent_and_a_child_with_one_concurrency_tag(left: str, right: str, is_conflict: bool) -> None:
    found = check({"A": [deploy("B")], "B": [wait("C")]}, {"A": left, "B": right})
    assert bool(found.problems) == is_conflict, found
    if is_conflict:
        [problem] = found.problems
        assert (
            f"A and B have the concurrency tag '{left}' in common: B could only begin when A has ended"
            in str(problem)
        )
        assert str(problem).startswith("a.yaml:10:18: ")


def test_a_grandchild_with_the_same_concurrency_tag() -> None:
    [problem] = check(
        {"A": [deploy("B")], "B": [deploy("C")], "C": [wait("D")]}, {"A": "x", "C": "x"}
    ).problems
    assert "(A -> B -> C: a.yaml:10:18, b.yaml:9:18)" in problem.message, problem


@pytest.mark.parametrize(
    ("steps", "waiters"),
    [
        pytest.param({"A": [deploy("B")]}, ["A"], id="one waits"),
        pytest.param({"A": [deploy("B")], "B": [deploy("C")]}, ["A", "B"], id="a chain"),
        pytest.param(
            {"A": [deploy("B"), deploy("C")], "B": [deploy("D")], "C": [deploy("D")]},
            ["A", "B"],
            id="in a row",
        ),
        pytest.param(
            {
                "A": [deploy("B"), deploy("C", fields={"after": "Deploy B", "parallel": True})],
                "B": [deploy("D")],
                "C": [deploy("D")],
            },
            ["A", "B", "C"],
            id="side by side",
        ),
        pytest.param(
            {"A": [wait("B", projects=["C"])], "B": [deploy("D")], "C": [deploy("D")]},
            ["A", "B", "C"],
            id="several at once",
        ),
    ],
)
def test_how_many_wait_at_the_same_time(steps: Steps, waiters: list[str]) -> None:
    found = check(steps)
    assert found.need is not None
    assert (list(found.need.waiters), found.need.slots) == (waiters, len(waiters) + 1)
    assert not found.warnings


def test_more_than_the_default_task_cap() -> None:
    names = ["A", "B", "C", "D", "E", "F"]
    found = check({name: [deploy(child)] for name, child in itertools.pairwise(names)})
    [warning] = found.warnings
    assert str(warning) == (
        "a.yaml:9:18: A, B, C, D and E may wait at the same time, which takes 6 slots of the task cap; by default there are 5, "
        "and they would wait for ever (raise the task cap of the server's nodes)"
    )


def test_check_tells_it_before_anything_is_published(tmp_path: Path) -> None:
    """Several files at once, by the command line: a circle over two files, then none."""
    (tmp_path / "a.yaml").write_text(text_of({"A": [deploy("B")]}))
    (tmp_path / "b.yaml").write_text(text_of({"B": [wait("A")]}))
    (tmp_path / "c.yaml").write_text(text_of({"C": [deploy("A"), deploy("B")]}))
    told = octosteps("check", "a.yaml", "b.yaml", folder=tmp_path)
    assert told.exit_code == 1
    assert "a.yaml:9:18: these steps would wait for each other for ever" in told.err
    told = octosteps("check", "a.yaml", "c.yaml", folder=tmp_path)
    assert told.exit_code == 0, told.err
    assert "C and A may wait at the same time, which takes 3 slots of the task cap" in told.out


def test_the_examples_have_none() -> None:
    specs = {name: built.spec for name, built in known().items()}
    for folder in ("shop", "coordinating"):
        for file in sorted((ROOT / "examples" / folder).glob("*.yaml")):
            source = parse_source(file.read_bytes(), name=file.name)
            if "projects" in source.data:
                found = check_waits(parse_coordination(source), specs)
                assert (found.problems, found.warnings) == ([], []), file
