"""What is looked for before anything is written: permissions, reserved names, and what deleting a template would take away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from generator.emulator import Emulator
from generator.octopus import Client, connect
from generator.octopus.permissions import Need, read_lack
from tests.commandline import Ended, here
from tests.publisher.own_library import Document, OwnLibrary, edit, published
from tests.scene import Scene, own_step

NAME = "Own - Template 1"
VIEW, CREATE, EDIT, DELETE = (f"ActionTemplate{verb}" for verb in ("View", "Create", "Edit", "Delete"))


class Desk:
    """A library of one template, and a server with its client of all permissions."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.library = OwnLibrary(folder, templates=1)
        self.client = connect(emulator.url, api_key=emulator.api_key)
        self.key = emulator.api_key

    def run(self, *words: str) -> Ended:
        environ = {"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.key}
        return here(*words, folder=self.library.folder, environ=environ)

    def apply(self, *words: str) -> Ended:
        return self.run("apply", "--no-prompt", *words)

    def rename(self, old: str, new: str) -> None:
        document = published(self.client, old)
        self.client.put(f"actiontemplates/{document['Id']}", {**document, "Name": new})

    @property
    def names(self) -> list[str]:
        return [str(item["Name"]) for item in self.client.pages("actiontemplates")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Emulator() as emulator:
        desk = Desk(emulator, tmp_path / "library")
        yield desk
        desk.client.close()
        assert not emulator.refused


def writes(desk: Desk) -> list[str]:
    return [f"{seen.method} {seen.path}" for seen in desk.emulator.seen if seen.method != "GET"]


# --- permissions ------------------------------------------------------------------------------------------------------


def test_a_missing_permission_is_named_before_the_first_write(desk: Desk) -> None:
    desk.apply()
    desk.library.write(1, version=2, says="good morning")
    desk.library.write(2)
    before = writes(desk)
    desk.key = desk.emulator.add_key(user="ci", permissions=[VIEW, CREATE])
    planned = desk.run("plan")
    assert planned.exit_code == 0
    assert f"warning: the account 'ci' lacks {EDIT}: nothing can be written here" in planned.out
    applied = desk.apply()
    assert applied.exit_code == 1
    assert f"Nothing was written: the account 'ci' lacks {EDIT}." in applied.out, applied
    assert writes(desk) == before


@pytest.mark.parametrize(
    ("permissions", "lack"),
    [
        pytest.param([VIEW], f"the account 'ci' lacks {CREATE}", id="all but to read"),
        pytest.param([VIEW, CREATE], "", id="nothing that this plan needs"),
    ],
)
def test_only_what_the_plan_needs_is_asked_for(desk: Desk, permissions: list[str], lack: str) -> None:
    desk.key = desk.emulator.add_key(user="ci", permissions=permissions)
    applied = desk.apply()
    assert (lack in applied.out) and applied.exit_code == (1 if lack else 0)


def test_who_may_not_even_look_is_told_what_is_missing(desk: Desk) -> None:
    desk.key = desk.emulator.add_key(user="ci", permissions=[])
    ended = desk.run("plan")
    assert ended.exit_code == 1 and f"the account most likely needs {VIEW}" in ended.err, ended


def grant(*projects: str, space: str | None = "Spaces-1", groups: tuple[str, ...] = ()) -> Document:
    return {
        "SpaceId": space,
        "RestrictedToProjectIds": list(projects),
        "RestrictedToProjectGroupIds": list(groups),
    }


class Told:
    """A server that tells these permissions; `None` is one that does not tell."""

    def __init__(self, granted: Mapping[str, Any] | None) -> None:
        self.granted, self.space = granted, type("Space", (), {"id": "Spaces-1"})

    def get(self, path: str) -> Document:
        if path == "/api/users/me":
            return {"Id": "Users-7", "Username": "ci"}
        assert path == "/api/users/Users-7/permissions"
        if self.granted is None:
            raise KeyError("Id")
        return {"SystemPermissions": [], "IsPermissionsComplete": True, **self.granted}


@pytest.mark.parametrize(
    ("granted", "lacks"),
    [
        pytest.param({"SpacePermissions": {}}, True, id="nothing is granted"),
        pytest.param({"SpacePermissions": {"ProcessEdit": [grant()]}}, False, id="everywhere in the space"),
        pytest.param({"SpacePermissions": {"ProcessEdit": [grant(space=None)]}}, False, id="in every space"),
        pytest.param(
            {"SpacePermissions": {"ProcessEdit": [grant(space="Spaces-2")]}}, True, id="in another space"
        ),
        pytest.param(
            {"SpacePermissions": {"ProcessEdit": [grant("Projects-1")]}}, False, id="for this project"
        ),
        pytest.param(
            {"SpacePermissions": {"ProcessEdit": [grant("Projects-2")]}}, True, id="for another project"
        ),
        pytest.param(
            {"SpacePermissions": {"ProcessEdit": [grant("Projects-2", groups=("ProjectGroups-1",))]}},
            False,
            id="for a group that it may be in",
        ),
        pytest.param(
            {"SpacePermissions": {}, "SystemPermissions": ["AdministerSystem"]}, False, id="administrators"
        ),
        pytest.param(
            {"SpacePermissions": {}, "IsPermissionsComplete": False}, False, id="the list is not whole"
        ),
        pytest.param({}, False, id="the server tells of no spaces"),
        pytest.param(None, False, id="the server does not tell"),
    ],
)
def test_a_permission_is_missing_only_where_the_server_says_so(granted: Any, lacks: bool) -> None:
    client: Any = Told(granted)
    assert bool(read_lack(client, [Need(permission="ProcessEdit", project="Projects-1")])) is lacks


# --- reserved names ---------------------------------------------------------------------------------------------------


def test_a_reserved_name_is_found_before_it_is_used(desk: Desk) -> None:
    """The first save of a name that another template once had succeeds; every later one is refused by Octopus."""
    made = desk.client.post(
        "actiontemplates", {"Name": NAME, "ActionType": "Octopus.Script", "Properties": {}}
    )
    desk.rename(NAME, "Old Name")
    thorough = desk.run("plan", "--thorough", "--exit-code")
    assert thorough.exit_code == 4
    assert (
        f"! conflict step template {NAME}: it could be created, and Octopus would refuse every later save: 'Old Name' "
        f"({made['Id']}) was called '{NAME}' before" in thorough.out
    ), thorough
    assert desk.apply("--thorough").exit_code == 1
    assert desk.names == ["Old Name"]
    # Without the long look the first save succeeds, and the second one is explained.
    assert desk.apply().exit_code == 0
    desk.library.write(1, version=2, says="good morning")
    refused = desk.apply()
    assert refused.exit_code == 1
    assert f"; the cause: 'Old Name' ({made['Id']}) was called '{NAME}' before" in refused.out, refused


def test_a_template_that_is_past_the_reserved_versions_is_let_be(desk: Desk) -> None:
    desk.apply()
    for number in range(3):
        edit(desk.client, text=f"# {number}")
    desk.apply("--force")
    taken = desk.client.post(
        "actiontemplates", {"Name": "Other", "ActionType": "Octopus.Script", "Properties": {}}
    )
    desk.emulator.state.template_versions[taken["Id"]].append({**taken, "Name": NAME, "Version": 1})
    desk.library.write(1, version=2, says="good morning")
    assert desk.apply("--thorough").exit_code == 0


def test_all_own_names_are_free_for_the_template_that_has_them(desk: Desk) -> None:
    desk.apply()
    desk.library.write(1, version=2, says="good morning")
    assert desk.apply("--thorough").exit_code == 0


# --- deleting ---------------------------------------------------------------------------------------------------------


def test_a_template_is_deleted_by_name_after_a_question_only(desk: Desk) -> None:
    desk.apply()
    desk.library.write(2)
    desk.apply()
    ended = desk.apply("--delete", "own - template 1")
    assert ended.exit_code == 0
    assert (
        f"- remove step template {NAME}: its only version for ever; nothing uses it that the API can see"
        in ended.out
    )
    assert (
        f"warning: {NAME!r} has a spec: the next `octosteps apply` publishes it again, as version 0"
        in ended.out
    )
    assert (
        "of version-controlled projects the API searches only the processes of the last twenty" in ended.out
    )
    assert ended.out.endswith("1 removed, and read back.\n"), ended
    assert desk.names == ["Own - Template 2"]


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "status"])
def test_a_lost_answer_to_a_deletion_is_decided_by_looking(desk: Desk, kind: Any) -> None:
    desk.apply()
    fault = desk.emulator.faults.add(path="/actiontemplates/", method="DELETE", kind=kind)
    ended = desk.apply("--delete", NAME)
    assert fault.hits == 1 and ended.exit_code == 0, ended
    assert desk.names == []


