"""Version rules of channels, and the packages that a release is made of."""

from __future__ import annotations

from typing import Any

import pytest
from world import Json, World, good, step

from generator.emulator import channel_rules

COMMAND = {"SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web"}


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        pytest.param("1.5", "[1.0,2.0)", True, id="inside"),
        pytest.param("2.0", "[1.0,2.0)", False, id="the upper end, open"),
        pytest.param("2.0.0", "[1.0,2.0]", True, id="the upper end, closed"),
        pytest.param("1.0", "(1.0,2.0)", False, id="the lower end, open"),
        pytest.param("0.1", "(,1.0]", True, id="no lower end"),
        pytest.param("9.0", "[1.0,)", True, id="no upper end"),
        pytest.param("1.0.0", "[1.0]", True, id="exact"),
        pytest.param("1.0.1", "[1.0]", False, id="exact, another"),
        pytest.param("1.5", "1.0", True, id="a version is a minimum"),
        pytest.param("0.9", "1.0", False, id="below the minimum"),
        pytest.param("2.0.0-beta", "[2.0.0-alpha.1,2.0.0)", True, id="the documented example"),
        pytest.param("2.0.0", "[2.0.0-alpha.1,2.0.0)", False, id="the documented example, released"),
        pytest.param("3.5", "[1.0,2.0),[3.0,4.0)", True, id="Maven's several intervals"),
        pytest.param("2.5", "[1.0,2.0),[3.0,4.0)", False, id="between Maven's intervals"),
        pytest.param("7", "", True, id="no range"),
    ],
)
def test_version_ranges(version: str, text: str, expected: bool) -> None:
    assert expected == channel_rules.in_range(version, text)


@pytest.mark.parametrize("text", ["[1.0", "1.0,2.0", "[a,b]", "[1.0,2.0) x", "latest", "[1,2][3,4]"])
def test_what_is_no_range_admits_nothing(text: str) -> None:
    with pytest.raises(ValueError):
        channel_rules.in_range("1.0", text)
    assert not channel_rules.is_satisfied({"VersionRange": text}, "1.0")


@pytest.mark.parametrize(
    ("pattern", "admitted"),
    [
        pytest.param(r"^[^\+].*", {"beta", "mybeta+1"}, id="any pre-release"),
        pytest.param(r"^(|\+.*)$", {"", "+sha"}, id="no pre-release, with metadata"),
        pytest.param(r"^$", {""}, id="neither"),
        pytest.param(r"^beta", {"beta"}, id="begins with beta"),
        pytest.param(r"beta", {"beta", "mybeta+1"}, id="beta anywhere"),
        pytest.param(r"^(?!beta).+", {"mybeta+1", "+sha"}, id="does not begin with beta"),
    ],
)
def test_pre_release_tags(pattern: str, admitted: set[str]) -> None:
    """The table of docs, Channels."""
    spelled = {"": "1.0.0", "+sha": "1.0.0+sha", "beta": "1.0.0-beta", "mybeta+1": "1.0.0-mybeta+1"}
    found = {tag for tag, version in spelled.items() if channel_rules.has_tag(version, pattern)}
    assert admitted == found


def packaged(world: World) -> Json:
    reference = {"Name": "", "PackageId": "web", "FeedId": "feeds-builtin"}
    return world.project("Web", step("Push", action={"Packages": [reference]}))


def ruled(world: World, project: Json, name: str = "Stable", **rule: Any) -> Json:
    rules = [{**rule, "ActionPackages": [{"DeploymentAction": "Push", "PackageReference": ""}]}]
    return world.post("channels", {"ProjectId": project["Id"], "Name": name, "Rules": rules})


def chosen(version: str) -> list[Json]:
    return [{"ActionName": "Push", "PackageReferenceName": "", "Version": version}]


@pytest.mark.parametrize(
    ("version", "rule", "fields", "query", "status"),
    [
        pytest.param("1.2.0", {"VersionRange": "[1.0,2.0)"}, {}, "", 201, id="inside the range"),
        pytest.param("2.2.0", {"VersionRange": "[1.0,2.0)"}, {}, "", 400, id="outside the range"),
        pytest.param("1.2.0-beta", {"Tag": "^$"}, {}, "", 400, id="another tag"),
        pytest.param("1.2.0-beta", {"Tag": "^beta"}, {}, "", 201, id="its tag"),
        pytest.param(
            "2.2.0", {"VersionRange": "[1.0,2.0)"}, {}, "?ignoreChannelRules=true", 201, id="ignored by parameter"
        ),
        pytest.param(
            "2.2.0", {"VersionRange": "[1.0,2.0)"}, {"IgnoreChannelRules": True}, "", 201, id="ignored by field"
        ),
    ],
)  # fmt: skip
def test_a_channel_admits_versions_by_its_rules(
    world: World, version: str, rule: Json, fields: Json, query: str, status: int
) -> None:
    """docs, Channels; the text is of the Swagger of Octopus Server 2020.5."""
    project = packaged(world)
    channel = ruled(world, project, **rule)
    body = {
        "ProjectId": project["Id"],
        "Version": "1.0.0",
        "ChannelId": channel["Id"],
        "SelectedPackages": chosen(version),
    }
    answer = world.api.post(f"releases{query}", json={**body, **fields})
    assert status == answer.status_code, answer.text
    if status == 400:
        assert (
            "The requested package versions for the following steps violate the channel version rules: Push."
            in answer.json()["Errors"][0]
        )
        assert 0 == world.get("releases")["TotalResults"]


