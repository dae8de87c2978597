"""Waiting for a task's end: woken by Redis, and never more at the same time than may."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq.job import Job
from rq.results import Result

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.monitor.result_waiter import ResultWaiter
from tests.conftest import wait_until


def finish(redis: Redis, task_id: str) -> None:
    """Do what a worker does at a job's end."""
    with redis.pipeline() as pipeline:
        pipeline.hset(Job.key_for(task_id), "status", "finished")
        pipeline.xadd(Result.get_key(task_id), {"type": 1})
        pipeline.execute()


def waits(redis: Redis) -> bool:
    return any(client["cmd"] == "xread" for client in redis.client_list())


def test_it_is_woken_when_the_task_ends_and_others_are_not_let_in(
    redis: Redis, queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.monitor.result_waiter.LOOK_SECONDS", 60)
    task = queue.submit("generic", {})
    result_waiter = ResultWaiter(redis, queue.get, most=1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(result_waiter.wait, task, 60)
        wait_until(lambda: waits(redis), what="the first to wait")
        assert result_waiter.wait(task, 20) is None
        finish(redis, task.id)
        began = time.monotonic()
        ended = waiting.result(20)
    assert ended
    assert ended.status == "complete"
    assert time.monotonic() - began < 20  # it has not slept through the time between two looks
    assert result_waiter.wait(task, 20) == ended  # its place is free again


def test_when_the_time_is_up_the_task_is_told_as_it_is(redis: Redis, queue: TaskQueue) -> None:
    waited = ResultWaiter(redis, queue.get, most=1).wait(queue.submit("generic", {}), 0.05)
    assert waited
    assert waited.status == "queued"


def test_a_failed_attempt_is_not_the_end(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {})
    redis.xadd(Result.get_key(task.id), {"type": 4, "created_at": 1})
    waited = ResultWaiter(redis, queue.get, most=1).wait(task, 0.05)
    assert waited
    assert waited.status == "queued"


def test_what_goes_wrong_while_it_waits_is_nobodys_error(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {})
    redis.delete(Job.key_for(task.id))
    assert ResultWaiter(redis, queue.get, most=1).wait(task, 5) is None
    assert ResultWaiter(redis, queue.get, most=0).wait(task, 5) is None
