"""Where *Octopus - Deploy Release* deploys: several environments and tenants in one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.scene import Document, open_scene, own_step
from tests.stage import Run, Stage

DEPLOY = "Octopus - Deploy Release"
OPENER = "#" + "{"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """*Shared* goes to both environments at once, for tenants or not; Acme and Bolt are in Test, Cask only in Production."""
    with open_scene(speed=30, task_cap=30) as scene:
        stage = Stage(scene)
        both = [scene.environments["Test"], scene.environments["Production"]]
        wide = scene.client.post(
            "lifecycles",
            {"Name": "Wide", "Phases": [{"Name": "Everywhere", "OptionalDeploymentTargets": both}]},
        )
        scene.client.post(
            "tagsets", {"Name": "Region", "Tags": [{"Name": "Europe"}, {"Name": "Asia"}, {"Name": "Africa"}]}
        )
        scene.client.post("tagsets", {"Name": "Ring", "Tags": [{"Name": "Early"}, {"Name": "Late"}]})
        for name, mode in (
            ("Shared", "TenantedOrUntenanted"),
            ("Tenants only", "Tenanted"),
            ("Plain", "Untenanted"),
        ):
            scene.make_project(
                name,
                steps=[own_step("Work", seconds=3)],
                releases=["1.0.0", "1.1.0"],
                LifecycleId=wide["Id"],
                TenantedDeploymentMode=mode,
            )
        shared, only = scene.projects["Shared"]["Id"], scene.projects["Tenants only"]["Id"]
        test, production = both
        for name, tags, where in (
            ("Acme", ["Region/Europe", "Ring/Early"], {shared: both, only: both}),
            ("Bolt", ["Region/Asia", "Ring/Early"], {shared: [test]}),
            ("Cask", ["Region/Europe", "Ring/Late"], {shared: [production]}),
            ("Drum", ["Region/Asia"], {}),
        ):
            scene.client.post("tenants", {"Name": name, "TenantTags": tags, "ProjectEnvironments": where})
        yield stage


def tenant_id(stage: Stage, name: str) -> str:
    [found] = [one for one in stage.scene.client.pages("tenants") if one["Name"] == name]
    return str(found["Id"])


def places(run: Run, *states: str) -> list[tuple[str, str]]:
    """(environment, tenant) of the children that ended as one of `states`, Success when none is named."""
    wanted = states or ("Success",)
    return [(child["environment"], child["tenant"]) for child in run.children if child["state"] in wanted]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(
            {"environment": "Test\nProduction"}, [("Test", ""), ("Production", "")], id="two environments"
        ),
        pytest.param({"environment": "phase: everywhere"}, [("Test", ""), ("Production", "")], id="a phase"),
        pytest.param(
            {"environment": "Production -> Test\nTest -> Production"}, [("Production", "")], id="a map"
        ),
        pytest.param({"environment": "Test\ntest"}, [("Test", "")], id="named twice is once"),
        pytest.param({"tenant": "Acme\nBolt"}, [("Test", "Acme"), ("Test", "Bolt")], id="tenants by name"),
        pytest.param({"tenant": "Ring/Early"}, [("Test", "Acme"), ("Test", "Bolt")], id="tenants by tag"),
        pytest.param({"tenant": "Ring/Early\nRegion/Europe"}, [("Test", "Acme")], id="one tag of each set"),
        pytest.param(
            {"tenant": "region/europe\nRegion/Asia\nring/early"},
            [("Test", "Acme"), ("Test", "Bolt")],
            id="alternatives within a set",
        ),
        pytest.param(
            {"tenant": "*", "environment": "Test\nProduction"},
            [("Test", "Acme"), ("Test", "Bolt"), ("Production", "Acme"), ("Production", "Cask")],
            id="all connected",
        ),
        pytest.param({"project": "Plain"}, [("Test", "")], id="untenanted"),
    ],
)
def test_where(stage: Stage, values: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    run = stage.run(DEPLOY, {"project": "Shared", **values})
    assert ("Success", "Success", expected) == (run.state, run.outputs["State"], places(run)), run.log
    made = [
        stage.scene.client.get(f"deployments/{child['deployment']}")
        for child in run.children
        if child["deployment"]
    ]
    assert len(expected) == len({one["Id"] for one in made}) == len(run.outputs["TaskId"].split(", "))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param(
            {"environment": "Test\nProd"},
            "misconfigured: there is no environment 'Prod' that this account can see (did you mean Production?)",
            id="environment",
        ),
        pytest.param(
            {"environment": "phase: Nowhere"},
            "misconfigured: there is no phase of the lifecycle 'Nowhere' that this account can see (did you mean Everywhere?)",
            id="phase",
        ),
        pytest.param(
            {"environment": "UAT -> Test"},
            "misconfigured: the own environment (Test) is on the left of no line: UAT",
            id="map without the own environment",
        ),
        pytest.param(
            {"environment": "UAT -> Test\nProduction"},
            "misconfigured: Environment: either all lines are a map with ->, or none is",
            id="half a map",
        ),
        pytest.param(
            {"tenant": "Acne"},
            "misconfigured: there is no tenant 'Acne' that this account can see (did you mean Acme?)",
            id="tenant",
        ),
        pytest.param(
            {"tenant": "Region/Africa"},
            "misconfigured: no tenant has the tag 'Region/Africa' (did you mean Region/Asia or Region/Europe?)",
            id="tag of nobody",
        ),
        pytest.param(
            {"tenant": "Ring/Late\nRegion/Asia"},
            "misconfigured: no tenant has all of these tags: Ring/Late, Region/Asia",
            id="tags of nobody",
        ),
        pytest.param(
            {"project": "Tenants only", "tenant": "*", "environment": "Test", "more": {"at_onces": "2"}},
            "misconfigured: More options: there is no option 'at_onces' (did you mean at_once?)",
            id="option",
        ),
        pytest.param(
            {"more": {"At once": "0", "if one fails": "shrug"}},
            "misconfigured: More options: At once: '0' is not a whole number from 1; if one fails: 'shrug' is none of: "
            "go_on, stop, cancel",
            id="values of options",
        ),
        pytest.param(
            {"project": "Tenants only", "tenant": ""},
            "misconfigured: Tenants only is only deployed for tenants: name one, a tag, or *",
            id="tenant needed",
        ),
        pytest.param(
            {"project": "Plain", "tenant": "Acme"},
            "misconfigured: Plain is not deployed for tenants, but the step names some",
            id="tenant not wanted",
        ),
        pytest.param(
            {"tenant": "Acme\nDrum", "more": {"not_connected": "fail"}},
            "misconfigured: Drum is not connected to Shared",
            id="not connected, by policy",
        ),
    ],
)
def test_what_matches_nothing_is_an_error(stage: Stage, values: dict[str, Any], error: str) -> None:
    before = len(stage.scene.deployments("Shared"))
    run = stage.run(DEPLOY, {"project": "Shared", **values})
    assert ("Failed", error) == (run.state, run.error), run.log
    assert before == len(stage.scene.deployments("Shared"))


def test_the_parents_tenant(stage: Stage) -> None:
    """As the form stands the child is deployed for the same tenant; a project without tenants ignores it."""
    acme = tenant_id(stage, "Acme")
    connected = stage.scene.client.get(f"tenants/{acme}")
    stage.scene.make_project("Tenanted parent", releases=[], TenantedDeploymentMode="Tenanted")
    parents = []
    for name in ("Shared", "Plain"):
        step = stage.scene.step(DEPLOY, "Ours", {"project": name})
        parent = f"Parent of {name}"
        made = stage.scene.make_project(
            parent, steps=[step], releases=["1.0.0"], TenantedDeploymentMode="Tenanted"
        )
        connected["ProjectEnvironments"][made["Id"]] = [stage.scene.environments["Test"]]
        parents.append(parent)
    stage.scene.client.put(f"tenants/{acme}", connected)
    runs = [stage.end(stage.scene.deploy(parent, "1.0.0", TenantId=acme)["TaskId"]) for parent in parents]
    assert [[("Test", "Acme")], [("Test", "")]] == [places(run) for run in runs]
    assert "Plain is not deployed for tenants, and so not for Acme in particular" in runs[1].log


def test_who_is_not_connected_is_skipped_with_the_reason(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Shared", "tenant": "Acme\nCask\nDrum"})
    assert ("Success", [("Test", "Acme")]) == (run.state, places(run)), run.log
    assert [
        "Shared in Test for Cask: Cask is connected to Shared in 1 other environment, not in Test",
        "Shared in Test for Drum: Drum is not connected to Shared",
    ] == [child["skipped"] for child in run.children if child["skipped"]]
    assert "Highlight: Skipped: Shared in Test for Drum: Drum is not connected to Shared." in run.log
    alone = stage.run(DEPLOY, {"project": "Shared", "tenant": "Drum"})
    assert ("Success", "Skipped", "Shared in Test for Drum: Drum is not connected to Shared", "") == (
        alone.state,
        alone.outputs["State"],
        alone.outputs["Skipped"],
        alone.outputs["DeploymentId"],
    )


def test_who_has_it_already_is_skipped_by_tenant(stage: Stage) -> None:
    values = {"project": "Shared", "release": "1.0.0", "when": "if_not_current"}
    stage.run(DEPLOY, {**values, "tenant": "Acme"})
    run = stage.run(DEPLOY, {**values, "tenant": "Acme\nBolt"})
    assert [("Skipped", "1.0.0 is current in Shared in Test for Acme"), ("Success", "")] == [
        (child["state"], child["skipped"]) for child in run.children
    ], run.log


def make_halves(stage: Stage, name: str) -> None:
    """A project that fails in Test, and takes an hour in Production."""
    fails = {**own_step("Break", outcome="failure"), "Properties": {}}
    fails["Actions"][0]["Environments"] = [stage.scene.environments["Test"]]
    lasts: Document = own_step("Last", seconds=60)
    lasts["Actions"][0]["Environments"] = [stage.scene.environments["Production"]]
    stage.scene.make_project(
        name,
        steps=[fails, lasts],
        releases=["1.0.0"],
        LifecycleId=stage.scene.projects["Shared"]["LifecycleId"],
    )


@pytest.mark.parametrize(
    ("more", "states"),
    [
        pytest.param({"if_one_fails": "go_on"}, ["Failed", "Success"], id="go on"),
        pytest.param(
            {"if_one_fails": "stop"}, ["Failed", "Success"], id="stop lets those run that have begun"
        ),
        pytest.param({"if_one_fails": "cancel"}, ["Failed", "Canceled"], id="cancel the siblings"),
        pytest.param({"at_once": "1"}, ["Failed", "Success"], id="one after the other, and go on"),
        pytest.param(
            {"at_once": "1", "if_one_fails": "stop"},
            ["Failed", "Skipped"],
            id="one after the other, and stop",
        ),
    ],
)
def test_one_of_two_fails(stage: Stage, more: dict[str, str], states: list[str]) -> None:
    name = f"Halves {len(stage.scene.projects)}"
    make_halves(stage, name)
    run = stage.run(DEPLOY, {"project": name, "environment": "Test\nProduction", "more": more})
    assert ("Failed", "Failed", states) == (
        run.state,
        run.outputs["State"],
        [child["state"] for child in run.children],
    ), run.log
    assert f"1.0.0 of {name} in Test: Failed" in run.error
    if "Canceled" in states:
        assert f"is not wanted any more, for {name} in Test failed; it was cancelled" in run.error
    if "Skipped" in states:
        assert f"not begun, for {name} in Test failed" == run.outputs["Skipped"]
        assert 1 == len(stage.scene.deployments(name))


def test_one_after_the_other(stage: Stage) -> None:
    run = stage.run(DEPLOY, {"project": "Shared", "tenant": "Acme\nBolt", "more": {"at_once": "1"}})
    first, second = [stage.scene.task(child["task"]) for child in run.children]
    assert first["CompletedTime"] <= second["QueueTime"], run.log


def test_a_retry_adopts_every_child(stage: Stage) -> None:
    """The first try succeeds for one tenant and fails for the other: the retry deploys again for that one alone."""
    name = "Flaky"
    stage.scene.make_project(
        name,
        steps=[own_step("Work")],
        releases=["1.0.0"],
        TenantedDeploymentMode="Tenanted",
    )
    fails = own_step("Break", outcome="failure")
    fails["Actions"][0]["TenantTags"] = ["Region/Asia"]
    stage.scene.put_steps(name, [own_step("Work"), fails])
    stage.scene.make_release(name, "2.0.0")
    for tenant in ("Acme", "Bolt"):
        document = stage.scene.client.get(f"tenants/{tenant_id(stage, tenant)}")
        document["ProjectEnvironments"][stage.scene.projects[name]["Id"]] = [stage.scene.environments["Test"]]
        stage.scene.client.put(f"tenants/{document['Id']}", document)
    step = stage.scene.step(
        DEPLOY,
        "Ours",
        {"project": name, "tenant": "*"},
        **{"Octopus.Action.AutoRetry.MaximumCount": "1", "Octopus.Action.AutoRetry.MinimumBackoff": "0"},
    )
    stage.scene.make_project("Retrying", steps=[step], releases=["1.0.0"])
    ended = stage.scene.run("Retrying", "1.0.0")
    log = stage.scene.log(ended["Id"])
    assert "Failed" == ended["State"], log
    by_tenant: dict[str, list[str]] = {}
    for made in stage.scene.deployments(name):
        by_tenant.setdefault(made["TenantId"], []).append(stage.scene.task(made["TaskId"])["State"])
    assert {
        tenant_id(stage, "Acme"): ["Success"],
        tenant_id(stage, "Bolt"): ["Failed", "Failed"],
    } == by_tenant, log
