"""The stored fields of a job: the same however a task is submitted, and known to the worker's fast path."""

from collections.abc import Callable

import pytest
from redis import Redis

from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.job_fields import PLAIN_FIELDS
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.telemetry.trace import Trace, current_trace
from taskqueue.worker.job import ClaimedJob

Submit = Callable[[TaskQueue, Redis], str]


def one_by_one(queue: TaskQueue, redis: Redis) -> str:
    return queue.submit("generic", {"a": 1}).id


def in_a_batch(queue: TaskQueue, redis: Redis) -> str:
    batches = Batches(redis, queue.submissions, queue.job_types)
    (task_id,) = batches.submit(batches.prepare([{"task_type": "generic", "payload": {"a": 1}}])).results
    assert isinstance(task_id, str)
    return task_id


def with_an_option(queue: TaskQueue, redis: Redis) -> str:
    return queue.submit("generic", {"a": 1}, SubmitOptions(queue="high", attempts=7, timeout=5)).id


def claimed(redis: Redis, task_id: str) -> ClaimedJob:
    return ClaimedJob.of(task_id, redis.hgetall(f"rq:job:{task_id}"), redis, "worker")


@pytest.mark.parametrize("submit", [one_by_one, in_a_batch, with_an_option])
@pytest.mark.parametrize("trace", [None, Trace("request-1")], ids=["outside of a request", "in a request"])
def test_a_plain_task_takes_the_workers_fast_path(
    redis: Redis, queue: TaskQueue, submit: Submit, trace: Trace | None
) -> None:
    """A field that is added to every job must be one of PLAIN_FIELDS, or each task would be read as a whole."""
    current_trace.set(trace)
    assert claimed(redis, submit(queue, redis)).is_fresh


@pytest.mark.parametrize(
    "options",
    [
        SubmitOptions(tags=("a",)),
        SubmitOptions(expires_in=60),
        SubmitOptions(priority="front"),
        SubmitOptions(callback_url="https://example.com"),
    ],
)
def test_a_task_whose_options_a_worker_must_know_does_not(
    redis: Redis, queue: TaskQueue, options: SubmitOptions
) -> None:
    assert not claimed(redis, queue.submit("generic", {}, options).id).is_fresh


def test_a_task_of_a_batch_has_the_fields_of_a_single_one(redis: Redis, queue: TaskQueue) -> None:
    single, of_batch = (redis.hgetall(f"rq:job:{submit(queue, redis)}") for submit in (one_by_one, in_a_batch))
    assert single.keys() == of_batch.keys() == {field.encode() for field in PLAIN_FIELDS}
    chance_or_time = {b"created_at", b"enqueued_at", b"retry_intervals"}
    assert all(single[field] == of_batch[field] for field in single.keys() - chance_or_time)
