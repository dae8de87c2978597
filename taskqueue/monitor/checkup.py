"""Checks Redis and, through it, the workers: the doctor prints the checks, `GET /findings` answers them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from threading import Lock
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from taskqueue.control.type_limits import TypeControl
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.registry import registered
from taskqueue.monitor import checks
from taskqueue.monitor.checks import MAX_SKEW_SECONDS, Check
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.finding import host_paused
from taskqueue.monitor.outboxes import read_outboxes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_probes, redis_errors
from taskqueue.store.hosts import Hosts
from taskqueue.store.keys import SUSPENDED, scheduler_lock_key
from taskqueue.store.server import NEEDED, Unusable, why_unusable
from taskqueue.store.server import info as server_info

MAX_SHOWN_HOSTS = 5
FRESH_SECONDS = 2.0  # younger checks are answered again, however many ask
USABLE_SECONDS = 60.0  # how long a Redis that could be used is not tried again: that takes a dozen calls


class Checkup:
    """The checks for a web server, made once in two seconds at most. One instance serves all its threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = connect_for_probes(settings.redis_url)
        self._checks: list[Check] = []
        self._made_at = self._usable_at = float("-inf")
        self._lock = Lock()

    def latest(self) -> list[Check]:
        """Return the latest checks. If Redis does not answer, that is one of them."""
        with self._lock:
            if time.monotonic() - self._made_at > FRESH_SECONDS:
                self._checks = list(look(self._settings, self._connection, self._why_unusable))
                self._made_at = time.monotonic()
            return self._checks

    def forget(self) -> None:
        """Make the checks again when they are asked for next: something has been changed."""
        self._made_at = float("-inf")

    def _why_unusable(self, connection: Redis) -> Unusable | None:
        if time.monotonic() - self._usable_at < USABLE_SECONDS:
            return None
        unusable = why_unusable(connection)
        if not unusable:
            self._usable_at = time.monotonic()
        return unusable


def look(
    settings: Settings,
    connection: Redis,
    find_unusable: Callable[[Redis], Unusable | None] = why_unusable,
) -> Iterator[Check]:
    """Yield checks of Redis and, through it, of the workers. If Redis does not answer, that is the last one."""
    try:
        with redis_errors():
            yield from _look(settings, connection, find_unusable)
    except QueueUnavailable as error:
        yield Check("redis", False, error.with_cause, "Start it, or correct TASK_QUEUE_URL.")


def _look(
    settings: Settings, connection: Redis, find_unusable: Callable[[Redis], Unusable | None]
) -> Iterator[Check]:
    connection.ping()
    unusable = find_unusable(connection)
    info = server_info(connection)
    if info:
        old = unusable is not None and unusable.about == "version"
        yield Check("version", not old, str(info["redis_version"]), f"{NEEDED}.")
    if unusable and not (info and unusable.about == "version"):
        yield Check(unusable.about, False, unusable.message, f"{unusable.fix}.")
    if unusable:
        return  # nothing else can be seen, or matters
    if info:
        policy = info.get("maxmemory_policy", "noeviction")
        yield checks.eviction(policy == "noeviction", policy)
        yield _persistence(connection, info)
        yield checks.memory(info["used_memory"], info.get("maxmemory", 0))
    else:
        yield Check("info", None, "the Redis user may not ask for INFO", "ACL SETUSER <user> +info")
    yield _clock(connection)
    cluster_state = ClusterState(connection, settings.queues)
    for queue in cluster_state.queues():
        yield checks.queue({**asdict(queue), **queue.tasks})
    yield from checks.task_types([asdict(state) for state in TypeControl(connection, registered).all()])
    yield from checks.workers([asdict(worker) for worker in cluster_state.workers()])
    if connection.exists(SUSPENDED):
        yield checks.workers_suspended()
    yield _scheduler(connection, settings.queues)
    yield _hosts(connection)
    for outbox in read_outboxes(connection, settings.outbox):
        yield checks.outbox(outbox, time.time())


def _hosts(connection: Redis) -> Check:
    hosts = Hosts(connection)
    paused = hosts.paused()
    needed = [host for host in paused if host.kind != "callback"][:MAX_SHOWN_HOSTS]
    details = [host_paused(host, hosts.look(host)).message for host in needed]
    return checks.hosts(Counter(host.kind for host in paused), details)


def _persistence(connection: Redis, info: dict[str, Any]) -> Check:
    try:
        snapshots = connection.config_get("save").get("save", "")
    except ResponseError:  # a hosted Redis refuses CONFIG GET
        snapshots = ""
    on_disk = "each change" if info.get("aof_enabled") else f"snapshots ({snapshots})" if snapshots else "nothing"
    return checks.persistence(bool(info.get("aof_enabled")), f"on disk: {on_disk}", snapshots=bool(snapshots))


def _clock(connection: Redis) -> Check:
    before = time.time()
    seconds, microseconds = connection.time()
    skew = seconds + microseconds / 1e6 - (before + time.time()) / 2
    return checks.clock(abs(skew) < MAX_SKEW_SECONDS, f"{skew:+.3f} s between Redis and this machine")


def _scheduler(connection: Redis, queues: tuple[str, ...]) -> Check:
    served = [queue for queue in queues if connection.exists(scheduler_lock_key(queue))]
    missing = [queue for queue in queues if queue not in served]
    return checks.scheduler(not missing, f"for {', '.join(served) or 'no queue'}", *missing)
