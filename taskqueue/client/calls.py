"""Each request of the HTTP API that the clients make: its address, its fields, and what its answer is."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import httpx

from taskqueue.client import records
from taskqueue.client.options import Action, Item
from taskqueue.errors import InvalidBatch, InvalidPayload, PayloadError

T = TypeVar("T")
R = TypeVar("R", bound=records.Record)

MAX_PAGE = 200
MAX_WAIT_SECONDS = 20  # the server waits no longer for a result


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


def submit(
    task_type: str, payload: Any, options: Mapping[str, Any], *, key: str | None, wait: float = 0
) -> Call[records.Task]:
    """Return the submission of a task. Raises `InvalidPayload` if the payload cannot be written as JSON."""
    try:
        content = _json(payload)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(task_type, [PayloadError("", str(error))]) from None
    seconds = min(int(wait), MAX_WAIT_SECONDS)
    prefer = {"Prefer": f"wait={seconds}"} if seconds > 0 else {}
    return Call(
        method="POST",
        path="/tasks",
        params={"task_type": task_type, **_texts(options)},
        content=content,
        headers={"Content-Type": "application/json", **_idempotency(key), **prefer},
        read=_reads(records.Task),
        about=task_type,
        wait_seconds=seconds,
    )


@dataclass(frozen=True)
class Submitted:
    """The ids of tasks that were submitted together."""

    batch: str
    tasks: tuple[str, ...]
    then: str | None


def submit_many(tasks: Sequence[Item], then: Item | None, *, key: str | None) -> Call[Submitted]:
    """Return the submission of a batch. Raises `InvalidBatch` if a task cannot be written as JSON."""
    try:
        content = _json([_item(task) for task in tasks])
        params = {"on_complete": _json(_item(then)).decode()} if then else {}
    except (TypeError, ValueError) as error:
        raise InvalidBatch([PayloadError("", str(error))], len(tasks), len(tasks)) from None

    def read(answer: httpx.Response) -> Submitted:
        row = answer.json()
        return Submitted(row["batch"], tuple(each["id"] for each in row["results"]), row["on_complete"])

    return Call(
        method="POST",
        path="/tasks/bulk",
        params=params,
        content=content,
        headers={"Content-Type": "application/json", **_idempotency(key)},
        read=read,
        about=str(len(tasks)),
    )


def get(task_id: str) -> Call[records.Task]:
    """Return the request for a task."""
    return _about_task("GET", task_id, "", records.Task)


def cancel(task_id: str) -> Call[records.Task]:
    """Return the request that cancels a task."""
    return _about_task("POST", task_id, "/cancel", records.Task)


def requeue(task_id: str) -> Call[records.Task]:
    """Return the request that queues a task again."""
    return _about_task("POST", task_id, "/requeue", records.Task)


def delete(task_id: str) -> Call[None]:
    """Return the request that deletes a task."""
    return Call(method="DELETE", path=f"/tasks/{_quoted(task_id)}", read=_nothing, about=task_id)


def explain(task_id: str) -> Call[records.Explanation]:
    """Return the request for the reasons why a task does not run."""
    return _about_task("GET", task_id, "/explain", records.Explanation)


def logs(task_id: str, attempt: int | None) -> Call[tuple[records.LogLine, ...]]:
    """Return the request for the log of a task."""
    return Call(
        method="GET",
        path=f"/tasks/{_quoted(task_id)}/logs",
        params=_texts({"attempt": attempt}),
        read=_reads_all(records.LogLine, "lines"),
        about=task_id,
    )


def events_path(task_id: str) -> str:
    """Return the path of a task's events."""
    return f"/tasks/{_quoted(task_id)}/events"


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list; `next` is what the request for the next page has, None on the last page."""

    rows: tuple[T, ...]
    next: str | None


def task_page(q: str, limit: int, cursor: str | None) -> Call[Page[records.Summary]]:
    """Return the request for a page of the tasks that a search finds."""

    def read(answer: httpx.Response) -> Page[records.Summary]:
        row = answer.json()
        following = parse_qs(urlsplit(row["next"] or "").query).get("cursor")
        return Page(tuple(map(records.Summary.read, row["tasks"])), following[0] if following else None)

    params = _texts({"q": q or None, "limit": limit, "cursor": cursor})
    return Call(method="GET", path="/tasks", params=params, read=read)


def parent_page(task_id: str, first: str | None) -> Call[Page[records.Parent]]:
    """Return the request for a page of the tasks that a task waits for."""

    def read(answer: httpx.Response) -> Page[records.Parent]:
        row = answer.json()
        following = parse_qs(urlsplit(row["next"] or "").query).get("first")
        return Page(tuple(map(records.Parent.read, row["parents"])), following[0] if following else None)

    path = f"/tasks/{_quoted(task_id)}/parents"
    return Call(method="GET", path=path, params=_texts({"first": first}), read=read, about=task_id)


def change_page(limit: int, below: str | None) -> Call[Page[records.Change]]:
    """Return the request for a page of the record of changes."""

    def read(answer: httpx.Response) -> Page[records.Change]:
        row = answer.json()
        return Page(tuple(map(records.Change.read, row["changes"])), row["next"])

    return Call(method="GET", path="/changes", params=_texts({"limit": limit, "below": below}), read=read)


def bulk(action: Action, q: str, options: Mapping[str, Any]) -> Call[records.Task]:
    """Return the request that changes all tasks which a search finds."""
    params = {"action": action, "q": q, **_texts(options)}
    return Call(
        method="POST", path="/bulk", params=params, read=_reads(records.Task), about=str(options.get("max"))
    )


def matching(action: Action, q: str) -> Call[records.Matching]:
    """Return the request that counts the tasks which an action would change."""
    params = {"action": action, "q": q, "dry_run": "true"}
    return Call(method="POST", path="/bulk", params=params, read=_reads(records.Matching))


def failures() -> Call[records.Failures]:
    """Return the request for the groups of failed tasks."""
    return Call(method="GET", path="/failures", read=_reads(records.Failures))


def queues() -> Call[tuple[records.Queue, ...]]:
    """Return the request for all queues."""
    return Call(method="GET", path="/queues", read=_reads_all(records.Queue, "queues"))


def workers() -> Call[tuple[records.Worker, ...]]:
    """Return the request for all workers."""
    return Call(method="GET", path="/workers", read=_reads_all(records.Worker, "workers"))


def task_types() -> Call[tuple[records.TaskType, ...]]:
    """Return the request for all task types."""
    return Call(method="GET", path="/task-types", read=_reads_all(records.TaskType, "task_types"))


def pause(queue: str, action: Literal["pause", "resume"]) -> Call[None]:
    """Return the request that pauses or resumes a queue."""
    return Call(method="POST", path=f"/queues/{_quoted(queue)}/{action}", read=_nothing, about=queue)


def batch(batch_id: str) -> Call[records.Batch]:
    """Return the request for a batch."""
    return Call(method="GET", path=f"/batches/{_quoted(batch_id)}", read=_reads(records.Batch), about=batch_id)


def schedules() -> Call[tuple[records.Schedule, ...]]:
    """Return the request for all schedules."""
    return Call(method="GET", path="/schedules", read=_reads_all(records.Schedule, "schedules"))


def schedule(name: str) -> Call[records.Schedule]:
    """Return the request for a schedule."""
    return Call(method="GET", path=_schedule_path(name), read=_reads(records.Schedule), about=name)


def limits() -> Call[tuple[records.TypeLimits, ...]]:
    """Return the request for the limits of all task types."""
    return Call(method="GET", path="/limits", read=_reads_all(records.TypeLimits, "limits"))


def pause_type(task_type: str, action: Literal["pause", "resume"]) -> Call[records.TypeLimits]:
    """Return the request that pauses or resumes a task type."""
    path = f"/task-types/{_quoted(task_type)}/{action}"
    return Call(method="POST", path=path, read=_reads(records.TypeLimits), about=task_type)


def change_limits(task_type: str, concurrency: int | None, rate: str | None) -> Call[records.TypeLimits]:
    """Return the request that changes the limits of a task type."""
    return Call(
        method="PUT",
        path=f"/task-types/{_quoted(task_type)}/limits",
        content=_json({"concurrency": concurrency, "rate": rate}),
        headers={"Content-Type": "application/json"},
        read=_reads(records.TypeLimits),
        about=task_type,
    )


def reset_limits(task_type: str) -> Call[records.TypeLimits]:
    """Return the request that lets the limits of the code hold again."""
    path = f"/task-types/{_quoted(task_type)}/limits"
    return Call(method="DELETE", path=path, read=_reads(records.TypeLimits), about=task_type)


def put_schedule(name: str, document: Mapping[str, Any]) -> Call[records.Schedule]:
    """Return the request that creates or replaces a schedule."""
    return Call(
        method="PUT",
        path=_schedule_path(name),
        content=_json(document),
        headers={"Content-Type": "application/json"},
        read=_reads(records.Schedule),
        about=str(document.get("task_type", "")),
    )


def delete_schedule(name: str) -> Call[None]:
    """Return the request that deletes a schedule."""
    return Call(method="DELETE", path=_schedule_path(name), read=_nothing, about=name)


def run_schedule(name: str) -> Call[records.Task]:
    """Return the request that queues a schedule's task now."""
    return Call(method="POST", path=f"{_schedule_path(name)}/run", read=_reads(records.Task), about=name)


