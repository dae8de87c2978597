"""The metrics of the whole cluster for Prometheus: queues, totals of tasks, workers, the scheduler, Redis.

They cost two to four round trips, however many tasks wait: no task is read one by one except a few at the front,
and up to 1,000 that are held by a limit.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis import Redis

from taskqueue.jobtypes.limits import held_by_queue
from taskqueue.monitor.outboxes import Outbox, read_reports
from taskqueue.store.connection import redis_errors
from taskqueue.store.hosts import SHOWN, Host, ask_for_paused, paused_hosts
from taskqueue.store.keys import (
    OUTBOXES,
    PAUSED,
    REGISTRIES,
    SUSPENDED,
    TOTALS,
    WORKERS,
    WorkerField,
    decoded,
    job_key,
    outbox_relay_key,
    queue_key,
    registry_key,
    scheduler_lock_key,
)
from taskqueue.store.liveness import lives
from taskqueue.store.server import info as redis_info
from taskqueue.telemetry.totals import read_totals
from taskqueue.telemetry.worker_metrics import exposition, gauge, tally_metrics

AT_THE_FRONT = 10  # tasks whose ages are compared: one that was put to the front is younger than those behind it
MAX_WORKERS = 10_000
WORKER_FIELDS = (
    WorkerField.HORSES, WorkerField.BUSY, "state", WorkerField.IO_SLOTS, WorkerField.IO_BUSY,
)  # fmt: skip


class PrometheusReport:
    """Reads the metrics from Redis at each scrape."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format. Raises `QueueUnavailable`."""
        with redis_errors():
            server = redis_info(self._connection, "memory", "persistence", "clients", "stats", "replication")
            info = self._connection.pipeline(transaction=False)
            info.hgetall(TOTALS)
            info.exists(SUSPENDED)
            info.hgetall(OUTBOXES)
            info.smembers(PAUSED)
            info.srandmember(WORKERS, MAX_WORKERS)
            for queue in self._queues:
                info.exists(scheduler_lock_key(queue))
                info.lrange(queue_key(queue), 0, AT_THE_FRONT - 1)
                info.llen(queue_key(queue))
                for registry in REGISTRIES.values():
                    info.zcard(registry_key(registry, queue))
            totals, suspended, outboxes, stopped, workers, *of_queues = info.execute()
            width = 3 + len(REGISTRIES)
            by_queue = [of_queues[start : start + width] for start in range(0, len(of_queues), width)]
            scheduled, fronts, *counts = zip(*by_queue, strict=True)

            more = self._connection.pipeline(transaction=False)
            for front in fronts:
                for job_id in front:
                    more.hget(job_key(job_id.decode(errors="replace")), "enqueued_at")
            reports = read_reports(outboxes)
            for name in reports:
                more.exists(outbox_relay_key(name))
            for worker in workers:
                more.ttl(worker)
                more.hmget(worker, WORKER_FIELDS)
            ask_for_paused(more)
            *of_tasks_and_workers, hosts = more.execute()
            answers = iter(of_tasks_and_workers)
            held = held_by_queue(self._connection)
        ages = [oldest_seconds([next(answers) for _ in front]) for front in fronts]
        relayed = [Outbox(name, bool(next(answers)), report) for name, report in reports.items()]
        return exposition(
            [
                *self._queue_metrics(counts, held, ages),
                *tally_metrics(read_totals(totals), "taskqueue", "of all workers"),
                *_worker_metrics(
                    [fields for ttl, fields in zip(answers, answers, strict=True) if lives(ttl, fields[0])]
                ),
                _host_metric(paused_hosts(hosts)),
                gauge("taskqueue_suspended", "Whether `rq suspend` holds all workers.", suspended),
                *_pause_metrics({decoded(name) for name in stopped}, self._queues),
                gauge("taskqueue_scheduler_alive", "Whether a worker moves what is due.", float(all(scheduled))),
                *_outbox_metrics(relayed),
                *_redis_metrics(server),
            ]
        )

    def _queue_metrics(
        self, counts: Sequence[Sequence[int]], held: Mapping[str, int], ages: Sequence[float]
    ) -> Iterator[Metric]:
        meaning = "Tasks that are kept; held: queued ones that wait for a limit."
        tasks = GaugeMetricFamily("taskqueue_tasks", meaning, labels=["queue", "status"])
        for status, by_queue in zip(("queued", *REGISTRIES), counts, strict=True):
            for queue, number in zip(self._queues, by_queue, strict=True):
                tasks.add_metric([queue, status], number)
        for queue in self._queues:
            tasks.add_metric([queue, "held"], held.get(queue, 0))
        yield tasks
        oldest = GaugeMetricFamily(
            "taskqueue_oldest_waiting_seconds",
            f"How long the oldest of the next {AT_THE_FRONT} tasks of a queue has waited.",
            labels=["queue"],
        )
        for queue, age in zip(self._queues, ages, strict=True):
            oldest.add_metric([queue], age)
        yield oldest


