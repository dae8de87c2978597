"""A sensitive value reaches the job, and nothing shows it."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.masking import MASK
from tests.taskqueue.web.conftest import problem

SECRETS = ("hunter-secret", "spare-secret", "wrong-secret")
PAYLOAD = {"user": "ada", "password": "hunter-secret", "spare": ["spare-secret"]}


def shows_none(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


def test_a_secret_reaches_the_job_and_is_shown_nowhere(client: FlaskClient, work: Callable[..., str]) -> None:
    posted = client.post("/tasks?task_type=login", json=PAYLOAD)
    log = work()
    task = client.get(posted.headers["Location"])
    assert task.get_json()["result"] == len("hunter-secret")
    assert posted.get_json()["payload"] == {"user": "ada", "password": MASK, "spare": [MASK]}
    assert task.get_json()["payload"] == {"user": "ada", "password": MASK, "spare": [MASK]}
    listed = client.get("/tasks")
    assert len(listed.get_json()["tasks"]) == 1
    assert shows_none(posted.text + task.text + listed.text + log)
    assert f"logging ada in with {MASK}" in log


def test_a_failure_does_not_show_it(client: FlaskClient, work: Callable[..., str]) -> None:
    posted = client.post("/tasks?task_type=login", json={"user": "ada", "password": "wrong-secret"})
    log = work()
    task = client.get(posted.headers["Location"])
    assert "PermissionError" in task.text
    assert shows_none(task.text + log)


def test_a_payload_that_does_not_fit_is_refused_without_it(client: FlaskClient) -> None:
    wrong = {"user": 7, "password": "hunter-secret", "spare": [{"a": "spare-secret"}], "more": "wrong-secret"}
    response = client.post("/tasks?task_type=login", json=wrong)
    assert len(problem(response, 422)["errors"]) == 3
    assert shows_none(response.text)


def test_a_payload_that_no_longer_fits_fails_without_it(
    client: FlaskClient, queue: TaskQueue, redis: Redis, work: Callable[..., str]
) -> None:
    task = queue.submit("login", {"user": "ada", "password": "hunter-secret"})
    data = redis.hget(f"rq:job:{task.id}", "data")
    assert data
    redis.hset(f"rq:job:{task.id}", "data", data.replace(b'"ada"', b"7"))  # an older version of it was queued
    log = work()
    shown = client.get(f"/tasks/{task.id}")
    assert shown.get_json()["status"] == "failed"
    assert "hunter-secret" not in shown.text + log


@pytest.mark.parametrize(
    "address", ["/rq/0/data/job/{id}.json", "/rq/0/view/job/{id}", "/rq/0/data/jobs/default/finished/8/asc/1.json"]
)
def test_the_dashboard_does_not_show_it(client: FlaskClient, work: Callable[..., str], address: str) -> None:
    task_id = client.post("/tasks?task_type=login", json=PAYLOAD).get_json()["id"]
    work()
    response = client.get(address.format(id=task_id))
    assert response.status_code == 200
    assert shows_none(response.text)


def test_a_task_of_an_unknown_type_shows_no_payload(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("login", PAYLOAD)
    data = redis.hget(f"rq:job:{task.id}", "data")
    assert data
    redis.hset(f"rq:job:{task.id}", "data", data.replace(b"call.login", b"call.newer"))
    assert client.get(f"/tasks/{task.id}").get_json()["payload"] is None
