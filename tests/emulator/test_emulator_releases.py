"""Projects, channels, releases, and where the lifecycle lets a release go."""

from __future__ import annotations

import pytest
from world import Json, World, good, lasting, step, variable

from generator.emulator import versions


def test_a_project_has_a_default_channel_an_empty_process_and_no_variables(world: World) -> None:
    project = world.project("Web Shop")
    assert "web-shop" == project["Slug"]
    [channel] = world.get(f"projects/{project['Id']}/channels")["Items"]
    assert ("Default", True) == (channel["Name"], channel["IsDefault"])
    assert [] == world.get(f"projects/{project['Id']}/deploymentprocesses")["Steps"]
    assert [] == world.get(f"variables/{project['VariableSetId']}")["Variables"]


def test_a_project_is_found_by_id_and_by_slug(world: World) -> None:
    project = world.project("Web Shop")
    assert project == world.get("projects/web-shop") == world.get(f"projects/{project['Id']}")
    answer = world.api.get("projects/Web Shop")
    assert 404 == answer.status_code, "not by name"
    assert answer.json()["ErrorMessage"].startswith(
        "Resource is not found or it doesn't exist in the current space"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"Name": "web"}, "already in use", id="name taken"),
        pytest.param(
            {"LifecycleId": "Lifecycles-9"},
            "LifecycleId 'Lifecycles-9' does not exist",
            id="unknown lifecycle",
        ),
        pytest.param({"ProjectGroupId": None}, "The ProjectGroupId field is required.", id="no group"),
        pytest.param({"TenantedDeploymentMode": "Sometimes"}, "must be one of", id="unknown mode"),
    ],
)
def test_refused_projects(world: World, fields: Json, expected: str) -> None:
    project = world.project("Web")
    body = {"Name": "New", "LifecycleId": project["LifecycleId"], "ProjectGroupId": project["ProjectGroupId"]}
    answer = world.api.post("projects", json={**body, **fields})
    assert 400 == answer.status_code
    assert expected in answer.json()["ErrorMessage"] + " ".join(answer.json()["Errors"])


def test_channels(world: World) -> None:
    project = world.project()
    [default] = world.get(f"projects/{project['Id']}/channels")["Items"]
    assert 400 == world.api.delete(f"channels/{default['Id']}").status_code, "the only channel"
    beta = world.post("channels", {"ProjectId": project["Id"], "Name": "Beta"})
    answer = world.api.delete(f"channels/{default['Id']}")
    assert "You cannot delete the default channel." == answer.json()["Errors"][0]
    world.put(f"channels/{beta['Id']}", {**beta, "IsDefault": True})
    assert not world.get(f"channels/{default['Id']}")["IsDefault"]
    assert 200 == world.api.delete(f"channels/{default['Id']}").status_code


# --- releases ------------------------------------------------------------------------------------------------------


def test_a_release_freezes_process_and_variables(world: World) -> None:
    project = world.project("Web", step("One"))
    world.set_variables(project, variable("A", "1"))
    release = world.release(project)
    world.set_steps(project, step("Two"))
    world.set_variables(project, variable("A", "2"))
    frozen = world.get(f"deploymentprocesses/{release['ProjectDeploymentProcessSnapshotId']}")
    assert ["One"] == [item["Name"] for item in frozen["Steps"]]
    assert "1" == world.get(f"variables/{release['ProjectVariableSetSnapshotId']}")["Variables"][0]["Value"]
    template = world.get(f"releases/{release['Id']}/deployments/template")
    assert (True, True) == (template["IsDeploymentProcessModified"], template["IsVariableSetModified"])
    world.post(f"releases/{release['Id']}/snapshot-variables")
    refreshed = world.get(f"releases/{release['Id']}")
    assert "2" == world.get(f"variables/{refreshed['ProjectVariableSetSnapshotId']}")["Variables"][0]["Value"]


def test_two_releases_of_one_state_share_their_snapshots(world: World) -> None:
    project = world.project("Web", step("One"))
    one, two = world.release(project, "1.0.0"), world.release(project, "1.0.1")
    assert one["ProjectDeploymentProcessSnapshotId"] == two["ProjectDeploymentProcessSnapshotId"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"Version": "1.0.0"}, "Release '1.0.0' already exists for this project.", id="number taken"
        ),
        pytest.param(
            {"Version": "not a version!"}, "does not appear to be a valid semantic version", id="no version"
        ),
        pytest.param({"Version": ""}, "The Version field is required.", id="empty"),
        pytest.param({"ProjectId": None}, "No project ID was specified.", id="no project"),
        pytest.param({"ProjectId": "Projects-9"}, "does not exist", id="unknown project"),
        pytest.param({"ChannelId": "Channels-9"}, "does not exist", id="unknown channel"),
        pytest.param({"Version": "1." * 175}, "valid semantic version", id="longer than 349 characters"),
    ],
)
def test_refused_releases(world: World, fields: Json, expected: str) -> None:
    project = world.project()
    world.release(project, "1.0.0")
    answer = world.api.post("releases", json={"ProjectId": project["Id"], "Version": "2.0.0", **fields})
    assert 400 == answer.status_code
    assert expected in answer.json()["Errors"][0]
    assert 1 == world.get("releases")["TotalResults"]


