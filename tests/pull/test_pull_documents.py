"""Any template in the Library's format becomes files that build gives back as the same document, and every oddity survives."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generator.adoption import canonical, slug_of
from generator.commands import build, pull
from generator.edited_yaml import edit, same
from generator.source import parse_source
from generator.written_yaml import to_yaml
from tests.pull.documents import BODY, SYNTAX, make_document, make_parameter, write_documents

Document = dict[str, Any]


def brought_back(root: Path, documents: dict[str, Document]) -> dict[str, Document]:
    """The documents after pull and build, by file name."""
    files = write_documents(root.parent / f"{root.name}-incoming", documents)
    root.mkdir(exist_ok=True)
    pull.run(root=root, files=files, environ={})
    build.run(root=root)
    return {
        name: json.loads((root / "build" / name.replace(" ", "-").lower()).read_bytes()) for name in documents
    }


ODD: dict[str, Document] = {
    "a number as a default": make_document(Parameters=[make_parameter(DefaultValue=5)]),
    "true, 1.0 and a list as defaults": make_document(
        Parameters=[
            make_parameter("A.True", DefaultValue=True),
            make_parameter("A.Float", DefaultValue=1.0),
            make_parameter("A.List", DefaultValue=["x", {"y": None}]),
            make_parameter("A.Large", DefaultValue=1e22),
        ]
    ),
    "null where texts belong": make_document(
        Description=None,
        Category=None,
        Parameters=[make_parameter(Label=None, HelpText=None, DefaultValue=None)],
        Properties={BODY: None, SYNTAX: "Bash", "Octopus.Action.Package.FeedId": None},
    ),
    "numbers where texts belong": make_document(
        Description=3, Category=True, Version="7", LastModifiedBy=[], Properties={BODY: 12, SYNTAX: 3}
    ),
    "no parameters, packages or meta": {
        "Name": "Bare - Minimum",
        "ActionType": "Octopus.Script",
        "Id": "0b6a3a0e-3f0b-4f4e-9d53-6c35b8ed1f10",
        "Properties": {},
    },
    "unknown and misspelt fields": make_document(
        LastModfiedAt="2019", StepPackageId="", SensitiveProperties={}, Author="x", Logo="aGk=", Website=None
    ),
    "other fields of parameters": make_document(
        Parameters=[
            {"Name": "A.B", "Type": "String", "Links": {}, "Id": "", "DisplaySettings": {}},
            make_parameter("A.C", DisplaySettings={"Octopus.ControlType": "Future", "More": [1]}),
            make_parameter(
                "A.D", DisplaySettings={"Octopus.ControlType": "Select", "Octopus.SelectOptions": None}
            ),
        ]
    ),
    "parameters that are no parameters": make_document(Parameters=[1, None, {"Name": "x"}]),
    "parameters of one name": make_document(Parameters=[make_parameter("A.B"), make_parameter("A.B")]),
    "parameters as a mapping": make_document(Parameters={"A": 1}),
    "choices of every kind": make_document(
        Parameters=[
            make_parameter(f"A.{index}", kind="Select", options=options)
            for index, options in enumerate(
                [
                    "a|A\nb|B",
                    "True\nFalse",
                    "a|A\na|B",
                    "a|A\n",
                    "",
                    "a|A\r\nb|B",
                    "|x",
                    "yes|no\n1|2",
                    "a|b|c",
                ]
            )
        ]
    ),
    "options of a text": make_document(Parameters=[make_parameter(options="a|b")]),
    "CR LF everywhere": make_document(
        Description="One\r\nTwo\r\n", Properties={BODY: "a\r\nb\r\n", SYNTAX: "PowerShell"}
    ),
    "CR LF and LF": make_document(Properties={BODY: "a\r\nb\nc\rd", SYNTAX: "PowerShell"}),
    "a byte order mark in the script": make_document(Properties={BODY: "\ufeffecho hi\n", SYNTAX: "Bash"}),
    "controls and invisible letters": make_document(
        Description="bell \x07, null \x00, \x85, \u2028, \u2029, \ufeff, \u200b, \x7f, \x9f, tab\t."
    ),
    "blanks at the ends of lines": make_document(
        Description="  two\nspaces at the end  \n\n\n  and before \t\n", Properties={BODY: "\n\n  x  \n\n"}
    ),
    "what YAML reads differently": make_document(
        Description="yes",
        Category="1e3",
        Author="2020-01-01",
        A=["~", "null", "=", "<<", "0x1f", "1:30", "on", "*a"],
    ),
    "expressions": make_document(
        Description="#{X}",
        Parameters=[make_parameter("#{A}", DefaultValue="a #{Octopus.Web.ServerUri}")],
        Properties={BODY: "print('#{X}')", SYNTAX: "Python"},
    ),
    "a secret's default": make_document(
        Parameters=[make_parameter("A.Key", kind="Sensitive", DefaultValue="in the open")]
    ),
    "names that need quotes": make_document(
        Name="A: #1 - 'Say' \"it\" {x}",
        Parameters=[
            make_parameter("a: b #c?"),
            make_parameter("<<"),
            make_parameter("line\nend"),
            make_parameter("x" * 1500),
        ],
    ),
    "scripts before and after": make_document(
        ActionType="Octopus.TentaclePackage",
        Properties={
            "Octopus.Action.CustomScripts.PreDeploy.ps1": "a\r\n",
            "Octopus.Action.CustomScripts.Deploy.sh": "b\r\n",
            "Octopus.Action.CustomScripts.PostDeploy.csx": "c",
            "Octopus.Action.CustomScripts.PostDeploy.fsx": "",
            "Octopus.Action.CustomScripts.PostDeploy.odd": "d",
        },
    ),
    "bodies in several languages": make_document(
        Properties={
            f"{BODY}[PowerShell]": "a",
            f"{BODY}[Python]": "b",
            f"{BODY}[python]": "c",
            f"{BODY}[Odd]": "d",
        }
    ),
    "programs that are no scripts": make_document(
        ActionType="Octopus.TerraformApply",
        Properties={
            "Octopus.Action.Terraform.Template": '{\n"a": 1}',
            "Octopus.Action.KubernetesContainers.CustomResourceYaml": "a:\n\tb",
            "Octopus.Action.Azure.ResourceGroupTemplate": "one line",
        },
    ),
    "packages and git dependencies": make_document(
        Packages=[{"Id": "x", "Name": "", "Properties": {"Extract": "True", "SelectionMode": "immediate"}}],
        GitDependencies=[{"Name": "", "RepositoryUri": "https://example.com/x.git", "FilePathFilters": []}],
    ),
    "an id of a server": make_document(Id="ActionTemplates-7", SpaceId="Spaces-1", Links={"Self": "/api"}),
    "an id that is none of its own": make_document(Id="00000000-0000-0000-0000-000000000000"),
    "an id in capitals": make_document(Id="0B6A3A0E-3F0B-4F4E-9D53-6C35B8ED1F77"),
    "a meta of its own": make_document(
        **{"$Meta": {"Type": "ActionTemplate", "ExportedAt": "today", "More": 1}}
    ),
    "a meta without a version": make_document(
        **{"$Meta": {"Type": "ActionTemplate", "ExportedAt": "2014-05-20T00:00:00Z"}}
    ),
    "a very long line": make_document(Description="word " * 400 + "end", Logo="QUJD" * 5000),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """Every oddity after pull and build; each document has a name and an id of its own."""
    documents = {}
    for number, (title, document) in enumerate(ODD.items()):
        own = {"Name": f"{document['Name']} {number}"}
        if "0b6a3a0e" in document["Id"]:
            own["Id"] = document["Id"][:-2] + f"{number:02}"
        documents[f"{number} {title.replace(',', '').replace(chr(39), ' ')}.json"] = {**document, **own}
    root = tmp_path_factory.mktemp("odd") / "library"
    files = write_documents(root.parent / "incoming", documents)
    root.mkdir()
    pull.run(root=root, files=files, environ={})
    build.run(root=root)
    made = {}
    for title, (name, document) in zip(ODD, documents.items(), strict=True):
        built = json.loads((root / "build" / f"{slug_of(Path(name).stem)}.json").read_bytes())
        made[title] = {"given": document, "built": built}
    return made


@pytest.mark.parametrize("title", ODD)
def test_an_oddity_comes_back_as_it_is(odd: dict[str, Any], title: str) -> None:
    """Values, types, unknown fields and every character; only the order of keys may be another one."""
    assert canonical(odd[title]["given"]) == canonical(odd[title]["built"])


EXAMPLES = int(os.environ.get("OCTOSTEPS_EXAMPLES", "40"))
"""How many generated cases each test tries; a soak asks for thousands."""

# --- generated documents -----------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    (
        *(
            "\r\n",
            "\n",
            " \n",
            "\n\n",
            "#{X}",
            ": ",
            " #",
            "\ufeff",
            "\x00",
            "\x85",
            "\u2028",
            "\t",
            "  ",
            "yes",
            "1e3",
        ),
        *("...", "---", "0o7", "- ", "é", "𝔘", *"-|>'\"\\%&*{],?!@`=~"),
    )
)
TEXTS = st.lists(
    st.one_of(PIECES, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=6
).map("".join)
NAMES = TEXTS.filter(bool)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, NUMBERS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
CONTROLS = st.sampled_from(
    ["SingleLineText", "MultiLineText", "Checkbox", "Select", "Sensitive", "Package", "Odd"]
)
SETTINGS = st.one_of(
    st.fixed_dictionaries(
        {"Octopus.ControlType": CONTROLS}, optional={"Octopus.SelectOptions": st.one_of(TEXTS, st.none())}
    ),
    JSON,
)
PARAMETERS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"Name": NAMES},
            optional={
                "Id": TEXTS,
                "Label": st.one_of(TEXTS, NUMBERS),
                "HelpText": st.one_of(TEXTS, NUMBERS),
                "DefaultValue": JSON,
                "DisplaySettings": SETTINGS,
                "Links": JSON,
            },
        ),
        JSON,
    ),
    max_size=4,
)
PROPERTIES = st.dictionaries(
    st.one_of(
        st.sampled_from([BODY, SYNTAX, f"{BODY}[Python]", "Octopus.Action.CustomScripts.PreDeploy.sh"]), NAMES
    ),
    JSON,
    max_size=4,
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "Name": NAMES.filter(lambda text: bool(text.strip())),
        "ActionType": NAMES.filter(lambda text: bool(text.strip())),
        "Properties": PROPERTIES,
    },
    optional={
        "Id": st.one_of(st.uuids().map(str), JSON),
        "Version": JSON,
        "Description": JSON,
        "Category": JSON,
        "LastModifiedBy": JSON,
        "Parameters": st.one_of(PARAMETERS, JSON),
        "Packages": JSON,
        "GitDependencies": JSON,
        "Other": JSON,
        "": st.nothing(),
        "$Meta": st.one_of(
            st.fixed_dictionaries({"Type": st.just("ActionTemplate"), "ExportedAt": TEXTS}), st.none()
        ),
    },
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS)
def test_a_generated_document_comes_back_as_it_is(document: Document) -> None:
    """Whatever JSON holds, `fields` included; a document without an Id comes back with the one that it was given."""
    folder = Path(tempfile.mkdtemp())
    try:
        (back,) = brought_back(folder / "library", {"it.json": document}).values()
        given = document if "Id" in document else {**document, "Id": back["Id"]}
        assert canonical(given) == canonical(back)
    finally:
        shutil.rmtree(folder)


MAPPINGS = st.dictionaries(NAMES, JSON, min_size=1, max_size=4)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(MAPPINGS)
def test_written_yaml_is_read_back_as_the_same_data(data: Document) -> None:
    assert same(parse_source(to_yaml(data).encode(), name="").data, data)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(MAPPINGS, MAPPINGS)
def test_a_file_can_be_edited_into_any_other(before: Document, after: Document) -> None:
    """Whatever stood there; keys in the wanted order."""
    content = to_yaml({"top": before, "end": 1}).encode()
    wanted = {"top": after, "end": 1}
    assert same(parse_source(edit(content, wanted), name="").data, wanted)