def pause_schedule(name: str, action: Literal["pause", "resume"]) -> Call[records.Schedule]:
    """Return the request that pauses or resumes a schedule."""
    return Call(method="POST", path=f"{_schedule_path(name)}/{action}", read=_reads(records.Schedule), about=name)


def upload(file: bytes | Path, name: str | None) -> Call[records.StoredFile]:
    """Return the request that uploads a file. Raises OSError if the file cannot be read."""
    content = file.read_bytes() if isinstance(file, Path) else file
    return Call(
        method="POST",
        path="/files",
        params={"filename": name or (file.name if isinstance(file, Path) else "file")},
        content=content,
        headers={"Content-Type": "application/octet-stream"},
        read=_reads(records.StoredFile),
    )


def download(filename: str) -> Call[bytes]:
    """Return the request for the content of a file."""
    path = f"/files/{_quoted(filename)}"
    return Call(method="GET", path=path, headers={"Accept": "*/*"}, read=_content, about=filename)


def _about_task(method: str, task_id: str, action: str, record: type[R]) -> Call[R]:
    return Call(method=method, path=f"/tasks/{_quoted(task_id)}{action}", read=_reads(record), about=task_id)


def _schedule_path(name: str) -> str:
    return f"/schedules/{_quoted(name)}"


def _quoted(name: str) -> str:
    """Return a name as one part of a path: "." and ".." would be removed from it, so they are encoded, too."""
    return quote(name, safe="").replace(".", "%2E") if name.strip(".") == "" else quote(name, safe="")


def _idempotency(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid4())}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _item(task: Item) -> dict[str, Any]:
    """Return a task of a batch with options that JSON can hold."""
    return {
        name: value if name == "payload" else _plain(value) for name, value in task.items() if value is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float) else value.id


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options as query parameters: several values are joined by commas, None is left out."""
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    plain = _plain(value)
    return ",".join(map(str, plain)) if isinstance(plain, list) else str(plain)


def _reads(record: type[R]) -> Callable[[httpx.Response], R]:
    return lambda answer: record.read(answer.json())


def _reads_all(record: type[R], name: str) -> Callable[[httpx.Response], tuple[R, ...]]:
    return lambda answer: tuple(map(record.read, answer.json()[name]))


def _nothing(answer: httpx.Response) -> None:
    """Read an answer of which only the status counts."""


def _content(answer: httpx.Response) -> bytes:
    return answer.content
