"""The state of the cluster: queues with their counts of tasks, and workers with the tasks that they run."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis
from typing_extensions import TypedDict

from taskqueue.jobtypes.limits import held_by_queue
from taskqueue.monitor.prometheus import AT_THE_FRONT, oldest_seconds
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import (
    PAUSED,
    REGISTRIES,
    WORKERS,
    WorkerField,
    job_key,
    queue_key,
    registry_key,
    worker_key,
)
from taskqueue.store.liveness import GONE, lives
from taskqueue.telemetry.series import Point, Series

WORKER_KEY = worker_key("")
LOST = "lost"
RATE_MINUTES = 5  # whose rate tells when a queue will be empty
MAX_WORKERS = 1000  # read at most
MAX_RUNNING = 100  # tasks of one worker, at most
WORKER_FIELDS = (
    WorkerField.HORSES, WorkerField.IO_SLOTS, "queues", "state", "birth", "last_heartbeat", "hostname", "pid",
    "successful_job_count", "failed_job_count", WorkerField.RELEASE, WorkerField.MEMORY,
)  # fmt: skip


class TaskCounts(TypedDict):
    """The tasks of a queue, counted by status. `held`: queued tasks that wait for a limit of their type."""

    queued: int
    held: int
    scheduled: int
    deferred: int
    processing: int
    complete: int
    failed: int
    canceled: int


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue, its counts of tasks and how many workers take tasks from it."""

    name: str
    paused: bool
    oldest_waiting_seconds: float
    workers: int  # live ones that take tasks from it
    tasks: TaskCounts
    drains_in_seconds: int | None
    """Until what waits now has begun, at the rate of the last five minutes; null: none has begun."""


@dataclass(frozen=True, kw_only=True)
class WorkerView:
    """A worker that Redis has not forgotten, and the tasks that it runs."""

    name: str
    state: str  # "busy", "idle", "suspended", …; "lost": see taskqueue/store/liveness.py
    queues: tuple[str, ...]
    host: str | None
    pid: int | None
    started_at: datetime | None
    last_heartbeat: datetime | None
    horses: int  # how many tasks it can run at a time, each in a process of its own
    io_slots: int  # how many io_bound tasks it can run besides, in one process
    tasks: tuple[str, ...]  # the ids of the tasks that it runs
    runs_finished: int  # since its start
    runs_failed: int
    release: str | None
    """RELEASE of its environment."""
    memory_bytes: int | None
    """Of all its processes; what they share counts once."""


class ClusterState:
    """Reads queues and workers, in a few round trips to Redis."""

    def __init__(self, connection: Redis, queues: Sequence[str], series: Series | None = None) -> None:
        self._connection = connection
        self._queues = queues
        self._series = series or Series(connection)

    def queues(self) -> list[QueueView]:
        """Return all queues, the most important first. Raises `QueueUnavailable`."""
        workers = self.workers()
        begun = self._series.read("hour")
        with redis_errors():
            with self._connection.pipeline(transaction=False) as pipeline:
                pipeline.smembers(PAUSED)
                for queue in self._queues:
                    pipeline.lrange(queue_key(queue), 0, AT_THE_FRONT - 1)
                    pipeline.llen(queue_key(queue))
                    for registry in REGISTRIES.values():
                        pipeline.zcard(registry_key(registry, queue))
                paused, *answers = pipeline.execute()
            width = 2 + len(REGISTRIES)
            rows = [answers[start : start + width] for start in range(0, len(answers), width)]
            ages = self._ages([front for front, *_ in rows])
            held = held_by_queue(self._connection)
        return [
            QueueView(
                name=queue,
                paused=queue.encode() in paused,
                oldest_waiting_seconds=round(age, 3),
                workers=sum(queue in worker.queues for worker in workers if worker.state != LOST),
                drains_in_seconds=_drains_in_seconds(counts[0], begun.points(queue=queue)),
                tasks=cast(
                    "TaskCounts",
                    dict(zip(("queued", "held", *REGISTRIES), (counts[0], held[queue], *counts[1:]), strict=True)),
                ),
            )
            for queue, (_, *counts), age in zip(self._queues, rows, ages, strict=True)
        ]

    def _ages(self, fronts: Sequence[Sequence[bytes]]) -> list[float]:
        with self._connection.pipeline(transaction=False) as pipeline:
            for front in fronts:
                for job_id in front:
                    pipeline.hget(job_key(job_id.decode(errors="replace")), "enqueued_at")
            answers = iter(pipeline.execute(raise_on_error=False))
        return [oldest_seconds([next(answers) for _ in front]) for front in fronts]

    def workers(self) -> list[WorkerView]:
        """Return the workers that Redis has not forgotten, by name. Raises `QueueUnavailable`."""
        with redis_errors():
            keys: Any = self._connection.srandmember(WORKERS, MAX_WORKERS)
            workers = self._workers(key.decode().removeprefix(WORKER_KEY) for key in keys)
            return sorted(workers, key=lambda worker: worker.name)

    def worker(self, name: str) -> WorkerView | None:
        """Return the worker of this name; None: Redis has forgotten it. Raises `QueueUnavailable`."""
        with redis_errors():
            return next(self._workers([name]), None)

    def _workers(self, names: Iterable[str]) -> Iterator[WorkerView]:
        names = list(names)
        with self._connection.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.ttl(WORKER_KEY + name)
                pipeline.hmget(WORKER_KEY + name, WORKER_FIELDS)
                pipeline.srandmember(f"{WORKER_KEY}{name}:executions", MAX_RUNNING)
            answers = iter(pipeline.execute())
        for name, ttl, values, executions in zip(names, answers, answers, answers, strict=True):
            if ttl != GONE:
                yield _worker(name, ttl, values, executions)


def _worker(name: str, ttl: int, values: Sequence[bytes | None], executions: Sequence[bytes]) -> WorkerView:
    texts = [value.decode(errors="replace") if value else None for value in values]
    horses, io_slots, queues, state, birth, heartbeat, host, pid, finished, failed, release, memory = texts
    return WorkerView(
        name=name,
        state=(state or "?") if lives(ttl, values[0]) else LOST,
        queues=tuple((queues or "").split(",")),
        host=host,
        pid=_number(pid) if pid else None,
        started_at=_time(birth),
        last_heartbeat=_time(heartbeat),
        horses=_number(horses, 1),  # a stock worker has one work-horse, and no such field
        io_slots=_number(io_slots),
        # RQ and this library write entries as <job>:<execution>.
        tasks=tuple(sorted(member.decode(errors="replace").rpartition(":")[0] for member in executions)),
        runs_finished=_number(finished),
        runs_failed=_number(failed),
        release=release,
        memory_bytes=_number(memory) if memory else None,
    )


def _drains_in_seconds(waiting: int, points: Sequence[Point]) -> int | None:
    """Return how long it takes until so many tasks have begun, at the latest rate; None: at none."""
    if not waiting:
        return 0
    *earlier, present = points
    minutes = [point.begun for point in earlier[-RATE_MINUTES:]]
    while minutes and not minutes[0]:  # it has begun to work in this time
        minutes.pop(0)
    begun, seconds = sum(minutes) + present.begun, 60.0 * len(minutes)
    seconds += max(1.0, (datetime.now(UTC) - present.at).total_seconds())
    return round(waiting * seconds / begun) if begun else None


def _number(text: str | None, default: int = 0) -> int:
    return int(text) if text and text.isdigit() else default


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:  # another program has written it
        return None
