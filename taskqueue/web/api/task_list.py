"""`GET /tasks`: the list of tasks, newest first, in pages."""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, Field

from taskqueue.enqueue.options import Moment
from taskqueue.store.keys import Status
from taskqueue.tasks.listing import Listing, cursor, position_of
from taskqueue.tasks.query import MAX_CHARACTERS
from taskqueue.tasks.query import read_query as read_search
from taskqueue.tasks.task_filter import Summary, TaskFilter
from taskqueue.web.http.access import caller_types
from taskqueue.web.http.endpoint import Query, endpoint, read_query

MAX_PAGE = 200


@dataclass(frozen=True)
class PageJson:
    """A page of tasks, and the address of the next page; null: this is the last page."""

    tasks: list[Summary]
    next: str | None


def _cursor(value: str) -> str:
    position_of(value)
    return value


Cursor = Annotated[
    str, Field(max_length=140, json_schema_extra={"pattern": "^[0-9]{1,19}-"}), AfterValidator(_cursor)
]


def _search(text: str) -> str:
    read_search(text)  # raises QueryError, a ValueError
    return text


class ListQuery(Query):
    """Which tasks to list."""

    q: Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_search)] = ""
    """A search in words: `status:failed type:email tag:customer:4711 ran:>10s failed:today id:6f1c`."""
    status: Status | None = None
    """Only tasks of this status."""
    type: Annotated[str, Field(max_length=64)] | None = None
    """Only tasks of this type."""
    queue: Annotated[str, Field(max_length=64)] | None = None
    """Only tasks of this queue."""
    tag: Annotated[str, Field(max_length=64)] | None = None
    """Only tasks with this tag."""
    created_after: Moment | None = None
    """Only tasks that were created at this time or later."""
    created_before: Moment | None = None
    """Only tasks that were created before this time."""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    """How many tasks a page has at most."""
    cursor: Cursor | None = None
    """Where the page begins: take it from `next` of the page before."""


def views(listing: Listing) -> Blueprint:
    """Return the view of `GET /tasks`."""
    blueprint = Blueprint("listing", __name__)

    @blueprint.get("/tasks")
    @endpoint(
        "List tasks, newest first",
        scope="read",
        query=ListQuery,
        answers={200: PageJson},
        problems=(400, 503),
        by_type=True,
    )
    def tasks() -> ResponseReturnValue:
        """A page may have fewer tasks than `limit` and still a `next`: at most 2,000 tasks are read for a page."""
        asked = read_query(ListQuery)
        wanted = filter_of(asked)
        page = listing.page(
            wanted, asked.limit, position_of(asked.cursor) if asked.cursor else None, caller_types()
        )
        address = _address(cursor(page.next)) if page.next else None
        return jsonify(PageJson(page.tasks, address)), 200, {"Link": f'<{address}>; rel="next"'} if address else {}

    return blueprint


def filter_of(asked: ListQuery) -> TaskFilter:
    """Return the filter that the parameters name; a parameter counts more than the same qualifier in `q`."""
    given: dict[str, Any] = {
        "status": asked.status and (asked.status,),
        "type": asked.type and (asked.type,),
        "queue": asked.queue and (asked.queue,),
        "tag": asked.tag and (asked.tag,),
        "after": asked.created_after,
        "before": asked.created_before,
    }
    return replace(read_search(asked.q), **{name: value for name, value in given.items() if value is not None})


def _address(next_cursor: str) -> str:
    """Return the address of this request, with another cursor."""
    query = {**request.args.to_dict(), "cursor": next_cursor}
    return f"{url_for('listing.tasks')}?{urlencode(query)}"
