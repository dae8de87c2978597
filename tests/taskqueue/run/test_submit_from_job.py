"""A job queues another task."""

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue import submit
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import OutsideOfJob

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
        ({"task_type": "generic", "payload": {}, "options": {"delay": "hunter2"}}, "delay\n  Input should be"),
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


def test_outside_of_a_job_nothing_can_be_queued() -> None:
    with pytest.raises(OutsideOfJob, match=r"submit\(\) works only in a job that a worker runs; no job runs here"):
        submit("generic", {})
