"""What a step may make of a lock, as a table; and what an hour of waiting costs."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from lock_fakes import SET_PATH, FakeTask, LockServer

from generator.runtime.api import Api
from generator.runtime.lock_claims import own_claim
from generator.runtime.lock_set import LockSet, find_lock_set
from generator.runtime.lock_state import (
    Attempt,
    LockClaim,
    LockState,
    attempt_lock,
    certain_blockers,
    claims_of_task,
    lock_to_text,
    parse_lock,
    parse_lock_name,
    scoped_name,
)
from generator.runtime.locks import PASS_OVER_AFTER, LockWaiter
from generator.runtime.parameters import Secret
from generator.runtime.step import Step, StepFailure
from tests.runtime.runtime_fakes import FakeOctopus, VirtualTime

NOW, EARLIER = "2027-01-15T08:10:00+00:00", "2027-01-15T08:00:00+00:00"


def make_claim(
    nonce: str, *, task: str = "", action: str = "Take", machine: str = "", share: int = 1, fence: int = 0
) -> LockClaim:
    """By default a step of a task of its own; with a fence it holds."""
    about = {"project": "Shop", "release": "1.0.0", "environment": "Test", "step": "Take", "link": "/app#/x"}
    return LockClaim(
        nonce, "Spaces-1", task or f"ServerTasks-{nonce}", action, machine, share, EARLIER, fence, about
    )


def held(nonce: str, fence: int = 5, **fields: object) -> LockClaim:
    return make_claim(nonce, fence=fence, **fields)  # type: ignore[arg-type]


def look(state: LockState, own: LockClaim, **options: object) -> Attempt:
    return attempt_lock(state, own, now=NOW, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("holders", "waiters", "own", "enters"),
    [
        pytest.param([], [], make_claim("a"), True, id="a free lock"),
        pytest.param([held("b")], [], make_claim("a"), False, id="a held one"),
        pytest.param([], [make_claim("b")], make_claim("a"), False, id="somebody is in line"),
        pytest.param([], [make_claim("a"), make_claim("b")], make_claim("a"), True, id="first in line"),
        pytest.param([held("b", share=3)], [], make_claim("a", share=3), True, id="shared with one"),
        pytest.param(
            [held("b", share=2), held("c", share=2)],
            [],
            make_claim("a", share=2),
            False,
            id="shared, and full",
        ),
        pytest.param(
            [held("b", share=3), held("c", share=2)],
            [],
            make_claim("a", share=3),
            False,
            id="as few as each allows",
        ),
        pytest.param([held("b", share=3)], [], make_claim("a"), False, id="exclusively, beside a sharer"),
        pytest.param(
            [held("b")], [], make_claim("a", share=3), False, id="shared, beside an exclusive holder"
        ),
        pytest.param(
            [held("b", share=3)],
            [make_claim("c")],
            make_claim("a", share=3),
            False,
            id="an exclusive one waits in front",
        ),
        pytest.param(
            [held("b", share=3)],
            [make_claim("c", share=3)],
            make_claim("a", share=3),
            True,
            id="room for the one in front, too",
        ),
        pytest.param(
            [held("b", share=2)],
            [make_claim("c", share=2)],
            make_claim("a", share=2),
            False,
            id="room for the one in front only",
        ),
        pytest.param(
            [],
            [make_claim("b", task="T", action="Other")],
            make_claim("a", task="T"),
            True,
            id="an own step in line does not count",
        ),
        pytest.param(
            [held("b", task="T", machine="M1")],
            [],
            make_claim("a", task="T", machine="M2"),
            False,
            id="another machine of the step holds it",
        ),
    ],
)
def test_who_enters(holders: list[LockClaim], waiters: list[LockClaim], own: LockClaim, enters: bool) -> None:
    state = LockState(5, tuple(holders), tuple(waiters))
    result = look(state, own)
    assert (result.held is not None) == enters
    assert result.rival is result.successor is None
    if enters:
        assert result.held == own._replace(fence=6, since=NOW)
        assert result.state.fence == 6
        assert result.state.holders == (*holders, result.held)
        assert own.nonce not in [one.nonce for one in result.state.waiters]
        assert result.behind == ()
    else:
        assert result.state == LockState(5, tuple(holders), (*waiters, own))
        assert [one.nonce for one in result.behind] == [one.nonce for one in (*holders, *waiters)]
        assert look(state, own, waits=False).state == state


def test_runs_of_one_step() -> None:
    """A retry holds on by a newer fence, or keeps its place in line; the run that it replaced finds that out and ends."""
    old, new = make_claim("old", task="T"), make_claim("new", task="T")
    state = LockState(7, (held("old", 7, task="T"),), (make_claim("b"),))
    again = look(state, new)
    assert again.held == new._replace(fence=8, since=EARLIER)
    assert again.state == LockState(8, (again.held,), (make_claim("b"),))
    assert look(again.state, old, known=True).successor == again.held
    assert look(again.state, new).state == again.state
    line = LockState(7, (held("x"),), (old, make_claim("b")))
    again = look(line, new)
    assert again.state.waiters == (new, make_claim("b"))
    assert look(again.state, old, known=True).successor == new
    assert look(LockState(7, (held("x"),), (make_claim("b"),)), old, known=True).state.waiters[-1] == old


def test_steps_of_one_task_never_wait_for_each_other() -> None:
    state = LockState(7, (held("a", task="T", action="First"),))
    result = look(state, make_claim("b", task="T", action="Second"))
    assert (result.rival, result.state) == (state.holders[0], state)


def test_those_who_are_gone_go_with_any_look() -> None:
    state = LockState(7, (held("a"), held("b", share=2)), (make_claim("c"), make_claim("d")))
    result = look(state, make_claim("e"), gone={"a", "b", "c"})
    assert result.behind == (make_claim("d"),)
    assert result.state == LockState(7, (), (make_claim("d"), make_claim("e")))


def test_who_keeps_others_out_for_certain() -> None:
    """Who shares a full lock is no certain blocker: any one that leaves makes room."""
    sharers = (held("a", share=2), held("b", share=2))
    assert certain_blockers(sharers, make_claim("own", share=2)) == ()
    assert certain_blockers(sharers, make_claim("own")) == sharers
    assert certain_blockers((held("a"),), make_claim("own", share=2)) == (held("a"),)


def test_what_a_release_gives_back() -> None:
    mine = [held("a", task="T", machine="M1"), held("b", task="T", machine="M2"), held("c", task="T")]
    state = LockState(7, (*mine, held("d")), (make_claim("e", task="T"),))
    assert claims_of_task(state, "T", "M1") == (mine[0],)
    assert [one.nonce for one in claims_of_task(state, "T", "")] == ["a", "b", "c", "e"]
    assert claims_of_task(state, "Other", "") == ()


def test_a_lock_as_text_and_back() -> None:
    state = LockState(7, (held("a", share=3),), (make_claim("b"), make_claim("c", machine="M")))
    assert parse_lock(lock_to_text(state)) == state


@pytest.mark.parametrize(
    "text",
    [
        None, "", "x", "[]", "{}", "7", '{"fence":1,"holders":{},"waiters":[3]}', '{"fence":true,"holders":[],"waiters":[]}',
        '{"fence":"1","holders":[],"waiters":[]}', '{"fence":1,"holders":[{}],"waiters":[]}', "[" * 100_000,
        lock_to_text(LockState(7, (held("a"), held("a")))), lock_to_text(LockState(7, (held("a", share=0),))),
        lock_to_text(LockState(7, (held(""),))), lock_to_text(LockState(7, (held("a"),), ())).replace('"share"', '"x"'),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_no_lock(text: str | None) -> None:
    with pytest.raises(ValueError):
        parse_lock(text)


def test_names() -> None:
    assert parse_lock_name("  My   lock ") == "My lock"
    for bad in ("", "a\x07b", "x" * 201, "Octosteps.Locks"):
        with pytest.raises(ValueError):
            parse_lock_name(bad)
    assert scoped_name("Shop") == "Shop"
    assert scoped_name("Shop", "Test") == "Shop (in Test)"
    assert scoped_name("Shop", "Test", "Acme") == "Shop (in Test, for Acme)"
    assert scoped_name("Shop", tenant="no tenant") == "Shop (for no tenant)"


# --- waiting, in virtual time ------------------------------------------------------------------------------------------


class Scene:
    """One step that waits for what others have, on a fake server."""

    def __init__(self, *others: LockClaim, limit: timedelta = timedelta(hours=1), **options: object) -> None:
        self.time = VirtualTime()
        self.server = LockServer(self.time, random.Random(1))
        self.api = Api(
            "http://octopus.example", Secret("API-TEST"), space="Spaces-1", transport=self.server, clock=self.time.clock,
            wall_clock=self.time.wall_clock, sleep=self.sleep, chance=lambda: 0.5,
        )  # fmt: skip
        self.events: list[tuple[float, FakeTask, str]] = []
        for claim in others:
            self.server.tasks[claim.task] = FakeTask(claim.task, claim.space)
        state = LockState(
            5, tuple(one for one in others if one.fence), tuple(one for one in others if not one.fence)
        )
        self.server.variables["Variables"].append({"Name": "Lock", "Value": lock_to_text(state), "Scope": {}})
        self.octopus = FakeOctopus()
        locks = find_lock_set(self.api)
        assert locks.path == SET_PATH
        self.waiter = LockWaiter(
            self.api,
            self.octopus.log(),
            locks,
            "Lock",
            make_claim("own"),
            limit=limit,
            **options,  # type: ignore[arg-type]
        )

    def sleep(self, seconds: float) -> None:
        self.time.sleep(seconds)


def test_an_hour_of_waiting_costs_six_requests_a_minute() -> None:
    """With several in front, in two spaces, and all their tasks looked at."""
    others = (
        held("a"),
        *(make_claim(name)._replace(space=f"Spaces-{1 + number % 2}") for number, name in enumerate("bcdef")),
    )
    scene = Scene(*others)
    before = len(scene.server.requests)
    with pytest.raises(
        StepFailure,
        match=r"timed out: not within 1 h: the lock Lock is held by Shop 1.0.0 to Test, step Take",
    ):
        scene.waiter.take()
    assert scene.time.now == pytest.approx(3600, abs=1)
    assert len(scene.server.requests) - before <= 6 * 60 + 2  # with the two by which it leaves the line
    assert [one.nonce for one in scene.server.lock("Lock").waiters] == list("bcdef")
    assert max(scene.time.slept) < 40


def test_a_cancelled_holder_is_seen_at_the_next_look() -> None:
    scene = Scene(held("a"))
    task = scene.server.tasks["ServerTasks-a"]
    task.ends = 1000.0
    claim = scene.waiter.take()
    assert claim.fence == 6
    assert 1000 <= scene.time.now <= 1000 + 25
    assert scene.server.lock("Lock") == LockState(6, (claim,))


def test_a_dead_waiter_whose_task_goes_on_is_passed_over() -> None:
    """It leaves a free lock alone: the next in line waits its time, the one behind that twice as long, and goes on."""
    first, second = Scene(make_claim("a")), Scene(make_claim("a"), make_claim("b"))
    for scene, times in ((first, 1), (second, 2)):
        assert scene.waiter.take().fence == 6
        assert PASS_OVER_AFTER * times <= scene.time.now <= PASS_OVER_AFTER * times + 25
        assert "is passed over" in scene.octopus.texts()[-1]
        assert scene.server.lock("Lock").waiters == ()


def test_a_held_lock_is_not_passed_over() -> None:
    scene = Scene(held("a"), make_claim("b"), limit=timedelta(minutes=20))
    with pytest.raises(StepFailure, match=r"; 1 in front$"):
        scene.waiter.take()
    assert [one.nonce for one in scene.server.lock("Lock").waiters] == ["b"]


def test_an_owner_that_is_not_returned_keeps_the_lock_until_an_explicit_age() -> None:
    """The claim is from 08:00, the server's clock begins at 08:00: an hour later it is broken, if that was asked for."""
    scene = Scene(held("a"), limit=timedelta(hours=3))
    del scene.server.tasks["ServerTasks-a"]
    with pytest.raises(StepFailure, match="timed out"):
        scene.waiter.take()
    assert len(scene.octopus.texts("warning")) == 1
    scene = Scene(held("a"), limit=timedelta(hours=3), break_after=timedelta(hours=1))
    del scene.server.tasks["ServerTasks-a"]
    assert scene.waiter.take().fence == 6
    assert scene.time.now == pytest.approx(3600, abs=30)
    assert "whether its process still runs nobody knows" in scene.octopus.texts("warning")[-1].lower()


