"""What people did to published templates: who, when, what, and what then may be written over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generator.commands import apply, plan
from generator.emulator import Emulator
from generator.octopus import Client, connect
from generator.outcome import Outcome
from generator.step_template import SCRIPT_BODY
from tests.publisher.own_library import Document, OwnLibrary, edit, published


class Desk:
    """A library of one template, a server, and two people who use its portal."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.library = OwnLibrary(folder, templates=1)
        self.name = "Own - Template 1"
        self.people = {
            name: connect(emulator.url, api_key=emulator.add_key(user=name)) for name in ("alice", "bob")
        }

    def run(self, verb: Callable[..., Outcome], **options: Any) -> Outcome:
        environ = {"OCTOPUS_URL": self.emulator.url, "OCTOPUS_API_KEY": self.emulator.api_key}
        return verb(root=self.library.folder, environ=environ, **options)

    def apply(self, **options: Any) -> Outcome:
        outcome = self.run(apply.run, **options)
        assert outcome.exit_code == 0, outcome
        return outcome

    def change(self, **options: Any) -> Document:
        """The only change of the plan."""
        data: Any = self.run(plan.run, **options).data
        [change] = data["changes"]
        return {**change, "warnings": data["warnings"]}

    @property
    def alice(self) -> Client:
        return self.people["alice"]

    @property
    def bob(self) -> Client:
        return self.people["bob"]

    def put_back(self, client: Client, version: int) -> None:
        """A person saves an old version's content again, as the portal's history offers."""
        there = published(client)
        old = next(
            one
            for one in client.array(f"actiontemplates/{there['Id']}/versions")
            if one["Version"] == version
        )
        client.put(f"actiontemplates/{there['Id']}", old)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Emulator() as emulator:
        desk = Desk(emulator, tmp_path / "library")
        desk.apply()
        yield desk
        for client in desk.people.values():
            client.close()
        assert not emulator.refused


def test_an_edit_is_told_with_its_author_and_moment_and_compared_with_what_was_published(desk: Desk) -> None:
    edit(desk.alice)
    change = desk.change()
    assert change["action"] == "conflict"
    assert change["reason"].startswith("it was edited on the server by alice on 20")
    assert (
        '(version 1); `octosteps pull -n "Own - Template 1"` brings it into the spec; --force'
        in change["reason"]
    )
    assert change["diff"][0] == f"--- {desk.name}: script (published, version 0)"
    assert "on the server by alice on 20" in change["diff"][1]
    assert [line for line in change["diff"] if line[:1] in "+-"][2:] == ["+# by people"]


def test_every_editor_since_the_publication_is_named(desk: Desk) -> None:
    edit(desk.alice)
    edit(desk.bob, text="# and again")
    reason = desk.change()["reason"]
    assert (
        reason.index("by alice on 20")
        < reason.index("(version 1), by bob on 20")
        < reason.index("(version 2)")
    )


def test_an_edit_shows_against_the_published_version_although_the_spec_has_moved_on(desk: Desk) -> None:
    desk.library.write(1, version=2, says="good morning")
    edit(desk.alice)
    change = desk.change()
    assert change["action"] == "conflict"
    assert [line for line in change["diff"] if line[:1] in "+-"][2:] == ["+# by people"]
    forced = desk.change(force=True)
    assert forced["action"] == "update" and "by alice" in forced["reason"]
    assert "-# by people" in forced["diff"], "what is lost is shown"


def test_an_edit_that_took_our_marks_away_is_still_an_edit_of_ours(desk: Desk) -> None:
    """The marks are in the script's header and in the properties; the template's history still has them."""
    there = published(desk.alice)
    properties = {
        name: value for name, value in there["Properties"].items() if not name.startswith("octosteps.")
    }
    properties[SCRIPT_BODY] = "print('anew')\n"
    desk.alice.put(f"actiontemplates/{there['Id']}", {**there, "Properties": properties})
    assert desk.change()["reason"].startswith("it was edited on the server by alice on ")


