"""`POST /tasks`: waiting for the result, and the warnings of the 202."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from taskqueue.settings import Settings
from tests.conftest import wait_until
from tests.taskqueue.enqueue.test_queue import commands
from tests.taskqueue.worker.stage import RunningWorker

Work = Callable[..., str]


@pytest.fixture
def worker(redis: Redis, settings: Settings, project: Path, tmp_path: Path) -> Iterator[RunningWorker]:
    worker = RunningWorker(project, tmp_path / "log", settings.redis_url)
    worker.wait_until_it_works()
    yield worker
    worker.stop()


@pytest.mark.parametrize(("task_type", "status"), [("generic", "complete"), ("hopeless", "failed")])
def test_who_waits_gets_the_result(
    app: Flask, redis: Redis, worker: RunningWorker, task_type: str, status: str
) -> None:
    def ask() -> TestResponse:
        return app.test_client().post(f"/tasks?task_type={task_type}", json={}, headers={"Prefer": "wait=20"})

    app.test_client().post("/queues/default/pause")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(ask)
        wait_until(lambda: redis.zcard("tq:index"), what="the task")
        app.test_client().post("/queues/default/resume")
        response = answer.result(60)
    task = response.get_json()
    assert (response.status_code, task["status"]) == (200, status)
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.headers["Location"] == f"/tasks/{task['id']}"


def test_what_has_not_ended_in_time_is_a_202(client: FlaskClient) -> None:
    response = client.post("/tasks?task_type=generic", json={}, headers={"Prefer": "respond-async, wait=1"})
    assert (response.status_code, response.headers["Preference-Applied"]) == (202, "wait=1")
    assert response.get_json()["status"] == "queued"


@pytest.mark.usefixtures("worker")
def test_what_was_waited_for_is_shown_as_it_is_then(client: FlaskClient) -> None:
    task = client.post("/tasks?task_type=later", json={}, headers={"Prefer": "wait=4"}).get_json()
    assert (task["status"], task["attempt"]) == ("scheduled", 1)
    assert task["error"]["message"] == "come back in an hour"


@pytest.mark.parametrize("prefer", ["wait", "wait=soon", "return=minimal", "await=1", ""])
def test_other_preferences_are_not_obeyed(client: FlaskClient, prefer: str) -> None:
    response = client.post("/tasks?task_type=generic", json={}, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


def test_what_stands_in_the_way_is_told(client: FlaskClient) -> None:
    task = client.post("/tasks?task_type=generic&queue=low&delay=60&dedupe=x", json={}).get_json()
    assert [warning["code"] for warning in task["warnings"]] == ["no-worker", "no-scheduler"]
    assert "'low'" in task["warnings"][0]["message"]
    again = client.post("/tasks?task_type=generic&queue=low&delay=60&dedupe=x", json={}).get_json()
    assert again["id"] == task["id"]
    assert again["warnings"][-1]["code"] == "duplicate"
    assert "warnings" not in client.get(f"/tasks/{task['id']}").get_json()


@pytest.mark.parametrize("query", ["", "&delay=60&dedupe=x&tags=a&expires_in=90"])
def test_a_request_is_one_round_trip(client: FlaskClient, redis: Redis, query: str) -> None:
    keys = iter("abc")

    def submit() -> None:
        redis.delete("tq:dedupe:generic:x")
        client.post(f"/tasks?task_type=generic{query}", json={}, headers={"Idempotency-Key": next(keys)})

    assert commands(redis, submit) == ["DEL", "EVALSHA"]


def test_a_parent_that_has_ended_without_success_is_told(client: FlaskClient, work: Work) -> None:
    parent = client.post("/tasks?task_type=hopeless", json={}).get_json()["id"]
    work()
    child = client.post(f"/tasks?task_type=generic&depends_on={parent}", json={}).get_json()
    assert (child["status"], child["warnings"][-1]["code"]) == ("deferred", "parent-ended")