def test_a_disabled_project_makes_no_releases(world: World) -> None:
    project = world.project(IsDisabled=True)
    answer = world.api.post("releases", json={"ProjectId": project["Id"], "Version": "1.0.0"})
    assert "The project is disabled, so releases cannot be created" == answer.json()["Errors"][0]


def test_every_package_needs_a_version(world: World) -> None:
    project = world.project(
        "Web", step("One", action={"Packages": [{"Name": "", "PackageId": "web", "FeedId": "feeds-builtin"}]})
    )
    body = {"ProjectId": project["Id"], "Version": "1.0.0"}
    assert 400 == world.api.post("releases", json=body).status_code
    chosen = [{"ActionName": "One", "PackageReferenceName": "", "Version": "7.1"}]
    assert chosen == world.post("releases", {**body, "SelectedPackages": chosen})["SelectedPackages"]


def test_a_release_is_found_by_its_number(world: World) -> None:
    project = world.project()
    release = world.release(project, "1.0.0")
    assert release == world.get(f"projects/{project['Id']}/releases/1.0.0")
    assert 404 == world.api.get(f"projects/{project['Id']}/releases/9.9.9").status_code
    world.release(project, "2.0.0")
    found = world.get(f"projects/{project['Id']}/releases", searchByVersion="1.0")["Items"]
    assert ["1.0.0"] == [item["Version"] for item in found]


def test_the_create_command_takes_names_and_counts_on(world: World) -> None:
    world.project("Web")
    command = {"SpaceId": "Spaces-1", "SpaceIdOrName": "Default", "ProjectName": "Web"}
    first = good(world.api.post("releases/create/v1", json=command))
    assert "0.0.1" == first["ReleaseVersion"]
    lower = {
        "spaceId": "Spaces-1",
        "spaceIdOrName": "Default",
        "projectName": "web",
        "releaseVersion": "1.4.0",
    }
    assert 201 == world.api.post("releases/create/v1", json=lower).status_code
    assert "1.4.1" == good(world.api.post("releases/create/v1", json=command))["ReleaseVersion"]
    again = good(world.api.post("releases/create/v1", json={**lower, "ignoreIfAlreadyExists": True}))
    assert "1.4.0" == again["ReleaseVersion"]
    assert 400 == world.api.post("releases/create/v1", json=lower).status_code
    assert 400 == world.api.post("releases/create/v1", json={**command, "ProjectName": "Nobody"}).status_code


LAST = "#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}"


@pytest.mark.parametrize(
    ("template", "last", "expected"),
    [
        pytest.param(LAST + ".#{Octopus.Version.NextPatch}", "1.2.3", "1.2.4", id="default"),
        pytest.param("#{Octopus.Version.LastMajor}.#{Octopus.Version.NextMinor}.0", "1.2.3", "1.3.0", id="next minor"),
        pytest.param("1.i.0", "1.2.3", "1.3.0", id="i counts on"),
        pytest.param("2026.i", None, "2026.1", id="the first one"),
    ],
)  # fmt: skip
def test_next_version(template: str, last: str | None, expected: str) -> None:
    assert expected == versions.next_version(template, last)


def test_versions_sort_as_semver_does() -> None:
    ordered = [
        "1.0.0-alpha",
        "1.0.0-alpha.2",
        "1.0.0-alpha.10",
        "1.0.0-beta",
        "1.0.0",
        "1.2.0",
        "1.10.0",
        "2026.11.1",
    ]
    assert ordered == sorted(sorted(ordered), key=versions.order)


# --- lifecycles ----------------------------------------------------------------------------------------------------


def phase(name: str, *environments: Json, **fields: object) -> Json:
    return {"Name": name, "OptionalDeploymentTargets": [item["Id"] for item in environments], **fields}


def allowed(world: World, release: Json) -> list[str]:
    return [item["Name"] for item in world.get(f"releases/{release['Id']}/deployments/template")["PromoteTo"]]


