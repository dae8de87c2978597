"""The requests about tasks and batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from taskqueue.client import records
from taskqueue.client.call import (
    Call,
    Page,
    R,
    idempotency,
    json_of,
    nothing,
    plain,
    quoted,
    reads,
    reads_all,
    reads_page,
    texts,
)
from taskqueue.client.options import Action, Item
from taskqueue.errors import InvalidBatch, InvalidPayload, PayloadError

MAX_WAIT_SECONDS = 20  # the server waits no longer for a result


def submit(
    task_type: str, payload: Any, options: Mapping[str, Any], *, key: str | None, wait: float = 0
) -> Call[records.Task]:
    """Return the submission of a task. Raises `InvalidPayload` if the payload cannot be written as JSON."""
    try:
        content = json_of(payload)
    except (TypeError, ValueError) as error:
        raise InvalidPayload(task_type, [PayloadError("", str(error))]) from None
    seconds = min(int(wait), MAX_WAIT_SECONDS)
    prefer = {"Prefer": f"wait={seconds}"} if seconds > 0 else {}
    return Call(
        method="POST",
        path="/tasks",
        params={"task_type": task_type, **texts(options)},
        content=content,
        headers={"Content-Type": "application/json", **idempotency(key), **prefer},
        read=reads(records.Task),
        about=task_type,
        wait_seconds=seconds,
    )


@dataclass(frozen=True)
class Submitted:
    """The ids of tasks that were submitted together, and what is wrong with those that were not."""

    batch: str
    tasks: tuple[str, ...]
    then: str | None
    refused: Mapping[int, tuple[PayloadError, ...]]


def submit_many(
    tasks: Sequence[Item], then: Item | None, *, atomic: bool = True, key: str | None
) -> Call[Submitted]:
    """Return the submission of a batch. Raises `InvalidBatch` if a task cannot be written as JSON."""
    try:
        content = json_of([_item(task) for task in tasks])
        params = {"on_complete": json_of(_item(then)).decode()} if then else {}
        params |= {} if atomic else {"atomic": "false"}
    except (TypeError, ValueError) as error:
        raise InvalidBatch([PayloadError("", str(error))], len(tasks), len(tasks)) from None

    def read(answer: httpx.Response) -> Submitted:
        row = answer.json()
        refused = {
            number: tuple(PayloadError(error["pointer"], error["message"]) for error in each["errors"])
            for number, each in enumerate(row["results"])
            if "errors" in each
        }
        ids = tuple(each["id"] for each in row["results"] if "id" in each)
        return Submitted(row["batch"], ids, row["on_complete"], refused)

    return Call(
        method="POST",
        path="/tasks/bulk",
        params=params,
        content=content,
        headers={"Content-Type": "application/json", **idempotency(key)},
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
    return Call(method="DELETE", path=f"/tasks/{quoted(task_id)}", read=nothing, about=task_id)


def explain(task_id: str) -> Call[records.Explanation]:
    """Return the request for the reasons why a task does not run."""
    return _about_task("GET", task_id, "/explain", records.Explanation)


def logs(task_id: str, attempt: int | None) -> Call[tuple[records.LogLine, ...]]:
    """Return the request for the log of a task."""
    return Call(
        method="GET",
        path=f"/tasks/{quoted(task_id)}/logs",
        params=texts({"attempt": attempt}),
        read=reads_all(records.LogLine, "lines"),
        about=task_id,
    )


def events_path(task_id: str) -> str:
    """Return the path of a task's events."""
    return f"/tasks/{quoted(task_id)}/events"


def task_page(q: str, limit: int, cursor: str | None) -> Call[Page[records.Summary]]:
    """Return the request for a page of the tasks that a search finds."""
    params = texts({"q": q or None, "limit": limit, "cursor": cursor})
    return Call(method="GET", path="/tasks", params=params, read=reads_page(records.Summary, "tasks", "cursor"))


def parent_page(task_id: str, first: str | None) -> Call[Page[records.Parent]]:
    """Return the request for a page of the tasks that a task waits for."""
    return Call(
        method="GET",
        path=f"/tasks/{quoted(task_id)}/parents",
        params=texts({"first": first}),
        read=reads_page(records.Parent, "parents", "first"),
        about=task_id,
    )


def batch(batch_id: str) -> Call[records.Batch]:
    """Return the request for a batch."""
    return Call(method="GET", path=f"/batches/{quoted(batch_id)}", read=reads(records.Batch), about=batch_id)


def bulk(action: Action, q: str, options: Mapping[str, Any]) -> Call[records.Task]:
    """Return the request that changes all tasks which a search finds."""
    params = {"action": action, "q": q, **texts(options)}
    return Call(
        method="POST", path="/bulk", params=params, read=reads(records.Task), about=str(options.get("max"))
    )


def matching(action: Action, q: str) -> Call[records.Matching]:
    """Return the request that counts the tasks which an action would change."""
    params = {"action": action, "q": q, "dry_run": "true"}
    return Call(method="POST", path="/bulk", params=params, read=reads(records.Matching))


def batches() -> Call[tuple[records.Batch, ...]]:
    """Return the request for the latest batches."""
    return Call(method="GET", path="/batches", read=reads_all(records.Batch, "batches"))


def bulk_actions() -> Call[tuple[records.Task, ...]]:
    """Return the request for the latest bulk actions."""
    return Call(method="GET", path="/bulk", read=reads_all(records.Task, "actions"))


def _about_task(method: str, task_id: str, action: str, record: type[R]) -> Call[R]:
    return Call(method=method, path=f"/tasks/{quoted(task_id)}{action}", read=reads(record), about=task_id)


def _item(task: Item) -> dict[str, Any]:
    """Return a task of a batch with options that JSON can hold."""
    return {
        name: value if name == "payload" else plain(value) for name, value in task.items() if value is not None
    }
