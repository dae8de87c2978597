"""`GET /failures`, and what it groups."""

from collections.abc import Callable

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue


def test_failures_are_grouped_and_a_group_can_be_sent_again(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    hopeless = [queue.submit("hopeless", {}).id for _ in range(3)]
    queue.submit("opaque", {})
    work()
    answer = client.get("/failures").get_json()
    first, second = answer["failures"]
    assert answer["complete"]
    assert (first["type"], first["count"]) == ("hopeless", 3)
    assert first["error"].endswith("PermanentFailure the page is gone (410)")
    assert set(first["examples"]) == set(hopeless)
    assert first["first_failed_at"] <= first["last_failed_at"]
    assert (second["type"], second["count"]) == ("opaque", 1)
    again = client.post(f"/requeue?group={first['group']}&dry_run=true").get_json()
    assert again["matching"] == 3


def test_what_another_worker_has_failed_is_told_by_its_type(
    client: FlaskClient, queue: TaskQueue, redis: Redis, work: Callable[..., str]
) -> None:
    task = queue.submit("hopeless", {})
    work()
    redis.hdel(f"rq:job:{task.id}", "tq:failure")
    (group,) = client.get("/failures").get_json()["failures"]
    assert (group["group"], group["type"], group["error"], group["count"]) == (None, "hopeless", None, 1)


def test_without_failures_there_are_no_groups(client: FlaskClient) -> None:
    assert client.get("/failures").get_json() == {"failures": [], "complete": True}
