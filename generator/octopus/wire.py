"""What goes over the wire to an Octopus Server: addresses, answers, pages, and when to ask again. No I/O.

Facts from Octopus' API reference and its official clients (OctopusClients, go-octopusdeploy, api-client.ts): a refusal is
`{"ErrorMessage": str, "Errors": [str]}` and both fields matter; a list has `Items` and `Links["Page.Next"]`; `take` is 30
unless asked; over the rate limit the answer is 429 and nothing was carried out. Sending is `client`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from generator.errors import Refusal
from generator.octopus.records import Json, Space
from generator.source import closest

PAGE_SIZE = 250
ATTEMPTS = 6
RATE_LIMITED_ATTEMPTS = 20
"""A server that counts requests is well, and others may use up the same account's share for a while."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
LONGEST_RETRY_AFTER = 120.0
LONGEST_QUOTE = 500
READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request: `path` begins at the server's root, `query` is ready for the address, `body` is JSON or None."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Json = field(default=None, repr=False)

    @property
    def is_read(self) -> bool:
        return self.method in READS

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Answer(NamedTuple):
    """What came back: `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OctopusError(Refusal):
    """A server did not do what was asked. `transient`: asking again may help. `maybe_done`: a write may have been carried
    out although no answer says so, and only re-reading tells."""

    transient = False
    maybe_done = False
    retry_after: float | None = None


class ApiError(OctopusError):
    """Octopus refused, in its own words. `details` is the refusal's `Details` as it came, None where there is none."""

    def __init__(
        self,
        request: Request,
        answer: Answer,
        *,
        message: str,
        errors: Sequence[str],
        where: str,
        details: Json = None,
    ) -> None:
        self.request, self.status = request, answer.status
        self.message, self.errors = message, tuple(errors)
        self.details = details
        self.transient = is_transient(answer.status)
        self.maybe_done = not request.is_read and (answer.status >= 500 or answer.status == 408)
        self.retry_after = read_retry_after(answer.headers)
        super().__init__(explain_refusal(self, where))

    @property
    def words(self) -> str:
        """The server's own words: the message and every error, each once."""
        generic = self.message.startswith("There was a problem with your request")
        said = [*([] if generic and self.errors else [self.message]), *self.errors]
        return " ".join(part for part in dict.fromkeys(said) if part)


class NotOctopus(OctopusError):
    """The answer is not Octopus speaking: a proxy's page, a sign-in page, another product, or half a document."""

    def __init__(self, request: Request, sentence: str, *, transient: bool) -> None:
        self.request = request
        self.transient = transient
        self.maybe_done = transient and not request.is_read
        super().__init__(sentence)


class Unreachable(OctopusError):
    """No whole answer came. `sent` is False when the connection was never made."""

    def __init__(self, request: Request, sentence: str, *, sent: bool, transient: bool = True) -> None:
        self.request, self.sent = request, sent
        self.transient = transient
        self.maybe_done = sent and not request.is_read
        super().__init__(sentence)


def server_root(url: str) -> str:
    """The address under which a server's `/api` stands, from what people copy: without `/app#/...`, `/api`, query and
    trailing slash. A virtual directory stays. A URL that cannot be used is a Refusal that does not repeat a password in it."""
    try:
        parts = urlsplit(url.strip())
        parts.port  # noqa: B018 - raises for one that is no number
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refusal(
            f"{shorten(url.split('@')[-1], 100)!r} is no server address: write it as https://octopus.example.com"
        )
    if parts.username or parts.password:
        raise Refusal(
            "the server's address holds a user name or password: leave it out, and set OCTOPUS_API_KEY"
        )
    path = re.sub(r"/(api|app)(/.*)?$", "", parts.path.rstrip("/"), flags=re.IGNORECASE).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def build_request(method: str, path: str, query: Mapping[str, object], body: Json = None) -> Request:
    """A request for `path` (below the root, beginning with `/api`). A `None` in `query` is left out; a list is joined by
    commas. An empty list is refused: to Octopus no `ids` means all of them."""
    return Request(method=method, path=path, query=tuple(read_query(query)), body=body)


def read_query(query: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in query.items():
        if value is None:
            continue
        if isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"an empty {name}= would ask for everything")
            yield name, ",".join(map(str, value))
        else:
            yield name, str(value)


def space_path(space_id: str, path: str) -> str:
    """`path` below a space, in the spelling that every server since 2019 knows: `/api/Spaces-1/...`."""
    return f"/api/{quote(space_id)}/{path.lstrip('/')}"


def address(root: str, request: Request) -> str:
    """The whole URL of a request."""
    query = f"?{urlencode(request.query)}" if request.query else ""
    return f"{root}{request.path}{query}"


