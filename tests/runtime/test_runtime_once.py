"""Exactly once: where retries, lost answers, second copies and rivals lead; the list of the server is the witness."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from runtime_fakes import EPOCH, FakeDeployment, FakeOctopus, FakeServer, VirtualTime, make_api, make_place

from generator.runtime.markers import ParentTask
from generator.runtime.once import (
    ALWAYS,
    IF_NEWER,
    IF_NOT_CURRENT,
    Child,
    Errand,
    Intention,
    intention_key,
    own_identity,
    own_queue_time,
    wants_guided_failure,
)
from generator.runtime.step import StepFailure
from generator.runtime.tasks import Task
from generator.runtime.transport import HttpAnswer, HttpRequest

KEY = intention_key(["server", "ServerTasks-100", "action", "", "Projects-1", "Environments-1", ""])
RELEASE = {"Id": "Releases-1", "Version": "1.0.0"}


def comments(attempt: int, key: str = KEY) -> str:
    return f"Triggered by Shop [octosteps {key} {attempt} awaited by http://own.example/Spaces-1/ServerTasks-100]"


class Scene:
    """One server; `errand` is one run of the step on it."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.server = FakeServer(self.time)
        self.server.releases = {"Releases-1": "1.0.0", "Releases-2": "2.0.0", "Releases-9": "0.9.0"}
        self.octopus = FakeOctopus()
        self.api = make_api(self.time, self.server)

    def errand(self, **changes: Any) -> Errand:
        options: dict[str, Any] = {
            "place": make_place(),
            "release": RELEASE,
            "condition": ALWAYS,
            "deploys_again": True,
            "key": KEY,
            "since": datetime.fromtimestamp(EPOCH, timezone.utc),
            "sentence": "Triggered by Shop",
            "own_task": ParentTask("http://own.example", "Spaces-1", "ServerTasks-100"),
            "is_awaited": True,
        }
        return Errand(self.api, self.octopus.log(), Intention(**{**options, **changes}))

    def run(self, **changes: Any) -> Child:
        errand = self.errand(**changes)
        return errand.carry_out(errand.decide())

    @property
    def posts(self) -> int:
        return len(self.server.bodies)

    def carried_out(self) -> list[str]:
        """The deployments that were not cancelled before they began."""
        return [one.id for one in self.server.deployments if one.canceled_at is None]


def test_first_run_creates_one() -> None:
    scene = Scene()
    child = scene.run()
    assert ("Deployments-1", True) == (child.deployment.id, child.is_ours)
    assert [
        {
            "ReleaseId": "Releases-1",
            "EnvironmentId": "Environments-1",
            "Comments": comments(1),
            "UseGuidedFailure": False,
        }
    ] == scene.server.bodies


@pytest.mark.parametrize(
    "timeline",
    [
        pytest.param({}, id="queued"),
        pytest.param({"starts": 0.0}, id="executing"),
        pytest.param({"starts": 0.0, "ends": 0.0}, id="succeeded"),
    ],
)
def test_retry_takes_over_what_lives_or_has_succeeded(timeline: dict[str, float]) -> None:
    scene = Scene()
    scene.server.add(comments=comments(1), **timeline)
    child = scene.run()
    assert ("Deployments-1", True, 0) == (child.deployment.id, child.is_ours, scene.posts)


@pytest.mark.parametrize("state", ["Failed", "TimedOut", "Canceled"])
def test_retry_deploys_again_after_a_failure(state: str) -> None:
    scene = Scene()
    scene.server.add(comments=comments(1), starts=0, ends=0, state=state)
    assert "Deployments-2" == scene.run().deployment.id
    assert comments(2) == scene.server.bodies[0]["Comments"]
    scene.server.deployments[1].starts = scene.server.deployments[1].ends = 0
    scene.server.deployments[1].state = "Failed"
    scene.run()
    assert comments(3) == scene.server.bodies[1]["Comments"]


def test_retry_that_must_not_deploy_again_reports_the_failure() -> None:
    scene = Scene()
    scene.server.add(comments=comments(1), starts=0, ends=0, state="Failed")
    child = scene.run(deploys_again=False)
    assert ("Failed", 0) == (child.deployment.task.state, scene.posts)


def test_a_new_deployment_of_the_parent_is_a_new_intention() -> None:
    scene = Scene()
    scene.server.add(comments=comments(1, "0" * 24), starts=0, ends=0)
    assert ("Deployments-2", 1) == (scene.run().deployment.id, scene.posts)


