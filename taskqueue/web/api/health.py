"""Health checks: the process (`/healthz`), Redis (`/health`), and whether a task could be queued (`/readyz`)."""

from typing import Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.monitor.health import Probe
from taskqueue.web.http.endpoint import endpoint


class HealthJson(TypedDict):
    """The check has passed; a check that fails is a problem document."""

    status: Literal["ok"]


def views(probe: Probe) -> Blueprint:
    """Return the views of the health checks."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @endpoint("Check that this process is alive", scope=None, answers={200: HealthJson})
    def alive() -> ResponseReturnValue:
        # Redis is not asked: a restart of the web server would not bring Redis back.
        return jsonify({"status": "ok"})

    @blueprint.get("/health")
    @endpoint("Check that Redis answers", scope=None, answers={200: HealthJson}, problems=(503,))
    def health() -> ResponseReturnValue:
        probe.check_answers()
        return jsonify({"status": "ok"})

    @blueprint.get("/readyz")
    @endpoint("Check that a task could be queued now", scope=None, answers={200: HealthJson}, problems=(503,))
    def ready() -> ResponseReturnValue:
        probe.check_takes_work()
        return jsonify({"status": "ok"})

    return blueprint
