"""`GET /failures`: failed tasks by what they have in common."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.control.failed_tasks import FailedTasks, Group
from taskqueue.store.times import timestamp
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import operation


class GroupJson(TypedDict):
    """Failed tasks of one type with one kind of error; `group` is what `POST /requeue` takes."""

    group: str | None
    type: str
    error: str | None
    count: int
    first_failed_at: str | None
    last_failed_at: str | None
    examples: list[str]


class GroupsJson(TypedDict):
    """The most frequent first; `complete` is false where there are more failures than were looked at."""

    failures: list[GroupJson]
    complete: bool


def views(failed: FailedTasks) -> Blueprint:
    """The view of `/failures`."""
    blueprint = Blueprint("failures", __name__)

    @blueprint.get("/failures")
    @operation(
        "Group failed tasks by type and error",
        scope="read",
        answers={200: GroupsJson},
        problems=(503,),
        by_type=True,
    )
    def failures() -> ResponseReturnValue:
        """Of each queue the 10,000 that failed last are looked at."""
        groups, are_all = failed.groups(caller_sees)
        return jsonify({"failures": [_group_json(group) for group in groups], "complete": are_all})

    return blueprint


def _group_json(group: Group) -> GroupJson:
    return {
        "group": group.group,
        "type": group.type,
        "error": group.error,
        "count": group.count,
        "first_failed_at": timestamp(group.first),
        "last_failed_at": timestamp(group.last),
        "examples": list(group.examples),
    }
