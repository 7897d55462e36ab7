"""How a child is to be deployed: answers to prompts, steps to skip, machines; held against the server's own preview."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Mapping, Sequence

from generator.runtime.api import Api
from generator.runtime.lookup import Place
from generator.runtime.options import near_option, parse_names
from generator.runtime.record import Record

INHERIT = "inherit"


class Wishes(Record):
    """What a person wrote, by name. `machines` and `excluded` may instead be the parent's ids, narrowed to what fits."""

    variables: Mapping[str, str]
    skip_steps: Sequence[str]
    machines: Sequence[str]
    excluded: Sequence[str]
    inherits: bool = False


class Fitted(Record):
    """What the wishes come to at one place: fields of the deployment, what is against it, and which wishes mean something."""

    settings: Mapping[str, Any]
    faults: Sequence[str]
    met: frozenset[tuple[str, str]]
    skipped: str
    preview: Mapping[str, Any]


def read_preview(api: Api, release: Mapping[str, Any], place: Place) -> Mapping[str, Any]:
    frozen = f"releases/{release['Id']}/deployments"
    if place.runbook is not None:
        frozen = f"runbookSnapshots/{release['Id']}/runbookRuns"
    path = f"{frozen}/preview/{place.environment['Id']}"
    document: Mapping[str, Any] = api.get(path + (f"/{place.tenant_id}" if place.tenant_id else ""))
    return document


def fit(place: Place, wishes: Wishes, preview: Mapping[str, Any], earlier: Mapping[str, Any] = {}) -> Fitted:
    """Holds `wishes` against the preview of one place. A wish that means nothing here may mean something elsewhere.

    `earlier` are answers to prompts by form element; those that are still asked for hold where nothing else is wished.
    """
    settings: dict[str, Any] = {}
    faults: list[str] = []
    met: set[tuple[str, str]] = set()
    answers = fit_variables(wishes.variables, preview, faults, met, place, earlier)
    if answers:
        settings["FormValues"] = answers
    skips = fit_steps(wishes.skip_steps, preview, faults, met, place)
    if skips:
        settings["SkipActions"] = skips
    machines = machines_of(preview)
    chosen = fit_machines("machines", wishes.machines, machines, met)
    excluded = fit_machines("exclude_machines", wishes.excluded, machines, met)
    left = [one for one in chosen or machines if one not in excluded]
    skipped = ""
    if (wishes.machines and not chosen) or ((wishes.machines or excluded) and not left):
        # An empty selection would mean every machine.
        whose = (
            "the machines of the own deployment" if wishes.inherits else "the machines that the step names"
        )
        skipped = f"{place}: of {whose} none is left there"
    if chosen:
        settings["SpecificMachineIds"] = chosen
    if excluded:
        settings["ExcludedMachineIds"] = excluded
    return Fitted(settings, faults, frozenset(met), skipped, preview)


def fit_variables(
    variables: Mapping[str, str],
    preview: Mapping[str, Any],
    faults: list[str],
    met: set[tuple[str, str]],
    place: Place,
    earlier: Mapping[str, Any],
) -> dict[str, str]:
    """Values by the names of the form's elements, which are ids (source: OctopusClients, Model/Forms). No value is ever told."""
    given = {name.lower(): (name, value) for name, value in variables.items()}
    form = preview.get("Form") or {}
    answers: dict[str, str] = {}
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        if control.get("Type") not in (None, "VariableValue"):
            continue
        name, label = control.get("Name") or "", control.get("Label") or ""
        wish = given.get(name.lower()) or given.get(label.lower())
        if wish is not None:
            met.add(("variable", wish[0]))
            answers[element["Name"]] = wish[1]
        elif isinstance(earlier.get(element["Name"]), str):
            answers[element["Name"]] = earlier[element["Name"]]
        value = answers.get(element["Name"], (form.get("Values") or {}).get(element["Name"]))
        required = element.get("IsValueRequired") or control.get("Required")
        # The form does not show whether a sensitive variable has a default: then the server judges.
        if required and not value and (wish is not None or not control.get("IsSecure")):
            faults.append(f"{place}: the prompted variable {label or name} needs a value")
    return answers


