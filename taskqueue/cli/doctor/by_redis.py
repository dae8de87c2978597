"""What the doctor sees in Redis."""

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from taskqueue.cli.by_redis import RedisClient
from taskqueue.cli.doctor.finding import (
    MAX_SKEW_SECONDS,
    WORKERS_SUSPENDED,
    Finding,
    clock,
    eviction,
    memory,
    of_queue,
    of_workers,
    persistence,
    scheduler,
)
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests, redis_errors
from taskqueue.store.keys import SUSPENDED, scheduler_lock_key

OLDEST_REDIS = (6, 2)  # LMOVE, ZADD GT and what RQ itself needs


def look(settings: Settings) -> Iterator[Finding]:
    """At Redis and, through it, at the workers."""
    connection = connect_for_requests(settings.redis_url)
    try:
        with redis_errors():
            info = connection.info()
    except QueueUnavailable as error:
        yield Finding("redis", False, error.with_cause, "Start it, or correct TASK_QUEUE_URL.")
        return
    yield _version(str(info["redis_version"]))
    policy = info.get("maxmemory_policy", "noeviction")
    yield eviction(policy == "noeviction", policy)
    yield _persistence(connection, info)
    yield memory(info["used_memory"], info.get("maxmemory", 0))
    yield _clock(connection)
    client = RedisClient(settings, JobTypes())
    yield from map(of_queue, client.queues())
    yield from of_workers(client.workers())
    yield from _moves(connection, settings.queues)


def _version(version: str) -> Finding:
    new_enough = tuple(map(int, version.split(".")[:2])) >= OLDEST_REDIS
    oldest = ".".join(map(str, OLDEST_REDIS))
    return Finding("version", new_enough, version, f"Use Redis {oldest} or newer, or Valkey.")


def _persistence(connection: Redis, info: dict[str, Any]) -> Finding:
    try:
        snapshots = connection.config_get("save").get("save", "")
    except ResponseError:  # a hosted Redis does not tell its settings
        snapshots = ""
    kept = "each change" if info.get("aof_enabled") else f"snapshots ({snapshots})" if snapshots else "nothing"
    return persistence(bool(info.get("aof_enabled")), f"on disk: {kept}")


def _clock(connection: Redis) -> Finding:
    before = time.time()
    seconds, microseconds = connection.time()
    skew = seconds + microseconds / 1e6 - (before + time.time()) / 2
    return clock(abs(skew) < MAX_SKEW_SECONDS, f"{skew:+.3f} s between Redis and this machine")


def _moves(connection: Redis, queues: tuple[str, ...]) -> Iterator[Finding]:
    """What keeps tasks from going on, though there are workers."""
    if connection.exists(SUSPENDED):
        yield WORKERS_SUSPENDED
    moved = [queue for queue in queues if connection.exists(scheduler_lock_key(queue))]
    yield scheduler(len(moved) == len(queues), f"for {', '.join(moved) or 'no queue'}")
