"""Requests to an Octopus Server: credentials, patience with reads, and its refusals in words.

Only reads are retried. Whoever writes decides what a lost answer means (LostAnswer).
"""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from generator.runtime.parameters import Secret
from generator.runtime.step import GAVE_UP, REFUSED_BY_SERVER, StepFailure
from generator.runtime.transport import ConnectionMisconfigured, HttpAnswer, HttpRequest, Transport

USER_AGENT = "octosteps"
FIRST_PATIENCE = (
    60.0  # seconds, while the server has never answered: then a wrong address is the likelier cause
)
USUAL_PATIENCE = 300.0
REQUEST_TIMEOUT = 60.0
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 120.0
PAGE_SIZE = 100
IDS_PER_REQUEST = 200  # an id takes some 20 bytes of the URL
TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)

# The permission that a request most likely lacks, by the first word of its path within the space.
PERMISSIONS: Mapping[tuple[str, str], str] = {
    ("GET", "projects"): "ProjectView (and ReleaseView for releases)",
    ("GET", "environments"): "EnvironmentView",
    ("GET", "tenants"): "TenantView",
    ("GET", "channels"): "ProjectView",
    ("GET", "releases"): "ReleaseView",
    ("GET", "deployments"): "DeploymentView",
    ("POST", "deployments"): "DeploymentCreate",
    ("GET", "tasks"): "TaskView",
    ("POST", "tasks"): "TaskCancel",
    ("GET", "interruptions"): "InterruptionView",
    ("PUT", "interruptions"): "InterruptionSubmit",
    ("POST", "interruptions"): "InterruptionSubmit",
    ("GET", "runbooks"): "RunbookView",
    ("GET", "runbooksnapshots"): "RunbookView",
    ("GET", "runbookruns"): "RunbookRunView",
    ("POST", "runbookruns"): "RunbookRunCreate",
    ("GET", "libraryvariablesets"): "LibraryVariableSetView",
    ("GET", "variables"): "LibraryVariableSetView, VariableView and VariableViewUnscoped",
    ("PUT", "variables"): "LibraryVariableSetEdit, VariableEdit and VariableEditUnscoped",
}


class ApiError(StepFailure):
    """The server's refusal, in its own words, with what to fix."""

    def __init__(
        self, request: str, status: int, message: str, *, hint: str = "", retry_after: float = 0.0
    ) -> None:
        words = f"{request}: {status} {message}".rstrip() + (f" ({hint})" if hint else "")
        super().__init__(REFUSED_BY_SERVER, words)
        self.status = status
        self.message = message
        self.retry_after = retry_after


class ApiUnreachable(StepFailure):
    """A read brought no usable answer within its patience."""

    def __init__(self, sentence: str) -> None:
        super().__init__(GAVE_UP, sentence)


class LostAnswer(StepFailure):
    """Whether a write took place is not known."""

    def __init__(self, sentence: str) -> None:
        super().__init__(GAVE_UP, sentence)


def parse_server_url(text: str) -> str:
    """The server's address without a trailing slash; a virtual directory stays, what a browser adds goes."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(text.split()) != 1 or not text.isprintable():
        raise ValueError(f"{text!r} is not an address such as https://octopus.example.com")
    if parts.username or parts.password:
        raise ValueError("the address must not hold a user or password")
    path = parts.path.rstrip("/")
    for ending in ("/app", "/api"):
        if path.lower().endswith(ending):
            path = path[: -len(ending)]
    return f"{parts.scheme}://{parts.netloc}{path}"


def credential_headers(credential: Secret) -> dict[str, str]:
    """`API-...` is an API key, anything else an access token."""
    text = credential.reveal().strip()
    if text.upper().startswith("API-"):
        return {"X-Octopus-ApiKey": text}
    return {"Authorization": "Bearer " + text}


def parse_credential(credential: Secret) -> Secret:
    """The credential if it can stand in a header; the ValueError does not show it."""
    text = credential.reveal().strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            "this is neither an API key nor an access token: it holds spaces, line breaks or other signs"
        )
    return Secret(text)


def token_expiry(credential: Secret) -> Optional[float]:
    """When an access token ends, in seconds since 1970; None for API keys and tokens that do not say."""
    import base64

    parts = credential.reveal().split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def refusal_text(answer: HttpAnswer) -> str:
    """ErrorMessage and Errors[] in one sentence; both are used by real servers (source: go-octopusdeploy, APIError)."""
    try:
        document = json.loads(answer.body)
        texts = [document.get("ErrorMessage") or "", *(document.get("Errors") or [])]
    except (ValueError, AttributeError, TypeError):
        return "" if not answer.body.strip() else "the answer is not from Octopus, perhaps from a proxy"
    return " ".join(str(text).strip() for text in texts if text)


def likely_cause(method: str, path: str, status: int) -> str:
    """What to fix, in words."""
    if status == 401:
        return "the API key or access token is wrong, or has expired"
    words = urllib.parse.urlsplit(path).path.split("/api/", 1)[-1].split("/")
    inner = [word for word in words if word and not word.startswith("Spaces-")]
    permission = PERMISSIONS.get((method, inner[0].lower() if inner else ""), "")
    if status == 403:
        return (
            f"the account lacks a permission, probably {permission}"
            if permission
            else "the account lacks a permission"
        )
    if status == 404 and permission:
        return f"it does not exist there, or the account may not see it: that takes {permission}"
    return ""


def retry_after(answer: HttpAnswer, now: float) -> float:
    """Seconds that the server asks to wait, 0 without a hint. `now` in seconds since 1970."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    if not text:
        return 0.0
    import email.utils

    moment = email.utils.parsedate_tz(text)
    return max(0.0, email.utils.mktime_tz(moment) - now) if moment else 0.0


