"""The emulator's own tables hold together: routes, refusals, links, kinds; and small pure parts by tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generator.emulator import clock, documents, refusals
from generator.emulator.documents import Secret, normalised, shown
from generator.emulator.links import LINKS, ROOT
from generator.emulator.routes import ROUTES
from generator.emulator.routing import Router

PACKAGE = Path(refusals.__file__).parent
NAMES = [name for name, value in vars(refusals).items() if isinstance(value, refusals.Refusal)]


@pytest.mark.parametrize("name", NAMES)
def test_every_refusal_is_used_and_has_a_source(name: str) -> None:
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "refusals.py")
    assert re.search(rf"refusals\.{name}\b", source), f"{name} is never given"
    assert getattr(refusals, name).source


def test_no_route_stands_twice() -> None:
    seen = [(route.method, route.template.lower(), route.scope == "system") for route in ROUTES]
    assert sorted(set(seen)) == sorted(seen)


def test_every_self_link_has_a_route() -> None:
    router = Router(ROUTES)
    for collection, links in LINKS.items():
        path = re.sub(r"\{.*?\}", "", links["Self"]).replace("$s", "/api/Spaces-1").replace("$Id", "Some-1")
        found = router.find("GET", path)
        assert found is not None and found.route is not None, (collection, path)


def test_the_root_names_every_link_that_clients_follow() -> None:
    """OctopusClients, Repositories/Async; go-octopusdeploy, constants_api_replies.go."""
    assert {
        "ActionTemplates", "ActionTemplateLogo", "ActionTemplatesCategories", "ActionTemplatesSearch",
        "ActionTemplateVersionedLogo", "Artifacts", "BuildInformation", "BuildInformationBulk", "Channels",
        "CommunityActionTemplates", "CurrentUser",
        "Dashboard", "DashboardDynamic", "DeploymentProcesses", "Deployments", "Environments", "EnvironmentSortOrder",
        "Events", "Feeds", "Interruptions", "LibraryVariables", "Lifecycles", "MachineRoles", "Machines", "Packages",
        "PackagesBulk", "PackageUpload", "PermissionDescriptions", "ProjectGroups", "Projects", "ProjectTriggers",
        "Releases", "RunbookProcesses", "RunbookRuns", "Runbooks", "RunbookSnapshots", "ServerHealthStatus",
        "ServerStatus", "SignIn", "SignOut", "SpaceHome", "Spaces", "Subscriptions", "TagSets", "Tasks", "TaskTypes",
        "TeamMembership", "Teams", "Tenants", "Triggers", "Users", "VariableNames", "VariablePreview", "Variables",
        "VersionRuleTest", "Web", "WorkerPools", "Workers",
    } == ROOT.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param({"releaseVersion": "1"}, {"ReleaseVersion": "1"}, id="camel case"),
        pytest.param({"ReleaseVersion": "1"}, {"ReleaseVersion": "1"}, id="as documented"),
        pytest.param({"RELEASEVERSION": "1"}, {"ReleaseVersion": "1"}, id="capitals"),
        pytest.param(
            {"properties": {"octopus.a": "1"}},
            {"Properties": {"octopus.a": "1"}},
            id="names of properties stay",
        ),
        pytest.param(
            {"variables": {"reason": "x"}}, {"Variables": {"reason": "x"}}, id="names of variables stay"
        ),
        pytest.param({"variables": [{"name": "x"}]}, {"Variables": [{"Name": "x"}]}, id="variables of a set"),
        pytest.param([{"a": [{"b": None}]}], [{"A": [{"B": None}]}], id="nested"),
    ],
)
def test_names_are_brought_into_one_spelling(sent: object, expected: object) -> None:
    assert expected == normalised(sent)


def test_a_secret_shows_in_no_way() -> None:
    value = Secret("s3cret")
    assert "s3cret" not in f"{value!r} {value} {[value]} {shown({'A': value, 'B': [value], '_own': 1})}"
    assert {"A": {"HasValue": True, "NewValue": None, "Hint": None}} == shown({"A": value, "_own": 1})
    assert {"Value": None} == shown({"Value": Secret("s3cret", bare=True)})


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        pytest.param("Deploy Child!", (), "deploy-child", id="signs"),
        pytest.param("Größe  2", (), "groe-2", id="letters beyond ASCII"),
        pytest.param("Web", ("web", "web-2"), "web-3", id="taken"),
        pytest.param("日本", (), "item", id="nothing left"),
    ],
)
def test_slugs(name: str, taken: tuple[str, ...], expected: str) -> None:
    assert expected == documents.slug_of(name, taken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2017-03-20T21:00:17.205+00:00", 1490043617.205, id="as the server writes it"),
        pytest.param("2017-03-20T21:00:17Z", 1490043617.0, id="Z"),
        pytest.param("2017-03-20T22:00:17.2051234+01:00", 1490043617.205123, id="seven digits, offset"),
        pytest.param("2017-03-20T21:00:17", 1490043617.0, id="no offset is UTC"),
        pytest.param(None, None, id="nothing"),
        pytest.param("", None, id="empty"),
    ],
)
def test_moments_are_read(text: str | None, expected: float | None) -> None:
    assert expected == clock.moment(text)


def test_moments_are_written_as_recorded() -> None:
    assert "2017-03-20T21:00:17.205+00:00" == clock.iso(1490043617.205)
    assert "Monday, March 20, 2017 9:00 PM" == clock.spoken(1490043617.205)
    assert ["1 second", "32 seconds", "1 minute", "2 hours"] == [
        clock.spoken_duration(x) for x in (0.2, 32, 61, 7300)
    ]


def test_a_fast_clock_runs_fast() -> None:
    fast = clock.Clock(speed=1000.0, start=0.0)
    assert 0.0 <= fast.now()
    assert 0.001 == fast.real(1.0)
    with pytest.raises(ValueError, match="greater than 0"):
        clock.Clock(speed=0)
