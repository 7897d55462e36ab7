"""A library on disk: built incrementally, atomically, with its cache; beside the built-in one; scaffolded and bumped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from generator.build_cache import FOLDER
from generator.build_folder import OUR_HEADER
from generator.commands import build, bump, check, new
from generator.errors import Problems, Refusal
from generator.settings import Settings, Target, read_settings
from generator.side_by_side import FEWEST, side_by_side
from generator.source import read_source
from generator.spec import parse_spec
from generator.workspace import (
    PACKAGE,
    builtin_root,
    read_builtin,
    read_workspace,
    render_known,
    render_workspace,
)

SPEC = """\
id: 0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10
name: Demo - Say Hello
category: demo
version: 1  # ours
description: Says hello.
script: say_hello.py
prefix: SayHello
run_on: worker
parameters:
  greeting: {label: Greeting, type: text, default: hello}
outputs:
  Said: What was said.
"""
SCRIPT = """\
from __future__ import annotations


def main(parameters):
    parameters.step.output("Said", parameters.greeting)
"""


def make_spec(number: int) -> str:
    return (
        SPEC.replace("0b6a3a0e", f"{number:08x}")
        .replace("Say Hello", f"Say Number {number}")
        .replace("prefix: SayHello", f"prefix: Say{number}")
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library with one spec."""
    root = tmp_path / "library"
    (root / "step_templates").mkdir(parents=True)
    (root / "templates" / "steps").mkdir(parents=True)
    (root / "step_templates" / "say-hello.yaml").write_text(SPEC)
    (root / "templates" / "steps" / "say_hello.py").write_text(SCRIPT)
    return root


def built(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((root / "build").iterdir())}


def rendered(root: Path) -> tuple[int, list[str]]:
    """How many specs this build rendered, and which files it wrote."""
    data = build.run(root=root).data
    assert isinstance(data, dict)
    return data["rendered"], data["written"]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# --- building


def test_an_unchanged_library_is_not_rendered_again(library: Path) -> None:
    assert (1, ["say-hello.json", "say-hello.py"]) == rendered(library)
    assert (0, []) == rendered(library)


def test_only_what_changed_is_rendered(library: Path) -> None:
    for number in range(3):
        (library / "step_templates" / f"say-{number}.yaml").write_text(make_spec(number))
    assert 4 == rendered(library)[0]
    change(library / "step_templates" / "say-1.yaml", "Says hello.", "Says it.")
    assert (1, ["say-1.json", "say-1.py"]) == rendered(library)
    assert (0, []) == rendered(library)


def test_a_changed_script_renders_every_spec_that_names_it(library: Path) -> None:
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    assert 2 == rendered(library)[0]
    change(library / "templates" / "steps" / "say_hello.py", '"Said"', "'Said'")
    assert 2 == rendered(library)[0]


def test_a_touched_file_is_not_a_changed_one(library: Path) -> None:
    rendered(library)
    os.utime(library / "step_templates" / "say-hello.yaml", (1, 1))
    os.utime(library / "build" / "say-hello.py", (2, 2))
    assert (0, []) == rendered(library)


