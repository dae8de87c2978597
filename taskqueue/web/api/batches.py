"""`/tasks/bulk` and `/batches`: queue many tasks at once, and follow them together."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, NotRequired

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from pydantic import Json as JsonText
from typing_extensions import TypedDict

from taskqueue.enqueue.batch import Batch, Batches
from taskqueue.enqueue.batch_draft import MAX_TASKS, Queued, Refused
from taskqueue.enqueue.options import BulkTask, TaskSpec
from taskqueue.jobtypes.signature import Json
from taskqueue.monitor.finding import Finding
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.settings import MIB, Settings
from taskqueue.web.api.submit import WarningJson, warnings_json
from taskqueue.web.http.access import caller, check_may_submit
from taskqueue.web.http.body import HashedBody, limit_body, not_json
from taskqueue.web.http.endpoint import Query, endpoint, read_query
from taskqueue.web.http.json_stream import JsonStream
from taskqueue.web.http.turns import Turns

LISTED = 20
MAX_BULK_BYTES = 32 * MIB
OPTIONS_CHARACTERS = 16 * 1024  # allowed for an item's options, besides its payload
JSON_TYPES = {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"}


class ItemErrorJson(TypedDict):
    """An error of a task: `pointer` is a JSON Pointer into the task."""

    pointer: str
    message: str


class ResultJson(TypedDict):
    """The result for one task: its id, or its errors."""

    id: NotRequired[str]
    errors: NotRequired[list[ItemErrorJson]]


class BulkJson(TypedDict):
    """A batch that was queued; `results` are in the order in which the tasks were sent."""

    batch: str
    queued: int
    refused: int
    on_complete: str | None
    results: list[ResultJson]
    warnings: list[WarningJson]


BulkTasks = Annotated[list[BulkTask], Field(min_length=1, max_length=MAX_TASKS)]
"""The body of `POST /tasks/bulk`, in the API document: each task is validated by itself."""


class BulkQuery(Query):
    """How the tasks are queued."""

    atomic: bool = True
    """`true`: one task that cannot be queued keeps all others from being queued; `false`: it does not."""
    on_complete: JsonText[TaskSpec | None] | None = None
    """One more task, as JSON, which runs when all others have ended; `null`: none."""


@dataclass(frozen=True)
class BatchesJson:
    """Batches, the latest first."""

    batches: list[Batch]


def views(batches: Batches, settings: Settings, queue_warnings: QueueWarnings) -> Blueprint:
    """Return the views of `/tasks/bulk` and `/batches`."""
    blueprint = Blueprint("batches", __name__)

    @blueprint.post("/tasks/bulk")
    @endpoint(
        "Queue many tasks at once",
        scope="submit",
        query=BulkQuery,
        body=BulkTasks,
        headers={
            "Idempotency-Key": "The same request with the same key makes one batch, and gets the same answer."
        },
        answers={202: BulkJson},
        problems=(400, 403, 409, 413, 415, 422, 503),
        by_type=True,
    )
    def submit() -> ResponseReturnValue:
        """The body is a JSON array of tasks, or has one task a line (NDJSON): at most 10,000 tasks and 32 MiB."""
        asked = read_query(BulkQuery)
        body = _body()
        items = JsonStream(body.read, settings.max_payload_bytes + OPTIONS_CHARACTERS)
        if asked.on_complete:
            check_may_submit(asked.on_complete.task_type)
        prepared = batches.prepare(_allowed(items), on_complete=asked.on_complete)
        queued = batches.submit(prepared, atomic=asked.atomic, idempotency=body.idempotency_key())
        headers = {"Location": url_for("batches.get", batch_id=queued.batch_id)}
        if queued.repeated:
            headers["Idempotency-Replayed"] = "true"
        warnings = dict.fromkeys(each for queue in sorted(queued.queues) for each in queue_warnings.of(queue))
        return jsonify(_bulk_json(queued, warnings)), 202, headers

    @blueprint.get("/batches")
    @endpoint("List the batches", scope="read", answers={200: BatchesJson}, problems=(503,))
    def latest() -> ResponseReturnValue:
        """The latest 20, as long as they are kept."""
        return jsonify(BatchesJson(batches.latest(LISTED)))

    @blueprint.get("/batches/<batch_id>")
    @endpoint("Get a batch", scope="read", answers={200: Batch}, problems=(404, 503), by_type=True)
    def get(batch_id: str) -> ResponseReturnValue:
        """The answer counts the tasks of the batch by status."""
        return jsonify(batches.get(batch_id))

    return blueprint


def _body() -> HashedBody:
    if request.mimetype not in JSON_TYPES:
        raise not_json(
            "send 'Content-Type: application/json' for an array, or 'application/x-ndjson' for a task a line."
        )
    limit_body(MAX_BULK_BYTES)
    return HashedBody()


def _allowed(items: Iterable[Json]) -> Iterator[Json]:
    key = caller()
    turns = Turns()
    for item in items:
        turns.give_way()
        if key is not None:
            check_may_submit(str(item.get("task_type", "")) if isinstance(item, dict) else None)
        yield item


def _bulk_json(queued: Queued, warnings: Iterable[Finding]) -> BulkJson:
    results = [_result_json(result) for result in queued.results]
    refused = sum("errors" in result for result in results)
    return {
        "batch": queued.batch_id,
        "queued": len(results) - refused,
        "refused": refused,
        "on_complete": queued.on_complete,
        "results": results,
        "warnings": warnings_json(warnings),
    }


def _result_json(result: str | Refused) -> ResultJson:
    if isinstance(result, str):
        return {"id": result}
    return {"errors": [{"pointer": error.pointer, "message": error.message} for error in result.errors]}
