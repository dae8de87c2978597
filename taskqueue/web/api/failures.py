"""`GET /failures`: failed tasks by what they have in common."""

from dataclasses import dataclass

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.control.failed_tasks import FailedTasks, Group
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import endpoint


@dataclass(frozen=True)
class GroupsJson:
    """The most frequent first; `complete` is false where there are more failures than were looked at."""

    failures: list[Group]
    complete: bool


def views(failed: FailedTasks) -> Blueprint:
    """The view of `/failures`."""
    blueprint = Blueprint("failures", __name__)

    @blueprint.get("/failures")
    @endpoint(
        "Group failed tasks by type and error",
        scope="read",
        answers={200: GroupsJson},
        problems=(503,),
        by_type=True,
    )
    def failures() -> ResponseReturnValue:
        """Of each queue the 10,000 that failed last are looked at."""
        return jsonify(GroupsJson(*failed.groups(caller_sees)))

    return blueprint
