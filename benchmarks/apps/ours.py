"""This project. Its worker finds the two job types in benchmarks/jobs."""

import os

from redis import Redis

from taskqueue.job_types import discover
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings

settings = Settings.read(os.environ)
queue = TaskQueue(Redis.from_url(settings.redis_url), settings, discover())


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        queue.submit("noop", {})


def enqueue_stamp(at: float) -> None:
    queue.submit("stamp", {"at": at})
