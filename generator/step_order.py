"""Where steps stand in a process: parallel groups, and putting a step in or taking it out without touching any other.

Works on the list of step documents in place. A group begins at the first step and at each step that does not start with the
previous one (`StartTrigger`; source: the API reference page "Deployment processes").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

from generator.octopus.records import StepDocument

WITH_PREVIOUS, AFTER_PREVIOUS = "StartWithPrevious", "StartAfterPrevious"

IsOurs = Callable[[StepDocument], bool]


class Place(TypedDict):
    """Where a step is wanted, as `put_in` takes it."""

    anchor: int | None
    before: bool
    parallel: bool
    goes_first: IsOurs
    goes_later: IsOurs


def joins(step: StepDocument) -> bool:
    """Whether the step starts together with the one before it."""
    return step.get("StartTrigger") == WITH_PREVIOUS


def group_of(steps: Sequence[StepDocument], index: int) -> range:
    """The indexes of the parallel group that the step at `index` is in."""
    start = index
    while start > 0 and joins(steps[start]):
        start -= 1
    end = index + 1
    while end < len(steps) and joins(steps[end]):
        end += 1
    return range(start, end)


def find_step(steps: Sequence[StepDocument], name: str) -> int | None:
    """The index of the step of that name, or with an action of that name, ignoring case as Octopus does."""
    folded = name.casefold()
    for index, step in enumerate(steps):
        if str(step.get("Name")).casefold() == folded:
            return index
    for index, step in enumerate(steps):
        if any(str(action.get("Name")).casefold() == folded for action in step.get("Actions", ())):
            return index
    return None


def put_in(
    steps: list[StepDocument],
    step: StepDocument,
    *,
    anchor: int | None,
    before: bool = False,
    parallel: bool = False,
    goes_first: IsOurs = lambda step: False,
    goes_later: IsOurs = lambda step: False,
) -> str:
    """Put `step` beside the group of the anchor (None: at the end), or into it; "" when done, else why it cannot be.

    Of our steps that hang on the same anchor, those for which `goes_first` holds stay in front, those for which `goes_later`
    holds stay behind, so that they stand in the order of the file whenever each of them was added.
    """
    if anchor is None:
        index = len(steps)
        step["StartTrigger"] = WITH_PREVIOUS if parallel and steps else AFTER_PREVIOUS
        steps.insert(index, step)
        return ""
    group = group_of(steps, anchor)
    if parallel:
        step["StartTrigger"] = WITH_PREVIOUS
        steps.insert(group.stop, step)
        return ""
    index = group.start if before else group.stop
    if before:
        while index > 0 and goes_later(steps[group_of(steps, index - 1).start]):
            index = group_of(steps, index - 1).start
    else:
        while index < len(steps) and goes_first(steps[index]):
            index = group_of(steps, index).stop
    if index < len(steps) and joins(steps[index]):
        return f"the first step {steps[index]['Name']!r} is set to start with the previous one, and would join it"
    step["StartTrigger"] = AFTER_PREVIOUS
    steps.insert(index, step)
    return ""


def is_placed(
    steps: Sequence[StepDocument],
    index: int,
    *,
    anchor: int | None,
    before: bool = False,
    parallel: bool = False,
    goes_first: IsOurs = lambda step: False,
    goes_later: IsOurs = lambda step: False,
) -> bool:
    """Whether the step at `index` stands where `put_in` would put it."""
    if anchor is None:
        return index == len(steps) - 1 and joins(steps[index]) == (parallel and index > 0)
    group = group_of(steps, anchor)
    if parallel:
        return index in group
    if joins(steps[index]) or index in group:
        return False
    between, end, may_be = (
        (group_of(steps, index).stop, group.start, goes_later) if before else (group.stop, index, goes_first)
    )
    while between < end:
        if not may_be(steps[between]):
            return False
        between = group_of(steps, between).stop
    return between == end


def take_out(steps: list[StepDocument], index: int, *, is_ours: IsOurs) -> str:
    """Take the step at `index` out; "" when done, else why it cannot be.

    The head of a parallel group may only go when what follows can head it: the next step is ours and gets the trigger, or
    there is no step in front that it would join.
    """
    group = group_of(steps, index)
    if index == group.start and len(group) > 1 and index > 0:
        follower = steps[index + 1]
        if not is_ours(follower):
            return (
                f"it heads a parallel group, and {follower['Name']!r} behind it would join the step in front"
            )
        follower["StartTrigger"] = AFTER_PREVIOUS
    del steps[index]
    return ""
