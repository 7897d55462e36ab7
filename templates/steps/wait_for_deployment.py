"""Waits until deployments of other projects have come as far as wanted: all of them, or any."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from generator.runtime.api import Api
from generator.runtime.awaited import (
    STEP_GOALS,
    Awaited,
    Goal,
    awaited_table,
    describe_awaited,
    parse_admitted,
)
from generator.runtime.clauses import Clause, parse_clauses
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.once import own_queue_time
from generator.runtime.parameters import Parameters, reads
from generator.runtime.step import MISCONFIGURED, TIMED_OUT, Step
from generator.runtime.survey import find_spots
from generator.runtime.tasks import utc_now
from generator.runtime.vigil import Vigil, WaitTerms
from generator.runtime.wait_graph import Lookout
from generator.runtime.waiting import Limits


def parse_projects(lines: Sequence[str]) -> tuple[Clause, ...]:
    return parse_clauses(awaited_table(), lines)


@reads(release=parse_admitted, projects=parse_projects, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    clauses = with_defaults(parameters)
    check_steps(parameters, clauses)
    limits = Limits(parameters.queue_limit, parameters.run_limit)
    api = connect(parameters, limits.queue + limits.run)
    terms = WaitTerms(limits, parameters.how_many == "any", parameters.on_timeout == "warn")
    everything = find_awaited(api, step, clauses)
    for one in everything:
        wanted = f" (release {one.goal.wanted})" if one.goal.wanted else ""
        step.log.info(f"Waiting until {one.goal.place} {one.goal}{wanted}")
    if len(everything) > 1:
        step.log.info("Any one of these will do." if terms.needs_any else "All of these are wanted.")
    vigil = Vigil(api, step.log, everything, terms, lookout=Lookout(api, step))
    try:
        vigil.keep()
    finally:
        set_outputs(step, vigil)
    conclude(step, vigil)


# --- what is awaited -----------------------------------------------------------------------------------------------


def with_defaults(parameters: Parameters) -> list[Clause]:
    """The form's own project, and the lines, each with everything that it leaves to the form."""
    form = {
        "environment": parameters.environment,
        "tenant": parameters.tenant or "",
        "until": parameters.until,
        "step": parameters.step_name or "",
        "if_skipped": parameters.if_skipped,
        "release": parameters.release,
        "max_age": parameters.max_age,
        "counts": parameters.counts,
        "when_none": parameters.when_none,
    }
    clauses = [Clause(0, parameters.project, form)]
    for clause in parameters.projects or ():
        said = clause.values
        if said.get("until") and said["until"] not in STEP_GOALS and "step" not in said:
            said = {**said, "step": ""}
        clauses.append(
            clause._replace(values={**form, **said, "until": said.get("until") or parameters.until})
        )
    return clauses


def check_steps(parameters: Parameters, clauses: Sequence[Clause]) -> None:
    """A wait for a step names one, and only such a wait does."""
    label, faults = parameters.label("step_name"), []
    for clause in clauses:
        where = (
            f"{parameters.label('projects')}: line {clause.number} ({clause.subject}): step"
            if clause.number
            else label
        )
        if clause.values["until"] in STEP_GOALS and not clause.values["step"]:
            faults.append(f"{where}: a value is required to wait for a step")
        if clause.values["until"] not in STEP_GOALS and clause.values["step"]:
            faults.append(f"{where}: only a wait for a step can have one")
    if faults:
        parameters.step.fail(MISCONFIGURED, "; ".join(faults))


def find_awaited(api: Api, step: Step, clauses: Sequence[Clause]) -> list[Awaited]:
    """Every place that is meant with its goal; all names that lead nowhere are told together."""
    keys = [(one.subject, one.values["environment"], one.values["tenant"]) for one in clauses]
    spots = find_spots(api, keys, step.variable("Octopus.Deployment.Tenant.Name"))
    own_number = step.variable("Octopus.Release.Number")
    cutoffs = {
        "last": None,
        "active": utc_now(api),
        "since_queued": own_queue_time(api, step)
        if any(one.values["counts"] == "since_queued" for one in clauses)
        else None,
    }
    everything = []
    for clause, key in zip(clauses, keys):
        values = clause.values
        for spot in spots[key]:
            goal = Goal(
                place=spot.place,
                until=values["until"],
                step=values["step"],
                passes_skipped=values["if_skipped"] == "pass",
                wanted=values["release"] and values["release"].resolved(own_number),
                max_age=values["max_age"],
                cutoff=cutoffs[values["counts"]],
                when_none=values["when_none"],
                impossible=spot.impossible,
            )
            everything.append(Awaited(goal))
    return everything


# --- telling -------------------------------------------------------------------------------------------------------


def set_outputs(step: Step, vigil: Vigil) -> None:
    """Of several places the values are parted by commas; `Awaited` has everything by place."""
    places = [describe_awaited(one, vigil.numbers) for one in vigil.everything]
    if not any(one.outcome for one in vigil.everything):
        return
    step.result["awaited"] = places
    for output, field in (
        ("State", "state"),
        ("Version", "version"),
        ("DeploymentId", "deployment"),
        ("TaskId", "task"),
        ("Link", "link"),
        ("StepStatus", "step_status"),
    ):
        step.output(output, ", ".join(place[field] for place in places if place[field]))
    step.output("TimedOut", str(any(place["timed_out"] for place in places)))
    step.output("Awaited", as_text(places))


def as_text(places: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps(places, ensure_ascii=False)


def conclude(step: Step, vigil: Vigil) -> None:
    """The failure, if it is one: the only one as it is, several in one sentence under the kind of the first."""
    outcomes = [one.outcome for one in vigil.everything if one.outcome is not None]
    if vigil.terms.needs_any and any(not outcome.kind for outcome in outcomes):
        return
    late = [outcome for outcome in outcomes if outcome.is_late]
    if vigil.terms.goes_on_late and late:
        fatal = [] if vigil.terms.needs_any else [outcome for outcome in outcomes if vigil.is_fatal(outcome)]
        if not fatal:
            words = "; ".join(outcome.words for outcome in late)
            step.log.warning(f"Timed out, and going on as told: {words}")
            return
    failed = [outcome for outcome in outcomes if outcome.kind]
    if not failed:
        return
    words = "; ".join(outcome.words for outcome in failed)
    if len(vigil.everything) > 1:
        others = [str(one.goal.place) for one in vigil.open()]
        words += f"; no longer waited for: {', '.join(others)}" if others else ""
        if vigil.terms.needs_any:
            words = f"none of {len(vigil.everything)} has come as far: {words}"
    kinds = [outcome.kind for outcome in failed]
    step.fail(next((kind for kind in kinds if kind != TIMED_OUT), TIMED_OUT), words)
