"""`octosteps locks` by its real command line, against locks that stand in an emulator."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from lock_scene import LockScene, add_variable, cancel, manual, open_lock_scene, variables

from generator.errors import Refusal
from generator.locks import break_lock, make_lock_set, read_lock_set, read_locks
from generator.octopus import ApiError, connect
from tests.commandline import Ended, octosteps
from tests.racing import Racing
from tests.scene import ROOT


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[LockScene, str, str]]:
    """Shop holds Database and is asked something, Web waits for it; nobody holds Other."""
    with open_lock_scene() as locks:
        locks.project("Shop", manual("Approve"))
        locks.project("Web")
        holder = locks.begin("Shop")
        locks.until_held_by(holder)
        waiter = locks.begin("Web")
        locks.until_waiting(waiter)
        free = {"Name": "Other", "Value": '{"fence":7,"holders":[],"waiters":[]}', "Scope": {}}
        locks.scene.wait_until(lambda: added(locks, free), "another lock is in the set")
        yield locks, holder, waiter


def ran(locks: LockScene, *words: str) -> Ended:
    return octosteps("locks", *words, folder=ROOT, environ=locks.scene.environ)


def added(locks: LockScene, variable: dict[str, object]) -> bool:
    """Whether the variable was written; the waiter may have been faster."""
    try:
        add_variable(locks.scene, variable)
    except ApiError:
        return False
    return True


def test_the_list_says_who_holds_and_who_waits(held: tuple[LockScene, str, str]) -> None:
    locks, holder, waiter = held
    ended = ran(locks)
    assert ended.exit_code == 0, ended
    rows = [line.split() for line in ended.out.splitlines()]
    [holds] = [row for row in rows if "holds" in row]
    [waits] = [row for row in rows if "waits" in row and "Database" not in row]
    link = f"{locks.emulator.url}/app#/Spaces-1/deployments/Deployments-1"
    assert holds[:9] == ["Database", "holds", "Shop", "1.0.0", "to", "Test,", "step", "Take", holds[8]], ended
    assert holds[-7:] == [str(locks.lock().fence), holder, "waits", "for", "a", "person", link], ended
    assert waits[:7] == ["waits", "Web", "1.0.0", "to", "Test,", "step", "Take"], ended
    assert waits[-3:-1] == [waiter, "Executing"], ended
    assert ["Other", "free", "-", "-", "7", "-", "-"] in rows, ended
    assert ran(locks, "-f", "basic").out == "held Database\nfree Other\n"


def test_the_list_as_json(held: tuple[LockScene, str, str]) -> None:
    locks, holder, waiter = held
    ended = ran(locks, "-f", "json")
    assert ended.exit_code == 0, ended
    database, other = json.loads(ended.out)["locks"]
    assert other == {"name": "Other", "fence": 7, "holders": [], "waiters": []}
    [one], [next_one] = database["holders"], database["waiters"]
    assert (one["task"], one["project"], one["release"], one["step"]) == (holder, "Shop", "1.0.0", "Take")
    assert (one["taskState"], one["isAlive"], one["fence"]) == ("Queued", True, database["fence"])
    assert (next_one["task"], next_one["isAlive"], next_one["fence"]) == (waiter, True, 0)


def test_breaking_is_never_silent(held: tuple[LockScene, str, str]) -> None:
    """Where nobody can be asked it takes a flag; unknown names and locks that nobody holds are told."""
    locks, holder, _ = held
    refused = ran(locks, "--break", "Database")
    assert refused.exit_code == 2, refused
    assert "--break asks first" in refused.err, refused
    unknown = ran(locks, "--break", "Databse", "--no-prompt")
    assert unknown.exit_code == 1, unknown
    assert "there is no lock 'Databse': did you mean 'Database'?" in unknown.err, unknown
    free = ran(locks, "--break", "other", "--no-prompt")
    assert (free.exit_code, free.out) == (0, "Nobody holds the lock Other.\n"), free
    assert locks.holders() == [holder]


def test_breaking_lets_the_next_one_in() -> None:
    """The holder's claim is taken away although it lives; the one that waits goes on; what a step made unreadable is mended."""
    with open_lock_scene() as locks:
        locks.project("Shop", manual("Approve"))
        locks.project("Web")
        holder = locks.begin("Shop")
        locks.until_held_by(holder)
        fence = locks.lock().fence
        waiter = locks.begin("Web")
        locks.until_waiting(waiter)
        broken = ran(locks, "--break", "DATABASE", "--no-prompt")
        assert broken.exit_code == 0, broken
        assert (
            f"The lock Database is held by:\n  Shop 1.0.0 to Test, step Take ({holder}), waits for a person http"
            in broken.out
        )
        assert broken.out.endswith("It is broken: who waits first takes it at the next look.\n"), broken
        assert locks.scene.wait(waiter)["State"] == "Success", locks.scene.log(waiter)
        assert locks.lock().fence == fence + 1
        cancel(locks.scene, holder)
        set_id, found = variables(locks.scene)
        spoilt = [{**one, "Value": "\x1b[31mred"} if one["Name"] == "Database" else one for one in found]
        locks.scene.set_variables(set_id, spoilt)
        listed = ran(locks)
        assert listed.exit_code == 1, listed
        assert "! Database: this variable holds no lock: " in listed.out, listed
        mended = ran(locks, "--break", "Database", "--no-prompt")
        assert mended.exit_code == 0, mended
        assert locks.lock().fence > 1_700_000_000  # by this command's clock: the steps' ran faster
        assert locks.lock().holders == ()


