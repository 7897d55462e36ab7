"""What a project step holds of its step template: as text for people, edited in the process or not, and after an update.

A step keeps a copy of its template's properties, packages and Git references, and a value for each parameter. `foresee` tells
what Octopus will make of it at another version, from the page *Update step templates* of its documentation; the server decides,
and what it really did is read back. Pure functions.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

from generator.octopus.records import ActionDocument, Document, PropertyValue
from generator.owned_step import TEMPLATE_ID, TEMPLATE_VERSION, text_of
from generator.plan import unified_diff
from generator.step_template import CONTROL_TYPE, SCRIPT_BODY, SENSITIVE
from generator.template_diff import text_lines

OUR_MARKS = "octosteps."
SHORT_FINGERPRINT = 16


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What an update to another version will come to. `properties` and `packages` are the step's afterwards.

    `reasons` say why a person must merge, `missing` are new parameters without any value, `lost` are secrets that the new
    version has no parameter for (Octopus never gives them back), `edited` what people changed in the step's copy.
    """

    properties: Mapping[str, PropertyValue] = field(repr=False)
    packages: Sequence[Document] = field(repr=False, default=())
    reasons: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    lost: Sequence[str] = ()
    edited: Sequence[str] = ()

    @property
    def goes_well(self) -> bool:
        return not self.reasons and not self.missing


def foresee(
    action: ActionDocument,
    held: Document | None,
    wanted: Document,
    values: Mapping[str, PropertyValue],
) -> Foreseen:
    """The step's copy after an update from `held` (the version that it was copied from; None when that is gone) to `wanted`.

    `values` are for new parameters, by name. A value of the step stays; one that is the old default follows the new default
    (unconfirmed); what the template no longer has goes.
    """
    before = dict(action.get("Properties") or {})
    old, new = by_name(held), by_name(wanted)
    template_names = set((held or {}).get("Properties") or {})
    after = {
        name: value for name, value in before.items() if name not in old and name not in template_names
    } | copy.deepcopy(dict(wanted.get("Properties") or {}))
    reasons, missing = dict(reasons_to_merge(held, old, new)), []
    for name, parameter in new.items():
        default = parameter.get("DefaultValue")
        if name in old or held is None:
            value = before.get(name, default)
            after[name] = default if name in old and is_default(value, old[name]) else value
        elif name in values:
            after[name] = values[name]
        elif text_of(default):
            after[name] = default
        else:
            missing.append(name)
    after[TEMPLATE_ID], after[TEMPLATE_VERSION] = str(wanted["Id"]), str(wanted.get("Version"))
    lost = [name for name in old if name not in new and has_secret(before.get(name))]
    return Foreseen(
        properties=after,
        packages=packages_after(action.get("Packages") or (), wanted.get("Packages") or ()),
        reasons=reasons,
        missing=tuple(missing),
        lost=tuple(lost),
        edited=edited_names(action, held),
    )


def reasons_to_merge(
    held: Document | None, old: Mapping[str, Document], new: Mapping[str, Document]
) -> Iterator[tuple[str, str]]:
    """Why Octopus leaves the merge to a person, by property."""
    if held is None:
        yield TEMPLATE_VERSION, "the library no longer has the version that the step was copied from"
    for name in old.keys() & new.keys():
        before, after = control_of(old[name]), control_of(new[name])
        if before != after:
            yield name, f"the parameter changed from {before} to {after}"


def by_name(template: Document | None) -> Mapping[str, Document]:
    """A template's parameters by their names, in the order of its form."""
    return {str(item.get("Name")): item for item in (template or {}).get("Parameters") or ()}


def control_of(parameter: Document) -> str:
    return str((parameter.get("DisplaySettings") or {}).get(CONTROL_TYPE) or "SingleLineText")


def is_sensitive(parameter: Document) -> bool:
    return control_of(parameter) == SENSITIVE


def is_default(value: PropertyValue, parameter: Document) -> bool:
    return not has_secret(value) and text_of(value) == text_of(parameter.get("DefaultValue"))


def has_secret(value: PropertyValue | Any) -> bool:
    return isinstance(value, Mapping) and bool(value.get("HasValue"))


