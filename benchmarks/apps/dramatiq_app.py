"""Dramatiq, with its middleware as it comes (it keeps no results unless asked)."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from drive import started

dramatiq.set_broker(RedisBroker(url=os.environ["TASK_QUEUE_URL"]))


@dramatiq.actor
def noop() -> None:
    pass


@dramatiq.actor
def stamp(at: float) -> None:
    started(at)


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop.send()


enqueue_stamp = stamp.send
