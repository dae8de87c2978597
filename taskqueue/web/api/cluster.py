"""`/queues` and `/workers`: what waits, and who works."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.monitor.cluster_state import ClusterState, QueueView, WorkerView
from taskqueue.store.times import timestamp
from taskqueue.web.http.endpoint import operation


class CountsJson(TypedDict):
    """Tasks of a queue by their status."""

    queued: int
    scheduled: int
    deferred: int
    processing: int
    complete: int
    failed: int
    canceled: int


class QueueJson(TypedDict):
    """A queue, what waits in it, and how many workers work on it."""

    name: str
    paused: bool
    oldest_waiting_seconds: float
    workers: int
    tasks: CountsJson


class QueuesJson(TypedDict):
    """All queues, the most important first."""

    queues: list[QueueJson]


class WorkerJson(TypedDict):
    """A worker, and the ids of the tasks that it runs."""

    name: str
    state: str
    queues: list[str]
    host: str | None
    pid: int | None
    started_at: str | None
    last_heartbeat: str | None
    horses: int
    tasks: list[str]
    runs_finished: int
    runs_failed: int


class WorkersJson(TypedDict):
    """The workers, by name; `state` is "lost" where one was killed or cut off."""

    workers: list[WorkerJson]


def views(overview: ClusterState) -> Blueprint:
    """The views of `/queues` and `/workers`."""
    blueprint = Blueprint("overview", __name__)

    @blueprint.get("/queues")
    @operation("List the queues, and what waits", scope="read", answers={200: QueuesJson}, problems=(503,))
    def queues() -> ResponseReturnValue:
        """`oldest_waiting_seconds` is of the next ten. What was stopped counts as failed, as in RQ."""
        return jsonify({"queues": [_queue_json(queue) for queue in overview.queues()]})

    @blueprint.get("/workers")
    @operation("List the workers, and what they run", scope="read", answers={200: WorkersJson}, problems=(503,))
    def workers() -> ResponseReturnValue:
        """At most a thousand workers, and a hundred tasks of each."""
        return jsonify({"workers": [_worker_json(worker) for worker in overview.workers()]})

    return blueprint


def _queue_json(queue: QueueView) -> QueueJson:
    return {
        "name": queue.name,
        "paused": queue.paused,
        "oldest_waiting_seconds": queue.oldest_waiting_seconds,
        "workers": queue.workers,
        "tasks": {
            "queued": queue.counts["queued"],
            "scheduled": queue.counts["scheduled"],
            "deferred": queue.counts["deferred"],
            "processing": queue.counts["processing"],
            "complete": queue.counts["complete"],
            "failed": queue.counts["failed"],
            "canceled": queue.counts["canceled"],
        },
    }


def _worker_json(worker: WorkerView) -> WorkerJson:
    return {
        "name": worker.name,
        "state": worker.state,
        "queues": list(worker.queues),
        "host": worker.host,
        "pid": worker.pid,
        "started_at": timestamp(worker.started_at),
        "last_heartbeat": timestamp(worker.last_heartbeat),
        "horses": worker.horses,
        "tasks": list(worker.tasks),
        "runs_finished": worker.runs_finished,
        "runs_failed": worker.runs_failed,
    }
