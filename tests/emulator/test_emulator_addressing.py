"""How requests find their handler: spellings, spaces, methods, keys; and what the unknown ones get."""

from __future__ import annotations

import httpx
import pytest
from world import World, good


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/api/spaces/Spaces-1/environments", id="current form, by id"),
        pytest.param("/api/spaces/default/environments", id="current form, by slug"),
        pytest.param("/api/Spaces-1/environments", id="older form"),
        pytest.param("/api/environments", id="legacy form, the default space"),
        pytest.param("/api/Spaces-1/Environments", id="capital letters"),
        pytest.param("/API/SPACES-1/ENVIRONMENTS", id="nothing but capital letters"),
        pytest.param("/api/environments/", id="slash at the end"),
    ],
)
def test_every_spelling_reaches_the_same_list(world: World, path: str) -> None:
    made = world.environment("Test")
    assert [made["Id"]] == [item["Id"] for item in good(world.web.get(path))["Items"]]


def test_each_space_has_its_own_documents(world: World) -> None:
    other = good(
        world.web.post("/api/spaces", json={"Name": "Other", "SpaceManagersTeams": ["teams-administrators"]})
    )
    world.environment("Here")
    there = good(world.web.post(f"/api/{other['Id']}/environments", json={"Name": "There"}))
    assert ["There"] == [item["Name"] for item in good(world.web.get(f"/api/{other['Id']}/environments/all"))]
    assert ["Here"] == [item["Name"] for item in world.get("environments/all")]
    assert 404 == world.api.get(f"environments/{there['Id']}").status_code


def test_a_new_space_can_be_worked_in_at_once(world: World) -> None:
    """It has a lifecycle, a project group, a built-in feed and a worker pool."""
    space = good(
        world.web.post("/api/spaces", json={"Name": "Other", "SpaceManagersTeams": ["teams-administrators"]})
    )
    for kind in ("lifecycles", "projectgroups", "feeds", "workerpools"):
        assert 1 == good(world.web.get(f"/api/{space['Id']}/{kind}"))["TotalResults"], kind


@pytest.mark.unknown_requests
def test_an_unknown_space_is_not_found(world: World) -> None:
    assert 404 == world.web.get("/api/Spaces-99/environments").status_code
    assert 404 == world.web.get("/api/spaces/nowhere/environments").status_code


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_the_method_can_stand_in_a_header(world: World, method: str) -> None:
    """OctopusClients sends every PUT and DELETE as POST."""
    made = world.environment("Test")
    answer = world.api.post(
        f"environments/{made['Id']}", json={"Name": "Renamed"}, headers={"X-HTTP-Method-Override": method}
    )
    assert 200 == answer.status_code
    expected = ["Renamed"] if method == "PUT" else []
    assert expected == [item["Name"] for item in world.get("environments/all")]


@pytest.mark.unknown_requests
def test_an_unknown_request_says_so_and_is_remembered(world: World) -> None:
    answer = world.api.get("teapots")
    assert (404, "The emulator does not know this request: GET /api/Spaces-1/teapots") == (
        answer.status_code,
        answer.json()["ErrorMessage"],
    )
    assert ["GET /api/Spaces-1/teapots"] == world.emulator.refused


@pytest.mark.unknown_requests
def test_a_known_path_with_another_method_is_405(world: World) -> None:
    answer = world.api.delete("environments")
    assert 405 == answer.status_code
    assert ["DELETE /api/Spaces-1/environments"] == world.emulator.refused


@pytest.mark.emulator(virtual_directory="/octopus/one")
def test_under_a_virtual_directory_every_link_begins_with_it(world: World) -> None:
    made = world.environment("Test")
    assert f"/octopus/one/api/Spaces-1/environments/{made['Id']}" == made["Links"]["Self"]
    root = good(world.web.get("/octopus/one/api"))
    assert all(link.startswith("/octopus/one/") for link in root["Links"].values())
    assert world.emulator.url.endswith("/octopus/one")
    assert (
        made["Id"]
        == good(httpx.get(world.emulator.url + "/api/environments/all", headers=world.api.headers))[0]["Id"]
    )


@pytest.mark.unknown_requests
@pytest.mark.emulator(virtual_directory="/octopus")
def test_outside_the_virtual_directory_is_nothing(world: World) -> None:
    client = httpx.Client(transport=httpx.WSGITransport(app=world.emulator.app), base_url="http://emulator")
    assert 404 == client.get("/api").status_code
    assert 404 == client.get("/octopusses/api").status_code


def test_requests_are_remembered_with_their_moment(world: World) -> None:
    world.get("environments")
    world.post("environments", {"Name": "Test"})
    first, second = world.emulator.seen
    assert ("GET", "/api/Spaces-1/environments") == (first.method, first.path)
    assert "POST" == second.method
    assert first.at <= second.at <= world.emulator.state.clock.now()


# --- who asks ------------------------------------------------------------------------------------------------------

NOT_SIGNED_IN = (
    "You must be logged in to perform this action. Please provide a valid API key or log in again."
)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Octopus-ApiKey": ""}, id="blank header, as the TypeScript client sends it"),
        pytest.param({"X-Octopus-ApiKey": "API-WRONG"}, id="wrong key"),
        pytest.param({"Authorization": "Bearer nonsense", "X-Octopus-ApiKey": ""}, id="wrong token"),
    ],
)
def test_without_a_valid_key_the_recorded_sentence_comes(world: World, headers: dict[str, str]) -> None:
    answer = world.web.get("/api/users/me", headers=headers)
    assert (401, NOT_SIGNED_IN) == (answer.status_code, answer.json()["ErrorMessage"])


