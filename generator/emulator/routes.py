"""The table of all routes: method, path below its scope, handler, permission.

Source of paths and scopes: docs, API reference (a page for each resource, generated from the server's Swagger) and Swagger of
Octopus Server 2020.5; of permissions: OctopusClients, Model/Permission.cs. Which permission guards which request is the
obvious reading of its name; the real server asks for more in places (unconfirmed).
"""

from __future__ import annotations

from generator.emulator.kinds import PLAIN
from generator.emulator.requests import Answer, Request
from generator.emulator.resources import (
    artifacts,
    community,
    dashboard,
    deployments,
    freezes,
    git,
    interruptions,
    packages,
    plain,
    processes,
    projects,
    promotion,
    release_packages,
    releases,
    runbook_runs,
    runbooks,
    server_tasks,
    spaces,
    step_updates,
    tasks,
    templates,
    tenants,
    tokens,
    variables,
)
from generator.emulator.routing import Handler, Route, Scope

ROOT = (
    Route("GET", "", spaces.root, scope="system", anonymous=True),
    Route("GET", "capabilities", spaces.capabilities, scope="system"),
    Route("GET", "serverstatus", spaces.server_status, scope="system"),
    Route("GET", "serverstatus/health", spaces.health, scope="system", anonymous=True),
    Route("GET", "configuration/feature-toggles", spaces.feature_toggles, scope="system"),
    Route("GET", "octopusservernodes", spaces.server_nodes, "AdministerSystem", scope="system"),
    Route("GET", "octopusservernodes/summary", spaces.server_nodes, "AdministerSystem", scope="system"),
    Route("GET", "spaces", spaces.list_spaces, scope="system"),
    Route("GET", "spaces/all", spaces.all_spaces, scope="system"),
    Route("POST", "spaces", spaces.create_space, "SpaceCreate", scope="system"),
    Route("GET", "spaces/{id}", spaces.get_space, scope="system"),
    Route("PUT", "spaces/{id}", spaces.modify_space, "SpaceEdit", scope="system"),
    Route("DELETE", "spaces/{id}", spaces.delete_space, "SpaceDelete", scope="system"),
    Route("GET", ".well-known/openid-configuration", tokens.configuration, scope="system", anonymous=True),
    Route("POST", "token/v1", tokens.exchange, scope="system", anonymous=True),
    Route("GET", "users/me", spaces.me, scope="system"),
    Route("GET", "users", spaces.list_users, "UserView", scope="system"),
    Route("GET", "users/all", spaces.all_users, "UserView", scope="system"),
    Route("GET", "users/{id}", spaces.get_user, scope="system"),
    Route("GET", "users/{id}/spaces", spaces.spaces_of_user, scope="system"),
    Route("GET", "users/{id}/teams", spaces.teams_of_user, scope="system"),
    Route("GET", "users/{id}/permissions", spaces.permissions_of_user, scope="system"),
    Route("GET", "teams", spaces.list_teams, "TeamView", scope="mixed"),
    Route("GET", "teams/all", spaces.all_teams, "TeamView", scope="mixed"),
    Route("GET", "teams/{id}", spaces.get_team, "TeamView", scope="mixed"),
    Route("GET", "teammembership", spaces.team_membership, scope="system"),
    Route("GET", "permissions/all", spaces.all_permissions, scope="system"),
    Route("GET", "events", spaces.list_events, "EventView", scope="mixed"),
    Route("GET", "events/{id}", spaces.get_event, "EventView", scope="mixed"),
    # `/api/Spaces-1`, the root of a space.
    Route("GET", "", spaces.space_root),
)

