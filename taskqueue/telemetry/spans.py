"""Makes OpenTelemetry spans of request, enqueue and run: one trace, which begins at the client's `traceparent`.

Only if OTEL_EXPORTER_OTLP_ENDPOINT names a collector and the extra `otel` is installed; else `span` does nothing.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal

from taskqueue.telemetry.trace import Trace, current_trace

log = logging.getLogger(__name__)

NO_SPAN = nullcontext()
Kind = Literal["SERVER", "PRODUCER", "CONSUMER"]


@cache  # made at the first span of a process, because the thread that sends spans does not outlive a fork
def _provider() -> Any:
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but no spans are sent (%s): install the extra `otel`", error
        )
        return None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def are_sent() -> bool:
    """Return whether this process sends spans."""
    return _provider() is not None


def span(name: str, kind: Kind, attributes: Mapping[str, str | int]) -> AbstractContextManager[None]:
    """Return a context manager for a span, a child of the current trace and itself the current trace meanwhile."""
    provider = _provider()
    return NO_SPAN if provider is None else _span(provider, name, kind, attributes)


@contextmanager
def _span(provider: Any, name: str, kind: Kind, attributes: Mapping[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    before = current_trace.get()
    parent = propagator.extract({"traceparent": before.traceparent} if before and before.traceparent else {})
    tracer = provider.get_tracer("taskqueue")
    with tracer.start_as_current_span(name, parent, SpanKind[kind], attributes):
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        token = current_trace.set(Trace(before.request_id if before else "", carrier["traceparent"]))
        try:
            yield
        finally:
            current_trace.reset(token)


def attribute(name: str, value: str | int) -> None:
    """Add an attribute to the span that this code runs in."""
    if _provider() is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attribute(name, value)


def flush() -> None:
    """Send the spans that wait, before a process ends by `os._exit`."""
    if _provider.cache_info().currsize and (provider := _provider()) is not None:
        provider.force_flush()
