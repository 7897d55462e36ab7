"""Expressions come out as Octostache writes them. The sources of the rules stand in the docstring of the package."""

from __future__ import annotations

import pytest

from generator.emulator.octostache import Evaluation, SelfReferenceError, Variables, evaluate, is_truthy

VARIABLES = {
    "Name": "Shop",
    "x": "V",
    "Empty": "",
    "Yes": "True",
    "No": "no",
    "Zero": "0",
    "Nested": "<#{Name}>",
    "Deep": "#{Nested | ToUpper}",
    "Unknown inside": "#{Nope}!",
    "A": "10",
    "B": "4",
    "A-B": "3",
    "Endpoint[A].Address": "a.example.com",
    "Endpoint[B].Address": "b.example.com",
    "Which": "B",
    "List": "one,two,three",
    "Json": '{"Name": "Toast", "Sizes": [{"L": 1.5}, {"L": true}], "None": null, "Inner": {"a": "b"}}',
    "Loose": "{Plain: 'quoted', Other: [1, 2,], /* note */ Templated: \"#{Name}\"}",
    "Numbers": "[2,3,5]",
    "Package[container[0]].Tag": "nested index",
    "a/b~c(d)@e:f": "odd characters",
    "Two Words": "spaced",
}


def check(
    text: str, wanted: str | None, missing: tuple[str, ...] = (), *, halt_on_error: bool = False
) -> None:
    error = "The following tokens were unable to be evaluated: " + ", ".join(
        f"'{token}'" for token in missing
    )
    assert Evaluation(wanted, error if missing else None) == evaluate(
        text, VARIABLES, halt_on_error=halt_on_error
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(
            "nothing { } # here", "nothing { } # here", id="text without an expression is untouched"
        ),
        pytest.param("#{Name}", "Shop", id="a value"),
        pytest.param("#{name} #{NAME}", "Shop Shop", id="names ignore case"),
        pytest.param("#{ Name }#{  Name  }", "ShopShop", id="white space around a name"),
        pytest.param("#{Two Words}", "spaced", id="white space in a name"),
        pytest.param("#{a/b~c(d)@e:f}", "odd characters", id="odd characters in a name"),
        pytest.param("#{Nested} #{Deep}", "<Shop> <SHOP>", id="values are evaluated, recursively"),
        pytest.param("#{Empty}", "", id="an empty value"),
        pytest.param("#{Endpoint[A].Address}", "a.example.com", id="a path with an index"),
        pytest.param("#{endpoint[a].ADDRESS}", "a.example.com", id="a path ignores case"),
        pytest.param("#{Endpoint[A]}", "A", id="an index alone is its own name"),
        pytest.param("#{Endpoint[*].Address}", "a.example.com", id="a star takes the first index"),
        pytest.param("#{Endpoint[#{Which}].Address}", "b.example.com", id="an index by a variable"),
        pytest.param("#{Package[container[0]].Tag}", "nested index", id="brackets inside an index"),
        pytest.param("#{Json.Name} #{Json[Name]}", "Toast Toast", id="into JSON by dot and by index"),
        pytest.param(
            "#{Json.Sizes[0].L} #{Json.Sizes[1].L}",
            "1.5 True",
            id="JSON numbers and booleans as .NET writes them",
        ),
        pytest.param("#{Json.Inner}", '{"a":"b"}', id="a JSON object comes out compact"),
        pytest.param(
            "<#{Json.None}#{Json.Missing}#{Numbers[9]}>", "<>", id="null and missing parts of JSON are empty"
        ),
        pytest.param(
            "#{Loose.Plain} #{Loose.Other[1]} #{Loose.Templated}",
            "quoted 2 Shop",
            id="loose JSON, evaluated first",
        ),
    ],
)
def test_values_are_substituted(text: str, wanted: str) -> None:
    check(text, wanted)
    check(text, wanted, halt_on_error=True)