AROUND = (
    Route("GET", "machineroles/all", plain.machine_roles, "MachineView"),
    Route("GET", "environments/{id}/machines", plain.machines_of_environment, "MachineView"),
    Route("PUT", "environments/sortorder", plain.sort_environments, "EnvironmentEdit"),
    Route("GET", "lifecycles/{id}/preview", promotion.lifecycle_preview, "LifecycleView"),
    Route("GET", "lifecycles/{id}/projects", lambda r: plain.projects_of(r, "LifecycleId", "Lifecycles"), "ProjectView"),
    Route("GET", "projectgroups/{id}/projects", lambda r: plain.projects_of(r, "ProjectGroupId", "ProjectGroups"), "ProjectView"),
    Route("GET", "workerpools/{id}/workers", plain.workers_of_pool, "WorkerView"),
    Route("GET", "projects/{project}/triggers", plain.empty_page("ProjectTrigger"), "TriggerView"),
    Route("GET", "projecttriggers", plain.empty_page("ProjectTrigger"), "TriggerView"),
    Route("GET", "subscriptions", plain.empty_page("Subscription"), "SubscriptionView"),
)  # fmt: skip

PROJECTS = (
    Route("GET", "projects", projects.list_page, "ProjectView"),
    Route("GET", "projects/all", projects.list_all, "ProjectView"),
    Route("POST", "projects", projects.create, "ProjectCreate"),
    Route("GET", "projects/{project}", projects.get, "ProjectView"),
    Route("PUT", "projects/{project}", projects.modify, "ProjectEdit"),
    Route("DELETE", "projects/{project}", projects.delete, "ProjectDelete"),
    Route("GET", "projects/{project}/deploymentsettings", projects.get_settings, "ProjectView"),
    Route("PUT", "projects/{project}/deploymentsettings", projects.modify_settings, "ProjectEdit"),
    Route("GET", "projects/{project}/progression", promotion.project_progression, "DeploymentView"),
    Route("GET", "progression/{project}", promotion.project_progression, "DeploymentView"),
    Route("GET", "projects/{project}/channels", projects.list_channels, "ProcessView"),
    Route("POST", "projects/{project}/channels", projects.create_channel, "ProcessEdit"),
    Route("GET", "projects/{project}/channels/{channel}", projects.get_channel, "ProcessView"),
    Route(
        "GET", "projects/{project}/channels/{channel}/releases", projects.releases_of_channel, "ReleaseView"
    ),
    Route("GET", "channels/{channel}/releases", projects.releases_of_channel, "ReleaseView"),
    Route("GET", "channels", projects.list_channels, "ProcessView"),
    Route("GET", "channels/all", projects.all_channels, "ProcessView"),
    Route("POST", "channels", projects.create_channel, "ProcessEdit"),
    Route("GET", "channels/{channel}", projects.get_channel, "ProcessView"),
    Route("PUT", "channels/{channel}", projects.modify_channel, "ProcessEdit"),
    Route("GET", "channels/rule-test", release_packages.test_rule, "ProcessView"),
    Route("POST", "channels/rule-test", release_packages.test_rule, "ProcessView"),
    Route("DELETE", "channels/{channel}", projects.delete_channel, "ProcessEdit"),
)

PROCESSES = (
    Route("GET", "deploymentprocesses", processes.list_page, "ProcessView"),
    Route("GET", "deploymentprocesses/{id}", processes.get, "ProcessView"),
    Route("PUT", "deploymentprocesses/{id}", processes.modify, "ProcessEdit"),
    Route("GET", "deploymentprocesses/{id}/template", releases.release_template, "ProcessView"),
    Route("GET", "projects/{project}/deploymentprocesses", processes.get, "ProcessView"),
    Route("PUT", "projects/{project}/deploymentprocesses", processes.modify, "ProcessEdit"),
    Route("GET", "projects/{project}/deploymentprocesses/template", releases.release_template, "ProcessView"),
    Route("POST", "projects/{project}/deploymentprocesses/validate", processes.validate, "ProcessView"),
)