def _pause_metrics(stopped: set[str], queues: Sequence[str]) -> Iterator[Metric]:
    """Yield which queues and task types are paused, and of which types the limits were changed: `tq:paused`."""
    paused = GaugeMetricFamily("taskqueue_queue_paused", "Whether the queue is paused.", labels=["queue"])
    for queue in queues:
        paused.add_metric([queue], float(queue in stopped))
    yield paused
    for what, name, text in (
        ("type", "taskqueue_type_paused", "1: the task type is paused."),
        ("limits", "taskqueue_type_limits_changed", "1: the limits of the task type are not those of its code."),
    ):
        metric = GaugeMetricFamily(name, text, labels=["task_type"])
        for member in sorted(stopped):
            if member.startswith(f"{what}:"):
                metric.add_metric([member.removeprefix(f"{what}:")], 1.0)
        yield metric


def _outbox_metrics(outboxes: Sequence[Outbox]) -> Iterator[Metric]:
    relayed = GaugeMetricFamily(
        "taskqueue_outbox_relayed", "Whether a worker relays the outbox without errors.", labels=["outbox"]
    )
    waiting = GaugeMetricFamily(
        "taskqueue_outbox_waiting", "Committed tasks of the outbox that are not queued yet.", labels=["outbox"]
    )
    oldest = GaugeMetricFamily(
        "taskqueue_outbox_oldest_seconds", "How long the oldest of them has waited.", labels=["outbox"]
    )
    aside = GaugeMetricFamily(
        "taskqueue_outbox_set_aside", "Tasks of the outbox that cannot be queued.", labels=["outbox"]
    )
    for outbox in outboxes:
        report = outbox.report
        relayed.add_metric([outbox.name], float(outbox.is_relayed and not report.error))
        waiting.add_metric([outbox.name], report.waiting)
        oldest.add_metric([outbox.name], outbox.oldest_seconds(time.time()))
        aside.add_metric([outbox.name], report.set_aside)
    return iter((relayed, waiting, oldest, aside))


def oldest_seconds(enqueued: Iterable[bytes | None]) -> float:
    """Return the age in seconds of the oldest of these times; 0 where none can be read."""
    times = []
    for text in enqueued:
        try:
            times.append(datetime.fromisoformat((text or b"").decode()).timestamp())
        except ValueError:  # the job has just been claimed or deleted, or another program wrote the time
            continue
    return max(0.0, time.time() - min(times)) if times else 0.0


def _worker_metrics(workers: Sequence[Sequence[bytes | None]]) -> Iterator[Metric]:
    horses = sum(_number(count, 1) for count, *_ in workers)  # a stock worker has one, and no such field
    busy = sum(_number(count, int(state == b"busy")) for _, count, state, *_ in workers)
    yield gauge("taskqueue_workers", "Workers that live.", len(workers))
    yield gauge("taskqueue_horses", "Work-horses: how many jobs can run at the same time.", horses)
    yield gauge("taskqueue_horses_busy", "Work-horses that run a job.", busy)
    yield gauge(
        "taskqueue_io_slots",
        "How many io_bound jobs can run at the same time.",
        sum(_number(slots, 0) for *_, slots, _ in workers),
    )
    yield gauge(
        "taskqueue_io_slots_busy", "How many io_bound jobs run.", sum(_number(count, 0) for *_, count in workers)
    )
    yield gauge("taskqueue_busy_ratio", "The share of the work-horses that run a job.", busy / max(1, horses))


def _host_metric(hosts: Sequence[Host]) -> Metric:
    metric = GaugeMetricFamily(
        "taskqueue_hosts_paused", "Hosts that have just failed a task, and that no task asks now.", labels=["kind"]
    )
    for kind in SHOWN:
        metric.add_metric([kind], sum(host.kind == kind for host in hosts))
    return metric


def _number(text: bytes | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


def _redis_metrics(info: dict[str, Any]) -> Iterator[Metric]:
    if not info:  # the user may not ask for INFO
        return
    yield gauge("taskqueue_redis_memory_bytes", "Memory that Redis uses.", info["used_memory"])
    yield gauge("taskqueue_redis_memory_max_bytes", "Its limit; 0: none.", info["maxmemory"])
    yield gauge(
        "taskqueue_redis_keeps_all", "Whether it refuses what does not fit (noeviction).",
        float(info["maxmemory_policy"] == "noeviction"),
    )  # fmt: skip
    yield gauge("taskqueue_redis_append_only", "Whether it writes each change to disk.", info["aof_enabled"])
    written = info.get("aof_last_write_status", "ok"), info["rdb_last_bgsave_status"]
    yield gauge(
        "taskqueue_redis_writes_ok", "Whether its last writes to disk went well.", float(set(written) == {"ok"})
    )
    yield gauge("taskqueue_redis_last_save_timestamp_seconds", "Its last snapshot.", info["rdb_last_save_time"])
    yield gauge("taskqueue_redis_clients", "Connections to it.", info["connected_clients"])
    yield gauge("taskqueue_redis_replicas", "Replicas that follow it.", info["connected_slaves"])
    yield CounterMetricFamily("taskqueue_redis_evicted_keys", "Keys it has thrown away.", info["evicted_keys"])
