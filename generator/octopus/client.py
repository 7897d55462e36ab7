"""Sends requests to one Octopus Server by httpx: retries of reads, pages, redirects, credentials. What answers mean is `wire`'s.

The key or token is added to each request here and nowhere else; it is in no `repr`, error or log, is never sent to another
host, and is cut out of an error text should a server repeat it.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

import httpx

from generator.errors import Refusal
from generator.octopus import wire
from generator.octopus.pace import MOST_AT_ONCE, Pace
from generator.octopus.records import Document, Json, Space, Target
from generator.settings import Target as NamedTarget

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
MOST_REDIRECTS = 5


class Client:
    """One server, and one space of it once `space` is set. Safe to use from several threads.

    Paths that begin with `/api` are below the server's root, all others below the space: `get("projects")`.
    """

    def __init__(
        self,
        http: httpx.Client,
        root: str,
        *,
        api_key: str | None = None,
        access_token: str | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.root = root
        self.pace = pace or Pace()
        self.space: Space | None = None
        self.version = ""
        self._http, self._sleep, self._jitter = http, sleep, jitter
        self._secret = (access_token or api_key or "").strip()
        self._credentials = build_credentials(api_key=api_key, access_token=access_token)

    def __repr__(self) -> str:
        return f"<Client of {self.where}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def where(self) -> str:
        """The server and space as people name them."""
        return f"{self.root}, space {self.space.name!r}" if self.space else self.root

    def get(self, path: str, **query: object) -> Document:
        """The document at `path`. OctopusError when there is none, or no answer."""
        request = self._request("GET", path, query)
        return self._document(request, self._ask(request))

    def pages(self, path: str, **query: object) -> Iterator[Document]:
        """Every document of a list, page after page, each once although people may edit the list meanwhile."""
        request = self._request("GET", path, {"take": wire.PAGE_SIZE, **query})
        asked: set[wire.Request] = set()
        given: set[object] = set()
        while request not in asked:
            asked.add(request)
            items, link = wire.page_items(request, self._ask(request), where=self.where)
            for item in items:
                identity = item.get("Id") if isinstance(item, dict) else None
                if identity is None or identity not in given:
                    given.add(identity)
                    yield item
            if link is None:
                return
            request = wire.read_link(self.root, link)

    def array(self, path: str) -> list[Document]:
        """The documents of a list that comes in one piece; they may share an id, as the versions of one document do."""
        request = self._request("GET", path, {})
        items, link = wire.page_items(request, self._ask(request), where=self.where)
        if link is not None:
            raise wire.NotOctopus(request, f"{self.where} answered {request} in pages", transient=False)
        return items

    def post(self, path: str, body: Json = None, **query: object) -> Json:
        """What the server answers to a POST. An OctopusError with `maybe_done` needs a re-read to know what happened."""
        return self._ask(self._request("POST", path, query, body))

    def put(self, path: str, body: Json, **query: object) -> Json:
        """What the server answers to a PUT; errors as for `post`."""
        return self._ask(self._request("PUT", path, query, body))

    def delete(self, path: str, **query: object) -> Json:
        """What the server answers to a DELETE; errors as for `post`."""
        return self._ask(self._request("DELETE", path, query))

    def _request(
        self, method: str, path: str, query: Mapping[str, object], body: Json = None
    ) -> wire.Request:
        if not path.startswith("/"):
            if self.space is None:
                raise ValueError(f"{path} is in a space, and no space is chosen")
            path = wire.space_path(self.space.id, path)
        return wire.build_request(method, path, query, body)

    def _document(self, request: wire.Request, document: Json) -> Document:
        if isinstance(document, dict):
            return document
        sentence = f"{self.where} answered {request} with something that is no Octopus document"
        raise wire.NotOctopus(request, sentence, transient=False)

    def _ask(self, request: wire.Request, *, hurry: bool = False) -> Json:
        """The answer's document, asked for again as often as `wire` allows. In a hurry (the first contact, when most often the
        address is wrong) only a server that says that it is busy is asked again."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return wire.parse_answer(request, self._exchange(request), where=self.where)
            except wire.OctopusError as error:
                pause = wire.pause_before_retry(request, error, attempt=attempt, jitter=self._jitter())
                if pause is None or (hurry and not isinstance(error, wire.ApiError)):
                    raise
                if isinstance(error, wire.ApiError) and error.status == 429:
                    self.pace.hold(pause)
                self._sleep(pause)

    def pause_before_rewrite(self, attempt: int) -> None:
        """Wait a little before a write whose fate was unknown is tried again; attempts count from 1."""
        self._sleep(wire.growing_pause(attempt, jitter=self._jitter()))

    def _exchange(self, request: wire.Request) -> wire.Answer:
        """One answer, after redirects within the same server. A POST that was redirected by 301 to 303 is not repeated: it
        would arrive as a GET."""
        url = wire.address(self.root, request)
        for _ in range(MOST_REDIRECTS):
            answer = self._send(request, url)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            if not request.is_read and answer.status not in (307, 308):
                return answer
            further = wire.same_origin_link(url, answer.headers.get("location", ""))
            if further is None or further == url:
                return answer
            url = further
        return answer

    def _send(self, request: wire.Request, url: str) -> wire.Answer:
        try:
            with self.pace.turn() as pause:
                if pause > 0:
                    self._sleep(pause)
                response = self._http.request(
                    request.method,
                    url,
                    json=request.body,
                    headers={"Accept": "application/json", **self._credentials},
                    follow_redirects=False,
                )
                headers = {name.lower(): value for name, value in response.headers.items()}
                self.pace.read_answer(headers)
        except httpx.HTTPError as error:
            raise self._unreachable(request, error) from error
        except httpx.InvalidURL as error:
            raise Refusal(f"{self.root} is no server address: {error}") from error
        body = response.content
        if self._secret and response.status_code >= 300:
            body = body.replace(self._secret.encode(), b"***")
        return wire.Answer(response.status_code, headers, body)

    def _unreachable(self, request: wire.Request, error: httpx.HTTPError) -> wire.Unreachable:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            sentence = (
                f"the certificate of {self.root} is not trusted: "
                "set SSL_CERT_FILE to the file with your CA's certificate"
            )
            return wire.Unreachable(request, sentence, sent=False, transient=False)
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
            sentence = f"cannot reach {self.root} ({reason}): check OCTOPUS_URL, the network and HTTPS_PROXY"
            return wire.Unreachable(request, sentence, sent=False)
        sentence = f"{self.root} gave no whole answer to {request} ({type(error).__name__}: {reason})"
        return wire.Unreachable(request, sentence, sent=True)