# Variables and runbooks of these projects stay in the database.
GIT = (
    Route("POST", "projects/{project}/git/convert", git.convert, "ProjectEdit"),
    Route("GET", "projects/{project}/git/branches", git.list_branches, "ProjectView"),
    Route("POST", "projects/{project}/git/branches/v2", git.create_branch, "ProcessEdit"),
    Route("GET", "projects/{project}/git/branches/{branchName}", git.get_branch, "ProjectView"),
    Route("GET", "projects/{project}/git/tags", git.list_tags, "ProjectView"),
    Route("GET", "projects/{project}/git/tags/{tagName}", git.get_tag, "ProjectView"),
    Route("GET", "projects/{project}/git/refs/{refName}", git.get_ref, "ProjectView"),
    Route("GET", "projects/{project}/git/commits/{hash}", git.get_commit, "ProjectView"),
    Route("GET", "projects/{project}/{gitRef}/deploymentprocesses", git.get_process, "ProcessView"),
    Route("PUT", "projects/{project}/{gitRef}/deploymentprocesses", git.modify_process, "ProcessEdit"),
    Route("GET", "projects/{project}/{gitRef}/deploymentprocesses/template", releases.release_template, "ProcessView"),
    Route("GET", "projects/{project}/{gitRef}/deploymentsettings", git.get_settings, "ProjectView"),
    Route("PUT", "projects/{project}/{gitRef}/deploymentsettings", git.modify_settings, "ProjectEdit"),
)  # fmt: skip

VARIABLES = (
    Route("GET", "variables", variables.list_sets, "VariableView"),
    Route("GET", "variables/all", variables.all_sets, "VariableView"),
    Route("GET", "variables/names", variables.names, "VariableView"),
    Route("GET", "variables/preview", variables.preview, "VariableView"),
    Route("GET", "variables/{id}", variables.get, "VariableView"),
    Route("PUT", "variables/{id}", variables.modify, "VariableEdit"),
    Route("GET", "projects/{project}/variables", variables.get_of_project, "VariableView"),
    Route("PUT", "projects/{project}/variables", variables.modify_of_project, "VariableEdit"),
    Route("GET", "libraryvariablesets", variables.list_library, "LibraryVariableSetView"),
    Route("GET", "libraryvariablesets/all", variables.all_library, "LibraryVariableSetView"),
    Route("POST", "libraryvariablesets", variables.create_library, "LibraryVariableSetCreate"),
    Route("GET", "libraryvariablesets/{id}", variables.get_library, "LibraryVariableSetView"),
    Route("PUT", "libraryvariablesets/{id}", variables.modify_library, "LibraryVariableSetEdit"),
    Route("DELETE", "libraryvariablesets/{id}", variables.delete_library, "LibraryVariableSetDelete"),
    Route("GET", "libraryvariablesets/{id}/usages", variables.usages_of_library, "LibraryVariableSetView"),
)

TEMPLATES = (
    Route("GET", "actiontemplates", templates.list_page, "ActionTemplateView"),
    Route("GET", "actiontemplates/all", templates.list_all, "ActionTemplateView"),
    Route("GET", "actiontemplates/categories", templates.categories, "ActionTemplateView"),
    Route("GET", "actiontemplates/search", templates.search, "ActionTemplateView"),
    Route("POST", "actiontemplates", templates.create, "ActionTemplateCreate"),
    Route("GET", "actiontemplates/{id}", templates.get, "ActionTemplateView"),
    Route("PUT", "actiontemplates/{id}", templates.modify, "ActionTemplateEdit"),
    Route("DELETE", "actiontemplates/{id}", templates.delete, "ActionTemplateDelete"),
    Route("GET", "actiontemplates/{id}/versions", templates.list_versions, "ActionTemplateView"),
    Route("GET", "actiontemplates/{id}/versions/{version}", templates.get_version, "ActionTemplateView"),
    Route("GET", "actiontemplates/{id}/usage", templates.list_usage, "ActionTemplateView"),
    Route("POST", "actiontemplates/{id}/actionsupdate", step_updates.update_actions, "ActionTemplateEdit"),
    Route(
        "POST",
        "actiontemplates/{id}/actionsupdate/bulk",
        step_updates.update_actions_in_bulk,
        "ActionTemplateEdit",
    ),
    Route("GET", "actiontemplates/{id}/logo", templates.get_logo),
    Route("GET", "actiontemplates/{id}/versions/{version}/logo", templates.get_logo),
)