def test_a_change_that_keeps_size_and_time_is_seen(library: Path) -> None:
    """A file written in the same tick as the last look is read, not trusted."""
    spec = library / "step_templates" / "say-hello.yaml"
    rendered(library)
    before = spec.stat()
    spec.write_text(SPEC.replace("Says hello.", "Says hallo."))
    os.utime(spec, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert 1 == rendered(library)[0]


@pytest.mark.parametrize("harm", ["edit", "remove"])
def test_a_file_that_was_harmed_is_written_again(library: Path, harm: str) -> None:
    rendered(library)
    expected = built(library)
    file = library / "build" / "say-hello.py"
    if harm == "edit":
        file.write_text("by hand")
    else:
        file.unlink()
    with_check = build.run(root=library, check_only=True)
    assert 1 == with_check.exit_code
    assert any("build/say-hello.py" in str(part) for part in with_check.parts)
    assert (1, ["say-hello.py"]) == rendered(library)
    assert expected == built(library)
    assert 0 == build.run(root=library, check_only=True).exit_code


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"tool": 1}', '{"tool": "x", "specs": 5}', "\x00\xff", "[" * 100_000],
    ids=["empty", "cut off", "a list", "null", "foreign", "odd", "binary", "deep"],
)
def test_a_corrupt_cache_is_ignored(library: Path, content: str) -> None:
    rendered(library)
    expected = built(library)
    cache = library / FOLDER / "build.json"
    tool = json.loads(cache.read_text())["tool"]
    cache.write_text(content.replace('"tool": "x"', f'"tool": "{tool}"'))
    assert (1, []) == rendered(library)
    assert expected == built(library)


@pytest.mark.parametrize("key", ["folders", "specs", "foreign", "known"])
@pytest.mark.parametrize("value", [None, 5, "x", ["x"], {"x": "y"}, {"x": [1, 2, 3]}])
def test_a_cache_with_odd_parts_is_ignored(library: Path, key: str, value: object) -> None:
    rendered(library)
    expected = built(library)
    cache = library / FOLDER / "build.json"
    cache.write_text(json.dumps({**json.loads(cache.read_text()), key: value}))
    rendered(library)
    assert expected == built(library)


def test_a_cache_with_odd_claims_is_ignored(library: Path) -> None:
    """Also when a spec besides the unchanged ones has to be rendered, which is when claims are compared."""
    rendered(library)
    cache = library / FOLDER / "build.json"
    document = json.loads(cache.read_text())
    document["specs"] = {
        name: [scripts, files, [["x"]], []] for name, (scripts, files, _, _) in document["specs"].items()
    }
    cache.write_text(json.dumps(document))
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    assert 2 == rendered(library)[0]


def test_what_a_killed_build_left_is_removed_after_an_hour(library: Path) -> None:
    rendered(library)
    old, new = library / FOLDER / "staged-old", library / FOLDER / "staged-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "say-hello.py").write_text("half")
    os.utime(old, (1, 1))
    change(library / "step_templates" / "say-hello.yaml", "Says hello.", "Says something.")
    rendered(library)
    assert (False, True) == (old.exists(), new.exists())


def test_the_editors_schemas_are_those_of_the_octosteps_that_built(library: Path) -> None:
    """An upgrade renders everything again, and refreshes the copies that the specs' first lines name."""
    rendered(library)
    copies = [library / FOLDER / name for name in ("schema.json", "coordination.schema.json")]
    ours = [(PACKAGE / copy.name).read_bytes() for copy in copies]
    assert ours == [copy.read_bytes() for copy in copies]
    copies[0].write_text("{}")
    copies[1].unlink()
    cache = library / FOLDER / "build.json"
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "tool": "an older one"}))
    rendered(library)
    assert ours == [copy.read_bytes() for copy in copies]


@pytest.mark.parametrize("name", ["two\nlines.yaml", "\u202elmay.yaml", os.fsdecode(b"\xff.yaml")])
def test_a_file_whose_name_nobody_can_read(library: Path, name: str) -> None:
    (library / "step_templates" / name).write_text(make_spec(2))
    with pytest.raises(Problems) as caught:
        build.run(root=library)
    told = str(caught.value.problems[0])
    assert told.endswith("the file's name holds what nobody can read (rename it)") and told.isascii()


def test_a_pipe_instead_of_a_spec_is_not_waited_for(library: Path) -> None:
    os.mkfifo(library / "step_templates" / "pipe.yaml")
    with pytest.raises(Problems, match="the file is empty"):
        build.run(root=library)


def test_the_cache_of_other_code_is_ignored(library: Path) -> None:
    rendered(library)
    cache = library / FOLDER / "build.json"
    cache.write_text(json.dumps({**json.loads(cache.read_text()), "tool": "another"}))
    assert 1 == rendered(library)[0]


