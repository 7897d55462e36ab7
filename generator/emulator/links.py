"""The `Links` of every document. `$Name` is a field of the document, `$s` its space (`/api/Spaces-1`).

Source: the names are those that the official clients dereference (OctopusClients, Repositories/Async/*.cs;
go-octopusdeploy, pkg/constants/constants_api_replies.go and pkg/**/*_service.go; recorded documents in OctopusClients'
CannedResponses and cli's test fixtures). Under a virtual directory every link begins with it (source:
OctopusDeployLabs/terraform-provider-octopusdeploy, issue 723).
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

LINKS: dict[str, dict[str, str]] = {
    "Spaces": {
        "Self": "/api/spaces/$Id",
        "SpaceHome": "/api/$Id",
        "Web": "/app#/$Id",
        "Search": "/api/spaces/$Id/search{?keyword}",
        "Logo": "/api/spaces/$Id/logo",
    },
    "Users": {
        "Self": "/api/users/$Id",
        "Permissions": "/api/users/$Id/permissions",
        "PermissionsConfiguration": "/api/users/$Id/permissions/configuration",
        "Spaces": "/api/users/$Id/spaces",
        "Teams": "/api/users/$Id/teams",
        "ApiKeys": "/api/users/$Id/apikeys{/id}{?skip,take}",
    },
    "ActionTemplates": {
        "Self": "$s/actiontemplates/$Id",
        "Usage": "$s/actiontemplates/$Id/usage",
        "Versions": "$s/actiontemplates/$Id/versions/{version}",
        "ActionsUpdate": "$s/actiontemplates/$Id/actionsUpdate",
        "Logo": "$s/actiontemplates/$Id/logo?cb=$Version",
    },
    "CommunityActionTemplates": {
        "Self": "/api/communityactiontemplates/$Id",
        "Installation": "/api/communityactiontemplates/$Id/installation{/spaceId}",
        "InstalledTemplate": "/api/communityactiontemplates/$Id/actiontemplate{/spaceId}",
        "Logo": "/api/communityactiontemplates/$Id/logo",
    },
    "Projects": {
        "Self": "$s/projects/$Id",
        "Channels": "$s/projects/$Id/channels{/id}{?skip,take,partialName}",
        "Releases": "$s/projects/$Id/releases{/version}{?skip,take,searchByVersion}",
        "DeploymentProcess": "$s/projects/$Id/deploymentprocesses",
        "DeploymentSettings": "$s/projects/$Id/deploymentsettings",
        "Variables": "$s/variables/$VariableSetId",
        "SensitiveVariables": "$s/projects/$Id/variables/sensitive",
        "Progression": "$s/projects/$Id/progression{?aggregate}",
        "Triggers": "$s/projects/$Id/triggers{/id}{?skip,take,partialName}",
        "ScheduledTriggers": "$s/projects/$Id/triggers{/id}{?skip,take,partialName}",
        "Runbooks": "$s/projects/$Id/runbooks{/id}{?skip,take,partialName}",
        "RunbookSnapshots": "$s/projects/$Id/runbookSnapshots{/name}{?skip,take,searchByName}",
        "ConvertToVcs": "$s/projects/$Id/git/convert",
        "Logo": "$s/projects/$Id/logo",
        "Web": "/app#/$SpaceId/projects/$Id",
    },
    "ProjectGroups": {
        "Self": "$s/projectgroups/$Id",
        "Projects": "$s/projectgroups/$Id/projects{?skip,take}",
    },
    "Lifecycles": {
        "Self": "$s/lifecycles/$Id",
        "Preview": "$s/lifecycles/$Id/preview",
        "Projects": "$s/lifecycles/$Id/projects",
    },
    "Channels": {
        "Self": "$s/channels/$Id",
        "Project": "$s/projects/$ProjectId",
        "Releases": "$s/projects/$ProjectId/channels/$Id/releases{?skip,take}",
    },
    "Environments": {
        "Self": "$s/environments/$Id",
        "Machines": "$s/environments/$Id/machines{?skip,take,partialName,roles,isDisabled,healthStatuses,commStyles}",
    },
    "DeploymentProcesses": {
        "Self": "$s/deploymentprocesses/$Id",
        "Project": "$s/projects/$ProjectId",
        "Template": "$s/projects/$ProjectId/deploymentprocesses/template{?channel,releaseId}",
    },
    "Variables": {"Self": "$s/variables/$Id"},
    "LibraryVariableSets": {
        "Self": "$s/libraryvariablesets/$Id",
        "Variables": "$s/variables/$VariableSetId",
        "Usages": "$s/libraryvariablesets/$Id/usages",
    },
    "Releases": {
        "Self": "$s/releases/$Id{?force}",
        "Project": "$s/projects/$ProjectId",
        "Progression": "$s/releases/$Id/progression",
        "Deployments": "$s/releases/$Id/deployments{?skip,take}",
        "DeploymentTemplate": "$s/releases/$Id/deployments/template",
        "SnapshotVariables": "$s/releases/$Id/snapshot-variables",
        "MissingPackages": "$s/releases/$Id/missingpackages",
        "ProjectVariableSnapshot": "$s/variables/$ProjectVariableSetSnapshotId",
        "ProjectDeploymentProcessSnapshot": "$s/deploymentprocesses/$ProjectDeploymentProcessSnapshotId",
        "Artifacts": "$s/artifacts?regarding=$Id",
        "Defects": "$s/releases/$Id/defects",
        "ReportDefect": "$s/releases/$Id/defects",
        "ResolveDefect": "$s/releases/$Id/defects/resolve",
        "Web": "/app#/$SpaceId/releases/$Id",
    },
    "Deployments": {
        "Self": "$s/deployments/$Id",
        "Task": "/api/tasks/$TaskId",
        "Project": "$s/projects/$ProjectId",
        "Release": "$s/releases/$ReleaseId",
        "Environment": "$s/environments/$EnvironmentId",
        "Variables": "$s/variables/$ManifestVariableSetId",
        "DeploymentProcess": "$s/deploymentprocesses/$DeploymentProcessId",
        "Artifacts": "$s/artifacts?regarding=$Id",
        "Interruptions": "$s/interruptions?regarding=$Id",
        "Web": "/app#/$SpaceId/deployments/$Id",
    },
    "Runbooks": {
        "Self": "$s/runbooks/$Id",
        "Project": "$s/projects/$ProjectId",
        "RunbookProcesses": "$s/runbookProcesses/$RunbookProcessId",
        "RunbookSnapshots": "$s/runbooks/$Id/runbookSnapshots{?skip,take,partialName}",
        "RunbookSnapshotTemplate": "$s/runbooks/$Id/runbookSnapshotTemplate",
        "RunbookRunTemplate": "$s/runbooks/$Id/runbookRunTemplate",
        "RunbookEnvironments": "$s/runbooks/$Id/environments",
        "CreateRunbookRun": "$s/runbooks/$Id/run",
        "Progression": "$s/progression/runbooks/$Id",
        "Web": "/app#/$SpaceId/projects/$ProjectId/operations/runbooks/$Id",
    },
    "RunbookProcesses": {
        "Self": "$s/runbookProcesses/$Id",
        "Project": "$s/projects/$ProjectId",
        "Runbook": "$s/runbooks/$RunbookId",
        "RunbookSnapshotTemplate": "$s/runbookProcesses/$Id/runbookSnapshotTemplate",
    },
    "RunbookSnapshots": {
        "Self": "$s/runbookSnapshots/$Id",
        "Project": "$s/projects/$ProjectId",
        "Runbook": "$s/runbooks/$RunbookId",
        "RunbookRuns": "$s/runbookSnapshots/$Id/runbookRuns{?skip,take}",
        "RunbookRunTemplate": "$s/runbookSnapshots/$Id/runbookRuns/template",
        "SnapshotVariables": "$s/runbookSnapshots/$Id/snapshot-variables",
        "RunbookProcess": "$s/runbookProcesses/$FrozenRunbookProcessId",
        "ProjectVariableSnapshot": "$s/variables/$ProjectVariableSetSnapshotId",
        "Artifacts": "$s/artifacts?regarding=$Id",
        "Web": "/app#/$SpaceId/projects/$ProjectId/operations/runbooks/$RunbookId/snapshots/$Id",
    },
    "RunbookRuns": {
        "Self": "$s/runbookRuns/$Id",
        "Task": "/api/tasks/$TaskId",
        "Project": "$s/projects/$ProjectId",
        "Runbook": "$s/runbooks/$RunbookId",
        "RunbookSnapshot": "$s/runbookSnapshots/$RunbookSnapshotId",
        "Environment": "$s/environments/$EnvironmentId",
        "Variables": "$s/variables/$ManifestVariableSetId",
        "Artifacts": "$s/artifacts?regarding=$Id",
        "Interruptions": "$s/interruptions?regarding=$Id",
        "Web": "/app#/$SpaceId/projects/$ProjectId/operations/runbooks/$RunbookId/snapshots/$RunbookSnapshotId/runs/$Id",
    },
    "DeploymentFreezes": {"Self": "/api/deploymentfreezes/$Id"},
    "ServerTasks": {
        "Self": "/api/tasks/$Id",
        "Web": "/app#/$SpaceId/tasks/$Id",
        "Raw": "/api/tasks/$Id/raw",
        "Rerun": "/api/tasks/rerun/$Id",
        "Cancel": "/api/tasks/$Id/cancel",
        "State": "/api/tasks/$Id/state",
        "Prioritize": "/api/tasks/$Id/prioritize",
        "QueuedBehind": "/api/tasks/$Id/queued-behind{?skip,take}",
        "Details": "/api/tasks/$Id/details{?verbose,tail}",
        "StatusMessages": "/api/tasks/$Id/status/messages",
        "Artifacts": "$s/artifacts?regarding=$Id",
        "Interruptions": "$s/interruptions?regarding=$Id",
    },
    "Interruptions": {
        "Self": "$s/interruptions/$Id",
        "Submit": "$s/interruptions/$Id/submit",
        "Responsible": "$s/interruptions/$Id/responsible",
    },
    "Artifacts": {"Self": "$s/artifacts/$Id", "Content": "$s/artifacts/$Id/content"},
    "Tenants": {
        "Self": "$s/tenants/$Id",
        "Variables": "$s/tenants/$Id/variables",
        "Logo": "$s/tenants/$Id/logo",
        "Web": "/app#/$SpaceId/tenants/$Id",
    },
    "TagSets": {"Self": "$s/tagsets/$Id"},
    "Machines": {
        "Self": "$s/machines/$Id",
        "Connection": "$s/machines/$Id/connection",
        "TasksTemplate": "$s/machines/$Id/tasks{?skip,type}",
    },
    "WorkerPools": {"Self": "$s/workerpools/$Id", "Workers": "$s/workerpools/$Id/workers{?skip,take}"},
    "Workers": {"Self": "$s/workers/$Id"},
    "Feeds": {
        "Self": "$s/feeds/$Id",
        "SearchTemplate": "$s/feeds/$Id/packages/search{?term,take,skip}",
        "VersionsTemplate": "$s/feeds/$Id/packages/versions{?packageId,take,skip,includePreRelease,versionRange,filter}",
        "SearchPackagesTemplate": "$s/feeds/$Id/packages/search{?term,take,skip}",
        "SearchPackageVersionsTemplate": "$s/feeds/$Id/packages/versions{?packageId,take,skip,includePreRelease,"
        "versionRange,preReleaseTag,filter,includeReleaseNotes}",
    },
    "Packages": {
        "Self": "$s/packages/$Id",
        "Raw": "$s/packages/$Id/raw",
        "Feed": "$s/feeds/$FeedId",
        "AllVersions": "$s/packages?nuGetPackageId=$PackageId",
    },
    "BuildInformation": {"Self": "$s/build-information/$Id"},
    "Events": {"Self": "$s/events/$Id"},
    "Teams": {"Self": "/api/teams/$Id"},
}

# In place of those above for a version-controlled project (source: cli, test/fixtures/projects.go).
GIT_PROJECT = {
    "DeploymentProcess": "$s/projects/$Id/{gitRef}/deploymentprocesses",
    "DeploymentSettings": "$s/projects/$Id/{gitRef}/deploymentsettings",
    "Branches": "$s/projects/$Id/git/branches{/name}{?skip,take,searchByName,refresh}",
    "Tags": "$s/projects/$Id/git/tags{/name}{?skip,take,searchByName,refresh}",
    "Commits": "$s/projects/$Id/git/commits{/hash}{?skip,take,refresh}",
}

# Published by the root and by each space root. The root's point into the default space.
ROOT: dict[str, str] = {
    "SpaceHome": "/api/{spaceId}",
    "Spaces": "/api/spaces{/id}{?name,skip,ids,take,partialName}",
    "CurrentUser": "/api/users/me",
    "Users": "/api/users{/id}{?skip,take,ids,filter}",
    "Web": "/app",
    "SignIn": "/api/users/login{?returnUrl}",
    "SignOut": "/api/users/logout",
    "ActionTemplates": "$s/actiontemplates{/id}{?skip,take,ids,partialName}",
    "ActionTemplatesCategories": "$s/actiontemplates/categories",
    "ActionTemplatesSearch": "$s/actiontemplates/search{?type}",
    "ActionTemplateLogo": "$s/actiontemplates/{typeOrId}/logo{?cb}",
    "ActionTemplateVersionedLogo": "$s/actiontemplates/{typeOrId}/versions/{version}/logo{?cb}",
    "CommunityActionTemplates": "/api/communityactiontemplates{/id}{?skip,take,ids}",
    "Artifacts": "$s/artifacts{/id}{?skip,take,regarding,ids,partialName,order}",
    "Channels": "$s/channels{/id}{?skip,take,ids,partialName}",
    "VersionRuleTest": "$s/channels/rule-test{?version,versionRange,preReleaseTag,feedType}",
    "Dashboard": "$s/dashboard{?projectId,releaseId,selectedTenants,selectedTags,showAll,"
    "highestLatestVersionPerProjectAndEnvironment}",
    "DashboardDynamic": "$s/dashboard/dynamic{?projects,environments,includePrevious}",
    "DeploymentProcesses": "$s/deploymentprocesses{/id}{?skip,take,ids}",
    "RunbookProcesses": "$s/runbookProcesses{/id}{?skip,take,ids}",
    "Deployments": "$s/deployments{/id}{?skip,take,ids,projects,environments,tenants,channels,taskState,partialName}",
    "Environments": "$s/environments{/id}{?name,skip,ids,take,partialName}",
    "EnvironmentSortOrder": "$s/environments/sortorder",
    "Events": "/api/events{/id}{?skip,regarding,regardingAny,user,users,projects,projectGroups,environments,"
    "eventGroups,eventCategories,eventAgents,tags,tenants,from,to,internal,fromAutoId,toAutoId,documentTypes,asCsv,"
    "take,ids,spaces,includeSystem,excludeDifference}",
    "Feeds": "$s/feeds{/id}{?skip,take,ids,partialName,feedType,name}",
    "Interruptions": "$s/interruptions{/id}{?skip,take,regarding,pendingOnly,ids}",
    "LibraryVariables": "$s/libraryvariablesets{/id}{?skip,contentType,take,ids,partialName}",
    "Lifecycles": "$s/lifecycles{/id}{?skip,take,ids,partialName}",
    "Machines": "$s/machines{/id}{?skip,take,name,ids,partialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,"
    "tenantTags,environmentIds,thumbprint,deploymentId,shellNames}",
    "MachineRoles": "$s/machineroles/all",
    "Packages": "$s/packages{/id}{?nuGetPackageId,filter,latest,skip,take,includeNotes}",
    "BuildInformation": "$s/build-information{/id}{?packageId,filter,latest,skip,take,overwriteMode}",
    "BuildInformationBulk": "$s/build-information/bulk{?ids}",
    "PackagesBulk": "$s/packages/bulk{?ids}",
    "PackageUpload": "$s/packages/raw{?replace,overwriteMode}",
    "ProjectGroups": "$s/projectgroups{/id}{?skip,take,ids,partialName}",
    "Projects": "$s/projects{/id}{?name,skip,ids,clone,take,partialName,clonedFromProjectId}",
    "ProjectTriggers": "$s/projecttriggers{/id}{?skip,take,ids,runbooks}",
    "Triggers": "$s/projecttriggers{/id}{?skip,take,ids,runbooks}",
    "Releases": "$s/releases{/id}{?skip,ignoreChannelRules,take,ids}",
    "Runbooks": "$s/runbooks{/id}{?skip,take,ids,partialName,clone,projectIds}",
    "RunbookRuns": "$s/runbookRuns{/id}{?skip,take,ids,projects,environments,tenants,runbooks,taskState,partialName}",
    "RunbookSnapshots": "$s/runbookSnapshots{/id}{?skip,take,ids,publish}",
    "Subscriptions": "$s/subscriptions{/id}{?skip,take,ids,partialName,spaces}",
    "TagSets": "$s/tagsets{/id}{?skip,take,ids,partialName}",
    "Teams": "/api/teams{/id}{?skip,take,ids,partialName,spaces,includeSystem}",
    "Tenants": "$s/tenants{/id}{?skip,projectId,name,tags,take,ids,clone,partialName,clonedFromTenantId}",
    "Tasks": "/api/tasks{/id}{?skip,active,environment,tenant,runbook,project,name,node,running,states,"
    "hasPendingInterruptions,hasWarningsOrErrors,take,ids,partialName,spaces,includeSystem}",
    "TaskTypes": "/api/tasks/tasktypes",
    "Variables": "$s/variables{/id}{?ids}",
    "VariableNames": "$s/variables/names{?project,runbook,projectEnvironmentsFilter}",
    "VariablePreview": "$s/variables/preview{?project,runbook,environment,channel,tenant,action,machine,role}",
    "WorkerPools": "$s/workerpools{/id}{?name,skip,ids,take,partialName}",
    "Workers": "$s/workers{/id}{?skip,take,name,ids,partialName,isDisabled,healthStatuses,commStyles,workerPoolIds,"
    "thumbprint}",
    "ServerStatus": "/api/serverstatus",
    "ServerHealthStatus": "/api/serverstatus/health",
    "PermissionDescriptions": "/api/permissions/all",
    "TeamMembership": "/api/teammembership{?userId,spaces,includeSystem}",
}


def links_of(collection: str, document: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """The `Links` of one document; a link whose field is empty is left out."""
    names = {"s": f"/api/{document.get('SpaceId')}"}
    names.update({name: str(value) for name, value in document.items() if isinstance(value, (str, int))})
    result = {}
    templates = LINKS.get(collection, {})
    if document.get("IsVersionControlled"):
        templates = {**templates, **GIT_PROJECT}
    for name, template in templates.items():
        try:
            result[name] = prefix + string.Template(template).substitute(names)
        except KeyError:  # e.g. the Environment of a deployment that has none
            continue
    return result


def root_links(space_id: str | None, prefix: str) -> dict[str, str]:
    """Links of the root (`space_id` None: those of the default space with `/api` in front) or of one space."""
    own = "/api" if space_id is None else f"/api/{space_id}"
    links = {"Self": prefix + own}
    links.update({name: prefix + template.replace("$s", own) for name, template in ROOT.items()})
    if space_id is not None:
        links["SpaceHome"] = f"{prefix}/api/{space_id}"
    return links
