"""Tasks are submitted from threads, greenlets, event loops and forked processes."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Thread

import pytest
from redis import Redis
from redis.client import Monitor

from taskqueue import submit_many
from tests.conftest import ROOT, wait_until
from tests.sample_jobs.samples import double

pytestmark = pytest.mark.usefixtures("env", "job_types")


class Commands:
    """The commands that Redis gets."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seen: Queue[str] = Queue()

    def listen(self, monitor: Monitor) -> None:
        for command in monitor.listen():
            if command["client_type"] != "lua":  # what a script calls is no round trip
                self._seen.put(command["command"])
            if command["command"] == "ECHO the-end":
                return

    def until_now(self) -> list[str]:
        """Return the names of what has come since the last call, without what begins a connection."""
        self._redis.echo("until-now")
        commands = list(iter(lambda: self._seen.get(timeout=10), "ECHO until-now"))
        names = [command.partition(" ")[0] for command in commands]
        return [name for name in names if name not in ("PING", "CLIENT", "HELLO")]


@pytest.fixture
def commands(redis: Redis) -> Iterator[Commands]:
    commands = Commands(redis)
    with redis.monitor() as monitor:
        thread = Thread(target=commands.listen, args=(monitor,))
        thread.start()
        yield commands
        redis.echo("the-end")
        thread.join(10)


def test_a_submission_is_one_round_trip(commands: Commands) -> None:
    double.submit(1)  # connects, and may load the script
    commands.until_now()
    for number in range(5):
        double.submit(number)
    assert commands.until_now() == ["EVALSHA"] * 5


def test_a_coroutines_submission_is_one_round_trip(commands: Commands) -> None:
    async def submit() -> None:
        await double.asubmit(1)
        await asyncio.to_thread(commands.until_now)
        for number in range(5):
            await double.asubmit(number)

    asyncio.run(submit())
    assert commands.until_now() == ["EVALSHA"] * 5


def test_a_batch_is_one_transaction(commands: Commands) -> None:
    submit_many([double.task(1)], then=double.task(2))
    commands.until_now()
    submit_many([double.task(number) for number in range(3)], then=double.task(4))
    names = commands.until_now()
    assert (names[:2], names[-1], names.count("EXEC")) == (["SCRIPT", "MULTI"], "EXEC", 1)


def test_threads_submit_at_the_same_time(redis: Redis) -> None:
    with ThreadPoolExecutor(16) as pool:
        ids = {handle.id for handle in pool.map(double.submit, range(400))}
    assert len(ids) == redis.llen("rq:queue:default") == 400


def submit_here(number: int) -> str:
    return double.submit(number).id


def test_a_forked_process_has_connections_of_its_own(redis: Redis) -> None:
    double.submit(0)  # the parent's connection is open, and idle in its pool
    with multiprocessing.get_context("fork").Pool(4) as pool:
        ids = pool.map(submit_here, range(200), chunksize=5)
        ids += [double.submit(number).id for number in range(100)]
    assert len(set(ids)) == 300
    assert redis.llen("rq:queue:default") == 301


def test_a_coroutine_that_waits_in_a_forked_process_is_woken() -> None:
    """The thread that listens for the parent's coroutines does not survive the fork."""

    async def wait() -> str:
        handle = await double.options(delay=60).asubmit(1)
        waiting = asyncio.create_task(handle.aresult(timeout=30))
        await asyncio.wait([waiting], timeout=0.2)
        await handle.acancel()
        with pytest.raises(Exception, match="was canceled"):
            await waiting
        return "woken"

    assert asyncio.run(wait()) == "woken"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if asyncio.run(wait()) == "woken" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_each_event_loop_has_connections_of_its_own_and_closes_them(redis: Redis) -> None:
    async def submit() -> None:
        await asyncio.gather(*[double.asubmit(number) for number in range(100)])

    before = len(redis.client_list())
    for _ in range(4):
        asyncio.run(submit())
    assert redis.llen("rq:queue:default") == 400
    wait_until(lambda: len(redis.client_list()) <= before, what="Redis to see the ends of the connections")


def test_the_loop_is_not_blocked_while_redis_does_not_answer(redis: Redis) -> None:
    async def submit() -> bool:
        await double.asubmit(0)
        redis.client_pause(60_000, all=False)  # scripts wait; the command that ends the pause does not
        submission = asyncio.create_task(double.asubmit(1))
        for _ in range(50):
            await asyncio.wait([submission], timeout=0.001)
        has_waited = not submission.done()
        redis.client_unpause()
        await submission
        return has_waited

    assert asyncio.run(submit())


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import gevent, time
from tests.sample_jobs.samples import double
double.submit(0)
handles = [job.get() for job in [gevent.spawn(double.submit, number) for number in range(200)]]
waits = [gevent.spawn(handle.result, 0.5) for handle in handles[:50]]
began = time.monotonic()
gevent.joinall(waits)
assert all("has not ended" in str(wait.exception) for wait in waits), waits[0].exception
assert time.monotonic() - began < 20  # all wait at the same time: one after the other would take 25 seconds
print(len({handle.id for handle in handles}))
"""
FROM_A_SCRIPT = """
import sys
from tests.sample_jobs.samples import double
assert "taskqueue.worker" not in sys.modules and "flask" not in sys.modules
print(double.submit(2).id)
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_greenlets_submit_and_wait_at_the_same_time(redis: Redis) -> None:
    assert run(GREENLETS) == "200"
    assert redis.llen("rq:queue:default") == 201


def test_a_script_needs_nothing_but_the_import_of_the_function(redis: Redis) -> None:
    assert run(FROM_A_SCRIPT).encode() in redis.lrange("rq:queue:default", 0, -1)


def test_a_submission_that_is_canceled_spoils_no_later_one(redis: Redis) -> None:
    async def submit() -> list[str]:
        await double.asubmit(0)
        redis.client_pause(300)
        canceled = [asyncio.create_task(double.asubmit(number)) for number in range(1, 30)]
        await asyncio.wait(canceled, timeout=0.05)
        for task in canceled:
            task.cancel()
        await asyncio.gather(*canceled, return_exceptions=True)
        handles = await asyncio.gather(*[double.asubmit(100 + number) for number in range(30)])
        tasks = [await handle.arefresh() for handle in handles]
        return [task.payload["number"] for task in tasks]

    assert asyncio.run(submit()) == [100 + number for number in range(30)]


@pytest.mark.parametrize("loss", ["connections", "scripts"])
def test_redis_that_loses_connections_or_scripts_is_not_noticed(redis: Redis, loss: str) -> None:
    def lose() -> None:
        if loss == "scripts":
            redis.script_flush()
        else:
            redis.client_kill_filter(_type="normal", skipme=True)

    async def submit() -> None:
        await double.asubmit(1)
        lose()
        await asyncio.gather(*[double.asubmit(number) for number in range(30)])

    double.submit(1)
    lose()
    double.submit(2)
    asyncio.run(submit())
    assert redis.llen("rq:queue:default") == 33
