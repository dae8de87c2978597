"""`POST /requeue`: a task requeues many failed tasks."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq.utils import utcparse

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.web.conftest import problem

Work = Callable[..., str]


@pytest.fixture
def failed(queue: TaskQueue, work: Work) -> dict[str, str]:
    """Three failed tasks and a complete one: their ids by what distinguishes them."""
    tasks = {
        "hopeless": queue.submit("hopeless", {}, SubmitOptions(tags=("blue", "red"))),
        "low": queue.submit("hopeless", {}, SubmitOptions(queue="low")),
        "flaky": queue.submit("flaky", {"failures": 9}, SubmitOptions(tags=("blue",))),
        "done": queue.submit("generic", {}, SubmitOptions(tags=("blue",))),
    }
    work()
    return {name: task.id for name, task in tasks.items()}


def matching(client: FlaskClient, query: str) -> list[str]:
    response = client.post(f"/requeue?dry_run=true&{query}")
    assert response.status_code == 200, response.text
    answer = response.get_json()
    assert answer["matching"] == len(answer["examples"])
    return sorted(answer["examples"])


def test_a_dry_run_tells_what_fits_and_changes_nothing(
    client: FlaskClient, failed: dict[str, str], redis: Redis, queue: TaskQueue
) -> None:
    def ids(*names: str) -> list[str]:
        return sorted(failed[name] for name in names)

    assert matching(client, "type=hopeless") == ids("hopeless", "low")
    assert matching(client, "type=hopeless&queue=low") == ids("low")
    assert matching(client, "tag=blue") == ids("hopeless", "flaky")
    assert matching(client, "tag=blu") == []
    assert matching(client, "failed_since=2020-01-01T00:00:00Z") == ids("hopeless", "low", "flaky")
    assert matching(client, "failed_since=2100-01-01T00:00:00Z") == []
    group = redis.hget(f"rq:job:{failed['low']}", "tq:failure").decode().split()[0]
    assert matching(client, f"group={group}") == ids("hopeless", "low")
    assert {queue.get(failed[name]).status for name in ("hopeless", "low", "flaky")} == {"failed"}


def test_a_task_sends_them_again_and_tells_its_progress(
    client: FlaskClient, failed: dict[str, str], queue: TaskQueue, work: Work
) -> None:
    response = client.post("/requeue?type=flaky&tag=blue")
    answer = response.get_json()
    assert (response.status_code, response.headers["Location"]) == (202, f"/tasks/{answer['id']}")
    assert (answer["type"], answer["payload"]) == ("tq-requeue", {"type": "flaky", "tag": "blue"})
    work()
    done = client.get(f"/tasks/{answer['id']}").get_json()
    assert (done["status"], done["result"]) == ("complete", {"requeued": 1, "gone": 0})
    assert (done["progress"]["done"], done["progress"]["total"]) == (1, 1)
    again = queue.get(failed["flaky"])
    assert (again.status, again.attempt, len(again.errors)) == ("failed", 4, 8)  # it was tried four more times
    assert queue.get(failed["hopeless"]).attempt == 1


def test_no_faster_than_asked_for(client: FlaskClient, queue: TaskQueue, redis: Redis, work: Work) -> None:
    tasks = [queue.submit("hopeless", {}, SubmitOptions(queue="low")).id for _ in range(6)]
    work()
    sends = client.post("/requeue?type=hopeless&rate=5").headers["Location"]
    work("--queues", "high")  # where it runs; what it sends again waits
    assert set(redis.lrange("rq:queue:low", 0, -1)) == {task.encode() for task in tasks}
    sent = sorted(utcparse(redis.hget(f"rq:job:{task}", "enqueued_at").decode()) for task in tasks)
    assert (sent[-1] - sent[0]).total_seconds() >= 5 / 5 - 0.05
    assert client.get(sends).get_json()["result"] == {"requeued": 6, "gone": 0}


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "Say which failed tasks: type, queue, tag, failed_since, group"),
        ("rate=5", 400, "Say which failed tasks"),
        ("type=a&rate=0", 400, "rate"),
        ("type=a&rate=1001", 400, "rate"),
        ("group=odd", 400, "group"),
        ("failed_since=yesterday", 400, "RFC 3339"),
        ("types=a", 400, "There is no parameter 'types'; the parameters are type, queue"),
        ("queue=nope", 422, "There is no queue 'nope'"),
    ],
)
def test_what_is_wrong_is_said(client: FlaskClient, redis: Redis, query: str, status: int, words: str) -> None:
    detail = problem(client.post(f"/requeue?{query}"), status)["detail"]
    assert words in detail
    assert not detail.startswith(":")
    assert list(redis.scan_iter("rq:job:*")) == []


def test_the_systems_own_job_types_cannot_be_posted_and_are_in_no_list(client: FlaskClient) -> None:
    assert (
        problem(client.post("/tasks?task_type=tq-requeue", json={}), 422)["type"]
        == "urn:problem:unknown-task-type"
    )
    names = [one["name"] for one in client.get("/task-types").get_json()["task_types"]]
    assert not any(name.startswith("tq-") for name in names)
