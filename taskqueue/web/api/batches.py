"""`/tasks/bulk` and `/batches`: many tasks at once, and how they go together."""

import time
from collections.abc import Iterable, Iterator
from typing import NotRequired

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import Json as JsonText
from typing_extensions import TypedDict

from taskqueue.enqueue.batch import Batch, Batches
from taskqueue.enqueue.batch_draft import Queued, Refused
from taskqueue.enqueue.options import BulkTask, TaskSpec
from taskqueue.jobtypes.signature import Json
from taskqueue.monitor.finding import Finding
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.settings import MIB, Settings
from taskqueue.store.keys import Status
from taskqueue.store.times import timestamp
from taskqueue.web.api.submit import WarningJson, warnings_json
from taskqueue.web.http.access import caller, check_may_submit
from taskqueue.web.http.endpoint import Query, operation, read_query
from taskqueue.web.http.idempotency import HashedBody
from taskqueue.web.http.json_stream import JsonStream
from taskqueue.web.http.problems import BadRequest

MAX_BULK_BYTES = 32 * MIB
ITEMS_AT_A_TIME = 50  # a few milliseconds
OPTIONS_CHARACTERS = 16 * 1024  # what an item has besides its payload
JSON_TYPES = {"application/json", "application/x-ndjson", "application/ndjson", "application/jsonl"}


class ItemErrorJson(TypedDict):
    """What is wrong with a task: `pointer` is a JSON Pointer into it."""

    pointer: str
    message: str


class ResultJson(TypedDict):
    """What became of one task: its id, or what is wrong with it."""

    id: NotRequired[str]
    errors: NotRequired[list[ItemErrorJson]]


class BulkJson(TypedDict):
    """The tasks that were queued, in the order in which they were sent."""

    batch: str
    queued: int
    refused: int
    on_complete: str | None
    results: list[ResultJson]
    warnings: list[WarningJson]


class BatchJson(TypedDict):
    """How the tasks of a batch go."""

    id: str
    created_at: str | None
    ended_at: str | None
    total: int
    ended: int
    progress: float
    counts: dict[Status, int]
    forgotten: int
    on_complete: str | None


class BulkQuery(Query):
    """`on_complete` is JSON: a task to run when all have ended."""

    atomic: bool = True
    on_complete: JsonText[TaskSpec] | None = None


def views(batches: Batches, settings: Settings, queue_warnings: QueueWarnings) -> Blueprint:
    """The views of `/tasks/bulk` and `/batches`."""
    blueprint = Blueprint("batches", __name__)

    @blueprint.post("/tasks/bulk")
    @operation(
        "Queue many tasks at once",
        scope="submit",
        query=BulkQuery,
        body=list[BulkTask],
        headers={"Idempotency-Key": "The same key with the same request again: the same answer, one batch."},
        answers={202: BulkJson},
        problems=(400, 403, 409, 413, 415, 422, 503),
        by_type=True,
    )
    def submit() -> ResponseReturnValue:
        """The body is a JSON array of tasks, or one task a line (NDJSON): up to 10,000, or 32 MiB."""
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
        warnings = dict.fromkeys(one for queue in sorted(queued.queues) for one in queue_warnings.of(queue))
        return jsonify(_bulk_json(queued, warnings)), 202, headers

    @blueprint.get("/batches/<batch_id>")
    @operation("Ask how a batch goes", scope="read", answers={200: BatchJson}, problems=(404, 503), by_type=True)
    def get(batch_id: str) -> ResponseReturnValue:
        """Its tasks, counted by status, now."""
        return jsonify(_batch_json(batches.get(batch_id)))

    return blueprint


def _body() -> HashedBody:
    if request.mimetype not in JSON_TYPES:
        raise BadRequest(
            415,
            "not-json",
            "The body must be sent as JSON",
            f"Its Content-Type is {request.mimetype or 'missing'!r}; send 'Content-Type: application/json' for an"
            " array, or 'application/x-ndjson' for a task a line.",
        )
    request.max_content_length = MAX_BULK_BYTES
    return HashedBody()


def _allowed(items: Iterable[Json]) -> Iterator[Json]:
    key = caller()
    for place, item in enumerate(items):
        if place % ITEMS_AT_A_TIME == 0:
            time.sleep(0)  # a greenlet that does not wait leaves no turn to the others
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


def _batch_json(batch: Batch) -> BatchJson:
    return {
        "id": batch.id,
        "created_at": timestamp(batch.created_at),
        "ended_at": timestamp(batch.ended_at),
        "total": batch.total,
        "ended": batch.ended,
        "progress": round(batch.ended / max(batch.total, 1), 4),
        "counts": batch.counts,
        "forgotten": batch.forgotten,
        "on_complete": batch.on_complete,
    }
