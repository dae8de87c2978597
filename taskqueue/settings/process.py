"""The settings and the connection of this process, for code to which nothing can pass them."""

import os
from dataclasses import replace
from functools import cache

from redis import Redis

from taskqueue.settings.settings import Settings
from taskqueue.settings.variables import redis_url
from taskqueue.store.connection import connect_for_requests


class _Given:
    """Holds what `connect` was given; None: the environment decides."""

    settings: Settings | None = None
    connection: Redis | None = None


def connect(to: str | Settings | Redis | None = None) -> None:
    """Say where this process submits tasks. Without this call, `TASK_QUEUE_URL` and the other variables say so.

        taskqueue.connect("redis://queue.internal:6379/0")

    to: The URL of Redis, as in `TASK_QUEUE_URL`; or all settings; or a connection, whose server is used with time
        limits of the task queue's own. None: the environment, which is read again.

    Nothing connects before the first use. A process that is forked later makes connections of its own. Jobs that
    a worker runs use the worker's connection. Raises `InvalidSetting` for a URL that cannot be used.
    """
    match to:
        case str():
            settings = replace(Settings.read(os.environ), redis_url=redis_url({"url": to}, "url", ""))
            set_process(settings, None)
        case Redis():
            set_process(None, connect_for_requests(to))
        case _:
            set_process(to, None)


def set_process(settings: Settings | None, connection: Redis | None) -> None:
    """Set the settings and the connection of this process; None: from the environment."""
    _Given.settings, _Given.connection = settings, connection
    process_settings.cache_clear()
    process_target.cache_clear()


@cache
def process_settings() -> Settings:
    """Return the settings of this process."""
    return _Given.settings or Settings.read(os.environ)


def process_connection() -> Redis:
    """Return the connection pool of this process. It connects when it is used, and again after a fork."""
    return _Given.connection or _made(process_settings().redis_url)


@cache
def process_target() -> tuple[Redis, Settings, str]:
    """Return where this process submits: its connection, its settings, and the URL; "": `connect` got no URL."""
    settings = process_settings()
    return process_connection(), settings, "" if _Given.connection else settings.redis_url


@cache
def _made(url: str) -> Redis:
    return connect_for_requests(url)