def fit_steps(
    names: Sequence[str],
    preview: Mapping[str, Any],
    faults: list[str],
    met: set[tuple[str, str]],
    place: Place,
) -> list[str]:
    """Ids of the actions that the names or numbers mean; `2` means 2.1 and 2.2 as well."""
    skips = []
    for action in preview.get("StepsToExecute") or ():
        number = str(action.get("ActionNumber") or "")
        spelled = {str(action["ActionName"]).lower(), number, number.partition(".")[0]}
        for name in names:
            if name.lower() in spelled:
                met.add(("step", name))
                if action.get("CanBeSkipped") is False:
                    faults.append(f"{place}: the step {action['ActionName']} cannot be skipped")
                elif action["ActionId"] not in skips:
                    skips.append(action["ActionId"])
    return skips


def machines_of(preview: Mapping[str, Any]) -> dict[str, str]:
    """Names by id of all machines that the preview's steps would use."""
    found: dict[str, str] = {}
    for action in preview.get("StepsToExecute") or ():
        for machine in action.get("Machines") or ():
            found[machine["Id"]] = machine.get("Name") or machine["Id"]
    return found


def fit_machines(
    kind: str, names: Sequence[str], machines: Mapping[str, str], met: set[tuple[str, str]]
) -> list[str]:
    """Ids of the machines that the names or ids mean here."""
    chosen = []
    for name in names:
        for identifier, called in machines.items():
            if name.lower() in (identifier.lower(), called.lower()):
                met.add((kind, name))
                if identifier not in chosen:
                    chosen.append(identifier)
    return chosen


def prompts_of(fitted: Fitted) -> list[str]:
    """The prompted variables by name, and how each gets its value; never the value."""
    answers = fitted.settings.get("FormValues") or {}
    form = fitted.preview.get("Form") or {}
    told = []
    for element in form.get("Elements") or ():
        control = element.get("Control") or {}
        name = control.get("Name") or control.get("Label") or element["Name"]
        how = "given" if element["Name"] in answers else "default"
        told.append(f"{name} ({how})")
    return told


def unmet(wishes: Wishes, fitted: Sequence[Fitted]) -> list[str]:
    """What matches nothing anywhere, each with near names."""
    met = frozenset().union(*(one.met for one in fitted))
    previews = [one.preview for one in fitted]
    prompts = [
        element["Control"].get("Label") or element["Control"].get("Name")
        for preview in previews
        for element in (preview.get("Form") or {}).get("Elements") or ()
        if element.get("Control")
    ]
    steps = [action["ActionName"] for preview in previews for action in preview.get("StepsToExecute") or ()]
    machines = [name for preview in previews for name in machines_of(preview).values()]
    asked: list[tuple[str, Sequence[str], str, Sequence[str]]] = [
        ("variable", list(wishes.variables), "prompted variable", prompts),
        ("step", wishes.skip_steps, "step to skip", steps),
    ]
    if not wishes.inherits:
        asked.append(("machines", wishes.machines, "machine in use there", machines))
        asked.append(("exclude_machines", wishes.excluded, "machine in use there", machines))
    return [
        f"there is no {what} {name!r} ({near_option(name, known)})"
        for kind, names, what, known in asked
        for name in names
        if (kind, name) not in met
    ]


def inherited(step: Any) -> tuple[Sequence[str], Sequence[str]]:
    """Ids of the machines that the own deployment is restricted to, and of those that it leaves out (source: docs, System
    variables)."""
    specific = parse_names(step.variable("Octopus.Deployment.SpecificMachines"))
    return specific, parse_names(step.variable("Octopus.Deployment.ExcludedMachines"))


def wishes_of(parameters: Any, more: Mapping[str, Any]) -> Wishes:
    machines, excluded = more["machines"], more["exclude_machines"]
    inherits = [name.lower() for name in machines] == [INHERIT]
    if inherits:
        machines, own_excluded = inherited(parameters.step)
        excluded = (*excluded, *own_excluded)
    return Wishes(parameters.variables or {}, parameters.skip_steps or (), machines, excluded, inherits)


def settings_of(parameters: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the deployment that are the same in every place."""
    settings: dict[str, Any] = {}
    if more["guided_failure"] != "default":  # whoever has failures answered wants to be asked
        settings["UseGuidedFailure"] = more["guided_failure"] != "off"
    if more["force_package_download"]:
        settings["ForcePackageDownload"] = True
    if more["priority"] != "default":
        settings["Priority"] = {"on": "On", "off": "Off"}[more["priority"]]
    if parameters.start is not None:
        settings["QueueTime"] = parameters.start.isoformat()
    if more["expire"] is not None:
        start = parameters.start or datetime.now(timezone.utc)
        settings["QueueTimeExpiry"] = (start + more["expire"]).isoformat()
    return settings