def test_the_key_may_stand_in_three_places(world: World) -> None:
    key = world.emulator.api_key
    anonymous = world.client(key="", base="")
    for answer in (
        anonymous.get("/api/users/me", params={"ApiKey": key}),
        anonymous.get("/api/users/me", headers={"Authorization": f"Bearer {key}"}),
        anonymous.get("/api/users/me", headers={"X-NuGet-ApiKey": key}),
    ):
        assert "admin" == good(answer)["Username"]


def test_the_root_needs_no_key(world: World) -> None:
    """The first call of every client."""
    assert "3.0.0" == good(world.client(key="", base="").get("/api/"))["ApiVersion"]


def test_a_key_without_the_permission_is_told_its_name(world: World) -> None:
    key = world.emulator.add_key(permissions={"EnvironmentView"})
    client = world.client(key=key)
    assert 200 == client.get("environments").status_code
    answer = client.post("environments", json={"Name": "Test"})
    assert 403 == answer.status_code
    assert answer.json()["ErrorMessage"].endswith("Missing permission: EnvironmentCreate")
    assert [] == world.get("environments/all")


def test_what_a_key_may_not_see_does_not_exist_for_it(world: World) -> None:
    seen, hidden = world.project("Seen"), world.project("Hidden")
    client = world.client(key=world.emulator.add_key(projects={seen["Id"]}))
    assert ["Seen"] == [item["Name"] for item in client.get("projects/all").json()]
    assert 404 == client.get(f"projects/{hidden['Id']}").status_code
    release = world.release(hidden)
    task = world.deploy(release, world.environment())["TaskId"]
    assert 404 == client.get(f"tasks/{task}").status_code
    assert 0 == client.get("tasks").json()["TotalResults"]


def test_another_user_is_another_user(world: World) -> None:
    client = world.client(key=world.emulator.add_key(user="robot"), base="")
    assert "robot" == good(client.get("/api/users/me"))["Username"]


def test_a_key_that_was_given_is_the_key() -> None:
    from generator.emulator import Emulator

    with Emulator(api_key="API-MINE") as emulator:
        assert (
            200
            == httpx.get(f"{emulator.url}/api/users/me", headers={"X-Octopus-ApiKey": "API-MINE"}).status_code
        )


# --- the root documents --------------------------------------------------------------------------------------------


def test_the_root_is_what_official_clients_accept(world: World) -> None:
    root = good(world.web.get("/api"))
    assert "Octopus Deploy" == root["Application"]
    assert root["ApiVersion"].startswith("3.0.")
    assert tuple(map(int, root["Version"].split("."))) >= (2022, 3, 5512)
    names = {
        "Self",
        "SpaceHome",
        "Spaces",
        "CurrentUser",
        "Tasks",
        "Projects",
        "Variables",
        "ActionTemplates",
        "Web",
    }
    assert names <= root["Links"].keys()


def test_the_root_of_a_space_links_into_it(world: World) -> None:
    space = good(world.web.get("/api/Spaces-1"))
    assert ("Spaces-1", "/api/Spaces-1") == (space["Id"], space["Links"]["Self"])
    assert space["Links"]["Projects"].startswith("/api/Spaces-1/projects{")


def test_a_user_finds_the_spaces_as_a_bare_list(world: World) -> None:
    me = good(world.web.get("/api/users/me"))
    [space] = good(world.web.get(me["Links"]["Spaces"]))
    assert space["IsDefault"]
    assert "/api/Spaces-1" == space["Links"]["SpaceHome"]


def test_every_self_link_leads_back_to_its_document(world: World) -> None:
    """OctopusClients reads a resource again through `Links.Self` after each write."""
    project = world.project(
        "Web", {"Name": "Do", "Actions": [{"Name": "Do", "ActionType": "Octopus.Script"}]}
    )
    release, environment = world.release(project), world.environment()
    deployment = world.deploy(release, environment)
    world.ended(deployment)
    documents = [
        project,
        release,
        environment,
        deployment,
        world.get(f"tasks/{deployment['TaskId']}"),
        world.get(f"variables/{project['VariableSetId']}"),
        world.get(f"deploymentprocesses/{project['DeploymentProcessId']}"),
        *world.get("channels/all"),
        *world.get("lifecycles/all"),
        *world.get("projectgroups/all"),
        *world.get("workerpools/all"),
        *world.get("feeds/all"),
        world.post("actiontemplates", {"Name": "T", "ActionType": "Octopus.Script"}),
        world.post("libraryvariablesets", {"Name": "L"}),
        world.post("tenants", {"Name": "Acme"}),
        world.post("machines", {"Name": "web01"}),
    ]
    for document in documents:
        self_link = document["Links"]["Self"].split("{")[0]
        assert document["Id"] == good(world.web.get(self_link))["Id"], self_link


def test_a_space_is_deleted_only_with_a_stopped_queue(world: World) -> None:
    space = good(
        world.web.post("/api/spaces", json={"Name": "Brief", "SpaceManagersTeams": ["teams-administrators"]})
    )
    path = space["Links"]["Self"]
    assert 400 == world.web.delete(path).status_code
    good(world.web.put(path, json={**space, "TaskQueueStopped": True}))
    assert 200 == world.web.delete(path).status_code
    assert 404 == world.web.get(path).status_code
