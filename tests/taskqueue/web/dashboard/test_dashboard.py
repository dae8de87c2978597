"""The dashboard: in every state of Redis, for every caller, and with any data that another program wrote."""

import json
import pickle
import signal
import subprocess
import sys
import time
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.web.conftest import problem
from web import create_app

ALL_REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
FAR = 10**10  # a score, in seconds: nothing in a registry has expired
CREATED = "2026-11-24T10:00:00.000000Z"


def addresses(app: Flask, methods: str, **values: list[Any]) -> list[str]:
    """Yield every address under /rq for a method, with every value of each of its parts."""
    found = []
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith("/rq/") and methods in (rule.methods or ()) and "static" not in rule.rule:
                parts: list[dict[str, Any]] = [{}]
                for name in sorted(rule.arguments):
                    parts = [part | {name: value} for part in parts for value in values[name]]
                found += [built[1] for part in parts if (built := rule.build(part | dict(rule.defaults or {})))]
    return sorted(set(found))


def write_job(redis: Redis, job_id: str, registry: str = "failed", **more: Any) -> None:
    """A job as any program might write it."""
    stored = {"data": '["f", null, [], {}]', "origin": "default", "status": registry, "created_at": CREATED} | more
    redis.hset(f"rq:job:{job_id}", mapping={name: value for name, value in stored.items() if value is not None})
    redis.sadd("rq:queues", "rq:queue:default")
    if registry == "queued":
        redis.rpush("rq:queue:default", job_id)
    else:
        redis.zadd(f"rq:{registry}:default", {job_id: FAR})


def write_result(redis: Redis, job_id: str, kind: int = 1, **stored: Any) -> None:
    redis.xadd(f"rq:results:{job_id}", {"type": kind, **stored})


def json_result(text: str) -> str:
    return b64encode(text.encode()).decode()


def write_worker(redis: Redis, name: str, job: Job | None = None, **more: Any) -> None:
    redis.sadd("rq:workers", f"rq:worker:{name}")
    stored = {"queues": "high,default", "state": "busy", "birth": CREATED, "last_heartbeat": CREATED} | more
    redis.hset(f"rq:worker:{name}", mapping=stored)
    if job:
        with redis.pipeline() as pipeline:
            Execution.create(job, 60, pipeline, worker_name=name)
            pipeline.execute()


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


def sweep(app: Flask, method: str, job_ids: list[str], queues: list[str]) -> list[str]:
    values: dict[str, list[Any]] = {
        "instance_number": [0, 1],
        "queue_name": queues,
        "registry_name": [*ALL_REGISTRIES, "odd"],
        "per_page": [100],
        "order": ["asc", "dsc"],
        "page": [1, 2],
        "job_id": [*job_ids, "vanished", "a:b", "no id", "x" * 500, "\x00"],
    }
    return addresses(app, method, **values)


def test_no_page_fails_in_any_state(client: FlaskClient, app: Flask, every_state: list[str]) -> None:
    gets = sweep(app, "GET", every_state, ["default", "low", "unknown"])
    assert len(gets) > 200
    for address in gets:
        with client.get(address, follow_redirects=True) as response:
            assert response.status_code in (200, 404), f"{address}: {response.status_code}"
            if response.status_code == 200 and address.endswith(".json"):
                json.loads(response.data, parse_constant=pytest.fail)  # a browser reads neither NaN nor Infinity


