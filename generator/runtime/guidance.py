"""Answers to guided failures, by a rule that a person wrote: so many retries, then one of the other answers.

Manual interventions are never answered here, nor what a person has taken, nor anything that somebody else started.
"""

from __future__ import annotations

import re
from typing import Any, Mapping, Union

from generator.runtime.api import Api, ApiError, LostAnswer
from generator.runtime.log import Log
from generator.runtime.options import one_of
from generator.runtime.record import Record
from generator.runtime.waiting import Watch

GUIDANCE = r"(?i)(?:retry\s+(?P<retries>[1-9][0-9]?)\s+then\s+)?(?P<then>abort|ignore)"


class Guidance(Record):
    """`retries` answers of Retry for each child, then `then`: abort or ignore."""

    retries: int
    then: str


def parse_guided_failure(text: str) -> Union[str, Guidance]:
    """`on`, `off`, `default`; or `abort`, `ignore`, `retry 2 then abort`, `retry 2 then ignore`."""
    match = re.fullmatch(GUIDANCE, text.strip())
    if match:
        return Guidance(int(match.group("retries") or 0), match.group("then").lower())
    try:
        return one_of("on", "off", "default")(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is none of: on, off, default, abort, ignore, retry 2 then abort, retry 2 then ignore"
        ) from None


class Responder:
    """Gives the answers for one step; how often it has had each child retried dies with it."""

    def __init__(self, api: Api, log: Log, guidance: Guidance) -> None:
        self.api = api
        self.log = log
        self.guidance = guidance
        self.retries: dict[str, int] = {}

    def answer(self, watch: Watch, item: Mapping[str, Any]) -> None:
        """Answers `item` if it is a guided failure that nobody has taken. What the server refuses is left to people."""
        is_taken = item.get("ResponsibleUserId") and not item.get("HasResponsibility")
        if item.get("Type") != "GuidedFailure" or is_taken:
            return
        given = self.retries.get(watch.task_id, 0)
        wanted = "retry" if given < self.guidance.retries else self.guidance.then
        value = choose_button(item, wanted)
        left = f", retry {given + 1} of {self.guidance.retries}" if wanted == "retry" else ""
        path = f"interruptions/{item['Id']}"
        try:
            self.api.put(f"{path}/responsible", {})
            self.api.post(
                f"{path}/submit", {"Guidance": value, "Notes": f"Answered by an octosteps step{left}."}
            )
        except LostAnswer as error:  # if it is pending still, it is answered when it is seen again
            self.log.info(f"{error.sentence}.")
        except ApiError as error:
            if error.status == 401:
                raise
            self.log.warning(f"{watch.label}: {item.get('Title')} is left to people: {error.sentence}")
            return
        self.retries[watch.task_id] = given + (wanted == "retry")
        self.log.warning(f"{watch.label}: {item.get('Title')}: answered with {value}{left}.")


def choose_button(item: Mapping[str, Any], wanted: str) -> str:
    """The value of the form's button for retry, ignore or abort; a required step offers no ignore, and is aborted.

    Servers call it Fail (source: API reference, interruptions), the community's Chain Deployment sends Abort.
    """
    names = {"retry": ("Retry",), "ignore": ("Ignore", "Fail", "Abort"), "abort": ("Fail", "Abort")}[wanted]
    elements = (item.get("Form") or {}).get("Elements") or ()
    controls = [one.get("Control") or {} for one in elements if one.get("Name") == "Guidance"]
    offered = [button.get("Value") for control in controls for button in control.get("Buttons") or ()]
    return next((name for name in names if name in offered), names[0])
