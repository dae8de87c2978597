"""What the pages show, with any data that another program wrote."""

import json
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.web.dashboard.stored import (
    FAR,
    json_result,
    write_job,
    write_result,
    write_worker,
)
from web import create_app


class TestWhatIsShown:
    def test_a_running_job_without_its_arguments(
        self, client: FlaskClient, redis: Redis, queue: TaskQueue
    ) -> None:
        task = queue.submit("generic", {"password": "hunter2"})
        write_worker(redis, "busy", Job.fetch(task.id, connection=redis, serializer=JSONSerializer))
        answer = client.get("/rq/0/data/workers.json")
        assert answer.get_json()["workers"][0]["current_job"]["call_string"] == "generic"
        assert b"hunter2" not in answer.data

    def test_our_worker_and_what_it_runs(
        self, client: FlaskClient, queue: TaskQueue, project: Path, env: pytest.MonkeyPatch
    ) -> None:
        task = queue.submit("long", {"seconds": 60})
        command = [sys.executable, "worker.py", "--horses", "1", "--name", "ours", "--grace-seconds", "0"]
        worker = subprocess.Popen(command, cwd=project)
        wait_until(lambda: queue.get(task.id).status == "processing", what="the job to begin")
        (shown,) = client.get("/rq/0/data/workers.json").get_json()["workers"]
        started = client.get("/rq/0/data/jobs/default/started/8/asc/1.json")
        worker.terminate()
        worker.wait(20)
        assert (shown["name"], shown["queues"]) == ("ours", ["high", "default", "low"])
        assert [job["id"] for job in started.get_json()["jobs"]] == [task.id]
        assert queue.get(task.id).status == "queued"

    def test_the_attempts_and_the_progress_of_a_job(
        self, client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        task = queue.submit("steps", {"count": 3})
        work()
        shown = json.loads(client.get(f"/rq/0/data/job/{task.id}.json").get_json()["metadata"])
        assert (shown["attempt"], shown["attempts"], shown["progress"]["done"]) == (1, 3, 3)

    def test_the_jobs_that_a_job_waits_for(self, client: FlaskClient, redis: Redis, queue: TaskQueue) -> None:
        rq = Queue("default", connection=redis, serializer=JSONSerializer)
        first = rq.enqueue("taskqueue.call.generic")
        then = rq.enqueue("taskqueue.call.generic", depends_on=[first])
        shown = client.get(f"/rq/0/data/job/{then.id}.json").get_json()
        assert (shown["depends_on"], shown["depends_on_status"]) == ([first.id], ["active"])

    def test_a_job_that_cannot_be_read_beside_one_that_can(self, client: FlaskClient, redis: Redis) -> None:
        write_job(redis, "good", description="good")
        write_job(redis, "odd", status="bogus")
        redis.zadd("rq:failed:default", {"vanished": FAR})
        jobs = client.get("/rq/0/data/jobs/default/failed/8/asc/1.json").get_json()["jobs"]
        shown = {job["id"]: job["description"] for job in jobs}
        assert shown["good"] == "good"
        assert "bogus" in shown["odd"]
        assert "gone" in shown["vanished"]

    @pytest.mark.parametrize("order", ["asc", "dsc"])
    @pytest.mark.parametrize("registry", ["queued", "failed"])
    def test_each_job_on_one_page_only(self, client: FlaskClient, redis: Redis, registry: str, order: str) -> None:
        for number in range(20):
            write_job(redis, f"job-{number:02}", registry)
        pages = [
            [
                job["id"]
                for job in client.get(f"/rq/0/data/jobs/default/{registry}/8/{order}/{page}.json").get_json()[
                    "jobs"
                ]
            ]
            for page in (1, 2, 3)
        ]
        assert [len(page) for page in pages] == [8, 8, 4]
        shown = [job_id for page in pages for job_id in page]
        assert shown == sorted(shown, reverse=order == "dsc")

    def test_no_more_jobs_than_fit_on_a_page(self, client: FlaskClient, redis: Redis) -> None:
        for number in range(210):
            write_job(redis, f"job-{number:03}")
        assert len(client.get("/rq/0/data/jobs/default/failed/9999/asc/1.json").get_json()["jobs"]) == 200

    def test_the_ends_of_a_huge_text(self, client: FlaskClient, redis: Redis) -> None:
        huge = "begin" + "x" * 1_000_000 + "end"
        write_job(redis, "huge", "finished", description=huge, meta=json.dumps(huge), **{"tq:progress": huge})
        write_result(redis, "huge", return_value=json_result(json.dumps(huge)))
        write_job(redis, "crash", description=huge)
        write_result(redis, "crash", 2, exc_string=b64encode(zlib.compress(huge.encode())).decode())
        answer = client.get("/rq/0/data/job/huge.json")
        assert len(answer.data) < 100_000
        assert answer.get_json()["description"].startswith("beginx")
        failure = client.get("/rq/0/data/job/crash.json").get_json()["exc_info"]
        assert len(failure) < 30_000
        assert failure.endswith("xend")

    def test_the_password_of_redis_is_not(self, job_types: JobTypes, shared_redis: RedisServer) -> None:
        url = f"redis://:hunt@er2@127.0.0.1:{shared_redis.port}/0?password=hunter3&client_name=x"
        client = create_app(Settings(redis_url=url), job_types).test_client()
        for address in ("/rq/", "/rq/0/view/workers", "/rq/0/data/queues.json"):
            page = client.get(address)
            assert b"er2" not in page.data
            assert b"hunter3" not in page.data
