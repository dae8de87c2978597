"""`GET /failures`: failed tasks, grouped by type and error."""

from dataclasses import dataclass

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.control.failed_tasks import FailedTasks, Group
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.endpoint import endpoint


@dataclass(frozen=True)
class GroupsJson:
    """The largest group comes first; `complete` is false if there are more failures than were read."""

    failures: list[Group]
    complete: bool


def views(failed: FailedTasks) -> Blueprint:
    """Return the view of `/failures`."""
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
        """The groups are made of the 10,000 tasks of each queue that failed last."""
        return jsonify(GroupsJson(*failed.groups(caller_sees)))

    return blueprint
