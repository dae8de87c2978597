"""What stands in the way of a task, on a real Redis."""

import pytest
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer
from rq.suspension import suspend

from taskqueue.monitor.queue_warnings import FRESH_SECONDS, QueueWarnings
from taskqueue.store.connection import connect_for_probes
from tests.conftest import wait_until
from tests.taskqueue.enqueue.test_queue import commands

QUEUES = ("high", "default", "low")


def codes(redis: Redis, queue: str = "default", *, delayed: bool = False) -> list[str]:
    return [warning.code for warning in QueueWarnings(redis, QUEUES).of(queue, delayed=delayed)]


@pytest.fixture
def worker(redis: Redis) -> Worker:
    """A worker that is registered for two of the queues."""
    worker = Worker(["high", "default"], connection=redis, serializer=JSONSerializer)
    worker.register_birth()
    return worker


def test_where_all_is_well_nothing_is_said(redis: Redis, worker: Worker) -> None:
    assert codes(redis) == []


def test_a_queue_without_a_worker_is_told(redis: Redis, worker: Worker) -> None:
    assert codes(redis, "low") == ["no-worker"]
    redis.delete(worker.key)  # it is silent: Redis has forgotten it
    assert codes(redis) == ["no-worker"]


def test_a_silent_worker_of_ours_counts_no_more_and_a_stock_one_does(redis: Redis, worker: Worker) -> None:
    redis.expire(worker.key, 75)
    assert codes(redis) == []
    redis.hset(worker.key, "tq:horses", 1)
    assert codes(redis) == ["no-worker"]
    redis.expire(worker.key, 89)
    assert codes(redis) == []


def test_a_pause_is_told(redis: Redis, worker: Worker) -> None:
    redis.sadd("tq:paused", "high")
    assert (codes(redis, "high"), codes(redis, "default")) == (["queue-paused"], [])
    suspend(redis)
    assert codes(redis, "default") == ["suspended"]


def test_a_delayed_task_needs_a_scheduler(redis: Redis, worker: Worker) -> None:
    assert codes(redis, delayed=True) == ["no-scheduler"]
    redis.set("rq:scheduler-lock:default", "x")
    assert codes(redis, delayed=True) == []


def test_a_redis_that_keeps_nothing_is_told(redis: Redis, worker: Worker) -> None:
    redis.config_set("appendonly", "no")
    try:
        assert codes(redis) == ["not-persistent"]
        redis.config_set("save", "3600 1")
        assert codes(redis) == []
    finally:
        redis.config_set("save", "")
        redis.config_set("appendonly", "yes")


def test_what_was_seen_lately_is_told_without_a_look(redis: Redis) -> None:
    queue_warnings = QueueWarnings(redis, QUEUES)
    assert commands(redis, lambda: queue_warnings.of("default")) == []


def test_what_is_older_is_looked_up_aside(redis: Redis, worker: Worker) -> None:
    queue_warnings = QueueWarnings(redis, QUEUES)
    assert queue_warnings.of("default") == []
    redis.delete(worker.key)
    queue_warnings._read_at -= FRESH_SECONDS
    redis.client_pause(1000)  # milliseconds, in which Redis does not answer the look
    assert queue_warnings.of("default") == []  # this one does not wait
    wait_until(lambda: queue_warnings.of("default"), what="the look")


def test_without_redis_nothing_is_said() -> None:
    assert codes(connect_for_probes("redis://127.0.0.1:1")) == []
