"""Moves steps to the current version of their template, by Octopus' own update (`actionsUpdate`), and reads back what came of it.

Octopus merges into the process as it is at that moment, so no edit of others is overwritten: only the named steps are sent, never
a process. One request holds the steps of one process, so that a process which refuses stops no other. What is known before is
foreseen by `step_copy`; Octopus has the last word, in four outcomes. A lost answer is decided by reading. Source: API reference,
*Action templates*; documentation, *Update step templates*; OctopusClients, Model/ActionsUpdateResource.cs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from generator import branches
from generator.errors import Refusal
from generator.octopus import ApiError, Client, OctopusError
from generator.octopus.records import ActionDocument, Document
from generator.outcome import Progress
from generator.owned_step import TEMPLATE_ID, TEMPLATE_VERSION, text_of
from generator.step_copy import OUR_MARKS, action_after, by_name, fingerprint, has_secret
from generator.update_outcomes import explain, read_outcomes
from generator.usage_plan import Intended, Result, foreseen_sentence
from generator.usage_record import Record
from generator.usages import SIDE_BY_SIDE, Seen, Usage

WRITE_ATTEMPTS = 5


# --- writing -----------------------------------------------------------------------------------------------------------


def update_all(
    seen: Seen, intended: Sequence[Intended], record: Record, *, progress: Progress
) -> tuple[Result, ...]:
    """Move everything that is intended, process by process. A process that refuses stops no other; a server that is gone does."""
    units: dict[tuple[str, str], list[Intended]] = defaultdict(list)
    for item in intended:
        units[item.unit].append(item)
    return run_units(
        list(units.values()),
        lambda items: update_process(seen.clients[items[0].usage.place.space.id], items, record),
        progress=progress,
        description="Updating",
    )


def run_units(
    units: Sequence[Sequence[Intended]],
    work: Callable[[Sequence[Intended]], Sequence[Result]],
    *,
    progress: Progress,
    description: str,
) -> tuple[Result, ...]:
    results: list[Result] = []
    if not units:
        return ()
    with ThreadPoolExecutor(max_workers=min(SIDE_BY_SIDE, len(units))) as pool:
        begun: list[tuple[Sequence[Intended], Future[Sequence[Result]]]] = [
            (items, pool.submit(work, items)) for items in units
        ]
        try:
            for items, future in progress(begun, description):
                if future.cancelled():
                    results.extend(not_begun(items))
                    continue
                try:
                    results.extend(future.result())
                except Refusal as error:
                    results.extend(failed(item.usage, str(error)) for item in items)
                    if concerns_all(error):
                        cancel_waiting(begun)
        except BaseException:
            cancel_waiting(begun)
            raise
    return tuple(results)


def concerns_all(error: Refusal) -> bool:
    """Whether going on with other processes is pointless: everything but a refusal of this one."""
    return not isinstance(error, ApiError) or error.status in (401, 429) or error.status >= 500


def cancel_waiting(begun: Sequence[tuple[Sequence[Intended], Future[Sequence[Result]]]]) -> None:
    for _, future in begun:
        future.cancel()


def not_begun(items: Sequence[Intended]) -> Iterator[Result]:
    for item in items:
        yield Result(
            usage=item.usage,
            outcome="not begun",
            sentence="not begun: run this again, it goes on from here",
            ok=False,
        )


def failed(usage: Usage, sentence: str) -> Result:
    return Result(usage=usage, outcome="failed", sentence=sentence, ok=False)


def update_process(client: Client, items: Sequence[Intended], record: Record) -> list[Result]:
    """Move the steps of one process: read it, keep the former copies, send, read back."""
    branch = items[0].branch
    if branch is not None:
        if not any(item.foreseen.goes_well for item in items):
            return [failed(item.usage, foreseen_sentence(item)) for item in items]
        branches.make(client, branch)
    before = client.get(items[0].path)
    results: list[Result] = []
    ready: list[tuple[Intended, str]] = []
    for item in items:
        result = compare_with_plan(item, before)
        if result is None:
            action = find_action(before, item.usage)
            assert action is not None
            ready.append((item, str(action.get("Id"))))
        else:
            results.append(result)
    if not ready:
        return results
    for item, identity in ready:
        action = find_action(before, item.usage)
        assert action is not None
        assert item.usage.template is not None
        record.keep(
            item.usage,
            action,
            where=item.where,
            path=item.path,
            action_id=identity,
            wanted=item.wanted,
            expected=fingerprint(action_after(action, item.foreseen, item.usage.template)),
        )
    told: dict[str, str] = {}
    for group in groups(ready):
        told.update(send(client, group))
    after = client.get(items[0].path)
    changed = changed_elsewhere(before, after, frozenset(identity for _, identity in ready))
    for item, identity in ready:
        results.append(verify(item, after, refusal=told.get(identity, ""), changed=changed))
        action = find_action(after, item.usage)
        if action is not None and results[-1].outcome == "updated":
            record.done(path=item.path, action_id=identity, fingerprint=fingerprint(action))
    return results


def compare_with_plan(item: Intended, process: Document) -> Result | None:
    """What to say about a step that is not as it was when the update was shown; None where it is."""
    action = find_action(process, item.usage)
    if action is None:
        where = f" on branch {item.branch.name}: merge or delete that branch" if item.branch else ""
        return failed(item.usage, f"the step is not there any more{where}, then run this again")
    if text_of(action["Properties"].get(TEMPLATE_VERSION)) == str(item.wanted):
        where = f" on branch {item.branch.name}, which waits for people to merge it" if item.branch else ""
        return Result(
            usage=item.usage,
            outcome="done",
            sentence=f"is at version {item.wanted} already{where}",
            branch=item.branch.name if item.branch else "",
        )
    if fingerprint(action) != fingerprint(item.usage.action):
        where = f" on branch {item.branch.name}" if item.branch else ""
        return failed(
            item.usage,
            f"somebody changed the step{where} since it was read: run this again to see it as it is now",
        )
    return None


def find_action(process: Document, usage: Usage) -> ActionDocument | None:
    """The step's action: by its id, or by its slug, as files in Git may give it another id (unconfirmed)."""
    actions: list[ActionDocument] = [
        action for step in process.get("Steps") or () for action in step.get("Actions") or ()
    ]
    for name in ("Id", "Slug"):
        wanted = usage.action.get(name)
        for action in actions:
            if wanted and action.get(name) == wanted:
                same = text_of((action.get("Properties") or {}).get(TEMPLATE_ID)) == usage.template_id
                return action if same else None
    return None


