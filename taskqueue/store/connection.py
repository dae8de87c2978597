"""Connections to Redis: short timeouts for web requests and probes, long retries for workers."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from taskqueue.errors import InvalidSetting, QueueUnavailable
from taskqueue.store.sentinel import SCHEMES as SENTINEL_SCHEMES
from taskqueue.store.sentinel import same_master, sentinel_pool
from taskqueue.store.server import why_unusable

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 2.0  # a web request waits this long for one answer of Redis
BULK_TIMEOUT_SECONDS = 20.0  # 32 MiB over a slow line
PROBE_TIMEOUT_SECONDS = 0.4  # a health check must answer within a second, connecting included
WORKER_CONNECT_TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 2000  # of a web process: this many requests may wait for Redis at the same time
# What the code relies on, whatever the caller's own connection has: bytes, in the shapes of RESP 2.
OURS = {"decode_responses": False, "encoding": "utf-8", "encoding_errors": "strict", "protocol": None}
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0


def connect_for_requests(to: str | Redis) -> Redis:
    """Return connections for a web process: short timeouts and one retry, which the enqueue script makes safe."""
    return _connect(
        to,
        max_connections=MAX_CONNECTIONS,
        socket_connect_timeout=REQUEST_TIMEOUT_SECONDS,
        socket_timeout=REQUEST_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), retries=1),
        health_check_interval=30,
    )


def connect_for_bulk(to: str | Redis) -> Redis:
    """Return connections for transactions that queue thousands of tasks, for which Redis needs more time."""
    return _connect(
        to,
        socket_connect_timeout=REQUEST_TIMEOUT_SECONDS,
        socket_timeout=BULK_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), retries=1),
        health_check_interval=30,
    )


def connect_for_probes(to: str | Redis) -> Redis:
    """Return connections for health checks: an answer in well under a second, or an error."""
    return _connect(
        to,
        socket_connect_timeout=PROBE_TIMEOUT_SECONDS,
        socket_timeout=PROBE_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), retries=0),
    )


def connect_for_worker(to: str | Redis) -> Redis:
    """Return connections for a worker: a command retries a lost connection for about half a minute, then fails."""
    return _connect(
        to,
        socket_connect_timeout=WORKER_CONNECT_TIMEOUT_SECONDS,
        socket_keepalive=True,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=LONGEST_WAIT_SECONDS), retries=10),
        health_check_interval=30,
    )


def _connect(to: str | Redis, **options: Any) -> Redis:
    """Return a new pool of connections to a URL, or to the server of another connection."""
    if isinstance(to, str):
        if urlsplit(to).scheme in SENTINEL_SCHEMES:
            return Redis(connection_pool=sentinel_pool(to, **options))
        return Redis.from_url(to, **options)
    pool = to.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return Redis(connection_pool=same_master(pool, **options, **OURS))
    kind, arguments = pool.connection_class, pool.connection_kwargs | options | OURS
    return Redis.from_pool(pool.__class__(connection_class=kind, **arguments))  # closing it closes the pool


@contextmanager
def redis_errors(task_id: str | None = None) -> Iterator[None]:
    """Turn the driver's errors into `QueueUnavailable`, as `unavailable` says; the driver's error is its cause."""
    try:
        yield
    except RedisError as error:
        raise unavailable(error, task_id) from error


def unavailable(error: RedisError, task_id: str | None = None) -> QueueUnavailable:
    """Return an error of the driver as `QueueUnavailable`, with a clear message.

    `task_id`: the task that is being queued. The error has it unless Redis has answered with an error: then
    enqueue.lua has queued nothing.
    """
    match error:
        case OutOfMemoryError():
            return QueueUnavailable("Redis is full and takes no more.")
        case ReadOnlyError():
            return QueueUnavailable("This Redis is a read-only replica.")
        case RedisConnectionError() | RedisTimeoutError():
            return QueueUnavailable("Redis did not answer.", task_id)
        case ResponseError():
            return QueueUnavailable(f"Redis refused: {error}")
    return QueueUnavailable(f"Redis refused: {error}", task_id)


def wait_for_redis(url: str, before_try: Callable[[], object] = lambda: None) -> None:
    """Wait until Redis answers, and log while it does not: a worker may start before Redis does.

    `before_try` is called before each try. Raises `InvalidSetting` if Redis refuses what the URL says, or if it
    cannot be used: store/server.py.
    """
    connection = connect_for_probes(url)
    wait_seconds = FIRST_WAIT_SECONDS
    while True:
        before_try()
        try:
            connection.ping()
            unusable = why_unusable(connection)
        except ResponseError as error:
            raise InvalidSetting(f"TASK_QUEUE_URL: Redis refused: {error}") from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("Redis does not answer yet (%s); trying again in %.1f s", error, wait_seconds)
            time.sleep(wait_seconds)
            wait_seconds = min(wait_seconds * 2, LONGEST_WAIT_SECONDS)
        else:
            if unusable:
                raise InvalidSetting(f"TASK_QUEUE_URL: {unusable.sentence}")
            return
