"""`GET /tasks`: pages of tasks, newest first."""

from typing import Annotated
from urllib.parse import urlencode

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from taskqueue.enqueue.options import Moment
from taskqueue.monitor.listing import Listing, Summary, TaskFilter, cursor, position_of
from taskqueue.store.keys import Status
from taskqueue.store.times import timestamp
from taskqueue.tasks.task_json import ProgressJson
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import Query, operation, read_query

MAX_PAGE = 200


class SummaryJson(TypedDict):
    """A task in a list: without its payload, result and tracebacks."""

    id: str
    type: str
    status: Status
    queue: str
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    attempt: int
    attempts: int
    progress: ProgressJson | None
    tags: list[str]
    worker: str | None
    failure: str | None


class PageJson(TypedDict):
    """Some tasks, and the address of the next page; null: this is the last one."""

    tasks: list[SummaryJson]
    next: str | None


def _cursor(value: str) -> str:
    position_of(value)
    return value


class ListQuery(Query):
    """Which tasks."""

    status: Status | None = None
    type: Annotated[str, Field(max_length=64)] | None = None
    queue: Annotated[str, Field(max_length=64)] | None = None
    tag: Annotated[str, Field(max_length=64)] | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, Field(max_length=140), AfterValidator(_cursor)] | None = None


def views(listing: Listing) -> Blueprint:
    """The view of `GET /tasks`."""
    blueprint = Blueprint("listing", __name__)

    @blueprint.get("/tasks")
    @operation(
        "List tasks, newest first",
        scope="read",
        query=ListQuery,
        answers={200: PageJson},
        problems=(400, 503),
        by_type=True,
    )
    def tasks() -> ResponseReturnValue:
        """A page may have fewer tasks than `limit` and still a next one: only so many are looked at for a page."""
        asked = read_query(ListQuery)
        wanted = TaskFilter(
            status=asked.status,
            type=asked.type,
            queue=asked.queue,
            tag=asked.tag,
            after=asked.created_after,
            before=asked.created_before,
        )
        page = listing.page(wanted, asked.limit, position_of(asked.cursor) if asked.cursor else None, caller_sees)
        address = _address(cursor(page.next)) if page.next else None
        answer: PageJson = {"tasks": [_summary_json(task) for task in page.tasks], "next": address}
        return jsonify(answer), 200, {"Link": f'<{address}>; rel="next"'} if address else {}

    return blueprint


def _address(next_cursor: str) -> str:
    """This address, with another cursor."""
    query = {**request.args.to_dict(), "cursor": next_cursor}
    return f"{url_for('listing.tasks')}?{urlencode(query)}"


def _summary_json(task: Summary) -> SummaryJson:
    return {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "queue": task.queue,
        "created_at": timestamp(task.created_at),
        "started_at": timestamp(task.started_at),
        "ended_at": timestamp(task.ended_at),
        "attempt": task.attempt,
        "attempts": task.attempts,
        "progress": task.progress,
        "tags": list(task.tags),
        "worker": task.worker,
        "failure": task.failure,
    }
