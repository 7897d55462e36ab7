"""The contract between Octopus' runner and a Python script, with real processes.

Where versions of Python could differ, with each that was found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from generator.emulator.arguments import split_arguments
from generator.emulator.interpreters import Interpreter
from generator.emulator.runner import (
    Artifact,
    OutputVariable,
    Progress,
    ResultMessage,
    RunningScript,
    ScriptResult,
    module_file_name,
)
from tests.contract.scripts import run_script

GLOBALS = {
    *("base64", "binascii", "os", "sys", "AES", "unpad", "encode", "decode", "decrypt", "octopusvariables"),
    *("get_octopusvariable", "set_octopusvariable", "createartifact", "updateprogress", "failstep"),
    *("printverbose", "printhighlight", "printwait", "printwarning"),
}


def test_what_a_script_finds(python: str, interpreter: Interpreter) -> None:
    """Globals, names, arguments, working directory, closed standard input, unbuffered UTF-8."""
    ran = run_script(
        """
        found = set(globals())
        import json, os, sys
        print(json.dumps({
            "globals": sorted(name for name in found if not name.startswith("__")),
            "name": __name__, "file": __file__, "spec": __spec__, "cwd": os.getcwd(),
            "path": sys.path[0], "argv": sys.argv, "stdin": sys.stdin.read(), "unbuffered": sys.stdout.write_through,
        }))
        print("größer 章鱼 😀")
        """,
        interpreter=python,
        arguments='one "two words" --x=\\"3\\"',
        environment={"PYTHONUTF8": "1"},
    )
    facts, text = ran.lines()
    seen = json.loads(facts)
    script = seen["file"]
    assert ScriptResult(0, None, False) == ran.result
    assert sorted(GLOBALS) == seen["globals"]
    assert (seen["name"], seen["spec"], seen["stdin"], seen["unbuffered"]) == ("__main__", None, "", True)
    assert str(Path(script).parent) == seen["cwd"] == seen["path"]
    assert [script, "one", "two words", '--x="3"'] == seen["argv"][:-1]
    assert len(bytes.fromhex(seen["argv"][-1])) == 32
    assert Path(script).name == "Script.py"
    assert text == "größer 章鱼 😀"
    version = ".".join(map(str, interpreter.version))
    assert any(
        line.startswith(version) for line in ran.lines("Verbose")
    )  # sys.version has a second line on old ones


def test_the_helper_functions(python: str) -> None:
    """What each prints, in order, as Octopus understands it."""
    ran = run_script(
        """
        print(get_octopusvariable("Project"), get_octopusvariable("project") == "", get_octopusvariable("Nope") == "")
        set_octopusvariable("Out", "größer")
        print(get_octopusvariable("Out"))
        set_octopusvariable("Key", "hidden value", True)
        print("a hidden value!")
        printverbose("v"); printhighlight("h"); printwait("w"); printwarning("x\\ny")
        updateprogress(40, "at four")
        with open("r.json", "w") as file:
            file.write("12345")
        createartifact("r.json")
        createartifact("r.json", "Result.json")
        createartifact(".", "Folder")
        print("back")
        failstep("no: größer")
        """,
        interpreter=python,
        variables={"Project": "Shop"},
        environment={"PYTHONUTF8": "1"},
    )
    folder = Path(ran.of(Artifact)[0].path).parent
    assert ran.lines() == ["Shop True True", "größer", "a ********!", "back"]
    assert tuple(ran.lines(c) for c in ("Highlight", "Wait", "Warning")) == (["h"], ["w"], ["x", "y"])
    assert [
        OutputVariable("Out", "größer"),
        OutputVariable("Key", "hidden value", sensitive=True),
        OutputVariable("Octopus.Action.Script.ExitCode", "255"),
    ] == ran.of(OutputVariable)
    assert [
        Artifact(str(folder / "r.json"), "r.json", 5),
        Artifact(str(folder / "r.json"), "Result.json", 5),
        Artifact(str(folder), "Folder", 0),
    ] == ran.of(Artifact)
    notice = f"Artifact r.json will be collected from {folder / 'r.json'} after this step completes"
    assert notice in ran.lines("Verbose")
    assert [Progress(40, "at four")] == ran.of(Progress)
    assert [ResultMessage("no: größer")] == ran.of(ResultMessage)
    assert ScriptResult(255, "no: größer", False) == ran.result


def test_a_traceback_names_the_true_line(python: str) -> None:
    """Also of a script with a byte order mark and Windows line ends."""
    ran = run_script(
        "\ufeffdef broken():\r\n    raise ValueError('größer')\r\n\r\n\r\nbroken()\r\n", interpreter=python
    )
    errors = "\n".join(ran.lines("Error"))
    assert ran.result.exit_code == 1
    assert 'Script.py", line 5, in <module>' in errors
    assert 'Script.py", line 2, in broken' in errors
    assert errors.splitlines()[-1].startswith("ValueError: gr")


def test_script_modules_can_be_imported(python: str) -> None:
    """Under the name without odd characters; they have no helper functions of their own, but `__main__` has."""
    ran = run_script(
        "import Octo_Libv2, OctoLib\nprint(Octo_Libv2.text(), OctoLib.shown)",
        interpreter=python,
        variables={"Who": "Shop", "Octopus.Script.Module[Other]": "this is PowerShell"},
        modules={
            "Octo_Lib v2!": "import __main__\ndef text():\n    return __main__.get_octopusvariable('Who')",
            "Octo-Lib": "shown = '#{Who} #{Nope}' + str('printverbose' in globals())",
        },
    )
    assert ran.lines() == ["Shop Shop #{Nope}False"]
    assert (
        "Writing script module 'Octo_Lib v2!' as python module Octo_Libv2.py. Import this module via `import Octo_Libv2`."
        in ran.lines("Verbose")
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("Octo Lib v2", "OctoLibv2"), ("a_b-c.d", "a_bcd"), ("größe 2 😀", "größe2"), ("2nd", "2nd")],
)
def test_the_file_name_of_a_script_module(name: str, wanted: str) -> None:
    assert wanted == module_file_name(name)


@pytest.mark.parametrize(
    ("ending", "exit_code"),
    [
        ("pass", 0),
        ("raise SystemExit(1)", 1),
        ("raise SystemExit('text')", 1),
        ("raise SystemExit(125)", 125),
        ("raise SystemExit(255)", 255),
        ("raise SystemExit(256)", 0),
        ("raise SystemExit(257)", 1),
        ("failstep()", 255),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + 15),
    ],
)
def test_exit_codes(ending: str, exit_code: int) -> None:
    """The number is taken modulo 256; a text goes to standard error."""
    ran = run_script(ending)
    assert ScriptResult(exit_code, None, False) == ran.result
    assert (["text"] if "text" in ending else []) == ran.lines("Error")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("updateprogress(5)", "AttributeError: 'NoneType' object has no attribute 'encode'"),
        ("set_octopusvariable('A', 1)", "AttributeError: 'int' object has no attribute 'encode'"),
        ("failstep(1)", "AttributeError: 'int' object has no attribute 'encode'"),
    ],
)
def test_helper_functions_take_text_only(call: str, error: str) -> None:
    """The documentation shows `updateprogress` without its message; the real one raises."""
    ran = run_script(call)
    assert (1, error) == (ran.result.exit_code, ran.lines("Error")[-1])


def test_a_missing_variable_raised_on_old_servers() -> None:
    """Before 2023.3.1477. Source: OctopusDeploy/Issues 8175."""
    ran = run_script("get_octopusvariable('Nope')", missing_variable_raises=True)
    assert (ran.result.exit_code, ran.lines("Error")[-1]) == (1, "KeyError: 'Nope'")


def test_variables_arrive_evaluated() -> None:
    ran = run_script(
        """
        import json
        names = ("A", "B", "C", "größer", "Octopus.Action.Script.Syntax")
        print(json.dumps([get_octopusvariable(name) for name in names]))
        """,
        variables={"A": "<#{B}>", "B": "b", "C": "#{Nope} \r\n 'quoted' \"too\" \\", "größer": ""},
    )
    assert json.loads(ran.lines()[0]) == ["<b>", "b", "#{Nope} \r\n 'quoted' \"too\" \\", "", "Python"]


def test_the_environment_is_among_the_variables() -> None:
    ran = run_script("print(get_octopusvariable('env:SOME_NAME'))", environment={"SOME_NAME": "some value"})
    assert ran.lines() == ["some value"]


def test_the_script_file_is_a_template_too() -> None:
    """Comments and all; what is unknown comes back and is told in the verbose log."""
    ran = run_script(
        "# #{ Nope }\nprint('#{Who} ##{Who}', open('Script.py').readline())", variables={"Who": "Shop"}
    )
    assert ran.lines() == ["Shop #{Who} # #{Nope}", ""]
    (told,) = (line for line in ran.lines("Verbose") if "Octostache" in line)
    assert told.startswith("Parsing file '")
    assert told.endswith(
        "Script.py' with Octostache returned the following error: "
        "`The following tokens were unable to be evaluated: '#{Nope}'`"
    )


def test_an_unknown_expression_can_be_made_fatal() -> None:
    ran = run_script("print('#{Nope}')", variables={"OctopusShouldFailDeploymentOnSubstitutionFails": "True"})
    assert (ran.result.exit_code, ran.lines()) == (-1, [])
    assert "`The following tokens were unable to be evaluated: '#{Nope}'`" in ran.lines("Error")[0]


def test_a_null_empties_the_script() -> None:
    ran = run_script("print('never')  # #{ | null}")
    assert (ran.result.exit_code, ran.lines()) == (0, [])


def test_a_variable_that_leads_to_itself_fails_every_script() -> None:
    ran = run_script("print('never')", variables={"A": "#{A}"})
    assert (ran.result.exit_code, ran.lines()) == (-1, [])
    assert "self referencing loop" in ran.lines("Error")[0]


def test_standard_error_is_an_error_line_but_no_failure() -> None:
    ran = run_script("import sys; sys.stderr.write('bad\\n\\n  worse')")
    assert (ran.result.exit_code, ran.lines("Error")) == (0, ["bad", "", "  worse"])


@pytest.mark.parametrize(
    ("written", "exit_code"),
    [("bad", -1), ("##octopus[stdout-verbose]", 0), ("  \n", 0), ("", 0)],
    ids=["text", "a service message", "white space", "nothing"],
)
def test_standard_error_can_be_made_a_failure(written: str, exit_code: int) -> None:
    flag = {"Octopus.Action.FailScriptOnErrorOutput": "True"}
    ran = run_script(f"import sys; sys.stderr.write({written!r})", variables=flag)
    assert exit_code == ran.result.exit_code


def test_progress_on_standard_error() -> None:
    ran = run_script(
        "import sys; print('##octopus[stderr-progress]'); sys.stdout.flush()\nprint('50%', file=sys.stderr)"
    )
    assert "50%" in ran.lines(None)


def test_line_ends_of_output() -> None:
    """LF, CR and CR LF each end a line, also when they arrive in pieces; the last line needs none; bad UTF-8 is replaced."""
    ran = run_script(
        """
        import os
        for piece in (b"one\\r\\ntwo\\rthree\\nfo", b"ur\\r", b"\\nfive \\xe2", b"\\x82\\xac \\xff\\n\\nlast"):
            os.write(1, piece)
        """
    )
    assert ran.lines() == ["one", "two", "three", "four", "five € \ufffd", "", "last"]


def test_sensitive_values_are_masked_everywhere_in_the_log() -> None:
    ran = run_script(
        """
        print(get_octopusvariable("Secret") + "/" + get_octopusvariable("Made of it"))
        printwarning("s3cret-longer s3cret")
        updateprogress(1, "s3cret")
        failstep("because of s3cret")
        """,
        variables={"Secret": "s3cret", "Made of it": "#{Secret}-longer", "Empty": ""},
        sensitive=frozenset({"secret", "Made of it", "Empty", "Nope"}),
    )
    assert (ran.lines(), ran.lines("Warning")) == (["********/********"], ["******** ********"])
    assert ([Progress(1, "********")], "because of ********") == (ran.of(Progress), ran.result.message)


def test_files_of_the_working_directory() -> None:
    """Octopus' own are there while the script runs and gone afterwards; secrets are in none of them in plain text."""
    left: list[str] = []

    def look(running: RunningScript) -> None:
        left.extend(sorted(path.name for path in running.folder.iterdir() if path.is_file()))

    ran = run_script(
        """
        import glob, json, os
        files = sorted(glob.glob("*.py"))
        found = [name for name in files for line in open(name) if "pa55word" in line and name != "Script.py"]
        print(json.dumps([files, found]))
        """,
        variables={"P": "pa55word"},
        modules={"Mod": ""},
        before_close=look,
    )
    files, found = json.loads(ran.lines()[0])
    assert [name if name.count(".") == 1 else name.partition(".")[0] for name in files] == [
        "Bootstrap",
        "Configure",
        "Mod.py",
        "Script.py",
    ]
    assert found == []
    assert left == ["Mod.py", "Script.py"]


