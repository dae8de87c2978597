"""This project. Its worker finds two job types in benchmarks/jobs."""

import os

from redis import Redis

from taskqueue import submit
from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.discovery import discover
from taskqueue.settings import Settings

MANY = 100_000  # jobs; above this they are queued in batches, which is faster
BATCH = 10_000

settings = Settings.read(os.environ)
connection = Redis.from_url(settings.redis_url)
job_types = discover()
queue = TaskQueue(connection, settings, job_types)


def enqueue_noops(count: int) -> None:
    if count > MANY:
        batches = Batches(connection, queue.submissions, job_types)
        for _ in range(count // BATCH):
            batches.submit(batches.prepare([{"task_type": "noop"}] * BATCH))
        count %= BATCH
    for _ in range(count):
        queue.submit("noop", {})


def enqueue_waits(count: int) -> None:
    for _ in range(count):
        queue.submit("wait", {})


def enqueue_naps(count: int) -> None:
    for _ in range(count):
        queue.submit("nap", {})


def enqueue_stamp(at: float) -> None:
    submit("stamp", {"at": at})
