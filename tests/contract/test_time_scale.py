"""Faster clocks for the scripts that the emulator starts, on every version of Python."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.contract.scripts import run_script

# Speed of the clocks, and an emulated time no real clock shows.
SPEED, EPOCH = 600.0, 1_000_000_000.0


def test_waits_and_clocks_go_together(python: str) -> None:
    """Each wait of 30 seconds takes 30 of the script's own seconds, and a fraction of ours."""
    began = time.monotonic()
    ran = run_script(
        """
        import datetime, json, queue, select, selectors, subprocess, sys, threading, time

        def condition():
            with lock:
                lock.wait_for(lambda: False, 30)

        def get():
            try:
                queue.Queue().get(timeout=30)
            except queue.Empty:
                pass

        def join():
            blocked = threading.Event()
            thread = threading.Thread(target=blocked.wait, daemon=True)
            thread.start()
            thread.join(30)
            blocked.set()

        def child():
            waiting = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
            try:
                waiting.wait(30)
            except subprocess.TimeoutExpired:
                waiting.communicate()

        def poll(selector):
            with selector:
                assert selector.select(30) == []

        lock = threading.Condition()
        waits = {
            "sleep": lambda: time.sleep(30),
            "event": lambda: threading.Event().wait(30),
            "condition": condition, "queue": get, "join": join, "child": child,
            "select": lambda: select.select([], [], [], 30),
            "selector": lambda: poll(selectors.DefaultSelector()),
            "select selector": lambda: poll(selectors.SelectSelector()),
        }
        took = {}
        for name, wait in waits.items():
            clocks = (
                time.time, time.monotonic, time.perf_counter, lambda: time.time_ns() / 1e9,
                lambda: datetime.datetime.now().timestamp(),
                lambda: datetime.datetime.now(datetime.timezone.utc).timestamp(),
            )
            before = [clock() for clock in clocks]
            wait()
            took[name] = [clock() - then for clock, then in zip(clocks, before)]
        print(json.dumps(took))
        """,
        interpreter=python,
        speed=SPEED,
        started_at=EPOCH,
    )
    assert ran.lines("Error") == []
    took = json.loads(ran.lines()[0])
    assert len(took) == 9
    short = {name: seconds for name, clocks in took.items() for seconds in clocks if seconds < 29.9}
    assert short == {}
    assert time.monotonic() - began < 30, "at least one wait was real"


def test_all_clocks_show_the_emulated_time(python: str) -> None:
    ran = run_script(
        """
        import calendar, datetime, json, time
        utc = datetime.timezone.utc
        print(json.dumps([
            time.time(), time.time_ns() / 1e9,
            calendar.timegm(time.gmtime()), time.mktime(time.localtime()), time.mktime(time.strptime(time.ctime())),
            time.mktime(time.strptime(time.asctime())), time.mktime(time.strptime(time.strftime("%Y-%m-%d %X"), "%Y-%m-%d %X")),
            datetime.datetime.now().timestamp(), datetime.datetime.now(utc).timestamp(),
            datetime.datetime.today().timestamp(), datetime.datetime.utcnow().replace(tzinfo=utc).timestamp(),
        ]))
        print(datetime.date.today().year, time.gmtime(0).tm_year, time.strftime("%Y", time.gmtime(0)))
        """,
        interpreter=python,
        speed=2.0,
        started_at=EPOCH,
        environment={"PYTHONWARNINGS": "ignore"},
    )
    shown, given = ran.lines()
    assert [moment for moment in json.loads(shown) if not EPOCH - 1 <= moment < EPOCH + 120] == []
    assert given == "2001 1970 1970"


