"""Whatever stands in Redis, and whatever is published: it is set aside or left out, and the workers go on."""

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from rq.job import Job

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]

FUZZ_SECONDS = 12
ODD = [b"\xff", b"", b"x", b"1", b":", b"a:b", b"[" * 5000, b"{}", b"nan", "ü".encode() * 200]
KEYS = [
    "rq:queue:default", "rq:queue:high", "rq:queues", "rq:workers", "rq:workers:default", "rq:worker:one",
    "rq:worker:one:executions", "rq:wip:default", "rq:finished:default", "rq:failed:default",
    "rq:scheduled:default", "rq:deferred:default", "rq:canceled:default", "rq:ready:default",
    "rq:scheduler-lock:default", "tq:paused",
    "tq:schedules", "tq:schedule:x", "tq:batches", "tq:batch:x", "tq:batch:x:tasks", "tq:limits", "tq:limit:solo",
    "tq:limit:solo:running", "tq:limit:solo:held", "tq:limit:solo:passed", "tq:limit:solo:starts",
    "tq:callbacks:owed", "tq:index", "tq:index:tags", "tq:index:tag:x", "tq:index:type:generic", "tq:totals",
    "tq:aside",
]  # fmt: skip
MESSAGES = [
    b"x", b"", b"[]", b'"x"', b"null", b"\xff", b"[" * 5000, b'{"command": []}', b'{"command": "stop-job"}',
    b'{"command": "stop-job", "job_id": [], "execution_id": {}}', b'{"command": 1e999}',
]  # fmt: skip


def put_rubbish(redis: Redis, key: str, chance: random.Random) -> None:
    """Put a value of any type at a key, or an odd member into what is there."""
    member, score = chance.choice(ODD), chance.choice([0, 1, time.time(), 1e308, float("-inf")])
    if chance.random() < 0.6:
        redis.delete(key)
    kind = chance.choice(["set", "sadd", "zadd", "rpush", "hset", "xadd"])
    value: list[object] = {
        "set": [member],
        "sadd": [member],
        "rpush": [member],
        "zadd": [score, member],
        "hset": [chance.choice(["schedule", "next_run", "looked", "concurrency", "x"]), member],
        "xadd": ["*", "x", member],
    }[kind]
    # The worker may write, too: what Redis refuses by now is not written.
    right = {"sadd": b"set", "zadd": b"zset", "rpush": b"list", "hset": b"hash"}.get(kind)
    if redis.type(key) in (b"none", right):
        with suppress(ResponseError):
            redis.execute_command(kind, key, *value)


def test_whatever_is_in_redis_the_worker_goes_on(start: Start, queue: TaskQueue, redis: Redis) -> None:
    chance = random.Random(7)
    worker = start("--name", "one", "--queues", "high,default", "--horses", "2")
    pid = worker.process.pid
    ends = time.monotonic() + FUZZ_SECONDS
    for number in count():
        if time.monotonic() > ends:
            break
        put_rubbish(redis, KEYS[number % len(KEYS)], chance)
        redis.publish("rq:pubsub:one", chance.choice(MESSAGES))
        for name in ("tq:limits", "tq:limit:generic"):
            redis.delete(name)
        if redis.type("rq:queue:default") in (b"none", b"list"):
            job = f"job-{number}"
            redis.hset(f"rq:job:{job}", mapping={
                "status": "queued", "origin": "default", "created_at": "2026-11-24T10:43:05.120000Z",
                "data": '["taskqueue.call.generic", null, [], {}]', "timeout": "10",
            })  # fmt: skip
            with suppress(ResponseError):
                redis.rpush("rq:queue:default", job)
            if redis.type(f"rq:results:{job}") == b"none" and number % 7 == 0:
                redis.set(f"rq:results:{job}", "x")
        assert worker.lives, worker.log
    for key in KEYS:  # from now on nobody writes rubbish: whatever is there already must be no hindrance
        put_rubbish(redis, key, chance)
    redis.delete("tq:paused", "tq:limit:generic")
    wait_until(lambda: redis.type("rq:queue:default") in (b"none", b"list"), what="the queue to be usable")
    wait_until(lambda: redis.type("rq:queues") in (b"none", b"set"), what="the queues to be usable")
    wait_until(lambda: redis.type("tq:index") in (b"none", b"zset"), what="the index to be usable")
    wait_until(lambda: redis.type("tq:index:type:generic") in (b"none", b"zset"), what="the index to be usable")
    task = queue.submit("generic", {"n": 1})
    until(queue, task.id, "complete")
    assert (worker.lives, worker.process.pid) == (True, pid)
    assert "Logging error" not in worker.log
    # One line for each key that was moved, three for each job; and no error is logged again and again.
    others = [line for line in worker.log.splitlines() if "moved to tq:aside" not in line]
    assert len(others) < 400 + 3 * worker.log.count("Processing"), worker.log


