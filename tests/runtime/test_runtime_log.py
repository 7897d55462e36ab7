"""What leaves a script: nothing that Octopus would mistake for a message, whatever it is made of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_fakes import FakeOctopus

from generator.runtime.log import Log, neutralised, prepare_console, unexpandable

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("##octopus[stdout-error]", "# #octopus[stdout-error]", id="at the start"),
        pytest.param("x ##octopus[setVariable]", "x # #octopus[setVariable]", id="within a line"),
        pytest.param("###octopus[a]", "## #octopus[a]", id="three hashes are not relied on"),
        pytest.param("##\noctopus[a]", "# #\noctopus[a]", id="across a line break"),
        pytest.param("#\r\n#octopus[a]", "# \n#octopus[a]", id="across a line break between the hashes"),
        pytest.param("##OCTOPUS[a]", "# #OCTOPUS[a]", id="in another case"),
        pytest.param("ends with ##", "ends with # # ", id="open at the end"),
        pytest.param("ends with #\n", "ends with # \n", id="one hash at the end"),
        pytest.param("## Heading\n# other #5", "## Heading\n# other #5", id="what cannot open stays"),
        pytest.param("bell\x07 esc\x1b[31m", "bell? esc?[31m", id="control characters"),
    ],
)
def test_neutralised(text: str, expected: str) -> None:
    assert expected == neutralised(text)


@given(st.lists(st.text(alphabet="#octopus[]\r\n xO", max_size=25), min_size=1, max_size=4))
def test_no_opener_in_any_sequence_of_prints(texts: list[str]) -> None:
    """The parser's state survives line ends: so the stream without them must hold no opener either."""
    stream = "".join(neutralised(text) + "\n" for text in texts)
    assert not re.search("##octopus", re.sub(r"[\r\n]", "", stream), re.IGNORECASE)


def test_every_level_is_neutralised() -> None:
    octopus = FakeOctopus()
    log = octopus.log()
    for write in (log.info, log.verbose, log.highlight, log.waiting, log.warning):
        write("##octopus[a]")
    assert [
        (level, "# #octopus[a]") for level in ("info", "verbose", "highlight", "wait", "warning")
    ] == octopus.lines


def test_output_values_open_no_expression() -> None:
    """Octopus evaluates an output value again wherever it is read."""
    octopus = FakeOctopus()
    octopus.log().output("Notes", "uses #" + "{Secret} and ##" + "{x}")
    assert {"Notes": "uses # {Secret} and ## {x}"} == octopus.outputs
    assert "#" + "{" not in unexpandable("###" + "{{")


def test_missing_variable_on_old_servers() -> None:
    """Before 2023.3.1477 the helper raises KeyError for a name that is not there."""
    octopus = FakeOctopus({"Known": "1"}, missing_raises=True)
    assert ["1", ""] == [octopus.log().read("Known"), octopus.log().read("Unknown")]


def test_progress_always_has_a_message_and_a_percentage() -> None:
    octopus = FakeOctopus()
    octopus.log().progress(250, "half\nway")
    assert [(100, "half way")] == octopus.progress


def test_failure_is_one_sentence_by_failstep() -> None:
    octopus = FakeOctopus()
    with pytest.raises(SystemExit) as ended:
        octopus.log().fail("timed out:\n  Web")
    assert (-1, "timed out: Web") == (ended.value.code, octopus.failure)


def test_outside_octopus_it_says_so() -> None:
    with pytest.raises(SystemExit, match="octosteps run"):
        Log({})


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1"])
def test_any_text_can_be_printed(encoding: str) -> None:
    """On whatever console the worker has: off Windows Octopus reads UTF-8, so that is what is written."""
    code = (
        "import sys; from generator.runtime.log import prepare_console\n"
        "prepare_console((sys.stdout, sys.stderr), 'linux'); print('Gr\\u00fc\\u00dfe \\u65e5\\u672c \\udc80')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONIOENCODING": encoding, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert (0, "Grüße 日本 \\udc80\n".encode()) == (ran.returncode, ran.stdout)


def test_windows_console_gets_its_own_code_page() -> None:
    seen: list[dict[str, str]] = []

    class Stream:
        def reconfigure(self, **options: str) -> None:
            seen.append(options)

    prepare_console((Stream(), object()), "win32")
    assert [{"encoding": "oem", "errors": "backslashreplace"}] == seen
