"""What may be demanded of what is deployed somewhere, and whether it holds: found against wanted, row by row."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Mapping, Optional, Sequence

from generator.runtime.deployments import Deployment
from generator.runtime.lookup import Place
from generator.runtime.moments import parse_duration, parse_moment, spoken
from generator.runtime.options import Option, one_of
from generator.runtime.record import Record
from generator.runtime.releases import ReleaseChoice, is_newer, parse_wanted_release

ANY = "any"
AT_LEAST = "at least "
IN_ENVIRONMENT = "in "
OWN_RELEASE = "my release"
OWN_DEPLOYMENT = "my deployment"


class VersionRule(Record):
    """Which release must be there: `choice`, or that of the environment `reference`; with `at_least` a later one will do too."""

    text: str
    choice: Optional[ReleaseChoice] = None
    reference: str = ""
    at_least: bool = False

    def __str__(self) -> str:
        return self.text


def parse_version_rule(text: str) -> Optional[VersionRule]:
    """`1.2.3`, `[1.0,2.0)`, `2026.4.*`, `same`, `in Test`, each of one release also after `at least`; None for `any`."""
    words = " ".join(text.split())
    if words.lower() == ANY:
        return None
    at_least = words.lower().startswith(AT_LEAST)
    rest = words[len(AT_LEAST) :] if at_least else words
    if rest.lower().startswith(IN_ENVIRONMENT):
        reference = rest[len(IN_ENVIRONMENT) :].strip()
        return VersionRule(words, reference=reference, at_least=at_least)
    choice = parse_wanted_release(rest)
    if at_least and choice.rule == "range":
        raise ValueError(f"{text!r}: at least is said of one release: a number, same, or in Test")
    return VersionRule(words, choice, at_least=at_least)


class Since(Record):
    """After what the deployment must have begun: a moment, or one of our own that is looked up."""

    text: str
    moment: Optional[datetime] = None

    def __str__(self) -> str:
        return self.text


def parse_since(text: str) -> Optional[Since]:
    """`my release` (was assembled), `my deployment` (was queued), a moment; None for `any`."""
    words = " ".join(text.split()).lower()
    if words == ANY:
        return None
    if words in (OWN_RELEASE, OWN_DEPLOYMENT):
        return Since(words)
    try:
        if words.startswith("+"):
            raise ValueError
        return Since(text.strip(), parse_moment(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is none of: {OWN_RELEASE}, {OWN_DEPLOYMENT}, a moment such as 2026-08-01T10:00+02:00"
        ) from None


def parse_age(text: str) -> Optional[timedelta]:
    """A duration; None for `any`."""
    return None if text.strip().lower() == ANY else parse_duration(text)


def condition_table() -> Mapping[str, Option]:
    """What a line may say beside its project; what it does not say is as the other fields of the form have it."""
    return {
        "environment": Option(str, ""),
        "tenant": Option(str, ""),
        "version": Option(parse_version_rule),
        "state": Option(one_of("success", "ended", "any"), "success"),
        "active": Option(one_of("nothing", "paused", "anything"), "nothing"),
        "max_age": Option(parse_age),
        "deployed_after": Option(parse_since),
        "blocked": Option(one_of("allowed", "refused"), "allowed"),
    }


class Demands(Record):
    """What is wanted of one place."""

    version: Optional[VersionRule] = None
    state: str = "success"
    active: str = "nothing"
    max_age: Optional[timedelta] = None
    deployed_after: Optional[Since] = None
    blocked: str = "allowed"

    @property
    def needs_deployment(self) -> bool:
        return self.state != ANY or bool(self.version or self.max_age or self.deployed_after)


class Findings(Record):
    """What is at one place. `reference`: the release of the environment that the version is compared with, "" for none."""

    latest: Optional[Deployment]
    version: str
    active: Sequence[str]
    paused: Sequence[str]
    reference: str
    after: Optional[datetime]
    defects: Sequence[str]
    now: datetime
    impossible: str = ""


class Row(Record):
    """One condition: what was found against what is wanted; `fault` is what is wrong, in words, "" when it holds."""

    place: Place
    what: str
    found: str
    wanted: str
    fault: str

    def cells(self) -> tuple[str, str, str, str]:
        return (self.what, self.found, self.wanted, "no" if self.fault else "yes")

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.place.project["Name"],
            "environment": self.place.environment["Name"],
            "tenant": self.place.tenant["Name"] if self.place.tenant else "",
            "condition": self.what,
            "found": self.found,
            "wanted": self.wanted,
            "met": not self.fault,
            "fault": self.fault,
        }


def check_place(place: Place, demands: Demands, found: Findings) -> list[Row]:
    """Every condition of one place, the unmet ones with their fault."""
    facts: list[tuple[str, str, str, str]] = []
    if found.latest is None:
        if demands.needs_deployment:
            fault = (
                f"cannot be deployed: {found.impossible}" if found.impossible else "has never been deployed"
            )
            facts.append(("deployed", "never", "yes", fault))
    else:
        if demands.state != ANY:
            facts.append(check_state(found.latest, found.version, demands.state))
        if demands.version is not None:
            facts.append(check_version(found.version, demands.version, found.reference))
        if demands.max_age is not None:
            facts.append(check_age(found.latest, demands.max_age, found.now))
        if demands.deployed_after is not None and found.after is not None:
            facts.append(check_after(found.latest, demands.deployed_after, found.after))
        if demands.blocked == "refused":
            facts.append(check_blocked(found.version, found.defects))
    if demands.active != "anything":
        facts.append(check_active(found, demands.active))
    return [Row(place, *fact) for fact in facts]


def check_state(latest: Deployment, version: str, wanted: str) -> tuple[str, str, str, str]:
    state = latest.task.state
    if wanted == "ended":
        return ("state", state, "any", "")
    where = ", ".join(part for part in (version, latest.link) if part)
    fault = "" if state == "Success" else f"ended as {state} at its last deployment ({where})"
    return ("state", state, "Success", fault)


def check_version(version: str, wanted: VersionRule, reference: str) -> tuple[str, str, str, str]:
    number, shown = reference, f"{wanted} ({reference})"
    if wanted.choice is not None:
        if not wanted.at_least:
            fault = "" if wanted.choice.admits(version) else f"is at {version}, wanted {wanted.choice}"
            return ("release", version, str(wanted.choice), fault)
        number = wanted.choice.number
        shown = f"at least {number}"
    elif not reference:
        fault = f"is at {version}, wanted {wanted}, where no deployment has succeeded"
        return ("release", version, f"{wanted} (nothing)", fault)
    equal = same_number(version, number)
    newer = wanted.at_least and is_newer(version, number)
    if equal or newer:
        return ("release", version, shown, "")
    if wanted.at_least and newer is None:
        shown += ", which cannot be compared"
    return ("release", version, shown, f"is at {version}, wanted {shown}")


def same_number(number: str, other: str) -> bool:
    return ReleaseChoice("exact", other, number=other).admits(number)


def check_age(latest: Deployment, max_age: timedelta, now: datetime) -> tuple[str, str, str, str]:
    limit = f"at most {spoken(max_age)}"
    if latest.task.completed is None:
        return ("age", "unknown", limit, "was deployed at a time that the server does not tell")
    age = now - latest.task.completed
    fault = f"was deployed {spoken(age)} ago, wanted {limit}" if age > max_age else ""
    return ("age", spoken(age), limit, fault)


def check_after(latest: Deployment, wanted: Since, after: datetime) -> tuple[str, str, str, str]:
    """By when the deployment began: one that was under way already may hold what was there before."""
    what = {
        OWN_RELEASE: "this release was assembled",
        OWN_DEPLOYMENT: "this deployment was queued",
    }.get(wanted.text, "")
    limit = f"{what}, {in_utc(after)}" if what else in_utc(after)
    began = latest.task.started
    if began is None:
        return ("begun", "unknown", f"after {limit}", "was deployed at a time that the server does not tell")
    fault = f"was last deployed at {in_utc(began)}, wanted after {limit}" if began <= after else ""
    return ("begun", in_utc(began), f"after {limit}", fault)


def in_utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def check_blocked(version: str, defects: Sequence[str]) -> tuple[str, str, str, str]:
    if not defects:
        return ("blocked", "no", "no", "")
    reasons = "; ".join(defects)
    return ("blocked", reasons, "no", f"has the release {version}, whose progression is blocked: {reasons}")


def check_active(found: Findings, allowed: str) -> tuple[str, str, str, str]:
    """`paused` ones wait for a person, and may stand there when they are allowed to."""
    others = [*found.active, *(() if allowed == "paused" else found.paused)]
    wanted = "by none but what waits for a person" if allowed == "paused" else "no"
    if others:
        words = ", ".join(others)
        verb = "is being replaced by" if found.latest is not None else "is being deployed:"
        return ("being replaced", f"by {words}", wanted, f"{verb} {words}")
    shown = "by " + ", ".join(found.paused) if found.paused else "no"
    return ("being replaced", shown, wanted, "")
