"""taskiq on a Redis list, with its results in Redis."""

import asyncio
import os

from drive import WAIT_SECONDS, ended, started
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

loop = asyncio.new_event_loop()
url = os.environ["TASK_QUEUE_URL"]
broker = ListQueueBroker(url).with_result_backend(RedisAsyncResultBackend(url, result_ex_time=86_400))


@broker.task(task_name="noop")
async def noop() -> None:
    pass


@broker.task(task_name="stamp")
async def stamp(at: float) -> None:
    started(at)


@broker.task(task_name="wait")
async def wait() -> None:
    await asyncio.sleep(WAIT_SECONDS)
    ended()


async def enqueue(task: object, *calls: tuple[object, ...]) -> None:
    for call in calls:
        await task.kiq(*call)


def enqueue_noops(count: int) -> None:
    loop.run_until_complete(enqueue(noop, *[()] * count))


def enqueue_waits(count: int) -> None:
    loop.run_until_complete(enqueue(wait, *[()] * count))


def enqueue_stamp(at: float) -> None:
    loop.run_until_complete(enqueue(stamp, (at,)))
