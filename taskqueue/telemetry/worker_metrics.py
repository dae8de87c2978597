"""Metrics for Prometheus: those of one worker, and the families that the web server shows for all workers."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskqueue.telemetry.counters import SECONDS, Histogram, Tally
from taskqueue.telemetry.report import Report

OUTCOMES = {
    "finished": "complete",
    "failed": "failed",
    "retried": "retried",
    "stopped": "canceled",
    "returned": "returned",
}
"""How an attempt ended, in the words of the HTTP API; "returned": put back because its worker stopped."""


def worker_metrics(report: Report, silent_seconds: float) -> bytes:
    """Return one worker's metrics in Prometheus's text format."""
    tally = Tally()
    tally.merge(report.tally)
    return exposition(
        [
            gauge("taskqueue_worker_ready", "Whether the worker claims jobs.", float(not report.unready)),
            gauge("taskqueue_worker_horses", "The worker's work-horses.", report.horses),
            gauge("taskqueue_worker_horses_busy", "The worker's work-horses that run a job.", report.busy),
            gauge("taskqueue_worker_io_slots", "How many jobs its I/O process can run at once.", report.io_slots),
            gauge("taskqueue_worker_io_slots_busy", "How many jobs its I/O process runs.", report.io_busy),
            gauge(
                "taskqueue_worker_scheduler", "Whether it queues what is due, for all.", float(report.schedules)
            ),
            gauge(
                "taskqueue_worker_loop_silent_seconds",
                "Seconds since the worker's loop was running.",
                silent_seconds,
            ),
            *tally_metrics(tally, "taskqueue_worker", "of this worker since its start"),
        ]
    )


def tally_metrics(tally: Tally, prefix: str, whose: str) -> Iterator[Metric]:
    """Return the counters and histograms of a tally, by job type; `whose` ends their help texts."""
    attempts = CounterMetricFamily(
        f"{prefix}_attempts", f"Attempts that ended, {whose}.", labels=["type", "outcome"]
    )
    runs = HistogramMetricFamily(f"{prefix}_attempt_seconds", f"How long attempts ran, {whose}.", labels=["type"])
    waits = HistogramMetricFamily(
        f"{prefix}_wait_seconds",
        f"How long jobs waited in a queue until they were claimed, {whose}.",
        labels=["type"],
    )
    for job_type, counts in sorted(tally.by_type.items()):
        for kind, outcome in OUTCOMES.items():
            attempts.add_metric([job_type, outcome], counts.outcomes[kind])
        _add(runs, job_type, counts.runs)
        _add(waits, job_type, counts.waits)
    return iter((attempts, runs, waits))


def _add(family: HistogramMetricFamily, job_type: str, histogram: Histogram) -> None:
    total = 0
    buckets = []
    for end, count in zip((*map(str, SECONDS), "+Inf"), histogram.buckets, strict=True):
        total += count
        buckets.append((end, total))
    family.add_metric([job_type], buckets, histogram.seconds)


def gauge(name: str, meaning: str, value: float) -> Metric:
    """Return a metric of one number that goes up and down."""
    return GaugeMetricFamily(name, meaning, value)


def exposition(families: Iterable[Metric]) -> bytes:
    """Return metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
