"""Requests: what is sent, what is survived, what is told at once. Behaviour over a real socket is at the end."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from runtime_fakes import VirtualTime, make_api

from generator.runtime.api import (
    Api,
    ApiError,
    ApiUnreachable,
    LostAnswer,
    advised_pause,
    parse_credential,
    parse_server_url,
    retry_after,
    token_expiry,
)
from generator.runtime.parameters import Secret
from generator.runtime.transport import (
    BrokenAnswer,
    ConnectionMisconfigured,
    HttpAnswer,
    HttpRequest,
    http_transport,
)

KEY = "API-VERYSECRET"
TLS = Path(__file__).parent / "tls"
GOOD = HttpAnswer(200, {}, b'{"Id": "ServerTasks-1"}')


class Script:
    """A transport that gives its answers in turn, raising those that are exceptions; the last one for ever."""

    def __init__(self, *answers: HttpAnswer | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[HttpRequest] = []

    def __call__(self, request: HttpRequest, timeout: float) -> HttpAnswer:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(status: int, message: str = "No.", *errors: str, **headers: str) -> HttpAnswer:
    return HttpAnswer(status, headers, json.dumps({"ErrorMessage": message, "Errors": errors}).encode())


def test_what_is_sent() -> None:
    script = Script(GOOD)
    time = VirtualTime()
    api = make_api(time, script)
    api.get("tasks", ids=["ServerTasks-1", "ServerTasks-2"], take=2, name=None, partialName="a b&c")
    [request] = script.sent
    assert (
        "http://octopus.example/api/Spaces-1/tasks?ids=ServerTasks-1,ServerTasks-2&take=2&partialName=a+b%26c"
        == request.url
    )
    assert {
        "Accept": "application/json",
        "User-Agent": "octosteps",
        "X-Octopus-ApiKey": "API-TEST",
    } == request.headers


def test_access_token_is_a_bearer() -> None:
    script = Script(GOOD)
    Api("http://o", Secret("eyJ.abc.def"), space="S", transport=script).get("tasks/1")
    assert "Bearer eyJ.abc.def" == script.sent[0].headers["Authorization"]
    assert "X-Octopus-ApiKey" not in script.sent[0].headers


def test_empty_ids_are_a_mistake_and_never_sent() -> None:
    """To the server no ids means every task."""
    script = Script(GOOD)
    api = make_api(VirtualTime(), script)
    with pytest.raises(ValueError, match="an empty ids would mean all"):
        api.get("tasks", ids=[])
    assert [] == api.by_ids("tasks", [])
    assert [] == script.sent


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(408),
        refusal(429),
        refusal(500),
        refusal(502),
        refusal(503),
        refusal(504),
        HttpAnswer(502, {}, b"<html>Bad gateway</html>"),
        HttpAnswer(200, {}, b"<html>Please sign in</html>"),
        HttpAnswer(200, {}, b'{"Id": "Server'),
        HttpAnswer(200, {}, b""),
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("timed out"),
        BrokenAnswer("IncompleteRead"),
        BrokenAnswer("RemoteDisconnected"),
    ],
    ids=str,
)
def test_reads_survive(trouble: HttpAnswer | Exception) -> None:
    time = VirtualTime()
    script = Script(trouble, trouble, GOOD)
    assert {"Id": "ServerTasks-1"} == make_api(time, script).get("tasks/ServerTasks-1")
    assert (3, 2) == (len(script.sent), len(time.slept))


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, ""),
        (401, "the API key or access token is wrong, or has expired"),
        (403, "the account lacks a permission, probably TaskView"),
        (404, "it does not exist there, or the account may not see it: that takes TaskView"),
        (409, ""),
    ],
)
def test_refusals_are_told_at_once(status: int, hint: str) -> None:
    time = VirtualTime()
    script = Script(refusal(status, "There was a problem.", "First.", "Second."))
    with pytest.raises(ApiError) as told:
        make_api(time, script).get("tasks/1")
    sentence = f"GET /api/Spaces-1/tasks/1: {status} There was a problem. First. Second."
    assert (sentence + (f" ({hint})" if hint else "")) == told.value.sentence
    assert ("refused by the server", 1, []) == (told.value.kind, len(script.sent), time.slept)


def test_a_proxys_refusal_is_no_word_of_octopus() -> None:
    with pytest.raises(ApiError, match="403 the answer is not from Octopus"):
        make_api(VirtualTime(), Script(HttpAnswer(403, {}, b"<html>Forbidden</html>"))).get("tasks")


def test_patience_is_bounded_and_backs_off() -> None:
    time = VirtualTime()
    with pytest.raises(ApiUnreachable, match=r"503 Starting\.; tried \d+ times") as told:
        make_api(time, Script(refusal(503, "Starting."))).get("tasks", patience=200)
    assert "gave up on the API" == told.value.kind
    assert 200 == time.now
    assert time.slept[:5] == sorted(time.slept[:5])
    assert max(time.slept) <= 30


def test_a_server_that_never_answered_gets_a_minute() -> None:
    time = VirtualTime()
    api = make_api(time, Script(OSError("unreachable")))
    with pytest.raises(ApiUnreachable):
        api.get("tasks")
    assert 60 == time.now


def test_retry_after_is_honoured_and_capped() -> None:
    time = VirtualTime()
    script = Script(refusal(429, **{"retry-after": "45"}), refusal(503, **{"retry-after": "9999"}), GOOD)
    make_api(time, script).get("tasks", patience=1000)
    assert [45, 120] == time.slept


def test_retry_after_as_a_date() -> None:
    answer = refusal(503, **{"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"})
    assert [30, 0] == [
        round(retry_after(answer, 1_800_000_000.0)),
        round(retry_after(answer, 1_900_000_000.0)),
    ]
    assert 0 == retry_after(refusal(503, **{"retry-after": "soon"}), 0)


@pytest.mark.parametrize(
    ("limit", "policy", "pause"),
    [
        pytest.param("r=190;t=2", "l=200;rpm=600", 0, id="plenty left"),
        pytest.param("r=7;t=18", "l=200;rpm=600", 18, id="few left"),
        pytest.param("r=0;t=900", "l=200;rpm=600", 30, id="never longer than half a minute"),
        pytest.param("r=7;t=18;new=1", "", 18, id="unknown words are passed over"),
        pytest.param("", "", 0, id="no advice"),
        pytest.param("garbage", "l=", 0, id="no sense"),
    ],
)
def test_rate_limit_advice(limit: str, policy: str, pause: float) -> None:
    assert pause == advised_pause({"octopus-ratelimit": limit, "octopus-ratelimit-policy": policy})


@pytest.mark.parametrize(
    "lost",
    [
        refusal(500),
        refusal(502),
        refusal(408),
        HttpAnswer(201, {}, b'{"Id": "Depl'),
        HttpAnswer(200, {}, b"<html></html>"),
        ConnectionResetError(),
        TimeoutError("timed out"),
    ],
    ids=str,
)
def test_a_write_is_never_repeated(lost: HttpAnswer | Exception) -> None:
    time = VirtualTime()
    script = Script(lost, GOOD)
    with pytest.raises(LostAnswer):
        make_api(time, script).post("deployments", {})
    assert (1, []) == (len(script.sent), time.slept)


def test_a_write_that_was_refused() -> None:
    with pytest.raises(ApiError, match="probably DeploymentCreate") as told:
        make_api(VirtualTime(), Script(refusal(403))).post("deployments", {"ReleaseId": "Releases-1"})
    assert 403 == told.value.status
    with pytest.raises(ApiError) as limited:
        make_api(VirtualTime(), Script(refusal(429, **{"retry-after": "7"}))).post("deployments", {})
    assert 7 == limited.value.retry_after


def test_the_key_is_in_no_message() -> None:
    """Whatever goes wrong, and whatever the server repeats, no text of ours holds the key."""
    told: list[str] = []
    time = VirtualTime()
    script = Script(refusal(503), refusal(401))
    api = Api(
        "http://o",
        Secret(KEY),
        space="S",
        transport=script,
        tell=told.append,
        clock=time.clock,
        sleep=time.sleep,
    )
    with pytest.raises(ApiError) as refused:
        api.get("tasks")
    told += [str(refused.value), repr(refused.value)]
    assert not [text for text in told if KEY in text]


def redirect(location: str, status: int = 302) -> HttpAnswer:
    return HttpAnswer(status, {"location": location}, b"")


def test_redirect_to_https_of_the_same_host_is_followed() -> None:
    script = Script(redirect("https://octopus.example/api/Spaces-1/tasks?take=1"), GOOD)
    api = make_api(VirtualTime(), script)
    api.get("tasks", take=1)
    api.get("tasks", take=1)
    assert ["http", "https", "https"] == [request.url.partition(":")[0] for request in script.sent]


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("http://elsewhere.example/api/Spaces-1/tasks", id="another host"),
        pytest.param("https://elsewhere.example/api/Spaces-1/tasks", id="another host by https"),
        pytest.param("//elsewhere.example/api/Spaces-1/tasks", id="another host without scheme"),
        pytest.param("http://octopus.example:8080/api/Spaces-1/tasks", id="another port"),
        pytest.param("/login", id="another page"),
        pytest.param("http://octopus.example/api/Spaces-1/tasks", id="itself"),
        pytest.param("", id="nowhere"),
    ],
)
def test_redirect_elsewhere_carries_no_key(location: str) -> None:
    script = Script(redirect(location), GOOD)
    with pytest.raises(ConnectionMisconfigured, match="put the right address into the field Server"):
        make_api(VirtualTime(), script).get("tasks")
    assert 1 == len(script.sent)


def test_redirect_from_https_to_http_is_refused() -> None:
    script = Script(redirect("http://o/api/S/tasks"), GOOD)
    with pytest.raises(ConnectionMisconfigured):
        Api("https://o", Secret(KEY), space="S", transport=script).get("tasks")


def test_redirected_write_is_refused() -> None:
    with pytest.raises(ConnectionMisconfigured):
        make_api(VirtualTime(), Script(redirect("https://octopus.example/api/Spaces-1/deployments"))).post(
            "deployments", {}
        )


def test_untrusted_certificate_is_told_at_once() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    with pytest.raises(ConnectionMisconfigured, match="is not trusted"):
        make_api(VirtualTime(), Script(error)).get("tasks")


def test_pages() -> None:
    def answer(request: HttpRequest, timeout: float) -> HttpAnswer:
        skip = int(request.url.split("skip=")[1].split("&")[0])
        items = [{"Id": f"T-{number}"} for number in range(skip, min(skip + 2, 5))]
        return HttpAnswer(200, {}, json.dumps({"Items": items, "TotalResults": 5}).encode())

    api = make_api(VirtualTime(), answer)
    assert [f"T-{number}" for number in range(5)] == [item["Id"] for item in api.pages("tasks", take=2)]
    assert 3 == api.requests


def test_many_ids_are_asked_in_chunks() -> None:
    seen: list[int] = []

    def answer(request: HttpRequest, timeout: float) -> HttpAnswer:
        ids = request.url.split("ids=")[1].split("&")[0].split(",")
        seen.append(len(ids))
        items = [{"Id": one} for one in ids] + [{"Id": "ServerTasks-foreign"}]
        return HttpAnswer(200, {}, json.dumps({"Items": items}).encode())

    wanted = [f"ServerTasks-{number}" for number in range(450)]
    found = make_api(VirtualTime(), answer).by_ids("tasks", [*wanted, wanted[0]])
    assert (wanted, [200, 200, 50]) == ([item["Id"] for item in found], seen)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://octopus.example.com/", "https://octopus.example.com"),
        ("http://host:8065/octopus/", "http://host:8065/octopus"),
        ("https://host/octopus/app#/Spaces-1/projects", "https://host/octopus"),
        ("https://host/api", "https://host"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_server_url(text: str, url: str) -> None:
    assert url == parse_server_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "octopus.example.com",
        "ftp://host",
        "https://",
        "https://a b",
        "http://host:port",
        "https://user:pass@host",
    ],
)
def test_no_server_url(text: str) -> None:
    with pytest.raises(ValueError, match="address") as told:
        parse_server_url(text)
    assert "pass@" not in str(told.value)


@pytest.mark.parametrize("text", ["API-A\nX-Evil: 1", "two words", "schlüssel"])
def test_a_credential_that_could_break_a_header(text: str) -> None:
    with pytest.raises(ValueError, match="neither an API key nor an access token") as told:
        parse_credential(Secret(text))
    assert text not in str(told.value)


def test_token_expiry() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_800_000_060}).encode()).rstrip(b"=").decode()
    assert [1_800_000_060.0, None, None, None] == [
        token_expiry(Secret(text)) for text in (f"e30.{claims}.x", "API-KEY", "a.b.c", "e30.e30.x")
    ]


@pytest.mark.parametrize(
    ("url", "path", "link"),
    [
        ("https://host", "/app#/Spaces-1/x", "https://host/app#/Spaces-1/x"),
        ("https://host/octopus", "/app#/Spaces-1/x", "https://host/octopus/app#/Spaces-1/x"),
        ("https://host/octopus", "/octopus/app#/Spaces-1/x", "https://host/octopus/app#/Spaces-1/x"),
        ("https://host", "", ""),
    ],
)
def test_web_link(url: str, path: str, link: str) -> None:
    assert link == Api(url, Secret(KEY), transport=Script(GOOD)).web_link({"Links": {"Web": path}})


class Handler(BaseHTTPRequestHandler):
    """Answers by path: what a real socket can do wrong."""

    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        Handler.seen.append((self.path, self.headers.get("X-Octopus-ApiKey")))
        body = b'{"Items": [], "TotalResults": 0}'
        path = self.path.partition("?")[0]
        if path.endswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:1/api/S/tasks")
            body = b""
        elif path.endswith("/refused"):
            self.send_response(403)
        else:
            self.send_response(200)
        length = len(body) + (10 if path.endswith("/truncated") else 0)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def socket_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Handler.seen = []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tls_url() -> Iterator[str]:
    """The same by TLS, with a certificate that signed itself (made for these tests alone: `openssl req -x509 ...`)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_private_authority(tls_url: str) -> None:
    """A certificate is always verified; the CA field adds to what is trusted, as a file or as text."""
    for ca in (str(TLS / "certificate.pem"), (TLS / "certificate.pem").read_text()):
        api = Api(tls_url, Secret(KEY), space="S", transport=http_transport(ca))
        assert {"Items": [], "TotalResults": 0} == api.get("tasks")
    with pytest.raises(ConnectionMisconfigured, match=r"is not trusted: self.signed certificate"):
        Api(tls_url, Secret(KEY), space="S", transport=http_transport("")).get("tasks")


