"""arq. Its worker polls; by default every half second, which would be its start latency."""

import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings
from drive import LANES, WAIT_SECONDS, ended, started

loop = asyncio.new_event_loop()
redis_settings = RedisSettings.from_dsn(os.environ["TASK_QUEUE_URL"])
pools = []


async def noop(context: dict[str, object]) -> None:
    pass


async def stamp(context: dict[str, object], at: float) -> None:
    started(at)


async def wait(context: dict[str, object]) -> None:
    await asyncio.sleep(WAIT_SECONDS)
    ended()


class WorkerSettings:
    """The settings of `arq arq_app.WorkerSettings`."""

    functions = (noop, stamp, wait)
    max_jobs = LANES
    poll_delay = 0.01
    redis_settings = redis_settings


async def enqueue(*calls: tuple[object, ...]) -> None:
    if not pools:
        pools.append(await create_pool(redis_settings))
    for call in calls:
        await pools[0].enqueue_job(*call)


def enqueue_noops(count: int) -> None:
    loop.run_until_complete(enqueue(*[("noop",)] * count))


def enqueue_waits(count: int) -> None:
    loop.run_until_complete(enqueue(*[("wait",)] * count))


def enqueue_stamp(at: float) -> None:
    loop.run_until_complete(enqueue(("stamp", at)))
