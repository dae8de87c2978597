"""What the record of changes and the lists of workers show of a worker: its begin, its end, release and memory."""

import os
from collections.abc import Iterable
from pathlib import Path

from redis import Redis

from taskqueue.store import scripts
from taskqueue.store.keys import RELEASES, WorkerField, worker_key
from taskqueue.store.times import rq_now
from taskqueue.telemetry.changes import Changes


class Presence:
    """One worker, as others see it. Each method raises the driver's errors, if nothing else is said."""

    def __init__(self, connection: Redis, name: str, release: str | None) -> None:
        self._connection = connection
        self._name = name
        self._release = release
        self._changes = Changes(connection)
        self._note_memory = scripts.register(connection, "note_memory")

    def sign_on(self) -> None:
        """Tell the release in the worker's hash, and record that the worker has started."""
        if self._release:
            self._connection.hset(worker_key(self._name), WorkerField.RELEASE, self._release)
            if self._connection.hsetnx(RELEASES, self._release, rq_now()):
                self._record("release-started", self._release)
        self._record("worker-started")

    def sign_off(self) -> None:
        """Record that the worker has ended in good order. Raises nothing."""
        self._record("worker-stopped")

    def note_memory(self, horses: Iterable[int]) -> None:
        """Tell the memory of the worker's processes in its hash. Only Linux shows it."""
        memory = sum(_memory_bytes(pid) for pid in (os.getpid(), *horses))
        if memory:
            self._note_memory([worker_key(self._name)], [memory])

    def _record(self, what: str, target: str = "") -> None:
        self._changes.record(self._name, "worker", what, target or self._name, self._release or "")


def _memory_bytes(pid: int) -> int:
    """Return the memory of a process in bytes, its share of what it shares with others; 0: it cannot be seen."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