def test_nothing_is_written_when_anything_is_wrong(library: Path) -> None:
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    rendered(library)
    before = built(library)
    change(library / "step_templates" / "say-2.yaml", "Says hello.", "Says something.")
    change(library / "step_templates" / "say-hello.yaml", "version: 1", "version: one")
    with pytest.raises(Problems):
        build.run(root=library)
    assert before == built(library)
    assert [".gitignore", "build.json", "coordination.schema.json", "schema.json"] == sorted(
        file.name for file in (library / FOLDER).iterdir()
    )


def test_a_clash_with_an_unchanged_spec_is_found(library: Path) -> None:
    """Rules over the whole library hold also when only one spec is rendered."""
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    rendered(library)
    change(library / "step_templates" / "say-2.yaml", "name: Demo - Say Number 2", "name: demo - say hello")
    with pytest.raises(Problems) as caught:
        build.run(root=library)
    shown = (library / "step_templates").as_posix()
    assert f"{shown}/say-hello.yaml:2:7: the name 'Demo - Say Hello' is that of {shown}/say-2.yaml" in str(
        caught.value
    )


def test_files_of_a_spec_that_is_gone_are_removed_and_others_left(library: Path) -> None:
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    rendered(library)
    (library / "build" / "notes.json").write_text("{}")
    (library / "build" / "own.py").write_text("# mine\n")
    (library / "step_templates" / "say-2.yaml").unlink()
    outcome = build.run(root=library, check_only=True)
    assert 1 == outcome.exit_code
    assert 6 == len(built(library))
    build.run(root=library)
    assert ["notes.json", "own.py", "say-hello.json", "say-hello.py"] == sorted(built(library))
    assert (0, []) == rendered(library)


def test_two_files_for_one_slug(library: Path) -> None:
    (library / "step_templates" / "say-hello.yml").write_text(make_spec(2))
    with pytest.raises(Problems, match="would be built into the same file"):
        build.run(root=library)


def test_no_specs(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"no specs in .*step_templates: begin one with octosteps new"):
        build.run(root=tmp_path)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(library: Path) -> None:
    library.chmod(0o555)
    with pytest.raises(Refusal, match="cannot be written"):
        build.run(root=library)
    library.chmod(0o755)


def test_build_where_a_file_stands(library: Path) -> None:
    (library / "build").write_text("a file")
    with pytest.raises(Refusal, match="cannot be written"):
        build.run(root=library)


