"""Random processes, random files, random edits: what holds whatever they are. Without a server, so that there can be many."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from generator.octopus.records import ProcessDocument, StepDocument
from generator.owned_step import FACTS, MARKER, ReadyStep
from generator.process_draft import ReadyProcess, outline
from generator.step_order import WITH_PREVIOUS, joins

OWNER = "Projects-1"
WISHES = 40


def make_step(key: str, dice: random.Random, names: list[str], earlier: list[str]) -> ReadyStep:
    anchor = dice.choice([None, *names, *earlier])
    before = anchor is not None and dice.random() < 0.4
    parallel = anchor is not None and not before and dice.random() < 0.4
    side = "before" if before else "after" if anchor else "last"
    facts = {**dict.fromkeys(FACTS, ""), "name": f"Ours {key}", "condition": "Success"}
    return ReadyStep(
        key=key,
        owner=OWNER,
        file="file",
        template="T",
        template_version=1,
        action_type="Octopus.Script",
        position=f"{side} {(anchor or '').casefold()}{' parallel' if parallel else ''}",
        anchor=anchor,
        before=before,
        parallel=parallel,
        facts={**facts, "with.P.Value": dice.choice("xyz")},
        copied={"Octopus.Action.Template.Id": "ActionTemplates-1", "Octopus.Action.Template.Version": "1"},
    )


def make_wish(dice: random.Random, names: list[str]) -> ReadyProcess:
    keys = [key for key in "abcdef" if dice.random() < 0.6]
    dice.shuffle(keys)
    steps = [make_step(key, dice, names, keys[:index]) for index, key in enumerate(keys)]
    return ReadyProcess(where="Shop", path="p", owner=OWNER, project=OWNER, file="file", steps=steps)


def make_process(dice: random.Random) -> ProcessDocument:
    steps: list[StepDocument] = []
    for number in range(dice.randrange(1, 6)):
        trigger = WITH_PREVIOUS if number and dice.random() < 0.3 else "StartAfterPrevious"
        steps.append(
            {
                "Name": f"P{number}",
                "StartTrigger": trigger,
                "Actions": [{"Name": f"P{number}", "Properties": {}}],
            }
        )
    return {"Version": 1, "Steps": steps}


def is_ours(step: StepDocument) -> bool:
    return MARKER in step["Actions"][0]["Properties"]


def groups(process: ProcessDocument) -> list[list[str]]:
    """The steps of people by parallel group; groups without any are left out."""
    found: list[list[str]] = []
    for step in process["Steps"]:
        if not joins(step) or not found:
            found.append([])
        if not is_ours(step):
            found[-1].append(step["Name"])
    return [group for group in found if group]


def edit(process: ProcessDocument, dice: random.Random) -> None:
    """People move, rename and fill in a step of ours, or put one of theirs anywhere."""
    ours = [step for step in process["Steps"] if is_ours(step)]
    match dice.randrange(4):
        case 0 if ours:
            step = dice.choice(ours)
            process["Steps"].remove(step)
            process["Steps"].insert(dice.randrange(len(process["Steps"]) + 1), step)
        case 1 if ours:
            step = dice.choice(ours)
            step["Name"] = step["Actions"][0]["Name"] = f"Renamed {dice.random()}"
        case 2 if ours:
            dice.choice(ours)["Actions"][0]["Properties"]["P.Value"] = "theirs"
        case _:
            name = f"P{dice.random()}"
            step = {
                "Name": name,
                "StartTrigger": "StartAfterPrevious",
                "Actions": [{"Name": name, "Properties": {}}],
            }
            process["Steps"].insert(dice.randrange(len(process["Steps"]) + 1), step)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_asked_people_keep_their_steps_and_groups_and_a_second_run_has_nothing_to_do(
    seed: int,
) -> None:
    dice = random.Random(seed)
    written: dict[str, Any] = {"in conflict": 0, "written": 0}
    for _ in range(WISHES):
        process = make_process(dice)
        names = [step["Name"] for step in process["Steps"]]
        for _ in range(4):
            wish = make_wish(dice, names)
            before = copy.deepcopy(process)
            plan = outline(wish, process, force=dice.random() < 0.3, prune=dice.random() < 0.5)
            assert process == before, "the document that was read is left alone"
            if any(change.action == "conflict" for change in plan.changes):
                written["in conflict"] += 1
                edit(process, dice)
                continue
            written["written"] += 1
            after = plan.document
            foreign = [step for step in before["Steps"] if not is_ours(step)]
            assert [step for step in after["Steps"] if not is_ours(step)] == foreign
            assert groups(after) == groups(before)
            assert {f"{step.key}@{OWNER}" for step in wish.steps} <= {
                str(step["Actions"][0]["Properties"].get(MARKER)) for step in after["Steps"]
            }
            again = outline(wish, after, force=False, prune=False)
            assert [change for change in again.changes if change.writes or change.action == "conflict"] == []
            process = copy.deepcopy(after)
            edit(process, dice)
    assert written["written"] > WISHES, written
