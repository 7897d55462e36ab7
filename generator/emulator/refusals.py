"""Every refusal of the server, by name: status, text, and where the text was seen.

`Refused` travels from a handler to the WSGI application, which writes the error document of `error_document`.
A text marked "unconfirmed" is our wording for a refusal whose own text nobody has published; a client must not match it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MODEL = "There was a problem with your request."


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """`shape` is "errors" when the text stands in `Errors` below the general sentence, "message" when it stands in
    `ErrorMessage` itself (both shapes are seen in messages of the Go client, which prints `ErrorMessage [Errors]`)."""

    status: int
    text: str
    source: str
    shape: str = "message"

    def __call__(self, *, details: Mapping[str, Any] | None = None, **values: object) -> Refused:
        text = self.text.format(**values) if values else self.text
        if self.shape == "errors":
            return Refused(self.status, MODEL, (text,), details or {})
        return Refused(self.status, text, (), details or {})


class Refused(Exception):
    """An answer that is not a success, in the server's words."""

    def __init__(
        self, status: int, message: str, errors: Sequence[str] = (), details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = tuple(errors)
        self.details = dict(details or {})
        self.help_text: str | None = None
        self.headers: dict[str, str] = {}


def error_document(refused: Refused) -> dict[str, Any]:
    """The body of an error (source: OctopusClients, Exceptions/OctopusExceptionFactory.cs; go-octopusdeploy,
    pkg/core/api_error.go; api-client.ts, octopusError.ts)."""
    return {
        "ErrorMessage": refused.message,
        "Errors": list(refused.errors),
        "FullException": None,
        "HelpText": refused.help_text,
        "HelpLink": None,
        "ParsedHelpLinks": [],
        "Details": refused.details,
    }


_SWAGGER = "Swagger of Octopus Server 2020.5 (go-octopusdeploy, api/octopus_deploy.json)"
_OURS = "unconfirmed: our wording"


def _errors(text: str, source: str = _SWAGGER) -> Refusal:
    return Refusal(status=400, text=text, source=source, shape="errors")


def _message(text: str, source: str = _SWAGGER, status: int = 400) -> Refusal:
    return Refusal(status=status, text=text, source=source)


# --- who is asking, and for what -----------------------------------------------------------------------------------
NOT_SIGNED_IN = _message(
    "You must be logged in to perform this action. Please provide a valid API key or log in again.",
    "OctopusClients, integration tests",
    401,
)
NO_PERMISSION = _message(
    "You do not have permission to perform this action. Please contact your Octopus administrator. "
    "Missing permission: {permission}",
    "forum help.octopus.com, topic 690 (an answer to DELETE deployments)",
    403,
)
NOT_FOUND = _message(
    "Resource is not found or it doesn't exist in the current space context. Please contact your administrator for "
    "more information.",
    "OctopusDeployLabs/terraform-provider-octopusdeploy, issue 740; go-octopusdeploy, pull request 246",
    404,
)
UNKNOWN_REQUEST = _message(
    "The emulator does not know this request: {method} {path}", "the emulator's own", 404
)
WRONG_METHOD = _message(
    "The emulator does not know this request: {method} {path} (only {known})", "the emulator's own", 405
)
RATE_LIMITED = _message("Rate limit exceeded. Please try again later.", _OURS, 429)
BODY_TOO_LARGE = _message("The request body is larger than {limit} bytes.", _OURS, 413)
BAD_JSON = _message("The request body is not valid JSON: {reason}", _OURS)
BAD_REQUEST = _message("{reason}", _OURS)

# --- every resource ------------------------------------------------------------------------------------------------
NO_BODY = _errors("No request body was supplied.")
REQUIRED = _errors("The {field} field is required.", "the sentence of ASP.NET's own validation; unconfirmed")
WRONG_TYPE = _errors("The field {field} must be {wanted}.", _OURS)
UNKNOWN_REFERENCE = _errors("{field} '{value}' does not exist in this space.", _OURS)
DUPLICATE_NAME = _errors(
    "The {kind} name '{name}' is already in use. Please use a different name.",
    "that duplicates are refused: OctopusDeploy/Issues 4001; the text is unconfirmed",
)
READ_ONLY = _errors("This resource is read-only and cannot be modified.")
IN_USE = _errors("This {kind} is in use and cannot be deleted: {users}", _OURS)

# --- action templates ----------------------------------------------------------------------------------------------
NAME_TRAP = _errors(
    "An action template named '{name}' with version {version} already exists.",
    "that the save fails: OctopusDeploy/Issues 4001, 7316, 9185; the text is unconfirmed",
)
TEMPLATE_IN_USE = _errors(
    "The step template '{name}' cannot be deleted because it is used by: {users}",
    "that it is refused: OctopusDeploy/Issues 9185; the text is unconfirmed",
)
ONLY_CUSTOM_TEMPLATES = _errors("Only custom templates can be directly updated")
FEEDS_NOT_FOUND = _errors("The following Feed Ids cannot be found: {ids}")
COMMUNITY_INSTALLED = _errors("Action Template already installed.")
COMMUNITY_NOT_INSTALLED = _errors("Action template not yet installed.")
ACTIONS_UPDATE_FAILED = _message("Request failed. Please check Details property for more information.")

# --- processes and variables ---------------------------------------------------------------------------------------
STALE_PROCESS = _message(
    "Changes to this deployment process could not be saved, because another user has made changes to the deployment "
    "process between when you started editing and when you saved your changes. Please reload or open a new tab to "
    "make your changes."
)
FROZEN_PROCESS = _message(
    "You cannot modify this deployment process because it is frozen. You'll need to create a new deployment process "
    "instead."
)
DUPLICATE_ACTION = _errors(
    "Action name '{name}' is already in use by another action in this deployment process. Action names must be unique.",
    "OctopusDeployLabs/terraform-provider-octopusdeploy, issue 457",
)
DUPLICATE_STEP = _errors(
    "Step name '{name}' is already in use by another step in this deployment process. Step names must be unique.",
    "that it is refused: OctopusDeploy/Issues 4459; the text is unconfirmed",
)
BAD_STEP_NAME = _errors(
    "The name '{name}' contains characters that are not allowed.",
    "that a question mark is refused: OctopusDeploy/Issues 7549; the text is unconfirmed",
)
EMPTY_STEP = _errors("Step '{name}' must have at least one action.", _OURS)
STALE_VARIABLES = _message(
    "Changes to these variables could not be saved, because another user has made changes to the variables between "
    "when you started editing and when you saved your changes. Please reload or open a new tab to make your changes."
)
DUPLICATE_VARIABLE_IDS = _errors("Variable ids must be unique.")
PROMPT_SCOPE = _errors("Prompted variables cannot be scoped to anything except an environment.")

# --- projects, channels, lifecycles, spaces ------------------------------------------------------------------------
DEFAULT_CHANNEL = _errors("You cannot delete the default channel.")
ONLY_CHANNEL = _errors("You cannot delete the only remaining channel")
SPACE_RUNNING = _errors(
    "The task queue of a space must be stopped before the space can be deleted.",
    "that TaskQueueStopped is needed: Swagger of Octopus Server 2020.5; the text is unconfirmed",
)
SPACE_MANAGERS = _errors(
    "A space must have at least one space manager (a team or a team member).",
    "that managers are needed: go-octopusdeploy, pkg/spaces; the text is unconfirmed",
)
NO_LIFECYCLE = _message("A lifecycle has not been assigned to this project.", status=500)

# --- releases ------------------------------------------------------------------------------------------------------
DUPLICATE_RELEASE = _errors(
    "Release '{version}' already exists for this project. Please use a different version, or look at using a mask to "
    "auto-increment the number."
)
BAD_VERSION = _errors("The release number '{version}' does not appear to be a valid semantic version number.")
PACKAGE_VERSION_MISSING = _errors("A version must be specified for every included package.")
NO_CHANNEL = _errors(
    "A channelId must be provided for a release when more than one exists for that project and no default channel "
    "has been specified."
)
PROJECT_DISABLED = _errors("The project is disabled, so releases cannot be created")
NO_PROJECT = _errors("No project ID was specified.")
CHANNEL_OF_OTHER_PROJECT = _errors(
    "The channel {channel} specified for this release belongs to the project {project}. It does not belong to the same "
    "project as the release."
)
CHANNEL_RULES = _errors(
    "The requested package versions for the following steps violate the channel version rules: {steps}. Please specify a "
    "different package version, channel or provide the `ignoreChannelRules` parameter to override this check."
)
GIT_REF_NEEDED = _errors(
    "Creating a release for a version controlled process requires GitRef to be set on VersionControlReference"
)
UNEXPECTED_GIT_REF = _errors(
    "Unexpected VersionControlReference provided. Please remove this value or enable version control on this project"
)
NAME_NOT_FOUND = _errors(
    "{kind} '{name}' could not be found.",
    "that the create commands refuse it: docs, Deployments API; our wording",
)

# --- projects in Git -----------------------------------------------------------------------------------------------
UNKNOWN_GIT_REF = _errors("The Git reference '{ref}' could not be found.", _OURS)
NOT_A_BRANCH = _errors("'{ref}' is not a branch and cannot be changed.", _OURS)
PROTECTED_BRANCH = _errors(
    "{branch} is a protected branch. Cannot commit to protected branches. Please create a new branch before committing.",
    "OctopusDeploy/Issues 9456",
)
PROCESS_IN_GIT = _errors(
    "The deployment process and settings of project '{project}' are in Git: a Git reference is needed.",
    "that the address has a reference: cli, test/fixtures/projects.go; the refusal is unconfirmed",
)
NOT_VERSION_CONTROLLED = _errors("The project '{project}' is not version controlled.", _OURS)
ALREADY_VERSION_CONTROLLED = _errors("The project '{project}' is already version controlled.", _OURS)

# --- deployments ---------------------------------------------------------------------------------------------------
NOT_DEPLOYABLE = _errors(
    "Release '{version}' cannot be deployed to environment '{environment}': {reason}",
    "that the lifecycle decides: docs, Lifecycles; the text is unconfirmed",
)
TENANT_NEEDED = _errors("The project '{project}' can only be deployed to tenants.", _OURS)
TENANT_FORBIDDEN = _errors("The project '{project}' cannot be deployed to tenants.", _OURS)
TENANT_NOT_CONNECTED = _errors(
    "The tenant '{tenant}' is not connected to project '{project}' in environment '{environment}'.", _OURS
)
PROMPT_REQUIRED = _errors(
    "The variable '{name}' is required.",
    "that the variable is named: docs, Deployments API; the text is unconfirmed",
)
BAD_SCHEDULE = _errors("Deployment Schedule is invalid.")
NO_PUBLISHED_SNAPSHOT = _errors("Runbook has no published snapshot.")
RUNBOOK_ENVIRONMENT = _errors(
    "The runbook '{runbook}' cannot be run in environment '{environment}'.",
    "that the scope decides: docs, Runbooks; the text is unconfirmed",
)
BAD_FREEZE = _errors(
    "The start and end of a deployment freeze must be moments, the end later than the start.", _OURS
)
FROZEN = _errors(
    "The project '{project}' cannot be deployed to '{environment}' because of these deployment freezes: {freezes}",
    "that new deployments are prevented: docs, Deployment freezes; the text and the status are unconfirmed",
)
FREEZE_REASON = _errors(
    "A reason is required to override these deployment freezes: {freezes}",
    "that the reason must not be blank: docs, Deployments API; the text is unconfirmed",
)

# --- packages ------------------------------------------------------------------------------------------------------
NO_PACKAGE = _errors("A package file must be provided")
EMPTY_PACKAGE = _errors("The uploaded package file had length equal to 0. Please upload a non-empty file.")
LONG_PACKAGE_NAME = _errors("Package Name is too long.")
BAD_PACKAGE_NAME = _errors("The file name '{name}' is not of the form PackageId.Version.extension.", _OURS)
PACKAGE_EXISTS = _message(
    "A package with the same ID and version already exists. To proceed anyway, specify an overwriteMode of "
    "OverwriteExisting or IgnoreIfExists.",
    status=409,
)
PACKAGE_FILTERS = _errors("Only one of either nuGetPackageId or filter may be specified.")
NO_PACKAGE_ID = _errors("No packageId parameter was provided.")
BUILD_FILTERS = _errors("Only one of either packageId or filter may be specified.")
BAD_PACKAGE_ID = _errors(
    "The package ID contains invalid characters. Examples of valid package IDs include 'MyPackage' and 'MyPackage.Sample'."
)
BAD_PACKAGE_VERSION = _errors("The version is invalid. Please supply a valid semver version number.")
BUILD_INFORMATION_EXISTS = _message(
    "Metadata for the specified Package ID and version already exists. To proceed anyway, specify an overwriteMode of "
    "OverwriteExisting or IgnoreIfExists.",
    status=409,
)

# --- tasks, interruptions, artifacts -------------------------------------------------------------------------------
UNKNOWN_TASK = _errors("The emulator does not know tasks named '{name}'.", "the emulator's own")
CANNOT_RERUN = _message("This task cannot be re-run.")
BAD_TASK_STATE = _message(
    "The task can not be put into the state.  Valid states are: Canceled, Failed, Success."
)
SAME_TASK_STATE = _message("The task is already in the state.")
TASK_NOT_COMPLETED = _message(
    "The task state can not be changed to the selected state.  It can only be changed out of the states: Canceled, "
    "Failed, Success."
)
NO_STATE = _message("No body/reason/state was provided.")
INTERRUPTION_TAKEN = _message(
    "Someone else has taken responsibility for this interruption, and only they are allowed to submit it."
)
INTERRUPTION_SUBMITTED = _message("The interruption has already been submitted.")
INTERRUPTION_FORM = _message("There were errors with the form.")
INTERRUPTION_NOT_TAKEN = _message(
    "You must take responsibility for this interruption before attempting to submit it."
)
INTERRUPTION_GONE = _message("This interruption has already been submitted, possibly by another user.")
CONTENT_EXISTS = _message("The content of this artifact has already been uploaded.", _OURS, 405)
