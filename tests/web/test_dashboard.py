"""rq-dashboard behind our lock: no 500, no pickle, no change by a link, no look without the login."""

import json
import pickle
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
)
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat

from taskqueue.job_types import JobTypes
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings
from tests.conftest import RedisServer
from tests.web.conftest import problem
from web import create_app
from web.dashboard.guard import REGISTRIES

OURS = {"Origin": "http://localhost"}
PAGES = ["/rq/", "/rq/0/view/queues", "/rq/0/view/workers", "/rq/0/view/jobs", "/rq/0/data/queues.json"]


class Bomb:
    """Whoever unpickles it touches a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


def every_get(job_ids: list[str]) -> list[str]:
    lists = [
        address
        for queue in ("high", "default", "low", "nope")
        for registry in REGISTRIES
        for address in (
            f"/rq/0/view/jobs/{queue}/{registry}/8/asc/1",
            f"/rq/0/data/jobs/{queue}/{registry}/8/asc/1.json",
            f"/rq/0/data/jobs/{queue}/{registry}/8/dsc/1.json",
        )
    ]
    jobs = [f"/rq/0/{kind}" for id_ in job_ids for kind in (f"view/job/{id_}", f"data/job/{id_}.json")]
    return [*PAGES, "/rq/0/data/workers.json", "/rq/favicon.ico", *lists, *jobs]


@pytest.fixture
def every_state(redis: Redis, queue: TaskQueue, work: Callable[..., str]) -> list[str]:
    """One job in each state that RQ knows, and in some that it does not; their ids."""
    for job_type in ("generic", "hopeless", "later", "crash"):
        queue.submit(job_type, {})
    work()
    jobs = Queue("default", connection=redis, serializer=JSONSerializer)
    waiting = jobs.enqueue("taskqueue.call.generic")
    jobs.enqueue("taskqueue.call.generic", depends_on=waiting)
    jobs.enqueue("taskqueue.call.generic", depends_on="long-gone")
    jobs.enqueue("taskqueue.call.generic").cancel()
    redis.zadd("rq:finished:default", {"vanished": 10**10})
    redis.zadd("rq:failed:default", {"vanished": 10**10})
    redis.rpush("rq:queue:default", "vanished")
    redis.sadd("rq:queues", "no-queue-key")
    for name, fields in {
        "bad-status": {"status": "odd"},
        "bad-date": {"created_at": "soon"},
        "bad-meta": {"meta": b"\x80\x04bad"},
        "no-data": {},
    }.items():
        data = {} if name == "no-data" else {"data": '["f", null, [], {}]'}
        redis.hset(f"rq:job:{name}", mapping={"origin": "default", "status": "failed"} | data | fields)  # type: ignore[arg-type]
        redis.zadd("rq:failed:default", {name: 10**10})
    redis.xadd("rq:results:bad-meta", {"type": "1", "return_value": b64encode(pickle.dumps({1, 2})).decode()})
    running = queue.submit("slow", {"seconds": 1})
    add_worker(redis, "w1", running.id)
    add_worker(redis, "w2", "vanished")
    redis.sadd("rq:workers", "rq:worker:broken")
    redis.hset("rq:worker:broken", "last_heartbeat", "soon")
    return [key.decode().removeprefix("rq:job:") for key in redis.keys("rq:job:*") if b":depend" not in key]


def add_worker(redis: Redis, name: str, job_id: str) -> None:
    """A worker that runs a job, as RQ has it."""
    job = Job(job_id, connection=redis, serializer=JSONSerializer)
    job.origin = "default"
    redis.sadd("rq:workers", f"rq:worker:{name}")
    moment = utcformat(now())
    redis.hset(
        f"rq:worker:{name}",
        mapping={"queues": "high,default", "state": "busy", "birth": moment, "last_heartbeat": moment},
    )
    with redis.pipeline() as pipeline:
        Execution.create(job, 60, pipeline, worker_name=name)
        pipeline.execute()
    if redis.exists(job.key):
        redis.hset(job.key, mapping={"status": "started", "worker_name": name, "started_at": moment})


def test_no_page_fails_in_any_state(client: FlaskClient, every_state: list[str]) -> None:
    for address in every_get([*every_state, "vanished", "nope", "a:b", "%00", "x" * 500]):
        with client.get(address, follow_redirects=True) as response:
            assert response.status_code in (200, 404), f"{address}: {response.status_code}"


def test_no_change_fails_in_any_state(client: FlaskClient, every_state: list[str]) -> None:
    addresses = [
        f"/rq/{address}"
        for queue in ("default", "high", "nope")
        for address in (f"queue/{queue}/compact", f"requeue/{queue}")
    ]
    addresses += [
        f"/rq/job/{id_}/{verb}" for verb in ("requeue", "delete") for id_ in [*every_state, "nope", "a:b"]
    ]
    addresses += [
        f"/rq/queue/{queue}/{registry}/empty" for queue in ("default", "nope") for registry in REGISTRIES
    ]
    for address in addresses:
        response = client.post(address, headers=OURS)
        assert response.status_code in (200, 404, 409), f"{address}: {response.status_code}"


@pytest.mark.parametrize(
    "address",
    [
        "/rq/1/view/queues",
        "/rq/0/view/jobs/default/odd/8/asc/1",
        "/rq/0/view/jobs/default/failed/8/up/1",
        "/rq/0/view/jobs/default/failed/0/asc/1",
        "/rq/0/view/jobs/default/failed/1000/asc/1",
        "/rq/0/data/jobs/default/failed/8/asc/0.json",
        "/rq/0/data/jobs/default/failed/-8/asc/1.json",
        "/rq/0/data/jobs/default/failed/x/asc/1.json",
        "/rq/0/data/jobs/default/failed/8/asc/99999999999999999999.json",
        "/rq/0/data/jobs/default/failed/8/asc/²2.json",
        "/rq/0/view/job/nope",
        "/rq/0/data/job/nope.json",
        "/rq/static/nope.js",
    ],
)
def test_an_address_that_makes_no_sense_is_a_404(client: FlaskClient, address: str) -> None:
    assert client.get(address).status_code == 404


def test_a_job_shows_its_attempts_and_progress(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("steps", {"count": 3})
    work()
    shown = client.get(f"/rq/0/data/job/{task.id}.json").get_json()
    meta = json.loads(shown["metadata"])
    assert (shown["status"], shown["description"]) == ("finished", "steps")
    assert (meta["attempt"], meta["attempts"], meta["progress"]["done"]) == (1, 3, 3)


def test_a_running_job_is_shown_on_the_workers_page(client: FlaskClient, every_state: list[str]) -> None:
    workers = {worker["name"]: worker for worker in client.get("/rq/0/data/workers.json").get_json()["workers"]}
    assert workers["w1"]["current_job"]["call_string"] == "slow"
    assert workers["w2"]["current_job"] == "idle"


def test_a_failure_that_is_sent_again_is_run(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("flaky", {"failures": 4})
    work()
    assert queue.get(task.id).status == "failed"
    assert client.post(f"/rq/job/{task.id}/requeue", headers=OURS).status_code == 200
    work()
    assert queue.get(task.id).status == "complete"


def test_all_failures_of_a_queue_are_sent_again_though_one_has_vanished(
    client: FlaskClient, redis: Redis, queue: TaskQueue, work: Callable[..., str]
) -> None:
    tasks = [queue.submit("hopeless", {}) for _ in range(2)]
    work()
    redis.zadd("rq:failed:default", {"aaa-vanished": 1})
    response = client.post("/rq/requeue/default", headers=OURS)
    assert response.get_json() == {"status": "OK", "count": 2}
    assert {queue.get(task.id).status for task in tasks} == {"queued"}
    assert redis.zcard("rq:failed:default") == 0


def test_compact_takes_vanished_ids_out_and_keeps_the_order(
    client: FlaskClient, redis: Redis, queue: TaskQueue
) -> None:
    first = queue.submit("generic", {})
    redis.rpush("rq:queue:default", "vanished")
    second = queue.submit("generic", {})
    assert client.post("/rq/queue/default/compact", headers=OURS).status_code == 200
    assert redis.lrange("rq:queue:default", 0, -1) == [first.id.encode(), second.id.encode()]


def test_nothing_is_unpickled(client: FlaskClient, redis: Redis, tmp_path: Path) -> None:
    proof = tmp_path / "went-off"
    bomb = pickle.dumps(Bomb(proof))
    for name, status, registry in (
        ("b1", "failed", FailedJobRegistry),
        ("b2", "finished", FinishedJobRegistry),
        ("b3", "scheduled", ScheduledJobRegistry),
        ("b4", "deferred", DeferredJobRegistry),
        ("b5", "canceled", CanceledJobRegistry),
        ("b6", "queued", None),
    ):
        fields = {"data": bomb, "meta": bomb, "result": bomb, "exc_info": bomb, "status": status}
        redis.hset(f"rq:job:{name}", mapping=fields | {"origin": "default", "created_at": "2026-01-01T00:00:00Z"})  # type: ignore[arg-type]
        redis.xadd(f"rq:results:{name}", {"type": "1", "return_value": b64encode(bomb).decode()})
        if registry:
            redis.zadd(registry("default", connection=redis).key, {name: 10**10})
        else:
            redis.rpush("rq:queue:default", name)
    redis.sadd("rq:queues", "rq:queue:default")
    add_worker(redis, "w1", "b6")
    names = [f"b{number}" for number in range(1, 7)]
    for address in every_get(names):
        with client.get(address, follow_redirects=True) as response:
            assert response.status_code in (200, 404), address
    for name in names:
        client.post(f"/rq/job/{name}/requeue", headers=OURS)
    client.post("/rq/requeue/default", headers=OURS)
    for registry_name in REGISTRIES:
        client.post(f"/rq/queue/default/{registry_name}/empty", headers=OURS)
    for name in names:
        client.post(f"/rq/job/{name}/delete", headers=OURS)
    assert not proof.exists()
    pickle.loads(bomb)
    assert proof.exists()  # the bomb is one


def test_the_connection_keeps_its_time_limit(client: FlaskClient, every_state: list[str]) -> None:
    """RQ's Worker sets its connection's to minutes."""
    client.get("/rq/0/data/workers.json")
    connection = client.application.redis_conn  # type: ignore[attr-defined]
    assert connection.connection_pool.connection_kwargs["socket_timeout"] < 5


class TestWhoMay:
    @pytest.fixture
    def locked(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        locked = Settings(redis_url=settings.redis_url, dashboard_auth=("me", "pä:ss"))
        return create_app(locked, job_types).test_client()

    @pytest.mark.parametrize("address", [*PAGES, "/rq/static/js/jquery-3.5.1.min.js", "/rq/0/view/job/x"])
    def test_without_the_login_nothing_is_shown(self, locked: FlaskClient, address: str) -> None:
        response = locked.get(address, follow_redirects=True)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")

    @pytest.mark.parametrize("auth", [("me", "wrong"), ("you", "pä:ss"), ("", ""), ("me", "")])
    def test_a_wrong_login_is_refused(self, locked: FlaskClient, auth: tuple[str, str]) -> None:
        assert locked.get("/rq/", auth=auth).status_code == 401

    def test_the_login_opens_it(self, locked: FlaskClient) -> None:
        assert locked.get("/rq/", auth=("me", "pä:ss")).status_code == 200

    def test_the_rest_of_the_application_asks_for_no_login(self, locked: FlaskClient) -> None:
        assert locked.get("/healthz").status_code == 200

    def test_nothing_is_changed_by_a_get(self, client: FlaskClient, redis: Redis) -> None:
        redis.zadd("rq:failed:default", {"vanished": 10**10})
        response = client.get("/rq/requeue/default")
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
        assert redis.zcard("rq:failed:default") == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:81"},
            {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_nothing_is_changed_from_another_origin(
        self, client: FlaskClient, queue: TaskQueue, headers: dict[str, str]
    ) -> None:
        task = queue.submit("generic", {})
        assert client.post(f"/rq/job/{task.id}/delete", headers=headers).status_code == 403
        assert queue.get(task.id).status == "queued"

    @pytest.mark.parametrize("headers", [{}, OURS, {"Sec-Fetch-Site": "same-origin"}])
    def test_our_own_pages_and_curl_may(
        self, client: FlaskClient, queue: TaskQueue, headers: dict[str, str]
    ) -> None:
        task = queue.submit("generic", {})
        assert client.post(f"/rq/job/{task.id}/delete", headers=headers).status_code == 200

    def test_the_password_of_redis_is_not_shown(self, job_types: JobTypes, settings: Settings) -> None:
        url = settings.redis_url.replace("redis://", "redis://:hunter2@")
        page = create_app(Settings(redis_url=url), job_types).test_client().get("/rq/")
        assert b"hunter2" not in page.data


class TestEscaping:
    @pytest.mark.parametrize("address", ["/rq/", "/rq/0/view/workers", "/rq/0/view/jobs"])
    def test_only_scripts_of_ours_may_run(self, client: FlaskClient, address: str) -> None:
        response = client.get(address)
        policy = response.headers["Content-Security-Policy"]
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
        nonce = policy.partition("'nonce-")[2].partition("'")[0]
        assert len(nonce) > 20
        assert f'<script nonce="{nonce}">'.encode() in response.data
        assert response.headers["X-Frame-Options"] == "DENY"

    def test_a_nonce_is_used_once(self, client: FlaskClient) -> None:
        policies = {client.get("/rq/").headers["Content-Security-Policy"] for _ in range(2)}
        assert len(policies) == 2

    def test_no_template_writes_unescaped(self, client: FlaskClient, queue: TaskQueue) -> None:
        task = queue.submit("generic", {})
        for address in ("/rq/", "/rq/0/view/workers", "/rq/0/view/jobs", f"/rq/0/view/job/{task.id}"):
            assert b"<%=" not in client.get(address).data

    def test_a_queue_name_cannot_end_the_string_it_stands_in(self, client: FlaskClient) -> None:
        page = client.get("/rq/0/view/jobs/'-alert(1)-'/queued/8/asc/1").data
        assert b"'-alert(1)-'" not in page


class TestWithoutRedis:
    @pytest.fixture
    def client(self, own_redis: RedisServer, job_types: JobTypes) -> FlaskClient:
        own_redis.stop()
        return create_app(Settings(redis_url=own_redis.url), job_types).test_client()

    @pytest.mark.parametrize("address", PAGES)
    def test_it_is_a_clear_503(self, client: FlaskClient, address: str) -> None:
        response = client.get(address, follow_redirects=True)
        assert response.status_code == 503
        assert b"Redis did not answer" in response.data

    def test_a_script_gets_a_problem_document(self, client: FlaskClient) -> None:
        problem(client.get("/rq/0/data/queues.json"), 503)


def test_every_status_of_rq_was_seen(redis: Redis, every_state: list[str]) -> None:
    """If RQ gets another status, the sweep above must meet it."""
    seen = {
        redis.hget(f"rq:job:{id_}", "status").decode()
        for id_ in every_state
        if redis.hget(f"rq:job:{id_}", "status")
    }  # type: ignore[union-attr]
    rare = {"created", "stopped", "rate_limited", "ready_to_enqueue"}  # no page or list of theirs differs
    assert {status.value for status in JobStatus} - rare <= seen
