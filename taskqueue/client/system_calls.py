"""The requests about the whole: queues, workers, schedules, failures, changes, files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from taskqueue.client.call import Call, Page, json_of, nothing, quoted, reads, reads_all, texts
from taskqueue.client.records import Task
from taskqueue.client.system_records import (
    Change,
    Failures,
    Findings,
    Queue,
    Schedule,
    SpanCounts,
    StoredFile,
    TaskType,
    TypeLimits,
    Worker,
)

FAILURES = Call(method="GET", path="/failures", read=reads(Failures))
FINDINGS = Call(method="GET", path="/findings", read=reads(Findings))
LIMITS = Call(method="GET", path="/limits", read=reads_all(TypeLimits, "limits"))
QUEUES = Call(method="GET", path="/queues", read=reads_all(Queue, "queues"))
SCHEDULES = Call(method="GET", path="/schedules", read=reads_all(Schedule, "schedules"))
TASK_TYPES = Call(method="GET", path="/task-types", read=reads_all(TaskType, "task_types"))
WORKERS = Call(method="GET", path="/workers", read=reads_all(Worker, "workers"))


def change_page(limit: int, below: str | None) -> Call[Page[Change]]:
    """Return the request for a page of the record of changes."""

    def read(answer: httpx.Response) -> Page[Change]:
        row = answer.json()
        return Page(tuple(map(Change.read, row["changes"])), row["next"])

    return Call(method="GET", path="/changes", params=texts({"limit": limit, "below": below}), read=read)


def task_type(name: str) -> Call[TaskType]:
    """Return the request for a task type."""
    return Call(method="GET", path=f"/task-types/{quoted(name)}", read=reads(TaskType), about=name)


def series(span: str, task_type: str | None, queue: str | None, by: str | None) -> Call[SpanCounts]:
    """Return the request for what happened in a span."""
    params = texts({"span": span, "task_type": task_type, "queue": queue, "by": by})
    return Call(method="GET", path="/series", params=params, read=reads(SpanCounts), about=task_type or "")


def pause(queue: str, action: Literal["pause", "resume"]) -> Call[None]:
    """Return the request that pauses or resumes a queue."""
    return Call(method="POST", path=f"/queues/{quoted(queue)}/{action}", read=nothing, about=queue)


def schedule(name: str) -> Call[Schedule]:
    """Return the request for a schedule."""
    return Call(method="GET", path=_schedule_path(name), read=reads(Schedule), about=name)


def pause_type(task_type: str, action: Literal["pause", "resume"]) -> Call[TypeLimits]:
    """Return the request that pauses or resumes a task type."""
    path = f"/task-types/{quoted(task_type)}/{action}"
    return Call(method="POST", path=path, read=reads(TypeLimits), about=task_type)


def change_limits(task_type: str, concurrency: int | None, rate: str | None) -> Call[TypeLimits]:
    """Return the request that changes the limits of a task type."""
    return Call(
        method="PUT",
        path=f"/task-types/{quoted(task_type)}/limits",
        content=json_of({"concurrency": concurrency, "rate": rate}),
        headers={"Content-Type": "application/json"},
        read=reads(TypeLimits),
        about=task_type,
    )


def reset_limits(task_type: str) -> Call[TypeLimits]:
    """Return the request that lets the limits of the code hold again."""
    path = f"/task-types/{quoted(task_type)}/limits"
    return Call(method="DELETE", path=path, read=reads(TypeLimits), about=task_type)


def put_schedule(name: str, document: Mapping[str, Any]) -> Call[Schedule]:
    """Return the request that creates or replaces a schedule."""
    return Call(
        method="PUT",
        path=_schedule_path(name),
        content=json_of(document),
        headers={"Content-Type": "application/json"},
        read=reads(Schedule),
        about=str(document.get("task_type", "")),
    )


def delete_schedule(name: str) -> Call[None]:
    """Return the request that deletes a schedule."""
    return Call(method="DELETE", path=_schedule_path(name), read=nothing, about=name)


def run_schedule(name: str) -> Call[Task]:
    """Return the request that queues a schedule's task now."""
    return Call(method="POST", path=f"{_schedule_path(name)}/run", read=reads(Task), about=name)


def pause_schedule(name: str, action: Literal["pause", "resume"]) -> Call[Schedule]:
    """Return the request that pauses or resumes a schedule."""
    return Call(method="POST", path=f"{_schedule_path(name)}/{action}", read=reads(Schedule), about=name)


def upload(file: bytes | Path, name: str | None) -> Call[StoredFile]:
    """Return the request that uploads a file. Raises OSError if the file cannot be read."""
    content = file.read_bytes() if isinstance(file, Path) else file
    return Call(
        method="POST",
        path="/files",
        params={"filename": name or (file.name if isinstance(file, Path) else "file")},
        content=content,
        headers={"Content-Type": "application/octet-stream"},
        read=reads(StoredFile),
    )


def download(filename: str) -> Call[bytes]:
    """Return the request for the content of a file."""
    path = f"/files/{quoted(filename)}"
    return Call(method="GET", path=path, headers={"Accept": "*/*"}, read=_content, about=filename)


def _schedule_path(name: str) -> str:
    return f"/schedules/{quoted(name)}"


def _content(answer: httpx.Response) -> bytes:
    return answer.content
