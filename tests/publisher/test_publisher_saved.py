"""A plan as a file: it is carried out exactly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from generator import saved_plan
from generator.commands import apply, plan
from generator.emulator import Emulator
from generator.errors import Refusal
from generator.octopus import connect
from generator.outcome import Outcome
from tests.canary import make_secret
from tests.publisher.own_library import OwnLibrary, edit, published


class Shelf:
    """A library with one published template that the next version of its spec would update."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.environ = {"OCTOPUS_URL": emulator.url, "OCTOPUS_API_KEY": emulator.api_key}
        self.client = connect(emulator.url, api_key=emulator.api_key)
        self.library = OwnLibrary(folder / "library", templates=1)
        self.file = folder / "plan.json"
        self.run(apply.run)
        self.library.write(1, version=2, says="good morning")

    def run(self, verb: Callable[..., Outcome], **options: Any) -> Outcome:
        return verb(root=self.library.folder, environ=self.environ, **options)

    def save(self, **options: Any) -> Any:
        assert self.run(plan.run, out=self.file, **options).exit_code == 0
        return json.loads(self.file.read_text())

    def apply(self) -> Outcome:
        return self.run(apply.run, plan_file=self.file, confirm=refuse_to_be_asked)

    def refusal(self) -> str:
        """Why the plan is not carried out; and nothing was written."""
        before = published(self.client)
        with pytest.raises(Refusal) as caught:
            self.apply()
        assert published(self.client) == before
        return str(caught.value)


def refuse_to_be_asked(question: str) -> bool:
    raise AssertionError("a saved plan was reviewed: nobody is asked again")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Emulator() as emulator:
        yield Shelf(emulator, tmp_path)
        assert not emulator.refused


def test_a_saved_plan_is_carried_out_and_only_once(shelf: Shelf) -> None:
    saved = shelf.save()
    assert (saved["format"], saved["version"]) == ("octosteps plan", 1)
    [change] = saved["targets"][0]["plan"]["changes"]
    assert change["action"] == "update" and any("good morning" in line for line in change["diff"])
    assert shelf.apply().exit_code == 0
    assert published(shelf.client)["Version"] == 1
    assert "the server has moved: update (differs from its spec) then, leave now" in shelf.refusal()


def test_a_server_that_has_moved_stops_it(shelf: Shelf) -> None:
    shelf.save()
    edit(shelf.client)
    told = shelf.refusal()
    assert told.startswith("nothing was written: this is not what was planned; plan again")
    assert (
        "step template 'Own - Template 1': the server has moved: update (differs from its spec) then, "
        in told
    )
    assert "conflict (it was edited on the server by admin" in told


def test_a_spec_that_has_moved_stops_it(shelf: Shelf) -> None:
    shelf.save()
    shelf.library.write(1, version=3, says="good night")
    assert "what is wanted has changed" in shelf.refusal()


def test_a_spec_that_came_after_it_stops_it(shelf: Shelf) -> None:
    shelf.save()
    shelf.library.write(2)
    assert "step template 'Own - Template 2': is not part of both plans" in shelf.refusal()


def test_another_server_under_the_same_name_stops_it(shelf: Shelf) -> None:
    shelf.save()
    with Emulator() as other:
        shelf.environ = {"OCTOPUS_URL": other.url, "OCTOPUS_API_KEY": other.api_key}
        assert (
            f"the plan was made for {shelf.emulator.url}, and OCTOPUS_URL is {other.url} now"
            in shelf.refusal()
        )


def test_a_plan_goes_to_the_space_that_it_was_made_for(shelf: Shelf) -> None:
    """Whatever space the environment names by then."""
    shelf.save()
    shelf.client.post("/api/spaces", {"Name": "Second", "SpaceManagersTeams": ["teams-administrators"]})
    shelf.environ["OCTOPUS_SPACE"] = "Second"
    assert shelf.apply().exit_code == 0
    assert published(shelf.client)["Version"] == 1


def test_force_is_kept_with_what_it_overwrites(shelf: Shelf) -> None:
    edit(shelf.client)
    shelf.save(force=True)
    edit(shelf.client, text="# more")
    assert "the server has moved" in shelf.refusal()
    shelf.save(force=True)
    assert shelf.apply().exit_code == 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(
            lambda text: text.replace('"force": false', '"force": true'),
            "was changed after it was saved",
            id="edited",
        ),
        pytest.param(
            lambda text: text.replace('"version": 1,', '"version": 7,', 1), "another version", id="newer"
        ),
        pytest.param(
            lambda text: text[: len(text) // 2], "is no plan: `octosteps plan --out", id="half a file"
        ),
        pytest.param(lambda text: '{"format": "terraform"}', "is no plan", id="foreign"),
        pytest.param(lambda text: "[]", "is no plan", id="a list"),
        pytest.param(lambda text: "", "is no plan", id="empty"),
    ],
)
def test_files_that_are_no_plan_of_ours_are_refused(
    shelf: Shelf, spoil: Callable[[str], str], told: str
) -> None:
    shelf.save()
    shelf.file.write_text(spoil(shelf.file.read_text()))
    assert told in shelf.refusal()


def test_a_missing_file_is_told(shelf: Shelf) -> None:
    assert "cannot read" in shelf.refusal()


def test_a_file_that_is_no_plan_is_not_overwritten(shelf: Shelf) -> None:
    shelf.file.write_text("precious\n")
    with pytest.raises(Refusal, match=r"is not overwritten: .* is no plan"):
        shelf.run(plan.run, out=shelf.file)
    assert shelf.file.read_text() == "precious\n"
    shelf.file.unlink()
    assert shelf.save()["checksum"] == shelf.save()["checksum"], "a plan is replaced by the next one"


def test_the_file_says_everything(shelf: Shelf) -> None:
    shelf.save()
    with pytest.raises(Refusal, match="the file says everything"):
        shelf.run(apply.run, plan_file=shelf.file, names=["Own - Template 1"])


def test_a_plan_file_holds_no_secret(shelf: Shelf) -> None:
    """Neither the key, nor a default that people gave a secret parameter."""
    document, canary = published(shelf.client), make_secret()
    document["Parameters"][1]["DefaultValue"] = {"HasValue": True, "NewValue": canary}
    shelf.client.put(f"actiontemplates/{document['Id']}", document)
    shelf.save()
    text = shelf.file.read_text()
    assert shelf.emulator.api_key not in text and canary not in text
    assert shelf.file.stat().st_mode & 0o777 == 0o666 & ~saved_plan.current_umask()
