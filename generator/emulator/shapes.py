"""What type each field of a request has. One name means one type in all requests, so one table is enough.

Source: Swagger of Octopus Server 2020.5; docs, API reference. The words of the refusal are ours (unconfirmed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from generator.emulator import refusals
from generator.emulator.documents import DICTIONARIES


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_lists_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(item is None or _is_texts(item) for item in value.values())


def _is_version(value: Any) -> bool:
    return _is_number(value) or _is_text(value)


# Clients send these back as they read them; the server writes them and does not read them.
ANSWERS = frozenset({"ScopeValues", "Links"})

_Check = Callable[[Any], bool]

SHAPES: dict[str, tuple[_Check, str]] = {}
for _check, _words, _names in (
    (
        _is_text,
        "a text",
        "Id Name Description Slug ActionType ProjectId ProjectGroupId LifecycleId ChannelId ReleaseId EnvironmentId TenantId "
        "SpaceId SpaceIdOrName ProjectName ReleaseVersion EnvironmentName ChannelName PackageVersion ReleaseNotes Comments "
        "State Reason Filename ServerTaskId Source LogCorrelationId TenantedDeploymentMode ContentType Type Condition "
        "StartTrigger PackageRequirement WorkerPoolId WorkerPoolVariable FeedType FeedUri Notes Result Instructions GitRef "
        "GitCommit BaseGitRef NewBranchName CommitMessage InitialCommitBranchName ChangeDescription Guidance Url "
        "DefaultBranch BasePath VersionRange Tag DeploymentAction PackageReference DefaultGuidedFailureMode "
        "Label HelpText ProcessId ProcessType RunAt NoRunAfter QueueTime QueueTimeExpiry Priority DebugMode ClonedFromTenantId "
        "RunbookId RunbookSnapshotId RunbookName Snapshot PublishedRunbookSnapshotId EnvironmentScope MultiTenancyMode Notes "
        "DeploymentFreezeOverrideReason Start End",
    ),
    (
        _is_flag,
        "true or false",
        "IsDisabled IsDefault IsRequired IsSensitive IsEditable IsPrivate TaskQueueStopped UseGuidedFailure IsOptionalPhase "
        "IsPriorityPhase IgnoreChannelRules IgnoreIfAlreadyExists UpdateVariableSnapshot ForcePackageDownload "
        "ForcePackageRedeployment Required CanBeUsedForProjectVersioning AllowDynamicInfrastructure CanAddWorkers "
        "CancelQueuedTasks CancelRunningTasks",
    ),
    (_is_number, "a whole number", "SortOrder MinimumEnvironmentsBeforePromotion"),
    (_is_version, "a version", "Version"),
    (
        _is_object,
        "an object",
        "Properties FormValues Prompt DisplaySettings Container Endpoint PersistenceSettings VersioningStrategy Overrides "
        "DefaultPropertyValues ReleaseRetentionPolicy TentacleRetentionPolicy ProjectConnectivityPolicy CustomFields "
        "ReleaseCreationStrategy ConnectivityPolicy RunRetentionPolicy CreateDeploymentCommand OctopusBuildInformation "
        "ProjectVariables LibraryVariables VersionControlReference VersionControlSettings Credentials DonorPackage",
    ),
    (
        _is_lists_by_name,
        "lists by name",
        "Scope ProjectEnvironments ActionIdsByProcessId ProjectEnvironmentScope",
    ),
    (
        _is_texts,
        "a list of texts",
        "Environments ExcludedEnvironments Channels TenantTags Tenants EnvironmentNames SkipActions SkipStepNames ActionIds "
        "SpecificMachineIds ExcludedMachineIds SpecificMachineNames ExcludedMachineNames IncludedLibraryVariableSetIds "
        "AutomaticDeploymentTargets OptionalDeploymentTargets Roles EnvironmentIds TenantIds WorkerPoolIds "
        "SpaceManagersTeams SpaceManagersTeamMembers EnvironmentTags FreezeIds DeploymentFreezeNames RunbookTags",
    ),
    (
        _is_objects,
        "a list of objects",
        "Steps Actions Parameters Phases DeploymentPreviews ActionsToUpdate SelectedPackages Rules GitDependencies Templates "
        "SelectedGitResources GitReferenceRules GitResourceRules TenantProjectEnvironmentScope ActionPackages",
    ),
    (_is_list, "a list", "Packages Tags"),
):
    SHAPES.update(dict.fromkeys(_names.split(), (_check, _words)))


def check(value: Any) -> None:
    """Errors: Refused for the first field of another type. null is always allowed."""
    if isinstance(value, list):
        for item in value:
            check(item)
    if not isinstance(value, dict):
        return
    for name, item in value.items():
        if item is None:
            continue
        shape = SHAPES.get(name)
        if shape is not None and not shape[0](item):
            raise refusals.WRONG_TYPE(field=name, wanted=shape[1])
        if name == "Variables" and not isinstance(item, (list, dict)):
            raise refusals.WRONG_TYPE(field=name, wanted="a list or an object")
        if name.lower() not in DICTIONARIES and name not in ANSWERS:
            check(item)


def objects(value: Any, field: str) -> list[dict[str, Any]]:
    """`value` as a list of objects, an empty one for null. Errors: Refused for anything else."""
    if value is None:
        return []
    if not _is_objects(value):
        raise refusals.WRONG_TYPE(field=field, wanted="a list of objects")
    return list(value)
