"""Whatever stands in Redis as a job: it fails or is set aside with its reason, and the worker goes on."""

import signal
from collections.abc import Callable

import pytest
from redis import Redis
from rq.job import Job

from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "odd"}, "'odd' is not a valid JobStatus"),
        ({"created_at": "soon"}, "soon"),
        ({"timeout": "long"}, "'long'"),
        ({"retries_left": "many", "tq:attempt": "more", "tq:expires_at": "soon"}, "'many'"),
        ({"data": "no json"}, "zlib.error"),
        ({"data": '["os.getcwd", null, [], {}]'}, "There is no task type 'os.getcwd'"),
        ({"data": '["taskqueue.call.week", null, [], {"of": 1}]'}, "/of: "),
        ({"data": '["taskqueue.call.week", null, [], {}]'}, "/of: "),
        ({"data": '["taskqueue.call.week", null, ["2026-11-23"], {}]'}, "takes named fields only"),
        ({"data": '["system", "os", [], {}]'}, "calls a method of an object"),
    ],
)
def test_a_job_that_cannot_be_run_fails_with_its_reason(
    start: Start, queue: TaskQueue, redis: Redis, fields: dict[str, str], reason: str
) -> None:
    bad, good = queue.submit("generic", {}), queue.submit("generic", {})
    redis.hset(Job.key_for(bad.id), mapping=fields)
    worker = start()
    until(queue, good.id, "complete")
    read = queue.get(bad.id)
    assert (read.status, registries_of(redis, bad.id), worker.lives) == ("failed", ["failed"], True)
    assert read.error
    assert reason in read.error.traceback


def test_an_error_that_utf_8_cannot_say_is_told(start: Start, queue: TaskQueue) -> None:
    task = queue.submit("misnamed", {})
    start()
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    assert (error.type, error.message) == ("ValueError", r"no such file: caf\udce9.txt")


def test_a_job_ends_its_own_processes(start: Start, queue: TaskQueue) -> None:
    task = queue.submit("ends_its_child", {})
    start()
    until(queue, task.id, "complete")
    assert queue.get(task.id).result == -signal.SIGTERM


def test_a_job_type_that_only_newer_code_knows_is_tried_again(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("generic", {})
    redis.hset(Job.key_for(task.id), "data", '["taskqueue.call.tomorrow", null, [], {}]')
    start()
    until(queue, task.id, "scheduled")
    error = queue.get(task.id).error
    assert error
    assert "There is no task type 'tomorrow'" in error.message


def test_a_job_in_another_queue_than_it_says_runs_once(start: Start, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("counted", {})
    redis.hset(Job.key_for(task.id), "origin", "low")
    worker = start()
    until(queue, task.id, "complete")
    assert registries_of(redis, task.id) == ["finished"]
    worker.wait_for_line(f"Task {task.id} complete")
    assert "dropped" not in worker.log


def test_an_id_without_a_job_is_set_aside_with_its_reason(start: Start, queue: TaskQueue, redis: Redis) -> None:
    redis.rpush("rq:queue:default", "vanished", "no-hash", "no-data")
    redis.set("rq:job:no-hash", "x")
    redis.hset("rq:job:no-data", "status", "queued")
    good = queue.submit("generic", {})
    worker = start()
    until(queue, good.id, "complete")
    aside = {task.decode(): reason.decode() for task, reason in redis.hgetall("tq:aside").items()}
    assert aside["vanished"] == "the job hash is gone: it has expired, or was deleted"
    assert aside["no-hash"].startswith("WRONGTYPE")
    assert aside["no-data"] == "the job hash has no data"
    assert worker.lives


def test_a_job_with_thousands_of_fields_runs(start: Start, queue: TaskQueue, redis: Redis) -> None:
    """Lua cannot pass so many fields as arguments."""
    task = queue.submit("generic", {})
    redis.hset(Job.key_for(task.id), mapping={f"field {number}": "" for number in range(10_000)})
    start()
    until(queue, task.id, "complete")