@pytest.mark.parametrize(
    ("text", "wanted", "missing"),
    [
        pytest.param("#{ Nope  }", "#{Nope}", ("#{Nope}",), id="white space goes"),
        pytest.param(
            "#{Nope|ToLower}", "#{Nope | ToLower}", ("#{Nope | ToLower}",), id="a filter gets its spaces"
        ),
        pytest.param(
            '#{Name|Nofilter a "b c"}',
            '#{Name | Nofilter "a" "b c"}',
            ('#{Name | Nofilter "a" "b c"}',),
            id="unknown filter",
        ),
        pytest.param("#{a: b}", "#{a: b}", ("#{a: b}",), id="something that only looks like text"),
        pytest.param(
            "#{Nope} #{Other} #{Nope}",
            "#{Nope} #{Other} #{Nope}",
            ("#{Nope}", "#{Other}"),
            id="each named once",
        ),
        pytest.param("#{Unknown inside}", "#{Nope}!", ("#{Nope}",), id="one in a value"),
        pytest.param("#{Endpoint}", "#{Endpoint}", ("#{Endpoint}",), id="a name that only has parts"),
        pytest.param(
            "#{Endpoint[#{Nope}].Address}",
            "#{Endpoint[#{Nope}].Address}",
            ("#{Endpoint[#{Nope}].Address}",),
            id="unknown index",
        ),
        pytest.param("#{else}", "#{else}", ("#{else}",), id="an else on its own is a name"),
        pytest.param("#{if Yes}x", "#{if Yes}x", ("#{if Yes}",), id="an if without its end is a name"),
        pytest.param(
            "#{Name | ToLower x}",
            '#{Name | ToLower "x"}',
            ('#{Name | ToLower "x"}',),
            id="options it does not take",
        ),
        pytest.param(
            "#{Name | ToBase64 ebcdic}",
            '#{Name | ToBase64 "ebcdic"}',
            ('#{Name | ToBase64 "ebcdic"}',),
            id="bad option",
        ),
        pytest.param("#{x | Null}", "#{x | Null}", ("#{x | Null}",), id="only the lower-case null nulls"),
    ],
)
def test_an_unknown_expression_is_written_back_in_octopus_spelling(
    text: str, wanted: str, missing: tuple[str, ...]
) -> None:
    check(text, wanted, missing)
    check(text, wanted, missing, halt_on_error=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("#{x, y} #{Name}", "#{x, y} Shop", id="a comma"),
        pytest.param("#{'Name'} #{Name}", "#{'Name'} Shop", id="quotes"),
        pytest.param("#{a=b} #{Name}", "#{a=b} Shop", id="an equals sign"),
        pytest.param("#{} #{ } #{Name}", "#{} #{ } Shop", id="nothing inside"),
        pytest.param('f"#{n!r}" #{Name}', 'f"#{n!r}" Shop', id="a Python format with a hash before it"),
        pytest.param("#{Name", "#{Name", id="no end"),
        pytest.param("#{/if} #{Name}", "#{/if} Shop", id="an end without a begin"),
        pytest.param(
            "#{Name} #{each a in List} #{Name}",
            "Shop #{each a in List} #{Name}",
            id="a loop without its end eats the rest",
        ),
        pytest.param("#{Name.} #{Name}", "#{Name.} Shop", id="a dot at the end"),
        pytest.param("#{", "#{", id="only the opening"),
    ],
)
def test_a_broken_piece_stays_verbatim(text: str, wanted: str) -> None:
    """In a script file only the piece stays; in a value the whole text does, and an error tells."""
    check(text, wanted)
    halted = evaluate(text, VARIABLES, halt_on_error=True)
    assert text == halted.text
    assert (halted.error or "").startswith("Parsing failure: ")


