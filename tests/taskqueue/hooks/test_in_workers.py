"""Hooks in real workers: around their processes, around jobs, and when a task has failed."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue import submit
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker

HOOKS = """
import asyncio, os, signal, time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from rq import get_current_job

from taskqueue import CurrentTask, around_job, around_process, current_task, job, when_failed, PermanentFailure

EVENTS = Path(__file__).parent.parent / "events"


def note(*words: object) -> None:
    with EVENTS.open("a") as file:
        print(*words, file=file)


@around_process
def process() -> Iterator[None]:
    note("process begins", os.getpid())
    yield
    note("process ends", os.getpid())


@around_job
def around() -> Iterator[None]:
    task = current_task()
    note("job begins", task.type, task.id, os.getpid())
    yield
    note("job ends", task.type)


@when_failed
def failed(task: CurrentTask, error: BaseException) -> None:
    note("failed", task.type, task.id, type(error).__name__, str(error).partition(";")[0])


@when_failed
def fails_itself(task: CurrentTask, error: BaseException) -> None:
    raise OSError("no Sentry")


@job("fine")
def fine() -> int:
    return os.getpid()


@job("gives_up", attempts=2, retry_delay=0)
def gives_up() -> None:
    raise ConnectionError("the line is down")


@job("dies", attempts=1)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""
ASYNC = """
import asyncio
from collections.abc import AsyncIterator
from taskqueue import around_process, job, needs

class Pool:
    loop = None
    ticks = 0

async def tick():
    while True:
        Pool.ticks += 1
        await asyncio.sleep(0)

@around_process
async def pool() -> AsyncIterator[None]:
    Pool.loop = asyncio.get_running_loop()
    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()

async def connection() -> AsyncIterator[asyncio.Task[None]]:
    keeping_alive = asyncio.create_task(asyncio.sleep(3600))
    yield keeping_alive
    assert not keeping_alive.done()

@job("in_the_loop")
async def in_the_loop(keeping_alive: asyncio.Task[None] = needs(connection)) -> list[bool]:
    left = asyncio.create_task(asyncio.sleep(3600))  # is canceled when the job ends
    before = Pool.ticks
    for _ in range(10):
        await asyncio.sleep(0)
    tasks = len(asyncio.all_tasks())  # this one, the one that it leaves, the connection's, the pool's
    return [asyncio.get_running_loop() is Pool.loop, Pool.ticks > before, tasks == 4]
"""

SHARED = """
import asyncio
import os
import time
from collections.abc import AsyncIterator

from jobs.hooks import note
from taskqueue import CurrentTask, around_process, job, needs, when_failed


class Pool:
    loop: asyncio.AbstractEventLoop


@around_process
async def pool() -> AsyncIterator[None]:
    Pool.loop = asyncio.get_running_loop()
    yield
    del Pool.loop  # raises in another process


async def connection() -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield "connected"


@when_failed
async def slow(task: CurrentTask, error: BaseException) -> None:
    await asyncio.sleep(0.5)
    note("slow hook ends", task.type)


@job("shared_coroutine")
async def shared_coroutine(through: str = needs(connection)) -> list[object]:
    return [os.getpid(), asyncio.get_running_loop() is Pool.loop, through]


@job("shared_function", io_bound=True)
def shared_function(through: str = needs(connection)) -> list[object]:
    return [os.getpid(), Pool.loop.is_running(), through]


@job("coroutine_fails", attempts=1)
async def coroutine_fails() -> None:
    raise ConnectionError("the line is down")


@job("function_fails", attempts=1, io_bound=True)
def function_fails() -> None:
    raise ConnectionError("the line is down")


@job("coroutine_takes_long", attempts=1, timeout=1)
async def coroutine_takes_long() -> None:
    await asyncio.sleep(60)


@job("function_hangs", attempts=1, timeout=1, io_bound=True)
def function_hangs() -> None:
    time.sleep(3)


@job("takes_longer")
def takes_longer() -> None:
    time.sleep(4)  # until the function that hangs has ended, too
"""


@pytest.fixture
def hooked_project(bare_project: Path) -> Path:
    for file in (bare_project / "jobs").glob("[a-z]*.py"):
        file.unlink()  # the other job types take a second to import
    (bare_project / "jobs" / "hooks.py").write_text(HOOKS)
    return bare_project


def events(project: Path) -> list[str]:
    path = project / "events"
    return path.read_text().splitlines() if path.exists() else []


def post(redis: Redis, queue: TaskQueue, name: str) -> str:
    """Queue a task of a type that this process does not know."""
    task_id = queue.submit("generic", {}).id
    redis.hset(f"rq:job:{task_id}", "data", json.dumps([f"taskqueue.call.{name}", None, [], {}]))
    return task_id