def groups(ready: Sequence[tuple[Intended, str]]) -> list[list[tuple[Intended, str]]]:
    """Steps that may share a request: of one template, with the same values, and those that will not go well by themselves."""
    found: dict[tuple[object, ...], list[tuple[Intended, str]]] = defaultdict(list)
    for item, identity in ready:
        alone = "" if item.foreseen.goes_well else identity
        found[item.usage.template_id, tuple(sorted(item.values)), alone].append((item, identity))
    return list(found.values())


def send(client: Client, group: Sequence[tuple[Intended, str]]) -> Mapping[str, str]:
    """Why steps were not moved, by action id. One that Octopus refuses is left out, and the others are sent again."""
    told: dict[str, str] = {}
    pending = list(group)
    while pending:
        refused = post(client, pending)
        told.update(refused)
        if not refused or not refused.keys() - {""}:
            break
        rest = [(item, identity) for item, identity in pending if identity not in refused]
        if len(rest) == len(pending):
            break
        pending = still_behind(client, rest) if rest else []
    return told


def post(client: Client, pending: Sequence[tuple[Intended, str]]) -> Mapping[str, str]:
    """One request, repeated while nobody knows whether it was carried out and the steps are as they were."""
    item = pending[0][0]
    path, body = f"actiontemplates/{item.usage.template_id}/actionsUpdate", body_of(pending)
    for attempt in range(1, WRITE_ATTEMPTS + 1):
        try:
            outcomes = read_outcomes(client.post(path, body))
            return refusals_in(outcomes)
        except ApiError as error:
            outcomes = read_outcomes(error.details)
            if outcomes:
                return refusals_in(outcomes)
            if not error.maybe_done:
                if concerns_all(error):
                    raise
                return {identity: explain_error(error, item) for _, identity in pending}
            fault: OctopusError = error
        except OctopusError as error:
            if not error.maybe_done:
                raise
            fault = error
        if not still_behind(client, pending):
            return {}
        if attempt == WRITE_ATTEMPTS:
            raise fault
        client.pause_before_rewrite(attempt)
    raise AssertionError("the loop ends by returning or raising")


def refusals_in(outcomes: Mapping[str, Document]) -> Mapping[str, str]:
    told = {identity: explain(outcome) for identity, outcome in outcomes.items()}
    return {identity: sentence for identity, sentence in told.items() if sentence}


