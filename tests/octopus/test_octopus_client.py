"""The client against odd servers: what the emulator would never answer. Its everyday work is tested against the emulator."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

import httpx
import pytest

from generator.errors import Refusal
from generator.octopus import Client, Unreachable, connect, read_target
from generator.octopus.wire import ApiError, NotOctopus, OctopusError
from generator.settings import Target

KEY = "API-CANARY0000000000000000000001"
ROOT = {"Application": "Octopus Deploy", "Version": "2026.3.1234", "ApiVersion": "3.0.0"}
SPACES = {"Items": [{"Id": "Spaces-1", "Name": "Default", "Slug": "default", "IsDefault": True}], "Links": {}}
Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers `/api` and `/api/spaces` well, and everything else by `handler`; keeps what it was asked."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path == "/api":
            return httpx.Response(200, json=ROOT)
        if request.url.path == "/api/spaces":
            return httpx.Response(200, json=SPACES)
        return self.handler(request)

    @property
    def further(self) -> list[httpx.Request]:
        return [request for request in self.asked if request.url.path not in ("/api", "/api/spaces")]


def open_client(
    handler: Handler, *, url: str = "https://o.test", pauses: list[float] | None = None
) -> tuple[Client, Server]:
    server = Server(handler)
    http = httpx.Client(transport=httpx.MockTransport(server))
    sleep = (pauses if pauses is not None else []).append
    return connect(url, api_key=KEY, http=http, sleep=sleep), server


def answers(*responses: httpx.Response | Exception) -> Handler:
    """A handler that gives these one after another."""
    waiting: Iterator[httpx.Response | Exception] = iter(responses)

    def handle(request: httpx.Request) -> httpx.Response:
        response = next(waiting)
        if isinstance(response, Exception):
            raise response
        return response

    return handle


def ok(document: object = None) -> httpx.Response:
    return httpx.Response(200, json=document if document is not None else {"Id": "X"})


def test_a_key_travels_in_its_header_and_a_token_as_bearer() -> None:
    client, server = open_client(answers(ok()))
    client.get("projects")
    assert server.asked[-1].headers["X-Octopus-ApiKey"] == KEY
    server = Server(answers(ok()))
    connect(
        "https://o.test", access_token="ey.J.x", http=httpx.Client(transport=httpx.MockTransport(server))
    ).get("projects")
    assert server.asked[-1].headers["Authorization"] == "Bearer ey.J.x"
    assert "X-Octopus-ApiKey" not in server.asked[-1].headers


def test_the_key_is_in_no_repr_and_no_error_even_when_the_server_repeats_it() -> None:
    echo = httpx.Response(400, json={"ErrorMessage": f"unknown key {KEY}", "Errors": []})
    client, _ = open_client(answers(echo))
    assert KEY not in repr(client)
    with pytest.raises(ApiError) as caught:
        client.get("projects")
    assert KEY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_reads_survive_a_bad_moment() -> None:
    """A reset, a 503, a proxy's page and half a document; then the answer."""
    pauses: list[float] = []
    handler = answers(
        httpx.ReadError("connection reset"),
        httpx.Response(503),
        httpx.Response(200, html="<html><title>Proxy</title></html>"),
        httpx.Response(200, content=b'{"Id": "X'),
        ok(),
    )
    client, server = open_client(handler, pauses=pauses)
    assert client.get("projects/X") == {"Id": "X"}
    assert (len(server.further), len(pauses)) == (5, 4)


def test_reads_give_up_in_the_end() -> None:
    client, server = open_client(lambda request: httpx.Response(503))
    with pytest.raises(ApiError, match="503"):
        client.get("projects")
    assert len(server.further) == 6


