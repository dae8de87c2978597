"""The doctor's checks over Redis."""

import os
import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from taskqueue.cli.by_redis import RedisClient
from taskqueue.cli.doctor import check
from taskqueue.cli.doctor.check import MAX_SKEW_SECONDS, Check
from taskqueue.errors import QueueUnavailable
from taskqueue.settings import Settings
from taskqueue.settings.local_redis import redis_source
from taskqueue.store.connection import connect_for_requests, redis_errors
from taskqueue.store.keys import SUSPENDED, scheduler_lock_key
from taskqueue.store.server import NEEDED, why_unusable
from taskqueue.store.server import info as server_info
from taskqueue.store.url import server_of


def look(settings: Settings) -> Iterator[Check]:
    """Yield checks of Redis and, through it, of the workers."""
    connection = connect_for_requests(settings.redis_url)
    server, source = server_of(settings.redis_url), redis_source(os.environ)
    try:
        with redis_errors():
            connection.ping()
            unusable = why_unusable(connection)
            info = server_info(connection)
    except QueueUnavailable as error:
        fix = f"Start it, or correct TASK_QUEUE_URL. This is {server} ({source})."
        yield Check("redis", False, error.with_cause, fix)
        return
    yield Check("redis", True, f"{server} ({source})")
    if info:
        old = unusable is not None and unusable.about == "version"
        yield Check("version", not old, str(info["redis_version"]), f"{NEEDED}.")
    if unusable and not (info and unusable.about == "version"):
        yield Check(unusable.about, False, unusable.message, f"{unusable.fix}.")
    if unusable:
        return  # nothing else can be seen, or matters
    if info:
        policy = info.get("maxmemory_policy", "noeviction")
        yield check.eviction(policy == "noeviction", policy)
        yield _persistence(connection, info)
        yield check.memory(info["used_memory"], info.get("maxmemory", 0))
    else:
        yield Check("info", None, "the Redis user may not ask for INFO", "ACL SETUSER <user> +info")
    yield _clock(connection)
    client = RedisClient(settings)
    yield from map(check.queue, client.queues())
    yield from check.workers(client.workers())
    if connection.exists(SUSPENDED):
        yield check.workers_suspended()
    yield _scheduler(connection, settings.queues)


def _persistence(connection: Redis, info: dict[str, Any]) -> Check:
    try:
        snapshots = connection.config_get("save").get("save", "")
    except ResponseError:  # a hosted Redis refuses CONFIG GET
        snapshots = ""
    on_disk = "each change" if info.get("aof_enabled") else f"snapshots ({snapshots})" if snapshots else "nothing"
    return check.persistence(bool(info.get("aof_enabled")), f"on disk: {on_disk}", snapshots=bool(snapshots))


def _clock(connection: Redis) -> Check:
    before = time.time()
    seconds, microseconds = connection.time()
    skew = seconds + microseconds / 1e6 - (before + time.time()) / 2
    return check.clock(abs(skew) < MAX_SKEW_SECONDS, f"{skew:+.3f} s between Redis and this machine")


def _scheduler(connection: Redis, queues: tuple[str, ...]) -> Check:
    served = [queue for queue in queues if connection.exists(scheduler_lock_key(queue))]
    missing = [queue for queue in queues if queue not in served]
    return check.scheduler(not missing, f"for {', '.join(served) or 'no queue'}", *missing)