def test_lost_answer_of_a_write_that_took_place() -> None:
    scene = Scene()

    def lose(request: HttpRequest) -> HttpAnswer | None:
        if request.method == "POST" and scene.posts == 0:
            scene.server.answer(request, "/api/Spaces-1/deployments", {})
            return HttpAnswer(504, {}, b"<html>Gateway Time-out</html>")
        return None

    scene.server.faults.append(lose)
    assert ("Deployments-1", 1) == (scene.run().deployment.id, scene.posts)


def test_lost_answer_of_a_write_that_appears_late() -> None:
    """It took place, but is not in the list before 40 seconds have gone."""
    scene = Scene()

    def lose(request: HttpRequest) -> HttpAnswer | None:
        if scene.time.now >= 40 and not scene.server.deployments:
            scene.server.add(comments=comments(1))
        return HttpAnswer(502, {}, b"") if request.method == "POST" else None

    scene.server.faults.append(lose)
    child = scene.run()
    assert ("Deployments-1", 1) == (child.deployment.id, sum("POST" in one for one in scene.server.requests))


def test_lost_answer_of_a_write_that_never_took_place() -> None:
    """Another POST only after a minute of looking; in the end one deployment."""
    scene = Scene()
    scene.server.faults.append(
        lambda request: HttpAnswer(502, {}, b"") if request.method == "POST" and scene.time.now < 60 else None
    )
    assert "Deployments-1" == scene.run().deployment.id
    posts = [at for at, one in zip(scene.server.times, scene.server.requests, strict=True) if "POST" in one]
    assert (2, True) == (len(posts), posts[1] - posts[0] >= 60)


def test_a_write_that_appears_after_its_repetition() -> None:
    """The answer came after a minute, when another had been sent: the lower id stands, the other is cancelled in the queue."""
    scene = Scene()

    def late(request: HttpRequest) -> HttpAnswer | None:
        if request.method == "POST" and request.url.endswith("/deployments") and scene.time.now < 60:
            return HttpAnswer(504, {}, b"")
        if request.method == "POST" and request.url.endswith("/deployments") and not scene.server.deployments:
            scene.server.add(comments=comments(1))
        return None

    scene.server.faults.append(late)
    child = scene.run()
    assert ("Deployments-1", ["Deployments-1"]) == (child.deployment.id, scene.carried_out())


def test_it_does_not_post_for_ever() -> None:
    scene = Scene()
    scene.server.faults.append(lambda request: HttpAnswer(502, {}, b"") if request.method == "POST" else None)
    with pytest.raises(StepFailure, match="was sent 5 times") as failure:
        scene.run()
    assert "gave up on the API" == failure.value.kind


def test_limited_write_is_sent_again_after_the_pause() -> None:
    scene = Scene()
    limited = HttpAnswer(429, {"retry-after": "20"}, b"{}")
    scene.server.faults.append(
        lambda request: limited if request.method == "POST" and scene.time.now < 20 else None
    )
    scene.run()
    assert (1, [20]) == (scene.posts, scene.time.slept)


def test_refused_write_is_told_at_once() -> None:
    scene = Scene()
    refused = HttpAnswer(400, {}, b'{"ErrorMessage": "Lifecycle says no.", "Errors": []}')
    scene.server.faults.append(lambda request: refused if request.method == "POST" else None)
    with pytest.raises(StepFailure, match="Lifecycle says no"):
        scene.run()


def test_two_copies_of_the_step_at_the_same_moment() -> None:
    """Both have looked before either has posted. One deployment is carried out, and both report it."""
    scene = Scene()
    one, other = scene.errand(), scene.errand()
    decisions = one.decide(), other.decide()
    first = one.carry_out(decisions[0])
    second = other.carry_out(decisions[1])
    assert ["Deployments-1"] == scene.carried_out()
    assert ["Deployments-1"] * 2 == [first.deployment.id, second.deployment.id]


def test_a_copy_that_begins_late_is_seen_before_the_report() -> None:
    """The other copy's deployment came after this one had looked: it is cancelled while it is queued."""
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    scene.server.deployments[0].starts = scene.server.deployments[0].ends = 0
    scene.server.add(comments=comments(1))
    after = errand.recheck(child, Task(scene.server.deployments[0].task(0)))
    assert ("Deployments-1", ["Deployments-1"]) == (after.deployment.id, scene.carried_out())