def test_what_was_pulled_is_published_without_force(desk: Desk) -> None:
    """Once the spec renders to what stands on the server but for our header, the edit is not lost by publishing it."""
    desk.library.write(1, version=2, says="good morning")
    built = desk.change()
    assert built["action"] == "update"
    desk.apply()
    desk.library.write(1, version=1, says="hello")
    # A person makes of it what the spec of version 3 will say.
    desk.library.write(1, version=3, says="good night")
    [wanted] = [line for line in desk.change()["diff"] if line.startswith("+    parameters.step")]
    there = published(desk.alice)
    script = there["Properties"][SCRIPT_BODY].replace("good morning", "good night")
    desk.alice.put(
        f"actiontemplates/{there['Id']}",
        {
            **there,
            "Description": "Says good night.",
            "Properties": {**there["Properties"], SCRIPT_BODY: script},
        },
    )
    assert wanted[1:] in script
    change = desk.change()
    assert change["action"] == "update", change
    assert change["reason"].startswith("the spec has what was edited on the server by alice")
    desk.apply()
    assert desk.change()["action"] == "leave"


def test_a_version_that_was_put_back_is_not_undone(desk: Desk) -> None:
    """Somebody went back to the former version because the new one failed: its marks are whole, and still it is an edit."""
    desk.library.write(1, version=2, says="good morning")
    desk.apply()
    desk.put_back(desk.bob, version=0)
    change = desk.change()
    assert change["action"] == "conflict"
    assert change["reason"].startswith("version 0 was put back by bob on ")
    desk.apply(force=True)
    assert desk.change()["action"] == "leave"


def test_an_edit_that_was_taken_back_is_none(desk: Desk) -> None:
    edit(desk.alice)
    desk.put_back(desk.alice, version=0)
    desk.library.write(1, version=2, says="good morning")
    change = desk.change()
    assert (change["action"], change["warnings"]) == ("update", [])
    desk.apply()


def test_a_covered_edit_is_told_by_the_next_run_when_the_one_that_covered_it_was_killed(desk: Desk) -> None:
    """The mark says which version the save was meant to become; the template's version says which one it became."""
    desk.library.write(1, version=2, says="good morning")

    class Killing(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method != "PUT":
                return super().handle_request(request)
            edit(desk.alice)
            super().handle_request(request)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.run(apply.run, http=httpx.Client(transport=Killing()))
    change = desk.change()
    assert change["action"] == "leave"
    [warning] = change["warnings"]
    assert "version 1 was saved by alice on" in warning and "as ours, version 2, which covers it" in warning
    desk.library.write(1, version=3, says="good night")
    assert len(desk.change()["warnings"]) == 1
    desk.apply()
    assert desk.change()["warnings"] == []


class Forgetful(httpx.HTTPTransport):
    """An old server: it does not say who saved a template, and has `events` in its audit log, or refuses to show it."""

    def __init__(self, events: list[Document] | None) -> None:
        super().__init__()
        self.events = events

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/events":
            if self.events is None:
                return httpx.Response(403, json={"ErrorMessage": "You may not.", "Errors": []})
            assert request.url.params["regarding"].startswith("ActionTemplates-")
            return httpx.Response(200, json={"Items": self.events, "Links": {}})
        response = super().handle_request(request)
        if "/actiontemplates" not in request.url.path:
            return response
        response.read()
        return httpx.Response(200, json=without_editors(response.json()))


def without_editors(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: without_editors(item) for name, item in value.items() if not name.startswith("LastModified")
        }
    return [without_editors(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param(
            [
                {
                    "Id": "Events-2",
                    "Category": "Modified",
                    "Username": "carol",
                    "Occurred": "2026-03-04T05:06:07Z",
                },
                {
                    "Id": "Events-1",
                    "Category": "Created",
                    "Username": "admin",
                    "Occurred": "2026-03-01T05:06:07Z",
                },
            ],
            "by carol on 2026-03-04 05:06 (version 1)",
            id="the audit log knows",
        ),
        pytest.param([], "(the server does not say by whom) (version 1)", id="nobody knows"),
        pytest.param(
            None, "(the server does not say by whom) (version 1)", id="the audit log is closed to us"
        ),
    ],
)
def test_who_edited_comes_from_the_audit_log_where_templates_do_not_say(
    desk: Desk, events: list[Document] | None, told: str
) -> None:
    edit(desk.alice)
    change = desk.change(http=httpx.Client(transport=Forgetful(events)))
    assert f"it was edited on the server {told}" in change["reason"]


def test_a_nightly_check_ends_with_four_when_somebody_edited(desk: Desk) -> None:
    assert desk.run(plan.run, exit_code=True).exit_code == 0
    edit(desk.alice)
    assert desk.run(plan.run, exit_code=True).exit_code == 4
    assert desk.run(plan.run).exit_code == 0
