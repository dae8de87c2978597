"""Hears of what changes in tasks, for everybody in this process who watches one: on one connection to Redis."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.store.keys import CHANGES_CHANNEL, Field, job_key
from taskqueue.tasks.changes import changes_channel

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # a stock worker tells nothing: its jobs are looked at so often, all in one round trip
AGAIN_SECONDS = 0.5  # after Redis did not answer
LOOKED_AT = ("status", Field.ATTEMPT, Field.PROGRESS)


class Subscriptions:
    """One instance serves all threads of a process."""

    def __init__(self, connection: Redis, listening: Redis) -> None:
        self.is_closed = False
        self._connection = connection
        self._pubsub = listening.pubsub()
        self._watched: dict[str, list[Event]] = {}  # by task id
        self._seen: dict[str, object] = {}  # what the last look saw, by task id
        self._look_at = 0.0  # when to look again, on the monotonic clock
        self._lock = Lock()
        self._listener: Thread | None = None

    @contextmanager
    def watch(self, task_id: str) -> Iterator[Event]:
        """An event that is set whenever something of the task may have changed: at first when Redis listens.

        While Redis is away it is not set: look by yourself, too, now and then.
        """
        news = Event()
        with self._lock:
            others = self._watched.setdefault(task_id, [])
            others.append(news)
            if len(others) == 1:
                self._ask(self._pubsub.subscribe, task_id)
            else:
                news.set()
            if self._listener is None:
                self._listener = Thread(target=self._listen, name="subscriptions", daemon=True)
                self._listener.start()
        try:
            yield news
        finally:
            with self._lock:
                others.remove(news)
                if not others:
                    del self._watched[task_id]
                    self._seen.pop(task_id, None)
                    if not self.is_closed:
                        self._ask(self._pubsub.unsubscribe, task_id)

    def close(self) -> None:
        """This process shall end: whoever watches is woken, and finds `is_closed`. The listener ends soon."""
        self.is_closed = True
        for task_id in list(self._watched):
            self._tell(task_id)

    @staticmethod
    def _ask(what: Any, task_id: str) -> None:
        try:
            what(changes_channel(task_id))
        except RedisError as error:  # the driver asks again when it has a connection again
            log.debug("Redis does not hear what is watched: %s", error)

    def _tell(self, task_id: str) -> None:
        for news in list(self._watched.get(task_id, ())):
            news.set()

    def _listen(self) -> None:
        while not self.is_closed:
            self._hear()
        with self._lock:
            self._pubsub.close()

    def _hear(self) -> None:
        try:
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_SECONDS
                self._look()
            message = self._pubsub.get_message(timeout=max(0.001, self._look_at - time.monotonic()))
            if message:
                self._tell(message["channel"].decode(errors="replace").removeprefix(CHANGES_CHANNEL))
        except (RedisError, OSError) as error:
            log.debug("Redis does not tell what has changed: %s", error)
            time.sleep(AGAIN_SECONDS)

    def _look(self) -> None:
        ids = list(self._watched)
        with self._connection.pipeline(transaction=False) as pipeline:
            for task_id in ids:
                pipeline.hmget(job_key(task_id), LOOKED_AT)
            answers = pipeline.execute(raise_on_error=False)
        for task_id, found in zip(ids, answers, strict=True):
            if self._seen.get(task_id) != found and task_id in self._watched:
                self._seen[task_id] = found
                self._tell(task_id)