def test_a_copy_that_had_begun_is_told() -> None:
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    scene.server.deployments[0].starts = scene.server.deployments[0].ends = 0
    scene.server.add(comments=comments(1), starts=0)
    errand.recheck(child, Task(scene.server.deployments[0].task(0)))
    assert "had begun" in scene.octopus.texts("warning")[0]


def test_when_ours_failed_a_living_copy_is_followed() -> None:
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    scene.server.deployments[0].starts = scene.server.deployments[0].ends = 0
    scene.server.deployments[0].state = "Failed"
    scene.server.add(comments=comments(1))
    after = errand.recheck(child, Task(scene.server.deployments[0].task(0)))
    assert "Deployments-2" == after.deployment.id


@pytest.mark.parametrize("condition", [IF_NOT_CURRENT, IF_NEWER])
@pytest.mark.parametrize("starts", [pytest.param(1e9, id="queued"), pytest.param(0.0, id="running")])
def test_somebody_elses_deployment_of_the_release_is_joined(condition: str, starts: float) -> None:
    scene = Scene()
    scene.server.add(created=-5000.0, queue_time=-5000.0, starts=starts)
    child = scene.run(condition=condition)
    assert ("Deployments-1", False, 0) == (child.deployment.id, child.is_ours, scene.posts)


def test_one_that_is_scheduled_for_later_is_not_joined() -> None:
    scene = Scene()
    scene.server.add(queue_time=9000.0)
    assert "create" == scene.errand(condition=IF_NOT_CURRENT).decide().action


@pytest.mark.parametrize(
    ("condition", "current", "action"),
    [
        pytest.param(ALWAYS, "Releases-1", "create", id="always"),
        pytest.param(IF_NOT_CURRENT, "Releases-1", "skip", id="current"),
        pytest.param(IF_NOT_CURRENT, "Releases-2", "create", id="another is current"),
        pytest.param(IF_NOT_CURRENT, None, "create", id="nothing is current"),
        pytest.param(IF_NEWER, "Releases-9", "create", id="older is current"),
        pytest.param(IF_NEWER, "Releases-2", "skip", id="newer is current"),
        pytest.param(IF_NEWER, "Releases-1", "skip", id="the same is current"),
    ],
)
def test_condition(condition: str, current: str | None, action: str) -> None:
    scene = Scene()
    if current:
        scene.server.add(release=current, created=-9000.0, starts=-9000, ends=-8000)
        scene.server.add(release="Releases-1", created=-7000.0, starts=-7000, ends=-6000, state="Failed")
    assert action == scene.errand(condition=condition).decide().action


def test_if_newer_joins_a_newer_one_on_its_way() -> None:
    scene = Scene()
    scene.server.add(release="Releases-2", starts=0)
    assert ("join", "Deployments-1") == (
        (decision := scene.errand(condition=IF_NEWER).decide()).action,
        decision.deployment.id if decision.deployment else "",
    )


def test_if_newer_refuses_to_guess() -> None:
    scene = Scene()
    scene.server.releases["Releases-7"] = "hotfix"
    scene.server.add(release="Releases-7", starts=0, ends=0)
    with pytest.raises(StepFailure, match="cannot be compared"):
        scene.errand(condition=IF_NEWER).decide()


def test_two_parents_at_the_same_moment() -> None:
    """Both found nothing and both posted: the second withdraws its own, and joins the first."""
    scene = Scene()
    one = scene.errand(condition=IF_NOT_CURRENT)
    other = scene.errand(condition=IF_NOT_CURRENT, key="f" * 24)
    decisions = one.decide(), other.decide()
    first = one.carry_out(decisions[0])
    second = other.carry_out(decisions[1])
    assert ["Deployments-1"] == scene.carried_out()
    assert [True, False] == [first.is_ours, second.is_ours]


def test_a_rival_that_has_already_succeeded_between_two_looks() -> None:
    scene = Scene()
    errand = scene.errand(condition=IF_NOT_CURRENT)
    decision = errand.decide()
    scene.server.add(starts=0, ends=0)
    child = errand.carry_out(decision)
    assert ("Deployments-1", False, ["Deployments-1"]) == (
        child.deployment.id,
        child.is_ours,
        scene.carried_out(),
    )


