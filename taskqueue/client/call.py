"""A request of the HTTP API: its address, its fields, and how its answer is read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import httpx

from taskqueue.client.records import Record

T = TypeVar("T")
R = TypeVar("R", bound=Record)

MAX_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A request, and how its answer is read. `read` raises KeyError, TypeError or ValueError for a strange one."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    about: str = ""
    """The id or name that the request is about, for the exception of a refusal."""
    wait_seconds: float = 0
    """How long the server may wait before it answers."""

    @property
    def idempotency_key(self) -> str:
        """The key that makes the request safe to send twice; "" for none."""
        return self.headers.get("Idempotency-Key", "")

    @property
    def repeatable(self) -> bool:
        """Whether the request takes effect once, however often it is sent."""
        return self.method in ("GET", "PUT", "DELETE") or bool(self.idempotency_key)


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list; `next` is what the request for the next page has, None on the last page."""

    rows: tuple[T, ...]
    next: str | None


def quoted(name: str) -> str:
    """Return a name as one part of a path: "." and ".." would be removed from it, so they are encoded, too."""
    return quote(name, safe="").replace(".", "%2E") if name.strip(".") == "" else quote(name, safe="")


def idempotency(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid4())}


def json_of(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float) else value.id


def texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as query parameters: several values are joined by commas, None is left out."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    value = plain(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def reads(record: type[R]) -> Callable[[httpx.Response], R]:
    return lambda answer: record.read(answer.json())


def reads_all(record: type[R], name: str) -> Callable[[httpx.Response], tuple[R, ...]]:
    return lambda answer: tuple(map(record.read, answer.json()[name]))


def reads_page(record: type[R], name: str, cursor: str) -> Callable[[httpx.Response], Page[R]]:
    """Return how a page is read; `cursor`: the parameter of the address in `next` that asks for the next page."""

    def read(answer: httpx.Response) -> Page[R]:
        row = answer.json()
        following = parse_qs(urlsplit(row["next"] or "").query).get(cursor)
        return Page(tuple(map(record.read, row[name])), following[0] if following else None)

    return read


def nothing(answer: httpx.Response) -> None:
    """Read an answer of which only the status counts."""
