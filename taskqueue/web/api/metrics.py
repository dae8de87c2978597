"""`/metrics`: what Prometheus reads of the whole system. Each worker serves its own (WORKER_PORT)."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST

from taskqueue.monitor.prometheus import PrometheusReport
from taskqueue.web.http.endpoint import endpoint


def views(fleet: PrometheusReport) -> Blueprint:
    """The view that Prometheus asks."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @endpoint("Numbers for Prometheus", scope="read", answers={200: "text/plain"}, problems=(503,))
    def metrics() -> ResponseReturnValue:
        return Response(fleet.metrics(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