def test_an_older_success_of_the_release_is_no_rival() -> None:
    """The release was there once, then another: deploying it again is not done yet."""
    scene = Scene()
    scene.server.add(release="Releases-1", starts=0, ends=0)
    scene.server.add(release="Releases-2", starts=0, ends=0)
    assert "Deployments-3" == scene.run(condition=IF_NOT_CURRENT).deployment.id
    assert ["Deployments-1", "Deployments-2", "Deployments-3"] == scene.carried_out()


def superseded(scene: Scene, release: str) -> FakeDeployment:
    """The server has cancelled the first deployment because a newer one was queued."""
    scene.time.now = 10
    scene.server.deployments[0].canceled_at = 10
    return scene.server.add(release=release)


def test_superseded_by_the_same_release_is_followed() -> None:
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    superseded(scene, "Releases-1")
    after = errand.recheck(child, Task(scene.server.deployments[0].task(10)))
    assert ("Deployments-2", False) == (after.deployment.id, after.is_ours)


def test_superseded_by_another_release_is_a_failure() -> None:
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    superseded(scene, "Releases-2")
    with pytest.raises(StepFailure, match=r"Web in Test was superseded by 2\.0\.0") as failure:
        errand.recheck(child, Task(scene.server.deployments[0].task(10)))
    assert "cancelled" == failure.value.kind


def test_cancelled_by_a_person_is_not_superseded() -> None:
    """Somebody deploys another release later, which is not why this one was cancelled."""
    scene = Scene()
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    scene.server.deployments[0].canceled_at = 5
    scene.time.now = 20
    scene.server.add(release="Releases-2")
    after = errand.recheck(child, Task(scene.server.deployments[0].task(20)))
    assert ("Deployments-1", "Canceled") == (after.deployment.id, after.deployment.task.state)


def test_withdrawn_for_one_that_was_then_given_up_is_deployed_after_all() -> None:
    """Nobody carried it out: ours was withdrawn for a rival's, and that was cancelled before it began."""
    scene = Scene()
    errand = scene.errand(condition=IF_NOT_CURRENT)
    decision = errand.decide()
    scene.server.add()
    child = errand.carry_out(decision)
    assert ("Deployments-1", False) == (child.deployment.id, child.is_ours)
    scene.server.deployments[0].canceled_at = scene.time.now
    after = errand.recheck(child, Task(scene.server.deployments[0].task(scene.time.now)))
    assert ("Deployments-3", True) == (after.deployment.id, after.is_ours)


def test_superseded_by_one_that_was_withdrawn_is_looked_at_anew() -> None:
    """The newer one's maker cancelled it to join ours, which the server had given up meanwhile: somebody must carry it out."""
    scene = Scene()
    errand = scene.errand(condition=IF_NOT_CURRENT)
    child = errand.carry_out(errand.decide())
    superseded(scene, "Releases-1").canceled_at = 10
    after = errand.recheck(child, Task(scene.server.deployments[0].task(10)))
    assert ("Deployments-3", True) == (after.deployment.id, after.is_ours)
    with pytest.raises(StepFailure, match="superseded by one of the same release, which was cancelled too"):
        again = Scene()
        errand = again.errand()
        child = errand.carry_out(errand.decide())
        superseded(again, "Releases-1").canceled_at = 10
        errand.recheck(child, Task(again.server.deployments[0].task(10)))


def test_a_late_write_is_found_while_the_other_still_runs() -> None:
    """Once the first has ended the second would begin: so after a lost answer the list is looked at during the wait, too."""
    scene = Scene()
    scene.server.faults.append(
        lambda request: HttpAnswer(502, {}, b"") if request.method == "POST" and scene.time.now < 60 else None
    )
    errand = scene.errand()
    child = errand.carry_out(errand.decide())
    scene.server.add(comments=comments(1))
    scene.time.now += 30
    errand.look_for_late(child)
    assert ["Deployments-1"] == scene.carried_out()
    before = len(scene.server.requests)
    errand.look_for_late(child)
    scene.time.now += 700
    errand.look_for_late(child)
    assert before == len(scene.server.requests)