def test_the_same_bytes_seen_from_another_folder(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(library)
    expected = built(library)
    shutil.rmtree(library / "build")
    monkeypatch.chdir(library)
    rendered(Path())
    assert expected == built(library)
    assert OUR_HEADER == expected["say-hello.py"].decode().split("\n")[2][: len(OUR_HEADER)]


def test_many_specs_are_rendered_like_few(library: Path) -> None:
    """In several processes, where that is possible, with the same result as one by one."""
    for number in range(2 * FEWEST):
        (library / "step_templates" / f"say-{number}.yaml").write_text(make_spec(number))
    assert 2 * FEWEST + 1 == rendered(library)[0]
    one_by_one = {
        name: text.encode()
        for item in render_workspace(read_workspace(library))
        for name, text in item.files.items()
    }
    assert one_by_one == built(library)


def test_faults_of_many_specs_are_all_told(library: Path) -> None:
    for number in range(2 * FEWEST):
        (library / "step_templates" / f"say-{number}.yaml").write_text(
            make_spec(number).replace("version: 1", "version: x")
        )
    with pytest.raises(Problems) as caught:
        build.run(root=library)
    assert 2 * FEWEST == len(caught.value.problems)
    assert not (library / "build").exists()


def test_side_by_side_keeps_the_order() -> None:
    items = list(range(5 * FEWEST))
    assert [number * number for number in items] == list(side_by_side(lambda number: number * number, items))


def test_side_by_side_tells_what_went_wrong() -> None:
    """A bug in a child is a bug here, with the child's traceback; no process is left."""

    def fail(number: int) -> int:
        if number == 3 * FEWEST:
            raise KeyError("on purpose")
        return number

    with pytest.raises((RuntimeError, KeyError), match="on purpose"):
        list(side_by_side(fail, list(range(5 * FEWEST))))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- beside the built-in library


def test_the_built_in_library_has_no_fault() -> None:
    known = render_workspace(read_builtin())
    assert {"Octopus - Deploy Release", "Octopus - Wait For Deployment", "Octopus - Verify Deployment"} <= {
        item.spec.name for item in known
    }
    assert all(item.builtin for item in known)


def test_own_and_built_in_templates_are_known_by_name(library: Path) -> None:
    known = render_known(library)
    assert not known["Demo - Say Hello"].builtin
    assert known["Octopus - Deploy Release"].builtin


def test_an_empty_folder_knows_the_built_in_ones(tmp_path: Path) -> None:
    assert "Octopus - Deploy Release" in render_known(tmp_path)


def test_a_changed_copy_takes_the_place_of_a_built_in_one(library: Path) -> None:
    ours = builtin_root()
    shutil.copy(ours / "step_templates" / "deploy-release.yaml", library / "step_templates")
    shutil.copy(ours / "templates" / "steps" / "deploy_release.py", library / "templates" / "steps")
    change(library / "step_templates" / "deploy-release.yaml", "category: octopus", "category: mine")
    assert "mine" == render_known(library)["Octopus - Deploy Release"].spec.category
    assert 0 == check.run(root=library).exit_code


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: Demo - Say Hello",
            "name: octopus - deploy release",
            "the name 'octopus - deploy release' is that of",
        ),
        (
            "prefix: SayHello",
            "prefix: DeployRelease",
            "the prefix 'DeployRelease' is that of a built-in step template",
        ),
    ],
)
def test_a_built_in_ones_name_or_prefix_is_taken(library: Path, old: str, new: str, message: str) -> None:
    change(library / "step_templates" / "say-hello.yaml", old, new)
    for attempt in (render_known, lambda root: check.run(root=root)):
        with pytest.raises(Problems) as caught:
            attempt(library)
        assert message in str(caught.value)


# --- settings


def test_settings(library: Path) -> None:
    assert Settings(root=library) == read_settings(library)
    (library / "octosteps.yaml").write_text(
        "scripts: src/\ntargets:\n  production: {url: 'https://octopus.example.com/', space: Platform, api_key: env:KEY}\n"
    )
    target = Target(
        name="production", url="https://octopus.example.com", space="Platform", api_key_variable="KEY"
    )
    assert Settings(root=library, scripts="src", targets={"production": target}) == read_settings(library)


def test_other_folders(library: Path) -> None:
    (library / "templates" / "steps").rename(library / "src")
    (library / "step_templates").rename(library / "specs")
    (library / "octosteps.yaml").write_text("step_templates: specs\nscripts: src\nbuild: out/steps\n")
    assert 1 == rendered(library)[0]
    assert (library / "out" / "steps" / "say-hello.json").exists()
    assert (0, []) == rendered(library)
    (library / "octosteps.yaml").write_text("step_templates: specs\nscripts: src\nbuild: elsewhere\n")
    assert 1 == rendered(library)[0]


def test_a_key_in_the_file_is_never_told(library: Path) -> None:
    (library / "octosteps.yaml").write_text(
        "targets:\n  p: {url: 'https://me:CANARY@x', api_key: API-CANARY}\n"
    )
    with pytest.raises(Problems) as caught:
        read_settings(library)
    assert 2 == len(caught.value.problems)
    assert "CANARY" not in str(caught.value)