def test_no_button_fails_in_any_state(client: FlaskClient, app: Flask, every_state: list[str]) -> None:
    posts = sweep(app, "POST", every_state, ["default", "low", "unknown"])
    # One job after the other first; "queue" and "requeue" then find what could not be deleted.
    for address in [*(post for post in posts if "/job/" in post and "/requeue" in post), *posts]:
        response = client.post(address)
        assert response.status_code in (200, 404, 409), f"{address}: {response.status_code}"
        assert response.get_json(force=True).get("message" if response.status_code == 200 else "detail")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/rq/1/view/queues", 404),
        ("/rq/1/data/queues.json", 404),
        ("/rq/0/view/jobs/default/odd/8/asc/1", 404),
        ("/rq/0/view/jobs/default/failed/8/up/1", 400),
        ("/rq/0/view/jobs/default/failed/0/asc/1", 400),
        ("/rq/0/data/jobs/default/failed/8/asc/0.json", 400),
        ("/rq/0/data/jobs/default/failed/-8/asc/1.json", 400),
        ("/rq/0/data/jobs/default/failed/8/asc/x.json", 400),
        (f"/rq/0/data/jobs/default/failed/8/asc/{'9' * 5000}.json", 400),
        (f"/rq/0/data/jobs/default/failed/8/asc/{10**20}.json", 200),
        (f"/rq/0/view/jobs/default/failed/{10**20}/asc/1", 200),
        ("/rq/0/view/job/unknown", 404),
        ("/rq/0/data/job/unknown.json", 404),
        ("/rq/static/unknown.js", 404),
    ],
)
def test_an_address_that_makes_no_sense_is_told(client: FlaskClient, address: str, status: int) -> None:
    response = client.get(address)
    assert response.status_code == status
    if status != 200:
        assert response.content_type.startswith("application/problem" if ".json" in address else "text/html")


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


