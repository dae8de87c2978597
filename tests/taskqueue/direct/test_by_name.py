"""A task is submitted by the name of its type: in a job, and elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue import handle, submit
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidOptions, InvalidPayload, UnknownJobType, UnknownParent, UnknownQueue

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_job_queues_another_one_as_a_request_would(
    client: FlaskClient, redis: Redis, work: Callable[..., str]
) -> None:
    posted = {"task_type": "generic", "payload": {"name": "Ada"}, "options": {"tags": ["welcome"], "attempts": 7}}
    headers = {"X-Request-Id": "mine-1", "traceparent": TRACEPARENT}
    parent = client.post("/tasks?task_type=hands_on", json=posted, headers=headers).get_json()["id"]
    work()
    (listed,) = client.get("/tasks?type=generic&tag=welcome").get_json()["tasks"]
    assert client.get(f"/tasks/{parent}").get_json()["result"] == listed["id"]
    task = client.get(f"/tasks/{listed['id']}").get_json()
    assert (task["status"], task["attempts"], task["result"]) == ("complete", 7, {"name": "Ada"})
    assert redis.hget(f"rq:job:{task['id']}", "tq:trace") == f"mine-1 {TRACEPARENT}".encode()


@pytest.mark.usefixtures("env")
def test_what_a_job_queues_is_validated(
    queue: TaskQueue, redis: Redis, work: Callable[..., str], env: pytest.MonkeyPatch
) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"task_type": "emial", "payload": {}}, "There is no task type 'emial'"),
        ({"task_type": "week", "payload": {"of": "soon"}}, "/of: "),
        ({"task_type": "generic", "payload": {"a": "x" * 1000}}, "larger than 1,000 bytes (MAX_PAYLOAD_BYTES)"),
        (
            {"task_type": "generic", "payload": {}, "options": {"delay": "hunter2"}},
            "these options: delay: Input should be",
        ),
    ]
    sent = [(queue.submit("hands_on", payload).id, message) for payload, message in wrong]
    sent.append((queue.submit("hands_on_what_is_no_json", {}).id, "Object of type date is not JSON serializable"))
    env.setenv("MAX_PAYLOAD_BYTES", "1000")
    work()
    for task_id, message in sent:
        task = queue.get(task_id)
        assert task.error
        assert message in task.error.message
        assert "hunter2" not in task.error.traceback
    assert redis.zcard("tq:index") == len(sent)


@pytest.mark.usefixtures("env", "job_types")
def test_a_payload_that_contains_itself_is_refused() -> None:
    payload: dict[str, Any] = {"name": "Ada"}
    payload["again"] = payload
    with pytest.raises(InvalidPayload, match="It contains itself, or is nested too deeply"):
        submit("generic", payload)


@pytest.mark.usefixtures("env", "job_types")
def test_outside_of_a_job_a_task_is_queued_and_its_handle_found_by_its_id(
    client: FlaskClient, work: Callable[..., str]
) -> None:
    task_id = submit("generic", {"name": "Ada"}, tags=["welcome"])
    assert client.get(f"/tasks/{task_id}").get_json()["tags"] == ["welcome"]
    work()
    assert handle(task_id).result(timeout=5) == {"name": "Ada"}


@pytest.mark.usefixtures("env", "job_types")
def test_outside_of_a_job_the_errors_are_those_of_http(redis: Redis) -> None:
    with pytest.raises(UnknownJobType, match="There is no task type 'emial'"):
        submit("emial", {})
    with pytest.raises(InvalidPayload, match="/of: "):
        submit("week", {"of": "soon"})
    with pytest.raises(InvalidOptions, match=r"depends_on: .* at most 100 tasks, got 101\. Queue them"):
        submit("generic", {}, depends_on=[str(number) for number in range(101)])
    with pytest.raises(UnknownParent):
        submit("generic", {}, depends_on=["nobody"])
    with pytest.raises(UnknownQueue):
        submit("generic", {}, queue="nowhere")
    assert redis.keys("rq:job:*") == []
