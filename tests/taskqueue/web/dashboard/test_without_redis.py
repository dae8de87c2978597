"""Each address says that Redis is away, and comes back with it."""

import signal
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, Figure, RedisServer
from tests.taskqueue.web.dashboard.stored import sweep
from web import create_app


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
