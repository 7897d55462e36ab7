"""Verifies that projects are deployed as wanted, and that nothing is about to change that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Iterable, Mapping, Optional, Sequence

from generator.runtime.api import Api
from generator.runtime.clauses import Clause, parse_clauses
from generator.runtime.conditions import (
    OWN_RELEASE,
    Demands,
    Findings,
    Row,
    check_place,
    condition_table,
    parse_since,
    parse_version_rule,
)
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.deployments import Deployment, ReleaseNumbers
from generator.runtime.markers import own_task
from generator.runtime.moments import moment_or_none
from generator.runtime.obstacles import defects_of
from generator.runtime.once import own_queue_time
from generator.runtime.parameters import Parameters, reads
from generator.runtime.record import Record
from generator.runtime.step import MISCONFIGURED, REFUSED, Step
from generator.runtime.survey import Spot, active_at, cell_key, find_spots, latest_at
from generator.runtime.tables import table_lines
from generator.runtime.tasks import utc_now

LONGEST_OUTPUT = 30_000


class Subject(Record):
    """One place with what is demanded there. `reference`: the same place in the environment that the version is taken from."""

    spot: Spot
    demands: Demands
    reference: Optional[Spot]


def parse_projects(lines: Sequence[str]) -> tuple[Clause, ...]:
    return parse_clauses(condition_table(), lines)


@reads(
    version=parse_version_rule,
    deployed_after=parse_since,
    projects=parse_projects,
    **CONNECTION_GRAMMARS,
)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    clauses = with_defaults(parameters)
    api = connect(parameters, timedelta())
    subjects = find_subjects(api, step, clauses)
    numbers = ReleaseNumbers(api)
    found = investigate(api, step, subjects, numbers)
    rows = [
        row
        for subject, findings in zip(subjects, found)
        for row in check_place(subject.spot.place, subject.demands, findings)
    ]
    show(step, subjects, found, rows)
    judge(step, parameters.on_mismatch, subjects, found, rows)


# --- what is asked -------------------------------------------------------------------------------------------------


def with_defaults(parameters: Parameters) -> list[Clause]:
    """The form's own project, and the lines, each with everything that it leaves to the form."""
    form = {
        "environment": parameters.environment,
        "tenant": parameters.tenant or "",
        "version": parameters.version,
        "state": parameters.state,
        "active": parameters.active,
        "max_age": parameters.max_age,
        "deployed_after": parameters.deployed_after,
        "blocked": parameters.blocked,
    }
    clauses = [Clause(0, parameters.project, form)]
    for clause in parameters.projects or ():
        clauses.append(clause._replace(values={**form, **clause.values}))
    return clauses


def find_subjects(api: Api, step: Step, clauses: Sequence[Clause]) -> list[Subject]:
    """Every place that is meant, each with its demands; all names that lead nowhere are told together."""
    own_tenant = step.variable("Octopus.Deployment.Tenant.Name")
    own_number = step.variable("Octopus.Release.Number")
    wanted: list[tuple[str, str, str]] = []
    for clause in clauses:
        wanted.append((clause.subject, clause.values["environment"], clause.values["tenant"]))
        rule = clause.values["version"]
        if rule is not None and rule.reference:
            wanted.append((clause.subject, rule.reference, clause.values["tenant"]))
    spots = find_spots(api, wanted, own_tenant)
    subjects = []
    for clause in clauses:
        values = dict(clause.values)
        environment, tenant = values.pop("environment"), values.pop("tenant")
        rule = values["version"]
        references: Mapping[Optional[str], Spot] = {}
        if rule is not None and rule.choice is not None:
            values["version"] = rule._replace(choice=rule.choice.resolved(own_number))
        if rule is not None and rule.reference:
            there = spots[clause.subject, rule.reference, tenant]
            references = {spot.place.tenant_id: spot for spot in there}
        for spot in spots[clause.subject, environment, tenant]:
            subjects.append(Subject(spot, Demands(**values), references.get(spot.place.tenant_id)))
    return subjects


# --- what is found -------------------------------------------------------------------------------------------------