def test_without_the_right_to_cancel_the_second_copy_is_told() -> None:
    scene = Scene()
    scene.server.on_create = lambda made: None
    refused = HttpAnswer(403, {}, b'{"ErrorMessage": "No."}')
    scene.server.faults.append(lambda request: refused if request.url.endswith("/cancel") else None)
    one, other = scene.errand(), scene.errand()
    decisions = one.decide(), other.decide()
    one.carry_out(decisions[0])
    child = other.carry_out(decisions[1])
    assert "Deployments-1" == child.deployment.id
    assert any(
        "cannot be cancelled" in text and "TaskCancel" in text for text in scene.octopus.texts("warning")
    )


def test_recent_deployments_are_paged_back_to_the_own_queue_time() -> None:
    """Ours is on the third page, behind those of other tenants; what is older than the own task is not read."""
    scene = Scene()
    for _ in range(40):
        scene.server.add(created=-90_000.0, starts=0, ends=0)
    ours = scene.server.add(comments=comments(1), starts=0, ends=0)
    for _ in range(70):
        scene.server.add(tenant="Tenants-1", starts=0, ends=0)
    assert ours.id == scene.run().deployment.id
    assert 3 == sum("/deployments?" in request for request in scene.server.requests)


def test_untenanted_and_tenanted_do_not_mix() -> None:
    scene = Scene()
    scene.server.add(tenant="Tenants-1", starts=0, ends=0, comments=comments(1))
    assert "create" == scene.errand().decide().action
    assert "adopt" == scene.errand(place=make_place("Tenants-1")).decide().action


def make_step(**variables: str) -> Any:
    usual = {
        "Octopus.Web.ServerUri": "https://Octopus.example/",
        "Octopus.Task.Id": "ServerTasks-100",
        "Octopus.Action.Id": "action-guid",
        "Octopus.Action.RunOnServer": "True",
        "Octopus.Machine.Id": "Workers-3",
    }

    class Step:
        def variable(self, name: str) -> str:
            return {**usual, **variables}.get(name, "")

    return Step()


def test_identity_survives_a_retry_on_another_worker() -> None:
    assert ["https://octopus.example", "ServerTasks-100", "action-guid", ""] == own_identity(make_step())
    assert own_identity(make_step()) == own_identity(make_step(**{"Octopus.Machine.Id": "Workers-4"}))


def test_identity_tells_targets_apart() -> None:
    """A step that runs for each of several targets is one intention for each."""
    steps = [
        make_step(**{"Octopus.Machine.Id": "Machines-1", "Octopus.Action.TargetRoles": "web"}),
        make_step(**{"Octopus.Machine.Id": "Machines-2", "Octopus.Action.RunOnServer": "False"}),
    ]
    assert ["Machines-1", "Machines-2"] == [own_identity(step)[3] for step in steps]


def test_outside_a_task_every_run_is_an_intention() -> None:
    step = make_step(**{"Octopus.Task.Id": ""})
    assert own_identity(step) != own_identity(step)


def test_key_parts_cannot_run_into_each_other() -> None:
    assert intention_key(["a", "bc"]) != intention_key(["ab", "c"])
    assert len(KEY) == 24


def test_own_queue_time_from_the_variable_or_the_server() -> None:
    scene = Scene()
    scene.server.add(number=100, queue_time=50.0)
    told = make_step(**{"Octopus.Task.QueueTime": "2026-08-01T10:00:00Z"})
    asked = make_step(
        **{"Octopus.Task.QueueTime": "08/01/2026 10:00:00", "Octopus.Web.ServerUri": scene.api.url}
    )
    elsewhere = make_step(**{"Octopus.Task.QueueTime": "08/01/2026 10:00:00"})
    assert datetime(2026, 8, 1, 10, tzinfo=timezone.utc) == own_queue_time(scene.api, told)
    assert datetime.fromtimestamp(EPOCH + 50, timezone.utc) == own_queue_time(scene.api, asked)
    assert own_queue_time(scene.api, elsewhere) is None


@pytest.mark.parametrize(
    ("mode", "environment", "wanted"),
    [
        ("On", False, True),
        ("Off", True, False),
        ("EnvironmentDefault", True, True),
        ("EnvironmentDefault", False, False),
    ],
)
def test_guided_failure_as_the_portal_preselects_it(mode: str, environment: bool, wanted: bool) -> None:
    place = make_place()
    place = place._replace(
        project={**place.project, "DefaultGuidedFailureMode": mode},
        environment={**place.environment, "UseGuidedFailure": environment},
    )
    assert wanted is wants_guided_failure(place)