def test_a_channel_of_another_project_is_refused(world: World) -> None:
    project, other = world.project("A"), world.project("B")
    [channel] = world.get(f"projects/{other['Id']}/channels")["Items"]
    body = {"ProjectId": project["Id"], "Version": "1.0.0", "ChannelId": channel["Id"]}
    answer = world.api.post("releases", json=body)
    assert "It does not belong to the same project as the release." in answer.json()["Errors"][0]


def push(world: World, *versions: str) -> None:
    for version in versions:
        file = {"file": (f"web.{version}.zip", b"content")}
        assert 201 == world.api.post("packages/raw", files=file).status_code


def made(world: World, **fields: Any) -> Json:
    answer = good(world.api.post("releases/create/v1", json={**COMMAND, **fields}))
    return world.get(f"releases/{answer['ReleaseId']}")


@pytest.mark.parametrize(
    ("fields", "channel", "version"),
    [
        pytest.param({"ChannelName": "Stable"}, "Stable", "1.9.0", id="the newest that the channel admits"),
        pytest.param({"ChannelName": "Default"}, "Default", "2.1.0-rc.1", id="the newest of all"),
        pytest.param(
            {"ChannelName": "Stable", "PackageVersion": "1.1.0"}, "Stable", "1.1.0", id="one for all"
        ),
        pytest.param({"Packages": ["Push:1.1.0"]}, "Default", "1.1.0", id="by step"),
        pytest.param({"Packages": ["web:1.1.0"]}, "Default", "1.1.0", id="by package"),
        pytest.param({"Packages": ["Push:*:1.1.0"]}, "Default", "1.1.0", id="by step and package"),
        pytest.param({"PackagePrerelease": "rc.1"}, "Default", "2.1.0-rc.1", id="a pre-release"),
    ],
)
def test_the_command_chooses_packages_by_the_channels_rule(
    world: World, fields: Json, channel: str, version: str
) -> None:
    """docs, API reference, releases; Channels: the latest packages that match the version rules."""
    ruled(world, packaged(world), VersionRange="[1.0,2.0)", Tag="^$")
    push(world, "1.1.0", "1.9.0", "2.1.0-rc.1", "1.9.5-beta")
    release = made(world, **fields)
    assert version == release["SelectedPackages"][0]["Version"]
    assert channel == world.get(f"channels/{release['ChannelId']}")["Name"]


def test_the_command_takes_the_only_channel_whose_rules_hold(world: World) -> None:
    """docs, Channels: Octopus chooses the best possible channel."""
    project = packaged(world)
    beta = ruled(world, project, "Beta", Tag="^beta")
    [default] = [
        item for item in world.get(f"projects/{project['Id']}/channels")["Items"] if item["IsDefault"]
    ]
    rule = {"Tag": "^$", "ActionPackages": [{"DeploymentAction": "Push", "PackageReference": ""}]}
    world.put(f"channels/{default['Id']}", {**default, "Rules": [rule]})
    assert beta["Id"] == made(world, PackageVersion="1.0.0-beta1")["ChannelId"]
    assert default["Id"] == made(world, PackageVersion="1.0.0")["ChannelId"]
    answer = world.api.post("releases/create/v1", json={**COMMAND, "PackageVersion": "1.0.0-alpha"})
    assert (400, True) == (answer.status_code, "violate the channel version rules" in answer.text)


def test_missing_packages_are_those_of_the_built_in_feed_that_are_not_there(world: World) -> None:
    """go-octopusdeploy, pkg/releases, GetMissingPackages."""
    project = packaged(world)
    push(world, "1.0.0")
    there = world.release(project, "1.0.0", SelectedPackages=chosen("1.0.0"))
    gone = world.release(project, "1.1.0", SelectedPackages=chosen("1.1.0"))
    assert {"Packages": []} == world.get(f"releases/{there['Id']}/missingpackages")
    expected = {"Packages": [{"Id": "web", "Version": "1.1.0"}]}
    assert expected == world.get(f"releases/{gone['Id']}/missingpackages")


def test_a_package_can_give_releases_their_number(world: World) -> None:
    """docs, Release versioning: use the version number from an included package."""
    project = packaged(world)
    donor = {"DeploymentAction": "Push", "PackageReference": ""}
    strategy = {"Template": None, "DonorPackage": donor}
    world.put(f"projects/{project['Id']}", {**project, "VersioningStrategy": strategy})
    template = world.get(f"projects/{project['Id']}/deploymentprocesses/template")
    assert (None, "Push") == (template["NextVersionIncrement"], template["VersioningPackageStepName"])
    push(world, "4.2.0")
    assert "4.2.0" == made(world)["Version"]


def test_the_template_shows_the_versions_of_the_last_release(world: World) -> None:
    project = packaged(world)
    world.release(project, SelectedPackages=chosen("1.4.0"))
    [package] = world.get(f"projects/{project['Id']}/deploymentprocesses/template")["Packages"]
    assert "1.4.0" == package["VersionSelectedLastRelease"]
