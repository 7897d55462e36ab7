"""The page on coordinating projects: its files run on the emulator by the command it names, and its logs are what comes out.

`pytest tests/test_coordinating.py --accept` writes files and logs into the page anew; the diff is then reviewed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from generator.commands.emulate import import_steps
from generator.coordination import check_coordination, read_coordination
from generator.emulator import Emulator
from generator.emulator.scenario import read_scenario
from generator.emulator.seeding import Seeding
from generator.octopus.client import connect
from tests.scene import known

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "coordinating"
PAGE = ROOT / "docs" / "coordinating.md"
NAMES = sorted(file.name.removesuffix(".scenario.yaml") for file in EXAMPLES.glob("*.scenario.yaml"))
SPEED = "30"
LONGEST = 90.0
ONE_AT_A_TIME = threading.Lock()

FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```yaml\n(?P<text>.*?)```", re.DOTALL)
LOG = re.compile(r"<!-- log: (?P<scenario>[\w-]+), (?P<task>[^\n]+) -->\n```\n(?P<text>.*?)```", re.DOTALL)

# What a shortened log leaves out: how the awaited came along, and what the server says beside the step's own words.
LEFT_OUT = re.compile(
    r"Worker: |Fatal: The deployment failed|(?!.*Highlight).*(: Step \d|: Executing|: Queued|: (Success|Failed), ran|Following )"
    r"|.*is to be deployed|.*: http\S+$|.*Error: |.*Skipping this step"
)


class Activity(NamedTuple):
    """A step of a task, with when it ran by the server's clock, in seconds."""

    status: str
    began: float
    ended: float


class Ended(NamedTuple):
    """A task that has ended. `steps` by name."""

    state: str
    began: float
    ended: float
    log: tuple[str, ...]
    steps: dict[str, Activity]


