"""Lists: the envelope, paging, filters, order."""

from __future__ import annotations

from typing import Any

import pytest
from world import World, good

NAMES = ["alpha", "Beta", "gamma", "Delta", "epsilon"]


@pytest.fixture
def groups(world: World) -> World:
    """Six project groups: five of ours and the one that each space has."""
    for name in NAMES:
        world.post("projectgroups", {"Name": name})
    return world


def names(page: Any) -> list[str]:
    return [item["Name"] for item in page["Items"]]


IN_ORDER = ["alpha", "Beta", "Default Project Group", "Delta", "epsilon", "gamma"]


def test_a_list_is_sorted_by_name_without_regard_to_case(groups: World) -> None:
    page = groups.get("projectgroups")
    assert IN_ORDER == names(page)
    assert ("ProjectGroup", 6, 30, 1, 0) == tuple(
        page[field]
        for field in ("ItemType", "TotalResults", "ItemsPerPage", "NumberOfPages", "LastPageNumber")
    )


@pytest.mark.parametrize(
    ("query", "expected", "pages", "following"),
    [
        pytest.param({"take": "2"}, IN_ORDER[:2], 3, True, id="first page"),
        pytest.param({"skip": "2", "take": "2"}, IN_ORDER[2:4], 3, True, id="page in the middle"),
        pytest.param({"skip": "4", "take": "2"}, IN_ORDER[4:], 3, False, id="last page"),
        pytest.param({"skip": "99"}, [], 1, False, id="behind the end"),
        pytest.param({"take": "2147483647"}, IN_ORDER, 1, False, id="everything, as clients ask for it"),
        pytest.param({"take": "0"}, [], 1, False, id="nothing"),
    ],
)
def test_pages(
    groups: World, query: dict[str, str], expected: list[str], pages: int, following: bool
) -> None:
    page = groups.get("projectgroups", **query)
    assert (expected, pages) == (names(page), page["NumberOfPages"])
    assert following == ("Page.Next" in page["Links"])


def test_following_the_next_page_visits_everything_once(groups: World) -> None:
    seen: list[str] = []
    path: str | None = "/api/Spaces-1/projectgroups?take=4"
    while path:
        page = good(groups.web.get(path))
        seen += names(page)
        path = page["Links"].get("Page.Next")
    assert IN_ORDER == seen


@pytest.mark.parametrize("query", ["skip=-1", "take=x", "take=1.5", "skip=99999999999999999999"])
def test_a_senseless_page_is_refused(groups: World, query: str) -> None:
    assert 400 == groups.api.get(f"projectgroups?{query}").status_code


def test_filters(groups: World) -> None:
    [one, two] = groups.get("projectgroups", take="2")["Items"]
    both = {one["Id"], two["Id"]}
    for query in (
        f"ids={one['Id']},{two['Id']}",
        f"ids={one['Id']}&ids={two['Id']}",
        f"IDS={one['Id']}%2C{two['Id']}",
    ):
        assert both == {item["Id"] for item in good(groups.api.get(f"projectgroups?{query}"))["Items"]}, query
    assert 6 == groups.get("projectgroups", ids="")["TotalResults"], "an empty ids is no filter"
    assert ["Delta", "Default Project Group"][::-1] == names(groups.get("projectgroups", partialName="DE"))
    assert ["Beta"] == names(groups.get("projectgroups", name="beta"))


def test_all_is_a_bare_array(groups: World) -> None:
    assert IN_ORDER == [item["Name"] for item in groups.get("projectgroups/all")]


def test_the_next_page_keeps_the_filters(groups: World) -> None:
    page = groups.get("projectgroups", partialName="a", take="1")
    following = good(groups.web.get(page["Links"]["Page.Next"]))
    assert (page["TotalResults"], 1) == (following["TotalResults"], len(following["Items"]))


def test_environments_come_in_their_sort_order(world: World) -> None:
    for name in ("Z", "A", "M"):
        world.environment(name)
    assert ["Z", "A", "M"] == names(world.get("environments"))
    ids = [item["Id"] for item in reversed(world.get("environments/all"))]
    world.put("environments/sortorder", ids)
    assert ["M", "A", "Z"] == names(world.get("environments"))


def test_newest_releases_and_deployments_come_first(world: World) -> None:
    project, environment = world.project(), world.environment()
    first, second = world.release(project, "1.0.0"), world.release(project, "1.1.0")
    one, two = (world.deploy(item, environment)["Id"] for item in (first, second))
    assert [second["Id"], first["Id"]] == [item["Id"] for item in world.get("releases")["Items"]]
    assert [two, one] == [item["Id"] for item in world.get("deployments")["Items"]]


@pytest.mark.parametrize(
    "collection", ["environments", "projectgroups", "lifecycles", "tenants", "machines", "workerpools"]
)
def test_a_name_is_taken_once_whatever_its_case(world: World, collection: str) -> None:
    world.post(collection, {"Name": "Same"})
    answer = world.api.post(collection, json={"Name": "sAME"})
    assert 400 == answer.status_code
    assert ("There was a problem with your request.", True) == (
        answer.json()["ErrorMessage"],
        "sAME" in answer.json()["Errors"][0],
    )


def test_names_of_fields_are_read_without_regard_to_case(world: World) -> None:
    made = world.post(
        "tenants", {"name": "Acme", "tenantTags": ["Regions/EMEA"], "projectEnvironments": {"Projects-1": []}}
    )
    assert ("Acme", ["Regions/EMEA"], {"Projects-1": []}) == (
        made["Name"],
        made["TenantTags"],
        made["ProjectEnvironments"],
    )


def test_deleting_what_is_used_is_refused(world: World) -> None:
    environment = world.environment()
    lifecycle = world.lifecycle({"Name": "One", "OptionalDeploymentTargets": [environment["Id"]]})
    assert 400 == world.api.delete(f"environments/{environment['Id']}").status_code
    assert 200 == world.api.delete(f"lifecycles/{lifecycle['Id']}").status_code
    assert 200 == world.api.delete(f"environments/{environment['Id']}").status_code
