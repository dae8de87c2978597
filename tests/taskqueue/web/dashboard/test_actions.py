"""What the buttons do."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.web.conftest import problem
from tests.taskqueue.web.dashboard.stored import FAR, write_job, write_result, write_worker


class TestButtons:
    def test_a_failed_job_is_run_again(
        self, client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        task = queue.submit("flaky", {"failures": 4})
        work()
        assert queue.get(task.id).status == "failed"
        assert client.post(f"/rq/job/{task.id}/requeue").get_json()["message"] == "The job is queued again."
        work()
        assert queue.get(task.id).status == "complete"

    def test_a_job_that_has_not_failed_is_not_run_again(self, client: FlaskClient, queue: TaskQueue) -> None:
        task = queue.submit("generic", {})
        assert (
            "is queued. Only a failed or canceled"
            in problem(client.post(f"/rq/job/{task.id}/requeue"), 409)["detail"]
        )

    def test_all_failed_jobs_are_run_again_though_some_have_vanished_or_cannot_be_read(
        self, client: FlaskClient, redis: Redis, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        tasks = [queue.submit("hopeless", {}) for _ in range(2)]
        work()
        write_job(redis, "odd", status="odd")
        redis.zadd("rq:failed:default", {"odd": 1, "vanished": 2})
        answer = client.post("/rq/requeue/default").get_json()
        assert answer["count"] == 2
        assert answer["message"] == "Jobs queued again: 2. Gone before: 1. Cannot be queued again: 1."
        assert {queue.get(task.id).status for task in tasks} == {"queued"}
        assert redis.zrange("rq:failed:default", 0, -1) == [b"odd"]  # where an operator still finds it

    @pytest.mark.parametrize("registry", ["queued", "scheduled", "deferred", "finished", "failed", "canceled"])
    def test_empty_deletes_every_job(self, client: FlaskClient, redis: Redis, registry: str) -> None:
        write_job(redis, "good", registry)
        write_job(redis, "odd", registry, created_at="soon", group_id="lost")
        assert client.post(f"/rq/queue/default/{registry}/empty").get_json()["count"] == 2
        assert set(redis.keys()) == {b"rq:queues", b"tq:changes"}

    @pytest.mark.parametrize("stored", [{}, {"status": "odd"}, {"data": None}, {"group_id": "lost"}])
    def test_delete_leaves_nothing_of_a_job(
        self, client: FlaskClient, redis: Redis, stored: dict[str, Any]
    ) -> None:
        write_job(redis, "it", **stored)
        write_result(redis, "it", 2)
        assert client.post("/rq/job/it/delete").get_json()["message"] == "The job is deleted."
        assert set(redis.keys()) == {b"rq:queues", b"tq:changes"}

    def test_delete_forgets_a_job_that_has_vanished(self, client: FlaskClient, redis: Redis) -> None:
        write_job(redis, "other")
        redis.zadd("rq:failed:default", {"vanished": FAR})
        assert client.post("/rq/job/vanished/delete").status_code == 200
        assert redis.zrange("rq:failed:default", 0, -1) == [b"other"]
        assert client.post("/rq/job/vanished/delete").status_code == 404

    def test_a_failed_job_that_rq_cannot_write_is_queued_again(self, client: FlaskClient, redis: Redis) -> None:
        write_job(redis, "it", meta="[1]")  # RQ takes it off the registry before it finds that it cannot write it
        assert client.post("/rq/job/it/requeue").status_code == 200
        assert (redis.zscore("rq:failed:default", "it"), redis.lrange("rq:queue:default", 0, -1)) == (
            None,
            [b"it"],
        )

    def test_a_running_job_is_not_deleted(self, client: FlaskClient, redis: Redis, queue: TaskQueue) -> None:
        task = queue.submit("generic", {})
        write_worker(redis, "busy", Job.fetch(task.id, connection=redis, serializer=JSONSerializer))
        for address in (f"/rq/job/{task.id}/delete", "/rq/queue/default/started/empty"):
            assert "A running task cannot be deleted" in problem(client.post(address), 409)["detail"]
        assert queue.get(task.id)

    def test_a_job_whose_worker_is_long_dead_is_deleted(self, client: FlaskClient, redis: Redis) -> None:
        write_job(redis, "it", "started")
        redis.delete("rq:started:default")
        redis.zadd("rq:wip:default", {"it:run": time.time() - 1})
        assert client.post("/rq/job/it/delete").status_code == 200

    def test_compact_removes_the_vanished_and_keeps_the_order(
        self, client: FlaskClient, redis: Redis, queue: TaskQueue
    ) -> None:
        first = queue.submit("generic", {})
        redis.rpush("rq:queue:default", "vanished")
        second = queue.submit("generic", {})
        assert client.post("/rq/queue/default/compact").get_json()["count"] == 1
        assert redis.lrange("rq:queue:default", 0, -1) == [first.id.encode(), second.id.encode()]
        assert client.post("/rq/queue/low/compact").get_json()["count"] == 0  # RQ's own fails at an empty queue
