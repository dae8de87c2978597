"""A sensitive value reaches the job, and nothing shows it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.masking import MASK
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.taskqueue.web.conftest import problem
from web import create_app

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


def test_a_schedule_of_an_unknown_type_shows_no_payload(client: FlaskClient, redis: Redis) -> None:
    put = client.put("/schedules/s", json={"task_type": "login", "payload": PAYLOAD, "interval": 86_400})
    assert put.get_json()["payload"]["password"] == MASK
    stored = redis.hget("tq:schedule:s", "schedule")
    assert stored
    redis.hset("tq:schedule:s", "schedule", stored.replace(b'"login"', b'"newer"'))
    for answer in (client.get("/schedules/s"), client.get("/schedules"), client.post("/schedules/s/pause")):
        assert answer.status_code == 200
        assert shows_none(answer.text)
    assert client.get("/schedules/s").get_json()["payload"] is None


def test_the_token_of_a_schedules_receiver_is_for_keys_that_may_change_it(
    settings: Settings, job_types: JobTypes, redis: Redis
) -> None:
    keys = {scope: new_key(scope, scope) for scope in ("read", "submit", "operate")}
    app = create_app(replace(settings, api_keys=tuple(key for _, key in keys.values())), job_types)
    client = app.test_client()
    url = "https://hooks.example.com/T0/hunter-secret?key=spare-secret"

    def ask(scope: str, method: str, path: str, **more: object) -> TestResponse:
        return client.open(path, method=method, headers={"Authorization": f"Bearer {keys[scope][0]}"}, **more)

    schedule = {"task_type": "generic", "interval": 86_400, "callback_url": url}
    assert ask("operate", "PUT", "/schedules/s", json=schedule).get_json()["callback_url"] == url
    assert ask("operate", "GET", "/schedules/s").get_json()["callback_url"] == url
    for scope in ("read", "submit"):
        for path in ("/schedules/s", "/schedules"):
            answer = ask(scope, "GET", path)
            assert answer.status_code == 200
            assert shows_none(answer.text)
            assert f"https://hooks.example.com/{MASK}" in answer.text
