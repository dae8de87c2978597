"""Health: alive (`/healthz`), able to take work (`/readyz`), and Redis (`/health`)."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.health import Probe


def views(probe: Probe) -> Blueprint:
    """The views that health checks ask."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def alive() -> ResponseReturnValue:
        # Never asks Redis: a restart of the web server would not bring Redis back.
        return jsonify({"status": "ok"})

    @blueprint.get("/health")
    def health() -> ResponseReturnValue:
        probe.check_answers()
        return jsonify({"status": "ok"})

    @blueprint.get("/readyz")
    def ready() -> ResponseReturnValue:
        probe.check_takes_work()
        return jsonify({"status": "ok"})

    return blueprint