@pytest.mark.parametrize("key", ["rq:queue:high", "tq:paused", "rq:wip:default", "rq:finished:default"])
def test_a_key_of_the_wrong_type_is_moved_aside_once(
    start: Start, queue: TaskQueue, redis: Redis, key: str
) -> None:
    redis.set(key, "x")
    worker = start("--queues", "high,default")
    horses = worker.horses()
    task = queue.submit("generic", {})
    until(queue, task.id, "complete")
    redis.delete(key)
    redis.set(key, "y")  # while it works
    second = queue.submit("generic", {})
    until(queue, second.id, "complete")
    wait_until(lambda: redis.get(f"tq:aside:{key}") == b"y", what="the second value to be moved")
    assert b"string" in redis.hget("tq:aside", key)
    assert (worker.lives, worker.horses()) == (True, horses)
    worker.wait_for_line(f"moved to tq:aside:{key}", 2)
    assert worker.log.count(f"moved to tq:aside:{key}") == 2
    assert "Traceback" not in worker.log


def test_a_result_that_cannot_be_stored_is_stored_once_its_key_is_moved(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("generic", {"n": 1}, SubmitOptions(attempts=1))
    redis.set(f"rq:results:{task.id}", "x")
    redis.set(f"tq:logs:{task.id}", "x")
    worker = start()
    wait_until(lambda: redis.hget(Job.key_for(task.id), "status") == b"finished", what="the result")
    assert queue.get(task.id).result == {"n": 1}
    assert redis.zscore("rq:finished:default", task.id)
    worker.wait_for_line(f"Task {task.id} complete")
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_no_command_is_left_out(
    start: Start, queue: TaskQueue, redis: Redis, message: bytes
) -> None:
    worker = start("--name", "one")
    for _ in range(20):
        assert redis.publish("rq:pubsub:one", message) == 1
    task = queue.submit("generic", {})
    until(queue, task.id, "complete")
    redis.publish("rq:pubsub:one", json.dumps({"command": "shutdown"}))
    wait_until(lambda: not worker.lives, what="the worker to obey")
    assert worker.process.returncode == 0
    assert worker.log.count("is no command") <= 1


@pytest.mark.parametrize(
    "intervals",
    ["[]", '{"a": 1}', "[null]", "[[1]]", "5", "-5", "true", "[1e15]", "[1e308]", "[Infinity]", "[NaN]", '["x"]'],
)
def test_odd_retry_intervals_end_no_worker(start: Start, queue: TaskQueue, redis: Redis, intervals: str) -> None:
    odd, good = queue.submit("misnamed", {}, SubmitOptions(attempts=2)), queue.submit("generic", {})
    redis.hset(Job.key_for(odd.id), "retry_intervals", intervals)
    worker = start()
    until(queue, good.id, "complete")
    wait_until(lambda: queue.get(odd.id).status in ("scheduled", "failed"), what="the odd one to be settled")
    assert worker.lives
    assert worker.log.count("Worker child process") == 0


@pytest.mark.parametrize("data", [b"no json", b"\xff", b"[]", b'["x"]', b"{}", b"[[], 1, 2, 3]", b"null"])
def test_data_that_cannot_be_read_is_logged_without_an_error_of_the_log(
    start: Start, queue: TaskQueue, redis: Redis, data: bytes
) -> None:
    odd = queue.submit("generic", {})
    redis.hset(Job.key_for(odd.id), "data", data)
    worker = start()
    until(queue, odd.id, "failed")
    until(queue, queue.submit("generic", {}).id, "complete")  # the horse has written all about the odd one
    assert "Logging error" not in worker.log
    assert odd.id[:8] in worker.log


@pytest.mark.parametrize("value", ["nan", "inf", "1e308", "soon", "-1e300"])
def test_a_time_that_is_none_does_not_keep_a_task_from_being_shown(
    queue: TaskQueue, redis: Redis, value: str
) -> None:
    task = queue.submit("generic", {}, SubmitOptions(delay=100))
    redis.hset(Job.key_for(task.id), "tq:expires_at", value)
    assert queue.get(task.id).expires_at is None
    redis.zadd("rq:scheduled:default", {task.id: 1e308})
    assert queue.get(task.id).scheduled_for is None


@pytest.mark.parametrize("key", ["tq:schedules", "tq:batches", "rq:wip:default"])
def test_an_odd_member_is_left_out(
    start: Start, server: RedisServer, queue: TaskQueue, redis: Redis, key: str
) -> None:
    redis.zadd(key, {b"\xff": 1, b"": 1, b"x": 1})
    redis.hset("tq:schedule:u", mapping={
        "schedule": '{"task_type":"generic","interval":1}', "next_run": 1, "updated_at": "1e300",
    })  # fmt: skip
    redis.zadd("tq:schedules", {"u": 1})
    worker = start()
    wait_until(lambda: not redis.zrangebyscore(key, 1, 1), what="the members to be left out")
    task = queue.submit("generic", {})
    until(queue, task.id, "complete")
    assert worker.lives
    worker.wait_for_line("Schedule u cannot be read")
    assert worker.log.count("Schedule u cannot be read") == 1
