"""Waiting: bounded by two clocks, cheap, honest about what cannot be seen. Time is virtual, the server in memory."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from runtime_fakes import LAST, FakeOctopus, FakeServer, VirtualTime, make_api

from generator.runtime.step import StepFailure
from generator.runtime.tasks import Task, cancel_task
from generator.runtime.transport import HttpAnswer, HttpRequest
from generator.runtime.waiting import Limits, Waiter, Watch, poll_interval

USUAL = Limits(timedelta(minutes=30), timedelta(hours=2))


class Scene:
    def __init__(self, limits: Limits = USUAL, **options: Any) -> None:
        self.time = VirtualTime()
        self.server = FakeServer(self.time)
        self.octopus = FakeOctopus()
        self.api = make_api(self.time, self.server)
        self.limits = limits
        self.options = options
        self.watches: list[Watch] = []

    def wait(self) -> list[str]:
        """Waits for every deployment of the server; the labels of those whose limit has come."""
        self.watches = [Watch(f"Child {one.number}", one.task_id, "") for one in self.server.deployments]
        waiter = Waiter(self.api, self.octopus.log(), self.watches, self.limits, **self.options)
        return [watch.label for watch in waiter.wait()]

    def count(self, part: str) -> int:
        return sum(1 for request in self.server.requests if part in request)


def test_returns_at_once_without_tasks() -> None:
    scene = Scene()
    assert ([], []) == (scene.wait(), scene.server.requests)


def test_never_sleeps_after_the_last_has_ended() -> None:
    scene = Scene()
    scene.server.add(starts=0, ends=0)
    assert ([], []) == (scene.wait(), scene.time.slept)


def test_one_request_a_poll_for_all_children() -> None:
    scene = Scene()
    for _ in range(50):
        scene.server.add(starts=5, ends=400)
    assert [] == scene.wait()
    polls = [request for request in scene.server.requests if "/tasks?ids=" in request]
    assert all(50 == len(request.split("ids=")[1].split("&")[0].split(",")) for request in polls)


@pytest.mark.parametrize("children", [1, 50])
def test_an_hour_costs_at_most_six_requests_a_minute(children: int) -> None:
    """And the end is noticed within 15 seconds."""
    scene = Scene()
    for _ in range(children):
        scene.server.add(
            starts=60, ends=3600, steps=[("A", 60, 1000, "Success"), ("B", 1000, 3600, "Success")]
        )
    assert [] == scene.wait()
    assert len(scene.server.requests) <= 360
    assert 3600 <= scene.time.now <= 3615


def test_queue_limit() -> None:
    scene = Scene()
    scene.server.add()
    assert ["Child 1"] == scene.wait()
    assert 1800 <= scene.time.now <= 1801


def test_run_limit_does_not_count_the_queue() -> None:
    scene = Scene()
    scene.server.add(starts=1700)
    assert ["Child 1"] == scene.wait()
    assert 1700 + 7200 <= scene.time.now <= 1700 + 7200 + 15


def test_time_before_a_scheduled_start_does_not_count() -> None:
    scene = Scene()
    scene.server.add(queue_time=7200.0, starts=7260, ends=7300)
    assert [] == scene.wait()
    assert scene.count("/tasks") < 180  # rarely looked at while nothing can happen


@pytest.mark.parametrize(
    "starts", [pytest.param(0, id="reads Executing"), pytest.param(LAST, id="reads Queued")]
)
def test_both_clocks_stop_while_a_person_is_asked(starts: float) -> None:
    scene = Scene(Limits(timedelta(minutes=1), timedelta(minutes=1)))
    scene.server.add(starts=starts, ends=90_030, paused=[(10, 90_000)])
    assert [] == scene.wait()
    assert scene.time.now > 90_000


def test_nobody_is_waited_for_longer_than_a_week() -> None:
    scene = Scene()
    scene.server.add(starts=0, paused=[(0, LAST)])
    assert ["Child 1"] == scene.wait()
    assert 7 * 86400 <= scene.time.now <= 7 * 86400 + 60


def test_what_is_asked_is_shown_once() -> None:
    scene = Scene()
    deployment = scene.server.add(starts=0, ends=500, paused=[(20, 400)])
    scene.server.interruptions = [
        {
            "Id": "Interruptions-1",
            "TaskId": deployment.task_id,
            "Type": "ManualIntervention",
            "Title": "May we?",
        }
    ]
    scene.wait()
    assert ["Child 1: ManualIntervention: May we?"] == scene.octopus.texts("wait")


def test_an_outage_is_survived() -> None:
    """A restart of the server in the middle of a wait, with everything that goes wrong then."""
    scene = Scene()
    scene.server.add(starts=0, ends=300)
    faults = [
        HttpAnswer(502, {}, b"<html>"),
        HttpAnswer(429, {"retry-after": "5"}, b"{}"),
        HttpAnswer(200, {}, b"{"),
    ]

    def fault(request: HttpRequest) -> HttpAnswer | None:
        return faults[len(scene.server.requests) % 3] if 100 <= scene.time.now < 160 else None

    scene.server.faults.append(fault)
    assert [] == scene.wait()
    assert 300 <= scene.time.now <= 315


def test_patience_ends_with_the_limit() -> None:
    """One sentence that names the children left."""
    scene = Scene(Limits(timedelta(minutes=30), timedelta(minutes=10)))
    scene.server.add(starts=0)
    scene.server.faults.append(lambda request: HttpAnswer(503, {}, b"") if scene.time.now > 100 else None)
    with pytest.raises(StepFailure, match="no longer watched: Child 1") as failure:
        scene.wait()
    assert "gave up on the API" == failure.value.kind
    assert scene.time.now <= 700


def test_a_refusal_in_the_middle_ends_the_wait_and_names_the_children() -> None:
    scene = Scene()
    scene.server.add(starts=0)
    scene.server.add(starts=0)
    scene.server.faults.append(lambda request: HttpAnswer(401, {}, b"{}") if scene.time.now > 60 else None)
    with pytest.raises(StepFailure, match=r"has expired.*no longer watched: Child 1, Child 2") as failure:
        scene.wait()
    assert ("refused by the server", True) == (failure.value.kind, scene.time.now < 80)


def test_absent_from_one_answer_is_no_error_from_two_is() -> None:
    scene = Scene()
    scene.server.add(starts=0, ends=100, hidden=[(9.0, 11.5)])
    scene.server.add(starts=0, ends=100)
    assert [] == scene.wait()
    scene = Scene()
    scene.server.add(starts=0, ends=100, hidden=[(20, LAST)])
    scene.server.add(starts=0, ends=100)
    with pytest.raises(StepFailure, match="Child 1 is no longer among the tasks"):
        scene.wait()


def test_log_tells_only_changes() -> None:
    scene = Scene()
    scene.server.add(
        starts=20,
        ends=200,
        steps=[
            ("Deploy", 20, 100, "Success"),
            ("Warm up", 100, 200, "SuccessWithWarning"),
            ("Clean", 0, 0, "Skipped"),
        ],
    )
    scene.wait()
    texts = scene.octopus.texts()
    assert [
        "Child 1: Queued behind Deploy Other (the task cap is full, or they have a concurrency tag in common)",
        "Child 1: Executing after 20 s in the queue",
        "Child 1: Step 1: Deploy: Running",
        "Child 1: Step 3: Clean: Skipped",
        "Child 1: Step 1: Deploy: Success",
        "Child 1: Step 2: Warm up: Running",
        "Child 1: Step 2: Warm up: SuccessWithWarning",
        "Child 1: Success, ran 3 m",
    ] == texts


def test_without_the_right_to_see_details_it_still_waits() -> None:
    scene = Scene()
    scene.server.add(starts=0, ends=60)
    refused = HttpAnswer(403, {}, b'{"ErrorMessage": "No."}')
    scene.server.faults.append(lambda request: refused if "/details" in request.url else None)
    assert [] == scene.wait()
    assert 1 == scene.count("/details")


def test_advice_of_the_server_slows_it_down() -> None:
    """Few requests are left to the account: polls wait until there are more."""
    time = VirtualTime()
    server = FakeServer(time)
    server.add(starts=0, ends=100)

    def limited(request: HttpRequest, timeout: float) -> HttpAnswer:
        return server(request, timeout)._replace(headers={"octopus-ratelimit": "r=1;t=30"})

    Waiter(make_api(time, limited), FakeOctopus().log(), [Watch("Child", "ServerTasks-1", "")], USUAL).wait()
    assert min(time.slept) >= 30


@pytest.mark.parametrize(
    ("age", "queued", "rich", "usual_left", "seconds"),
    [
        pytest.param(0, False, True, None, 2.0, id="quick at first"),
        pytest.param(30, False, True, None, 6.0, id="grows with age"),
        pytest.param(1000, False, True, None, 13.3, id="up to a limit"),
        pytest.param(30, True, True, None, 11.0, id="slower in the queue"),
        pytest.param(0, False, False, None, 13.3, id="slow when the budget is spent"),
        pytest.param(60, False, True, 600, 13.3, id="rarely long before the usual end"),
        pytest.param(500, False, True, 20, 4.0, id="often around the usual end"),
        pytest.param(500, False, True, -120, 13.3, id="not for ever after it"),
    ],
)
def test_poll_interval(
    age: float, queued: bool, rich: bool, usual_left: float | None, seconds: float
) -> None:
    assert seconds == poll_interval(age, queued=queued, rich=rich, usual_left=usual_left)


def test_progress_is_told_with_a_message() -> None:
    scene = Scene()
    scene.server.add(starts=0, ends=300)
    scene.wait()
    assert all(message.startswith("Child 1: ") for _, message in scene.octopus.progress)
    assert scene.octopus.progress


def task(state: str, **changes: Any) -> Task:
    return Task({"Id": "ServerTasks-1", "State": state, **changes})


@pytest.mark.parametrize(
    ("document", "alive", "in_queue", "began"),
    [
        pytest.param({"State": "Queued"}, True, True, False, id="queued"),
        pytest.param(
            {"State": "Queued", "HasPendingInterruptions": True}, True, False, False, id="paused reads queued"
        ),
        pytest.param(
            {"State": "Queued", "HasBeenPickedUpByProcessor": True}, True, False, True, id="about to go on"
        ),
        pytest.param(
            {"State": "Executing", "StartTime": "2026-01-01T00:00:00Z"}, True, False, True, id="executing"
        ),
        pytest.param(
            {"State": "Cancelling", "StartTime": "2026-01-01T00:00:00Z"}, True, False, True, id="cancelling"
        ),
        pytest.param({"State": "Canceled"}, False, False, False, id="cancelled before it began"),
        pytest.param({"State": "TimedOut"}, False, False, False, id="expired in the queue"),
        pytest.param(
            {"State": "Success", "StartTime": "2026-01-01T00:00:00Z"}, False, False, True, id="success"
        ),
    ],
)
def test_states(document: dict[str, Any], alive: bool, in_queue: bool, began: bool) -> None:
    seen = Task({"Id": "ServerTasks-1", **document})
    assert (alive, in_queue, began) == (seen.is_alive, seen.is_waiting_in_queue, not seen.never_began)


def test_cancel_waits_for_the_end() -> None:
    time = VirtualTime()
    server = FakeServer(time)
    server.add(starts=0)
    assert "Canceled" == cancel_task(make_api(time, server), "ServerTasks-1").state


def test_cancel_of_one_that_hangs_is_bounded_and_asked_once() -> None:
    """A task may stay in Cancelling for ever, and a second cancel used to mark it failed."""
    time = VirtualTime()
    states = iter(["Executing"])
    asked: list[str] = []

    def answer(request: HttpRequest, timeout: float) -> HttpAnswer:
        if request.method == "POST":
            asked.append(request.url)
        return HttpAnswer(
            200, {}, json.dumps({"Id": "ServerTasks-1", "State": next(states, "Cancelling")}).encode()
        )

    assert "Cancelling" == cancel_task(make_api(time, answer), "ServerTasks-1", longest=60).state
    assert (60, 1) == (time.now, len(asked))
