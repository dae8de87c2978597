"""Who may ask, from which site; and the headers of each answer."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.taskqueue.web.dashboard.stored import sweep, write_job
from web import create_app


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