def test_the_folder_goes_with_close() -> None:
    folders: list[Path] = []
    run_script("pass", before_close=lambda running: folders.append(running.folder))
    assert [folder.exists() for folder in folders] == [False]


def test_proxies_are_known_in_both_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ran = run_script(
        "import os; print(*(os.environ.get(n) for n in ('HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'NO_PROXY')))",
        environment={"http_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2", "https_proxy": "http://c:3"},
    )
    assert ran.lines() == ["http://a:1 http://a:1 http://b:2 http://c:3 None"]


def test_our_own_python_path_stays_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    ran = run_script("import os, sys; print(os.environ.get('PYTHONPATH'), '/ours' in sys.path)")
    assert ran.lines() == ["None False"]


def test_a_worker_without_pycryptodome_fails_before_the_script(tmp_path: Path) -> None:
    """The real runner calls pip here; ours says what it says when pip cannot help."""
    (tmp_path / "Crypto.py").write_text("raise ImportError('no such thing')")
    ran = run_script("print('never')", environment={"PYTHONPATH": str(tmp_path)})
    assert (ran.result.exit_code, ran.lines()) == (1, [])
    assert ran.lines("Error")[0] == "Unable to install package pycryptodome using pip."


def test_a_python_that_does_not_exist() -> None:
    ran = run_script("pass", interpreter="/nowhere/python3")
    assert ran.result.exit_code == -1
    assert ran.lines("Error")[0].startswith("Unable to execute /nowhere/python3, please ensure that")


