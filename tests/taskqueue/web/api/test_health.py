"""Health checks, with a Redis that answers, is frozen, full or stopped."""

import signal
import time
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, Figure, RedisServer
from tests.taskqueue.web.conftest import problem
from web import create_app


@pytest.fixture
def client(own_redis: RedisServer, job_types: JobTypes) -> FlaskClient:
    """A client of an application whose Redis this test may stop."""
    return create_app(Settings(redis_url=own_redis.url), job_types).test_client()


def timed(ask: Callable[[], object]) -> float:
    start = time.monotonic()
    ask()
    return time.monotonic() - start


@pytest.mark.parametrize("address", ["/health", "/healthz", "/readyz"])
def test_all_is_well(client: FlaskClient, address: str) -> None:
    response = client.get(address)
    assert (response.status_code, response.get_json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("address", ["/health", "/readyz"])
def test_without_redis_it_is_a_503(client: FlaskClient, own_redis: RedisServer, address: str) -> None:
    own_redis.stop()
    response = client.get(address)
    assert problem(response, 503)["detail"] == "Redis did not answer."
    assert int(response.headers["Retry-After"]) > 0


def test_a_redis_that_hangs_is_told_within_a_second(
    client: FlaskClient, own_redis: RedisServer, figure: Figure
) -> None:
    client.get("/health")  # a connection is open when it freezes
    own_redis.send_signal(signal.SIGSTOP)
    for connection in ("open", "new"):
        seconds = timed(lambda: problem(client.get("/health"), 503))
        figure(f"Redis hangs: /health says so ({connection} connection)", seconds)
        assert seconds < 1 * SLACK


def test_alive_does_not_ask_redis(client: FlaskClient, own_redis: RedisServer) -> None:
    own_redis.send_signal(signal.SIGSTOP)
    assert client.get("/healthz").status_code == 200


def test_a_full_redis_takes_no_work(client: FlaskClient, own_redis: RedisServer) -> None:
    with Redis.from_url(own_redis.url) as connection:
        connection.config_set("maxmemory", "1")
    assert problem(client.get("/readyz"), 503)["detail"].startswith("Redis is full")
    assert client.get("/health").status_code == 200


def test_health_comes_back_with_redis(client: FlaskClient, own_redis: RedisServer) -> None:
    own_redis.stop()
    assert client.get("/health").status_code == 503
    own_redis.start()
    assert client.get("/health").status_code == 200


def test_a_task_is_refused_in_bounded_time_while_redis_hangs(
    client: FlaskClient, own_redis: RedisServer, figure: Figure
) -> None:
    client.post("/tasks?task_type=generic", json={})
    own_redis.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    document = problem(client.post("/tasks?task_type=generic", json={}), 503)
    seconds = time.monotonic() - start
    figure("Redis hangs: a task is refused", seconds)
    assert seconds < 6 * SLACK
    assert f"ask GET /tasks/{document['id']}" in document["detail"]


def test_the_application_starts_without_redis(own_redis: RedisServer, job_types: JobTypes) -> None:
    own_redis.stop()
    app: Flask = create_app(Settings(redis_url=own_redis.url), job_types)
    problem(app.test_client().post("/tasks?task_type=generic", json={}), 503)
    own_redis.start()
    assert app.test_client().post("/tasks?task_type=generic", json={}).status_code == 202


def test_a_full_redis_refuses_a_task_and_shows_the_others(client: FlaskClient, own_redis: RedisServer) -> None:
    before = client.post("/tasks?task_type=generic", json={"a": 1}).get_json()
    with Redis.from_url(own_redis.url) as connection:
        connection.config_set("maxmemory", "1")
    refused = problem(client.post("/tasks?task_type=generic", json={"a": 2}), 503)
    assert refused["detail"] == "Redis is full and takes no more."
    assert client.get(f"/tasks/{before['id']}").get_json()["status"] == "queued"