COMMUNITY = (
    Route("GET", "communityactiontemplates", community.list_page, scope="system"),
    Route("GET", "communityactiontemplates/{id}", community.get, scope="system"),
    Route("GET", "communityactiontemplates/{id}/logo", templates.get_logo, scope="system"),
    *(
        route
        for below in ("communityactiontemplates/{id}",)
        for tail in ("", "/{space}")
        for route in (
            Route("GET", f"{below}/actiontemplate{tail}", community.get_installed, "ActionTemplateView", scope="system"),
            Route("POST", f"{below}/installation{tail}", community.install, "ActionTemplateCreate", scope="system"),
            Route("PUT", f"{below}/installation{tail}", community.update, "ActionTemplateEdit", scope="system"),
        )
    ),
)  # fmt: skip

RELEASES = (
    Route("GET", "releases", releases.list_page, "ReleaseView"),
    Route("POST", "releases", releases.create, "ReleaseCreate"),
    Route("POST", "releases/create/v1", releases.create_by_command, "ReleaseCreate"),
    Route("GET", "releases/{release}", releases.get, "ReleaseView"),
    Route("PUT", "releases/{release}", releases.modify, "ReleaseEdit"),
    Route("DELETE", "releases/{release}", releases.delete, "ReleaseDelete"),
    Route("GET", "releases/{release}/missingpackages", releases.missing_packages, "ReleaseView"),
    Route("GET", "releases/{release}/progression", promotion.release_progression, "ReleaseView"),
    Route("GET", "releases/{release}/deployments", deployments.list_of_release, "DeploymentView"),
    Route("GET", "releases/{release}/deployments/template", promotion.deployment_template, "DeploymentView"),
    Route("GET", "releases/{release}/deployments/preview/{environment}", promotion.preview, "DeploymentView"),
    Route(
        "GET",
        "releases/{release}/deployments/preview/{environment}/{tenant}",
        promotion.preview,
        "DeploymentView",
    ),
    Route("POST", "releases/{release}/deployments/previews", promotion.previews, "DeploymentView"),
    Route("POST", "releases/{release}/snapshot-variables", releases.update_snapshot, "ReleaseEdit"),
    Route("POST", "releases/{release}/snapshot-variables-by-name", releases.update_snapshot, "ReleaseEdit"),
    Route("GET", "releases/{release}/defects", releases.list_defects, "ReleaseView"),
    Route("POST", "releases/{release}/defects", releases.report_defect, "DefectReport"),
    Route("POST", "releases/{release}/defects/resolve", releases.resolve_defect, "DefectResolve"),
    Route("GET", "projects/{project}/releases", releases.list_of_project, "ReleaseView"),
    Route("GET", "projects/{project}/releases/{version}", releases.get_by_version, "ReleaseView"),
    Route("GET", "projects/{project}/releases/{release}/variables", releases.variables_of, "VariableView"),
)

DEPLOYMENTS = (
    Route("GET", "deployments", deployments.list_page, "DeploymentView"),
    Route("POST", "deployments", deployments.create, "DeploymentCreate"),
    Route("POST", "deployments/create/untenanted/v1", deployments.create_untenanted, "DeploymentCreate"),
    Route("POST", "deployments/create/tenanted/v1", deployments.create_tenanted, "DeploymentCreate"),
    Route("GET", "deployments/{id}", deployments.get, "DeploymentView"),
    Route("DELETE", "deployments/{id}", deployments.delete, "DeploymentDelete"),
    Route("GET", "dashboard", dashboard.dashboard, "DeploymentView"),
    Route("GET", "dashboard/dynamic", dashboard.dynamic, "DeploymentView"),
)