def read_link(root: str, link: str) -> Request:
    """The GET for a link in an answer. Only its path and query are used, so no link leads the key to another host; a server
    in a virtual directory may or may not repeat the directory in its links (unconfirmed), so both are understood."""
    parts = urlsplit(link)
    directory = urlsplit(root).path
    path = parts.path
    if directory and path.lower().startswith(f"{directory.lower()}/"):
        path = path[len(directory) :]
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method="GET", path=path, query=query)


def parse_answer(request: Request, answer: Answer, *, where: str) -> Json:
    """The document in an answer (None for an empty body), or an OctopusError. `where` names the server and space for people."""
    if 300 <= answer.status < 400:
        raise redirect_error(request, answer, where)
    if not answer.body.strip():
        if answer.status < 400:
            return None
        raise ApiError(request, answer, message="", errors=(), where=where)
    try:
        document = json.loads(answer.body)
    except ValueError:
        raise foreign_answer(request, answer, where) from None
    if answer.status < 400:
        return document
    refusal = document if isinstance(document, dict) else {}
    message, errors = refusal.get("ErrorMessage"), refusal.get("Errors")
    raise ApiError(
        request,
        answer,
        message=plain(message) if isinstance(message, str) else "",
        errors=[plain(str(error)) for error in errors] if isinstance(errors, list) else (),
        where=where,
        details=refusal.get("Details"),
    )


def foreign_answer(request: Request, answer: Answer, where: str) -> OctopusError:
    """What to raise for a body that is no JSON: the status decides when it is an error, else what the body looks like."""
    if answer.status >= 400:
        return ApiError(request, answer, message=page_title(answer.body), errors=(), where=where)
    if looks_like_html(answer):
        title = page_title(answer.body)
        named = f" ({title!r})" if title else ""
        sentence = (
            f"{where} answered {request} with a web page{named}, not with Octopus' API: "
            "check the URL; a proxy or a sign-in page may stand in front of it"
        )
        return NotOctopus(request, sentence, transient=True)
    sentence = f"{where} answered {request} with something that is no JSON, or with only a part of it"
    return NotOctopus(request, sentence, transient=True)


def redirect_error(request: Request, answer: Answer, where: str) -> NotOctopus:
    """What to say about a redirect that is not followed: one to another place, where the key must not go."""
    goal = urlsplit(answer.headers.get("location", ""))
    place = f"{goal.scheme}://{goal.netloc}" if goal.netloc else goal.path or "nowhere"
    sentence = f"{where} sends {request} on to {place}: if that is your server, name it in OCTOPUS_URL (nothing was sent there)"
    return NotOctopus(request, sentence, transient=False)


def same_origin_link(url: str, location: str) -> str | None:
    """The absolute URL that a redirect leads to when it may be followed with the key: the same host and port, and the same
    scheme or from http to https on the default ports. None otherwise."""
    here, there = urlsplit(url), urlsplit(urljoin(url, location))
    if here.hostname != there.hostname:
        return None
    ports = {"http": 80, "https": 443}
    here_port, there_port = here.port or ports.get(here.scheme), there.port or ports.get(there.scheme)
    same = here.scheme == there.scheme and here_port == there_port
    safer = (here.scheme, here_port, there.scheme, there_port) == ("http", 80, "https", 443)
    return urlunsplit((there.scheme, there.netloc, there.path, there.query, "")) if same or safer else None


def looks_like_html(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "").lower() or answer.body.lstrip()[:1] == b"<"


