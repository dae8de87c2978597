"""SAQ with default settings."""

import asyncio
import os

from drive import LANES, WAIT_SECONDS, ended, started
from saq import Queue

loop = asyncio.new_event_loop()
queue = Queue.from_url(os.environ["TASK_QUEUE_URL"], name="bench")


async def noop(context: dict[str, object]) -> None:
    pass


async def stamp(context: dict[str, object], *, at: float) -> None:
    started(at)


async def wait(context: dict[str, object]) -> None:
    await asyncio.sleep(WAIT_SECONDS)
    ended()


settings = {"queue": queue, "functions": [noop, stamp, wait], "concurrency": LANES}


async def enqueue(count: int, name: str, **arguments: object) -> None:
    for _ in range(count):
        await queue.enqueue(name, **arguments)


def enqueue_noops(count: int) -> None:
    loop.run_until_complete(enqueue(count, "noop"))


def enqueue_waits(count: int) -> None:
    loop.run_until_complete(enqueue(count, "wait"))


def enqueue_stamp(at: float) -> None:
    loop.run_until_complete(enqueue(1, "stamp", at=at))
