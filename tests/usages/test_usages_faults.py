"""A hundred usages in forty projects: how much is asked, and what faults, kills and people in between do to it (nothing)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from generator.octopus import ApiError, connect
from tests.scene import ROOT
from tests.usages.shop_window import Window, open_window, own_step, parameter

PROJECTS = int(os.environ.get("OCTOSTEPS_USAGES_PROJECTS", "40"))
AFTER = "print('two')"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    """Two or three usages in each project, and a step of people's own."""
    with open_window(tmp_path) as found:
        found.make_template("Web - Greet", parameter("Greet.Name", "World"))
        for number in range(PROJECTS):
            steps = [found.step(f"Greet {n}", Greet_Name=f"{number}/{n}") for n in range(2 + number % 2)]
            found.make_project(f"P{number:02}", *steps, own_step("Own"))
        found.save_template(script=AFTER)
        yield found


def usages_in(window: Window) -> list[str]:
    return [version for version in window.versions() if version != "-"]


def values_in(window: Window) -> set[str]:
    return {
        action["Properties"]["Greet.Name"]
        for project in window.scene.projects
        for step in window.process(project)["Steps"]
        for action in step["Actions"]
        if "Greet.Name" in action["Properties"]
    }


ALL_VALUES = {f"{number}/{n}" for number in range(PROJECTS) for n in range(2 + number % 2)}
AMOUNT = len(ALL_VALUES)


def test_as_many_requests_as_processes_and_faults_on_the_way(window: Window) -> None:
    """Reading takes a handful; each process is read, written and read back. Lost answers, 429, 5xx and resets are survived, and
    no step is sent twice where it arrived."""
    with window.counted() as requests:
        listed = window.run("--behind", "-f", "basic")
    assert len(listed.out.splitlines()) == AMOUNT == 100
    assert len(requests) <= 10, requests
    faults = window.scene.emulator.faults
    faults.add(path="actionsUpdate", method="POST", kind="lost_answer", count=4, after=3)
    faults.add(
        path="actionsUpdate", method="POST", kind="status", status=429, retry_after=0, count=3, after=12
    )
    faults.add(path="actionsUpdate", method="POST", kind="status", status=503, count=3, after=15)
    faults.add(path="deploymentprocesses", method="GET", kind="reset", count=4, after=20)
    with window.counted() as requests:
        ended = window.run("--update")
    assert ended.exit_code == 0, ended
    assert "100 updated and read back." in ended.out, ended
    posts = [request for request in requests if request.startswith("POST")]
    assert len(posts) == PROJECTS + 3 + 3, "once for each process, again after a refusal"
    assert len(requests) <= 12 + 3 * PROJECTS + 30, len(requests)
    assert (set(usages_in(window)), values_in(window)) == ({"1"}, ALL_VALUES)


@contextmanager
def started(window: Window, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(window.folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "generator", "usages", *words],
        cwd=window.folder,
        env={**environ, **window.scene.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_run_that_is_killed_is_gone_on_with_and_led_back(window: Window) -> None:
    """What is done is done; both records together lead back to where it began."""
    window.scene.emulator.faults.add(path="actionsUpdate", kind="slow", delay=60, count=None, after=15)
    with started(window, "--update") as process:
        window.scene.wait_until(lambda: usages_in(window).count("1") >= 30, "thirty steps are updated")
        process.kill()
    window.scene.emulator.faults.clear()
    done = usages_in(window).count("1")
    assert 30 <= done < AMOUNT
    [first] = window.records()
    with window.counted() as requests:
        ended = window.run("--update", "--record", "second.jsonl")
    assert ended.exit_code == 0, ended
    posts = [request for request in requests if request.startswith("POST")]
    assert 0 < len(posts) < PROJECTS - 10, "no process that was done is written again"
    assert set(usages_in(window)) == {"1"}
    for record in (first, window.folder / "second.jsonl"):
        back = window.run("--put-back", record, "--update")
        assert back.exit_code == 0, back
    assert (set(usages_in(window)), values_in(window)) == ({"0"}, ALL_VALUES)


def test_a_server_that_goes_away_ends_the_run_and_the_next_goes_on(window: Window) -> None:
    window.scene.emulator.faults.add(path="actionsUpdate", method="POST", status=401, count=None, after=10)
    ended = window.run("--update")
    assert ended.exit_code == 1, ended
    assert "does not accept the credentials (401" in ended.out, ended
    assert "not begun: run this again, it goes on from here" in ended.out, ended
    done = usages_in(window).count("1")
    assert f"{done} updated and read back, " in ended.out, ended
    window.scene.emulator.faults.clear()
    assert window.run("--update").exit_code == 0
    assert set(usages_in(window)) == {"1"}


def test_no_edit_of_a_busy_person_is_lost(window: Window) -> None:
    """Somebody saves processes all the time while steps are updated and put back: each of those edits is there in the end."""
    chance, saved, stop = random.Random(7), dict.fromkeys(window.scene.projects, 0), threading.Event()

    def edit() -> None:
        emulator = window.scene.emulator
        with connect(emulator.url, api_key=emulator.api_key) as client:
            while not stop.is_set():
                project = chance.choice(list(saved))
                process = client.get(window.path_of(project))
                [own] = [s["Actions"][0] for s in process["Steps"] if s["Name"] == "Own"]
                own["Properties"]["edits"] = str(saved[project] + 1)
                try:
                    client.put(window.path_of(project), process)
                    saved[project] += 1
                except ApiError as error:
                    assert error.status == 400, "somebody else was faster"

    person = threading.Thread(target=edit)
    person.start()
    try:
        update = window.run("--update", "--record", "r.jsonl")
        back = window.run("--put-back", "r.jsonl", "--update")
    finally:
        stop.set()
        person.join()
    assert (update.exit_code, back.exit_code) == (0, 0), f"{update}\n{back}"
    assert (set(usages_in(window)), values_in(window)) == ({"0"}, ALL_VALUES)
    assert sum(saved.values()) > 20
    found = {project: window.properties(project, "Own").get("edits", "0") for project in saved}
    assert found == {project: str(number) for project, number in saved.items()}