def test_no_lock_and_no_set() -> None:
    with open_lock_scene(with_set=False) as locks:
        none = ran(locks)
        assert none.exit_code == 0, none
        assert "has no variable set 'octosteps locks' that this account can see" in none.out
        locks.scene.client.post(
            "libraryvariablesets", {"Name": "octosteps locks", "ContentType": "Variables"}
        )
        unfinished = ran(locks)
        assert unfinished.exit_code == 1, unfinished
        assert (
            "! the set 'octosteps locks' shows no variable octosteps.locks: the account lacks"
            in unfinished.out
        )


def test_the_set_is_made_once_whoever_is_faster() -> None:
    """Somebody else makes the same set, or edits it, in the same moment: there is one set, complete, with the foreign edit."""
    with open_lock_scene(with_set=False) as locks:
        faults = locks.emulator.faults
        faults.add(path="/libraryvariablesets$", method="POST", kind="lost_answer")
        faults.add(path="/variables/variableset-Lib", method="PUT", kind="lost_answer")
        made = make_lock_set(locks.scene.client)
        assert [fault.hits for fault in faults.rules] == [1, 1]
        assert read_lock_set(locks.scene.client) == made == make_lock_set(locks.scene.client)
        locks.scene.set_variables(made.variables_id, [])
        foreign = {"Name": "Foreign", "Value": "x", "Scope": {}}

        def edit(count: int) -> None:
            locks.scene.set_variables(
                made.variables_id, [*variables(locks.scene)[1], {**foreign, "Name": f"Foreign {count}"}]
            )

        racing = httpx.Client(transport=Racing(path="/variables/", times=2, edit=edit))
        with connect(locks.emulator.url, api_key=locks.emulator.api_key, http=racing) as client:
            assert make_lock_set(client).is_ready
        names = {one["Name"] for one in variables(locks.scene)[1]}
        assert names == {"octosteps.locks", "Foreign 1", "Foreign 2"}


def test_a_lock_that_changes_hands_meanwhile_is_not_broken() -> None:
    """What a person agreed to break is the claim that was shown, not the lock whoever holds it by now."""
    with open_lock_scene() as locks:
        locks.project("Shop", manual("Approve"))
        first = locks.begin("Shop")
        locks.until_held_by(first)
        found = read_lock_set(locks.scene.client)
        assert found is not None
        [seen] = read_locks(locks.scene.client, found)
        cancel(locks.scene, first)
        second = locks.begin("Shop")
        locks.until_held_by(second)
        with pytest.raises(Refusal, match="has changed meanwhile"):
            break_lock(locks.scene.client, found, seen)
        assert locks.holders() == [second]