RUNBOOKS = (
    Route("GET", "runbooks", runbooks.list_page, "RunbookView"),
    Route("GET", "runbooks/all", runbooks.list_all, "RunbookView"),
    Route("POST", "runbooks", runbooks.create, "RunbookEdit"),
    *(
        route
        for path in ("runbooks/{runbook}", "projects/{project}/runbooks/{runbook}")
        for route in (
            Route("GET", path, runbooks.get, "RunbookView"),
            Route("PUT", path, runbooks.modify, "RunbookEdit"),
            Route("DELETE", path, runbooks.delete, "RunbookEdit"),
        )
    ),
    Route("GET", "projects/{project}/runbooks", runbooks.list_page, "RunbookView"),
    Route("POST", "projects/{project}/runbooks", runbooks.create, "RunbookEdit"),
    Route("GET", "runbooks/{runbook}/environments", runbooks.environments, "RunbookView"),
    Route("GET", "runbooks/{runbook}/runbookSnapshots", runbooks.list_snapshots, "RunbookView"),
    Route("GET", "runbooks/{runbook}/runbookSnapshotTemplate", runbooks.snapshot_template, "RunbookView"),
    Route("GET", "runbooks/{runbook}/runbookRunTemplate", runbook_runs.template, "RunbookView"),
    Route("GET", "runbooks/{runbook}/runbookRuns/preview/{environment}", runbook_runs.preview, "RunbookView"),
    Route("GET", "runbooks/{runbook}/runbookRuns/preview/{environment}/{tenant}", runbook_runs.preview, "RunbookView"),
    Route("POST", "runbooks/{runbook}/run", runbook_runs.run_published, "RunbookRunCreate"),
    Route("GET", "runbookProcesses", runbooks.list_processes, "RunbookView"),
    Route("GET", "runbookProcesses/{id}", runbooks.get_process, "RunbookView"),
    Route("PUT", "runbookProcesses/{id}", runbooks.modify_process, "RunbookEdit"),
    Route("GET", "runbookProcesses/{id}/runbookSnapshotTemplate", runbooks.snapshot_template, "RunbookView"),
    Route("GET", "projects/{project}/runbookProcesses/{id}", runbooks.get_process, "RunbookView"),
    Route("PUT", "projects/{project}/runbookProcesses/{id}", runbooks.modify_process, "RunbookEdit"),
    Route("GET", "runbookSnapshots", runbooks.list_snapshots, "RunbookView"),
    Route("POST", "runbookSnapshots", runbooks.create_snapshot, "RunbookSnapshotCreate"),
    Route("GET", "projects/{project}/runbookSnapshots", runbooks.list_snapshots, "RunbookView"),
    Route("POST", "projects/{project}/runbookSnapshots", runbooks.create_snapshot, "RunbookSnapshotCreate"),
    Route("GET", "projects/{project}/runbookSnapshots/{snapshot}", runbooks.get_snapshot, "RunbookView"),
    Route("GET", "runbookSnapshots/{snapshot}", runbooks.get_snapshot, "RunbookView"),
    Route("PUT", "runbookSnapshots/{snapshot}", runbooks.modify_snapshot, "RunbookEdit"),
    Route("DELETE", "runbookSnapshots/{snapshot}", runbooks.delete_snapshot, "RunbookEdit"),
    Route("POST", "runbookSnapshots/{snapshot}/snapshot-variables", runbooks.update_snapshot_variables, "RunbookEdit"),
    Route("GET", "runbookSnapshots/{snapshot}/runbookRuns", runbook_runs.list_page, "RunbookRunView"),
    Route("GET", "runbookSnapshots/{snapshot}/runbookRuns/template", runbook_runs.template, "RunbookRunView"),
    Route("GET", "runbookSnapshots/{snapshot}/runbookRuns/preview/{environment}", runbook_runs.preview, "RunbookRunView"),
    Route(
        "GET", "runbookSnapshots/{snapshot}/runbookRuns/preview/{environment}/{tenant}", runbook_runs.preview, "RunbookRunView"
    ),
    Route("GET", "runbookRuns", runbook_runs.list_page, "RunbookRunView"),
    Route("POST", "runbookRuns", runbook_runs.create, "RunbookRunCreate"),
    Route("GET", "runbookRuns/{id}", runbook_runs.get, "RunbookRunView"),
    Route("DELETE", "runbookRuns/{id}", runbook_runs.delete, "RunbookRunDelete"),
    Route("POST", "runbook-runs/create/v1", runbook_runs.create_by_command, "RunbookRunCreate"),
    Route("GET", "progression/runbooks/taskRuns", runbook_runs.task_runs, "RunbookRunView"),
    Route("GET", "progression/runbooks/{runbook}", runbook_runs.progression, "RunbookRunView"),
)  # fmt: skip

