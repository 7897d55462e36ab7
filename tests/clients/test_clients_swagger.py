"""The client that Swagger generated from Octopus Server 2019.6.7 reads whatever of the emulator it knows.

Every GET operation of the package that the emulator has a route for is called, in the spelling without and with a space, and its
answer must become the package's own models: dates parse, enumerations hold known values, required fields are there. Beyond that,
each field that a model knows must be in the emulator's document, unless ABSENT says why not.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import octopus_deploy_swagger_client as swagger
import pytest

from generator.emulator.resources import community
from generator.emulator.routes import NOT_IMITATED, ROUTES
from generator.emulator.routing import Router
from tests.clients.contract import Operation, operations
from tests.scene import Scene, open_scene, own_step

ROUTER = Router(ROUTES)
Json = dict[str, Any]

# What is not called although the emulator has it: the part of the operation's path, and the reason.
LEFT_OUT = {
    "/feeds/{id}/packages/versions": "generated without the parameter packageId, which the server demands",
    "/variables/names": "generated without the parameter project, which the server demands",
    "/variables/preview": "generated without the parameter project, which the server demands",
    "/actiontemplates/{id}/versions/{version?}": "the generator leaves the optional placeholder in the address",
    "/actiontemplate/{spaceId?}": "the generator leaves the optional placeholder in the address",
    "/{baseSpaceId}/teams/{id}": "the emulator's only team belongs to no space",
}
FORGOTTEN = "generated without the parameter of its own path"

NO_DOCUMENT = "the generator gives every model an Id and Links; this is no document of its own"
# Fields that a model knows and the emulator's documents do not have, and why.
ABSENT: dict[str, dict[str, str]] = {
    "*": {
        "LastModifiedOn": "only action templates say who changed them, which is what clients read",
        "LastModifiedBy": "as LastModifiedOn",
    },
    "ActionTemplateUsageResource": {"Id": "not in the recorded answers of newer servers"},
    "DashboardResource": {
        "Id": NO_DOCUMENT,
        "PreviousItems": "newer servers mark items as IsPrevious instead (API reference, dashboard)",
    },
    "DefectResource": {"Id": NO_DOCUMENT, "Links": NO_DOCUMENT},
    "DeploymentActionResource": {"Links": NO_DOCUMENT},
    "DeploymentPreviewResource": {
        "Id": NO_DOCUMENT,
        "Links": NO_DOCUMENT,
        "ReleaseNotes": "newer servers have Changes instead (OctopusClients, DeploymentPreviewResource.cs)",
    },
    "DeploymentPromomotionTenant": {"Links": NO_DOCUMENT},
    "DeploymentTemplateResource": {"Id": NO_DOCUMENT},
    "EndpointResource": dict.fromkeys(
        ("Id", "Links", "Thumbprint", "Uri"), "an endpoint is kept as it was sent"
    ),
    "LibraryVariableSetUsageResource": {"Id": NO_DOCUMENT},
    "LifecycleProgressionResource": {"Id": NO_DOCUMENT},
    "OctopusServerNodeResource": {"Links": "one node, which nobody manages"},
    "PackageFromBuiltInFeedResource": {
        "PackageMetadata": "PackageVersionBuildInformation in the Swagger of 2020.5"
    },
    "PackageResource": {"PackageMetadata": "PackageVersionBuildInformation in the Swagger of 2020.5"},
    "PermissionDescription": {"CanApplyAtSystemLevel": "all of the emulator's permissions are a space's"},
    "PhaseResource": {
        "ReleaseRetentionPolicy": "phases of previews and progressions; retention is not imitated",
        "TentacleRetentionPolicy": "as ReleaseRetentionPolicy",
    },
    "ProgressionResource": {"Id": NO_DOCUMENT},
    "ReleaseProgressionResource": {
        "ReleaseRetentionPeriod": "retention is not imitated",
        "TentacleRetentionPeriod": "retention is not imitated",
    },
    "ReleaseResource": {"PackageMetadata": "BuildInformation in the Swagger of 2020.5"},
    "ReleaseTemplateResource": {"Id": NO_DOCUMENT},
    "ServerStatusHealthResource": {"Id": NO_DOCUMENT, "Links": NO_DOCUMENT},
    "TaskDetailsResource": {"Id": NO_DOCUMENT},
    "UserResource": {"Password": "never answered"},
}
# Models whose fields are names of their own: permissions, scopes, prompts as they were sent; lists, whose Id is null.
OPEN = re.compile(
    r"InlineResponse200|UserPermissionSetResourceSpacePermissions|VariableResourceScope|VariablePromptOptions"
)
LIST = re.compile(r"ResourceCollection\w+")


@dataclass(frozen=True)
class World:
    scene: Scene
    ids: dict[str, str]
    tenant: str

    def client(self) -> Any:
        configuration = swagger.Configuration()
        configuration.host = self.scene.emulator.url
        configuration.api_key["X-Octopus-ApiKey"] = self.scene.emulator.api_key
        return swagger.ApiClient(configuration)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with open_scene(speed=60) as scene:
        yield furnished(scene)


def furnished(scene: Scene) -> World:
    """At least one document of every kind, and a deployment that waits for a person."""
    client = scene.client
    tag_set = client.post("tagsets", {"Name": "Regions", "Tags": [{"Name": "EMEA"}]})
    template = client.post(
        "actiontemplates",
        {"Name": "Own", "ActionType": "Octopus.Script", "Parameters": [{"Name": "P", "DefaultValue": "x"}]},
    )
    script = {
        "Octopus.Action.Script.Syntax": "Python",
        "Octopus.Action.Script.ScriptBody": 'open("a.txt", "w").write("hi")\ncreateartifact("a.txt", "a.txt")\n',
        "Octopus.Action.Template.Id": template["Id"],
        "Octopus.Action.Template.Version": "0",
    }
    run = own_step("Run")
    run["Actions"][0]["Properties"] = script
    approve = own_step("Approve")
    approve["Actions"][0]["ActionType"] = "Octopus.Manual"
    project = scene.make_project("Web", steps=[run, approve], releases=["1.0.0"])
    scene.set_variables(
        project["VariableSetId"],
        [
            {
                "Name": "V",
                "Value": "1",
                "Type": "String",
                "Scope": {"Environment": [scene.environments["Test"]]},
            }
        ],
    )
    deployment = scene.deploy("Web", "1.0.0")
    [interruption] = scene.wait_until(lambda: list(client.pages("interruptions")), "it waits for a person")
    client.put(f"interruptions/{interruption['Id']}/responsible", {})
    release = deployment["ReleaseId"]
    client.post(f"releases/{release}/defects", {"Description": "a defect"})
    tenant = client.post(
        "tenants", {"Name": "Acme", "ProjectEnvironments": {project["Id"]: [scene.environments["Test"]]}}
    )
    machine = client.post(
        "machines", {"Name": "m", "Roles": ["web"], "EnvironmentIds": list(scene.environments.values())}
    )
    [pool] = client.pages("workerpools")
    worker = client.post("workers", {"Name": "w", "WorkerPoolIds": [pool["Id"]]})
    upload = httpx.post(
        f"{scene.emulator.url}/api/packages/raw",
        files={"file": ("Acme.1.0.0.zip", b"zip")},
        headers={"X-Octopus-ApiKey": scene.emulator.api_key},
    )
    known = community.publish(
        scene.emulator.state,
        {
            "Id": "5d9a4b1e-0b52-4d0f-9a51-f5a1a7a2b7c3",
            "Name": "Known",
            "ActionType": "Octopus.Script",
            "Version": 1,
            "Properties": {},
            "Parameters": [],
        },
    )
    installed = httpx.post(
        f"{scene.emulator.url}/api/communityactiontemplates/{known['Id']}/installation",
        headers={"X-Octopus-ApiKey": scene.emulator.api_key},
    )
    assert 201 == installed.status_code
    ids = {
        "actiontemplates": template["Id"],
        "communityactiontemplates": known["Id"],
        "artifacts": first(client, "artifacts"),
        "channels": first(client, "channels"),
        "deploymentprocesses": project["DeploymentProcessId"],
        "deployments": deployment["Id"],
        "environments": scene.environments["Test"],
        "events": first(client, "events"),
        "feeds": "feeds-builtin",
        "interruptions": interruption["Id"],
        "libraryvariablesets": scene.library_set_id,
        "lifecycles": scene.lifecycle_id,
        "machines": machine["Id"],
        "packages": upload.json()["Id"],
        "progression": project["Id"],
        "projectgroups": scene.group_id,
        "projects": project["Id"],
        "releases": release,
        "spaces": "Spaces-1",
        "tagsets": tag_set["Id"],
        "tasks": deployment["TaskId"],
        "teams": "teams-administrators",
        "tenants": tenant["Id"],
        "users": "Users-1",
        "variables": project["VariableSetId"],
        "workerpools": pool["Id"],
        "workers": worker["Id"],
    }
    return World(scene, ids, tenant["Id"])


def first(client: Any, path: str) -> str:
    return str(next(iter(client.pages(path)))["Id"])


def arguments(operation: Operation, world: World) -> dict[str, str]:
    """A value for each parameter of the generated function, by its name."""
    below = [part for part in operation.path.split("/") if part not in ("", "api", "{baseSpaceId}")]
    collection = below[0] if below else ""
    identifier = world.ids.get(collection, "")
    values = {
        "baseSpaceId": "Spaces-1",
        "version": "1.0.0" if collection == "projects" else "0",
        "environment": world.ids["environments"],
        "tenant": world.tenant,
    }
    return {function: values.get(place, identifier) for place, function in operation.arguments.items()}


def is_known(operation: Operation) -> bool:
    """Whether the emulator answers such an address."""
    path = re.sub(r"\{\w+\??\}", "Spaces-1", operation.path)
    found = ROUTER.find(operation.method, path)
    return found is not None and found.route is not None and found.route not in NOT_IMITATED


def why_left_out(operation: Operation) -> str | None:
    if set(operation.placeholders) - set(operation.arguments) - {"version?"}:
        return FORGOTTEN
    return next((reason for part, reason in LEFT_OUT.items() if operation.path.endswith(part)), None)


READABLE = [item for item in operations() if item.method == "GET" and is_known(item)]
CALLED = [item for item in READABLE if why_left_out(item) is None]


def test_most_of_what_it_can_read_is_read() -> None:
    """The tables above leave out a few operations, not the bulk: and none that is not there."""
    left_out = {str(item): why_left_out(item) for item in READABLE if why_left_out(item)}
    assert len(CALLED) > 200 and len(left_out) < len(CALLED) / 8, left_out
    for part in LEFT_OUT:
        assert any(item.path.endswith(part) for item in READABLE), f"{part} is left out in vain"


@pytest.mark.parametrize("operation", CALLED, ids=str)
def test_it_reads(operation: Operation, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    absent: dict[str, set[str]] = defaultdict(set)
    deserialise = swagger.ApiClient._ApiClient__deserialize_model

    def watched(self: Any, data: Any, model: Any) -> Any:
        if isinstance(data, dict) and model.swagger_types:
            absent[model.__name__].update(name for name in model.attribute_map.values() if name not in data)
        return deserialise(self, data, model)

    monkeypatch.setattr(swagger.ApiClient, "_ApiClient__deserialize_model", watched)
    function = getattr(operation.api(world.client()), operation.name)
    # Files are not read: on Python 3 the package tries to write bytes as text.
    raw = operation.answer in (None, "file")
    answer = function(**arguments(operation, world), **({"_preload_content": False} if raw else {}))
    assert answer is not None
    unexplained = {
        model: sorted(names - set(ABSENT["*"]) - set(ABSENT.get(model, {})))
        for model, names in absent.items()
        if not OPEN.fullmatch(model) and not (LIST.fullmatch(model) and names == {"Id", *ABSENT["*"]})
    }
    assert {} == {model: names for model, names in unexplained.items() if names}
    assert [] == world.scene.emulator.refused


# --- writing -------------------------------------------------------------------------------------------------------

# The functions' middle name, and the references that a new document needs.
WRITTEN = {
    "EnvironmentsApi": ("environments_deployment_environment_environment_resource", {}),
    "ProjectGroupsApi": ("projects_project_group_project_group_resource", {}),
    "LifecyclesApi": ("lifecycles_lifecycle_lifecycle_resource", {}),
    "TagSetsApi": ("tag_sets_tag_set_tag_set_resource", {}),
    "TenantsApi": ("tenants_tenant_tenant_resource", {}),
    "LibraryVariableSetsApi": ("variables_library_variable_set_library_variable_set_resource", {}),
    "WorkerPoolsApi": ("worker_pools_worker_pool_worker_pool_resource", {}),
    "ChannelsApi": ("projects_channel_channel_resource", {"project_id": "projects"}),
    "ProjectsApi": (
        "projects_project_project_resource",
        {"project_group_id": "projectgroups", "lifecycle_id": "lifecycles"},
    ),
}


@pytest.mark.parametrize("api", WRITTEN)
def test_it_creates_modifies_and_deletes(api: str, world: World) -> None:
    """201 with the document, 200 with the changed one, 200, and then 404."""
    name, references = WRITTEN[api]
    module = {item.api.__name__: item.api for item in operations()}[api]
    functions = module(world.client())
    create = getattr(functions, f"create_response_descriptor_{name}_with_http_info")
    modify = getattr(functions, f"modify_response_descriptor_{name}_with_http_info")
    delete = getattr(functions, f"delete_on_background_response_descriptor_{name}_with_http_info")
    [(parameter, model)] = body_of(api)
    fields = {field: world.ids[collection] for field, collection in references.items()}
    made, status, _ = create(**{parameter: model(name="From Swagger", **fields)})
    assert (201, "From Swagger") == (status, made.name)
    made.name = "Renamed"
    changed, status, _ = modify(made.id, **{parameter: made})
    assert (200, "Renamed", made.id) == (status, changed.name, changed.id)
    _, status, _ = delete(made.id)
    assert 200 == status
    with pytest.raises(swagger.rest.ApiException) as refused:
        delete(made.id)
    assert 404 == refused.value.status
    assert "ErrorMessage" in json.loads(refused.value.body)


def body_of(api: str) -> list[tuple[str, Any]]:
    """The parameter with the document, and its model: `environment_resource` and EnvironmentResource."""
    model = {"LibraryVariableSetsApi": "LibraryVariableSetResource"}.get(
        api, api.removesuffix("sApi") + "Resource"
    )
    parameter = re.sub(r"(?<!^)(?=[A-Z])", "_", model).lower()
    return [(parameter, getattr(swagger, model))]


def test_the_emulator_ends_well(world: World) -> None:
    """Last of the module: nothing was asked that the emulator does not know, and the waiting deployment can be cancelled."""
    task = world.ids["tasks"]
    world.scene.client.post(f"tasks/{task}/cancel", {})
    assert "Canceled" == world.scene.wait(task)["State"]