def test_a_living_holder_is_never_broken_by_age() -> None:
    scene = Scene(held("a"), limit=timedelta(hours=3), break_after=timedelta(minutes=1))
    with pytest.raises(StepFailure, match="timed out"):
        scene.waiter.take()
    assert [one.nonce for one in scene.server.lock("Lock").holders] == ["a"]


def test_a_server_that_keeps_something_else_is_not_believed() -> None:
    """It answers 200, and has left our variable out: the account may not edit it. The step must not think that it holds."""
    scene = Scene()
    scene.server.write = lambda body: (200, scene.server.variables)  # type: ignore[method-assign]
    with pytest.raises(StepFailure, match="took the lock's variable without keeping it"):
        scene.waiter.take()


def test_a_refusal_that_is_no_stale_version_ends_it() -> None:
    scene = Scene()
    before = len(scene.server.requests)
    scene.server.write = lambda body: (400, {"ErrorMessage": "Variable validation failed."})  # type: ignore[method-assign]
    with pytest.raises(StepFailure, match="Variable validation failed"):
        scene.waiter.take()
    assert len(scene.server.requests) - before == 4


def test_a_busy_server_is_asked_again_and_a_broken_one_given_up() -> None:
    """429 means that nothing was carried out; a server that never says what came of a write is left at the limit."""
    scene = Scene()
    write, answers = scene.server.write, [(429, {}), (429, {})]
    scene.server.write = lambda body: answers.pop() if answers else write(body)  # type: ignore[method-assign]
    assert scene.waiter.take().fence == 6
    scene = Scene(limit=timedelta(minutes=30))
    scene.server.write = lambda body: (502, {})  # type: ignore[method-assign]
    with pytest.raises(
        StepFailure, match=r"gave up on the API: the lock could not be changed in \d+ attempts; last: PUT"
    ):
        scene.waiter.take()
    assert scene.time.now == pytest.approx(1800, abs=30)
    assert len(scene.server.requests) <= 6 * 30 + 20


