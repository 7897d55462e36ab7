"""Service messages and log levels in a script's output. Source of the grammar: Calamari, ServiceMessageParser."""

from __future__ import annotations

import base64

import pytest

from generator.emulator.messages import (
    Artifact,
    Event,
    LogLine,
    MessageParser,
    OutputReader,
    OutputVariable,
    Progress,
    ResultMessage,
    ServiceMessage,
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


A, B = b64("a"), b64("b ü")
SET = f"##octopus[setVariable name='{A}' value='{B}']"


def parse(*lines: str) -> list[str | ServiceMessage]:
    parser = MessageParser()
    return [part for line in lines for part in parser.feed(line)] + list(parser.finish())


def read(*lines: str) -> list[Event]:
    reader = OutputReader()
    return [event for line in lines for event in reader.stdout(line)] + list(reader.finish())


MESSAGE = ServiceMessage("setVariable", {"name": "a", "value": "b ü"})


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        pytest.param([SET], [MESSAGE], id="a whole line"),
        pytest.param([f"before {SET}"], ["before ", MESSAGE], id="in the middle of a line"),
        pytest.param([f"{SET} after"], [MESSAGE, " after"], id="with text behind"),
        pytest.param([f"{SET}{SET}"], [MESSAGE, SET], id="a second one on the line is not searched for"),
        pytest.param([SET.replace("'", '"')], [MESSAGE], id="double quotes"),
        pytest.param(
            [SET.replace("octopus[", "octopus [ ")],
            ["##octopus [ " + SET[10:]],
            id="a space after the bracket",
        ),
        pytest.param([SET.replace("octopus[", "octopus")], [MESSAGE], id="without the bracket"),
        pytest.param([SET.replace("name", "NAME")], [MESSAGE], id="names of attributes ignore case"),
        pytest.param([SET.replace(A, f" {A} ")], [MESSAGE], id="white space in base64"),
        pytest.param([f"#{SET}"], [f"#{SET}"], id="three hashes are none"),
        pytest.param([f"# {SET}"], ["# ", MESSAGE], id="a lone hash before"),
        pytest.param([SET[:20], SET[20:]], [MESSAGE], id="over two lines"),
        pytest.param(["##octo", SET[6:]], ["##octo", MESSAGE], id="the opening over two lines"),
        pytest.param(
            ["##octopus[x", "swallowed text", "y] z"],
            ["##octopus[x", "swallowed text", "y] z"],
            id="what it swallowed comes back",
        ),
        pytest.param(
            ["##octopus[x", "y", "z]"], [ServiceMessage("xyz", {})], id="swallows lines until a bracket"
        ),
        pytest.param(["##octopus[x", "swallowed"], ["##octopus[x", "swallowed"], id="never finished"),
        pytest.param(
            ["##octopus[setVariable name='*']"], ["##octopus[setVariable name='*']"], id="bad base64"
        ),
        pytest.param(
            ["##octopus[setVariable name='YQ']"],
            ["##octopus[setVariable name='YQ']"],
            id="base64 without its padding",
        ),
        pytest.param([f"##octopus[x name={A}]"], [f"##octopus[x name={A}]"], id="no quotes"),
        pytest.param(
            [f"##octopus[x a='{A}' A='{A}']"], [f"##octopus[x a='{A}' A='{A}']"], id="one attribute twice"
        ),
        pytest.param(["##octopus[]"], ["##octopus[]"], id="nothing inside"),
        pytest.param(["## octopus[x]", "#octopus[x]"], ["## octopus[x]", "#octopus[x]"], id="no opening"),
        pytest.param(
            ["##octopus[stdout-verbose]"], [ServiceMessage("stdout-verbose", {})], id="without attributes"
        ),
        pytest.param(["", "  "], ["", "  "], id="empty lines"),
    ],
)
def test_messages_are_found_in_lines(lines: list[str], wanted: list[str | ServiceMessage]) -> None:
    """What turns out to be no message is ordinary text."""
    assert wanted == parse(*lines)


def test_a_finished_message_leaves_no_state_behind() -> None:
    assert parse(SET, "text", SET) == [MESSAGE, "text", MESSAGE]


@pytest.mark.parametrize(
    ("mode", "category"),
    [
        ("default", "Info"),
        ("verbose", "Verbose"),
        ("highlight", "Highlight"),
        ("wait", "Wait"),
        ("warning", "Warning"),
        ("error", "Error"),
    ],
)
def test_levels_are_modes(mode: str, category: str) -> None:
    """Every line has the level until the next one is set."""
    lines = ["one", f"##octopus[stdout-{mode}]", "two", "three", "##octopus[stdout-default]", "four"]
    wanted = [("Info", "one"), (category, "two"), (category, "three"), ("Info", "four")]
    assert wanted == [(event.category, event.text) for event in read(*lines) if isinstance(event, LogLine)]


def test_ignored_output_is_dropped() -> None:
    assert [LogLine("Info", "seen")] == read(
        "##octopus[stdout-ignore]", "unseen", "##octopus[stdout-default]", "seen"
    )


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("default", [LogLine("Error", "x")]),
        ("error", [LogLine("Error", "x")]),
        ("progress", [LogLine("Verbose", "x")]),
        ("ignore", []),
    ],
)
def test_standard_error_has_modes_of_its_own(mode: str, wanted: list[Event]) -> None:
    reader = OutputReader()
    assert [*reader.stdout(f"##octopus[stderr-{mode}]")] == []
    assert wanted == [*reader.stderr("x")]


def test_standard_error_is_not_searched_for_messages() -> None:
    assert [LogLine("Error", SET)] == [*OutputReader().stderr(SET)]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (SET, [OutputVariable("a", "b ü")]),
        (SET[:-1] + f" sensitive='{b64('True')}']", [OutputVariable("a", "b ü", sensitive=True)]),
        (SET[:-1] + f" sensitive='{b64('no')}']", [OutputVariable("a", "b ü")]),
        (f"##octopus[setVariable name='{A}']", []),
        (f"##octopus[setVariable name='{b64(' ')}' value='{B}']", []),
        (f"##octopus[createArtifact path='{A}' name='{B}' length='{b64('12')}']", [Artifact("a", "b ü", 12)]),
        (f"##octopus[createArtifact path='{A}' name='{B}']", [Artifact("a", "b ü", 0)]),
        (f"##octopus[createArtifact path='{A}']", []),
        (f"##octopus[progress percentage='{b64('40')}' message='{B}']", [Progress(40, "b ü")]),
        (f"##octopus[progress percentage='{b64('x')}' message='{B}']", []),
        (f"##octopus[progress percentage='{b64('40')}']", []),
        (f"##octopus[resultMessage message='{B}']", [ResultMessage("b ü")]),
        (f"##octopus[somethingElse message='{B}']", []),
    ],
)
def test_messages_become_events(line: str, wanted: list[Event]) -> None:
    """What lacks a needed part, and names nobody knows, do nothing."""
    assert wanted == read(line)


def test_a_sensitive_value_is_not_in_the_repr() -> None:
    assert "hidden" not in repr(OutputVariable("a", "hidden", sensitive=True))