@pytest.mark.parametrize(
    ("text", "known", "unknown"),
    [
        ("#{x}", "V", "#{x}"),
        ("##{x}", "#{x}", "#{x}"),
        ("###{x}", "#V", "##{x}"),
        ("####{x}", "###{x}", "###{x}"),
        ("#####{x}", "###V", "####{x}"),
        ("# ## ### {x} #{x}", "# ## ### {x} V", "# ## ### {x} #{x}"),
        ("#{x}#", "V#", "#{x}#"),
        ("#{x}##", "V##", "#{x}##"),
        ("##octopus[#{x}]", "##octopus[V]", "##octopus[#{x}]"),
    ],
)
def test_a_run_of_hashes_escapes_by_its_length(text: str, known: str, unknown: str) -> None:
    """Odd runs substitute, even ones are literal and lose one hash."""
    assert known == evaluate(text, {"x": "V"}, halt_on_error=False).text
    assert unknown == evaluate(text, {}, halt_on_error=False).text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("#{if Yes}a#{/if}", "a", id="true"),
        pytest.param("#{if No}a#{else}b#{/if}", "b", id="no is false"),
        pytest.param("#{if Zero}a#{else}b#{/if}", "b", id="0 is false"),
        pytest.param("#{if Empty}a#{else}b#{/if}", "b", id="empty is false"),
        pytest.param("#{if Nope}a#{else}b#{/if}", "b", id="missing is false"),
        pytest.param("#{if Name}a#{else}b#{/if}", "a", id="any other text is true"),
        pytest.param("#{ IF  Yes }a#{/if}", "a", id="the word ignores case and spaces"),
        pytest.param("#{unless Yes}a#{else}b#{/unless}", "b", id="unless"),
        pytest.param("#{unless Nope}a#{/unless}", "a", id="unless missing"),
        pytest.param('#{if Name == "Shop"}a#{/if}', "a", id="equal to a text"),
        pytest.param('#{if Name == "shop"}a#{/if}', "", id="texts compare with case"),
        pytest.param('#{if "Shop" != Name}a#{else}b#{/if}', "b", id="the text first"),
        pytest.param("#{if Name == Name}a#{/if}", "a", id="two names"),
        pytest.param('#{if Nope == ""}a#{/if}', "a", id="missing compares as empty"),
        pytest.param('#{if Name == \\"Shop\\"}a#{/if}', "a", id="escaped quotes, as inside JSON"),
        pytest.param('#{if Name | ToUpper == "SHOP"}a#{/if}', "a", id="a filter on an operand"),
        pytest.param('#{if Name | Contains "ho"}a#{/if}', "a", id="a filter as condition"),
        pytest.param("#{if Nope}a#{elseif No}b#{elseif Yes}c#{else}d#{/if}", "c", id="elseif"),
        pytest.param("#{if Nope}a#{elseif No}b#{else}d#{/if}", "d", id="else after elseif"),
        pytest.param("#{if Yes}#{if No}a#{else}b#{/if}#{else}c#{/if}", "b", id="nested"),
        pytest.param(
            "#{each a in Endpoint}#{a}=#{a.Address};#{/each}",
            "A=a.example.com;B=b.example.com;",
            id="over indexes",
        ),
        pytest.param("#{each a in List}#{a}.#{/each}", "one.two.three.", id="over a list"),
        pytest.param("#{each a in Numbers}#{a}+#{/each}", "2+3+5+", id="over a JSON array"),
        pytest.param(
            "#{each a in Json.Inner}#{a}:#{a.Key}:#{a.Value}#{/each}", "a:a:b", id="over a JSON object"
        ),
        pytest.param("#{each a in Nope}x#{/each}", "", id="over nothing"),
        pytest.param(
            "#{each a in List}#{Octopus.Template.Each.Index}#{Octopus.Template.Each.First}#{unless Octopus.Template.Each.Last},"
            "#{/unless}#{/each}",
            "0True,1False,2False",
            id="what a loop knows of itself",
        ),
        pytest.param(
            "#{each a in List}#{each b in Numbers}#{a}#{b} #{/each}#{/each}",
            "one2 one3 one5 two2 two3 two5 three2 three3 three5 ",
            id="a loop in a loop",
        ),
        pytest.param(
            "#{each e in Endpoint}#{Endpoint[#{e}].Address} #{/each}",
            "a.example.com b.example.com ",
            id="index by loop",
        ),
        pytest.param("#{calc A + B * 2}", "18", id="products before sums"),
        pytest.param("#{calc (A * 2) + 2*({B}-1)}", "26", id="parentheses"),
        pytest.param("#{calc {A} - {B} - 1}", "5", id="differences from the left"),
        pytest.param("#{calc {A-B} + 1}", "4", id="a name with an operator in it"),
        pytest.param("#{calc {A} / B}", "2.5", id="a fraction"),
        pytest.param("#{calc A-B}", "3", id="an operator in a name belongs to the name"),
        pytest.param("#{calc 1 / 3}", "0.3333333333333333", id="a double's digits"),
        pytest.param("#{calc 10000000 * 100000000}", "1E+15", id="an exponent as .NET writes it"),
    ],
)
def test_blocks(text: str, wanted: str) -> None:
    check(text, wanted)


