"""`/bulk`: requeue, cancel or delete all tasks that a search finds, as a task that can be watched and stopped."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from flask import Blueprint, g, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from taskqueue.control.bulk import MAX_TASKS, Action
from taskqueue.enqueue.options import MAX_DELAY_SECONDS
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import TooManyMatch
from taskqueue.run.builtin import bulk
from taskqueue.run.builtin.bulk import NAME
from taskqueue.tasks.listing import Listing
from taskqueue.tasks.query import MAX_CHARACTERS
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_filter import TaskFilter
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.api.task_list import searched
from taskqueue.web.http.access import caller, caller_types
from taskqueue.web.http.change_record import note_dry_run
from taskqueue.web.http.endpoint import Query, endpoint
from taskqueue.web.http.endpoint import read_query as read_parameters
from taskqueue.web.http.problems import BadRequest

MIN_RATE, MAX_RATE = 0.001, 1000  # tasks a second
MAX_EXAMPLES = 10
COUNTED = 10_000  # a dry run counts so many and no more
LISTED = 50


class BulkQuery(Query):
    """What to do with which tasks, how fast, and when."""

    action: Action
    """`requeue` failed and canceled tasks, `cancel` those that have not ended, `delete` those that do not run."""
    q: Annotated[str, Field(max_length=MAX_CHARACTERS)]
    """Which tasks: a search as for `GET /tasks`."""
    max: Annotated[int, Field(ge=0, le=MAX_TASKS)] | None = None
    """How many tasks you have seen: if more match, none is changed."""
    rate: Annotated[float, Field(ge=MIN_RATE, le=MAX_RATE)] | None = None
    """How many tasks to change in a second, at most."""
    delay: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0
    """Seconds until it begins: until then `POST /tasks/<id>/cancel` undoes all of it."""
    dry_run: bool = False
    """Change nothing, and answer how many tasks match."""


class MatchingJson(TypedDict):
    """How many tasks match, and the ids of some; `more` is true if there are more than were counted."""

    matching: int
    more: bool
    examples: list[str]


@dataclass(frozen=True)
class BulkActionsJson:
    """The latest bulk actions, latest first: tasks of the built-in type `tq-bulk`; the action is their payload."""

    actions: list[TaskJson]


def views(queue: TaskQueue, listing: Listing) -> Blueprint:
    """Return the views of `/bulk`."""
    blueprint = Blueprint("bulk", __name__)

    @blueprint.post("/bulk")
    @endpoint(
        "Requeue, cancel or delete many tasks",
        scope="operate",
        change="bulk-action",
        query=BulkQuery,
        answers={200: MatchingJson, 202: TaskJson},
        problems=(400, 409, 422, 503),
        by_type=True,
    )
    def change() -> ResponseReturnValue:
        """Queue a task that changes all tasks which match the search, and reports its progress (202).

        Only tasks that exist now are changed. If more match than `max`, the answer is 409 and nothing is queued.
        With `dry_run` nothing is changed: the answer says how many match (200), and counts to 10,000 at most.
        Cancel the task to stop the action; what is done stays done.
        """
        asked = read_parameters(BulkQuery)
        if searched(asked.q) == TaskFilter():
            detail = "Say which tasks: an empty search would be all of them."
            raise BadRequest(422, "invalid-search", "The search is empty", detail)
        seen_at = datetime.now(UTC)
        matching, more = count(
            listing, asked.action, asked.q, seen_at, COUNTED if asked.max is None else asked.max
        )
        if asked.dry_run:
            note_dry_run()
            return jsonify(MatchingJson(matching=len(matching), more=more, examples=matching[:MAX_EXAMPLES]))
        if asked.max is not None and more:
            raise BadRequest(
                409, "too-many-match", "More tasks match than were seen", str(TooManyMatch(asked.max))
            )
        task = submit(queue, asked.action, asked.q, seen_at, most=asked.max, rate=asked.rate, delay=asked.delay)
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    @blueprint.get("/bulk")
    @endpoint("List the bulk actions", scope="read", answers={200: BulkActionsJson}, problems=(503,))
    def actions() -> ResponseReturnValue:
        """At most 50, as long as they are kept. Each has its progress, and in its payload who began it (`by`)."""
        return jsonify(BulkActionsJson([task_json(task) for task in latest(queue, listing)]))

    return blueprint


def count(
    listing: Listing, action: Action, search: str, seen_at: datetime, most: int, seconds: float = math.inf
) -> tuple[list[str], bool]:
    """Return the ids of at most `most` tasks that the caller's action would change, and whether there are more.

    It counts for about `seconds` at most, or for a second while it has found hardly any.
    """
    return bulk.count(listing, action, search, seen_at, most, caller_types(), seconds)


def submit(
    queue: TaskQueue,
    action: Action,
    search: str,
    seen_at: datetime,
    *,
    most: int | None,
    rate: float | None,
    delay: float,
) -> Task:
    """Queue the task of a bulk action of this caller. Raises `QueueUnavailable`."""
    key = caller()
    by = key.name if key else g.get("console_user", "")
    return bulk.submit(
        queue, action, search, seen_at, most=most, rate=rate, delay=delay, types=caller_types(), by=by
    )


def latest(queue: TaskQueue, listing: Listing) -> list[Task]:
    """Return the latest bulk actions. Raises `QueueUnavailable`."""
    page = listing.page(TaskFilter(type=(NAME,)), LISTED)
    return [queue.get(task.id) for task in page.tasks]
