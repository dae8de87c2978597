"""Hears of what changes in tasks, for everybody in this process who watches one: on one connection to Redis."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.hints import CHANNEL, channel

log = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
AGAIN_SECONDS = 0.5  # after Redis did not answer


class Watcher:
    """One instance serves all threads of a process."""

    def __init__(self, connection: Redis) -> None:
        self._pubsub = connection.pubsub()
        self._watched: dict[str, list[Event]] = {}  # by task id
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
                self._listener = Thread(target=self._listen, name="watcher", daemon=True)
                self._listener.start()
        try:
            yield news
        finally:
            with self._lock:
                others.remove(news)
                if not others:
                    del self._watched[task_id]
                    self._ask(self._pubsub.unsubscribe, task_id)

    @staticmethod
    def _ask(what: Any, task_id: str) -> None:
        try:
            what(channel(task_id))
        except RedisError as error:  # the driver asks again when it has a connection again
            log.debug("Redis does not hear what is watched: %s", error)

    def _listen(self) -> None:
        while True:
            try:
                message = self._pubsub.get_message(timeout=LISTEN_SECONDS)
            except (RedisError, OSError) as error:
                log.debug("Redis does not tell what has changed: %s", error)
                time.sleep(AGAIN_SECONDS)
                continue
            if message:
                task_id = message["channel"].decode(errors="replace").removeprefix(CHANNEL)
                for news in list(self._watched.get(task_id, ())):
                    news.set()
