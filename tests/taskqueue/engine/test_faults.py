"""What must hold when something dies, freezes, or is taken away: real processes, a real Redis."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from taskqueue.queue import TaskQueue
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.engine.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]


def test_what_does_not_end_at_its_time_limit_is_killed_with_its_children(
    start: Start, queue: TaskQueue, tmp_path: Path
) -> None:
    start()
    child_file = tmp_path / "child"
    task = queue.submit("stubborn", {"child_file": str(child_file)})
    until(queue, task.id, "processing")
    assert until(queue, task.id, "failed") < 1 + 2
    error = queue.get(task.id).error
    assert error
    assert "did not end at its time limit" in error.message
    child = Path(f"/proc/{child_file.read_text()}")
    wait_until(lambda: not child.exists() or ") Z " in (child / "stat").read_text(), 2, what="the child to end")


def test_a_running_job_has_its_grace_time(start: Start, queue: TaskQueue) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 1})
    until(queue, task.id, "processing")
    worker.process.terminate()
    assert worker.process.wait(20) == 0
    assert queue.get(task.id).status == "complete"


def test_after_the_grace_time_a_job_is_put_back_to_the_front_and_no_attempt_is_used(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    worker = start("--grace-seconds", "0")
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    queue.submit("generic", {})
    worker.process.terminate()
    assert worker.process.wait(20) == 0
    read = queue.get(task.id)
    assert (read.status, read.attempt, read.errors) == ("queued", 0, ())
    assert redis.lindex("rq:queue:default", 0) == task.id.encode()
    assert registries_of(redis, task.id) == ["queued"]


def test_a_running_job_is_stopped_by_rqs_own_command(start: Start, queue: TaskQueue, redis: Redis) -> None:
    start()
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    send_stop_job_command(redis, task.id, JSONSerializer)
    assert until(queue, task.id, "canceled") < 1
    assert registries_of(redis, task.id) == ["failed"]  # RQ's place for what was stopped
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


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


def test_a_worker_is_stopped_at_once_while_redis_is_away(
    start: Start, queue: TaskQueue, server: RedisServer
) -> None:
    worker = start()
    until(queue, queue.submit("generic", {}).id, "complete")
    server.stop()
    wait_until(lambda: "does not answer" in worker.log, what="the worker to miss Redis")
    worker.process.terminate()
    assert worker.process.wait(10) == 0


@pytest.mark.parametrize("seconds", [0.5, 4])
def test_a_result_that_was_made_while_redis_was_away_is_stored(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer, seconds: float
) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 0.5})
    until(queue, task.id, "processing")
    server.stop()
    time.sleep(seconds)  # the absence itself, which nothing announces
    server.start()
    until(queue, task.id, "complete")
    assert (queue.get(task.id).result, queue.get(task.id).attempt) == (1, 1)
    assert worker.process.poll() is None
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def test_a_redis_that_hangs_loses_nothing(start: Start, queue: TaskQueue, server: RedisServer) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 0.5})
    until(queue, task.id, "processing")
    server.send_signal(signal.SIGSTOP)
    time.sleep(4)  # as above
    server.send_signal(signal.SIGCONT)
    until(queue, task.id, "complete")
    assert (queue.get(task.id).result, worker.process.poll()) == (1, None)


def test_another_worker_takes_the_scheduler_over(start: Start, queue: TaskQueue, redis: Redis) -> None:
    holder = start()
    task = queue.submit("later", {})
    until(queue, task.id, "scheduled")
    start()
    holder.process.kill()
    redis.zadd("rq:scheduled:default", {task.id: 1})  # it is due
    assert until(queue, task.id, "failed") < 6
    assert queue.get(task.id).attempt == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "odd"},
        {"created_at": "soon"},
        {"timeout": "long"},
        {"data": "no json"},
        {"data": '["os.getcwd", null, [], {}]'},
        {"data": '["taskqueue.call.week", null, [], {"of": 1}]'},
    ],
)
def test_a_job_that_cannot_be_run_is_failed_with_its_reason_and_the_worker_goes_on(
    start: Start, queue: TaskQueue, redis: Redis, fields: dict[str, str]
) -> None:
    bad = queue.submit("generic", {})
    redis.hset(Job.key_for(bad.id), mapping=fields)
    redis.rpush("rq:queue:default", "vanished")
    redis.set("rq:job:no-hash", "x")
    redis.rpush("rq:queue:default", "no-hash")
    good = queue.submit("generic", {})
    worker = start()
    until(queue, good.id, "complete")
    assert registries_of(redis, bad.id) == ["failed"]
    assert redis.hgetall("tq:aside").keys() == {b"no-hash", b"vanished"}
    assert worker.process.poll() is None


def test_suspended_workers_take_nothing_until_they_are_resumed(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    start()
    suspend(redis)
    task = queue.submit("generic", {})
    time.sleep(0.5)  # nothing can be awaited that does not happen
    assert queue.get(task.id).status == "queued"
    resume(redis)
    assert until(queue, task.id, "complete") < 2


def test_a_dependent_runs_when_what_it_waits_for_is_done(start: Start, queue: TaskQueue, redis: Redis) -> None:
    jobs = Queue("default", connection=redis, serializer=JSONSerializer)
    first = jobs.enqueue("taskqueue.call.generic", a=1)
    second = jobs.enqueue("taskqueue.call.generic", depends_on=first)
    assert second.get_status() == "deferred"
    start()
    until(queue, second.id, "complete")
    assert queue.get(first.id).result == {"a": 1}
