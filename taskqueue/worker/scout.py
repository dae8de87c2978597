"""Looks what is new in the queues while only jobs wait that nobody can begin now: an armed claim would ring on.

An example: the I/O process is full, emails wait, and a work-horse is idle. The horse cannot wait in Redis for a
job of its kind. So the worker looks at both ends of each queue every few milliseconds, and wakes a process only
for a new job of its kind.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import cast

from redis import Redis

from taskqueue.jobtypes.names import job_type_name
from taskqueue.store.keys import decoded, job_key
from taskqueue.worker.horses import Horses

LOOK_SECONDS = 0.01  # while a work-horse is idle
LOOK_SELDOM_SECONDS = 0.05  # while only the I/O process is idle
LOOK_RARELY_SECONDS = 0.25  # while there is no I/O process, and all horses are busy
LOOK_FURTHER_SECONDS = 0.25  # how often processes look further into a queue that moves
TAIL = 10  # jobs; if more are new at once, both kinds are woken


class Scout:
    """Looks at the queues while a process is idle that has found only jobs of another kind.

    It wakes `processes` by the kind of a new job.
    """

    def __init__(
        self,
        connection: Redis,
        queue_keys: Sequence[str],
        io_types: Collection[str],
        processes: Horses,
        after: Callable[[float, Callable[[], object]], None],
    ) -> None:
        self._connection = connection
        self._queue_keys = queue_keys
        self._io_types = io_types
        self._processes = processes
        self._after = after
        self._due = float("inf")  # on the monotonic clock: when to look next
        self._seen: dict[str, set[bytes]] = {}  # by queue: the ids at both ends
        self._lengths: list[int] = []
        self._looked_further_at = 0.0
        self.keys: set[str] = set()  # the queues that it looks at; without any, idle processes may wait in Redis
        self.muted: Collection[str] = ()  # paused queues

    def begin(self) -> None:
        """Look at the queues from now on, until they are empty or no process is idle."""
        self.keys = set(self._queue_keys).difference(self.muted)
        self._look_in(LOOK_SECONDS)

    def stop(self) -> None:
        """Look no more: the queues are empty."""
        self.keys.clear()

    def look(self) -> None:
        """Look once, and again later. Raises the driver's errors."""
        if time.monotonic() < self._due:
            return  # this look has taken place earlier
        self._due = float("inf")
        self.keys.difference_update(self.muted)
        if not self._processes.is_any_idle:  # a process that becomes idle begins again, if others' jobs wait
            self.keys.clear()
        if not self.keys:
            self._seen.clear()
            return
        keys = sorted(self.keys)
        try:
            self._look_at(keys)
        except BaseException:
            self.keys.clear()
            raise
        if self.keys:
            self._look_in(self._pause_seconds)

    def _look_in(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        if due < self._due:
            self._due = due
            self._after(seconds, self.look)

    @property
    def _pause_seconds(self) -> float:
        if self._processes.is_any_horse_idle:
            return LOOK_SECONDS
        return LOOK_SELDOM_SECONDS if self._processes.is_io_idle else LOOK_RARELY_SECONDS

    def _look_at(self, keys: Sequence[str]) -> None:
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.llen(key)
                pipeline.lrange(key, 0, 0)
                pipeline.lrange(key, -TAIL, -1)
            answers = iter(pipeline.execute())
        new: list[bytes] = []
        lengths = []
        for key, length, head, tail in zip(keys, answers, answers, answers, strict=False):
            lengths.append(length)
            seen = self._seen.get(key, set())
            ends = {*head, *tail}
            if len(tail) == TAIL and not seen.intersection(tail):
                self._processes.wake_all()
            new += ends - seen
            self._seen[key] = ends
        if not any(lengths):
            self.keys.clear()
        for is_io in self._kinds(new):
            self._processes.wake_kind(is_io)
        now = time.monotonic()
        if lengths != self._lengths and now > self._looked_further_at + LOOK_FURTHER_SECONDS:
            self._lengths, self._looked_further_at = lengths, now
            self._processes.wake_all()

    def _kinds(self, ids: Sequence[bytes]) -> set[bool]:
        """Return whether there are io_bound jobs among these, and others. Our script decides in the same way."""
        if not ids:
            return set()
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(job_key(decoded(job_id)), "description", "tq:alone")
            answers = cast("list[list[bytes | None]]", pipeline.execute())
        return {not alone and self._is_io(description) for description, alone in answers}

    def _is_io(self, description: bytes | None) -> bool:
        return job_type_name(decoded(description or b"").partition("(")[0]) in self._io_types
