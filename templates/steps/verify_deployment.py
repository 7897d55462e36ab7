"""Verifies that a project is deployed to an environment as wanted, and that nothing is about to change that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple, Optional

from generator.runtime.api import Api
from generator.runtime.connection import CONNECTION_GRAMMARS, connect
from generator.runtime.deployments import Deployment, active_deployments, find_latest, read_release_of
from generator.runtime.lookup import Place, find_place
from generator.runtime.moments import spoken
from generator.runtime.parameters import Parameters, reads
from generator.runtime.releases import ReleaseChoice, parse_wanted_release
from generator.runtime.step import REFUSED, Step
from generator.runtime.tables import table_lines
from generator.runtime.tasks import utc_now


class Row(NamedTuple):
    """One condition: what was found against what is wanted; `fault` is what is wrong, in words, "" when it holds."""

    what: str
    found: str
    wanted: str
    fault: str


@reads(version=parse_wanted_release, **CONNECTION_GRAMMARS)
def main(parameters: Parameters) -> None:
    step: Step = parameters.step
    wanted = parameters.version and parameters.version.resolved(step.variable("Octopus.Release.Number"))
    api = connect(parameters, timedelta())
    place = find_place(api, parameters.project, parameters.environment, parameters.tenant)
    # In this order: one that ends between the two reads is then seen as active, and never overlooked.
    active = active_deployments(api, place)
    latest = find_latest(api, place)
    version = read_release_of(api, latest)["Version"] if latest else ""
    rows = check_all(api, latest, active, version=version, wanted=wanted, max_age=parameters.max_age)
    show(step, place, latest, version, rows)
    faults = [row.fault for row in rows if row.fault]
    if not faults:
        step.log.highlight(f"Verified: {place} is at {version}" + (f", {latest.link}" if latest else ""))
    elif parameters.on_mismatch == "warn":
        step.log.warning(f"{place} {'; '.join(faults)}")
    else:
        step.fail(REFUSED, f"{place} {'; '.join(faults)}")


def check_all(
    api: Api,
    latest: Optional[Deployment],
    active: list[Deployment],
    *,
    version: str,
    wanted: Optional[ReleaseChoice],
    max_age: Optional[timedelta],
) -> list[Row]:
    """Every condition, the unmet ones with their fault."""
    if latest is None:
        rows = [Row("deployed", "never", "yes", "has never been deployed")]
    else:
        rows = [check_state(latest, version)]
        if wanted is not None:
            rows.append(check_version(version, wanted))
        if max_age is not None:
            rows.append(check_age(api, latest, max_age))
    return [*rows, check_active(api, active)]


def check_state(latest: Deployment, version: str) -> Row:
    state = latest.task.state
    fault = (
        "" if state == "Success" else f"ended as {state} at its last deployment ({version}, {latest.link})"
    )
    return Row("state", state, "Success", fault)


def check_version(version: str, wanted: ReleaseChoice) -> Row:
    fault = "" if wanted.admits(version) else f"is at {version}, wanted {wanted}"
    return Row("release", version, str(wanted), fault)


def check_age(api: Api, latest: Deployment, max_age: timedelta) -> Row:
    limit = f"at most {spoken(max_age)}"
    if latest.task.completed is None:
        return Row("age", "unknown", limit, "was deployed at a time that the server does not tell")
    age = utc_now(api) - latest.task.completed
    fault = f"was deployed {spoken(age)} ago, wanted {limit}" if age > max_age else ""
    return Row("age", spoken(age), limit, fault)


def check_active(api: Api, active: list[Deployment]) -> Row:
    if not active:
        return Row("being replaced", "no", "no", "")
    others = ", ".join(
        "{} ({}, {})".format(read_release_of(api, other)["Version"], other.task.state, other.link or other.id)
        for other in active
    )
    return Row("being replaced", f"by {others}", "no", f"is being replaced by {others}")


def show(step: Step, place: Place, latest: Optional[Deployment], version: str, rows: list[Row]) -> None:
    """The table in the log, the outputs, and the rows for the result file."""
    cells: list[Any] = [(row.what, row.found, row.wanted, "no" if row.fault else "yes") for row in rows]
    step.log.info(str(place))
    for line in table_lines(("condition", "found", "wanted", "met"), cells):
        step.log.info(line)
    step.output("Verified", str(not any(row.fault for row in rows)))
    step.output("Version", version)
    step.output("State", latest.task.state if latest else "")
    step.output("DeploymentId", latest.id if latest else "")
    step.output("Link", latest.link if latest else "")
    step.output("Faults", "\n".join(row.fault for row in rows if row.fault))
    step.result["conditions"] = [
        {"condition": row.what, "found": row.found, "wanted": row.wanted, "met": not row.fault}
        for row in rows
    ]
