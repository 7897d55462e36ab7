"""Octopus' four outcomes of an update of steps, as sentences with what to do. Pure functions.

Source: API reference, *Action templates*; OctopusClients, Model/ActionUpdateOutcome.cs and ActionUpdateRemovedPackageUsage.cs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from generator.octopus.records import Document, Json

USERS: Mapping[str, str] = {
    "ProjectVersionStrategy": "the release numbers of project",
    "ProjectReleaseCreationStrategy": "the automatic release creation of project",
    "ChannelRule": "a version rule of channel",
}


def explain(outcome: Document) -> str:
    """What one of Octopus' outcomes means and what to do; empty for a success."""
    match outcome.get("Outcome"):
        case "Success":
            return ""
        case "ManualMergeRequired":
            return explain_merge(outcome.get("ManualMergeRequiredReasonsByPropertyName") or {})
        case "DefaultParamterValueMissing":  # Octopus' own spelling
            return explain_missing(outcome.get("NamesOfNewParametersMissingDefaultValue") or ())
        case "RemovedPackageInUse":
            return explain_packages(outcome.get("RemovedPackageUsages") or ())
        case other:
            return f"Octopus answers {other!r}, which octosteps does not know: update the step in Octopus' portal"


def explain_merge(reasons: Mapping[str, Sequence[str]]) -> str:
    told = "; ".join(f"{name}: {' '.join(map(str, why))}" for name, why in reasons.items())
    return (
        f"needs a merge by hand{f' ({told})' if told else ''}: open the step in Octopus, press Update there and check its "
        "values; a parameter that changes its kind is better given a new name"
    )


def explain_missing(names: Sequence[str]) -> str:
    settings = " ".join(f"--set {quoted(f'{name}=VALUE')}" for name in names)
    return f"new without a value: {', '.join(names)}: give {settings} (VALUE may be empty), or the template a default"


def quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w.=-]+", text) else f"'{text}'"


def explain_packages(usages: Sequence[Document]) -> str:
    told = "; ".join(
        f"{usage.get('PackageReference') or '(the primary one)'}, by {USERS.get(str(usage.get('UsedBy')), 'its')} "
        f"{usage.get('UsedByName')}"
        for usage in usages
    )
    return f"the new version drops a package that is still in use ({told}): change that first, then run this again"


def read_outcomes(answer: Json) -> Mapping[str, Document]:
    """The outcomes in an answer or in the `Details` of a refusal, by action id, whatever they are wrapped in: the layout of
    `Details` is not published."""
    found: dict[str, Document] = {}
    if isinstance(answer, Mapping):
        if isinstance(answer.get("Outcome"), str) and isinstance(answer.get("Id"), str):
            return {answer["Id"]: dict(answer)}
        for item in answer.values():
            found.update(read_outcomes(item))
    elif isinstance(answer, list):
        for item in answer:
            found.update(read_outcomes(item))
    return found
