"""The series over HTTP."""

from dataclasses import replace

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from web import create_app

EMAIL = {"to": "ada@example.com", "subject": "Hello"}


def test_a_series_counts_what_was_submitted(client: FlaskClient, queue: TaskQueue) -> None:
    client.post("/tasks?task_type=generic", json={})
    answer = client.get("/series").get_json()
    assert answer["step_seconds"] == 60
    (series,) = answer["series"]
    assert series["name"] is None
    assert sum(point["submitted"] for point in series["points"]) == 1
    assert len(client.get("/series?span=week").get_json()["series"][0]["points"]) == 168


def test_a_series_for_each_type_or_queue(client: FlaskClient, redis: Redis) -> None:
    client.post("/tasks?task_type=generic", json={})
    client.post("/tasks?task_type=email", json=EMAIL)
    names = [series["name"] for series in client.get("/series?by=task_type").get_json()["series"]]
    assert names == ["email", "generic"]
    queues = [series["name"] for series in client.get("/series?by=queue&task_type=email").get_json()["series"]]
    assert "high" in queues


def test_a_limited_key_sees_its_types_only(settings: Settings, job_types: JobTypes, queue: TaskQueue) -> None:
    secret, key = new_key("mailer", "read", ["email"])
    client = create_app(replace(settings, api_keys=(key,)), job_types).test_client()
    headers = {"Authorization": f"Bearer {secret}"}
    queue.submit("generic", {})
    queue.submit("email", EMAIL)
    assert client.get("/series", headers=headers).status_code == 403
    assert client.get("/series?by=queue", headers=headers).status_code == 403
    assert client.get("/series?task_type=generic", headers=headers).status_code == 403
    assert client.get("/series?task_type=email", headers=headers).status_code == 200
    by_type = client.get("/series?by=task_type", headers=headers).get_json()["series"]
    assert [series["name"] for series in by_type] == ["email"]
