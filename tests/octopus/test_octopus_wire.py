"""The wire layer: addresses, answers, pages, retries and names of spaces, without a server."""

from __future__ import annotations

import json

import pytest

from generator.errors import Refusal
from generator.octopus import wire
from generator.octopus.records import Space

WHERE = "https://octopus.test"
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def make_request(method: str = "GET", path: str = "/api/Spaces-1/actiontemplates") -> wire.Request:
    return wire.build_request(method, path, {})


def make_answer(status: int = 200, body: object = b"", **headers: str) -> wire.Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def refusal(
    answer: wire.Answer, method: str = "GET", path: str = "/api/Spaces-1/actiontemplates"
) -> wire.OctopusError:
    with pytest.raises(wire.OctopusError) as caught:
        wire.parse_answer(make_request(method, path), answer, where=WHERE)
    return caught.value


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://o.test", "https://o.test", id="as it should be"),
        pytest.param(" https://o.test/ ", "https://o.test", id="blanks and a slash"),
        pytest.param("https://o.test/app#/Spaces-1/projects", "https://o.test", id="copied from the portal"),
        pytest.param("https://o.test/api/", "https://o.test", id="with /api"),
        pytest.param("http://o.test:8065/octopus/", "http://o.test:8065/octopus", id="a virtual directory"),
        pytest.param(
            "https://o.test/octopus/app?x=1#/a", "https://o.test/octopus", id="portal in a directory"
        ),
        pytest.param("https://o.test/apiary", "https://o.test/apiary", id="a directory that begins like api"),
    ],
)
def test_the_root_of_a_server_is_found_in_what_people_copy(url: str, expected: str) -> None:
    assert expected == wire.server_root(url)


