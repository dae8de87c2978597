"""`/tasks/<id>/parents`: the tasks that a task waits for, with their results."""

from typing import Annotated

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from redis import Redis
from typing_extensions import TypedDict

from taskqueue.enqueue.batch_draft import MAX_TASKS
from taskqueue.run.parents import PAGE, ParentIds, read_tasks
from taskqueue.tasks.parent_json import ParentJson, parent_json
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import Query, endpoint, read_query


class ParentsJson(TypedDict):
    """A page of parents, and the address of the next page; null: this is the last page."""

    parents: list[ParentJson]
    next: str | None


class ParentsQuery(Query):
    """Which parents to list."""

    limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE
    """How many parents a page has at most."""
    first: Annotated[int, Field(ge=0, le=MAX_TASKS)] = 0
    """Where the page begins: take it from `next` of the page before."""


def views(connection: Redis) -> Blueprint:
    """Return the view of a task's parents."""
    blueprint = Blueprint("parents", __name__)

    @blueprint.get("/tasks/<task_id>/parents")
    @endpoint(
        "List the tasks that a task waits for",
        scope="read",
        query=ParentsQuery,
        answers={200: ParentsJson},
        problems=(400, 404, 503),
    )
    def parents(task_id: str) -> ResponseReturnValue:
        """The tasks in its `depends_on`, or those of its batch, in their order, with their results."""
        asked = read_query(ParentsQuery)
        # One more than the page: whether there is a next page.
        ids = ParentIds(connection, task_id).page(asked.first, asked.limit + 1)
        page = ids[: asked.limit]
        tasks = dict(zip(page, read_tasks(connection, page), strict=True))
        seen = [parent_id for parent_id, task in tasks.items() if task is None or caller_sees(task.type)]
        after = url_for("parents.parents", task_id=task_id, limit=asked.limit, first=asked.first + asked.limit)
        answer = ParentsJson(
            parents=[parent_json(parent_id, tasks[parent_id]) for parent_id in seen],
            next=after if len(ids) > asked.limit else None,
        )
        return jsonify(answer), 200, {"Link": f'<{answer["next"]}>; rel="next"'} if answer["next"] else {}

    return blueprint