def advised_pause(headers: Mapping[str, str]) -> float:
    """Seconds to leave to others who use the same account, when `Octopus-RateLimit: r=7;t=18` says that few requests are left.

    r = requests left, t = seconds until all are back, l = all of them (source: docs, Rate limiting).
    """
    left = advisory(headers.get("octopus-ratelimit", ""))
    all_of_them = advisory(headers.get("octopus-ratelimit-policy", ""))
    if "r" not in left or left["r"] >= all_of_them.get("l", 200.0) / 4:
        return 0.0
    return min(left.get("t", LONGEST_PAUSE), LONGEST_PAUSE)


def advisory(text: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            continue
    return numbers


def any_fraction() -> float:
    """A number from 0 up to 1. Some Pythons take 3 ms to load `random`, so nothing is loaded before the first pause."""
    import random

    return random.random()


class Api:
    """One server and space. Paths are relative to the space, or begin with `/api`; answers are the JSON documents."""

    def __init__(
        self,
        url: str,
        credential: Secret,
        *,
        space: str = "",
        transport: Transport,
        tell: Callable[[str], object] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        wall_clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = any_fraction,
    ) -> None:
        self.url = url
        self.space = space
        self.clock = clock
        self.sleep = sleep
        self.wall_clock = wall_clock
        self.chance = chance
        self.tell = tell
        self.requests = 0
        self.advised_pause = 0.0
        self._headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            **credential_headers(credential),
        }
        self._transport = transport
        self._has_answered = False

    def get(self, path: str, *, patience: Optional[float] = None, **query: Any) -> Any:
        """The document at `path`. A list in `query` becomes `a,b`, None leaves a filter out, an empty list is a mistake.

        Raises ApiError at once for a refusal, ApiUnreachable when `patience` seconds brought no usable answer.
        """
        target = self._target(path, query)
        usual = USUAL_PATIENCE if self._has_answered else FIRST_PATIENCE
        deadline = self.clock() + (usual if patience is None else patience)
        attempt = 0
        while True:
            trouble, wait = self._try_get(target)
            if not isinstance(trouble, str):
                return trouble[0]
            attempt += 1
            left = deadline - self.clock()
            if left <= 0:
                raise ApiUnreachable(f"GET {target}: {trouble}; tried {attempt} times")
            pause = min(LONGEST_PAUSE, 2.0 ** min(attempt, 10)) * (0.5 + self.chance() / 2)
            pause = min(max(pause, min(wait, LONGEST_RETRY_AFTER)), left)
            self.tell(f"GET {target}: {trouble}. Trying again in {pause:.0f} s.")
            self.sleep(pause)

    def post(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> Any:
        """The answer to one POST, which is never repeated here.

        Raises ApiError when the server refused it (429 too: nothing was executed), LostAnswer when that is not known.
        """
        return self._write("POST", path, body, timeout)

    def put(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> Any:
        """The answer to one PUT, under the same rules."""
        return self._write("PUT", path, body, timeout)

    def pages(self, path: str, *, take: int = PAGE_SIZE, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Every item of a collection, page by page, as long as somebody asks for more."""
        skip = 0
        while True:
            page = self.get(path, skip=skip, take=take, **query)
            items = page.get("Items") or []
            yield from items
            skip += len(items)
            if not items or skip >= page.get("TotalResults", 0):
                return

    def by_ids(
        self, path: str, ids: Sequence[str], *, patience: Optional[float] = None
    ) -> list[Mapping[str, Any]]:
        """What the server returns of the documents `ids`; without ids nothing is asked, for that would mean all of them."""
        wanted = list(dict.fromkeys(ids))
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            chunk = wanted[start : start + IDS_PER_REQUEST]
            page = self.get(path, patience=patience, ids=chunk, take=len(chunk))
            found.extend(item for item in page.get("Items") or () if item["Id"] in chunk)
        return found

    def web_link(self, document: Mapping[str, Any]) -> str:
        """The portal's page of `document`, "" without one. Links are relative to the server, virtual directory or not."""
        path = (document.get("Links") or {}).get("Web") or ""
        if not path:
            return ""
        parts = urllib.parse.urlsplit(self.url)
        within = parts.path and not (path == parts.path or path.startswith(parts.path + "/"))
        return f"{parts.scheme}://{parts.netloc}{parts.path if within else ''}{path}"

    def _target(self, path: str, query: Mapping[str, Any]) -> str:
        """Path and query below the server's address."""
        pairs = []
        for name, value in query.items():
            if isinstance(value, (list, tuple)):
                if not value:
                    raise ValueError(
                        f"an empty {name} would mean all"
                    )  # source: api-client.ts, ServerTaskWaiter
                value = ",".join(value)
            if value is not None:
                pairs.append((name, str(value)))
        root = path if path.startswith("/") else f"/api/{self.space}/{path}"
        return root + ("?" + urllib.parse.urlencode(pairs, safe=",") if pairs else "")

    def _send(self, method: str, target: str, body: Optional[bytes], timeout: float) -> HttpAnswer:
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.requests += 1
        try:
            answer = self._transport(HttpRequest(method, self.url + target, headers, body), timeout)
        except OSError as error:
            if type(error).__name__ == "SSLCertVerificationError":
                raise ConnectionMisconfigured(
                    f"the certificate of {self.url} is not trusted: {getattr(error, 'verify_message', error)} "
                    "(give the field CA file the authority that signed it)"
                ) from None
            raise
        self.advised_pause = advised_pause(answer.headers)
        return answer

    def _write(self, method: str, path: str, body: Mapping[str, Any], timeout: float) -> Any:
        target = self._target(path, {})
        try:
            answer = self._send(method, target, json.dumps(body).encode(), timeout)
        except OSError as error:
            raise LostAnswer(f"{method} {target}: {trouble_in_words(error)}") from None
        if answer.status in REDIRECTS:
            raise ConnectionMisconfigured(self._redirect_sentence(answer))
        if answer.status in (408,) or answer.status >= 500:
            raise LostAnswer(f"{method} {target}: {answer.status} {refusal_text(answer)}")
        if answer.status >= 400:
            raise self._refusal(method, target, answer)
        try:
            return json.loads(answer.body) if answer.body.strip() else None
        except ValueError:
            raise LostAnswer(f"{method} {target}: the answer is not whole, or not from Octopus") from None

    def _try_get(self, target: str) -> tuple[Any, float]:
        """The document in a tuple, or the trouble as text; and the seconds that the server asks to wait."""
        try:
            answer = self._send("GET", target, None, REQUEST_TIMEOUT)
            if answer.status in REDIRECTS:
                answer = self._follow(target, answer)
        except OSError as error:
            return trouble_in_words(error), 0.0
        if answer.status in TRANSIENT_STATUSES:
            return f"{answer.status} {refusal_text(answer)}".strip(), retry_after(answer, self.wall_clock())
        if answer.status >= 400:
            raise self._refusal("GET", target, answer)
        try:
            document = json.loads(answer.body)
        except ValueError:
            return "the answer is not whole, or not from Octopus (a proxy's page?)", 0.0
        self._has_answered = True
        return (document,), 0.0

    def _follow(self, target: str, answer: HttpAnswer) -> HttpAnswer:
        """The answer behind a redirect that leads to the same host, no less secure; the address is changed for good.

        Any other is refused: the key must not go to a host that nobody named.
        """
        location = urllib.parse.urljoin(self.url + target, answer.headers.get("location", ""))
        old, new = urllib.parse.urlsplit(self.url), urllib.parse.urlsplit(location)
        upgraded = old.scheme == new.scheme and old.netloc == new.netloc
        upgraded = upgraded or (
            old.scheme == "http" and new.scheme == "https" and old.hostname == new.hostname
        )
        if not upgraded or not location.endswith(target) or location == self.url + target:
            raise ConnectionMisconfigured(self._redirect_sentence(answer))
        self.tell(f"{self.url} redirects to {location[: -len(target)]}, which is used from here on.")
        self.url = location[: -len(target)]
        following = self._send("GET", target, None, REQUEST_TIMEOUT)
        if following.status in REDIRECTS:
            raise ConnectionMisconfigured(self._redirect_sentence(following))
        return following

    def _redirect_sentence(self, answer: HttpAnswer) -> str:
        location = answer.headers.get("location", "an unknown place")
        return f"{self.url} redirects to {location}, where no key is sent: put the right address into the field Server"

    def _refusal(self, method: str, target: str, answer: HttpAnswer) -> ApiError:
        return ApiError(
            f"{method} {target}",
            answer.status,
            refusal_text(answer),
            hint=likely_cause(method, target, answer.status),
            retry_after=retry_after(answer, self.wall_clock()),
        )


def trouble_in_words(error: Exception) -> str:
    """A failed exchange for people."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