@pytest.mark.parametrize(
    "url",
    ["octopus.example.com", "ftp://o.test", "https://", "", "o.test:443", "http://[", "http://o.test:a"],
)
def test_what_is_no_address_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(Refusal, match="is no server address"):
        wire.server_root(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(Refusal) as caught:
        wire.server_root("https://me:hunter2@o.test")
    assert "hunter2" not in str(caught.value)


def test_a_query_leaves_out_none_and_joins_lists() -> None:
    request = wire.build_request(
        "GET", "/api/tasks", {"ids": ["a", "b"], "name": None, "active": True, "take": 5}
    )
    assert wire.address("https://o.test", request) == "https://o.test/api/tasks?ids=a%2Cb&active=true&take=5"


def test_an_empty_list_of_ids_is_never_sent() -> None:
    """To Octopus it would mean every document."""
    with pytest.raises(ValueError, match="everything"):
        wire.build_request("GET", "/api/tasks", {"ids": []})


@pytest.mark.parametrize(
    ("root", "link", "expected"),
    [
        pytest.param(
            "https://o.test", "/api/x?skip=30&take=30", "https://o.test/api/x?skip=30&take=30", id="relative"
        ),
        pytest.param("https://o.test/dir", "/api/x", "https://o.test/dir/api/x", id="directory not repeated"),
        pytest.param("https://o.test/dir", "/dir/api/x", "https://o.test/dir/api/x", id="directory repeated"),
        pytest.param(
            "https://o.test", "https://evil.test/api/x?a=b", "https://o.test/api/x?a=b", id="another host"
        ),
        pytest.param(
            "https://o.test", "/api/x?name=a%26b", "https://o.test/api/x?name=a%26b", id="escapes stay"
        ),
    ],
)
def test_a_link_stays_on_the_server(root: str, link: str, expected: str) -> None:
    assert expected == wire.address(root, wire.read_link(root, link))


def test_a_document_and_an_empty_body_are_answers() -> None:
    assert wire.parse_answer(make_request(), make_answer(200, {"Id": "X"}), where=WHERE) == {"Id": "X"}
    assert wire.parse_answer(make_request("DELETE"), make_answer(200), where=WHERE) is None


def test_a_refusal_shows_both_message_and_errors() -> None:
    """Domain errors stand in ErrorMessage, validation errors in Errors: neither may be lost."""
    body = {"ErrorMessage": "Name is taken.", "Errors": ["Pick another.", "Name is taken."]}
    error = refusal(make_answer(400, body), "POST")
    assert isinstance(error, wire.ApiError)
    assert error.words == "Name is taken. Pick another."
    assert (
        str(error)
        == f"{WHERE} refused POST /api/Spaces-1/actiontemplates (400: Name is taken. Pick another.)"
    )


def test_the_details_of_a_refusal_are_kept() -> None:
    """Updating steps tells what became of each there."""
    error = refusal(make_answer(400, {"ErrorMessage": "No.", "Details": {"a": {"Outcome": "Success"}}}))
    assert isinstance(error, wire.ApiError)
    assert error.details == {"a": {"Outcome": "Success"}}


def test_the_general_sentence_is_dropped_when_errors_say_more() -> None:
    body = {"ErrorMessage": "There was a problem with your request.", "Errors": ["Name is required."]}
    error = refusal(make_answer(400, body))
    assert isinstance(error, wire.ApiError) and error.words == "Name is required."


def test_control_characters_of_a_server_do_not_reach_a_terminal() -> None:
    body = {"ErrorMessage": "bad\x1b[31m\nthing", "Errors": []}
    assert "\x1b" not in str(refusal(make_answer(400, body))) and "\n" not in str(
        refusal(make_answer(400, body))
    )


@pytest.mark.parametrize(
    ("status", "method", "path", "expected"),
    [
        pytest.param(401, "GET", "/api/spaces", "does not accept the credentials", id="wrong key"),
        pytest.param(
            403, "PUT", "/api/Spaces-1/actiontemplates/A-1", "needs ActionTemplateEdit", id="edit a template"
        ),
        pytest.param(
            403, "POST", "/api/Spaces-1/actiontemplates", "needs ActionTemplateCreate", id="create a template"
        ),
        pytest.param(
            403, "PUT", "/api/Spaces-1/deploymentprocesses/p", "needs ProcessEdit", id="edit a process"
        ),
        pytest.param(
            403, "GET", "/api/Spaces-1/projects/P-1/channels", "needs ProcessView", id="the inner collection"
        ),
        pytest.param(
            404, "GET", "/api/Spaces-1/actiontemplates/A-9", "or the account may not see it", id="not found"
        ),
        pytest.param(429, "GET", "/api/spaces", "how often it may be asked", id="rate limit"),
        pytest.param(503, "GET", "/api", "failed at GET /api (503", id="starting up"),
    ],
)
def test_each_status_says_what_to_do(status: int, method: str, path: str, expected: str) -> None:
    assert expected in str(refusal(make_answer(status, {"ErrorMessage": "words"}), method, path))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(make_answer(200, HTML, content_type="text/html"), id="a web page"),
        pytest.param(make_answer(200, HTML), id="a web page without a type"),
        pytest.param(make_answer(200, b'{"Items": [{"Id"'), id="half a document"),
    ],
)
def test_what_is_not_octopus_speaking_is_told_and_asked_again(answer: wire.Answer) -> None:
    error = refusal(answer)
    assert isinstance(error, wire.NotOctopus)
    assert wire.pause_before_retry(make_request(), error, attempt=1, jitter=0.5) is not None


def test_a_proxys_error_page_is_quoted_by_its_title() -> None:
    assert "502 Bad Gateway" in str(refusal(make_answer(502, HTML, content_type="text/html")))


def test_a_redirect_to_another_host_is_told_and_not_followed() -> None:
    error = refusal(make_answer(302, location="https://login.test/?token=abc"))
    assert "https://login.test" in str(error) and "abc" not in str(error)
    assert wire.pause_before_retry(make_request(), error, attempt=1, jitter=0) is None


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        pytest.param("https://o.test/a", "/b?x=1", "https://o.test/b?x=1", id="relative"),
        pytest.param("http://o.test/a", "https://o.test/a", "https://o.test/a", id="to https"),
        pytest.param("https://o.test/a", "http://o.test/a", None, id="never away from https"),
        pytest.param("https://o.test/a", "https://other.test/a", None, id="another host"),
        pytest.param("https://o.test/a", "//other.test/a", None, id="another host without a scheme"),
        pytest.param("http://o.test:80/a", "http://o.test:81/a", None, id="another port"),
    ],
)
def test_only_the_same_server_is_followed(url: str, location: str, expected: str | None) -> None:
    assert expected == wire.same_origin_link(url, location)


