"""Redis restarts, hangs, is full, or loses answers: no worker exits, nothing is lost, nothing is run twice."""

import random
import signal
import time
from collections.abc import Callable

import pytest
from redis import Redis
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.worker.settle_and_claim import SettleAndClaim
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.worker.stage import Proxy, RunningWorker, registries_of, until, until_it_runs

Start = Callable[..., RunningWorker]
SLOW = pytest.mark.slow


@pytest.mark.parametrize("absence", [2, pytest.param(12, marks=SLOW), pytest.param(60, marks=SLOW)])
def test_a_result_that_was_made_while_redis_was_away_is_stored_when_it_is_back(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer, figure: Figure, absence: float
) -> None:
    workers = [start(), start()]
    task = queue.submit("long", {"seconds": 0.5})
    until_it_runs(redis, task.id)
    server.stop()
    time.sleep(absence)  # the absence itself, which nothing announces
    server.start()
    figure(f"Redis is away {absence} s: a result made meanwhile is stored", until(queue, task.id, "complete"))
    assert (queue.get(task.id).result, queue.get(task.id).attempt) == (1, 1)
    assert all(worker.lives for worker in workers)
    after = queue.submit("generic", {})
    figure(f"Redis is away {absence} s: the next job is complete", until(queue, after.id, "complete"))
    assert registries_of(redis, task.id) == ["finished"]


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=SLOW)])
def test_a_redis_that_hangs_loses_nothing(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer, figure: Figure, seconds: float
) -> None:
    workers = [start(), start()]
    task = queue.submit("long", {"seconds": 0.5})
    until_it_runs(redis, task.id)
    server.send_signal(signal.SIGSTOP)
    time.sleep(seconds)  # as above
    server.send_signal(signal.SIGCONT)
    figure(f"Redis hangs {seconds} s: a result made meanwhile is stored", until(queue, task.id, "complete"))
    assert (queue.get(task.id).result, queue.get(task.id).attempt) == (1, 1)
    assert all(worker.lives for worker in workers)
    wait_until(
        lambda: any(f"Task {task.id} complete" in worker.log for worker in workers), what="the log to say so"
    )
    assert all("dropped" not in worker.log for worker in workers)


def settles_or_claims(command: bytes) -> bool:
    return b"rq:queue:high" in command and b"EVAL" in command


def test_no_job_is_run_twice_because_an_answer_was_lost(
    start: Start, queue: TaskQueue, redis: Redis, proxy: Proxy
) -> None:
    chance = random.Random(1)
    proxy.loses = lambda command: settles_or_claims(command) and chance.random() < 0.3
    tasks = [queue.submit("counted", {}, SubmitOptions(attempts=1)).id for _ in range(200)]
    worker = start(url=proxy.url)
    wait_until(lambda: redis.zcard("rq:finished:default") == len(tasks), 60, what="all jobs")
    assert proxy.lost > 20
    assert set(redis.mget(f"test:runs:{task}" for task in tasks)) == {b"1"}
    assert {queue.get(task).attempt for task in tasks} == {1}
    worker.wait_for_line("complete in", len(tasks))
    assert "dropped" not in worker.log
    assert worker.log.count("complete in") == len(tasks)


def test_a_claim_that_reached_redis_twice_is_given_back(start: Start, queue: TaskQueue, redis: Redis) -> None:
    worker = start("--name", "one", "--queues", "high")
    task = queue.submit("counted", {}, SubmitOptions(queue="high", attempts=1))
    until(queue, task.id, "complete")
    second = queue.submit("counted", {}, SubmitOptions(queue="default", attempts=1))
    # As if the network had delivered the last bytes of a cut connection late.
    assert SettleAndClaim(redis, "one", ["default"], 10)(claim="late").jobs[0].id == second.id
    wait_until(lambda: "put back" in worker.log, what="the worker to notice")
    read = queue.get(second.id)
    assert (read.status, read.attempt, read.errors) == ("queued", 0, ())
    assert registries_of(redis, second.id) == ["queued"]


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=SLOW)])
def test_workers_go_on_while_redis_is_full(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure, seconds: float
) -> None:
    workers = [start(), start()]
    tasks = [
        queue.submit(*job, SubmitOptions(attempts=1)) for job in (("long", {"seconds": seconds}), ("generic", {}))
    ]
    until_it_runs(redis, tasks[0].id)
    full_from = time.monotonic()
    redis.config_set("maxmemory", 1)
    with pytest.raises(QueueUnavailable, match="Redis is full"):
        queue.submit("generic", {})
    for task in tasks:
        until(
            queue, task.id, "complete", seconds=seconds + 5 * SLACK
        )  # the result needs no more memory than the job
    redis.config_set("maxmemory", 0)
    was_full = time.monotonic() - full_from
    after = queue.submit("generic", {})
    figure(f"Redis was full {seconds} s: the next job is complete", until(queue, after.id, "complete"))
    for worker in workers:
        assert worker.lives
        assert worker.log.count("Redis refused") < 2 + was_full / 5
        assert "child process crashed" not in worker.log


def test_rqs_commands_are_heard_again_after_redis_was_away(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer
) -> None:
    worker = start()
    until(queue, queue.submit("generic", {}).id, "complete")
    server.stop()
    wait_until(lambda: "does not answer" in worker.log, what="the worker to miss Redis")
    server.start()
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    wait_until(lambda: redis.pubsub_channels("rq:pubsub:*"), what="its subscription")
    send_stop_job_command(redis, task.id, JSONSerializer)
    until(queue, task.id, "canceled")
