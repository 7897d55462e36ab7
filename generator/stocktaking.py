"""Steps of ours as a coordination file says them: what stands in a project's processes, in the file's words. Pure.

The other way round is `resolution`'s. What an existing file says in other words, and means the same, stays in its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generator import concurrency_tag
from generator.coordination import CONDITIONS, MINUTES, octopus_value, parameter_of, parse_minutes
from generator.edited_yaml import beside
from generator.library import FoundTemplate
from generator.octopus.records import Document, StepDocument
from generator.owned_step import (
    FACTS,
    POSITION,
    SECRET,
    TEMPLATE_ID,
    VALUE,
    Owned,
    fact_of,
    find_owned,
    hash_of,
    read_file,
    read_put,
    text_of,
)
from generator.resolution import FoundProcess
from generator.spec import Parameter, Spec
from generator.step_order import joins
from generator.step_template import SENSITIVE

Values = dict[str, Any]
KEYS = (
    *("key", "template", "name", "after", "before", "parallel", "condition", "environments"),
    *(
        "excluded_environments",
        "channels",
        "tenant_tags",
        "target_roles",
        "worker_pool",
        "container",
        "retries",
    ),
    *("time_limit", "with"),
)
LISTS = {
    "environments": "environments",
    "excluded environments": "excluded_environments",
    "channels": "channels",
    "tenant tags": "tenant_tags",
}


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a space calls its things, by id; the channels are a project's."""

    environments: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    worker_pools: Mapping[str, str] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Stock:
    """One process while it is taken stock of: `left` are sentences about what the file cannot say."""

    place: FoundProcess
    file: str
    templates: Mapping[str, FoundTemplate]  # by id
    specs: Mapping[str, Spec]  # by template name
    names: Names
    former: Sequence[Values] = ()  # the steps as the file has them
    left: list[str] = field(default_factory=list)

    def owned(self) -> Mapping[str, Owned]:
        """Our steps that the file put here, by key, in the order of the process."""
        found = find_owned(self.place.document["Steps"], self.place.owner)
        mine = {
            key: members[0]
            for key, members in found.items()
            if len(members) == 1 and read_file(members[0].action) in ("", self.file)
        }
        for key, members in found.items():
            if len(members) > 1:
                names = " and ".join(repr(owned.action["Name"]) for owned in members)
                self.left.append(
                    f"{names} both carry the key {key!r}: people have copied the step; remove one"
                )
        order = {id(step): index for index, step in enumerate(self.place.document["Steps"])}
        return dict(sorted(mine.items(), key=lambda item: order[id(item[1].step)]))

    def absent(self) -> list[str]:
        """Keys of the file that the process does not have."""
        owned = self.owned()
        return [step["key"] for step in self.former if step["key"] not in owned]

    def steps(self, places: Mapping[str, Values]) -> list[Values]:
        """Every step as the file says it, in the file's order and words where it has them. `places` are for steps whose place
        is not where they were put."""
        known = {step["key"]: step for step in self.former}
        made: dict[str, Values] = {}
        for key, owned in self.owned().items():
            step = self.step(key, owned, known.get(key, {}))
            if step is not None:
                made[key] = self.placed(step, owned, known.get(key), places.get(key))
        keys = list(known)
        for index, key in enumerate(made):
            if key not in known:
                before = [other for other in list(made)[:index] if other in keys]
                keys.insert(keys.index(before[-1]) + 1 if before else 0, key)
        for key in known:
            if key not in made:
                self.left.append(f"the file's step {key!r} is not in the process: apply would put it there")
        return [made.get(key) or known[key] for key in keys]

    def step(self, key: str, owned: Owned, former: Values) -> Values | None:
        """One step without its place."""
        identity = text_of(owned.action.get("Properties", {}).get(TEMPLATE_ID))
        template = self.templates.get(identity)
        name = str(owned.action.get("Name"))
        if template is None:
            self.left.append(f"{name}: it is made from no step template of this space any more")
            return None
        made: Values = {"key": key, "template": template.name, "name": name}
        facts = {fact: FACTS[fact].read(*owned) for fact in FACTS}
        words = {value: word for word, value in CONDITIONS.items()}
        if facts["condition"] == "Variable":
            made["condition"] = {"variable": facts["condition expression"]}
        elif facts["condition"] != "Success":
            made["condition"] = words.get(facts["condition"], "success")
        for fact, word in LISTS.items():
            known = {
                "environments": self.names.environments,
                "excluded environments": self.names.environments,
            }
            ids = self.named(facts[fact], known.get(fact, self.names.channels if fact == "channels" else {}))
            if ids:
                made[word] = former[word] if sorted(former.get(word, ())) == sorted(ids) else ids
        if facts["target roles"]:
            made["target_roles"] = facts["target roles"].split(",")
        if facts["worker pool variable"]:
            made["worker_pool"] = "#" + "{" + facts["worker pool variable"] + "}"
        elif facts["worker pool"]:
            [made["worker_pool"]] = self.named(facts["worker pool"], self.names.worker_pools)
        if facts["container image"] and facts["container feed"]:
            [feed] = self.named(facts["container feed"], self.names.feeds)
            made["container"] = {"image": facts["container image"], "feed": feed}
        if facts["retries"].isdecimal() and int(facts["retries"]):
            made["retries"] = int(facts["retries"])
        if facts["time limit"].isdecimal() and int(facts["time limit"]):
            minutes = int(facts["time limit"])
            same = parse_minutes(former.get("time_limit", "")) == minutes
            made["time_limit"] = former["time_limit"] if same else write_minutes(minutes)
        values = self.values(name, owned, template, former.get("with", {}))
        if values:
            made["with"] = values
        return beside(former, {word: made[word] for word in KEYS if word in made})

    def named(self, text: str, known: Mapping[str, str]) -> list[str]:
        """The names of ids; what has none stays as it is, and plan tells."""
        return [known.get(part, part) for part in text.split("\n")] if text else []

    def values(self, name: str, owned: Owned, template: FoundTemplate, former: Values) -> Values:
        """The values of the template's parameters that are not its defaults."""
        spec = self.specs.get(template.name)
        parameters: Sequence[Parameter] = (
            spec.parameters if spec else tuple(map(parameter_of, template.content.parameters))
        )
        published = {item.name: item for item in template.content.parameters}
        made: Values = {}
        for parameter in parameters:
            item = published.get(parameter.variable)
            if item is None:
                continue
            text = fact_of(VALUE + parameter.variable).read(*owned)
            if item.control_type == SENSITIVE and text == SECRET:
                self.left.append(
                    f"{name}: people typed the secret {parameter.key}; bind it to a sensitive variable of the project"
                )
                continue
            if parameter.key in former and says(parameter, former[parameter.key], text):
                made[parameter.key] = former[parameter.key]
            elif text != (item.default or ""):
                value = write_value(parameter, text)
                if value is None:
                    self.left.append(f"{name}: {parameter.key} is {text!r}, which does not fit its type")
                else:
                    made[parameter.key] = value
        return beside(former, made)

    # --- places

    def placed(self, step: Values, owned: Owned, former: Values | None, place: Values | None) -> Values:
        """The step with its place: the given one, else where it was put, in the former file's words where they say that."""
        words = ("after", "before", "parallel")
        found: Values | None = place
        if found is None:
            put = read_put(owned.action).get(POSITION)
            candidates = [{word: former[word] for word in words if word in former}] if former else []
            candidates += self.candidates(owned)
            found = next(
                (one for one in candidates if put is not None and hash_of(position(one)) == put), None
            )
        if found is None:
            found = derived(self.place.document["Steps"], owned.step)[0]
        ordered = {**step, **found}
        return beside(former or {}, {word: ordered[word] for word in KEYS if word in ordered})

    def candidates(self, owned: Owned) -> Iterator[Values]:
        """Every place that a file could name here: which one it was only a hash tells."""
        yield {}
        keys = find_owned(self.place.document["Steps"], self.place.owner)
        names = [str(step.get("Name")) for step in self.place.document["Steps"]]
        names += [
            str(action.get("Name")) for step in self.place.document["Steps"] for action in step["Actions"]
        ]
        for name in dict.fromkeys([*names, *keys]):
            for side in ("after", "before"):
                yield {side: name}
                yield {side: name, "parallel": True}


