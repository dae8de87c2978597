"""Moves keys aside that hold another type of value than a worker needs; store/lua/wrong_types.lua has the rest."""

import logging
from collections.abc import Iterable

from redis import Redis

from taskqueue.jobtypes.registry import known_types
from taskqueue.store import scripts
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
    bell_key,
    decoded,
    queue_key,
    queue_workers_key,
    registry_key,
    scheduler_lock_key,
    type_index_key,
    worker_executions_key,
    worker_key,
)

log = logging.getLogger(__name__)

REGISTRIES = ("wip", "finished", "failed", "canceled", "scheduled", "deferred", "ready")


def is_wrong_type(error: BaseException) -> bool:
    """Return whether Redis has refused a command because its key holds another type of value."""
    return str(error).startswith("WRONGTYPE")


class WrongTypes:
    """The keys that one worker asks for by itself, outside of scripts, and the types that they must have."""

    def __init__(self, connection: Redis, worker: str, queues: Iterable[str]) -> None:
        self._script = scripts.register(connection, "wrong_types", "move_aside")
        self._types = {
            **dict.fromkeys((QUEUES, WORKERS, PAUSED, LIMITED_TYPES, TAG_INDEXES), "set"),
            **dict.fromkeys((SCHEDULES, OPEN_BATCHES, MISSED_CALLBACKS, INDEX), "zset"),
            **dict.fromkeys((TOTALS, SET_ASIDE, worker_key(worker)), "hash"),
            worker_executions_key(worker): "set",
        }
        self._types |= {type_index_key(name): "zset" for name in known_types()}
        for queue in queues:
            self._types |= {queue_key(queue): "list", bell_key(queue): "list", queue_workers_key(queue): "set"}
            self._types |= {scheduler_lock_key(queue): "lock"}
            self._types |= {registry_key(registry, queue): "zset" for registry in REGISTRIES}

    def move_aside(self) -> None:
        """Move each key that holds a wrong type to tq:aside:<key>, where it is kept for a week.

        Raises the driver's errors.
        """
        for what in self._script(keys=list(self._types), args=list(self._types.values())):
            log.error("Redis key %s", decoded(what))
