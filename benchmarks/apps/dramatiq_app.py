"""Dramatiq, with its middleware as it comes (it keeps no results unless asked)."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from drive import WAIT_SECONDS, ended, started

dramatiq.set_broker(RedisBroker(url=os.environ["TASK_QUEUE_URL"]))


@dramatiq.actor
def noop() -> None:
    pass


@dramatiq.actor
def stamp(at: float) -> None:
    started(at)


@dramatiq.actor
def wait() -> None:
    time.sleep(WAIT_SECONDS)
    ended()


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop.send()


def enqueue_waits(count: int) -> None:
    for _ in range(count):
        wait.send()


enqueue_stamp = stamp.send
