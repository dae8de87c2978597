"""What must hold when something dies, freezes, or is taken away: real processes, a real Redis."""

import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from taskqueue.options import SubmitOptions
from taskqueue.queue import TaskQueue
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.engine.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]


@pytest.mark.parametrize(
    ("job_type", "payload", "words"),
    [
        ("crash", {}, "killed by SIGKILL (signal 9)"),
        ("exit", {"code": 0}, "exit code 0"),
        ("segfault", {}, "killed by SIGSEGV (signal 11)"),
    ],
)
def test_a_work_horse_that_dies_is_settled_within_a_second(
    start: Start, queue: TaskQueue, redis: Redis, job_type: str, payload: dict[str, int], words: str
) -> None:
    worker = start()
    task = queue.submit(job_type, payload)
    wait_until(lambda: "Processing" in worker.log, what="the job to begin")
    assert until(queue, task.id, "failed") < 1
    error = queue.get(task.id).error
    assert error
    assert words in error.message
    assert re.search(r"it had used up to \d+ MiB", error.message)
    assert registries_of(redis, task.id) == ["failed"]
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def test_no_job_is_lost_by_horses_that_are_killed_at_any_moment(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    chance = random.Random(1)
    jobs, kills = 4000, 0
    tasks = [
        queue.submit("counted", {}, SubmitOptions(queue=chance.choice(("high", "default", "low")))).id
        for _ in range(jobs)
    ]
    workers = [start(), start()]

    def done() -> int:
        return sum(int(redis.zcard(f"rq:finished:{name}")) for name in ("high", "default", "low"))

    end = time.monotonic() + 60
    while done() < jobs and time.monotonic() < end:
        for horse in chance.choice(workers).horses():
            with suppress(ProcessLookupError):
                os.kill(horse, signal.SIGKILL)
                kills += 1
        time.sleep(chance.uniform(0, 0.02))
    runs = redis.mget(f"test:runs:{task}" for task in tasks)
    assert None not in runs  # each ran at least once
    assert {queue.get(task).status for task in tasks} == {"complete"}
    assert redis.keys("rq:wip:*") == []
    assert kills > 100


def test_a_worker_that_is_killed_takes_its_horses_along_and_its_job_runs_elsewhere(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    first = start()
    task = queue.submit("long", {"seconds": 3})
    until(queue, task.id, "processing")
    (horse,) = first.horses()
    first.process.kill()
    wait_until(lambda: not Path(f"/proc/{horse}").exists() or "Z" in Path(f"/proc/{horse}/stat").read_text(), 2)
    start()
    assert until(queue, task.id, "complete", seconds=30) < 20
    done = queue.get(task.id)
    assert (done.result, done.attempt, done.attempts, len(done.errors)) == (2, 2, 3, 1)
    assert registries_of(redis, task.id) == ["finished"]


def test_a_job_that_kills_its_worker_each_time_ends_as_failed(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("deadly", {})
    end = time.monotonic() + 90
    worker = start()
    while queue.get(task.id).status != "failed":
        assert time.monotonic() < end
        if worker.process.poll() is not None:
            worker = start()
        time.sleep(0.05)
    assert queue.get(task.id).attempt == 3
    assert registries_of(redis, task.id) == ["failed"]


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


def test_a_worker_that_was_frozen_cannot_overwrite_the_newer_result(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    frozen = start()
    task = queue.submit("long", {"seconds": 2})
    until(queue, task.id, "processing")
    (horse,) = frozen.horses()
    for pid in (frozen.process.pid, horse):
        os.kill(pid, signal.SIGSTOP)
    start()
    until(queue, task.id, "complete", seconds=30)
    newer = queue.get(task.id)
    for pid in (horse, frozen.process.pid):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "dropped: finished" in frozen.log, what="the stale result")
    assert queue.get(task.id) == newer
    assert registries_of(redis, task.id) == ["finished"]


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
