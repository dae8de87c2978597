"""Health: alive (`/healthz`), able to take work (`/readyz`), and Redis (`/health`)."""

from typing import Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.monitor.health import Probe
from taskqueue.web.http.endpoint import endpoint


class HealthJson(TypedDict):
    """All is well; whatever is not is a problem document."""

    status: Literal["ok"]


def views(probe: Probe) -> Blueprint:
    """The views that health checks ask."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @endpoint("Is this process alive?", scope=None, answers={200: HealthJson})
    def alive() -> ResponseReturnValue:
        # Never asks Redis: a restart of the web server would not bring Redis back.
        return jsonify({"status": "ok"})

    @blueprint.get("/health")
    @endpoint("Does Redis answer?", scope=None, answers={200: HealthJson}, problems=(503,))
    def health() -> ResponseReturnValue:
        probe.check_answers()
        return jsonify({"status": "ok"})

    @blueprint.get("/readyz")
    @endpoint("Could a task be queued now?", scope=None, answers={200: HealthJson}, problems=(503,))
    def ready() -> ResponseReturnValue:
        probe.check_takes_work()
        return jsonify({"status": "ok"})

    return blueprint