TENANTS = (
    Route("GET", "tenants/status", tenants.status),
    Route("GET", "tenants/tag-test", tenants.tag_test, "TenantView"),
    Route("GET", "tenants/variables-missing", tenants.missing_variables, "TenantView"),
    Route("GET", "tenants/{id}/variables", tenants.get_variables, "TenantView"),
    Route("PUT", "tenants/{id}/variables", tenants.modify_variables, "TenantEdit"),
    Route("POST", "tenants/{id}/variables", tenants.modify_variables, "TenantEdit"),
    Route("PUT", "tagsets/sortorder", tenants.sort_tag_sets, "TagSetEdit"),
    Route("GET", "environments/v2", plain.environments_v2, "EnvironmentView"),
)

PACKAGES = (
    Route("GET", "packages", packages.list_page, "FeedView"),
    Route("POST", "packages/raw", packages.upload, "BuiltInFeedPush"),
    Route("DELETE", "packages/bulk", packages.delete_several, "BuiltInFeedAdminister"),
    Route("GET", "packages/{id}", packages.get, "FeedView"),
    Route("DELETE", "packages/{id}", packages.delete, "BuiltInFeedAdminister"),
    Route("GET", "packages/{id}/raw", packages.get_raw, "BuiltInFeedDownload"),
    Route("GET", "feeds/stats", packages.feed_stats, "FeedView"),
    Route("GET", "feeds/{id}/packages/versions", packages.feed_versions, "FeedView"),
    Route("GET", "feeds/{id}/packages/search", packages.feed_search, "FeedView"),
    Route("GET", "build-information", packages.list_build_information, "BuildInformationPush"),
    Route("POST", "build-information", packages.push_build_information, "BuildInformationPush"),
    Route(
        "DELETE",
        "build-information/bulk",
        packages.delete_several_build_information,
        "BuildInformationAdminister",
    ),
    Route("GET", "build-information/{id}", packages.get_build_information, "BuildInformationPush"),
    Route(
        "DELETE", "build-information/{id}", packages.delete_build_information, "BuildInformationAdminister"
    ),
)

FREEZES = (
    Route("GET", "deploymentfreezes", freezes.list_page, scope="system"),
    Route("POST", "deploymentfreezes", freezes.create, freezes.OVERRIDE, scope="system"),
    Route("GET", "deploymentfreezes/{id}", freezes.get, scope="system"),
    Route("PUT", "deploymentfreezes/{id}", freezes.modify, freezes.OVERRIDE, scope="system"),
    Route("DELETE", "deploymentfreezes/{id}", freezes.delete, freezes.OVERRIDE, scope="system"),
    Route("POST", "deployments/override", deployments.create_despite_freeze, "DeploymentCreate"),
)

