"""The counts of the last hours by minute, and of the last weeks by hour: tasks submitted, begun and ended.

Each worker adds its counts to the hash of the present minute every few seconds, after its totals; enqueue.lua
counts submissions. The scheduling worker adds each minute that is over to its hour (roll_up_minutes.lua). A field
is <type>:<queue>:<what>, and <what> one of EVENTS, or "wait_ms" or "run_ms": the sums of all waits and runs.

These are statistics: if the answer to an addition is lost, it may be made twice.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Literal, cast

from redis import Redis

from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import ROLLED_UP, decoded, hour_key, minute_key
from taskqueue.store.transaction import packed

MINUTE, HOUR = 60, 3600  # seconds
MINUTES_KEPT_SECONDS = 6 * HOUR
HOURS_KEPT_SECONDS = 5 * 7 * 24 * HOUR
SETTLED_SECONDS = 120  # after so long nothing more is added to a minute or, with its roll-up, to an hour

EVENTS = ("submitted", "begun", "finished", "failed", "retried", "stopped", "returned")
Counts = dict[tuple[str, str], Counter[str]]  # by job type and queue: how often each event happened
Span = Literal["hour", "day", "week"]
STEPS: dict[Span, tuple[int, int]] = {"hour": (MINUTE, 60), "day": (HOUR, 24), "week": (HOUR, 168)}
"""For each span: the seconds of one point, and the number of points."""


COUNT = "redis.pcall('HINCRBY', KEYS[1], ARGV[1], ARGV[2]); redis.pcall('EXPIRE', KEYS[1], ARGV[3])"
"""A script that adds to a count, for transactions that must not fail where the count cannot be kept."""


def count_command(field: str, number: int, at: float) -> bytes:
    """Return the command that adds to the counts of the minute of `at`, in seconds since 1970."""
    return packed("EVAL", COUNT, 1, minute_key(int(at) // MINUTE), field, number, MINUTES_KEPT_SECONDS)


def add_to_minute(connection: Redis, events: Mapping[str, int]) -> None:
    """Add counts to the present minute. Raises the driver's errors, but not those about one key."""
    if not events:
        return
    key = minute_key(int(time.time()) // MINUTE)
    with connection.pipeline(transaction=False) as pipeline:
        for field, number in events.items():
            pipeline.hincrby(key, field, number)
        pipeline.expire(key, MINUTES_KEPT_SECONDS)
        pipeline.execute(raise_on_error=False)


@dataclass(frozen=True, kw_only=True)
class Point:
    """What happened in one minute or hour."""

    at: datetime  # its begin
    submitted: int
    begun: int
    complete: int
    failed: int  # for good
    retried: int  # runs that failed and are tried again
    canceled: int  # while they ran
    wait_seconds: float | None  # how long those that began had waited, on average; None: none began
    run_seconds: float | None  # how long a run took, on average; None: none ended


class Series:
    """Reads the counts. One instance serves all threads of a process, and reads what cannot change only once."""

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._settled: dict[str, Counts] = {}  # by key
        self._lock = Lock()

    def read(self, span: Span) -> "Table":
        """Return the counts of the last hour, day or week, the present minute or hour included.

        Raises `QueueUnavailable`.
        """
        seconds, points = STEPS[span]
        now = time.time()
        last = int(now) // seconds
        numbers = range(last - points + 1, last + 1)
        key_of = minute_key if seconds == MINUTE else hour_key
        keys = {number: key_of(number) for number in numbers}
        with self._lock:
            counts = {number: self._settled.get(key) for number, key in keys.items()}
        missing = [number for number, of in counts.items() if of is None]
        unrolled = [] if seconds == MINUTE else self._unrolled(now)
        with redis_errors(), self._connection.pipeline(transaction=False) as pipeline:
            for key in (*(keys[number] for number in missing), *map(minute_key, unrolled)):
                pipeline.hgetall(key)
            answers = [_counts(answer) for answer in pipeline.execute(raise_on_error=False)]
        counts |= dict(zip(missing, answers, strict=False))
        self._keep({keys[number]: counts[number] for number in missing if _is_settled(number, seconds, now)})
        for minute, counter in zip(unrolled, answers[len(missing) :], strict=True):
            if (of := counts.get(minute * MINUTE // HOUR)) is not None:
                counts[minute * MINUTE // HOUR] = _added(of, counter)
        return Table(seconds, [(number * seconds, of or {}) for number, of in counts.items()])

    def _unrolled(self, now: float) -> Sequence[int]:
        """Return the minutes that no worker has added to their hour yet."""
        with redis_errors():
            rolled = self._connection.get(ROLLED_UP)
        present = int(now) // MINUTE
        oldest = present - MINUTES_KEPT_SECONDS // MINUTE
        return range(max(oldest, int(cast("bytes", rolled)) + 1) if rolled else oldest, present + 1)

    def _keep(self, settled: Mapping[str, Counts | None]) -> None:
        with self._lock:
            self._settled |= {key: counts for key, counts in settled.items() if counts is not None}
            for key in list(self._settled)[: -2 * sum(points for _, points in STEPS.values())]:
                del self._settled[key]


@dataclass(frozen=True)
class Table:
    """The counts of a span: for each point its begin, in seconds since 1970, and its counts."""

    step_seconds: int
    rows: list[tuple[int, Counts]]

    def points(self, *, job_type: str | None = None, queue: str | None = None) -> list[Point]:
        """Return the points, oldest first, of one job type or queue; None: of all."""
        return [_point(at, _sum(counts, job_type, queue)) for at, counts in self.rows]

    def series(
        self, by: Literal["task_type", "queue"] | None, *, job_type: str | None = None, queue: str | None = None
    ) -> dict[str | None, list[Point]]:
        """Return the points of each job type or queue by its name, or with by=None those of all, under None."""
        if by == "task_type":
            names = [name for name in self.job_types() if job_type in (None, name)]
            return {name: self.points(job_type=name, queue=queue) for name in names}
        if by == "queue":
            names = [name for name in self.queues() if queue in (None, name)]
            return {name: self.points(job_type=job_type, queue=name) for name in names}
        return {None: self.points(job_type=job_type, queue=queue)}

    def job_types(self) -> list[str]:
        """Return the names of the job types that something has happened to."""
        return sorted({job_type for _, counts in self.rows for job_type, _ in counts})

    def queues(self) -> list[str]:
        """Return the names of the queues in which something has happened."""
        return sorted({queue for _, counts in self.rows for _, queue in counts})


def _is_settled(number: int, seconds: int, now: float) -> bool:
    """Return whether nothing more is added to a minute or an hour."""
    late = SETTLED_SECONDS if seconds == MINUTE else 2 * SETTLED_SECONDS
    return (number + 1) * seconds + late < now


def _counts(answer: object) -> Counts:
    """Return the counts in a hash; none where another program has written to it."""
    counts: Counts = {}
    for field, number in answer.items() if isinstance(answer, dict) else ():
        job_type, _, rest = decoded(field).partition(":")
        queue, _, what = rest.rpartition(":")
        if number.isdigit():
            counts.setdefault((job_type, queue), Counter())[what] += int(number)
    return counts


def _added(counts: Counts, more: Counts) -> Counts:
    return {name: counts.get(name, Counter()) + more.get(name, Counter()) for name in counts | more}


def _sum(counts: Counts, job_type: str | None, queue: str | None) -> Counter[str]:
    total: Counter[str] = Counter()
    for (its_type, its_queue), events in counts.items():
        if job_type in (None, its_type) and queue in (None, its_queue):
            total.update(events)
    return total


def _point(at: int, counts: Counter[str]) -> Point:
    runs = sum(counts[event] for event in ("finished", "failed", "retried", "stopped", "returned"))
    return Point(
        at=datetime.fromtimestamp(at, UTC),
        submitted=counts["submitted"],
        begun=counts["begun"],
        complete=counts["finished"],
        failed=counts["failed"],
        retried=counts["retried"],
        canceled=counts["stopped"],
        wait_seconds=_average(counts["wait_ms"], counts["begun"]),
        run_seconds=_average(counts["run_ms"], runs),
    )


def _average(milliseconds: int, number: int) -> float | None:
    return round(milliseconds / 1000 / number, 3) if number else None