def use(desk: Desk, client: Client) -> None:
    """A project whose step is made from the template."""
    scene = Scene(desk.emulator, client)
    step = own_step("Greet")
    step["Actions"][0]["Properties"]["Octopus.Action.Template.Id"] = published(client)["Id"]
    scene.make_project("Web", steps=[step])


def test_a_template_in_use_is_not_deleted_even_by_force(desk: Desk) -> None:
    desk.apply()
    use(desk, desk.client)
    ended = desk.apply("--force", "--delete", NAME)
    assert ended.exit_code == 1
    assert (
        f"! conflict step template {NAME}: it is used by step 'Greet' in the deployment process of 'Web'"
        in ended.out
    )
    assert desk.names == [NAME]


def test_what_octosteps_has_not_published_is_not_deleted(desk: Desk) -> None:
    desk.client.post("actiontemplates", {"Name": "Theirs", "ActionType": "Octopus.Script", "Properties": {}})
    ended = desk.apply("--force", "--delete", "Theirs")
    assert ended.exit_code == 1 and "octosteps has not published it (version 0 by admin on" in ended.out, (
        ended
    )
    assert desk.names == ["Theirs"]


def test_an_edited_template_is_deleted_by_force_only(desk: Desk) -> None:
    desk.apply()
    edit(desk.client)
    ended = desk.apply("--delete", NAME)
    assert ended.exit_code == 1
    assert "it was edited on the server by admin on" in ended.out
    assert f'`octosteps pull -n "{NAME}"` keeps that edit; --force deletes it all the same' in ended.out
    forced = desk.apply("--force", "--delete", NAME)
    assert forced.exit_code == 0 and "all 2 versions for ever" in forced.out, forced


def test_an_unknown_name_is_told_and_nothing_is_deleted(desk: Desk) -> None:
    desk.apply()
    ended = desk.apply("--delete", NAME, "--delete", "Own - Templat 2")
    assert ended.exit_code == 1 and "has no step template 'Own - Templat 2'" in ended.err, ended
    assert desk.names == [NAME]


def test_deleting_needs_its_permission(desk: Desk) -> None:
    desk.apply()
    desk.key = desk.emulator.add_key(user="ci", permissions=[VIEW, CREATE, EDIT])
    ended = desk.apply("--delete", NAME)
    assert ended.exit_code == 1 and f"lacks {DELETE}" in ended.out, ended
    assert desk.names == [NAME]


def test_deleting_goes_with_nothing_else(desk: Desk) -> None:
    ended = desk.apply("--delete", NAME, "-n", NAME)
    assert ended.exit_code == 1 and "--delete names the step templates to delete" in ended.err, ended
