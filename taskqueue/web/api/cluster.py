"""`/queues` and `/workers`: how many tasks wait, which workers run them, and pauses of queues."""

from dataclasses import dataclass

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.control.pauses import Pauses
from taskqueue.monitor.cluster_state import ClusterState, QueueView, WorkerView
from taskqueue.web.http.endpoint import endpoint


@dataclass(frozen=True)
class QueuesJson:
    """All queues, the most important first."""

    queues: list[QueueView]


@dataclass(frozen=True)
class WorkersJson:
    """The workers, by name; a worker that was killed or cut off has the state "lost"."""

    workers: list[WorkerView]


@dataclass(frozen=True)
class PauseJson:
    """A queue, and whether it is paused."""

    name: str
    paused: bool


def views(cluster_state: ClusterState) -> Blueprint:
    """Return the views that list queues and workers."""
    blueprint = Blueprint("overview", __name__)

    @blueprint.get("/queues")
    @endpoint(
        "List the queues and their tasks by status", scope="read", answers={200: QueuesJson}, problems=(503,)
    )
    def queues() -> ResponseReturnValue:
        """`oldest_waiting_seconds` is the longest wait among the next ten tasks.

        A task that was stopped while it ran counts as failed, as in RQ.
        """
        return jsonify(QueuesJson(cluster_state.queues()))

    @blueprint.get("/workers")
    @endpoint(
        "List the workers and the tasks that they run", scope="read", answers={200: WorkersJson}, problems=(503,)
    )
    def workers() -> ResponseReturnValue:
        """The answer has at most a thousand workers, and a hundred tasks of each."""
        return jsonify(WorkersJson(cluster_state.workers()))

    return blueprint


def pause_views(pauses: Pauses) -> Blueprint:
    """Return the views that pause and resume a queue."""
    blueprint = Blueprint("pauses", __name__)

    @blueprint.post("/queues/<name>/pause")
    @endpoint(
        "Pause a queue", scope="operate", change="queue-paused", answers={200: PauseJson}, problems=(404, 503)
    )
    def pause(name: str) -> ResponseReturnValue:
        """Workers start no more tasks of this queue; tasks that run go on. New tasks are accepted and wait."""
        pauses.pause(name)
        return jsonify(PauseJson(name, paused=True))

    @blueprint.post("/queues/<name>/resume")
    @endpoint(
        "Resume a queue", scope="operate", change="queue-resumed", answers={200: PauseJson}, problems=(404, 503)
    )
    def resume(name: str) -> ResponseReturnValue:
        """Workers start tasks of this queue again, within a second."""
        pauses.resume(name)
        return jsonify(PauseJson(name, paused=False))

    return blueprint