def packages_after(held: Sequence[Document], wanted: Sequence[Document]) -> tuple[Document, ...]:
    """The step's packages at the new version: those chosen in the step stay, the others are the template's."""
    chosen = {item.get("Name"): item for item in held}
    return tuple(
        chosen[item.get("Name")] if is_chosen(item) and item.get("Name") in chosen else item
        for item in wanted
    )


def is_chosen(package: Document) -> bool:
    return (package.get("Properties") or {}).get("SelectionMode") == "deferred"


def edited_names(action: ActionDocument, held: Document | None) -> tuple[str, ...]:
    """Properties of the template that the step holds otherwise: somebody edited its copy in the process."""
    properties = action.get("Properties") or {}
    return tuple(
        name
        for name, value in ((held or {}).get("Properties") or {}).items()
        if not name.startswith(OUR_MARKS) and plain_text(properties.get(name)) != plain_text(value)
    )


def plain_text(value: PropertyValue | Any) -> str:
    """A property to compare by: the portal writes "true" where other clients write "True"."""
    text = text_of(value)
    return text.lower() if text.lower() in ("true", "false") else text


def fingerprint(action: ActionDocument) -> str:
    """A short hash of all that an update can change about a step. What is empty counts as absent: servers fill such fields in."""
    content = [
        action.get("ActionType"),
        {name: text for name, value in (action.get("Properties") or {}).items() if (text := text_of(value))},
        *(
            [
                {k: v for k, v in item.items() if k != "Id" and v}
                for item in cast(Document, action).get(kind) or ()
            ]
            for kind in ("Packages", "GitDependencies")
        ),
    ]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT_FINGERPRINT]


def action_after(action: ActionDocument, foreseen: Foreseen, wanted: Document) -> ActionDocument:
    """The action as an update is expected to leave it."""
    return cast(
        ActionDocument,
        {
            **action,
            "ActionType": wanted.get("ActionType"),
            "Properties": dict(foreseen.properties),
            "Packages": list(foreseen.packages),
            "GitDependencies": list(wanted.get("GitDependencies") or ()),
        },
    )


# --- what a reviewer reads -------------------------------------------------------------------------------------------


def script_of(properties: Mapping[str, PropertyValue]) -> str:
    return text_of(properties.get(SCRIPT_BODY))


def form_lines(properties: Mapping[str, PropertyValue], packages: Sequence[Document]) -> Iterator[str]:
    """A copy as text, one fact a line, without its script and without our own marks; no secret."""
    yield f"version: {text_of(properties.get(TEMPLATE_VERSION))}"
    for name in sorted(properties):
        if name not in (SCRIPT_BODY, TEMPLATE_ID, TEMPLATE_VERSION) and not name.startswith(OUR_MARKS):
            yield from map(shown, text_lines(name, text_of(properties[name])))
    for package in packages:
        facts = " ".join(str(package.get(name) or "") for name in ("PackageId", "FeedId")).strip()
        yield shown(f"package {package.get('Name') or '(primary)'}: {facts or 'chosen in the step'}")


def form_diff(
    before: ActionDocument,
    properties: Mapping[str, PropertyValue],
    packages: Sequence[Document],
    *,
    name: str,
) -> tuple[str, ...]:
    """The lines of a unified diff of everything but the script."""
    return unified_diff(
        list(form_lines(before.get("Properties") or {}, before.get("Packages") or ())),
        list(form_lines(properties, packages)),
        old=f"{name}: now",
        new=f"{name}: after",
    )


def script_diff(
    before: ActionDocument, properties: Mapping[str, PropertyValue], *, name: str
) -> tuple[str, ...]:
    """The lines of a unified diff of the script."""
    hunks = script_hunks(script_of(before.get("Properties") or {}), script_of(properties))
    return (f"--- {name}: script now", f"+++ {name}: script after", *hunks) if hunks else ()


@lru_cache(maxsize=256)
def script_hunks(before: str, after: str) -> tuple[str, ...]:
    """What comes after a diff's two head lines. Many steps share one change, and long scripts take their time."""
    old, new = (list(map(shown, text.split("\n"))) for text in (before, after))
    return unified_diff(old, new, old="", new="")[2:]


def shown(text: str) -> str:
    """A line from elsewhere that can be printed: what a terminal would obey stands as its code."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
