"""The coordination files of docs/locking.md do what the page says: applied by the command line, deployed on an emulator."""

from __future__ import annotations

import re
from pathlib import Path

from lock_scene import LockScene, open_lock_scene

from generator.locks import read_lock_set
from tests.commandline import octosteps
from tests.scene import ROOT, own_step

PAGE = (ROOT / "docs" / "locking.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", PAGE, re.DOTALL))


def spans(locks: LockScene, task: str) -> dict[str, tuple[str, str]]:
    """When each step of a task began and ended, by the server's clock."""
    [root] = locks.scene.client.get(f"tasks/{task}/details")["ActivityLogs"]
    return {one["Name"].split(": ", 1)[1]: (one["Started"], one["Ended"]) for one in root["Children"]}


def overlap(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_the_files_shown(tmp_path: Path) -> None:
    assert set(FILES) == {"both.yaml", "migrations.yaml", "gateway.yaml", "tag.yaml"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    with open_lock_scene(with_set=False) as locks:
        scene, environ = locks.scene, locks.scene.environ
        scene.make_project("A", steps=[own_step("Work", seconds=30)])
        scene.make_project("B", steps=[own_step("Work", seconds=30)])
        for name in ("Shop", "Search"):
            scene.make_project(name, steps=[own_step("Prepare", seconds=40), own_step("Migrate", seconds=30)])
        scene.make_project("Web", steps=[own_step("Migrate")])
        templates = ("-n", "Octopus - Acquire Lock", "-n", "Octopus - Release Lock")
        published = octosteps("apply", "--no-prompt", *templates, folder=tmp_path, environ=environ)
        assert published.exit_code == 0, published
        files = ("both.yaml", "migrations.yaml", "gateway.yaml")
        applied = octosteps("apply", "--no-prompt", *files, folder=tmp_path, environ=environ)
        assert applied.exit_code == 0, applied
        made = read_lock_set(scene.client)
        assert made is not None
        assert made.is_ready
        for name in scene.projects:
            scene.make_release(name, "1.0.0")
        tasks = {name: locks.begin(name) for name in ("A", "B", "Shop", "Search", "Web")}
        for name, task in tasks.items():
            assert scene.wait(task)["State"] == "Success", (name, scene.log(task))
        ran = {name: spans(locks, task) for name, task in tasks.items()}
        assert not overlap(ran["A"]["Work"], ran["B"]["Work"]), ran
        assert overlap(ran["Shop"]["Prepare"], ran["Search"]["Prepare"]), ran
        assert not overlap(ran["Shop"]["Migrate"], ran["Search"]["Migrate"]), ran
        assert "Waiting: the lock Project A is held by" in scene.log(tasks["A"]) + scene.log(tasks["B"])
        assert locks.lock("Database (in Test)").fence > 0
        assert "holds the lock Gateway, shared by up to 2" in scene.log(tasks["Web"])
        tagged = octosteps("apply", "--no-prompt", "tag.yaml", folder=tmp_path, environ=environ)
        assert tagged.exit_code == 0, tagged
        for name in ("A", "B"):
            scene.make_release(name, "2.0.0")
        both = [str(scene.deploy(name, "2.0.0")["TaskId"]) for name in ("A", "B")]
        ended = [scene.wait(task) for task in both]
        assert [task["State"] for task in ended] == ["Success", "Success"]
        first, second = sorted((task["StartTime"], task["CompletedTime"]) for task in ended)
        assert first[1] <= second[0]
        assert all("Waiting: the lock" not in scene.log(task) for task in both)