def test_over_a_socket(socket_url: str) -> None:
    send = http_transport("")
    good = send(HttpRequest("GET", socket_url + "/octopus/api/S/tasks", {"X-Octopus-ApiKey": KEY}, None), 5)
    assert (200, {"Items": [], "TotalResults": 0}) == (good.status, json.loads(good.body))
    assert [("/octopus/api/S/tasks", KEY)] == Handler.seen
    assert 403 == send(HttpRequest("GET", socket_url + "/refused", {}, None), 5).status
    assert (
        302 == send(HttpRequest("GET", socket_url + "/redirect", {"X-Octopus-ApiKey": KEY}, None), 5).status
    )
    with pytest.raises(BrokenAnswer, match="IncompleteRead"):
        send(HttpRequest("GET", socket_url + "/truncated", {}, None), 5)


def test_the_proxy_of_the_environment_is_used(socket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", socket_url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    http_transport("")(HttpRequest("GET", "http://octopus.invalid/api", {}, None), 5)
    assert ["http://octopus.invalid/api"] == [path for path, _ in Handler.seen]
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ConnectionRefusedError):
        http_transport("")(HttpRequest("GET", "http://127.0.0.1:1/api", {}, None), 5)
    assert 1 == len(Handler.seen)


def test_unreadable_ca_file(tmp_path: Any) -> None:
    for ca in (
        str(tmp_path / "none.pem"),
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----",
    ):
        with pytest.raises(ConnectionMisconfigured, match="the CA file cannot be read"):
            http_transport(ca)(HttpRequest("GET", "https://127.0.0.1:1/api", {}, None), 5)