def test_many_blocks_without_their_ends_take_no_time() -> None:
    """They are tried from inside each other; without a memory that doubles with every one."""
    text = ("#" + "{if Yes}x") * 30
    assert text == evaluate(text, VARIABLES, halt_on_error=False).text


def test_blocks_nested_beyond_reason_stay_as_they_are() -> None:
    text = ("#" + "{if Yes}") * 2000 + ("#" + "{/if}") * 2000
    assert text == evaluate(text, VARIABLES, halt_on_error=False).text
    assert text == evaluate(text, VARIABLES, halt_on_error=True).text


def test_a_calculation_with_an_unknown_name_is_written_back_without_its_word() -> None:
    check("#{calc Nope + 1}", "#{Nope+1}")


def test_a_filter_without_a_value_in_a_condition_keeps_the_block() -> None:
    check("#{if Nope | ToLower}a#{/if}", "#{if Nope | ToLower}a#{/if}", ("Nope | ToLower",))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("a #{Name | null} b", None, id="reached"),
        pytest.param("#{ | null}", None, id="without an argument"),
        pytest.param("#{if Yes}#{ | null}#{/if}", None, id="in the branch taken"),
        pytest.param("#{if No}#{ | null}#{else}x#{/if}", "x", id="in the other branch"),
    ],
)
def test_one_null_makes_the_whole_text_null(text: str, wanted: str | None) -> None:
    check(text, wanted)