def still_behind(client: Client, pending: Sequence[tuple[Intended, str]]) -> list[tuple[Intended, str]]:
    """Those of the steps that are not at their new version, by a fresh read."""
    process = client.get(pending[0][0].path)
    found = []
    for item, identity in pending:
        action = find_action(process, item.usage)
        if action is not None and text_of(action["Properties"].get(TEMPLATE_VERSION)) != str(item.wanted):
            found.append((item, identity))
    return found


def explain_error(error: ApiError, item: Intended) -> str:
    """A refusal of the whole process, in Octopus' words, and what to do about it."""
    if item.branch and "protected branch" in error.words.lower():
        return f"branch {item.branch.name} is protected: let octosteps/* take commits ({error.words})"
    return str(error)


def body_of(pending: Sequence[tuple[Intended, str]]) -> Document:
    item = pending[0][0]
    place = item.usage.place
    new = by_name(item.usage.template)
    return {
        "Id": item.usage.template_id,
        "SpaceId": place.space.id,
        "Version": item.wanted,
        "ActionsToUpdate": [
            {
                "ProcessType": place.kind,
                "ProcessId": place.process_id,
                "ProjectId": place.project_id,
                "ActionIds": [identity for _, identity in pending],
                "GitRef": branches.HEADS + item.branch.name if item.branch else None,
            }
        ],
        "DefaultPropertyValues": dict(item.values),
        # A default of the template would win over the value that was given for this new parameter.
        "Overrides": {
            name: value for name, value in item.values.items() if text_of(new[name].get("DefaultValue"))
        },
    }


# --- reading back ------------------------------------------------------------------------------------------------------


def verify(item: Intended, after: Document, *, refusal: str, changed: Sequence[str]) -> Result:
    """What the process holds now, against what was shown. `changed` are other steps that are not as they were."""
    usage = item.usage
    action = find_action(after, usage)
    if action is None:
        return failed(usage, "read back, the step is not there any more")
    if text_of(action["Properties"].get(TEMPLATE_VERSION)) != str(item.wanted):
        return failed(usage, refusal or "Octopus reports success, but read back the step is as it was")
    held = "an unknown version" if usage.held is None else f"version {usage.held}"
    where = f" on branch {item.branch.name}, which waits for people to merge it" if item.branch else ""
    sentences = [f"updated from {held} to {item.wanted}, and read back{where}"]
    cleared = cleared_values(item, action)
    if cleared:
        sentences.append(f"its values of {', '.join(cleared)} are gone: put the former copy back")
    others = other_names(item, action, cleared)
    if others:
        sentences.append(
            f"{', '.join(others)}: not as it was shown, by Octopus' own merge or by somebody in the same moment: look at the step"
        )
    if changed:
        sentences.append(f"meanwhile somebody changed {', '.join(changed)}: that is kept")
    return Result(
        usage=usage,
        outcome="updated",
        sentence="; ".join(sentences),
        ok=not cleared,
        branch=item.branch.name if item.branch else "",
    )


def cleared_values(item: Intended, action: ActionDocument) -> list[str]:
    """Parameters that had a value, are still there, and have none now (OctopusDeploy/Issues 2953 tells of such)."""
    held, now = item.usage.action["Properties"], action["Properties"]
    return [
        name
        for name in by_name(item.usage.template)
        if (text_of(held.get(name)) or has_secret(held.get(name)))
        and text_of(item.foreseen.properties.get(name))
        and not text_of(now.get(name))
    ]


def other_names(item: Intended, action: ActionDocument, cleared: Sequence[str]) -> list[str]:
    """Properties that are neither as foreseen nor told of already."""
    expected, actual = item.foreseen.properties, action["Properties"]
    return [
        name
        for name in sorted({*expected, *actual} - set(cleared))
        if not name.startswith(OUR_MARKS) and text_of(actual.get(name)) != text_of(expected.get(name))
    ]


def changed_elsewhere(before: Document, after: Document, ours: frozenset[str]) -> list[str]:
    """Names of the process' other steps that are not as they were."""

    def others(process: Document) -> dict[str, Document]:
        return {
            str(step.get("Id")): step
            for step in process.get("Steps") or ()
            if not ours & {str(action.get("Id")) for action in step.get("Actions") or ()}
        }

    old, new = others(before), others(after)
    named = {**old, **new}
    return [
        str(step.get("Name")) for identity, step in named.items() if old.get(identity) != new.get(identity)
    ]
