"""`/metrics`: the metrics of the whole system, for Prometheus. Each worker serves its own on WORKER_PORT."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST

from taskqueue.monitor.prometheus import PrometheusReport
from taskqueue.web.http.endpoint import endpoint


def views(report: PrometheusReport) -> Blueprint:
    """Return the view that Prometheus reads."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    @endpoint("Get metrics for Prometheus", scope="read", answers={200: "text/plain"}, problems=(503,))
    def metrics() -> ResponseReturnValue:
        return Response(report.metrics(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
