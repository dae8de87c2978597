"""`/queues` and `/workers`: what waits, and who works."""

from dataclasses import dataclass

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.monitor.cluster_state import ClusterState, QueueView, WorkerView
from taskqueue.web.http.endpoint import operation


@dataclass(frozen=True)
class QueuesJson:
    """All queues, the most important first."""

    queues: list[QueueView]


@dataclass(frozen=True)
class WorkersJson:
    """The workers, by name; `state` is "lost" where one was killed or cut off."""

    workers: list[WorkerView]


def views(overview: ClusterState) -> Blueprint:
    """The views of `/queues` and `/workers`."""
    blueprint = Blueprint("overview", __name__)

    @blueprint.get("/queues")
    @operation("List the queues, and what waits", scope="read", answers={200: QueuesJson}, problems=(503,))
    def queues() -> ResponseReturnValue:
        """`oldest_waiting_seconds` is of the next ten. What was stopped counts as failed, as in RQ."""
        return jsonify(QueuesJson(overview.queues()))

    @blueprint.get("/workers")
    @operation("List the workers, and what they run", scope="read", answers={200: WorkersJson}, problems=(503,))
    def workers() -> ResponseReturnValue:
        """At most a thousand workers, and a hundred tasks of each."""
        return jsonify(WorkersJson(overview.workers()))

    return blueprint
