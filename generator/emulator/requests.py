"""One request as a handler sees it, and one answer as a handler gives it. No WSGI here.

A handler is `(Request) -> Answer | document | list`; a bare document or list is a 200.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from generator.emulator import refusals
from generator.emulator.documents import Document, normalised, same_name, shown
from generator.emulator.links import links_of
from generator.emulator.shapes import check
from generator.emulator.state import Key, State

DEFAULT_TAKE = 30


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`body`: a document or list (sent as JSON), bytes or text as they are, None for an empty body."""

    status: int = 200
    body: Any = None
    media_type: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def created(body: Any) -> Answer:
    return Answer(status=201, body=body)


class Query:
    """The parameters of a query string. Names are matched without regard to case; a list may be spelled `a=1&a=2`
    or `a=1,2` (source: the TypeScript and C# clients repeat, the Go client writes commas)."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def first(self, name: str) -> str | None:
        """The parameter's value, None when it is absent or empty."""
        return next((value for value in self._values.get(name.lower(), []) if value), None)

    def all(self, name: str) -> tuple[str, ...]:
        values = self._values.get(name.lower(), [])
        return tuple(part.strip() for value in values for part in value.split(",") if part.strip())

    def number(self, name: str, default: int) -> int:
        """A whole number >= 0 (source: docs, API reference: `skip` and `take` of every list)."""
        text = self.first(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18:
            raise refusals.BAD_REQUEST(reason=f"The value '{text}' is not valid for {name}.")
        return int(text)

    def flag(self, name: str) -> bool | None:
        text = self.first(name)
        if text is None:
            return None
        if text.lower() not in ("true", "false"):
            raise refusals.BAD_REQUEST(reason=f"The value '{text}' is not valid for {name}.")
        return text.lower() == "true"

    def without(self, *names: str) -> list[tuple[str, str]]:
        return [
            (name, value) for name, values in self._values.items() if name not in names for value in values
        ]


@dataclass(frozen=True, kw_only=True)
class Request:
    """`space` is None for system-wide requests and for mixed ones that named no space. `content` is the body as it came."""

    state: State
    method: str
    path: str
    arguments: Mapping[str, str]
    query: Query
    content: bytes
    file: tuple[str, bytes] | None
    key: Key
    space: Document | None

    @property
    def space_id(self) -> str:
        if self.space is None:
            raise KeyError("this request has no space")
        return str(self.space["Id"])

    @property
    def user(self) -> Document:
        return self.state.get("Users", self.key.user_id)

    def argument(self, name: str) -> str:
        return self.arguments[name]

    @cached_property
    def body(self) -> Any:
        """The JSON in the body with PascalCase names, None for an empty body. Errors: Refused for anything else."""
        if not self.content.strip():
            return None
        try:
            text = self.content.decode("utf-8-sig")
            found = json.loads(text)
            if "\\ud" in text.lower():  # half of a pair is no character: it could not be answered again
                json.dumps(found, ensure_ascii=False).encode()
            return normalised(found)
        except (ValueError, RecursionError) as error:
            raise refusals.BAD_JSON(reason=error) from None

    def document(self) -> Document:
        """The request's body, which must be a JSON object."""
        if not isinstance(self.body, dict):
            raise refusals.NO_BODY()
        check(self.body)
        return self.body

    # --- looking things up -----------------------------------------------------------------------------------------

    def visible(self, collection: str, **fields: object) -> list[Document]:
        """Documents of this space that the key may see, oldest first."""
        if self.space is not None:
            fields["SpaceId"] = self.space["Id"]
        return [item for item in self.state.where(collection, **fields) if self.key.sees(item, collection)]

    def find(self, collection: str, identifier: object) -> Document:
        """The document of this space with that id, or 404."""
        found = self.state.find(collection, identifier)
        if found is None or not self.key.sees(found, collection) or self._elsewhere(found):
            raise refusals.NOT_FOUND()
        return found

    def find_named(self, collection: str, identifier: str, **fields: object) -> Document:
        """The document with that id or slug, or 404 (source: docs, API reference: `projects/{idOrSlug}`)."""
        found = self.state.find(collection, identifier)
        if found is None:
            alike = [
                item for item in self.visible(collection, **fields) if item.get("Slug") == identifier.lower()
            ]
            found = alike[0] if alike else None
        return self.find(collection, found["Id"] if found else identifier)

    def reference(self, collection: str, field_name: str, value: object) -> Document:
        """The document that a field of the body refers to, or 400."""
        if value in (None, ""):
            raise refusals.REQUIRED(field=field_name)
        found = self.state.find(collection, value)
        if found is None or not self.key.sees(found, collection) or self._elsewhere(found):
            raise refusals.UNKNOWN_REFERENCE(field=field_name, value=value)
        return found

    def _elsewhere(self, document: Document) -> bool:
        return self.space is not None and document.get("SpaceId", self.space["Id"]) != self.space["Id"]

    def refuse_duplicate(
        self, kind: str, collection: str, name: object, *, besides: str | None = None, **within: object
    ) -> None:
        """Names are unique without regard to case (source: OctopusDeploy/Issues 4001 for templates)."""
        for other in self.state.where(collection, **within):
            if other["Id"] != besides and same_name(other.get("Name"), name):
                raise refusals.DUPLICATE_NAME(kind=kind, name=name)

    def refuse_running(self, kind: str, **fields: object) -> None:
        """What a task that has not ended needs cannot be deleted. That the server refuses it too is unconfirmed."""
        for task in self.state.tasks.values():
            if not task.is_completed and all(getattr(task, name) == value for name, value in fields.items()):
                raise refusals.IN_USE(kind=kind, users=task.description)

    # --- showing things --------------------------------------------------------------------------------------------

    @property
    def prefix(self) -> str:
        return self.state.virtual_directory

    def show(self, collection: str, document: Document) -> Document:
        result: Document = shown(document)
        result["Links"] = links_of(collection, document, self.prefix)
        return result

    def show_all(self, collection: str, documents: Iterable[Document]) -> list[Document]:
        return [self.show(collection, document) for document in documents]

    def page(self, item_type: str, items: Sequence[Any], show: Any) -> Document:
        """The envelope of a list (source: docs, API reference, every list; go-octopusdeploy, test/e2e/
        interruption_test.go (recorded): one page has LastPageNumber 0)."""
        skip, take = self.query.number("skip", 0), self.query.number("take", DEFAULT_TAKE)
        total = len(items)
        chunk = items[skip : skip + take]
        pages = max(1, -(-total // take)) if take else 1
        others = self.query.without("skip", "take", "apikey")

        def link(new_skip: int, new_take: int = take) -> str:
            pairs = [*others, ("skip", str(new_skip)), ("take", str(new_take))]
            return f"{self.prefix}{self.path}?" + "&".join(
                f"{name}={quote(value, safe='')}" for name, value in pairs
            )

        links = {
            "Self": link(skip),
            "Template": f"{self.prefix}{self.path}{{?skip,take}}",
            "Page.All": link(0, 2147483647),
            "Page.Current": link(skip),
            "Page.Last": link((pages - 1) * take),
        }
        if skip + take < total and take:
            links["Page.Next"] = link(skip + take)
        if skip > 0:
            links["Page.Previous"] = link(max(0, skip - take))
        return {
            "ItemType": item_type,
            "TotalResults": total,
            "ItemsPerPage": take,
            "NumberOfPages": pages,
            "LastPageNumber": pages - 1,
            "Items": [show(item) for item in chunk],
            "Links": links,
        }

    def page_of(self, kind: str, collection: str, documents: Sequence[Document]) -> Document:
        return self.page(kind, documents, lambda item: self.show(collection, item))


def narrowed(request: Request, documents: Iterable[Document]) -> list[Document]:
    """Documents that pass `ids`, `name` (exact) and `partialName` (contains). An empty `ids` is no filter.

    Source: docs, API reference, every list; api-client.ts, serverTaskWaiter.ts (guards against an empty `ids`).
    """
    ids, name = request.query.all("ids"), request.query.first("name")
    part = request.query.first("partialName")
    return [
        document
        for document in documents
        if (not ids or document["Id"] in ids)
        and (name is None or same_name(document.get("Name"), name))
        and (part is None or part.casefold() in str(document.get("Name", "")).casefold())
    ]


def by_name(document: Document) -> tuple[str, str]:
    return str(document.get("Name", "")).casefold(), str(document["Id"])