def investigate(api: Api, step: Step, subjects: Sequence[Subject], numbers: ReleaseNumbers) -> list[Findings]:
    """What is at every place, by some lists for all of them."""
    possible = [subject.spot.place for subject in subjects if not subject.spot.impossible]
    # In this order: one that ends between the two reads is then seen as active, and never overlooked.
    own = own_task(step)
    active = active_at(api, possible, own.id if own.server == api.url.lower() else "")
    latest = latest_at(api, possible)
    references = latest_at(
        api,
        [one.reference.place for one in subjects if one.reference and not one.reference.impossible],
        lambda place, deployment: deployment.task.state == "Success",
    )
    everything = [*latest.values(), *references.values(), *(one for some in active.values() for one in some)]
    numbers.learn(everything)
    moments = own_moments(api, step, subjects)
    found = []
    for subject in subjects:
        cell = cell_key(subject.spot.place)
        last, others = latest.get(cell), active.get(cell, [])
        compared = references.get(cell_key(subject.reference.place)) if subject.reference else None
        after = subject.demands.deployed_after
        found.append(
            Findings(
                latest=last,
                version=numbers.of(last) if last else "",
                active=[named(one, numbers) for one in others if not one.task.is_paused],
                paused=[named(one, numbers) for one in others if one.task.is_paused],
                reference=numbers.of(compared) if compared else "",
                after=(after.moment or moments[after.text]) if after else None,
                defects=defects_of(api, last.release_id)
                if last and subject.demands.blocked == "refused"
                else (),
                now=utc_now(api),
                impossible=subject.spot.impossible,
            )
        )
    return found


def own_moments(api: Api, step: Step, subjects: Sequence[Subject]) -> dict[str, datetime]:
    """When the release and the deployment of the running task were made, as far as somebody asks."""
    asked = [one.demands.deployed_after for one in subjects if one.demands.deployed_after]
    moments: dict[str, datetime] = {}
    for word in sorted({since.text for since in asked if since.moment is None}):
        moment = own_release_time(api, step) if word == OWN_RELEASE else own_queue_time(api, step)
        if moment is None:
            step.fail(
                MISCONFIGURED, f"{word!r}: there is none here, or the server does not tell when it was made"
            )
        moments[word] = moment
    return moments


def own_release_time(api: Api, step: Step) -> Optional[datetime]:
    """When the release of the running deployment was assembled; None in a runbook, which has none."""
    release = step.variable("Octopus.Release.Id")
    return moment_or_none(api.get(f"releases/{release}").get("Assembled")) if release else None


def named(deployment: Deployment, numbers: ReleaseNumbers) -> str:
    state = deployment.task.state + (", waits for a person" if deployment.task.is_paused else "")
    return f"{numbers.of(deployment)} ({state}, {deployment.link or deployment.id})"


# --- telling -------------------------------------------------------------------------------------------------------


def show(step: Step, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]) -> None:
    """The table in the log, the outputs, and the rows for the result file."""
    columns = ("condition", "found", "wanted", "met")
    if len(subjects) == 1:
        step.log.info(str(subjects[0].spot.place))
        lines = table_lines(columns, [row.cells() for row in rows])
    else:
        lines = table_lines(("where", *columns), [(str(row.place), *row.cells()) for row in rows])
    for line in lines:
        step.log.info(line)
    latest = [findings.latest for findings in found if findings.latest is not None]
    conditions = [row.to_json() for row in rows]
    text = as_text(conditions)
    if len(text) > LONGEST_OUTPUT:
        text = as_text([one for one in conditions if not one["met"]])
    step.output("Verified", str(not any(row.fault for row in rows)))
    step.output("Version", joined_once(findings.version for findings in found))
    step.output("State", joined_once(one.task.state for one in latest))
    step.output("DeploymentId", joined_once(one.id for one in latest))
    step.output("Link", joined_once(one.link for one in latest))
    step.output("Faults", "\n".join(sentences(rows, with_place=len(subjects) > 1)))
    step.output("Conditions", text)
    step.result["conditions"] = conditions


def joined_once(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def as_text(conditions: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(conditions, ensure_ascii=False)


def sentences(rows: Sequence[Row], *, with_place: bool) -> list[str]:
    return [f"{row.place} {row.fault}" if with_place else row.fault for row in rows if row.fault]


def judge(
    step: Step, on_mismatch: str, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]
) -> None:
    """The line that matters, or the failure with every row that is not met."""
    faults = sentences(rows, with_place=True)
    if not faults:
        tell_verified(step, subjects, found, rows)
        return
    words = "; ".join(faults)
    if len(subjects) == 1:
        place = subjects[0].spot.place
        words = f"{place} {'; '.join(sentences(rows, with_place=False))}"
    else:
        bad = len({cell_key(row.place) for row in rows if row.fault})
        words = f"{bad} of {len(subjects)} are not as wanted: {words}"
    if on_mismatch == "fail":
        step.fail(REFUSED, words)
    tell = step.log.warning if on_mismatch == "warn" else step.log.highlight
    for fault in faults if len(subjects) > 1 else [words]:
        tell(fault)


def tell_verified(
    step: Step, subjects: Sequence[Subject], found: Sequence[Findings], rows: Sequence[Row]
) -> None:
    if len(subjects) > 1:
        step.log.highlight(f"Verified: {len(rows)} conditions at {len(subjects)} places")
        return
    [subject], [findings] = subjects, found
    link = f", {findings.latest.link}" if findings.latest else ""
    at = f"is at {findings.version}" if findings.version else "is not deployed, and nothing is on its way"
    step.log.highlight(f"Verified: {subject.spot.place} {at}{link}")