def position(place: Values) -> str:
    """The place as `octosteps.put` keeps it: `WantedStep.position`."""
    side = "after" if "after" in place else "before" if "before" in place else "last"
    anchor = str(place.get("after") or place.get("before") or "").casefold()
    return f"{side} {anchor}{' parallel' if place.get('parallel') else ''}"


def derived(steps: Sequence[StepDocument], step: StepDocument) -> list[Values]:
    """Ways to name the place where the step stands now, the likeliest first."""
    index = next(index for index, other in enumerate(steps) if other is step)
    ahead = str(steps[index - 1]["Name"]) if index else ""
    behind = str(steps[index + 1]["Name"]) if index + 1 < len(steps) else ""
    ways: list[Values] = []
    if index and joins(step):
        ways.append({"after": ahead, "parallel": True})
    elif index:
        ways.append({"after": ahead})
    if behind:
        heads = joins(steps[index + 1])
        ways.append({"before": behind, "parallel": True} if heads else {"before": behind})
    return ways or [{}]


# --- values -----------------------------------------------------------------------------------------------------------------


def says(parameter: Parameter, value: object, text: str) -> bool:
    """Whether a value of a file is this text of Octopus'."""
    try:
        return octopus_value(parameter, value) == text
    except ValueError:
        return False


def write_value(parameter: Parameter, text: str) -> object:
    """The text as a file says it; None when no value says it."""
    candidates: list[object] = [text]
    if parameter.type == "boolean" and text.lower() in ("true", "false"):
        candidates.insert(0, text.lower() == "true")
    if parameter.type == "integer" and text.isdecimal() and str(int(text[:18])) == text:
        candidates.insert(0, int(text))
    if parameter.type in ("lines", "pairs") and "\n" in text:
        candidates.append(text + "\n")
    return next((value for value in candidates if says(parameter, value, text)), None)


def write_minutes(minutes: int) -> str:
    """`1d12h` for 2160."""
    text = ""
    for unit, size in MINUTES.items():
        if minutes >= size:
            text += f"{minutes // size}{unit}"
            minutes %= size
    return text


def read_tag(variable_set: Document | None, owner: str, file: str) -> str | None:
    """The project's concurrency tag, if a file of this name keeps it."""
    for variable in (variable_set or {}).get("Variables") or ():
        if str(
            variable.get("Name")
        ).casefold() == concurrency_tag.NAME.casefold() and concurrency_tag.is_ours(variable, owner):
            mark = concurrency_tag.MARK.search(str(variable.get("Description") or ""))
            if mark and mark["file"] == file:
                return str(variable.get("Value") or "") or None
    return None
