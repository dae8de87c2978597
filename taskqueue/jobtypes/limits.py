"""The limits of a job type: how many jobs run at the same time or begin in a period, across all workers.

The workers' scripts enforce them (store/lua/limits.lua). Each worker stores them in Redis when it starts, so the
limits of the code that started last apply, unless somebody has changed them (control/type_limits.py).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from redis import Redis

from taskqueue.store import scripts
from taskqueue.store.keys import LIMITED_TYPES, decoded, held_key, job_key, limit_key, limit_running_key
from taskqueue.store.times import time_at

if TYPE_CHECKING:
    from taskqueue.jobtypes.registry import JobType

MAX_CONCURRENCY = 10_000
MAX_RATE_COUNT = 10_000  # Redis keeps the start times of as many jobs
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
RATE = re.compile(rf"(\d{{1,6}})/({'|'.join(UNITS)})")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one job type; None: no limit."""

    concurrency: int | None = None
    rate: str | None = None  # "10/minute": at most 10 begin in any 60 seconds

    def __post_init__(self) -> None:
        if self.concurrency is not None and not (
            isinstance(self.concurrency, int) and 1 <= self.concurrency <= MAX_CONCURRENCY
        ):
            raise ValueError(f"concurrency must be 1 to {MAX_CONCURRENCY:,}, got {self.concurrency!r}")
        if self.rate is not None and not (RATE.fullmatch(str(self.rate)) and 1 <= self.count <= MAX_RATE_COUNT):
            raise ValueError(
                f"rate must be 1 to {MAX_RATE_COUNT:,} in a {', '.join(UNITS)},"
                f" such as '10/minute'; got {self.rate!r}"
            )

    def __bool__(self) -> bool:
        return self.concurrency is not None or self.rate is not None

    @property
    def count(self) -> int:
        """How many jobs may begin in `seconds`; 0 without a rate."""
        return int((self.rate or "0").partition("/")[0])

    @property
    def seconds(self) -> int:
        """The period of `rate`, in seconds; 0 without a rate."""
        return UNITS[self.rate.partition("/")[2]] if self.rate else 0

    def stored(self) -> tuple[int | str, int | str, int | str]:
        """Return the fields of the hash that the scripts read: concurrency, count, seconds; "": no such limit."""
        return self.concurrency or "", self.count or "", self.seconds or ""

    def __str__(self) -> str:
        """Return the limits in words, as the decorator takes them."""
        given = (
            f"{name}={value}" for name, value in (("concurrency", self.concurrency), ("rate", self.rate)) if value
        )
        return ", ".join(given) or "no limit"


MOST_READ = 1000  # held tasks of one type


@dataclass(frozen=True, kw_only=True)
class LimitUsage:
    """How much of its limits a job type uses now."""

    limits: Limits
    running: int  # jobs; counted only if there is a concurrency
    held: int  # jobs that a worker took off their queue and that wait for the limits; jobs in queues do not count
    next_start: datetime | None  # when the rate lets another job begin; None: now


def declare(connection: Redis, job_types: Mapping[str, "JobType"]) -> None:
    """Store the limits of these job types in Redis, but for those that somebody has changed.

    Raises the driver's errors.
    """
    arguments = [each for name, job_type in job_types.items() for each in (name, *job_type.limits.stored())]
    scripts.register(connection, "declare_limits")(keys=[LIMITED_TYPES], args=arguments)


@dataclass(frozen=True, kw_only=True)
class TypeState:
    """What Redis has of the limits of a job type, and whether the type is paused."""

    limits: Limits
    paused_at: datetime | None  # None: it is not paused
    changed_at: datetime | None  # None: the limits are those of the code

    @property
    def stops(self) -> bool:
        """Whether no job of the type begins."""
        return self.paused_at is not None


def read_states(connection: Redis, job_types: Sequence[str]) -> dict[str, TypeState]:
    """Return the states of these job types, in one round trip. Raises the driver's errors."""
    with connection.pipeline(transaction=False) as pipeline:
        for name in job_types:
            pipeline.hmget(limit_key(name), "concurrency", "count", "seconds", "paused", "changed")
        answers = pipeline.execute()
    return {name: _state(*answer) for name, answer in zip(job_types, answers, strict=True)}


def _state(
    concurrency: bytes | None,
    count: bytes | None,
    seconds: bytes | None,
    paused: bytes | None,
    changed: bytes | None,
) -> TypeState:
    unit = next((name for name, length in UNITS.items() if seconds and length == int(seconds)), None)
    limits = Limits(
        concurrency=int(concurrency) if concurrency else None,
        rate=f"{decoded(count)}/{unit}" if count and unit else None,
    )
    return TypeState(limits=limits, paused_at=time_at(paused), changed_at=time_at(changed))


def limit_usage(connection: Redis, job_type: str, limits: Limits) -> LimitUsage:
    """Return how much of its limits a job type uses now, in one round trip. Raises the driver's errors."""
    return limit_usages(connection, {job_type: limits})[job_type]


def limit_usages(connection: Redis, limits: Mapping[str, Limits]) -> dict[str, LimitUsage]:
    """Return how much of these limits the job types use now, in one round trip. Raises the driver's errors."""
    with connection.pipeline(transaction=False) as pipeline:
        for job_type, each in limits.items():
            pipeline.scard(limit_running_key(job_type))
            pipeline.llen(held_key(job_type))
            pipeline.lindex(f"{limit_key(job_type)}:starts", each.count - 1)
        answers = iter(pipeline.execute())
    return {
        job_type: _usage(each, next(answers), next(answers), next(answers)) for job_type, each in limits.items()
    }


def _usage(limits: Limits, running: int, held: int, start: bytes | None) -> LimitUsage:
    next_start = None
    if limits.rate and start:
        next_start = datetime.fromtimestamp(float(start), UTC) + timedelta(seconds=limits.seconds)
    return LimitUsage(
        limits=limits,
        running=running,
        held=held,
        next_start=next_start if next_start and next_start > datetime.now(UTC) else None,
    )


def held_position(connection: Redis, job_type: str, task_id: str) -> int | None:
    """Return how many held tasks are ahead of a held one; None if it is not held. Raises the driver's errors."""
    return cast("int | None", connection.lpos(held_key(job_type), task_id))


def held_by_queue(connection: Redis) -> Counter[str]:
    """Return how many held tasks each queue has, of all types. Raises the driver's errors.

    Of a type with more than MOST_READ held tasks, the first ones tell how all of them are distributed.
    """
    names = [decoded(name) for name in cast("set[bytes]", connection.smembers(LIMITED_TYPES))]
    with connection.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.llen(held_key(name))
            pipeline.lrange(held_key(name), 0, MOST_READ - 1)
        answers = iter(pipeline.execute() if names else ())
    held: Counter[str] = Counter()
    for count, ids in zip(answers, answers, strict=True):
        if ids:
            with connection.pipeline(transaction=False) as pipeline:
                for job_id in ids:
                    pipeline.hget(job_key(decoded(job_id)), "origin")
                origins = Counter(decoded(origin) for origin in pipeline.execute() if origin)
            held.update({queue: round(number * count / len(ids)) for queue, number in origins.items()})
    return held
