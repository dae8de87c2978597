"""The tests' own job types that wait: functions for threads, and coroutines, each with one habit."""

import asyncio
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import redis.asyncio

from taskqueue import current_task, job, progress

log = logging.getLogger(__name__)


@job("nap", attempts=2, timeout=5, retry_delay=0, io_bound=True)
def nap(seconds: float = 0, words: str = "") -> str | None:
    """Log and print some words, wait in a thread, and return the id of the task that the thread sees."""
    if words:
        log.info(words)
        print(words, "printed")
        progress(1, 2, words)
    time.sleep(seconds)
    task = current_task()
    return task and task.id


@job("wait", attempts=2, timeout=5, retry_delay=0)
async def wait(seconds: float = 0, words: str = "") -> str | None:
    """Log and print some words, wait in the event loop, and return the id of the task that the coroutine sees."""
    if words:
        log.info(words)
        print(words, "printed")
        progress(1, 2, words)
    await asyncio.sleep(seconds)
    task = current_task()
    return task and task.id


@job("held_nap", attempts=2, timeout=60, retry_delay=0, io_bound=True)
def held_nap(file: str) -> None:
    """Count the run in Redis; wait in a thread until this file exists."""
    io_counted()
    while not Path(file).exists():
        time.sleep(0.01)


@job("held_wait", attempts=2, timeout=60, retry_delay=0)
async def held_wait(file: str) -> None:
    """Count the run in Redis; wait in the event loop until this file exists."""
    await asyncio.to_thread(io_counted)
    while not Path(file).exists():  # noqa: ASYNC110, ASYNC240  what another process does; a look takes microseconds
        await asyncio.sleep(0.01)


def _seen(where: str) -> str:
    """Log where this is, and return the id of the task that it sees."""
    log.info(where)
    task = current_task()
    return task.id if task else ""


@job("branches", attempts=1)
async def branches() -> list[str]:
    """Return the id of the task as other threads and asyncio tasks see it."""
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(_seen("in a thread")))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        seen.append(pool.submit(_seen, "in a pool").result())

    async def branch() -> str:
        return _seen("in a task")

    return [*seen, await asyncio.create_task(branch()), await asyncio.to_thread(_seen, "in asyncio's thread")]


@job("patient", attempts=1, timeout=60)
async def patient() -> None:
    """Wait for a minute in the event loop."""
    await asyncio.sleep(60)


@job("busy_thread", attempts=1, timeout=60, io_bound=True)
def busy_thread() -> None:
    """Wait for a minute in a thread, in small steps."""
    for _ in range(6000):
        time.sleep(0.01)


@job("deaf_thread", attempts=1, timeout=60, io_bound=True)
def deaf_thread() -> None:
    """Wait for a minute in a thread, in one step, in which it hears nothing."""
    time.sleep(60)


@job("swallowing_thread", attempts=1, io_bound=True)
def swallowing_thread() -> None:
    """Ignore the time limit, for a minute."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(BaseException):
            time.sleep(0.01)


@job("swallowing_coroutine", attempts=1)
async def swallowing_coroutine() -> None:
    """Ignore the time limit, for a minute."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(BaseException):
            await asyncio.sleep(0.01)


@job("swallowing_blocker", attempts=1)
async def swallowing_blocker() -> None:
    """Block the event loop for a minute, and ignore the time limit."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(BaseException):
            time.sleep(0.01)  # noqa: ASYNC251  it blocks


@job("blocking", attempts=1)
async def blocking(seconds: float) -> None:
    """Block the event loop for this many seconds."""
    time.sleep(seconds)  # noqa: ASYNC251  it blocks


client = redis.asyncio.Redis.from_url(os.environ.get("SAMPLE_REDIS", "redis://127.0.0.1:1"))


@job("pings", attempts=1)
async def pings() -> bool:
    """Use a client that was made at import."""
    return bool(await client.ping())


@job("io_crash", attempts=2, retry_delay=0, io_bound=True)
def io_crash() -> None:
    """Kill the own process."""
    os.kill(os.getpid(), signal.SIGKILL)


@job("counted_nap", io_bound=True)
def counted_nap() -> None:
    """Count how many of these jobs run at the same time."""
    task = current_task()
    assert task
    now = int(task.connection.incr("test:now"))
    most = max(now, int(task.connection.get("test:most") or 0))
    task.connection.set("test:most", most)
    time.sleep(0.1)
    task.connection.decr("test:now")


@job("io_hungry", attempts=1, io_bound=True)
def io_hungry(mib: int) -> int:
    """Use this much memory."""
    return len(bytearray(b"x") * (mib << 20))


@job("io_counted", attempts=100, retry_delay=0, io_bound=True)
def io_counted() -> None:
    """Count the run in Redis."""
    task = current_task()
    assert task
    task.connection.incr(f"test:runs:{task.id}")


@job("aio_counted", attempts=100, retry_delay=0)
async def aio_counted() -> None:
    """Count the run in Redis."""
    await asyncio.to_thread(io_counted)


@job("io_busy_in_c", attempts=1, timeout=1, io_bound=True)
def io_busy_in_c() -> int:
    """Count for hours in C code, which holds Python's lock: no other thread of the process can run."""
    return sum(range(10**13))
