"""Subscribes to changes of tasks on one connection to Redis, for all followers in this process."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any, Protocol, TypeVar

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.store.keys import CHANGES_CHANNEL, Field, job_key
from taskqueue.tasks.changes import changes_channel
from taskqueue.telemetry.log import about

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # a stock worker publishes nothing: its jobs are read so often, all in one round trip
RETRY_SECONDS = 0.5  # after Redis did not answer
LOOKED_AT = ("status", Field.ATTEMPT, Field.PROGRESS)


class Settable(Protocol):
    """An event of any kind: `threading.Event`, or one that belongs to an event loop."""

    def set(self) -> None:
        """Wake who waits for the event."""


E = TypeVar("E", bound=Settable)


class Subscriptions:
    """Wakes those who follow a task when it may have changed. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, listening: Redis) -> None:
        self.is_closed = False
        self._connection = connection
        self._pubsub = listening.pubsub()
        self._followers: dict[str, list[Settable]] = {}  # by task id
        self._last_read: dict[str, object] = {}  # the fields of the last look, by task id
        self._look_at = 0.0  # when to look again, on the monotonic clock
        self._lock = Lock()
        self._listener: Thread | None = None

    @contextmanager
    def watch(self, task_id: str, changed: E) -> Iterator[E]:
        """Yield `changed`, which is set whenever the task may have changed, and at first when Redis listens.

        It is set in another thread. While Redis does not answer, it is not set: read the task now and then anyway.
        """
        with self._lock:
            followers = self._followers.setdefault(task_id, [])
            followers.append(changed)
            if len(followers) == 1:
                self._request(self._pubsub.subscribe, task_id)
            else:
                changed.set()
            if self._listener is None:
                self._listener = Thread(target=self._listen, name="subscriptions", daemon=True)
                self._listener.start()
        try:
            yield changed
        finally:
            with self._lock:
                followers.remove(changed)
                if not followers:
                    del self._followers[task_id]
                    self._last_read.pop(task_id, None)
                    if not self.is_closed:
                        self._request(self._pubsub.unsubscribe, task_id)

    def close(self) -> None:
        """Wake all followers, who then read `is_closed`: this process stops. The listener ends soon."""
        self.is_closed = True
        for task_id in list(self._followers):
            self._wake(task_id)

    @staticmethod
    def _request(subscribe: Any, task_id: str) -> None:
        try:
            subscribe(changes_channel(task_id))
        except RedisError as error:  # the driver subscribes again when it has a connection again
            log.debug("Cannot subscribe to changes of task %s: %s", task_id, error, extra=about(task_id))

    def _wake(self, task_id: str) -> None:
        for changed in list(self._followers.get(task_id, ())):
            changed.set()

    def _listen(self) -> None:
        while not self.is_closed:
            self._receive()
        with self._lock:
            self._pubsub.close()

    def _receive(self) -> None:
        """Wait for a message until the next look is due."""
        try:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_SECONDS
                self._look()
            message = self._pubsub.get_message(timeout=max(0.001, self._look_at - time.monotonic()))
            if message:
                self._wake(message["channel"].decode(errors="replace").removeprefix(CHANGES_CHANNEL))
        except (RedisError, OSError) as error:
            log.debug("Cannot receive changes of tasks from Redis: %s", error)
            time.sleep(RETRY_SECONDS)

    def _look(self) -> None:
        """Read all tasks that are followed, and wake the followers of those that have changed."""
        ids = list(self._followers)
        with self._connection.pipeline(transaction=False) as pipeline:
            for task_id in ids:
                pipeline.hmget(job_key(task_id), LOOKED_AT)
            answers = pipeline.execute(raise_on_error=False)
        for task_id, fields in zip(ids, answers, strict=True):
            if self._last_read.get(task_id) != fields and task_id in self._followers:
                self._last_read[task_id] = fields
                self._wake(task_id)
