"""RATE_LIMIT as a client sees it."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.settings.quota import Quota
from tests.taskqueue.web.conftest import problem
from web import create_app


@pytest.fixture
def limited(settings: Settings, job_types: JobTypes) -> FlaskClient:
    return create_app(replace(settings, rate_limit=Quota(3, 3600)), job_types).test_client()


def test_each_answer_tells_what_is_left(limited: FlaskClient) -> None:
    response = limited.get("/task-types")
    assert response.headers["RateLimit-Policy"] == '"default";q=3;w=3600'
    assert response.headers["RateLimit"] == '"default";r=2;t=1200'


def test_beyond_it_is_a_429_that_says_when_to_come_again(limited: FlaskClient) -> None:
    answers = [limited.post("/tasks?task_type=generic", json={}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert problem(answers[-1], 429)["type"] == "urn:problem:too-many-requests"
    seconds = int(answers[-1].headers["Retry-After"])
    assert 1 <= seconds <= 1200
    assert answers[-1].headers["RateLimit"] == f'"default";r=0;t={seconds}'


def test_health_checks_are_not_counted(limited: FlaskClient) -> None:
    for _ in range(5):
        response = limited.get("/healthz")
    assert response.status_code == 200
    assert "RateLimit" not in response.headers


def test_each_key_and_each_address_has_its_own(
    settings: Settings, job_types: JobTypes, limited: FlaskClient
) -> None:
    made = [new_key(name, "read") for name in ("one", "two")]
    locked = replace(settings, rate_limit=Quota(1, 3600), api_keys=tuple(key for _secret, key in made))
    client = create_app(locked, job_types).test_client()
    for secret, _key in made:
        headers = {"Authorization": f"Bearer {secret}"}
        assert [client.get("/task-types", headers=headers).status_code for _ in range(2)] == [200, 429]


def test_each_address_has_its_own(limited: FlaskClient) -> None:
    def left(address: str) -> str:
        headers = limited.get("/task-types", environ_base={"REMOTE_ADDR": address}).headers
        return headers["RateLimit"].split(";")[1]

    assert [left(address) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1")] == ["r=2", "r=2", "r=2"]
    assert [left(address) for address in ("2001:db8::2", "2001:db8:0:1::1")] == ["r=1", "r=2"]  # a /64 is one


def test_without_the_setting_nothing_is_counted(client: FlaskClient) -> None:
    assert "RateLimit" not in client.get("/task-types").headers


def test_the_api_document_says_so(limited: FlaskClient) -> None:
    paths = limited.get("/openapi.json").get_json()["paths"]
    assert "429" in paths["/tasks"]["post"]["responses"]
    assert "429" not in paths["/healthz"]["get"]["responses"]
