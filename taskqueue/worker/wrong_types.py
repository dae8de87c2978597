"""Moves keys aside that hold another type of value than a worker needs; store/lua/wrong_types.lua has the rest."""

import logging
from collections.abc import Iterable

from redis import Redis
from redis.exceptions import ResponseError

from taskqueue.store.keys import (
    INDEX,
    LIMITED_TYPES,
    MISSED_CALLBACKS,
    OPEN_BATCHES,
    PAUSED,
    QUEUES,
    SCHEDULES,
    SET_ASIDE,
    TAG_INDEXES,
    TOTALS,
    WORKERS,
    decoded,
    queue_key,
    queue_workers_key,
    registry_key,
    scheduler_lock_key,
    worker_executions_key,
    worker_key,
)

log = logging.getLogger(__name__)

KEEP_SECONDS = 7 * 86_400
REGISTRIES = ("wip", "finished", "failed", "canceled", "scheduled", "deferred", "ready")


def is_wrong_type(error: BaseException) -> bool:
    """Return whether Redis has refused a command because its key holds another type of value."""
    return str(error).startswith("WRONGTYPE")


class WrongTypes:
    """The keys that one worker asks for by itself, outside of scripts, and the types that they must have."""

    def __init__(self, connection: Redis, worker: str, queues: Iterable[str]) -> None:
        self._connection = connection
        self._types = {
            **dict.fromkeys((QUEUES, WORKERS, PAUSED, LIMITED_TYPES, TAG_INDEXES), "set"),
            **dict.fromkeys((SCHEDULES, OPEN_BATCHES, MISSED_CALLBACKS, INDEX), "zset"),
            **dict.fromkeys((TOTALS, SET_ASIDE, worker_key(worker)), "hash"),
            worker_executions_key(worker): "set",
        }
        for queue in queues:
            self._types |= {queue_key(queue): "list", queue_workers_key(queue): "set"}
            self._types |= {scheduler_lock_key(queue): "string"}
            self._types |= {registry_key(registry, queue): "zset" for registry in REGISTRIES}

    def move_aside(self) -> None:
        """Move each key that holds a wrong type to tq:aside:<key>, where it is kept for a week.

        Raises the driver's errors.
        """
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in self._types:
                pipeline.type(key)
            held = dict(zip(self._types, map(decoded, pipeline.execute()), strict=True))
        for key, wanted in self._types.items():
            if held[key] in ("none", wanted):
                continue
            aside = f"{SET_ASIDE}:{key}"
            try:
                self._connection.rename(key, aside)
            except ResponseError as error:
                if "no such key" not in str(error):  # another worker was first
                    raise
                continue
            self._connection.expire(aside, KEEP_SECONDS)
            log.error("Redis key %s held a %s, not a %s: moved to %s", key, held[key], wanted, aside)
            if key != SET_ASIDE:
                self._connection.hset(SET_ASIDE, key, f"it held a {held[key]}, not a {wanted}: moved to {aside}")