def build_credentials(*, api_key: str | None, access_token: str | None) -> dict[str, str]:
    """The header that signs a request in: bearer for an access token, else the API key; none when both are blank."""
    for name, secret in (("OCTOPUS_ACCESS_TOKEN", access_token), ("OCTOPUS_API_KEY", api_key)):
        if secret and secret.strip() and not (secret.strip().isascii() and secret.strip().isprintable()):
            raise Refusal(f"{name} holds characters that no key has: copy it again")
    if access_token and access_token.strip():
        return {"Authorization": f"Bearer {access_token.strip()}"}
    if api_key and api_key.strip():
        return {"X-Octopus-ApiKey": api_key.strip()}
    return {}


def connect(
    url: str,
    *,
    api_key: str | None = None,
    access_token: str | None = None,
    space: str | None = None,
    http: httpx.Client | None = None,
    pace: Pace | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Client:
    """A client of the server at `url`, signed in, with its space chosen (name, id or slug; None: the default one).

    Each way in which this can fail is one sentence: nothing listens there, it is not Octopus, the key is wrong, the space is
    unknown. `http` is a ready httpx client; without it one is made that honours the proxies and CA of the environment. `pace` is
    shared by clients of one account.
    """
    client = Client(
        http or open_http(),
        wire.server_root(url),
        api_key=api_key,
        access_token=access_token,
        pace=pace,
        sleep=sleep,
    )
    try:
        sign_in(client, space)
    except BaseException:
        if http is None:
            client.close()
        raise
    return client


def sign_in(client: Client, space: str | None) -> None:
    """Make sure that this is Octopus and choose the space."""
    root = wire.build_request("GET", "/api", {})
    document = client._ask(root, hurry=True)
    if not isinstance(document, dict) or not {"ApiVersion", "Version"} <= document.keys():
        raise wire.NotOctopus(
            root, f"{client.root} is no Octopus Server: {root} is answered by something else", transient=False
        )
    client.version = str(document["Version"])
    spaces = [
        Space(
            id=item["Id"],
            name=item.get("Name") or item["Id"],
            slug=item.get("Slug") or "",
            is_default=item.get("IsDefault") is True,
        )
        for item in client.pages("/api/spaces")
    ]
    client.space = wire.resolve_space(space, spaces, where=client.root)


def open_http() -> httpx.Client:
    """An httpx client with TLS verified against the system's certificates and certifi's. HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and
    SSL_CERT_DIR are honoured by httpx, REQUESTS_CA_BUNDLE here, as people who already set it for other tools expect."""
    try:
        trust = httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise Refusal(f"SSL_CERT_FILE, SSL_CERT_DIR: cannot read the certificates: {error}") from error
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        trust.load_default_certs()
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle:
        try:
            trust.load_verify_locations(cafile=bundle)
        except (OSError, ssl.SSLError) as error:
            raise Refusal(f"REQUESTS_CA_BUNDLE: cannot read certificates from {bundle}: {error}") from error
    return httpx.Client(verify=trust, timeout=TIMEOUT, limits=httpx.Limits(max_connections=MOST_AT_ONCE))


def read_target(
    environ: Mapping[str, str],
    targets: Mapping[str, NamedTarget],
    *,
    name: str | None = None,
    space: str | None = None,
) -> Target:
    """The server that a command means: the named target of `octosteps.yaml`, or the environment's. `space` wins over both.

    A target's key comes from the variable that it names; nothing secret stands in a file.
    """
    if name is not None:
        if name not in targets:
            known = (
                f": octosteps.yaml names {', '.join(sorted(targets))}"
                if targets
                else ": octosteps.yaml names none"
            )
            raise Refusal(f"unknown target {name!r}{wire.did_you_mean(name, targets)}{known}")
        chosen = targets[name]
        key = environ.get(chosen.api_key_variable or "OCTOPUS_API_KEY", "").strip()
        token = "" if chosen.api_key_variable else environ.get("OCTOPUS_ACCESS_TOKEN", "").strip()
        if not key and not token:
            wanted = chosen.api_key_variable or "OCTOPUS_API_KEY or OCTOPUS_ACCESS_TOKEN"
            raise Refusal(f"target {name!r} has no credentials in the environment: set {wanted}")
        return Target(
            name=name,
            url=chosen.url,
            space=space or chosen.space,
            api_key=key or None,
            access_token=token or None,
        )
    url = environ.get("OCTOPUS_URL", "").strip() or environ.get("OCTOPUS_HOST", "").strip()
    if not url:
        raise Refusal("no server is named: set OCTOPUS_URL and OCTOPUS_API_KEY, or give --target")
    key, token = environ.get("OCTOPUS_API_KEY", "").strip(), environ.get("OCTOPUS_ACCESS_TOKEN", "").strip()
    if not key and not token:
        raise Refusal("no credentials: set OCTOPUS_API_KEY (or OCTOPUS_ACCESS_TOKEN)")
    return Target(
        name="environment",
        url=url,
        space=space or environ.get("OCTOPUS_SPACE", "").strip() or None,
        api_key=key or None,
        access_token=token or None,
    )