class Tunnel(BaseHTTPRequestHandler):
    """A proxy that opens tunnels to wherever it is asked, for whoever has the password."""

    seen: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def do_CONNECT(self) -> None:
        Tunnel.seen.append((self.path, self.headers["Proxy-Authorization"], self.headers["X-Octopus-ApiKey"]))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pour, args=(there, self.connection))
            back.start()
            pour(self.connection, there)
            back.join()
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass


def pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_tunnel_through_the_proxy(tls_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy sees its own password and where to go, and never the key; the certificate is verified all the same."""
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Tunnel)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    thread.start()
    Tunnel.seen = []
    monkeypatch.setenv("HTTPS_PROXY", f"http://joe:p%40ss@127.0.0.1:{proxy.server_port}")
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ca = str(TLS / "certificate.pem")
    Api(tls_url, Secret(KEY), space="S", transport=http_transport(ca)).get("tasks")
    with pytest.raises(ConnectionMisconfigured, match="is not trusted"):
        Api(tls_url, Secret(KEY), space="S", transport=http_transport("")).get("tasks")
    proxy.shutdown()
    thread.join()
    proxy.server_close()
    where = tls_url.partition("://")[2]
    password = "Basic " + base64.b64encode(b"joe:p@ss").decode()
    assert [(where, password, None)] * 2 == Tunnel.seen


@pytest.mark.parametrize("proxy", ["socks5://joe:secret@127.0.0.1:1", "http://:80", "http://a:port"])
def test_a_proxy_that_is_none(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConnectionMisconfigured, match="HTTP_PROXY is not the address") as told:
        http_transport("")(HttpRequest("GET", "http://octopus.invalid/api", {}, None), 5)
    assert "secret" not in str(told.value)


def test_a_host_that_cannot_be() -> None:
    with pytest.raises(ConnectionMisconfigured, match="no server can be called"):
        http_transport("")(HttpRequest("GET", f"http://{'a' * 70}.example/api", {}, None), 5)


def test_plain_http_loads_no_tls(socket_url: str, tls_url: str) -> None:
    """And the copy of `http.client` that was loaded without it is nobody else's."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from generator.runtime.transport import HttpRequest, http_transport\n"
        "send = http_transport(sys.argv[4])\n"
        "print(send(HttpRequest('GET', sys.argv[2], {}, None), 5).status, 'ssl' in sys.modules)\n"
        "print(send(HttpRequest('GET', sys.argv[3], {}, None), 5).status, 'ssl' in sys.modules)\n"
        "import http.client, urllib.request\n"
        "print(http.client.HTTPSConnection.__name__, urllib.request.HTTPSHandler.__name__)\n"
    )
    words = [
        sys.executable,
        "-c",
        code,
        str(Path(__file__).parents[2]),
        socket_url,
        tls_url,
        str(TLS / "certificate.pem"),
    ]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ("200 False\n200 True\nHTTPSConnection HTTPSHandler\n", "") == (ran.stdout, ran.stderr)
