"""Plain collections, as a table: what a document of each holds, how its names and order work, who may touch it.

`resources/plain.py` serves them all alike; collections with behaviour of their own have a module in `resources/`.
Source of the fields: OctopusClients, Model/*.cs; Swagger of Octopus Server 2020.5; go-octopusdeploy,
pkg/lifecycles/lifecycle_test.go (recorded).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from generator.emulator.documents import Document
from generator.emulator.requests import by_name


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`collection` begins its ids; `defaults` names every field that a request may set, with its value when absent.

    `permission` begins the names of its permissions; where one covers creating and deleting too, `grants` is "Edit".
    """

    name: str
    collection: str
    path: str
    permission: str
    defaults: Mapping[str, Any]
    has_slug: bool = False
    order: Callable[[Document], Any] = field(default=by_name)
    edit_only: bool = False

    def fields(self, body: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Document:
        """The document's own fields: from the request, else as before, else the default. Unknown names are dropped."""
        result: Document = {}
        for name, default in self.defaults.items():
            if name in body and (body[name] is not None or default is None):
                result[name] = copy.deepcopy(body[name])
            elif before is not None and name in before and name not in body:
                result[name] = before[name]
            else:
                result[name] = copy.deepcopy(default)
        return result

    def permission_to(self, verb: str) -> str:
        return f"{self.permission}Edit" if self.edit_only and verb != "View" else f"{self.permission}{verb}"


RETENTION_KEEP = {"Unit": "Days", "QuantityToKeep": 30, "ShouldKeepForever": False, "Strategy": "Count"}
RETENTION_FOREVER = {"Unit": "Days", "QuantityToKeep": 0, "ShouldKeepForever": True, "Strategy": "Forever"}

ENVIRONMENTS = Kind(
    name="Environment", collection="Environments", path="environments", permission="Environment", has_slug=True,
    order=lambda item: (item["SortOrder"], by_name(item)),
    defaults={
        "Name": None, "Description": "", "SortOrder": None, "UseGuidedFailure": False,
        "AllowDynamicInfrastructure": False, "EnvironmentTags": [], "ExtensionSettings": [],
    },
)  # fmt: skip
PROJECT_GROUPS = Kind(
    name="ProjectGroup", collection="ProjectGroups", path="projectgroups", permission="ProjectGroup", has_slug=True,
    defaults={"Name": None, "Description": "", "EnvironmentIds": [], "RetentionPolicyId": None},
)  # fmt: skip
LIFECYCLES = Kind(
    name="Lifecycle", collection="Lifecycles", path="lifecycles", permission="Lifecycle", has_slug=True,
    defaults={
        "Name": None, "Description": "", "ReleaseRetentionPolicy": RETENTION_KEEP,
        "TentacleRetentionPolicy": RETENTION_FOREVER, "Phases": [],
    },
)  # fmt: skip
TENANTS = Kind(
    name="Tenant", collection="Tenants", path="tenants", permission="Tenant", has_slug=True,
    defaults={
        "Name": None, "Description": "", "IsDisabled": False, "TenantTags": [], "ProjectEnvironments": {},
        "ClonedFromTenantId": None,
    },
)  # fmt: skip
TAG_SETS = Kind(
    name="TagSet", collection="TagSets", path="tagsets", permission="TagSet", edit_only=False,
    order=lambda item: (item["SortOrder"], by_name(item)),
    defaults={"Name": None, "Description": "", "SortOrder": 0, "Tags": []},
)  # fmt: skip
MACHINES = Kind(
    name="DeploymentTarget", collection="Machines", path="machines", permission="Machine", has_slug=True,
    defaults={
        "Name": None, "EnvironmentIds": [], "Roles": [], "TenantIds": [], "TenantTags": [],
        "TenantedDeploymentParticipation": "Untenanted", "IsDisabled": False, "HealthStatus": "Healthy",
        "Status": "Online", "StatusSummary": "The emulator asks no machine", "Thumbprint": None, "Uri": None,
        "Endpoint": {"CommunicationStyle": "None"}, "MachinePolicyId": None, "HasLatestCalamari": True, "IsInProcess": False,
    },
)  # fmt: skip
WORKER_POOLS = Kind(
    name="WorkerPool", collection="WorkerPools", path="workerpools", permission="Worker", has_slug=True,
    edit_only=True, order=lambda item: (item["SortOrder"], by_name(item)),
    defaults={
        "Name": None, "Description": "", "IsDefault": False, "SortOrder": 0, "WorkerPoolType": "StaticWorkerPool",
        "CanAddWorkers": True,
    },
)  # fmt: skip
WORKERS = Kind(
    name="Worker", collection="Workers", path="workers", permission="Worker", has_slug=True, edit_only=True,
    defaults={
        "Name": None, "WorkerPoolIds": [], "IsDisabled": False, "HealthStatus": "Healthy", "Status": "Online",
        "StatusSummary": "The emulator asks no machine", "Thumbprint": None, "Uri": None,
        "Endpoint": {"CommunicationStyle": "None"}, "MachinePolicyId": None, "HasLatestCalamari": True, "IsInProcess": False,
    },
)  # fmt: skip
FEEDS = Kind(
    name="Feed", collection="Feeds", path="feeds", permission="Feed", has_slug=True, edit_only=True,
    defaults={
        "Name": None, "FeedType": "NuGet", "FeedUri": None, "Username": None,
        "PackageAcquisitionLocationOptions": ["Server", "ExecutionTarget", "NotAcquired"],
    },
)  # fmt: skip

PLAIN = (
    ENVIRONMENTS, PROJECT_GROUPS, LIFECYCLES, TENANTS, TAG_SETS, MACHINES, WORKER_POOLS, WORKERS, FEEDS,
)  # fmt: skip

# Served by modules of their own.
PROJECTS = Kind(
    name="Project", collection="Projects", path="projects", permission="Project", has_slug=True,
    defaults={
        "Name": None, "Description": "", "IsDisabled": False, "ProjectGroupId": None, "LifecycleId": None,
        "IncludedLibraryVariableSetIds": [], "TenantedDeploymentMode": "Untenanted",
        "DefaultGuidedFailureMode": "EnvironmentDefault", "DiscreteChannelRelease": False, "AutoCreateRelease": False,
        "DefaultToSkipIfAlreadyInstalled": False,
        "VersioningStrategy": {
            "Template": "#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}",
            "DonorPackage": None,
        },
        "ReleaseCreationStrategy": {"ChannelId": None, "ReleaseCreationPackage": None}, "Templates": [],
        "AutoDeployReleaseOverrides": [],
        "ProjectConnectivityPolicy": {
            "SkipMachineBehavior": "None", "TargetRoles": [], "AllowDeploymentsToNoTargets": True,
            "ExcludeUnhealthyTargets": False,
        },
        "ReleaseNotesTemplate": None, "DeploymentChangesTemplate": None, "ForcePackageDownload": False,
        "ProjectTags": [], "ExtensionSettings": [],
    },
)  # fmt: skip
CHANNELS = Kind(
    name="Channel", collection="Channels", path="channels", permission="Process", has_slug=True, edit_only=True,
    defaults={
        "ProjectId": None, "Name": None, "Description": "", "IsDefault": False, "LifecycleId": None, "Rules": [],
        "GitReferenceRules": [], "GitResourceRules": [], "TenantTags": [], "Type": "Lifecycle",
    },
)  # fmt: skip
RUNBOOKS = Kind(
    name="Runbook", collection="Runbooks", path="runbooks", permission="Runbook", has_slug=True,
    defaults={
        "ProjectId": None, "Name": None, "Description": "", "PublishedRunbookSnapshotId": None,
        "MultiTenancyMode": "Untenanted", "EnvironmentScope": "All", "Environments": [],
        "DefaultGuidedFailureMode": "EnvironmentDefault",
        "ConnectivityPolicy": {
            "SkipMachineBehavior": "None", "TargetRoles": [], "AllowDeploymentsToNoTargets": True,
            "ExcludeUnhealthyTargets": False,
        },
        "RunRetentionPolicy": {"QuantityToKeep": 100, "ShouldKeepForever": False}, "ForcePackageDownload": False,
        "FailTargetDiscovery": False, "CancelQueuedTasks": True, "CancelRunningTasks": True, "RunbookTags": [],
    },
)  # fmt: skip
ACTION_TEMPLATES = Kind(
    name="ActionTemplate", collection="ActionTemplates", path="actiontemplates", permission="ActionTemplate",
    defaults={
        "Name": None, "Description": "", "ActionType": None, "Properties": {}, "Parameters": [], "Packages": [],
        "GitDependencies": [], "Inputs": None, "StepPackageVersion": None, "CommunityActionTemplateId": None,
    },
)  # fmt: skip
LIBRARY_SETS = Kind(
    name="LibraryVariableSet", collection="LibraryVariableSets", path="libraryvariablesets",
    permission="LibraryVariableSet",
    defaults={"Name": None, "Description": "", "ContentType": "Variables", "Templates": []},
)  # fmt: skip
