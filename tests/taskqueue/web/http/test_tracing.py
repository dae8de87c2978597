"""From a request to the log lines of its jobs."""

import json
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from redis import Redis

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_request_has_an_id_of_its_own_or_the_clients(client: FlaskClient) -> None:
    first, second = (client.get("/healthz").headers["X-Request-Id"] for _ in range(2))
    assert first != second
    assert client.get("/nope", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 129, '"><script>'])
def test_a_wrong_id_is_not_repeated(client: FlaskClient, wrong: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": wrong}).headers["X-Request-Id"] != wrong


def test_the_lines_of_a_job_tell_its_request(
    client: FlaskClient, work: Callable[..., str], env: pytest.MonkeyPatch
) -> None:
    headers = {"X-Request-Id": "mine-1", "traceparent": TRACEPARENT}
    task_id = client.post("/tasks?task_type=chatty", json={"words": "hello"}, headers=headers).get_json()["id"]
    env.setenv("LOG_FORMAT", "json")
    answer = [json.loads(line) for line in work().splitlines()]
    by_message = {line["message"].partition(" ")[0]: line for line in answer if line.get("task_id") == task_id}
    assert set(by_message) == {"Processing", "halfway,", "Task"}
    for line in by_message.values():
        assert (line["request_id"], line["trace_id"]) == ("mine-1", TRACEPARENT.split("-")[1])
    assert (by_message["halfway,"]["task_type"], by_message["halfway,"]["attempt"]) == ("chatty", 1)


@pytest.mark.parametrize("wrong", ["", "00", TRACEPARENT.upper(), f"00-{'0' * 32}-{'b' * 16}-01"])
def test_a_wrong_traceparent_is_left_out(client: FlaskClient, redis: Redis, wrong: str) -> None:
    headers = {"X-Request-Id": "mine-1", "traceparent": wrong}
    task_id = client.post("/tasks?task_type=generic", json={}, headers=headers).get_json()["id"]
    assert redis.hget(f"rq:job:{task_id}", "tq:trace") == b"mine-1"
