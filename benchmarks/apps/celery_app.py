"""Celery, with its broker and its results in Redis."""

import os

from celery import Celery
from drive import started

app = Celery("bench", broker=os.environ["TASK_QUEUE_URL"], backend=os.environ["TASK_QUEUE_URL"])


@app.task(name="noop")
def noop() -> None:
    pass


@app.task(name="stamp")
def stamp(at: float) -> None:
    started(at)


def enqueue_noops(count: int) -> None:
    for _ in range(count):
        noop.delay()


enqueue_stamp = stamp.delay