def page_title(body: bytes) -> str:
    """The title of a web page, or its first words, fit for one line of ours."""
    text = body[:20_000].decode("utf-8", errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return shorten(plain(title.group(1) if title else re.sub(r"<[^>]*>", " ", text)), 120)


def plain(text: str) -> str:
    """Text from elsewhere, on one line and without control characters."""
    return shorten(" ".join("".join(c if c.isprintable() else " " for c in text).split()), LONGEST_QUOTE)


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


# Which permission a request needs, by the collection it names and whether it reads, creates, changes or deletes.
# Names from OctopusClients, Model/Permission.cs.
PERMISSIONS: Mapping[str, tuple[str, str, str, str]] = {
    "actiontemplates": (
        "ActionTemplateView",
        "ActionTemplateCreate",
        "ActionTemplateEdit",
        "ActionTemplateDelete",
    ),
    "actionsupdate": ("ProcessView", "ProcessEdit", "ProcessEdit", "ProcessEdit"),
    "projects": ("ProjectView", "ProjectCreate", "ProjectEdit", "ProjectDelete"),
    "deploymentprocesses": ("ProcessView", "ProcessEdit", "ProcessEdit", "ProcessEdit"),
    "runbookprocesses": ("RunbookView", "RunbookEdit", "RunbookEdit", "RunbookEdit"),
    "runbooks": ("RunbookView", "RunbookEdit", "RunbookEdit", "RunbookEdit"),
    "channels": ("ProcessView", "ProcessEdit", "ProcessEdit", "ProcessEdit"),
    "environments": ("EnvironmentView", "EnvironmentCreate", "EnvironmentEdit", "EnvironmentDelete"),
    "workerpools": ("WorkerView", "WorkerEdit", "WorkerEdit", "WorkerEdit"),
    "feeds": ("FeedView", "FeedEdit", "FeedEdit", "FeedEdit"),
    "variables": ("VariableView", "VariableEdit", "VariableEdit", "VariableEdit"),
    "libraryvariablesets": (
        "LibraryVariableSetView",
        "LibraryVariableSetCreate",
        "LibraryVariableSetEdit",
        "LibraryVariableSetDelete",
    ),
}


def likely_permission(request: Request) -> str | None:
    """The permission that a refused request most likely needs."""
    for part in reversed(request.path.lower().split("/")):
        if part in PERMISSIONS:
            return PERMISSIONS[part][{"POST": 1, "PUT": 2, "DELETE": 3}.get(request.method, 0)]
    return None


def explain_refusal(error: ApiError, where: str) -> str:
    """One sentence for a person: what was refused, where, the server's own words, and what to do."""
    words = f": {error.words}" if error.words else ""
    match error.status:
        case 401:
            return (
                f"{where} does not accept the credentials (401{words}): "
                "OCTOPUS_API_KEY or OCTOPUS_ACCESS_TOKEN is wrong, expired or of another server"
            )
        case 403:
            permission = likely_permission(error.request)
            needed = f"; the account most likely needs {permission}" if permission else ""
            return f"no permission for {error.request} on {where} (403{words}){needed}"
        case 404:
            return f"{where} has no {error.request.path}, or the account may not see it (404{words})"
        case 429:
            return f"{where} limits how often it may be asked (429{words}): wait a minute, then run it again"
        case status if status >= 500:
            return (
                f"{where} failed at {error.request} ({status}{words}): run it again once the server is well"
            )
        case status:
            return f"{where} refused {error.request} ({status}{words})"


def is_transient(status: int) -> bool:
    """Whether the same read may succeed a little later."""
    return status in (408, 429) or status >= 500


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait. The other legal form, a date, is left to the back-off."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def pause_before_retry(request: Request, error: OctopusError, *, attempt: int, jitter: float) -> float | None:
    """Seconds to wait before attempt `attempt + 1`, or None to give up. `jitter` is from 0 to 1.

    Reads are asked again; a write only after 429, because then nothing was carried out, and when no connection was made.
    """
    is_limited = isinstance(error, ApiError) and error.status == 429
    if not error.transient or attempt >= (RATE_LIMITED_ATTEMPTS if is_limited else ATTEMPTS):
        return None
    untouched = is_limited or (isinstance(error, Unreachable) and not error.sent)
    if not request.is_read and not untouched:
        return None
    pause = growing_pause(attempt, jitter=jitter)
    if error.retry_after is None:
        return pause
    return None if error.retry_after > LONGEST_RETRY_AFTER else max(pause, error.retry_after + jitter)


def growing_pause(attempt: int, *, jitter: float) -> float:
    """Seconds, about twice as many after each attempt; `jitter` is from 0 to 1."""
    return min(FIRST_PAUSE * 2.0 ** (attempt - 1), LONGEST_PAUSE) * (0.5 + jitter / 2)


def page_items(request: Request, document: Json, *, where: str) -> tuple[list[Json], str | None]:
    """The items of one page of a list and the link to the next one, if there is a next one."""
    if isinstance(document, list):
        return document, None
    if not isinstance(document, dict) or not isinstance(document.get("Items"), list):
        raise NotOctopus(
            request, f"{where} answered {request} with something that is no list", transient=False
        )
    items, links = document["Items"], document.get("Links")
    link = links.get("Page.Next") if isinstance(links, dict) else None
    return items, link if items and isinstance(link, str) else None


def resolve_space(wanted: str | None, spaces: Sequence[Space], *, where: str) -> Space:
    """The space that a person means: by name, else by id, else by slug, ignoring case (a name wins, as in Octopus' own CLI).
    Without a wish it is the default space, or the only one that the account may enter."""
    if not wanted:
        chosen = [space for space in spaces if space.is_default] or list(spaces)
        if len(chosen) == 1:
            return chosen[0]
        raise Refusal(f"no space is named (OCTOPUS_SPACE, or --space): {where} has {name_all(spaces)}")
    for field_name in ("name", "id", "slug"):
        found = [
            space for space in spaces if getattr(space, field_name).casefold() == wanted.strip().casefold()
        ]
        if found:
            return found[0]
    raise Refusal(
        f"{where} has no space {wanted!r}{did_you_mean(wanted, [s.name for s in spaces])}: it has {name_all(spaces)}"
    )


def name_all(spaces: Iterable[Space]) -> str:
    names = [f"{space.name} ({space.id})" for space in spaces]
    return ", ".join(names) if names else "none that this account may see"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known word is close, else nothing."""
    hint = closest(word, known)
    return f" ({hint})" if hint else ""
