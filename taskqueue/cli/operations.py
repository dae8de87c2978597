"""The operations that the command line needs, and the choice of a way to them: over Redis or over HTTP."""

import argparse
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from taskqueue.control.bulk import Action
from taskqueue.errors import InvalidSetting
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import Settings
from taskqueue.telemetry.series import Span

if TYPE_CHECKING:
    from taskqueue.client import Client

Row = dict[str, Json]
By = Literal["task_type", "queue"]


class Operations(Protocol):
    """Operations of the command line. Rows have the fields of the HTTP API. All raise `TaskQueueError`."""

    def submit(self, task_type: str, payload: Json, options: Mapping[str, str], key: str | None) -> Row:
        """Queue a task, and return it with its warnings; `key` is an Idempotency-Key."""

    def submit_many(self, tasks: list[Json], then: Json, key: str | None, *, atomic: bool) -> Row:
        """Queue many tasks, and return the answer of `POST /tasks/bulk` without warnings; `then` may be None."""

    def batches(self) -> list[Row]:
        """Return the latest batches, latest first."""

    def batch(self, batch_id: str) -> Row:
        """Return a batch."""

    def get(self, task_id: str) -> Row:
        """Return a task as it is now."""

    def wait(self, task_id: str, seconds: float) -> Row:
        """Return a task when it has ended, or as it is after so many seconds."""

    def follow(self, task_id: str) -> Iterator[tuple[str, Row]]:
        """Yield the names and data of the events of `GET /tasks/<id>/events`, until the task has ended.

        Raises `UnknownTask` where the API sends the event `gone`.
        """

    def cancel(self, task_id: str) -> Row:
        """Cancel a task, and return it."""

    def requeue(self, task_id: str) -> Row:
        """Queue a failed or canceled task again, and return it."""

    def delete(self, task_id: str) -> None:
        """Delete a task that does not run."""

    def explain(self, task_id: str) -> Row:
        """Return why a task does not run, or how it ended."""

    def logs(self, task_id: str, attempt: int | None) -> list[Row]:
        """Return the lines of a task's log; None: of all attempts."""

    def parents(self, task_id: str) -> list[Row]:
        """Return the tasks that a task waits for, with their results, in their order."""

    def tasks(self, q: str, limit: int) -> list[Row]:
        """Return the tasks that a search finds, newest first."""

    def failures(self) -> Row:
        """Return the groups of failed tasks, with the field `complete`."""

    def changes(self, limit: int) -> list[Row]:
        """Return who changed what, latest first."""

    def matching(self, action: Action, q: str) -> Row:
        """Return how many tasks an action would change, as `POST /bulk` with `dry_run` does."""

    def bulk(self, action: Action, q: str, most: int, rate: float | None, delay: float | None) -> Row:
        """Queue a task that changes what a search finds, if that is `most` tasks at most; return that task."""

    def bulk_actions(self) -> list[Row]:
        """Return the latest tasks that `bulk` has queued, latest first."""

    def queues(self) -> list[Row]:
        """Return all queues with their counts of tasks."""

    def workers(self) -> list[Row]:
        """Return the workers that Redis has not forgotten."""

    def pause(self, queue: str) -> None:
        """Pause a queue."""

    def resume(self, queue: str) -> None:
        """Resume a queue."""

    def limits(self) -> list[Row]:
        """Return the limits of all task types, and which types are paused."""

    def pause_type(self, task_type: str) -> Row:
        """Pause a task type, and return its limits."""

    def resume_type(self, task_type: str) -> Row:
        """Resume a task type, and return its limits."""

    def change_limits(self, task_type: str, concurrency: int | None, rate: str | None) -> Row:
        """Change the limits of a task type, and return them."""

    def reset_limits(self, task_type: str) -> Row:
        """Let the limits of the code hold again, and return them."""

    def task_types(self) -> list[Row]:
        """Return the task types, by name."""

    def task_type(self, name: str) -> Row:
        """Return a task type."""

    def series(self, span: Span, task_type: str | None, queue: str | None, by: By | None) -> Row:
        """Return what happened in a span: the answer of `GET /series`."""

    def upload(self, content: bytes, name: str) -> Row:
        """Store a file for a task to read."""

    def download(self, filename: str) -> bytes:
        """Return the content of a file."""

    def schedules(self) -> list[Row]:
        """Return all schedules, by name."""

    def show_schedule(self, name: str) -> Row:
        """Return a schedule."""

    def put_schedule(self, name: str, document: Mapping[str, Json]) -> Row:
        """Create or replace a schedule, and return it."""

    def change_schedule(self, name: str, action: Literal["pause", "resume"]) -> Row:
        """Pause or resume a schedule, and return it."""

    def run_schedule(self, name: str) -> Row:
        """Queue a schedule's task now, and return the task."""

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""


def operations_for(args: argparse.Namespace) -> Operations:
    """Return the operations, by the way that the arguments and the environment ask for.

    Raises `InvalidSetting`.
    """
    # Each way is imported when it is taken: the other one would double the time of a start.
    if args.url:
        client = client_for(args.url)
        from taskqueue.cli.by_http import HttpOperations

        return HttpOperations(client)
    from taskqueue.cli.by_redis import RedisOperations

    return RedisOperations(Settings.read(os.environ))


def client_for(url: str) -> "Client":
    """Return a client of the API at this URL, with the key in TASK_QUEUE_KEY. Raises `InvalidSetting`.

    It does not try again: a person sees at once what is wrong.
    """
    try:
        from taskqueue.client import Client
        from taskqueue.client.address import checked_key, checked_url
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "httpx_sse"):
            raise
        raise InvalidSetting(
            "--url (or TASK_QUEUE_API) needs httpx and httpx-sse: pip install 'taskqueue-rq[client]'"
        ) from None
    key = os.environ.get("TASK_QUEUE_KEY")
    checked = checked_url(url, "--url (or TASK_QUEUE_API)")
    return Client(checked, key=checked_key(key, "TASK_QUEUE_KEY") if key else None, retry_seconds=0)
