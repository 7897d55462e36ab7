"""Usages, planned updates and their results, as a person reads them and as JSON. Nothing is printed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from generator.octopus import Client
from generator.octopus.records import PropertyValue
from generator.outcome import Part, Table
from generator.step_copy import form_diff, script_diff, shown
from generator.usage_plan import Intended, Result, foreseen_sentence
from generator.usage_record import Return
from generator.usages import OWNED, Seen, Usage, many

SIGNS: Mapping[str, str] = {"updated": "~", "done": "=", "left": "=", "failed": "!", "not begun": "!"}


SNAPSHOTS = "the copies in releases and runbook snapshots, which stay as they were made"


def printable(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts without what a terminal would obey: names, scripts and refusals are others' texts. Tables have it out already."""
    return tuple("\n".join(map(shown, part.split("\n"))) if isinstance(part, str) else part for part in parts)


COLUMNS = ("space", "template", "project", "process", "branch", "step", "version", "current", "state")


def cells(usage: Usage) -> list[str | None]:
    place = usage.place
    texts = (
        place.space.name,
        usage.template_name,
        place.project,
        place.process,
        place.branch,
        usage.step,
        None if usage.held is None else str(usage.held),
        None if usage.current is None else str(usage.current),
        usage.state,
    )
    return [shown(text) if text else None for text in texts]


def table_of(usages: Sequence[Usage], *, spaces: bool) -> Table:
    hidden = set() if spaces else {"space"}
    if not any(usage.place.git_ref for usage in usages):
        hidden.add("branch")
    kept = [index for index, name in enumerate(COLUMNS) if name not in hidden]
    return Table(
        columns=[COLUMNS[index] for index in kept],
        rows=[[cells(usage)[index] for index in kept] for usage in usages],
    )


def summary(seen: Seen) -> str:
    counts = Counter(usage.state for usage in seen.usages)
    if not counts:
        return "No step of these projects is made from these templates."
    templates = len({(usage.place.space.id, usage.template_id) for usage in seen.usages})
    projects = len({(usage.place.space.id, usage.place.project_id) for usage in seen.usages})
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return (
        f"{many(len(seen.usages), 'usage', 'usages')} of {many(templates, 'template', 'templates')} "
        f"in {many(projects, 'project', 'projects')}: {states}."
    )


def unseen_lines(seen: Seen) -> Iterator[str]:
    for sentence in (*seen.unseen, *((SNAPSHOTS,) if seen.usages else ())):
        yield f"  not seen: {sentence}"
    for note in seen.notes:
        yield f"  note: {note}"


def usage_json(usage: Usage) -> dict[str, object]:
    place = usage.place
    return {
        "space": place.space.name,
        "template": usage.template_name,
        "templateId": usage.template_id,
        "project": place.project,
        "projectId": place.project_id,
        "runbook": place.runbook or None,
        "branch": place.branch or None,
        "step": usage.step,
        "actionId": usage.action.get("Id"),
        "version": usage.held,
        "current": usage.current,
        "state": usage.state,
        "owned": usage.state == OWNED,
    }


def document(client: Client, seen: Seen) -> dict[str, object]:
    return {
        "target": client.root,
        "usages": [usage_json(usage) for usage in seen.usages],
        "unseen": [*seen.unseen, *((SNAPSHOTS,) if seen.usages else ())],
        "notes": list(seen.notes),
    }


def preview_lines(
    intended: Sequence[Intended], left: Sequence[Result], values: Mapping[str, PropertyValue]
) -> Iterator[str]:
    """Each step with what will come of it and the diff of its copy. A change of script that many steps share is shown once."""
    once = Once()
    for item in intended:
        sign = "~" if item.foreseen.goes_well else "!"
        yield f"  {sign} {item.usage.template_name}: {item.usage.name}: {foreseen_sentence(item)}"
        name, after = item.usage.name, item.foreseen
        form = form_diff(item.usage.action, after.properties, after.packages, name=name)
        yield from once.show(name, form, script_diff(item.usage.action, after.properties, name=name))
    yield from map(result_line, left)
    for name in values:
        if intended and not any(name in item.values for item in intended):
            yield f"  warning: --set {name}: it is new in none of these steps, and the values that they have stay"


class Once:
    """Diffs of steps as parts; a change of script that was shown before is only named."""

    def __init__(self) -> None:
        self.first_with: dict[tuple[str, ...], str] = {}

    def show(self, name: str, form: Sequence[str], script: Sequence[str]) -> Iterator[str]:
        if form:
            yield "\n".join(form)
        if not script:
            return
        same = self.first_with.setdefault(tuple(script[2:]), name)
        yield "\n".join(script) if same == name else f"    script: the same change as in {same}"


def intended_json(item: Intended) -> dict[str, object]:
    after, name = item.foreseen, item.usage.name
    return {
        **usage_json(item.usage),
        "goesWell": after.goes_well,
        "sentence": foreseen_sentence(item),
        "updateBranch": item.branch.name if item.branch else None,
        "diff": [
            *form_diff(item.usage.action, after.properties, after.packages, name=name),
            *script_diff(item.usage.action, after.properties, name=name),
        ],
    }


def result_line(result: Result) -> str:
    usage = result.usage
    return f"  {SIGNS[result.outcome]} {usage.template_name}: {usage.name}: {result.sentence}"


def result_json(result: Result) -> dict[str, object]:
    return {
        **usage_json(result.usage),
        "outcome": result.outcome,
        "sentence": result.sentence,
        "ok": result.ok,
        "updateBranch": result.branch or None,
    }


def amount(items: Sequence[Intended]) -> str:
    processes = len({item.unit for item in items})
    return f"{many(len(items), 'step', 'steps')} in {many(processes, 'process', 'processes')}"


def return_lines(planned: Sequence[Return]) -> Iterator[str]:
    once = Once()
    for item in planned:
        sign = "~" if item.writes else "=" if item.ok else "!"
        yield f"  {sign} {item.entry.template}: {item.entry.where}: {item.sentence}"
        yield from once.show(item.entry.where, item.form, item.script)
