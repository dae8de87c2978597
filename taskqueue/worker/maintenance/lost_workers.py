"""Records the workers that were lost: killed, out of memory or cut off."""

import time
from typing import cast

from redis import Redis

from taskqueue.monitor.cluster_state import MAX_WORKERS
from taskqueue.store.keys import WORKERS, WorkerField, decoded, lost_worker_key, worker_key
from taskqueue.store.liveness import WORKER_TTL_SECONDS, lives
from taskqueue.telemetry.changes import Changes

EVERY_SECONDS = 5.0


class LostWorkers:
    """A chore of the scheduling worker, every five seconds. Each lost worker is recorded once."""

    def __init__(self, connection: Redis, worker_name: str) -> None:
        self._connection = connection
        self._changes = Changes(connection)
        self._worker_name = worker_name
        self._looked_at = float("-inf")

    def run(self) -> None:
        """Look for workers whose heartbeats have stopped. Raises the driver's errors."""
        if time.monotonic() - self._looked_at < EVERY_SECONDS:
            return
        self._looked_at = time.monotonic()
        keys = cast("list[bytes]", self._connection.srandmember(WORKERS, MAX_WORKERS))
        names = [decoded(key).removeprefix(worker_key("")) for key in keys]
        with self._connection.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.ttl(worker_key(name))
                pipeline.hget(worker_key(name), WorkerField.HORSES)
            answers = pipeline.execute(raise_on_error=False)
        for name, ttl, horses in zip(names, answers[::2], answers[1::2], strict=True):
            if isinstance(ttl, int) and not isinstance(horses, Exception) and horses and not lives(ttl, horses):
                self._record(name)

    def _record(self, name: str) -> None:
        # Longer than Redis keeps the hash of a lost worker.
        if self._connection.set(lost_worker_key(name), 1, nx=True, ex=2 * WORKER_TTL_SECONDS):
            self._changes.record(self._worker_name, "worker", "worker-lost", name)
