"""`Idempotency-Key`: a request that is sent twice makes one task, however it is sent."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from tests.taskqueue.web.conftest import problem


def post(client: FlaskClient, key: str, query: str = "", **headers: str) -> TestResponse:
    address = f"/tasks?task_type=generic{query}"
    return client.post(address, json={"a": 1}, headers={"Idempotency-Key": key} | headers)


@pytest.mark.parametrize("query", ["", "&delay=60&expires_in=90&tags=a", "&at=2020-01-01T00:00:00Z"])
def test_the_same_request_has_the_same_answer(client: FlaskClient, redis: Redis, query: str) -> None:
    first, again = post(client, "k", query), post(client, "k", query)
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert redis.zcard("tq:index") == 1


def test_the_key_may_be_quoted(client: FlaskClient) -> None:
    assert post(client, '"k"').get_json() == post(client, "k").get_json()


def test_another_body_or_query_under_the_same_key_is_refused(client: FlaskClient, redis: Redis) -> None:
    post(client, "k")
    assert problem(post(client, "k", "&queue=low"), 422)["type"] == "urn:problem:idempotency-mismatch"
    other = client.post("/tasks?task_type=generic", json={"a": 2}, headers={"Idempotency-Key": "k"})
    assert problem(other, 422)["type"] == "urn:problem:idempotency-mismatch"
    assert redis.zcard("tq:index") == 1


def test_two_callers_may_have_the_same_key(client: FlaskClient) -> None:
    mine, yours = (post(client, "k", Authorization=f"Bearer {who}").get_json() for who in ("me", "you"))
    assert mine["id"] != yours["id"]


def test_a_request_that_was_refused_may_be_mended_under_the_same_key(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    problem(client.post("/tasks?task_type=week", json={}, headers=headers), 422)
    assert client.post("/tasks?task_type=week", json={"of": "2026-11-23"}, headers=headers).status_code == 202


def test_the_record_is_kept_for_a_day(client: FlaskClient, redis: Redis) -> None:
    post(client, "k")
    (record,) = redis.keys("tq:idempotency:*")
    assert 86_390 < redis.ttl(record) <= 86_400


def test_a_duplicate_is_told_again_too(client: FlaskClient) -> None:
    first = post(client, "one", "&dedupe=nightly").get_json()
    assert [post(client, "two", "&dedupe=nightly").get_json()["id"] for _ in range(2)] == [first["id"]] * 2


def test_fifty_requests_at_the_same_time_are_one_task(app: Flask, redis: Redis) -> None:
    def ask(_: int) -> TestResponse:
        return post(app.test_client(), "k")

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(ask, range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.get_data() for answer in answers}) == 1
    assert redis.zcard("tq:index") == redis.llen("rq:queue:default") == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a b"])
def test_a_key_that_is_none_is_a_400(client: FlaskClient, key: str) -> None:
    assert problem(post(client, key), 400)["type"] == "urn:problem:invalid-idempotency-key"
