"""What becomes of a step's properties when it moves to another version of its template. Pure functions.

Source: docs, Updating step templates, and API reference, action templates (names of the outcomes, "Paramter" included).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from generator.emulator.documents import Document, Secret, secret_properties

SUCCESS = "Success"
MANUAL_MERGE = "ManualMergeRequired"
DEFAULT_MISSING = "DefaultParamterValueMissing"
PACKAGE_IN_USE = "RemovedPackageInUse"


def updated(
    action: Document,
    held: Document | None,
    wanted: Document,
    *,
    defaults: Mapping[str, Any],
    overrides: Mapping[str, Any],
    package_users: Callable[[str], list[Document]] = lambda name: [],
) -> tuple[Document, Document]:
    """The outcome for this action and its properties afterwards (unchanged unless it is a Success).

    `package_users` tells what relies on a package of the action, by its name. `held` is the version that the step was
    copied from, None when it is gone. Properties of the template overwrite the step's (source: OctopusDeploy/Issues
    8437); a parameter keeps the step's value where that is not the old default. `defaults` and `overrides` are by the names
    of properties, for every step of the request (source: OctopusClients, Model/ActionsUpdateResource.cs); that an override
    wins over the step's value is unconfirmed.
    """
    before: Document = action["Properties"]
    reasons: dict[str, list[str]] = {}
    missing: list[str] = []
    if held is None:
        reasons["Octopus.Action.Template.Version"] = [
            "The previous version of the step template could not be found."
        ]
    old_parameters = {item["Name"]: item for item in (held or {}).get("Parameters", ())}
    new_parameters = {item["Name"]: item for item in wanted["Parameters"]}
    after = {
        name: value
        for name, value in before.items()
        if name not in old_parameters and name not in (held or {}).get("Properties", {})
    }
    after.update(wanted["Properties"])
    for name, parameter in new_parameters.items():
        old = old_parameters.get(name)
        if old is not None and _control(old) != _control(parameter):
            reasons.setdefault(name, []).append("The control type of the parameter has changed.")
        if name in overrides:
            after[name] = secret_properties({name: overrides[name]}, before)[name]
        elif old is not None:
            value = before.get(name, old["DefaultValue"])
            after[name] = parameter["DefaultValue"] if value == old["DefaultValue"] else value
        elif _has_value(parameter["DefaultValue"]):
            after[name] = parameter["DefaultValue"]
        elif name in defaults:
            after[name] = secret_properties({name: defaults[name]}, {})[name]
        else:
            missing.append(name)
    for name in ("Octopus.Action.Template.Id", "Octopus.Action.Template.Version"):
        after[name] = str(wanted["Id"] if name.endswith("Id") else wanted["Version"])
    left = {package["Name"] for package in wanted["Packages"]}
    removed = [package["Name"] for package in (held or {}).get("Packages", ()) if package["Name"] not in left]
    in_use = [usage for name in removed for usage in package_users(name or "")]
    outcome = (
        MANUAL_MERGE if reasons else DEFAULT_MISSING if missing else PACKAGE_IN_USE if in_use else SUCCESS
    )
    document = {
        "Id": action["Id"],
        "Outcome": outcome,
        "ManualMergeRequiredReasonsByPropertyName": reasons,
        "NamesOfNewParametersMissingDefaultValue": missing,
        "RemovedPackageUsages": in_use,
        "Links": {},
    }
    return document, after if outcome == SUCCESS else dict(before)


def references(held: Sequence[Document], wanted: Sequence[Document]) -> list[Document]:
    """The packages of a step after its move. One that is chosen in the step (`SelectionMode` deferred) stays as it was chosen
    there: unconfirmed, but a step would not work otherwise."""
    chosen = {item["Name"]: item for item in held}
    return [
        copy.deepcopy(chosen[item["Name"]] if _is_deferred(item) and item["Name"] in chosen else item)
        for item in wanted
    ]


def _is_deferred(package: Mapping[str, Any]) -> bool:
    return (package.get("Properties") or {}).get("SelectionMode") == "deferred"


def _control(parameter: Mapping[str, Any]) -> object:
    return parameter["DisplaySettings"].get("Octopus.ControlType")


def _has_value(value: object) -> bool:
    return bool(value.value) if isinstance(value, Secret) else bool(value)
