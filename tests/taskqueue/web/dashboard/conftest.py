"""Fixtures of the dashboard's tests: the application, and jobs in every state."""

from base64 import b64encode
from collections.abc import Callable

import pytest
from flask import Flask
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.web.dashboard.stored import FAR, json_result, write_job, write_result, write_worker
from web import create_app


@pytest.fixture
def app(settings: Settings, job_types: JobTypes) -> Flask:
    return create_app(settings, job_types)


@pytest.fixture
def every_state(redis: Redis, queue: TaskQueue, work: Callable[..., str]) -> list[str]:
    """Make a job in each status of RQ, and in some that RQ does not have; return their ids."""
    for job_type in ("generic", "hopeless", "later"):
        queue.submit(job_type, {})
    work()
    rq = Queue("default", connection=redis, serializer=JSONSerializer)
    running, waits = rq.enqueue("taskqueue.call.generic"), rq.enqueue("taskqueue.call.generic")
    redis.lrem("rq:queue:default", 0, running.id)
    redis.hset(running.key, "status", "started")
    write_worker(redis, "busy", running)
    write_worker(redis, "lost", Job("vanished", connection=redis, serializer=JSONSerializer))
    write_worker(redis, "odd", pid="many", total_working_time="inf")
    redis.sadd("rq:workers", "no worker's key", b"\xff")
    rq.enqueue("taskqueue.call.generic", depends_on=waits)
    rq.enqueue("taskqueue.call.generic", depends_on="expired")
    rq.enqueue("taskqueue.call.generic").cancel()

    write_job(redis, "no-data", data=None)
    write_job(redis, "odd-status", status="odd")
    write_job(redis, "odd-date", created_at="soon")
    write_job(redis, "odd-number", timeout="long")
    write_job(redis, "odd-origin", origin=b"\xff")
    write_job(redis, "odd-meta", meta="[" * 10_000)
    write_job(redis, "list-meta", meta="[1]", **{"tq:progress": "nearly", "tq:attempt": "x"})
    write_job(redis, "odd-result", "finished")
    write_result(redis, "odd-result", return_value="?")
    write_job(redis, "deep-result", "finished")
    write_result(redis, "deep-result", return_value=json_result("[" * 900 + "]" * 900))
    write_job(redis, "no-number-result", "finished")
    write_result(redis, "no-number-result", return_value=json_result("[NaN, Infinity]"))
    write_job(redis, "odd-traceback")
    write_result(redis, "odd-traceback", 2, exc_string=b64encode(b"no zlib").decode())
    write_job(redis, "odd-kind")
    write_result(redis, "odd-kind", 99)
    write_job(redis, "no-results")
    redis.set("rq:results:no-results", "text")
    write_job(redis, "in-a-lost-group", group_id="lost")
    write_job(redis, "in-a-lost-run")
    redis.zadd("rq:executions:in-a-lost-run", {"lost": FAR})
    write_job(redis, "elsewhere", origin="somewhere")
    redis.set("rq:job:no-hash", "text")
    for registry in ("finished", "failed", "scheduled", "deferred", "canceled"):
        redis.zadd(f"rq:{registry}:default", {"vanished": FAR, "no-hash": FAR, "no id": FAR, b"\xff": FAR})
    redis.zadd("rq:wip:default", {"vanished:run": FAR, "no-execution": FAR})
    redis.rpush("rq:queue:default", "vanished", "no-hash", b"\xff")
    redis.sadd("rq:queues", "no queue's key", b"rq:queue:\xff", "rq:queue:", "rq:queue:a/b")

    keys = [key.decode().removeprefix("rq:job:") for key in redis.keys("rq:job:*")]
    seen = {
        redis.hget(f"rq:job:{job_id}", "status") for job_id in keys if job_id != "no-hash" and ":" not in job_id
    }
    rare = {"created", "stopped", "rate_limited", "ready_to_enqueue"}  # short moments, or what we do not use
    assert {status.value.encode() for status in JobStatus if status.value not in rare} <= seen
    return keys
