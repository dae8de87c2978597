"""The HTTP contract of an operator's actions: cancel, requeue, delete a task; pause and resume a queue."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from tests.taskqueue.web.conftest import problem
from web import create_app


@pytest.fixture
def waiting(client: FlaskClient) -> str:
    """The address of a task that waits."""
    return client.post("/tasks?task_type=generic", json={"a": 1}).headers["Location"]


def test_a_waiting_task_is_canceled_sent_again_and_deleted(client: FlaskClient, waiting: str) -> None:
    canceled = client.post(f"{waiting}/cancel")
    assert (canceled.status_code, canceled.get_json()["status"]) == (200, "canceled")
    again = client.post(f"{waiting}/requeue")
    assert (again.status_code, again.headers["Location"]) == (202, waiting)
    assert (again.get_json()["status"], again.get_json()["payload"]) == ("queued", {"a": 1})
    deleted = client.delete(waiting)
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert problem(client.get(waiting), 404)


def test_of_a_running_task_its_worker_is_told(client: FlaskClient, waiting: str, redis: Redis) -> None:
    task_id = waiting.rpartition("/")[2]
    redis.hset(f"rq:job:{task_id}", mapping={"status": "started", "worker_name": "ada"})
    redis.lrem("rq:queue:default", 0, task_id)
    redis.zadd("rq:wip:default", {f"{task_id}:run": 10**10})
    redis.zadd(f"rq:executions:{task_id}", {"run": 10**10})
    with redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("rq:pubsub:ada")
        heard.get_message(timeout=5)
        response = client.post(f"{waiting}/cancel")
        assert (response.status_code, response.get_json()["status"]) == (202, "processing")
        message = heard.get_message(timeout=5)
    assert message
    assert b'"stop-execution"' in message["data"]
    assert "Cancel it first" in problem(client.delete(waiting), 409)["detail"]


def test_a_task_that_has_ended_is_a_409_that_says_how(
    client: FlaskClient, waiting: str, work: Callable[..., str]
) -> None:
    work()
    for address in (f"{waiting}/cancel", f"{waiting}/requeue"):
        answer = problem(client.post(address), 409)
        assert (answer["type"], answer["task_status"]) == ("urn:problem:wrong-status", "complete")


@pytest.mark.parametrize("method", ["cancel", "requeue", "delete"])
@pytest.mark.parametrize("task_id", ["unknown", "a:b"])
def test_a_task_that_is_not_there_is_a_404(client: FlaskClient, method: str, task_id: str) -> None:
    address = f"/tasks/{task_id}"
    response = client.delete(address) if method == "delete" else client.post(f"{address}/{method}")
    assert problem(response, 404)["type"] == "urn:problem:unknown-task"


def test_a_queue_is_paused_and_resumed(client: FlaskClient, redis: Redis) -> None:
    for _ in range(2):  # twice is once
        assert client.post("/queues/low/pause").get_json() == {"name": "low", "paused": True}
    assert redis.smembers("tq:paused") == {b"low"}
    assert client.post("/queues/low/resume").get_json() == {"name": "low", "paused": False}
    assert redis.smembers("tq:paused") == set()


def test_a_queue_of_another_program_can_be_paused_but_none_that_is_not_there(
    client: FlaskClient, redis: Redis
) -> None:
    assert problem(client.post("/queues/theirs/pause"), 404)["known"] == ["high", "default", "low"]
    redis.sadd("rq:queues", "rq:queue:theirs")
    assert client.post("/queues/theirs/pause").status_code == 200


def test_it_takes_the_scope_operate(settings: Settings, job_types: JobTypes, waiting: str) -> None:
    secret, key = new_key("shop", "submit")
    locked = create_app(replace(settings, api_keys=(key,)), job_types).test_client()
    headers = {"Authorization": f"Bearer {secret}"}
    for address in (f"{waiting}/cancel", f"{waiting}/requeue", "/queues/low/pause", "/queues/low/resume"):
        assert problem(locked.post(address, headers=headers), 403)["scope"] == "operate"
    assert problem(locked.delete(waiting, headers=headers), 403)
    assert locked.get(waiting, headers=headers).get_json()["status"] == "queued"