TASKS = (
    Route("GET", "tasks", tasks.list_page, "TaskView", scope="mixed"),
    # The Swagger of Octopus Server 2019.6.7 demands no key for this one.
    Route("GET", "tasks/tasktypes", tasks.types, scope="mixed", anonymous=True),
    Route("POST", "tasks", server_tasks.create, "TaskCreate"),
    Route("POST", "tasks/rerun/{id}", server_tasks.rerun, "TaskCreate", scope="mixed"),
    Route("GET", "tasks/{id}", tasks.get, "TaskView", scope="mixed"),
    Route("GET", "tasks/{id}/details", tasks.details, "TaskView", scope="mixed"),
    Route("GET", "tasks/{id}/raw", tasks.raw, "TaskView", scope="mixed"),
    Route("GET", "tasks/{id}/queued-behind", tasks.queued_behind, "TaskView", scope="mixed"),
    Route("GET", "tasks/{id}/status/messages", tasks.status_messages, "TaskView", scope="mixed"),
    Route("POST", "tasks/{id}/cancel", tasks.cancel, "TaskCancel", scope="mixed"),
    Route("POST", "tasks/{id}/prioritize", tasks.prioritize, "TaskPrioritize", scope="mixed"),
    Route("POST", "tasks/{id}/state", tasks.edit_state, "TaskEdit", scope="mixed"),
    Route("GET", "artifacts", artifacts.list_page, "ArtifactView", scope="mixed"),
    Route("POST", "artifacts", artifacts.create, "ArtifactCreate"),
    Route("GET", "artifacts/{id}", artifacts.get, "ArtifactView", scope="mixed"),
    Route("DELETE", "artifacts/{id}", artifacts.delete, "ArtifactDelete", scope="mixed"),
    Route("GET", "artifacts/{id}/content", artifacts.get_content, "ArtifactView", scope="mixed"),
    Route("PUT", "artifacts/{id}/content", artifacts.put_content, "ArtifactCreate", scope="mixed"),
    Route("GET", "interruptions", interruptions.list_page, "InterruptionView", scope="mixed"),
    Route("GET", "interruptions/{id}", interruptions.get, "InterruptionView", scope="mixed"),
    Route("GET", "interruptions/{id}/responsible", interruptions.get_responsible, "InterruptionView", scope="mixed"),
    Route("PUT", "interruptions/{id}/responsible", interruptions.take_responsibility, "InterruptionSubmit", scope="mixed"),
    Route("POST", "interruptions/{id}/submit", interruptions.submit, "InterruptionSubmit", scope="mixed"),
)  # fmt: skip


def _wrapped(name: str, handler: Handler) -> Handler:
    """The answer of another route inside an object (source: docs, API reference, the `/v1` pages)."""

    def answer(request: Request) -> Answer:
        result = handler(request)
        inner = result if isinstance(result, Answer) else Answer(body=result)
        return Answer(status=inner.status, body={name: inner.body})

    return answer


# The twins that are documented for what our clients use; most resources have more.
TWINS = (
    Route("GET", "actiontemplates/{id}/v1", _wrapped("ActionTemplate", templates.get), "ActionTemplateView"),
    Route("DELETE", "actiontemplates/{id}/v1", templates.delete, "ActionTemplateDelete"),
    Route("GET", "libraryvariablesets/all/v1", _wrapped("LibraryVariableSets", variables.all_library), "LibraryVariableSetView"),
    Route("POST", "deployments/v1", _wrapped("Deployment", deployments.create), "DeploymentCreate"),
)  # fmt: skip

# Words where another route has the id of a document: without these rows the answer would be "no such document".
_UNKNOWN: tuple[tuple[Scope, str], ...] = (
    (
        "space",
        "environments/summary machines/discover packages/notes tenants/variableset-test "
        "workerpools/summary workers/discover",
    ),
    ("mixed", "events/agents events/categories events/documenttypes events/groups"),
    ("system", "users/external-search users/identity-metadata"),
)
NOT_IMITATED = tuple(
    Route("GET", path, spaces.not_imitated, scope=scope, anonymous=True)
    for scope, paths in _UNKNOWN
    for path in paths.split()
)

ROUTES: tuple[Route, ...] = (
    *ROOT,
    *(route for kind in PLAIN for route in plain.routes(kind)),
    *AROUND,
    *PROJECTS,
    *PROCESSES,
    *GIT,
    *VARIABLES,
    *TEMPLATES,
    *COMMUNITY,
    *RELEASES,
    *DEPLOYMENTS,
    *RUNBOOKS,
    *FREEZES,
    *TENANTS,
    *PACKAGES,
    *TASKS,
    *TWINS,
    *NOT_IMITATED,
)