@pytest.mark.parametrize(
    "failure", [httpx.Response(502), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut off")]
)
def test_a_write_is_sent_once_and_its_fate_is_told_as_unknown(failure: httpx.Response | Exception) -> None:
    client, server = open_client(answers(failure))
    with pytest.raises(OctopusError) as caught:
        client.put("actiontemplates/A-1", {"Name": "x"})
    assert caught.value.maybe_done
    assert len(server.further) == 1


def test_a_write_over_the_rate_limit_is_sent_again_after_the_asked_time() -> None:
    pauses: list[float] = []
    client, server = open_client(
        answers(httpx.Response(429, headers={"Retry-After": "3"}), ok()), pauses=pauses
    )
    client.post("actiontemplates", {"Name": "x"})
    assert len(server.further) == 2
    assert 3 <= pauses[0] <= 4


def test_a_redirect_within_the_server_is_followed() -> None:
    client, server = open_client(
        answers(httpx.Response(302, headers={"Location": "/api/Spaces-1/elsewhere"}), ok())
    )
    assert client.get("projects") == {"Id": "X"}
    assert server.asked[-1].url.path == "/api/Spaces-1/elsewhere"


def test_a_redirect_to_another_host_gets_no_key() -> None:
    client, server = open_client(answers(httpx.Response(307, headers={"Location": "https://evil.test/api"})))
    with pytest.raises(NotOctopus, match=r"https://evil\.test"):
        client.get("projects")
    assert {"o.test"} == {request.url.host for request in server.asked}


def test_a_redirected_post_does_not_become_a_get() -> None:
    client, server = open_client(answers(httpx.Response(302, headers={"Location": "/api/x"})))
    with pytest.raises(NotOctopus):
        client.post("actiontemplates", {"Name": "x"})
    assert len(server.further) == 1


def test_endless_redirects_end() -> None:
    client, server = open_client(
        lambda request: httpx.Response(302, headers={"Location": f"{request.url.path}/x"})
    )
    with pytest.raises(NotOctopus):
        client.get("projects")
    assert len(server.further) <= 6


def test_pages_are_followed_and_each_document_comes_once() -> None:
    """A document that moves to the next page because people edit meanwhile is not given twice; a circle of links ends."""
    handler = answers(
        ok(
            {
                "Items": [{"Id": "1"}, {"Id": "2"}],
                "Links": {"Page.Next": "/api/Spaces-1/projects?skip=2&take=2"},
            }
        ),
        ok(
            {
                "Items": [{"Id": "2"}, {"Id": "3"}],
                "Links": {"Page.Next": "/api/Spaces-1/projects?skip=2&take=2"},
            }
        ),
    )
    client, _ = open_client(handler)
    assert [item["Id"] for item in client.pages("projects", take=2)] == ["1", "2", "3"]


def test_a_virtual_directory_is_kept_for_pages_too() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        match request.url.path:
            case "/dir/api":
                return ok(ROOT)
            case "/dir/api/spaces":
                return ok(SPACES)
            case _ if "skip" in request.url.params:
                return ok({"Items": [{"Id": "2"}], "Links": {}})
        return ok({"Items": [{"Id": "1"}], "Links": {"Page.Next": "/dir/api/Spaces-1/projects?skip=1"}})

    client = connect(
        "http://o.test/dir/app#/", api_key=KEY, http=httpx.Client(transport=httpx.MockTransport(handle))
    )
    assert [item["Id"] for item in client.pages("projects")] == ["1", "2"]
    assert asked[2:] == ["/dir/api/Spaces-1/projects"] * 2


@pytest.mark.parametrize("document", ["null", '"text"', "[1]"])
def test_what_is_no_document_is_told(document: str) -> None:
    client, _ = open_client(answers(httpx.Response(200, content=document.encode())))
    with pytest.raises(NotOctopus, match="no Octopus document"):
        client.get("projects/X")


# --- the first contact ---------------------------------------------------------------------------------------------------


def connect_to(handler: Handler, **more: str) -> Client:
    pauses: list[float] = []
    http = httpx.Client(transport=httpx.MockTransport(handler))
    return connect("https://o.test", **{"api_key": KEY, **more}, http=http, sleep=pauses.append)  # type: ignore[arg-type]


def test_no_server_is_told_at_once() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("[Errno 111] Connection refused")

    with pytest.raises(Unreachable, match=r"cannot reach https://o\.test .*Connection refused.*OCTOPUS_URL"):
        connect_to(handle)
    assert len(asked) == 1


def test_an_untrusted_certificate_names_the_way_out() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")

    with pytest.raises(Unreachable, match="not trusted: set SSL_CERT_FILE"):
        connect_to(handle)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(
            httpx.Response(200, html="<title>Sign in</title>"), "a web page ('Sign in')", id="a sign-in page"
        ),
        pytest.param(httpx.Response(200, json={"hello": 1}), "is no Octopus Server", id="another product"),
        pytest.param(
            httpx.Response(404, html="<title>Not here</title>"), "has no /api", id="an empty web server"
        ),
        pytest.param(
            httpx.Response(302, headers={"Location": "https://sso.test/login"}),
            "https://sso.test",
            id="a sign-on in front",
        ),
    ],
)
def test_what_is_no_octopus_server_is_told(response: httpx.Response, expected: str) -> None:
    with pytest.raises(OctopusError) as caught:
        connect_to(lambda request: response)
    assert expected in str(caught.value)


def test_a_server_that_is_starting_up_is_waited_for() -> None:
    first = answers(httpx.Response(503), ok(ROOT), ok(SPACES))
    assert getattr(connect_to(first).space, "name", None) == "Default"


@pytest.mark.parametrize("key", ["API-ÜMLAUT", "API-A\nX-Evil: 1"])
def test_a_key_that_cannot_be_one_is_refused_unseen(key: str) -> None:
    with pytest.raises(Refusal, match="OCTOPUS_API_KEY holds characters") as caught:
        connect_to(lambda request: ok(ROOT), api_key=key)
    assert key not in str(caught.value)


# --- which server a command means -------------------------------------------------------------------------------------------

PRODUCTION = Target(name="production", url="https://p.test", space="Platform", api_key_variable="PROD_KEY")


def test_the_environment_names_the_server() -> None:
    target = read_target(
        {"OCTOPUS_URL": "https://o.test", "OCTOPUS_API_KEY": KEY, "OCTOPUS_SPACE": "Ops"}, {}
    )
    assert (target.url, target.space, target.api_key) == ("https://o.test", "Ops", KEY)
    assert KEY not in repr(target)


def test_a_named_target_takes_its_own_key_and_the_flag_wins_over_its_space() -> None:
    environ = {"OCTOPUS_API_KEY": "API-OTHER", "PROD_KEY": KEY, "OCTOPUS_URL": "https://o.test"}
    target = read_target(environ, {"production": PRODUCTION}, name="production", space="Other")
    assert (target.url, target.space, target.api_key) == ("https://p.test", "Other", KEY)


@pytest.mark.parametrize(
    ("environ", "name", "expected"),
    [
        pytest.param({}, None, "set OCTOPUS_URL", id="no server"),
        pytest.param({"OCTOPUS_URL": "https://o.test"}, None, "set OCTOPUS_API_KEY", id="no key"),
        pytest.param({"OCTOPUS_API_KEY": KEY}, "production", "set PROD_KEY", id="not its own key"),
        pytest.param({"PROD_KEY": KEY}, "prodution", "did you mean 'production'", id="a misspelt target"),
    ],
)
def test_what_is_missing_is_named(environ: dict[str, str], name: str | None, expected: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_target(environ, {"production": PRODUCTION}, name=name)
    assert expected in str(caught.value) and KEY not in str(caught.value)
