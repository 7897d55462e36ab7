"""Packages, what feeds list, build information, script modules, and the exchange of tokens."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from world import World, good, python, step, variable

from generator.emulator.resources.packages import parse_filename
from generator.emulator.resources.tokens import EXCHANGE, JWT

Json = dict[str, Any]


def push(world: World, filename: str, content: bytes = b"zip", **query: str) -> httpx.Response:
    return world.api.post("packages/raw", params=query, files={"file": (filename, content)})


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("Acme.Web.1.0.0.zip", ("Acme.Web", "1.0.0", ".zip")),
        ("Acme.Web.1.0.0-beta.1.nupkg", ("Acme.Web", "1.0.0-beta.1", ".nupkg")),
        ("acme-web.2026.4.17+build.5.tar.gz", ("acme-web", "2026.4.17+build.5", ".tar.gz")),
        ("Acme.4.Web.1.0.zip", ("Acme.4.Web", "1.0", ".zip")),
        ("sqljdbc.1.2.3.4.JAR", ("sqljdbc", "1.2.3.4", ".jar")),
    ],
)
def test_a_file_name_tells_id_and_version(filename: str, expected: tuple[str, str, str]) -> None:
    assert expected == parse_filename(filename)


@pytest.mark.parametrize(
    ("filename", "content", "text"),
    [
        ("Acme.zip", b"zip", "is not of the form"),
        ("Acme.1.0.0.exe", b"zip", "is not of the form"),
        ("Acme.1.0.0.zip", b"", "length equal to 0"),
        ("A" * 101 + ".1.0.0.zip", b"zip", "Package Name is too long."),
    ],
)
def test_what_is_no_package_is_refused(world: World, filename: str, content: bytes, text: str) -> None:
    answer = push(world, filename, content)
    assert 400 == answer.status_code
    assert text in answer.json()["Errors"][0]


@pytest.mark.parametrize(
    ("query", "status", "content"),
    [
        ({}, 409, b"old"),
        ({"overwriteMode": "FailIfExists"}, 409, b"old"),
        ({"overwriteMode": "IgnoreIfExists"}, 200, b"old"),
        ({"overwriteMode": "OverwriteExisting"}, 201, b"new"),
        ({"replace": "true"}, 201, b"new"),
        ({"replace": "false"}, 409, b"old"),
    ],
)
def test_a_second_push_obeys_its_mode(world: World, query: Json, status: int, content: bytes) -> None:
    assert 201 == push(world, "Acme.1.0.0.zip", b"old").status_code
    assert status == push(world, "acme.1.0.0.zip", b"new", **query).status_code
    assert content == world.api.get("packages/Acme.1.0.0/raw").content


def test_feeds_list_versions_the_highest_first(world: World) -> None:
    for version in ("1.9.0", "1.10.0", "1.10.0-rc.1"):
        push(world, f"Acme.{version}.zip")
    push(world, "Other.1.0.zip")

    def versions(**query: str) -> list[str]:
        page = world.get("feeds/feeds-builtin/packages/versions", packageId="Acme", **query)
        return [item["Version"] for item in page["Items"]]

    assert ["1.10.0", "1.10.0-rc.1", "1.9.0"] == versions()
    assert ["1.10.0", "1.9.0"] == versions(includePreRelease="false")
    assert ["1.10.0"] == versions(take="1")
    found = world.get("feeds/feeds-builtin/packages/search", term="acm")["Items"]
    assert [("Acme", "1.10.0")] == [(item["Name"], item["LatestVersion"]) for item in found]
    good(world.api.delete("packages/packages-Acme.1.10.0"))
    assert ["1.10.0-rc.1", "1.9.0"] == versions()


def test_releases_know_the_builds_of_their_packages(world: World) -> None:
    world.post(
        "build-information",
        {
            "PackageId": "Acme",
            "Version": "1.0.0",
            "OctopusBuildInformation": {"Branch": "main", "Commits": [{"Id": "1"}]},
        },
    )
    package = {"Name": "", "PackageId": "Acme", "FeedId": "feeds-builtin"}
    project = world.project("Web", step("Deploy", action={"Packages": [package]}))
    chosen = [{"ActionName": "Deploy", "Version": "1.0.0"}]
    [build] = world.release(project, SelectedPackages=chosen)["BuildInformation"]
    assert ("Acme", "main") == (build["PackageId"], build["Branch"])


def test_a_script_imports_the_modules_of_its_project(world: World) -> None:
    """docs, Script modules: a library set of that kind, included by the project."""
    module = world.post("libraryvariablesets", {"Name": "Words v2", "ContentType": "ScriptModule"})
    world.set_variables(
        module,
        variable("Octopus.Script.Module[Words v2]", "def hello():\n    return 'hello from a module'\n"),
        variable("Octopus.Script.Module.Language[Words v2]", "Python"),
    )
    body = "import Wordsv2\nprint(Wordsv2.hello())\n"
    project = world.project("Web", python(body), IncludedLibraryVariableSetIds=[module["Id"]])
    task = world.ended(world.deploy(world.release(project), world.environment()))
    assert ["hello from a module"] == world.printed(task), world.log(task)


# --- tokens --------------------------------------------------------------------------------------------------------


def ask(world: World, **changed: str) -> httpx.Response:
    body = {"grant_type": EXCHANGE, "audience": "robot", "subject_token": "a.b.c", "subject_token_type": JWT}
    return world.client(key="", base="").post("/token/v1", json={**body, **changed})


def test_a_token_is_exchanged_for_one_that_works_for_an_hour(world: World) -> None:
    world.emulator.add_key(user="robot")
    known = good(world.client(key="", base="").get("/.well-known/openid-configuration"))
    assert f"{world.emulator.url}/token/v1" == known["token_endpoint"]
    answer = good(ask(world))
    assert ("Bearer", 3600) == (answer["token_type"], answer["expires_in"])
    token = answer["access_token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    state = world.emulator.state
    assert 3500 < claims["exp"] - state.clock.now() <= 3600
    bearer = world.client(key="", Authorization=f"Bearer {token}", base="")
    assert "robot" == good(bearer.get("/api/users/me"))["Username"]
    state.keys[token] = replace(state.keys[token], expires=state.clock.now())  # as if the hour had gone
    assert 401 == bearer.get("/api/users/me").status_code


@pytest.mark.parametrize(
    "changed",
    [{"audience": "admin"}, {"audience": ""}, {"subject_token": "abc"}, {"grant_type": "password"}],
    ids=["no service account", "none", "no JWT", "another grant"],
)
def test_what_cannot_be_exchanged_is_refused_as_oauth_does(world: World, changed: Json) -> None:
    world.emulator.add_key(user="robot")
    answer = ask(world, **changed)
    assert 400 == answer.status_code and set(answer.json()) == {"error", "error_description"}