@pytest.mark.parametrize(
    ("filtered", "wanted"),
    [
        ("Shop | ToLower", "shop"),
        ("Shop | toupper | ToLower | ToUpper", "SHOP"),
        ("Spaced | Trim", "a b"),
        ("Spaced | Trim start", "a b "),
        ("Spaced | Trim end", " a b"),
        ("Shop | Substring 2", "Sh"),
        ("Shop | Substring 1 2", "ho"),
        ("Shop | Substring 3 9", "p"),
        ("Shop | Truncate 2", "Sh..."),
        ('Shop | Truncate 2 ""', "Sh"),
        ("Shop | Truncate 9", "Shop"),
        ("Lines | Indent", "    a\n    b"),
        ("Lines | Indent 2", "  a\n  b"),
        ("Lines | Indent /1", "a\n b"),
        ("Lines | Indent 1/2", " a\n  b"),
        ('Lines | Indent "- "', "- a\n- b"),
        ('Lines | Indent "- " "  "', "- a\n  b"),
        ('Shop | Append ".Web" -1', "Shop.Web-1"),
        ("Shop | Append #{Tail}", "Shop!"),
        ('Shop | Prepend "my " ', "my Shop"),
        ("Shop | Contains ho", "true"),
        ("Shop | StartsWith ho", "false"),
        ("Shop | EndsWith op", "true"),
        ('Shop | Match "^S.+p$"', "true"),
        ('Shop | Replace "(S)h" "$1H"', "SHop"),
        ("Shop | Replace op", "Sh"),
        ("Shop | ToBase64", "U2hvcA=="),
        ("Shop | ToBase64 unicode", "UwBoAG8AcAA="),
        ("Coded | FromBase64", "Shop"),
        ("Marked | HtmlEscape", "&lt;a &amp; &apos;b&apos;&#x2F;&quot;&gt;"),
        ("Marked | XmlEscape", "&lt;a &amp; &apos;b&apos;/&quot;&gt;"),
        ("Lines | JsonEscape", "a\\nb"),
        ("Uri | UriEscape", "A%20b:c+d/e"),
        ("Uri | UriDataEscape", "A%20b%3Ac%2Bd%2Fe"),
        ("Quote | YamlSingleQuoteEscape", "it''s \\ é"),
        ("Quote | YamlDoubleQuoteEscape", "it's \\\\ \\u00e9"),
        ("Spaced | PropertiesKeyEscape", "\\ a\\ b\\ "),
        ("Spaced | PropertiesValueEscape", "\\ a b "),
        ("Shop | MD5", "9f82518d468b9fee614fcc92f76bb163"),
        ("Shop | MD5 2", "9f82"),
        ("Coded | MD5 base64 3", "9f8251"),
        ("Shop | SHA256 4 utf8", "d00aae6b"),
        ("Version | VersionMajor", "2026"),
        ("Version | VersionMinor", "4"),
        ("Version | VersionPatch", "12"),
        ("Version | VersionRevision", "3"),
        ("Version | VersionPreRelease", "beta.7"),
        ("Version | VersionPreReleasePrefix", "beta"),
        ("Version | VersionPreReleaseCounter", "7"),
        ("Version | VersionMetadata", "abc"),
        ("Shop | VersionMajor", "0"),
        ("Shop | VersionPreRelease", "Shop"),
        ("Number | Format N2", "1,234.57"),
        ('Number | Format "0.0"', "1234.6"),
        ('Number | Format "00000.0"', "01234.6"),
        ("Number | Format Double F1", "1234.6"),
        ("Integer | Format Int32 D5", "00042"),
        ("Integer | Format Int X", "2A"),
        ('When | Format "yyyy/MM/dd HH:mm"', "2030/05/22 09:05"),
        ('When | Format Date "dddd d MMMM yy, h:mm tt"', "Wednesday 22 May 30, 9:05 AM"),
        ("When | AddHours 2", "2030-05-22T11:05:00.0000000"),
        ('When | AddDays "0.5"', "2030-05-22T21:05:00.0000000"),
        ("Zoned | AddDays -1", "2030-05-21T09:05:00.0000000+02:00"),
        ("Utc | AddHours 24", "2030-05-23T09:05:00.0000000Z"),
        (" | NowDateUtc", "2001-09-09T01:46:40.0000000Z"),
        (" | NowDateUtc yyyy-MM-dd", "2001-09-09"),
        ("Url | UriPart Host", "octopus.com"),
        ("Url | UriPart Authority", "octopus.com:8443"),
        ("Url | UriPart PathAndQuery", "/docs?a=b"),
        ("Url | UriPart Fragment", "#c"),
        ("Url | UriPart UserInfo", "me:pw"),
        ("Url | UriPart SchemeAndServer", "https://octopus.com:8443"),
        ("Url | UriPart", "[UriPart error: no argument given]"),
        ("Url | UriPart Bar", "[UriPart Bar error: argument 'Bar' not supported]"),
        ("Shop | UriPart Host", "[UriPart Host error: This operation is not supported for a relative URI.]"),
    ],
)
def test_filters(filtered: str, wanted: str) -> None:
    values = {
        "Shop": "Shop",
        "Spaced": " a b ",
        "Lines": "a\nb",
        "Tail": "!",
        "Coded": "U2hvcA==",
        "Marked": "<a & 'b'/\">",
        "Uri": "A b:c+d/e",
        "Quote": "it's \\ é",
        "Version": "v2026.4.12.3-beta.7+abc",
        "Number": "1234.567",
        "Integer": "42",
        "When": "2030-05-22 09:05:00",
        "Zoned": "2030-05-22T09:05:00+02:00",
        "Utc": "2030-05-22T09:05:00Z",
        "Url": "https://me:pw@octopus.com:8443/docs?a=b#c",
    }
    text = "#" + "{" + filtered + "}"
    assert Evaluation(wanted) == Variables(values, now=lambda: 1e9).evaluate(text)