class Bomb:
    """An object that touches a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def test_nothing_is_unpickled(client: FlaskClient, app: Flask, redis: Redis, tmp_path: Path) -> None:
    proof = tmp_path / "went off"
    bomb = pickle.dumps(Bomb(proof))
    job_ids = [f"bomb-{registry}" for registry in ALL_REGISTRIES]
    for job_id, registry in zip(job_ids, ALL_REGISTRIES, strict=True):
        write_job(redis, job_id, registry, data=bomb, meta=bomb, result=bomb, exc_info=bomb, webhooks=bomb)
        write_result(redis, job_id, return_value=b64encode(bomb).decode())
        write_worker(redis, f"works-on-{job_id}", Job(job_id, connection=redis, serializer=JSONSerializer))
    for address in sweep(app, "GET", job_ids, ["default"]):
        client.get(address).close()
    posts = sweep(app, "POST", job_ids, ["default"])
    for address in [*(post for post in posts if "/requeue" in post), *posts]:
        client.post(address)
    assert not proof.exists()
    pickle.loads(bomb)
    assert proof.exists()  # it is a bomb


class TestWhoMayAsk:
    @pytest.fixture
    def locked(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        locked = Settings(redis_url=settings.redis_url, dashboard_auth=("mé", "pä:ss"))
        return create_app(locked, job_types).test_client()

    @pytest.mark.parametrize("auth", [None, ("mé", "wrong"), ("you", "pä:ss"), ("", ""), ("mé", "")])
    def test_without_the_login_nothing_is_shown(
        self, locked: FlaskClient, app: Flask, auth: tuple[str, str] | None
    ) -> None:
        for address in [*sweep(app, "GET", ["x"], ["default"]), "/rq/static/js/jquery-3.5.1.min.js"]:
            with locked.get(address, auth=auth, follow_redirects=True) as response:
                assert response.status_code == 401, address
                assert response.headers["WWW-Authenticate"].startswith("Basic ")
        for address in sweep(app, "POST", ["x"], ["default"]):
            assert locked.post(address, auth=auth).status_code == 401, address

    @pytest.mark.parametrize("header", ["Bearer x", "Basic", "Basic ?", "Basic /w==", "Digest username=mé"])
    def test_what_is_no_login_is_refused(self, locked: FlaskClient, header: str) -> None:
        assert locked.get("/rq/", headers={"Authorization": header}).status_code == 401

    def test_the_login_opens_it(self, locked: FlaskClient) -> None:
        assert locked.get("/rq/", auth=("mé", "pä:ss")).status_code == 200

    def test_without_dashboard_auth_it_is_open(self, client: FlaskClient) -> None:
        assert client.get("/rq/").status_code == 200

    def test_the_rest_of_the_application_asks_for_no_login(self, locked: FlaskClient) -> None:
        response = locked.get("/healthz")
        assert response.status_code == 200
        assert "Content-Security-Policy" not in response.headers

    def test_nothing_is_changed_by_a_get(self, client: FlaskClient, app: Flask, redis: Redis) -> None:
        write_job(redis, "it")
        redis.rpush("rq:queue:default", "vanished")
        before = {key: redis.dump(key) for key in redis.scan_iter()}
        for address in sweep(app, "GET", ["it"], ["default"]):
            client.get(address, follow_redirects=True).close()
        for address in sweep(app, "POST", ["it"], ["default"]):
            response = client.get(address)
            assert response.status_code == 405, address
            assert "POST" in response.headers["Allow"]
        assert {key: redis.dump(key) for key in redis.scan_iter()} == before

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Origin": "http://localhost:81"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_nothing_is_changed_from_another_origin(
        self, client: FlaskClient, app: Flask, redis: Redis, headers: dict[str, str]
    ) -> None:
        write_job(redis, "it")
        for address in sweep(app, "POST", ["it"], ["default"]):
            assert client.post(address, headers=headers).status_code == 403, address
        assert redis.zscore("rq:failed:default", "it")

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Origin": "http://localhost"}, {"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"}],
    )
    def test_our_own_pages_and_curl_may_change_it(
        self, client: FlaskClient, redis: Redis, headers: dict[str, str]
    ) -> None:
        write_job(redis, "it")
        assert client.post("/rq/job/it/delete", headers=headers).status_code == 200


def test_no_answer_may_be_framed_run_from_elsewhere_or_guessed(client: FlaskClient, redis: Redis) -> None:
    policies = set()
    for address in ("/rq/", "/rq/0/view/job/unknown", "/rq/0/data/queues.json", "/rq/1/view/queues"):
        headers = client.get(address).headers
        policies.add(headers["Content-Security-Policy"])
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
    assert len(policies) == 4  # each has a nonce of its own


class TestWithoutRedis:
    @pytest.fixture
    def client(self, own_redis: RedisServer, job_types: JobTypes) -> FlaskClient:
        own_redis.stop()
        return create_app(Settings(redis_url=own_redis.url), job_types).test_client()

    def test_every_address_is_a_clear_503(self, client: FlaskClient) -> None:
        assert isinstance(client.application, Flask)
        for method in ("GET", "POST"):
            for address in sweep(client.application, method, ["it"], ["default"]):
                if "/1/" in address or "odd" in address or "favicon" in address or "started/empty" in address:
                    continue
                response = client.open(address, method=method, follow_redirects=True)
                if b"no such job" in response.data:  # not even the form of an id: Redis is not asked
                    continue
                if method == "GET" and b"Loading..." in response.data and "/view/jobs/" not in address:
                    pytest.fail(f"{address} is shown as if Redis were there")
                assert response.status_code == 503, address
                assert b"Redis did not answer." in response.data
                assert int(response.headers["Retry-After"]) > 0

    def test_it_comes_back_with_redis(self, client: FlaskClient, own_redis: RedisServer) -> None:
        assert client.get("/rq/").status_code == 503
        own_redis.start()
        assert client.get("/rq/").status_code == 200

    def test_it_answers_in_bounded_time_though_redis_hangs(
        self, own_redis: RedisServer, job_types: JobTypes, figure: Figure
    ) -> None:
        client = create_app(Settings(redis_url=own_redis.url), job_types).test_client()
        client.get("/rq/0/view/workers")  # RQ's Worker gives its connection a timeout of minutes
        own_redis.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        assert client.get("/rq/0/view/workers").status_code == 503
        seconds = time.monotonic() - start
        figure("Redis hangs: the dashboard says so", seconds)
        assert seconds < 6 * SLACK


def test_a_template_that_has_changed_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from taskqueue.web.dashboard import patches

    (tmp_path / "rq_dashboard").mkdir()
    (tmp_path / "rq_dashboard" / "base.html").write_text("another version")
    monkeypatch.setattr(patches, "ORIGINAL", tmp_path)
    with pytest.raises(RuntimeError, match=r"base\.html has changed"):
        patches.loader()