def test_dates_stay_ordinary_dates(python: str) -> None:
    """Type, text, arithmetic, copies and what the standard library makes of them."""
    ran = run_script(
        """
        import copy, email.utils, json, pickle, time, uuid
        from datetime import date, datetime, timedelta, timezone
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        parsed = email.utils.parsedate_to_datetime("Fri, 02 Jan 2026 03:04:05 +0000")
        checks = {
            "repr": repr(moment) == "datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)",
            "repr of a date": repr(date(2026, 1, 2)) == "datetime.date(2026, 1, 2)",
            "equal": moment == parsed == datetime.strptime("2026-01-02 03:04:05+0000", "%Y-%m-%d %H:%M:%S%z"),
            "instance": isinstance(parsed, datetime) and isinstance(moment, date) and isinstance(moment.date(), date),
            "no instance": not isinstance(moment.date(), datetime) and not isinstance(moment.time(), date),
            "subclass": issubclass(datetime, date) and not issubclass(date, datetime),
            "arithmetic": isinstance(moment + timedelta(days=1), datetime) and moment - parsed == timedelta(0),
            "iso": datetime.fromisoformat(moment.isoformat()) == moment,
            "combine": datetime.combine(moment.date(), moment.timetz()) == moment,
            "zone": moment.astimezone(timezone(timedelta(hours=2))).hour == 5,
            "copy": pickle.loads(pickle.dumps(moment)) == moment == copy.deepcopy(moment),
            "hash": {moment: 1}[parsed] == 1,
            "json": json.loads(json.dumps(moment, default=str)) == "2026-01-02 03:04:05+00:00",
            "min and max": datetime.min.year == 1 and datetime.max.year == 9999,
            "uuid": uuid.uuid1().version == 1,
        }
        print([name for name, holds in checks.items() if not holds])
        """,
        interpreter=python,
        speed=2.0,
    )
    assert (ran.lines(), ran.lines("Error")) == (["[]"], [])


def test_wrong_arguments_fail_as_ever(python: str) -> None:
    ran = run_script(
        """
        import threading, time
        for call in (lambda: time.sleep(-1), lambda: time.sleep("1"), lambda: threading.Event().wait("1")):
            try:
                call()
            except Exception as error:
                print(type(error).__name__)
        """,
        interpreter=python,
        speed=2.0,
    )
    assert ran.lines() == ["ValueError", "TypeError", "TypeError"]


def test_children_of_a_script_share_its_clock() -> None:
    ran = run_script(
        """
        import subprocess, sys, time
        print(time.time())
        time.sleep(6000)
        subprocess.run([sys.executable, "-c", "import time; print(time.time()); time.sleep(6000)"])
        print(time.time())
        """,
        speed=60_000.0,
        started_at=EPOCH,
    )
    first, second, third = map(float, ran.lines())
    assert first >= EPOCH and first + 6000 <= second and second + 6000 <= third


def test_another_sitecustomize_still_runs(python: str, tmp_path: Path) -> None:
    """Ours comes first on the path and hides it; it is run all the same, after ours."""
    (tmp_path / "sitecustomize.py").write_text("import time, builtins\nbuiltins.seen = time.time()\n")
    ran = run_script(
        "import builtins, sys, sitecustomize; print(int(builtins.seen) // 1000, sitecustomize.__file__)",
        interpreter=python,
        started_at=EPOCH,
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert [f"{int(EPOCH) // 1000} {tmp_path / 'sitecustomize.py'}"] == ran.lines()


def test_starting_up_loads_nothing_more(python: str) -> None:
    """Modules are scaled when they are imported, not before: that would take milliseconds at every start."""
    ran = run_script(
        "import sys; print(sorted({'datetime', 'threading', 'selectors', 'subprocess', 'calendar'} & set(sys.modules)))",
        interpreter=python,
        environment={"PYTHONSTARTUP": ""},
    )
    scaled = run_script(
        "import sys; print(sorted({'datetime', 'threading', 'selectors', 'subprocess', 'calendar'} & set(sys.modules)))",
        interpreter=python,
        speed=2.0,
    )
    assert ran.lines() == scaled.lines()


@pytest.mark.parametrize("job", [{}, {"speed": 1.0}])
def test_without_a_speed_nothing_is_put_in_front(job: dict[str, float]) -> None:
    ran = run_script(
        "import os; print([n for n in os.environ if n in ('PYTHONPATH', 'OCTOSTEPS_CLOCK')])", **job
    )
    assert ran.lines() == ["[]"]
