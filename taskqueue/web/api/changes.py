"""`GET /changes`: who changed what, and when."""

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from taskqueue.telemetry.changes import Change, Changes
from taskqueue.web.http.access import caller
from taskqueue.web.http.endpoint import Query, endpoint, read_query


class ChangesQuery(Query):
    """Which page of the record."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """How many changes to answer, at most."""
    below: Annotated[str, Field(pattern=r"^\d{1,16}-\d{1,16}$")] | None = None
    """`next` of the page before."""


@dataclass(frozen=True)
class ChangesJson:
    """A page of changes, latest first; `next` is null on the last page."""

    changes: list[Change]
    next: str | None


def views(changes: Changes) -> Blueprint:
    """Return the view of `/changes`."""
    blueprint = Blueprint("changes", __name__)

    @blueprint.get("/changes")
    @endpoint(
        "List who changed what", scope="read", query=ChangesQuery, answers={200: ChangesJson}, problems=(400, 503),
        by_type=True,
    )  # fmt: skip
    def list_changes() -> ResponseReturnValue:
        """The record has the latest 10,000 changes: pauses, cancels, requeues, schedules, workers, releases.

        A key that is limited to task types sees the changes of single tasks and schedules of these types.
        """
        asked = read_query(ChangesQuery)
        key = caller()
        sees = key.sees if key and key.job_types is not None else None
        return jsonify(ChangesJson(*changes.page(asked.limit, asked.below, sees)))

    return blueprint
