"""`octosteps usages`: where step templates are used, moving the steps that are behind, and putting their former copies back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import httpx

from generator.errors import Refusal
from generator.octopus import Client, Space, connect, read_target
from generator.octopus.permissions import read_lack
from generator.octopus.records import PropertyValue
from generator.outcome import Confirm, Outcome, Part, Progress, quiet
from generator.settings import read_settings
from generator.source import closest_or_all
from generator.step_copy import by_name, is_sensitive, shown
from generator.usage_plan import Intended, Result, intend, needs_of
from generator.usage_reading import in_space, read_usages
from generator.usage_record import Record, Return, by_process, plan_return, put_back, read_record
from generator.usage_report import (
    amount,
    cells,
    document,
    intended_json,
    preview_lines,
    printable,
    result_json,
    result_line,
    return_lines,
    summary,
    table_of,
    unseen_lines,
    usage_json,
)
from generator.usage_updates import update_all
from generator.usages import BEHIND, Seen, Wish, is_meant, many, side_by_side

EXIT_CHANGES_WAIT = 4
Tell = Callable[[str], None]
EFFECT = "An update takes effect with the project's next release, or the runbook's next published snapshot."


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    wish: Wish
    behind: bool = False
    diff: bool = False
    update: bool = False
    settings: Sequence[str] = ()
    first: str | None = None
    force: bool = False
    record: Path | None = None
    exit_code: bool = False


def run(
    *,
    root: Path,
    asked: Asked,
    back: Path | None = None,
    environ: Mapping[str, str],
    target: str | None = None,
    space: str | None = None,
    confirm: Confirm | None = None,
    tell: Tell | None = None,
    note: Tell = lambda text: None,
    progress: Progress = quiet,
    http: httpx.Client | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Outcome:
    """The list of usages; with `diff` what an update would change; with `update` the update itself; with `back`, a record that an
    update wrote, the way back. Without `update` nothing is ever written.

    `confirm` asks before writing (None: nobody is asked). `tell` gets what will be written before it is, so that a run that is
    killed has said it; without it the outcome holds it. `note` gets a line as soon as there is a record to go back by. Exit code
    1 where a step was not updated that should have been.
    """
    place = read_target(environ, read_settings(root).targets, name=target, space=space)
    with connect(
        place.url, api_key=place.api_key, access_token=place.access_token, space=place.space, http=http
    ) as client:
        if back is not None:
            return go_back(client, back, asked, confirm=confirm, tell=tell, progress=progress)
        seen = read_usages(client, asked.wish, progress=progress)
        if not asked.diff and not asked.update:
            return listing(client, seen, asked)
        values = read_values(asked.settings, seen, environ)
        intended, left = intend(seen, values, force=asked.force)
        if not asked.update:
            return preview(client, seen, asked, intended, left, values)
        name = f"usages-{now():%Y%m%d-%H%M%S}.jsonl"
        record = Record(
            asked.record or root / name, server=client.root, is_new=asked.record is None, tell=note
        )
        return Update(client, seen, asked, record, confirm, tell, progress).carry_out(intended, left, values)


# --- listing -----------------------------------------------------------------------------------------------------------


def listing(client: Client, seen: Seen, asked: Asked) -> Outcome:
    usages = [usage for usage in seen.usages if not asked.behind or usage.state == BEHIND]
    parts: list[Part] = []
    if usages:
        parts.append(table_of(usages, spaces=asked.wish.all_spaces))
    parts += [*unseen_lines(seen), summary(seen)]
    if any(usage.state == BEHIND for usage in seen.usages):
        parts.append("--diff shows what an update changes, --update does it.")
    return Outcome(
        data={**document(client, seen), "usages": [usage_json(usage) for usage in usages]},
        parts=printable(parts),
        lines=["\t".join(cell or "-" for cell in cells(usage)) for usage in usages],
        exit_code=exit_code(asked, seen),
    )


def tell_all(parts: Sequence[str], tell: Tell) -> list[str]:
    """Say the parts now; what is left to say of them afterwards is nothing."""
    for part in printable(parts):
        tell(str(part))
    return []


def question_of(*lines: str) -> str:
    return "\n".join(str(part) for part in printable(lines))


def exit_code(asked: Asked, seen: Seen) -> int:
    waits = any(usage.state == BEHIND for usage in seen.usages)
    return EXIT_CHANGES_WAIT if asked.exit_code and waits else 0


# --- what an update would do -------------------------------------------------------------------------------------------


def read_values(settings: Sequence[str], seen: Seen, environ: Mapping[str, str]) -> dict[str, PropertyValue]:
    """The values for new parameters, by name. Refusal that names every one that cannot be used."""
    parameters = {
        name: parameter for usage in seen.usages for name, parameter in by_name(usage.template).items()
    }
    values: dict[str, PropertyValue] = {}
    faults = []
    for setting in settings:
        key, separator, text = setting.partition("=")
        key = key.strip()
        if not separator or not key:
            faults.append("--set takes KEY=VALUE, and one of them is not of that form")
        elif key not in parameters:
            known = closest_or_all(key, parameters) if parameters else "no template is used here"
            faults.append(f"--set {key}: no template in question has such a parameter ({known})")
        elif not is_sensitive(parameters[key]) or text.lstrip().startswith("#{"):
            values[key] = text
        elif not text:
            values[key] = {"HasValue": False, "NewValue": None}
        elif not text.startswith("env:"):
            faults.append(
                f"--set {key}: a secret on the command line can be read by others "
                f"(put it into the environment and write {key}=env:NAME, or bind it to a variable: {key}='#{{...}}')"
            )
        elif not environ.get(text.removeprefix("env:")):
            faults.append(f"--set {key}: the environment variable {text.removeprefix('env:')!r} is not set")
        else:
            values[key] = {"HasValue": True, "NewValue": environ[text.removeprefix("env:")]}
    if faults:
        raise Refusal("\n".join(faults))
    return values


def preview(
    client: Client,
    seen: Seen,
    asked: Asked,
    intended: Sequence[Intended],
    left: Sequence[Result],
    values: Mapping[str, PropertyValue],
) -> Outcome:
    parts = [*preview_lines(intended, left, values), *unseen_lines(seen), summary(seen)]
    ready = sum(item.foreseen.goes_well for item in intended)
    if ready == len(intended) > 0:
        parts.append("--update does this.")
    elif intended:
        parts.append(f"--update does this for {ready} of {many(len(intended), 'step', 'steps')}.")
    return Outcome(
        data={
            **document(client, seen),
            "updates": [intended_json(item) for item in intended],
            "left": [result_json(result) for result in left],
        },
        parts=printable(parts),
        lines=[shown(f"update {item.usage.name}") for item in intended],
        exit_code=exit_code(asked, seen),
    )


# --- updating ----------------------------------------------------------------------------------------------------------


class Update:
    """One run of `--update`: ask, write, tell."""

    def __init__(
        self,
        client: Client,
        seen: Seen,
        asked: Asked,
        record: Record,
        confirm: Confirm | None,
        tell: Tell | None,
        progress: Progress,
    ) -> None:
        self.client, self.seen, self.asked = client, seen, asked
        self.record, self.confirm, self.tell, self.progress = record, confirm, tell, progress

    def carry_out(
        self, intended: Sequence[Intended], left: Sequence[Result], values: Mapping[str, PropertyValue]
    ) -> Outcome:
        if not intended:
            lines = [
                *map(result_line, left),
                *unseen_lines(self.seen),
                f"Nothing to update. {summary(self.seen)}",
            ]
            return self.outcome(left, lines, bad=not all(result.ok for result in left))
        for space_id in dict.fromkeys(item.usage.place.space.id for item in intended):
            here = [item for item in intended if item.usage.place.space.id == space_id]
            lack = read_lack(self.seen.clients[space_id], needs_of(here))
            if lack:
                raise Refusal(f"nothing was written: {lack} (space {here[0].usage.place.space.name!r})")
        leading, rest = self.split(intended)
        told = list(preview_lines(intended, left, values))
        if self.confirm is not None:
            question = f"Update {amount(leading)}{' first' if rest else ''}?"
            if not self.confirm(question_of(*told, question)):
                return self.outcome(left, ["Nothing was written."], bad=True)
            told = []
        elif self.tell is not None:
            told = tell_all(told, self.tell)
        results, went_on = update_all(self.seen, leading, self.record, progress=self.progress), False
        lines = [*map(result_line, results)]
        if rest and not all(result.ok for result in results):
            lines.append(f"Stopped after {leading[0].usage.place.project}: {amount(rest)} are as they were.")
        elif rest and self.confirm is None:
            lines.append(
                f"Stopped after {leading[0].usage.place.project}, as --first asks: {amount(rest)} wait. "
                "Look at it, deploy it, then run this again without --first."
            )
        elif rest and self.confirm is not None:
            if self.confirm(question_of(*lines, f"Update the other {amount(rest)}?")):
                more = update_all(self.seen, rest, self.record, progress=self.progress)
                results, lines, went_on = (*results, *more), [*map(result_line, more)], True
            else:
                lines = [f"Stopped after {leading[0].usage.place.project}: {amount(rest)} wait."]
        asked_for = results if rest and not went_on else (*results, *left)
        return self.outcome(
            (*results, *left), [*told, *lines, *self.closing(results)], bad=not all(r.ok for r in asked_for)
        )

    def split(self, intended: Sequence[Intended]) -> tuple[Sequence[Intended], Sequence[Intended]]:
        """What is updated at once, and what waits for its result."""
        first = self.asked.first
        if first is None:
            return intended, ()
        leading = [item for item in intended if is_first(item, first)]
        if not leading:
            projects = dict.fromkeys(item.usage.place.project for item in intended)
            raise Refusal(
                f"--first {first!r}: no step to update is in such a project: {closest_or_all(first, projects)}"
            )
        return leading, [item for item in intended if not is_first(item, first)]

    def closing(self, results: Sequence[Result]) -> Iterator[str]:
        counts = Counter[str](result.outcome for result in results)
        told = ", ".join(
            f"{counts[name]} {words}"
            for name, words in (
                ("updated", "updated and read back"),
                ("done", "updated already"),
                ("failed", "not updated"),
                ("not begun", "not begun"),
            )
            if counts[name]
        )
        yield f"{told or 'Nothing was updated'}."
        for branch, project in dict.fromkeys(
            (result.branch, result.usage.place.project) for result in results if result.branch
        ):
            yield f"  {project}: merge branch {branch}; the update takes effect with the next release made from there"
        if self.record.is_begun:
            yield f"The former copies are in {self.record.path}: octosteps usages --put-back {self.record.path}"
        if any(result.outcome == "updated" and not result.branch for result in results):
            yield EFFECT

    def outcome(self, results: Sequence[Result], parts: Sequence[str], *, bad: bool) -> Outcome:
        return Outcome(
            data={
                **document(self.client, self.seen),
                "results": [result_json(result) for result in results],
                "record": str(self.record.path) if self.record.is_begun else None,
            },
            parts=printable(parts),
            lines=[shown(f"{result.outcome} {result.usage.name}") for result in results],
            exit_code=1 if bad else 0,
        )


def is_first(item: Intended, pattern: str) -> bool:
    place = item.usage.place
    return is_meant((place.project, place.slug, place.project_id), pattern)


# --- the way back ------------------------------------------------------------------------------------------------------


def go_back(
    client: Client,
    path: Path,
    asked: Asked,
    *,
    confirm: Confirm | None,
    tell: Tell | None,
    progress: Progress,
) -> Outcome:
    """What a record's steps held goes back, process by process; without `asked.update` it is only shown."""
    server, entries = read_record(path)
    if server != client.root:
        raise Refusal(f"{path} is a record of {server}, and OCTOPUS_URL names {client.root}")
    units = by_process(entries)
    read = side_by_side(
        lambda unit: plan_return(space_client(client, unit[0].space), unit, force=asked.force),
        units,
        progress=progress,
        description="Reading processes",
    )
    planned = [item for unit in read for item in unit]
    writes = [item for item in planned if item.writes]
    told = list(return_lines(planned))
    if not asked.update or not writes:
        closing = (
            f"{many(len(writes), 'step', 'steps')} to put back: --update does this."
            if writes
            else "Nothing to put back."
        )
        bad = asked.update and not all(item.ok for item in planned)
        return return_outcome(client, planned, [*told, closing], exit_code=1 if bad else 0)
    if confirm is not None:
        if not confirm(question_of(*told, f"Put back {many(len(writes), 'step', 'steps')}?")):
            return return_outcome(client, planned, ["Nothing was written."], exit_code=1)
        told = []
    elif tell is not None:
        told = tell_all(told, tell)
    done: list[Return] = [item for item in planned if not item.writes]
    grouped = [
        [item for item in writes if (item.entry.space, item.entry.path) == key]
        for key in dict.fromkeys((item.entry.space, item.entry.path) for item in writes)
    ]

    def write(group: Sequence[Return]) -> Sequence[Return]:
        try:
            return put_back(space_client(client, group[0].entry.space), group)
        except Refusal as error:
            return [Return(entry=item.entry, sentence=str(error), ok=False) for item in group]

    for written in side_by_side(write, grouped, progress=progress, description="Putting back"):
        done.extend(written)
    good = sum(item.writes and item.ok for item in done)
    lines = [
        *told,
        *(f"  {'=' if item.ok else '!'} {item.entry.where}: {item.sentence}" for item in done),
        f"{good} of {many(len(writes), 'step', 'steps')} put back, and read back.",
    ]
    return return_outcome(client, done, lines, exit_code=0 if all(item.ok for item in done) else 1)


def space_client(client: Client, identity: str) -> Client:
    return in_space(client, Space(id=identity, name=identity))


def return_outcome(
    client: Client, items: Sequence[Return], parts: Sequence[str], *, exit_code: int
) -> Outcome:
    return Outcome(
        data={
            "target": client.root,
            "returns": [
                {
                    "step": item.entry.where,
                    "template": item.entry.template,
                    "writes": item.writes,
                    "ok": item.ok,
                    "sentence": item.sentence,
                    "diff": [*item.form, *item.script],
                }
                for item in items
            ],
        },
        parts=printable(parts),
        lines=[shown(f"{'put back' if item.writes else 'left'} {item.entry.where}") for item in items],
        exit_code=exit_code,
    )