def test_a_process_begins_and_ends_once_around_all_its_jobs(
    hooked_project: Path, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    ids = [post(redis, queue, "fine") for _ in range(3)]
    work(cwd=hooked_project)
    begin, *jobs, end = events(hooked_project)
    pid = queue.get(ids[0]).result
    assert (begin, end) == (f"process begins {pid}", f"process ends {pid}")
    assert jobs == [line for task_id in ids for line in (f"job begins fine {task_id} {pid}", "job ends fine")]


def test_a_task_that_has_failed_for_good_is_told_once_and_settled(
    hooked_project: Path, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task_id = post(redis, queue, "gives_up")
    child = submit("generic", {}, depends_on=[task_id])  # RQ's own code settles a task with dependents
    redis.hset(f"rq:job:{task_id}", mapping={"retries_left": 1, "retry_intervals": "[0]"})
    log = work(cwd=hooked_project)
    told = [line for line in events(hooked_project) if line.startswith("failed")]
    assert told == [f"failed gives_up {task_id} ConnectionError the line is down"]
    assert len([line for line in events(hooked_project) if "begins gives_up" in line]) == 2
    assert "The @when_failed hook jobs.hooks.fails_itself has failed" in log
    assert (queue.get(task_id).status, queue.get(child).status) == ("failed", "deferred")
    assert queue.get(task_id).attempt == 2


def test_a_task_that_has_killed_its_process_is_told_too(
    hooked_project: Path, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task_id = post(redis, queue, "dies")
    redis.hset(f"rq:job:{task_id}", "retries_left", 0)
    work(cwd=hooked_project)
    wait_until(lambda: any(line.startswith("failed") for line in events(hooked_project)), what="the hook")
    (told,) = [line for line in events(hooked_project) if line.startswith("failed")]
    assert told == f"failed dies {task_id} WorkHorseDied Work-horse terminated unexpectedly"


def test_at_sigterm_the_process_hooks_end(
    hooked_project: Path, redis: Redis, tmp_path: Path, shared_redis: object, env: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "worker.log"
    worker = RunningWorker(hooked_project, log, shared_redis.url)  # type: ignore[attr-defined]
    try:
        wait_until(lambda: events(hooked_project), what="the process hook")
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(30)
        assert [line.rpartition(" ")[0] for line in events(hooked_project)] == ["process begins", "process ends"]
    finally:
        worker.stop()


def test_async_process_hooks_share_their_loop_with_async_jobs(
    hooked_project: Path, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    (hooked_project / "jobs" / "pool.py").write_text(ASYNC)
    ids = [post(redis, queue, "in_the_loop") for _ in range(2)]
    work(cwd=hooked_project)
    assert [queue.get(task_id).result for task_id in ids] == [[True, True, True]] * 2


def test_hooks_and_needs_hold_in_the_process_that_jobs_share(
    hooked_project: Path, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    (hooked_project / "jobs" / "shared.py").write_text(SHARED)
    names = ["shared_coroutine", "shared_function", "coroutine_fails", "function_fails"]
    names += ["coroutine_takes_long", "function_hangs"]
    ids = {name: post(redis, queue, name) for name in names}
    post(redis, queue, "takes_longer")
    for name, task_id in ids.items():
        redis.hset(f"rq:job:{task_id}", mapping={"description": name, "timeout": 1, "retries_left": 0})
    work(cwd=hooked_project)
    ran = [queue.get(ids[name]).result for name in names[:2]]
    pid = ran[0][0]
    assert ran == [[pid, True, "connected"]] * 2
    lines = events(hooked_project)
    assert f"process begins {pid}" in lines
    assert f"job begins shared_coroutine {ids[names[0]]} {pid}" in lines
    assert f"job begins shared_function {ids[names[1]]} {pid}" in lines
    begins = sorted(line.rpartition(" ")[2] for line in lines if line.startswith("process begins"))
    assert begins == sorted(line.rpartition(" ")[2] for line in lines if line.startswith("process ends"))
    assert {f"slow hook ends {name}" for name in names[2:]} <= set(lines)
    told = sorted(line.partition(ids[line.split()[1]])[::2] for line in lines if line.startswith("failed"))
    late = " JobTimeoutException Task exceeded maximum timeout value (1 seconds)"
    assert told == [
        ("failed coroutine_fails ", " ConnectionError the line is down"),
        ("failed coroutine_takes_long ", late),
        ("failed function_fails ", " ConnectionError the line is down"),
        ("failed function_hangs ", late),
    ]
    assert {queue.get(ids[name]).status for name in names[2:]} == {"failed"}


def test_a_process_hook_that_fails_is_named_and_no_job_is_lost(
    hooked_project: Path, redis: Redis, queue: TaskQueue, tmp_path: Path, shared_redis: object
) -> None:
    (hooked_project / "jobs" / "broken.py").write_text(
        "from taskqueue import around_process\n"
        "@around_process\n"
        "def broken():\n    raise OSError('no database')\n    yield\n"
    )
    task_id = post(redis, queue, "fine")
    log = tmp_path / "worker.log"
    worker = RunningWorker(hooked_project, log, shared_redis.url)  # type: ignore[attr-defined]
    try:
        wait_until(lambda: "the @around_process hook jobs.broken.broken has failed" in log.read_text(), what="it")
        assert "OSError: no database" in log.read_text()
        assert "report this as a bug" not in log.read_text()
        assert queue.get(task_id).status == "queued"
    finally:
        worker.stop()


def test_a_stock_worker_fills_what_a_job_needs(redis: Redis, queue: TaskQueue, work: Callable[..., str]) -> None:
    task_id = queue.submit("needy", {"name": "Ada"}).id
    rq = str(Path(sys.executable).parent / "rq")
    with_url = ("--url", os.environ["TASK_QUEUE_URL"])
    work(command=(rq, "worker", "--burst", "-S", "json", *with_url, "high", "default", "low"))
    assert queue.get(task_id).result == "Ada 1"
    assert redis.get("test:ended") == b"1"