def test_two_variables_of_one_name_are_told() -> None:
    scene = Scene()
    scene.server.variables["Variables"].append({"Name": "LOCK", "Value": "x", "Scope": {}})
    with pytest.raises(StepFailure, match="has 2 variables 'Lock': delete all but one"):
        scene.waiter.take()
    assert isinstance(scene.waiter.locks, LockSet)


# --- who asks ----------------------------------------------------------------------------------------------------------

TASK = {
    "Octopus.Task.Id": "ServerTasks-7", "Octopus.Task.QueueTime": "2027-01-15T08:00:00+00:00", "Octopus.Space.Id": "Spaces-1",
    "Octopus.Action.Id": "Take", "Octopus.Action.RunOnServer": "true", "Octopus.Web.ServerUri": "http://octopus.example/",
    "Octopus.Project.Name": "Sh\x07op", "Octopus.Release.Number": "1.0.0", "Octopus.Environment.Name": "Test",
    "Octopus.Step.Name": "x" * 300,
    "Octopus.Machine.Id": "Machines-1", "Octopus.Deployment.Tenant.Name": "Acme",
}  # fmt: skip


def asker(**variables: str) -> tuple[Scene, Step, FakeOctopus]:
    octopus = FakeOctopus({**TASK, **{name.replace("_", "."): value for name, value in variables.items()}})
    scene = Scene()
    scene.server.tasks["ServerTasks-7"] = FakeTask("ServerTasks-7")
    return scene, Step(octopus.log(), {}), octopus


