"""Keeps one work-horse of a worker free of callbacks: their receivers are strangers, and may hang."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Sequence
from typing import cast

from redis import Redis

CALLBACK_ID = re.compile(rb"-callback-\d+\Z")  # store/lua/callback.lua
PUT_OFF_SECONDS = 1  # a callback without a place comes back so soon
PATIENCE_SECONDS, PATIENCE_EVERY_SECONDS, LOOK_SECONDS = 0.02, 1.0, 0.002
YIELD_SECONDS = 60  # for so long a callback lets other tasks pass on a worker with one horse
MOST_SEEN = 100  # ids at the front of each queue


class CallbackPlaces:
    """The places for callbacks in one worker: one fewer than it has horses.

    A place is a lock on one byte of a file. The kernel releases it when its horse dies, however that happens.
    With one horse there is no place: a callback runs if no other task waits, or after a minute.
    """

    def __init__(self, horses: int, queue_keys: Sequence[str]) -> None:
        """Make the file, before the horses are forked."""
        self._places = range(horses - 1)
        self._queue_keys = queue_keys
        self._file = os.memfd_create("callbacks") if hasattr(os, "memfd_create") else _file()
        self._waited_at = float("-inf")

    def take(self, connection: Redis, waited_seconds: float) -> bool:
        """Take a place for a callback that was put off so long ago first; return whether there is one.

        Raises the driver's errors.
        """
        if not self._places:
            return waited_seconds >= YIELD_SECONDS or not self._others_wait(connection)
        if self._take():
            return True
        # Most callbacks end in milliseconds, so a short wait often gets a place. If it does not, the others hang.
        began = time.monotonic()
        if began - self._waited_at < PATIENCE_EVERY_SECONDS:
            return False
        while time.monotonic() - began < PATIENCE_SECONDS:
            time.sleep(LOOK_SECONDS)
            if self._take():
                return True
        self._waited_at = time.monotonic()
        return False

    def release(self) -> None:
        """Release the place that this horse has, if it has one."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _take(self) -> bool:
        for place in self._places:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # POSIX allows both
                continue
            return True
        return False

    def _others_wait(self, connection: Redis) -> bool:
        with connection.pipeline(transaction=False) as pipeline:
            for key in self._queue_keys:
                pipeline.lrange(key, 0, MOST_SEEN - 1)
            queues = cast("list[list[bytes]]", pipeline.execute())
        return any(not CALLBACK_ID.search(job_id) for queue in queues for job_id in queue)


def _file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
