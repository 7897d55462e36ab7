"""What would make the server refuse a deployment, told before anything is queued: lifecycle, defects, freezes, packages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Mapping, Optional

from generator.runtime.api import Api, ApiError, LostAnswer
from generator.runtime.lookup import Place
from generator.runtime.moments import moment_or_none
from generator.runtime.step import GAVE_UP, StepFailure

LIFECYCLE, FREEZE, OTHER = "lifecycle", "freeze", "other"
MOST_SNAPSHOTS = 5
SNAPSHOT_PAUSE, LONGEST_SNAPSHOT_PAUSE = 5.0, 60.0


class Obstacles:
    """Looks for them; what concerns a release in all places is read once. `start`: when the deployments are to begin."""

    def __init__(self, api: Api, start: datetime) -> None:
        self.api = api
        self.start = start
        self._templates: dict[str, Mapping[str, Any]] = {}
        self._missing: dict[str, list[str]] = {}
        self._freezes: Optional[list[Mapping[str, Any]]] = None

    def find(self, place: Place, release: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(LIFECYCLE, FREEZE or OTHER, the reason in words), for everything that stands in the way."""
        found = [(OTHER, reason) for reason in self.missing_packages(release)]
        found += [(FREEZE, f"{place}: {words_of(freeze)}") for freeze in self.freezes(place)]
        refusal = self.lifecycle_refusal(place, release)
        return [*found, (LIFECYCLE, refusal)] if refusal else found

    def template(self, release: Mapping[str, Any]) -> Mapping[str, Any]:
        if release["Id"] not in self._templates:
            self._templates[release["Id"]] = self.api.get(f"releases/{release['Id']}/deployments/template")
        return self._templates[release["Id"]]

    def forget(self, release: Mapping[str, Any]) -> None:
        """The release has changed."""
        self._templates.pop(release["Id"], None)

    def lifecycle_refusal(self, place: Place, release: Mapping[str, Any]) -> str:
        """Why the lifecycle does not let the release go there now; "" when it does. `PromoteTo` has what it allows."""
        template = self.template(release)
        allowed = template.get("PromoteTo") or []
        if place.tenant is not None:
            allowed = []
            for promotion in template.get("TenantPromotions") or ():
                if promotion["Id"] == place.tenant_id:
                    allowed = promotion.get("PromoteTo") or []
        if any(one["Id"] == place.environment["Id"] for one in allowed) or self.was_there(place, release):
            return ""
        number, names = release["Version"], ", ".join(one["Name"] for one in allowed)
        defects = self.defects(release)
        if defects:
            return f"{place}: the progression of {number} is blocked: {'; '.join(defects)}"
        where = f"it may go to {names}" if names else "it may go nowhere"
        return f"{place}: the lifecycle does not let {number} go there now ({where})"

    def was_there(self, place: Place, release: Mapping[str, Any]) -> bool:
        """A release may always go again where it has been (source: OctopusDeploy/Issues 2449)."""
        return any(place.holds(one) for one in self.api.pages(f"releases/{release['Id']}/deployments"))

    def defects(self, release: Mapping[str, Any]) -> list[str]:
        return defects_of(self.api, release["Id"])

    def missing_packages(self, release: Mapping[str, Any]) -> list[str]:
        """Packages that their feed no longer has. Servers that cannot tell are believed to have them."""
        identifier = release["Id"]
        if identifier not in self._missing:
            document = self.ask(
                f"releases/{identifier}/missingpackages", "Missing packages are not looked for"
            )
            names = [
                f"{one.get('Id')} {one.get('Version')}" for one in (document or {}).get("Packages") or ()
            ]
            self._missing[identifier] = names
        number, names = release["Version"], self._missing[identifier]
        return [f"{number} needs packages that its feeds do not have: {', '.join(names)}"] if names else []

    def freezes(self, place: Place) -> list[Mapping[str, Any]]:
        """Deployment freezes that hold there when the deployment is to begin."""
        if self._freezes is None:
            path = "/api/deploymentfreezes"
            document = self.ask(path, "Deployment freezes are not looked for", skip=0, take=1000)
            self._freezes = list((document or {}).get("DeploymentFreezes") or ())
        found = []
        for freeze in self._freezes:
            start, end = moment_or_none(freeze.get("Start")), moment_or_none(freeze.get("End"))
            if start and end and start <= self.start < end and freeze_holds(freeze, place):
                found.append(freeze)
        return found

    def ask(self, path: str, otherwise: str, **query: Any) -> Optional[Mapping[str, Any]]:
        """The document; None where the server does not know the request, or the account may not make it."""
        try:
            document: Mapping[str, Any] = self.api.get(path, **query)
        except ApiError as error:
            if error.status == 401:
                raise
            self.api.tell(f"{otherwise}: {error.sentence}")
            return None
        return document


def words_of(freeze: Mapping[str, Any]) -> str:
    end = moment_or_none(freeze.get("End"))
    return f"the deployment freeze {freeze['Name']} holds" + (
        f" until {end:%Y-%m-%d %H:%M} UTC" if end else ""
    )


def freeze_holds(freeze: Mapping[str, Any], place: Place) -> bool:
    """Source: docs, API reference, deployment-freeze."""
    project, environment = place.project["Id"], place.environment["Id"]
    if environment in (freeze.get("ProjectEnvironmentScope") or {}).get(project, ()):
        return True
    return any(
        (scope.get("TenantId"), scope.get("ProjectId"), scope.get("EnvironmentId"))
        == (place.tenant_id, project, environment)
        for scope in freeze.get("TenantProjectEnvironmentScope") or ()
    )


def variables_have_changed(template: Mapping[str, Any]) -> bool:
    """Whether the project has other variables now than the release froze; `template` is its deployment template."""
    return bool(template.get("IsVariableSetModified") or template.get("IsLibraryVariableSetModified"))


def update_snapshot(api: Api, release: Mapping[str, Any]) -> None:
    """Freezes the project's variables of now into the release. Doing it twice does no harm, so a lost answer is looked into."""
    for _ in range(MOST_SNAPSHOTS):
        try:
            api.post(f"releases/{release['Id']}/snapshot-variables", {})
            return
        except LostAnswer as error:
            api.tell(f"{error.sentence}. Looking whether the variables were refreshed.")
            if not variables_have_changed(api.get(f"releases/{release['Id']}/deployments/template")):
                return
        except ApiError as error:
            if error.status != 429:
                raise
            api.sleep(max(SNAPSHOT_PAUSE, min(error.retry_after, LONGEST_SNAPSHOT_PAUSE)))
    raise StepFailure(GAVE_UP, f"the variables of {release['Version']} could not be refreshed")


def defects_of(api: Api, release_id: str) -> list[str]:
    """What blocks the progression of a release: its unresolved defects."""
    items = api.get(f"releases/{release_id}/defects").get("Items") or ()
    return [
        str(one.get("Description") or "a defect without a description")
        for one in items
        if one.get("Status") == "Unresolved"
    ]
