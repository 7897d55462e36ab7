"""Nonsense: the server answers 4xx, goes on, and never shows a bug of its own."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import World, step

from generator.emulator.app import LARGEST_BODY
from generator.emulator.resources import community
from generator.emulator.routes import NOT_IMITATED, ROUTES
from generator.emulator.shapes import SHAPES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "Name", "Id", "Version", "Steps", "Actions", "Properties", "Variables", "Parameters", "DefaultValue", "Scope", "Prompt",
        "ProjectId", "ReleaseId", "EnvironmentId", "TenantId", "FormValues", "Phases", "ActionType", "LifecycleId", "QueueTime",
        "SkipActions", "SelectedPackages", "Packages", "ActionsToUpdate", "ProjectName", "SpaceId", "SpaceIdOrName",
        "EnvironmentNames", "ReleaseVersion", "DeploymentPreviews", "State", "Reason", "Filename", "ServerTaskId",
        "ProjectGroupId", "ProjectEnvironments", "TenantTags", "IncludedLibraryVariableSetIds", "SpaceManagersTeams",
    ]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
REAL = {
    "project": "Projects-1", "release": "Releases-1", "environment": "Environments-1", "channel": "Channels-1",
    "version": "1.0.0", "tenant": "Tenants-1", "gitRef": "main", "branchName": "main", "space": "Spaces-1",
}  # fmt: skip
IDS = {
    "environments": "Environments-1", "deployments": "Deployments-1", "tasks": "ServerTasks-1",
    "variables": "variableset-Projects-1",
    "deploymentprocesses": "deploymentprocess-Projects-1", "actiontemplates": "ActionTemplates-1", "tenants": "Tenants-1",
    "libraryvariablesets": "LibraryVariableSets-1", "lifecycles": "Lifecycles-1", "spaces": "Spaces-1", "users": "Users-1",
    "projectgroups": "ProjectGroups-1", "machines": "Machines-1", "workerpools": "WorkerPools-1", "feeds": "feeds-builtin",
    "interruptions": "Interruptions-1", "communityactiontemplates": "CommunityActionTemplates-1", "tagsets": "TagSets-1",
}  # fmt: skip


# What a field of a request may be given by somebody who nearly knows: real ids and names, plausible values, nonsense.
PLAUSIBLE = (
    *REAL.values(), *IDS.values(), "Default", "Web", "Test", "Acme", "main", "refs/heads/main", "latest", "*", "", " ", "1.0.0",
    "2.0.0", "0", "[1.0,2.0)", "^$", "(", "True", "false", "On", "Off", "Success", "Failed", "Proceed", "Abort", "Retry",
    "Octopus.Script",
    "Octopus.Manual", "AdHocScript", "Health", "2030-01-01T00:00:00Z", "2030-02-01", "+90m", "Tenanted", "TenantedOrUntenanted",
    "StartWithPrevious", "Variable", "Machines", "https://git.example.com/x.git", "#" + "{Octopus.Release.Number}",
    "\N{PARTY POPPER}", "\ud800",
)  # fmt: skip
# httpx hands a path to an application as text, which WSGI allows for Latin-1 only.
IN_PATHS = [value for value in PLAUSIBLE if value.isascii()]
FIELDS = sorted({*SHAPES, "Variables", "Arguments", "ScriptBody", "ActionTemplateId", "MachineIds", "TargetType", "DefaultValue",
                 "DisplaySettings", "HasValue", "NewValue", "GitCommit", "IncludeInvalid"})  # fmt: skip
NEARLY = st.recursive(
    st.sampled_from(PLAUSIBLE) | st.booleans() | st.integers(-1, 3) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=20,
)
BODY = st.dictionaries(st.sampled_from(FIELDS), NEARLY, min_size=1, max_size=10)


def address(template: str) -> str:
    """A path in which each placeholder names something that exists."""
    head = template.split("/")[0]
    parts = [
        (REAL.get(part[1:-1]) or IDS.get(head, "Nothing-1")) if part.startswith("{") else part
        for part in template.split("/")
    ]
    return "/".join(parts)


def furnished(world: World) -> None:
    environment = world.environment()
    world.post("tenants", {"Name": "Acme"})
    world.post("machines", {"Name": "web01"})
    world.post("libraryvariablesets", {"Name": "Shared"})
    world.post("actiontemplates", {"Name": "T", "ActionType": "Octopus.Script"})
    world.ended(world.deploy(world.release(world.project("Web", step("One"))), environment))
    approve = world.project("Approve", step("Ask", kind="Octopus.Manual"))
    asked = world.deploy(world.release(approve), environment)
    world.until(lambda: world.task(asked).interruptions)
    git = world.project("Git", step("One"))
    settings = {"VersionControlSettings": {"Url": "https://git.example.com/x.git"}}
    world.post(f"projects/{git['Id']}/git/convert", settings)
    community.publish(world.emulator.state, {"Id": "x", "Name": "C", "ActionType": "Octopus.Script", "Version": 1,
                                             "Properties": {}, "Parameters": []})  # fmt: skip


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_at_any_route_is_answered(world: World, data: st.DataObject) -> None:
    """No 500: `Emulator.stop` would raise the bug behind it, too."""
    if not world.emulator.state.collection("Projects"):
        furnished(world)
    route = data.draw(st.sampled_from([route for route in ROUTES if route.method in ("POST", "PUT")]))
    body = data.draw(JSON)
    base = "/api/" if route.scope == "system" else "/api/Spaces-1/"
    answer = world.web.request(route.method, base + address(route.template), json=body)
    assert answer.status_code < 500, (route, body, answer.text)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.unknown_requests
def test_nearly_right_requests_are_answered(world: World, data: st.DataObject) -> None:
    """Real ids, known fields, wrong places: what a broken client sends."""
    if not world.emulator.state.collection("Projects"):
        furnished(world)
    route = data.draw(st.sampled_from([route for route in ROUTES if route.method in ("POST", "PUT")]))
    head = route.template.split("/")[0]
    parts = []
    for part in route.template.split("/"):
        known = [REAL.get(part[1:-1]), IDS.get(head)]
        given = data.draw(st.sampled_from([item for item in known if item] * 4 + IN_PATHS))
        parts.append(quote(given or "x", safe="") if part.startswith("{") else part)
    body = data.draw(BODY)
    base = "/api/" if route.scope == "system" else "/api/Spaces-1/"
    answer = world.web.request(route.method, base + "/".join(parts), content=json.dumps(body))
    assert answer.status_code < 500, (route, body, answer.text)


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method == "GET" and route not in NOT_IMITATED],
    ids=lambda route: route.template or "root",
)
def test_every_route_can_be_read(world: World, route: Any) -> None:
    furnished(world)
    base = "/api/" if route.scope == "system" else "/api/Spaces-1/"
    for query in ("", "?take=0&skip=3", "?ids=a&partialName=x&name=y"):
        answer = world.web.get(base + address(route.template) + query)
        assert answer.status_code in (200, 404, 400), (route, answer.text)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="broken"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b"null", id="null"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"Name": NaN', id="no number"),
        pytest.param(b'{"Name": "\\uD800"}', id="half a character"),
    ],
)
def test_a_body_that_is_no_object_is_a_400(world: World, content: bytes) -> None:
    answer = world.api.post("environments", content=content)
    assert 400 == answer.status_code
    assert answer.json()["ErrorMessage"]


def test_a_byte_order_mark_is_no_harm(world: World) -> None:
    answer = world.api.post("environments", content=b"\xef\xbb\xbf" + json.dumps({"Name": "Test"}).encode())
    assert 201 == answer.status_code


def test_a_body_beyond_the_limit_is_refused(world: World) -> None:
    answer = world.api.post("environments", content=b"x" * (LARGEST_BODY + 1))
    assert 413 == answer.status_code


@pytest.mark.parametrize(
    "request_text",
    [
        pytest.param(b"GET /api HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", id="negative length"),
        pytest.param(
            b"POST /api/environments HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
            id="length that is no number",
        ),
        pytest.param(b"\x00\x01\x02\r\n\r\n", id="no HTTP at all"),
        pytest.param(b"GET  /api\r\n\r\n", id="no version"),
        pytest.param(b"GET /api HTTP/1.1\r\n" + b"a" * 100_000 + b"\r\n\r\n", id="endless header"),
        pytest.param(b"GET /%ff%fe/../api HTTP/1.1\r\nHost: x\r\n\r\n", id="path that is no text"),
    ],
)
@pytest.mark.unknown_requests
def test_the_server_survives_what_is_not_http(world: World, request_text: bytes) -> None:
    host, port = world.emulator.url.removeprefix("http://").split(":")
    # The server may hang up before it has read everything.
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(request_text)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert 200 == httpx.get(f"{world.emulator.url}/api").status_code


@pytest.mark.unknown_requests
@pytest.mark.parametrize("route", NOT_IMITATED, ids=lambda route: route.template)
def test_a_known_word_in_the_place_of_an_id_is_an_unknown_request(world: World, route: Any) -> None:
    """`environments/summary` is another request, not an environment that is missing."""
    answer = world.web.get(f"/api/{route.template}")
    assert 404 == answer.status_code and "does not know this request" in answer.text
    assert [f"GET /api/{route.template}"] == world.emulator.refused


def test_it_listens_on_loopback_only(world: World) -> None:
    """A server on all interfaces would answer at every address of the loopback network, too."""
    assert world.emulator.url.startswith("http://127.0.0.1:")
    port = int(world.emulator.url.rsplit(":", 1)[1])
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_many_clients_at_once_lose_nothing(world: World) -> None:
    """Writers side by side: every number is given once, and no compare-and-swap succeeds twice."""
    import threading

    library = world.post("libraryvariablesets", {"Name": "Locks"})
    path = f"variables/{library['VariableSetId']}"
    before = world.get(path)
    won: list[int] = []
    made: list[str] = []

    def work(number: int) -> None:
        client = world.client()
        value = [{"Name": "Owner", "Value": str(number), "Type": "String"}]
        if client.put(path, json={**before, "Variables": value}).status_code == 200:
            won.append(number)
        made.append(client.post("tenants", json={"Name": f"T{number}"}).json()["Id"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 == len(won)
    assert 16 == len(set(made))
    assert [str(won[0])] == [item["Value"] for item in world.get(path)["Variables"]]