def test_without_phases_a_release_goes_from_one_environment_to_the_next(world: World) -> None:
    dev, test = world.environment("Dev"), world.environment("Test")
    release = world.release(world.project("Web", step("One")))
    assert ["Dev"] == allowed(world, release)
    answer = world.api.post("deployments", json={"ReleaseId": release["Id"], "EnvironmentId": test["Id"]})
    assert 400 == answer.status_code
    assert 0 == world.get("deployments")["TotalResults"]
    assert "Success" == world.ended(world.deploy(release, dev))["State"]
    assert ["Dev", "Test"] == allowed(world, release)
    assert "Success" == world.ended(world.deploy(release, test))["State"]


def test_a_failed_deployment_opens_nothing(world: World) -> None:
    dev = world.environment("Dev")
    world.environment("Test")
    release = world.release(world.project("Web", lasting(0, outcome="failure")))
    assert "Failed" == world.ended(world.deploy(release, dev))["State"]
    assert ["Dev"] == allowed(world, release)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, ["Dev", "Dev 2"], id="a minimum of 0 means all of the phase"),
        pytest.param({"MinimumEnvironmentsBeforePromotion": 1}, ["Dev", "Dev 2", "Prod"], id="one is enough"),
        pytest.param(
            {"IsOptionalPhase": True}, ["Dev", "Dev 2", "Prod"], id="an optional phase can be skipped"
        ),
    ],
)
def test_phases(world: World, fields: Json, expected: list[str]) -> None:
    dev, second, prod = (world.environment(name) for name in ("Dev", "Dev 2", "Prod"))
    lifecycle = world.lifecycle(phase("First", dev, second, **fields), phase("Rest"))
    project = world.project("Web", step("One"))
    world.put(f"projects/{project['Id']}", {**project, "LifecycleId": lifecycle["Id"]})
    release = world.release(project)
    world.ended(world.deploy(release, dev))
    assert expected == allowed(world, release)
    preview = world.get(f"lifecycles/{lifecycle['Id']}/preview")["Phases"]
    assert [prod["Id"]] == preview[1]["OptionalDeploymentTargets"], (
        "a phase without environments covers the others"
    )


def test_a_channel_may_have_a_lifecycle_of_its_own(world: World) -> None:
    world.environment("Dev")
    prod = world.environment("Prod")
    lifecycle = world.lifecycle(phase("Only", prod))
    project = world.project("Web", step("One"))
    channel = world.post(
        "channels", {"ProjectId": project["Id"], "Name": "Hotfix", "LifecycleId": lifecycle["Id"]}
    )
    assert ["Prod"] == allowed(world, world.release(project, ChannelId=channel["Id"]))


def test_a_blocked_release_stays_where_it_has_been(world: World) -> None:
    dev = world.environment("Dev")
    world.environment("Test")
    release = world.release(world.project("Web", step("One")))
    world.ended(world.deploy(release, dev))
    world.post(f"releases/{release['Id']}/defects", {"Description": "bad"})
    progression = world.get(f"releases/{release['Id']}/progression")
    assert (True, ["Complete", "Current"]) == (
        progression["HasUnresolvedDefect"],
        [item["Progress"] for item in progression["Phases"]],
    )
    world.post(f"releases/{release['Id']}/defects/resolve")
    assert ["Dev", "Test"] == allowed(world, release)


def test_the_progression_of_a_project(world: World) -> None:
    dev = world.environment("Dev")
    project = world.project("Web", step("One"))
    release = world.release(project)
    world.ended(world.deploy(release, dev))
    [row] = world.get(f"projects/{project['Id']}/progression")["Releases"]
    [item] = row["Deployments"][dev["Id"]]
    assert ("1.0.0", "Success") == (item["ReleaseVersion"], item["State"])


def test_the_release_template_names_the_next_number(world: World) -> None:
    project = world.project()
    world.release(project, "1.4.0")
    template = world.get(f"projects/{project['Id']}/deploymentprocesses/template")
    assert template == world.get(f"deploymentprocesses/{project['DeploymentProcessId']}/template")
    assert ("1.4.0", "1.4.1") == (template["LastReleaseVersion"], template["NextVersionIncrement"])


def test_the_preview_asks_for_prompted_variables(world: World) -> None:
    dev = world.environment("Dev")
    project = world.project("Web", step("One"), step("Two", action={"IsRequired": True}))
    world.set_variables(project, variable("Reason", "", Prompt={"Label": "Why", "Required": True}))
    release = world.release(project)
    path = f"releases/{release['Id']}/deployments"
    preview = world.get(f"{path}/preview/{dev['Id']}")
    assert [("One", "1", True), ("Two", "2", False)] == [
        (item["ActionName"], item["ActionNumber"], item["CanBeSkipped"]) for item in preview["StepsToExecute"]
    ]
    [element] = preview["Form"]["Elements"]
    assert ("Reason", True) == (element["Control"]["Name"], element["IsValueRequired"])
    assert [preview] == world.post(f"{path}/previews", {"DeploymentPreviews": [{"EnvironmentId": dev["Id"]}]})