@pytest.mark.parametrize(
    ("method", "status", "is_retried"),
    [
        ("GET", 408, True),
        ("GET", 429, True),
        ("GET", 500, True),
        ("GET", 503, True),
        ("GET", 400, False),
        ("GET", 401, False),
        ("GET", 403, False),
        ("GET", 404, False),
        ("PUT", 500, False),
        ("POST", 503, False),
        ("PUT", 429, True),
    ],
)
def test_reads_are_retried_and_writes_only_when_nothing_was_carried_out(
    method: str, status: int, is_retried: bool
) -> None:
    error = refusal(make_answer(status), method)
    assert is_retried == (
        wire.pause_before_retry(make_request(method), error, attempt=1, jitter=0.5) is not None
    )


@pytest.mark.parametrize(("method", "maybe_done"), [("PUT", True), ("POST", True), ("GET", False)])
def test_a_lost_answer_to_a_write_is_uncertain(method: str, maybe_done: bool) -> None:
    assert maybe_done == refusal(make_answer(502), method).maybe_done
    assert maybe_done == wire.Unreachable(make_request(method), "reset", sent=True).maybe_done
    assert not wire.Unreachable(make_request(method), "refused", sent=False).maybe_done


def test_pauses_grow_to_a_cap_with_jitter_and_end() -> None:
    error = refusal(make_answer(500))
    pauses = [wire.pause_before_retry(make_request(), error, attempt=n, jitter=1.0) for n in range(1, 8)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, None, None]
    assert wire.pause_before_retry(make_request(), error, attempt=1, jitter=0.0) == 0.25


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [("7", 7.5), ("0", 0.5), ("3600", None), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.375), ("inf", 0.375)],
)
def test_retry_after_is_honoured_within_reason(retry_after: str, expected: float | None) -> None:
    error = refusal(make_answer(429, retry_after=retry_after))
    assert expected == wire.pause_before_retry(make_request(), error, attempt=1, jitter=0.5)


def test_pages_end_without_a_next_link_or_without_items() -> None:
    page = {"Items": [{"Id": "1"}], "Links": {"Page.Next": "/api/x?skip=1"}}
    assert wire.page_items(make_request(), page, where=WHERE) == ([{"Id": "1"}], "/api/x?skip=1")
    assert wire.page_items(make_request(), {**page, "Items": []}, where=WHERE) == ([], None)
    assert wire.page_items(make_request(), {"Items": [{"Id": "1"}]}, where=WHERE) == ([{"Id": "1"}], None)
    assert wire.page_items(make_request(), [{"Id": "2"}], where=WHERE) == ([{"Id": "2"}], None)


@pytest.mark.parametrize("document", [None, {}, {"Items": None}, "text"])
def test_what_is_no_list_is_told(document: object) -> None:
    with pytest.raises(wire.NotOctopus, match="no list"):
        wire.page_items(make_request(), document, where=WHERE)


SPACES = (
    Space(id="Spaces-1", name="Default", slug="default", is_default=True),
    Space(id="Spaces-2", name="Platform", slug="platform-team"),
    Space(id="Spaces-3", name="Spaces-2", slug="odd"),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(None, "Spaces-1", id="nothing named: the default"),
        pytest.param("platform", "Spaces-2", id="name, ignoring case"),
        pytest.param("spaces-1", "Spaces-1", id="id, ignoring case"),
        pytest.param("platform-team", "Spaces-2", id="slug"),
        pytest.param("Spaces-2", "Spaces-3", id="a name wins over an id"),
    ],
)
def test_a_space_is_found_by_name_id_or_slug(wanted: str | None, expected: str) -> None:
    assert expected == wire.resolve_space(wanted, SPACES, where=WHERE).id


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(Refusal) as caught:
        wire.resolve_space("Platfrom", SPACES[:2], where=WHERE)
    assert str(caught.value) == (
        f"{WHERE} has no space 'Platfrom' (did you mean 'Platform'?): it has Default (Spaces-1), Platform (Spaces-2)"
    )


def test_without_a_default_space_one_must_be_named() -> None:
    others = (SPACES[1], SPACES[2])
    with pytest.raises(Refusal, match="no space is named"):
        wire.resolve_space(None, others, where=WHERE)
    assert wire.resolve_space(None, others[:1], where=WHERE).id == "Spaces-2"