# --- new, check --against, bump


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", *words],
        cwd=root,
        check=True,
        capture_output=True,
    )


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")


@pytest.fixture
def committed(library: Path) -> Path:
    """The library, built and committed."""
    build.run(root=library)
    git(library, "init", "-q")
    commit(library)
    return library


@pytest.mark.parametrize(
    "name",
    [
        "Shop - Notify Team",
        "Größe - Über 3 Dinge",
        'Shop: "A" - #1 & {b}',
        "yes - no",
        "A - B 'quoted' \\ path",
    ],
)
def test_new_passes_check(tmp_path: Path, name: str) -> None:
    """Whatever the name holds, the scaffold is sound, has that name and a GUID of its own, and finds its schema."""
    new.run(root=tmp_path, name=name)
    assert 0 == check.run(root=tmp_path).exit_code
    file = next((tmp_path / "step_templates").iterdir())
    spec = parse_spec(read_source(file))
    assert name == spec.name
    reference = file.read_text().split("\n")[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / reference).exists()
    build.run(root=tmp_path)


def test_new_never_overwrites(library: Path) -> None:
    with pytest.raises(Refusal, match="the name 'Demo - Say Hello' is taken"):
        new.run(root=library, name="Demo - Say Hello")
    new.run(root=library, name="Other - Say Hello")
    assert SPEC == (library / "step_templates" / "say-hello.yaml").read_text()
    assert (library / "step_templates" / "other-say-hello.yaml").exists()
    with pytest.raises(Refusal, match="is taken by"):
        new.run(root=library, name="Octopus - Deploy Release")


@pytest.mark.parametrize("name", ["", "Notify", "Notify Team", " - x", "x - ", "x - !!"])
def test_new_wants_a_noun_and_a_verb(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="Noun - Verb"):
        new.run(root=tmp_path, name=name)
    assert [] == list(tmp_path.iterdir())


def test_changed_content_needs_a_new_version(committed: Path) -> None:
    spec = committed / "step_templates" / "say-hello.yaml"
    assert 0 == check.run(root=committed, against="HEAD").exit_code
    change(committed / "templates" / "steps" / "say_hello.py", '"Said"', "'Said'")
    build.run(root=committed)
    with pytest.raises(Problems) as caught:
        check.run(root=committed, against="HEAD")
    assert (
        f"{spec.as_posix()}:4:10: the content differs from that of HEAD, and version is still 1 (octosteps bump say-hello)"
        == str(caught.value)
    )
    bump.run(root=committed, names=["say-hello"])
    assert 0 == check.run(root=committed, against="HEAD").exit_code
    build.run(root=committed)
    commit(committed)
    change(spec, "version: 2", "version: 1")
    with pytest.raises(Problems, match="version 1 is older than 2, which HEAD had"):
        check.run(root=committed, against="HEAD")


