"""Several children of one step: one poll for all, each judged by itself. Time is virtual, the server in memory."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from runtime_fakes import EPOCH, FakeDeployment, FakeOctopus, FakeServer, VirtualTime, make_api, make_place

from generator.runtime.deliveries import CANCEL, GO_ON, STOP, Delivery, Fanout, Terms, decide_all, failure_of
from generator.runtime.lookup import Place
from generator.runtime.markers import ParentTask
from generator.runtime.once import ALWAYS, Errand, Intention, intention_key
from generator.runtime.step import StepFailure
from generator.runtime.transport import HttpAnswer
from generator.runtime.waiting import Limits

RELEASE = {"Id": "Releases-1", "Version": "1.0.0"}


class Scene:
    """A step with a child for each of `tenants`; `timeline` says how the deployment of each goes."""

    def __init__(self, tenants: int, **terms: Any) -> None:
        self.time = VirtualTime()
        self.server = FakeServer(self.time)
        self.server.on_create = self.play
        self.octopus = FakeOctopus()
        self.api = make_api(self.time, self.server)
        self.timelines: dict[str, dict[str, Any]] = {}
        self.deliveries = [self.deliver(make_place(f"Tenants-{number}")) for number in range(1, tenants + 1)]
        options: dict[str, Any] = {
            "limits": Limits(timedelta(minutes=30), timedelta(hours=2)),
            "waits": True,
            "cancels_late": True,
            **terms,
        }
        self.terms = Terms(**options)
        self.told = 0

    def deliver(self, place: Place) -> Delivery:
        intention = Intention(
            place=place,
            release=RELEASE,
            condition=ALWAYS,
            deploys_again=True,
            key=intention_key([str(place.tenant_id)]),
            since=datetime.fromtimestamp(EPOCH, timezone.utc),
            sentence="Triggered by Shop",
            own_task=ParentTask("https://octopus.example", "Spaces-1", "ServerTasks-100"),
            is_awaited=True,
        )
        return Delivery(place, RELEASE, Errand(self.api, self.octopus.log(), intention))

    def play(self, made: FakeDeployment) -> None:
        for name, value in self.timelines.get(str(made.tenant), {"starts": 10, "ends": 20}).items():
            setattr(made, name, self.time.now + value if name in ("starts", "ends") else value)

    def run(self) -> list[str]:
        decide_all(self.api, self.deliveries)
        fanout = Fanout(self.api, self.octopus.log(), self.deliveries, self.terms, tell=self.tell)
        fanout.run()
        return [delivery.state for delivery in self.deliveries]

    def tell(self) -> None:
        self.told += 1

    @property
    def failure(self) -> str:
        return str(failure_of(self.deliveries) or "")


@pytest.mark.parametrize("children", [1, 50])
def test_an_hours_wait_stays_within_the_budget(children: int) -> None:
    """Six requests a minute, the end noticed within 15 s; beginning and judging each child comes on top."""
    scene = Scene(children)
    for number in range(1, children + 1):
        scene.timelines[f"Tenants-{number}"] = {"starts": 60, "ends": 3600 - 5 * (number % 3)}
    assert ["Success"] * children == scene.run()
    created = scene.server.times[
        max(at for at, one in enumerate(scene.server.requests) if one.startswith("POST"))
    ]
    waiting = sum(1 for at in scene.server.times if created < at < 3590)
    assert waiting <= 360
    assert 3600 <= scene.time.now <= 3600 + 15
    assert children == len(scene.server.bodies)


def test_one_list_before_and_one_after_all_are_created() -> None:
    """However many children there are, what exists is read in one list, not one for each."""
    scene = Scene(20)
    scene.run()
    creations = [at for at, one in enumerate(scene.server.requests) if one.startswith("POST")]
    before = [one for one in scene.server.requests[: creations[0]] if "/deployments?" in one]
    assert 1 == len(before)
    assert before[0].count("Tenants-") == 20


def test_each_is_judged_by_itself() -> None:
    scene = Scene(3)
    scene.timelines["Tenants-2"] = {"starts": 10, "ends": 15, "state": "Failed", "error": "no disk"}
    assert ["Success", "Failed", "Success"] == scene.run()
    assert scene.failure.startswith(
        "child failed: 1 of 3 failed: child failed: 1.0.0 of Web in Test for Acme"
    )
    assert "Failed: no disk" in scene.failure


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        pytest.param(GO_ON, ["Failed", "Success", "Success"], id="go on"),
        pytest.param(STOP, ["Failed", "Success", "Skipped"], id="begin no more"),
        pytest.param(CANCEL, ["Failed", "Canceled", "Skipped"], id="cancel the others"),
    ],
)
def test_when_one_fails(policy: str, states: list[str]) -> None:
    scene = Scene(3, if_one_fails=policy, at_once=2)
    scene.timelines["Tenants-1"] = {"starts": 1, "ends": 5, "state": "Failed"}
    scene.timelines["Tenants-2"] = {"starts": 1, "ends": 500}
    assert states == scene.run()
    assert bool(policy == GO_ON) is (len(scene.server.bodies) == 3)


def test_no_more_than_so_many_at_once() -> None:
    scene = Scene(5, at_once=2)
    scene.run()
    assert ["Success"] * 5 == [delivery.state for delivery in scene.deliveries]
    for moment in {one.starts for one in scene.server.deployments}:
        assert 2 >= sum(1 for one in scene.server.deployments if one.created <= moment < one.ends)


def test_one_that_is_late_is_cancelled_and_the_others_are_waited_for() -> None:
    scene = Scene(2, limits=Limits(timedelta(minutes=1), timedelta(hours=2)))
    scene.timelines["Tenants-1"] = {}
    scene.timelines["Tenants-2"] = {"starts": 10, "ends": 300}
    assert ["Canceled", "Success"] == scene.run()
    assert (
        "has stood in the queue for 1 m, behind Deploy Other (the task cap is full, or they have"
        in scene.failure
    )
    assert scene.failure.endswith("; it was cancelled")


def test_a_cancel_that_does_not_end_is_not_waited_for_for_ever() -> None:
    scene = Scene(1, limits=Limits(timedelta(minutes=1), timedelta(minutes=1)))
    scene.timelines["Tenants-1"] = {"starts": 0}
    scene.server.ignores_cancel = True
    assert ["Cancelling"] == scene.run()
    assert scene.failure.endswith("cancelling it has not ended yet, it is Cancelling")
    assert scene.time.now < 60 + 150


def test_a_key_that_expires_in_the_middle() -> None:
    """One sentence that names the children, at once."""
    scene = Scene(2)
    for number in (1, 2):
        scene.timelines[f"Tenants-{number}"] = {"starts": 10, "ends": 3000}
    refused = HttpAnswer(401, {}, b'{"ErrorMessage": "You must be logged in"}')
    scene.server.faults.append(lambda request: refused if scene.time.now > 100 else None)
    with pytest.raises(StepFailure, match=r"401.*no longer watched: 1.0.0 of Web.*, 1.0.0 of Web") as failure:
        scene.run()
    assert "refused by the server" == failure.value.kind
    assert scene.time.now < 130


def test_a_refusal_concerns_one_place() -> None:
    scene = Scene(3)
    refused = HttpAnswer(400, {}, b'{"ErrorMessage": "Not for Tenants-2"}')
    scene.server.faults.append(lambda request: refused if b'"Tenants-2"' in (request.body or b"") else None)
    assert ["Success", "NotBegun", "Success"] == scene.run()
    assert "Not for Tenants-2" in scene.failure


def test_outputs_are_set_before_the_wait() -> None:
    scene = Scene(1)
    told: list[float] = []
    scene.tell = lambda: told.append(scene.time.now)  # type: ignore[method-assign]
    scene.run()
    assert 0.0 == told[0]