def test_a_claim_names_the_step() -> None:
    scene, step, octopus = asker()
    claim = own_claim(scene.api, step, 3, is_to_last=True)
    assert (claim.space, claim.task, claim.action, claim.machine, claim.share) == (
        "Spaces-1",
        "ServerTasks-7",
        "Take",
        "",
        3,
    )
    assert str(claim).startswith(
        "Sh\x07op 1.0.0 to Test for Acme, step xxx"
    )  # the log and the list make it harmless
    assert len(claim.about["step"]) == 100
    assert own_claim(scene.api, step, 3, is_to_last=True).nonce != claim.nonce
    assert octopus.lines == []
    on_target = asker(Octopus_Action_RunOnServer="false")
    assert own_claim(on_target[0].api, on_target[1], 1, is_to_last=True).machine == "Machines-1"


def test_a_claim_that_nobody_could_judge_is_not_made() -> None:
    """Outside a task, and on another server, whose tasks have the same ids; the queue time tells one server of two addresses."""
    scene, step, _ = asker(Octopus_Task_Id="")
    with pytest.raises(StepFailure, match="this runs in none"):
        own_claim(scene.api, step, 1, is_to_last=True)
    for address in ("http://other.example", ""):
        scene, step, octopus = asker(Octopus_Web_ServerUri=address)
        assert own_claim(scene.api, step, 1, is_to_last=True).task == "ServerTasks-7"
        scene, step, octopus = asker(
            Octopus_Web_ServerUri=address, Octopus_Task_QueueTime="2027-01-15T09:00:00+00:00"
        )
        with pytest.raises(StepFailure, match="a lock works within one server"):
            own_claim(scene.api, step, 1, is_to_last=True)
    scene, step, octopus = asker()
    del scene.server.tasks["ServerTasks-7"]
    assert own_claim(scene.api, step, 1, is_to_last=False).task == "ServerTasks-7"
    assert octopus.lines == []
    assert own_claim(scene.api, step, 1, is_to_last=True).task == "ServerTasks-7"
    [warning] = octopus.texts("warning")
    assert "does not show this account the running task ServerTasks-7 (that takes TaskView" in warning