def test_what_is_not_content_needs_no_new_version(committed: Path) -> None:
    """A comment in the spec, another category, a spec that is new."""
    change(committed / "step_templates" / "say-hello.yaml", "# ours", "# theirs")
    change(committed / "step_templates" / "say-hello.yaml", "category: demo", "category: other")
    (committed / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    assert 0 == check.run(root=committed, against="HEAD").exit_code


def test_a_library_inside_a_repository(committed: Path) -> None:
    inner = committed / "inner"
    shutil.copytree(committed / "step_templates", inner / "step_templates")
    shutil.copytree(committed / "templates", inner / "templates")
    build.run(root=inner)
    commit(committed)
    change(inner / "step_templates" / "say-hello.yaml", "Says hello.", "Says it.")
    with pytest.raises(Problems, match="version is still 1"):
        check.run(root=inner, against="HEAD")


@pytest.mark.parametrize("ref", ["nowhere", "--help", "a b", "HEAD:build"])
def test_a_ref_that_is_none(committed: Path, ref: str) -> None:
    with pytest.raises(Refusal, match=r"git knows no|is no git ref"):
        check.run(root=committed, against=ref)


def test_no_repository(library: Path) -> None:
    with pytest.raises(Refusal):
        check.run(root=library, against="HEAD")


def test_bump_raises_what_differs_from_build(library: Path) -> None:
    """Only the number changes; comments, line ends and byte order mark stay."""
    spec = library / "step_templates" / "say-hello.yaml"
    spec.write_bytes(b"\xef\xbb\xbf" + SPEC.replace("\n", "\r\n").encode())
    (library / "step_templates" / "say-2.yaml").write_text(make_spec(2))
    build.run(root=library)
    assert {"raised": {}} == bump.run(root=library).data
    before = spec.read_bytes().replace(b"Says hello.", b"Says it.")
    spec.write_bytes(before)
    outcome = bump.run(root=library)
    assert {"raised": {"step_templates/say-hello.yaml": 2}} == outcome.data
    assert [f"{spec.as_posix()}: version 1 -> 2"] == list(outcome.parts)
    assert before.replace(b"version: 1  # ours", b"version: 2  # ours") == spec.read_bytes()
    assert {"raised": {}} == bump.run(root=library).data


@pytest.mark.parametrize(
    "name", ["say-hello", "say-hello.yaml", "step_templates/say-hello.yaml", "Demo - Say Hello"]
)
def test_bump_by_any_name(library: Path, name: str) -> None:
    assert {"raised": {"step_templates/say-hello.yaml": 2}} == bump.run(root=library, names=[name, name]).data


def test_bump_of_what_is_not_there(library: Path) -> None:
    with pytest.raises(Refusal, match=r"no spec is named 'say-helo': did you mean 'say-hello'\?"):
        bump.run(root=library, names=["say-helo"])


def test_bump_of_a_version_that_is_not_a_plain_number(library: Path) -> None:
    change(library / "step_templates" / "say-hello.yaml", "version: 1 ", "version: &v 1 ")
    with pytest.raises(Refusal, match="version is not a plain number"):
        bump.run(root=library, names=["say-hello"])


# --- coordination files

STEP = """\
projects:
  Shop:
    process: deployment
    steps:
      - {key: hello, template: Octopus - Deploy Release, name: Hello, with: {project: Web, api_key: "#{Key}"}}
"""


def test_check_says_what_it_looked_at(library: Path, tmp_path: Path) -> None:
    (library / "other.yaml").write_text(STEP)
    assert ["1 step template, no problems."] == check.run(root=library).parts
    told = check.run(root=library, files=[library / "other.yaml"])
    assert ["1 step template, 1 coordination file, no problems."] == told.parts
    (library / "coordination.yaml").write_text(STEP.replace("Shop", "Blog"))
    told = check.run(root=library, files=[library / "other.yaml"])
    assert ["1 step template, 2 coordination files, no problems."] == told.parts
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "coordination.yaml").write_text(STEP)
    assert ["1 coordination file, no problems."] == check.run(root=alone).parts


def test_check_tells_the_faults_of_both(library: Path) -> None:
    change(library / "step_templates" / "say-hello.yaml", "version: 1", "version: one")
    (library / "coordination.yaml").write_text(STEP.replace("process:", "proces:"))
    with pytest.raises(Problems) as caught:
        check.run(root=library)
    assert ["coordination.yaml"] * 2 + ["say-hello.yaml"] == [
        Path(problem.path).name for problem in caught.value.problems
    ]


def test_a_version_that_is_a_whole_number_in_disguise(library: Path) -> None:
    """`1.0` is an integer to JSON Schema; servers and our marker want `1`."""
    change(library / "step_templates" / "say-hello.yaml", "version: 1", "version: 1.0")
    rendered(library)
    assert b"\n# revision: 1\n" in built(library)["say-hello.py"]
    assert b'"Version": 1,' in built(library)["say-hello.json"]
