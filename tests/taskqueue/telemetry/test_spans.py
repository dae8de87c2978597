"""OpenTelemetry spans, as a collector gets them."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from taskqueue.telemetry import spans
from taskqueue.telemetry.trace import Trace, current_trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENTS_SPAN = "00f067aa0ba902b7"


@pytest.fixture
def collected(env: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A collector (OTLP over HTTP): the spans that it has received."""
    found: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            found.extend(span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    env.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    spans._provider.cache_clear()
    yield found
    spans._provider().shutdown()
    spans._provider.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()


def test_request_enqueue_and_run_are_one_trace(
    collected: list[Any], client: FlaskClient, work: Callable[..., str]
) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{CLIENTS_SPAN}-01"}
    assert client.post("/tasks?task_type=generic", json={}, headers=headers).status_code == 202
    spans.flush()
    work()
    by_name = {span.name: span for span in collected}
    assert set(by_name) == {"POST /tasks", "enqueue generic", "run generic"}
    assert {span.trace_id.hex() for span in collected} == {TRACE_ID}
    assert by_name["POST /tasks"].parent_span_id.hex() == CLIENTS_SPAN
    assert by_name["enqueue generic"].parent_span_id == by_name["POST /tasks"].span_id
    assert by_name["run generic"].parent_span_id == by_name["enqueue generic"].span_id


def test_without_an_endpoint_a_trace_is_handed_on_as_it_came(env: pytest.MonkeyPatch) -> None:
    env.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    spans._provider.cache_clear()
    came = Trace("r-1", f"00-{TRACE_ID}-{CLIENTS_SPAN}-01")
    token = current_trace.set(came)
    with spans.span("run generic", "CONSUMER", {}):
        assert current_trace.get() == came
    current_trace.reset(token)
