"""Several servers and spaces in one go, by the real command line: what is printed, what is written, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generator.emulator import Emulator
from generator.octopus import connect
from tests.commandline import Ended, here
from tests.publisher.own_library import OwnLibrary, edit


class Company:
    """Two servers, the first with two spaces; octosteps.yaml names the three targets `one`, `two` and `far`."""

    def __init__(self, near: Emulator, far: Emulator, folder: Path) -> None:
        self.near, self.far = near, far
        self.library = OwnLibrary(folder)
        self.near_client = connect(near.url, api_key=near.api_key)
        self.far_client = connect(far.url, api_key=far.api_key)
        self.near_client.post(
            "/api/spaces", {"Name": "Second", "SpaceManagersTeams": ["teams-administrators"]}
        )
        self.library.targets(
            f"  one: {{url: {near.url}, space: Default, api_key: env:NEAR}}\n"
            f"  two: {{url: {near.url}, space: Second, api_key: env:NEAR}}\n"
            f"  far: {{url: {far.url}, api_key: env:FAR}}\n"
        )
        self.environ = {"NEAR": near.api_key, "FAR": far.api_key}

    def run(self, *words: str, **environ: str) -> Ended:
        return here(*words, folder=self.library.folder, environ={**self.environ, **environ})

    def json(self, *words: str, exit_code: int = 0) -> Any:
        ended = self.run(*words, "-f", "json")
        assert ended.exit_code == exit_code, ended
        return json.loads(ended.out)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    with Emulator() as near, Emulator() as far:
        yield Company(near, far, tmp_path / "library")
        assert not near.refused and not far.refused


def test_all_targets_are_planned_written_and_read_back(company: Company) -> None:
    planned = company.run("plan", "--all-targets", "--exit-code")
    assert planned.exit_code == 4, planned
    for title in (
        f"one ({company.near.url}, space 'Default'):",
        f"two ({company.near.url}, space 'Second'):",
        f"far ({company.far.url}, space 'Default'):",
    ):
        assert f"{title}\n  + create step template Own - Template 1: not on the server\n" in planned.out
    assert planned.out.count("Checksum") == 1 and "\n3 targets: 6 to create. Checksum " in planned.out
    applied = company.json("apply", "--all-targets", "--no-prompt")
    assert [len(target["written"]) for target in applied["targets"]] == [2, 2, 2]
    assert [target["plan"]["name"] for target in applied["targets"]] == ["one", "two", "far"]
    again = company.run("plan", "--all-targets", "--exit-code")
    assert again.exit_code == 0 and again.out.endswith("3 targets: Nothing to do: 6 left as they are.\n"), (
        again
    )


def test_a_target_that_cannot_be_read_is_told_and_hides_no_other(company: Company) -> None:
    company.far.stop()
    planned = company.run("plan", "-t", "far", "-t", "one", "--exit-code")
    assert planned.exit_code == 1
    assert f"far ({company.far.url}):\n  ! cannot be read: cannot reach {company.far.url}" in planned.out
    assert "2 targets: 2 to create. Checksum" in planned.out and planned.out.endswith(
        " 1 could not be read.\n"
    )
    applied = company.run("apply", "-t", "far", "-t", "one", "--no-prompt")
    assert applied.exit_code == 1
    assert f"far ({company.far.url}): nothing was written: it cannot be read.\n" in applied.out
    assert f"one ({company.near.url}): 2 written, and read back.\n" in applied.out
    assert company.json("plan", "-t", "one")["summary"]["leave"] == 2
    told = company.json("apply", "-t", "far", "-t", "one", "--no-prompt", exit_code=1)
    assert "cannot reach" in told["targets"][0]["error"]


def test_a_conflict_in_one_target_leaves_only_that_one_alone(company: Company) -> None:
    company.json("apply", "-t", "far", "--no-prompt")
    edit(company.far_client)
    applied = company.run("apply", "--all-targets", "--no-prompt")
    assert applied.exit_code == 1
    assert f"far ({company.far.url}): nothing was written: resolve the conflicts first" in applied.out
    assert f"two ({company.near.url}): 2 written, and read back.\n" in applied.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(("-t", "one", "-t", "one", "-t", "thre"), "unknown target 'thre'", id="unknown"),
        pytest.param(("-t", "one", "--all-targets"), "not both", id="some and all"),
    ],
)
def test_targets_that_are_none_are_refused(company: Company, words: tuple[str, ...], told: str) -> None:
    ended = company.run("plan", *words)
    assert ended.exit_code == 1 and told in ended.err, ended


def test_without_targets_there_is_nothing_to_take_all_of(company: Company) -> None:
    (company.library.folder / "octosteps.yaml").unlink()
    ended = company.run("plan", "--all-targets")
    assert ended.exit_code == 1 and "octosteps.yaml names no targets" in ended.err, ended


def test_one_space_under_two_names_is_planned_once(company: Company) -> None:
    """Two plans for one space would undo each other, or both create the same."""
    company.library.targets(
        f"  one: {{url: {company.near.url}, space: Default, api_key: env:NEAR}}\n"
        f"  uno: {{url: {company.near.url}/app, space: spaces-1, api_key: env:NEAR}}\n"
    )
    ended = company.run("apply", "--all-targets", "--no-prompt")
    assert ended.exit_code == 1
    assert "it is the same space as the target 'one': leave one of both out" in ended.out, ended
    assert f"one ({company.near.url}): 2 written, and read back.\n" in ended.out


def test_a_saved_plan_of_several_targets_is_carried_out_in_all(company: Company, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    saved = company.run("plan", "--all-targets", "--out", file)
    assert saved.exit_code == 0 and f"`octosteps apply --plan {file}` does exactly this" in saved.out, saved
    applied = company.json("apply", "--plan", file)
    assert [len(target["written"]) for target in applied["targets"]] == [2, 2, 2]
    assert company.json("plan", "--all-targets")["targets"][2]["summary"]["leave"] == 2


def test_a_plan_that_misses_a_target_is_not_saved(company: Company, tmp_path: Path) -> None:
    company.far.stop()
    ended = company.run("plan", "--all-targets", "--out", str(tmp_path / "plan.json"))
    assert ended.exit_code == 1 and "plan.json was not written: far" in ended.out, ended
    assert not (tmp_path / "plan.json").exists()