def test_what_the_listener_raises_ends_the_script() -> None:
    def refuse(event: object) -> None:
        raise LookupError("not wanted")

    from generator.emulator.runner import ScriptJob, start_script

    with (
        start_script(ScriptJob(script="import time; time.sleep(600)"), refuse) as running,
        pytest.raises(LookupError),
    ):
        running.wait(30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  a   b\tc ", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ('a"b c"d', ["ab cd"]),
        ('""', [""]),
        ('"a""b"', ['a"b']),
        (r"\"a\"", ['"a"']),
        (r"C:\dir\ x", ["C:\\dir\\", "x"]),
        (r'"C:\dir\\" x', ["C:\\dir\\", "x"]),
        (r"a\\\"b", ['a\\"b']),
        ("'a b'", ["'a", "b'"]),
        ('"open end', ["open end"]),
    ],
)
def test_arguments_are_split_as_dotnet_does(text: str, words: list[str]) -> None:
    """Single quotes are nothing special. Source: .NET, ParseArgumentsIntoList."""
    assert words == split_arguments(text)


def test_an_open_quote_swallows_the_key() -> None:
    """What really happens with unbalanced ScriptParameters: the script's variables cannot be decrypted."""
    assert run_script("print('never')", arguments='"a').result.exit_code == 1


def test_the_default_interpreter_is_ours() -> None:
    assert [sys.executable] == run_script("import sys; print(sys.executable)").lines()
