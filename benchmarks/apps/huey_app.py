"""Huey with its Redis storage, default settings."""

import os

from drive import started
from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["TASK_QUEUE_URL"])


@huey.task()
def noop() -> None:
    pass


@huey.task()
def stamp(at: float) -> None:
    started(at)


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop()


enqueue_stamp = stamp