@contextmanager
def emulated(name: str) -> Iterator[dict[str, str]]:
    """The command of the page, ended as a person ends it."""
    words = [
        sys.executable,
        "-m",
        "generator",
        "emulate",
        "--scenario",
        f"examples/coordinating/{name}.scenario.yaml",
    ]
    with subprocess.Popen(
        [*words, "--port", "0", "--speed", SPEED, "-f", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(b'{"url"'), b"".join([line, *process.communicate()]).decode()
            yield json.loads(line)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=30)
            assert (0, b"", b"") == (process.returncode, rest, errors)
        finally:
            process.kill()


Tasks = dict[str, Ended]


@contextmanager
def emulated_here(name: str) -> Iterator[dict[str, str]]:
    """The same in this process, which takes less time."""
    with (
        ONE_AT_A_TIME
    ):  # Python 3.11 fails to compile in several threads at once, and templates are rendered here
        wanted = read_scenario(EXAMPLES / f"{name}.scenario.yaml", environ={}, templates=known)
        emulator = Emulator(speed=float(SPEED), task_cap=wanted.task_cap)
        Seeding(wanted, emulator).seed(lambda: import_steps(emulator, wanted, root=ROOT))
    emulator.app.seen.clear()  # what people had made, in the portal
    with emulator:
        yield {"url": emulator.url, "apiKey": emulator.api_key}
        assert not emulator.refused, f"the emulator does not know these requests: {emulator.refused}"


def carried_out(name: str) -> Tasks:
    """Every task of the scenario by its description, once all have ended; of several with one description the newest."""
    begin = emulated if name == "whole-tasks" else emulated_here
    with begin(name) as facts, connect(facts["url"], api_key=facts["apiKey"]) as client:
        deadline = time.monotonic() + LONGEST
        tasks = list(client.pages("tasks"))
        while not all(task["IsCompleted"] for task in tasks):
            assert time.monotonic() < deadline, [(task["Description"], task["State"]) for task in tasks]
            time.sleep(0.1)
            tasks = list(client.pages("tasks"))
        return {task["Description"]: ended(client, task) for task in reversed(tasks) if task["StartTime"]}


def ended(client: Any, task: dict[str, Any]) -> Ended:
    [root] = client.get(f"tasks/{task['Id']}/details", verbose="false")["ActivityLogs"]
    steps = {
        step["Name"].partition(": ")[2]: Activity(
            step["Status"], seconds(step["Started"]), seconds(step["Ended"])
        )
        for step in root["Children"]
    }
    log = tuple(line for line in lines_of(root) if not LEFT_OUT.match(line.strip()))
    return Ended(task["State"], seconds(task["StartTime"]), seconds(task["CompletedTime"]), log, steps)


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def lines_of(activity: dict[str, Any], depth: int = 0) -> Iterator[str]:
    """The log as the page shows it: levels other than Info in front, no times."""
    yield f"{'  ' * depth}{activity['Name']}: {activity['Status']}"
    for element in activity.get("LogElements") or ():
        level = "" if element["Category"] == "Info" else f"{element['Category']}: "
        for text in element["MessageText"].splitlines():
            yield f"{'  ' * (depth + 1)}{level}{text}"
    for child in activity.get("Children") or ():
        yield from lines_of(child, depth if activity["Name"].startswith("Step ") else depth + 1)


def blurred(line: str) -> str:
    """`line` without what is different each time: times, lengths of time, addresses, ids, fences, and the widths of tables."""
    for pattern, word in (
        (r"https?://[^/\s]+", "URL"),
        (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?", "MOMENT"),
        (r"\b\d+ [dhms]\b( \d+ [hms]\b)?", "TIME"),
        (r"(Deployments|ServerTasks)-\d+", "ID"),
        (r"Fence \d+", "Fence"),
        (r"-{3,}", "-"),
        (r" +", " "),
    ):
        line = re.sub(pattern, word, line)
    return line.strip()


# --- the page ------------------------------------------------------------------------------------------------------


def without_comments(text: str) -> str:
    """The file without its leading comments, which the page says in its own words."""
    return re.sub(r"\A(#[^\n]*\n)+", "", text)


def test_the_page_shows_the_files(accept: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = {found["name"]: found["text"] for found in FILE.finditer(text)}
    files = {file.name: without_comments(file.read_text()) for file in EXAMPLES.glob("*.yaml")}
    assert {name for name in files if not name.endswith(".scenario.yaml")} == set(shown)
    if accept:
        PAGE.write_text(
            FILE.sub(lambda found: fenced("file", found["name"], "yaml", files[found["name"]]), text)
        )
        return
    for name, block in shown.items():
        assert files[name] == block, name


def fenced(kind: str, name: str, language: str, text: str) -> str:
    return f"<!-- {kind}: {name} -->\n```{language}\n{text}```"


@pytest.mark.parametrize("name", NAMES)
def test_the_files_have_no_fault(name: str) -> None:
    specs = {template: built.spec for template, built in known().items()}
    assert [] == check_coordination(read_coordination([EXAMPLES / f"{name}.yaml"]), specs)


def test_every_scenario_has_its_place_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = {found["name"] for found in FILE.finditer(text)}
    assert {f"{name}.yaml" for name in NAMES} == shown
    logged = {found["scenario"] for found in LOG.finditer(text)}
    assert set(NAMES) - {"whole-tasks"} == logged, "which runs no step of ours"


# --- what they promise ---------------------------------------------------------------------------------------------


def parent_deploys_in_order_and_takes_back_what_c_spoils(found: Tasks) -> None:
    test = found["Deploy Parent release 2026.11.1 to Test"]
    production = found["Deploy Parent release 2026.11.1 to Production"]
    assert ("Success", "Failed") == (test.state, production.state)
    assert ["Skipped", "Skipped"] == [test.steps[f"Take {name} back"].status for name in "AB"]
    first = max(found[f"Deploy {name} to Test"].ended for name in ("A release 1.1.0", "B release 2.1.0"))
    assert first <= test.steps["Tell people"].began <= found["Deploy C release 3.0.0 to Test"].began
    spoiled = found["Deploy C release 3.0.0 to Production"]
    for name in ("A release 1.0.0", "B release 2.0.0"):
        back = found[f"Deploy {name} to Production"]
        assert "Success" == back.state and back.began > spoiled.ended


def cooperating_deploys_what_is_missing_and_waits_for_the_step(found: Tasks) -> None:
    shop, other = found["Deploy Shop release 3.0.0 to Test"], found["Deploy B release 2.0.0 to Test"]
    assert ("Success", "Success") == (shop.state, found["Deploy A release 1.1.0 to Test"].state)
    assert found["Deploy A release 1.1.0 to Test"].ended <= shop.steps["B has come to step 3"].began
    assert shop.steps["Deploy shop"].began >= other.steps["Start"].began


def order_is_kept_whatever_is_deployed_first(found: Tasks) -> None:
    a, b, c = [found[f"Deploy {name} release 1.0.0 to Test"] for name in "ABC"]
    assert c.began < a.began and b.began < a.began
    assert ["Success"] * 3 == [a.state, b.state, c.state]
    assert a.ended <= b.steps["Work"].began and b.ended <= c.steps["Work"].began


def version_lets_through_and_refuses(found: Tasks) -> None:
    assert "Success" == found["Deploy Shop release 3.0.0 to Test"].state
    assert "Failed" == found["Deploy Shop release 3.0.0 to Production"].state
    assert "Skipped" == found["Deploy Shop release 3.0.0 to Production"].steps["Deploy shop"].status


def lock_keeps_them_apart(found: Tasks) -> None:
    first, second = [found[f"Deploy {name} release 1.0.0 to Test"] for name in "AB"]
    assert ("Success", "Success") == (first.state, second.state)
    assert second.began < first.steps["Work"].ended, "B was deployed meanwhile"
    assert first.steps["Work"].ended <= second.steps["Work"].began


def only_that_step_is_kept_apart(found: Tasks) -> None:
    shop, search = [found[f"Deploy {name} release 1.0.0 to Test"] for name in ("Shop", "Search")]
    assert ("Success", "Success") == (shop.state, search.state)
    assert not overlap(shop.steps["Migrate"], search.steps["Migrate"])
    assert overlap(shop.steps["Migrate"], search), "all else goes on side by side"


def overlap(one: Activity | Ended, other: Activity | Ended) -> bool:
    return one.began < other.ended and other.began < one.ended


def whole_tasks_exclude_each_other_by_environment(found: Tasks) -> None:
    a, b = found["Deploy A release 1.0.0 to Test"], found["Deploy B release 1.0.0 to Test"]
    assert not overlap(a, b)
    assert overlap(a, found["Deploy B release 1.0.0 to Production"])


def night_promotes_what_is_proven_and_not_there(found: Tasks) -> None:
    promoted = ["Deploy A release 1.1.0 to Production", "Deploy C release 3.0.0 to Production"]
    assert ["Success", "Success"] == [found[task].state for task in promoted]
    assert found[promoted[0]].ended <= found[promoted[1]].began
    assert "Deploy C release 3.1.0 to Production" not in found


def report_tells_without_failing(found: Tasks) -> None:
    report = found["Run runbook Report snapshot Snapshot 1 in Production"]
    assert ("Success", "Success") == (report.state, report.steps["Send it"].status)


PROMISES: dict[str, Callable[[Tasks], None]] = {
    "parent": parent_deploys_in_order_and_takes_back_what_c_spoils,
    "cooperating": cooperating_deploys_what_is_missing_and_waits_for_the_step,
    "order": order_is_kept_whatever_is_deployed_first,
    "version": version_lets_through_and_refuses,
    "not-while": lock_keeps_them_apart,
    "whole-tasks": whole_tasks_exclude_each_other_by_environment,
    "same-step": only_that_step_is_kept_apart,
    "night": night_promotes_what_is_proven_and_not_there,
    "report": report_tells_without_failing,
}


def test_every_scenario_runs_as_the_page_says(accept: bool) -> None:
    """Some side by side, since they wait most of the time. Every line that the page shows came out, in this order."""
    assert set(NAMES) == set(PROMISES)
    text = PAGE.read_text(encoding="utf-8")
    with ThreadPoolExecutor(max_workers=3) as pool:
        results = dict(zip(NAMES, pool.map(carried_out, NAMES), strict=True))
    for name, found in results.items():
        for log in LOG.finditer(text):
            if log["scenario"] == name and accept:
                text = text.replace(
                    log[0], fenced("log", f"{name}, {log['task']}", "", as_shown(found[log["task"]]))
                )
            elif log["scenario"] == name:
                assert_came_out(log["text"].splitlines(), found[log["task"]].log)
        PROMISES[name](found)
    if accept:
        PAGE.write_text(text, encoding="utf-8")


def as_shown(task: Ended) -> str:
    lines = [re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8065", line).rstrip() for line in task.log]
    return "".join(f"{line}\n" for line in lines)


def assert_came_out(shown: Sequence[str], real: Sequence[str]) -> None:
    assert len(shown) > 3
    left = iter([blurred(line) for line in real])
    for line in shown:
        assert blurred(line) in left, f"{line!r} is not, or not there, in\n" + "\n".join(real)
