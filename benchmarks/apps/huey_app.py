"""Huey with its Redis storage, default settings."""

import os
import time

from drive import WAIT_SECONDS, ended, started
from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["TASK_QUEUE_URL"])


@huey.task()
def noop() -> None:
    pass


@huey.task()
def stamp(at: float) -> None:
    started(at)


@huey.task()
def wait() -> None:
    time.sleep(WAIT_SECONDS)
    ended()


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop()


def enqueue_waits(count: int) -> None:
    for _ in range(count):
        wait()


enqueue_stamp = stamp