@pytest.mark.parametrize(
    "filtered",
    [
        "Shop | MD5 0",
        "Shop | MD5 bar",
        "Shop | MD5 utf8 12 extra",
        "Name | MD5 base64",
        "Name | FromBase64",
        "Shop | AddDays 1",
        "When | AddDays abc",
        "When | NowDate",
        "Shop | Substring 9 1",
        "Shop | Substring",
        "Shop | Match a b",
        'Shop | Match "["',
        "Shop | Format N2",
        "Shop | Markdown",
        "Nope | Append",
    ],
)
def test_a_filter_that_gives_nothing_keeps_its_token(filtered: str) -> None:
    evaluation = evaluate(
        "#" + "{" + filtered + "}",
        {"Shop": "Shop", "Name": "not-base64", "When": "2030-05-22"},
        halt_on_error=False,
    )
    assert evaluation.text is not None
    assert f"The following tokens were unable to be evaluated: '{evaluation.text}'" == evaluation.error


@pytest.mark.parametrize(
    ("values", "chain"),
    [
        pytest.param({"Foo": "#{Foo}"}, "Foo -> Foo", id="itself"),
        pytest.param(
            {"Foo": "#{Fox}", "Fox": "#{Fax}", "Fax": "#{Foo}"}, "Foo -> Fox -> Fax -> Foo", id="a ring"
        ),
    ],
)
def test_a_value_that_leads_to_itself_is_an_error(values: dict[str, str], chain: str) -> None:
    with pytest.raises(SelfReferenceError) as raised:
        evaluate("#{Foo}", values, halt_on_error=False)
    wanted = (
        'An attempt to parse the variable symbol "Foo" appears to have resulted in a self referencing loop'
    )
    assert f"{wanted} ({chain}). Ensure that recursive loops do not exist in the variable values." == str(
        raised.value
    )


def test_a_variable_may_index_itself() -> None:
    """`A[x]` is another variable than `A`."""
    assert Variables({"A": "#{A[#{b}]}", "b": "x"}).get("A") == "#{A[#{b}]}"


def test_variables_are_found_ignoring_case_and_keep_their_raw_value() -> None:
    variables = Variables(VARIABLES)
    assert (variables.get("nested"), variables.raw("NESTED")) == ("<Shop>", "<#{Name}>")
    assert (variables.get("nope"), variables.raw("nope")) == (None, None)
    assert list(VARIABLES) == list(variables.names())


def test_a_value_with_a_broken_piece_is_left_whole() -> None:
    assert Variables({"Broken": "#{a=b} #{Name}", "Name": "Shop"}).get("Broken") == "#{a=b} #{Name}"


@pytest.mark.parametrize("text", ["0", "", "no", "NO", " False ", "false", None])
def test_falsy(text: str | None) -> None:
    assert not is_truthy(text)


@pytest.mark.parametrize("text", ["1", "true", " ", "00", "none", "anything"])
def test_truthy(text: str) -> None:
    assert is_truthy(text)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [("#{Yes}", True), ("#{No}", False), ("#{Nope}", False), ("True", True), ("#{Yes", False)],
)
def test_a_run_condition_is_true_without_errors_only(condition: str, wanted: bool) -> None:
    assert wanted == Variables(VARIABLES).evaluate_truthy(condition)
