"""Requeues, cancels or deletes all tasks that a search finds, at a limited rate: the job behind `POST /bulk`."""

import math
import time
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from taskqueue.control.bulk import MAX_TASKS, Action, apply, at_most, narrowed
from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import PermanentFailure, TooManyMatch
from taskqueue.jobtypes.registry import MAX_TIMEOUT_SECONDS, job
from taskqueue.run.context import current_task, progress
from taskqueue.settings import process_settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.times import timestamp
from taskqueue.tasks.listing import Listing
from taskqueue.tasks.query import read_query
from taskqueue.tasks.task import Task

NAME = "tq-bulk"
MANY = 500  # tasks
FEW_SECONDS = 1.0  # a search that hardly any of a million tasks fits is looked through for longer
WORDS: dict[Action, str] = {"requeue": "requeuing", "cancel": "canceling", "delete": "deleting"}


class Changed(TypedDict):
    """How many tasks were changed."""

    changed: int
    skipped: int  # gone, or changed by others meanwhile


@job(NAME, timeout=MAX_TIMEOUT_SECONDS)
def change_many(
    action: Action,
    q: str,
    seen_at: AwareDatetime,
    most: Annotated[int, Field(ge=0, le=MAX_TASKS)] = MAX_TASKS,
    rate: Annotated[float, Field(gt=0)] | None = None,
    types: list[str] | None = None,
    by: str = "",
) -> Changed:
    """Change the tasks that fit the search `q`, at most `rate` a second. Another attempt goes on with the rest.

    If more than `most` tasks fit, none is changed: the caller has not seen all of them. `types` are those that the
    caller's key is limited to, and `by` is its name.
    """
    settings = process_settings()
    task = current_task()
    connection = task.connection if task else connect_for_requests(settings.redis_url)
    wanted = narrowed(action, read_query(q, seen_at), seen_at)
    try:
        found = Listing(connection, settings.queues).find_ids(wanted, types) if wanted else ()
        task_ids = at_most(found, most)
    except TooManyMatch as error:
        raise PermanentFailure(str(error)) from error
    operations = Operations(connection, settings.failure_ttl_seconds)
    changed = 0
    for number, was_changed in enumerate(apply(action, task_ids, operations, rate), 1):
        changed += was_changed
        progress(number, len(task_ids), WORDS[action])
    return {"changed": changed, "skipped": len(task_ids) - changed}


def count(
    listing: Listing,
    action: Action,
    search: str,
    seen_at: datetime,
    most: int,
    types: tuple[str, ...] | None = None,
    seconds: float = math.inf,
) -> tuple[list[str], bool]:
    """Return the ids of at most `most` tasks that an action would change, and whether there are more.

    It counts for about `seconds` at most, or for a second while it has found hardly any: then there may be more.
    Raises `QueryError`, `QueueUnavailable`.
    """
    wanted = narrowed(action, read_query(search, seen_at), seen_at)
    found: dict[str, None] = {}
    began = time.monotonic()
    for ids in listing.find_ids(wanted, types) if wanted else ():
        found |= dict.fromkeys(ids)
        limit = seconds if len(found) >= MANY else max(seconds, FEW_SECONDS)
        if len(found) > most or time.monotonic() > began + limit:
            return list(found)[:most], True
    return list(found), False


def submit(
    queue: TaskQueue,
    action: Action,
    search: str,
    seen_at: datetime,
    *,
    most: int | None,
    rate: float | None,
    delay: float | None,
    types: tuple[str, ...] | None,
    by: str,
) -> Task:
    """Queue the task that changes what a search finds, in the first queue. Raises `QueueUnavailable`."""
    payload = {
        "action": action,
        "q": search,
        "seen_at": timestamp(seen_at),
        "most": most,
        "rate": rate,
        "types": types,
        "by": by,
    }
    given = {name: value for name, value in payload.items() if value is not None}
    return queue.submit_own(NAME, given, SubmitOptions(queue=queue.settings.queues[0], delay=delay or None))
