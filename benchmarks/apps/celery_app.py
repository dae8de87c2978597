"""Celery, with its broker and its results in Redis."""

import os
import time

from celery import Celery
from drive import WAIT_SECONDS, ended, started

app = Celery("bench", broker=os.environ["TASK_QUEUE_URL"], backend=os.environ["TASK_QUEUE_URL"])


@app.task(name="noop")
def noop() -> None:
    pass


@app.task(name="stamp")
def stamp(at: float) -> None:
    started(at)


@app.task(name="wait")
def wait() -> None:
    time.sleep(WAIT_SECONDS)
    ended()


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop.delay()


def enqueue_waits(count: int) -> None:
    for _ in range(count):
        wait.delay()


enqueue_stamp = stamp.delay
