"""`/queues/<name>/pause` and `/resume`: hold the jobs of one queue back."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.control.pauses import Pauses
from taskqueue.web.http.endpoint import operation


class PauseJson(TypedDict):
    """Whether the jobs of a queue are held back."""

    name: str
    paused: bool


def views(pauses: Pauses) -> Blueprint:
    """The views that pause and resume queues."""
    blueprint = Blueprint("pauses", __name__)

    @blueprint.post("/queues/<name>/pause")
    @operation("Pause a queue", scope="operate", answers={200: PauseJson}, problems=(404, 503))
    def pause(name: str) -> ResponseReturnValue:
        """No job of it is begun from now on; what runs goes on. Tasks can still be sent: they wait."""
        pauses.pause(name)
        return jsonify(PauseJson(name=name, paused=True))

    @blueprint.post("/queues/<name>/resume")
    @operation("Resume a queue", scope="operate", answers={200: PauseJson}, problems=(404, 503))
    def resume(name: str) -> ResponseReturnValue:
        """Its jobs are begun again, within a second."""
        pauses.resume(name)
        return jsonify(PauseJson(name=name, paused=False))

    return blueprint
