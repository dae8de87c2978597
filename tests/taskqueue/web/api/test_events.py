"""`GET /tasks/<id>/events` and `/logs`, with a real worker."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue

Event = tuple[str, str, dict[str, Any]]  # its id, its kind, its data


@pytest.fixture
def only_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the periodic look rare: an event that is seen in time was published."""
    monkeypatch.setattr("taskqueue.monitor.subscriptions.LOOK_SECONDS", 30)


def follow(client: FlaskClient, task_id: str, last: str = "") -> Iterator[Event]:
    response = client.get(f"/tasks/{task_id}/events", headers={"Last-Event-ID": last} if last else {})
    assert response.content_type == "text/event-stream; charset=utf-8"
    text = ""
    for part in response.iter_encoded():
        text += part.decode()
        while "\n\n" in text:
            block, _, text = text.partition("\n\n")
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "event" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])


@pytest.mark.usefixtures("only_hints")
def test_a_task_is_followed_from_its_queue_to_its_end(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("talkative", {"pause": 0.5})
    seen = []
    with ThreadPoolExecutor(1) as pool:
        for _, kind, data in follow(client, task.id):
            if not seen:
                pool.submit(work)
            seen.append((kind, data["line"] if kind == "log" else data["status"]))
    assert seen[0] == ("status", "queued")
    assert seen[-1] == ("status", "complete")
    assert ("status", "processing") in seen
    lines = [what for kind, what in seen if kind == "log"]
    assert lines == ["run 1", "printed 1", "no end of line", "run 2", "printed 2", "no end of line"]
    assert seen.index(("status", "processing")) < seen.index(("log", "run 1"))


@pytest.mark.usefixtures("only_hints")
def test_progress_is_told(client: FlaskClient, queue: TaskQueue, work: Callable[..., str]) -> None:
    task = queue.submit("steps", {"count": 3})
    work()
    answer = [data["progress"] for _, kind, data in follow(client, task.id) if kind == "progress"]
    assert [(one["done"], one["total"], one["message"]) for one in answer] == [(3, 3, "step 3")]


def test_who_comes_again_hears_the_rest(client: FlaskClient, queue: TaskQueue, work: Callable[..., str]) -> None:
    task = queue.submit("talkative", {})
    work()
    events = list(follow(client, task.id))
    rest = list(follow(client, task.id, last=events[2][0]))
    assert rest == events[3:]
    again = client.get(f"/tasks/{task.id}/events", headers={"Last-Event-ID": events[-1][0]})
    assert again.status_code == 204


def test_a_task_that_is_deleted_ends_the_stream(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("generic", {})
    events = follow(client, task.id)
    assert next(events)[1] == "status"
    redis.delete(f"rq:job:{task.id}")
    assert [kind for _, kind, _ in events] == ["gone"]


def test_the_log_is_read_by_attempt_and_from_a_line_on(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("talkative", {})
    work()
    lines = client.get(f"/tasks/{task.id}/logs").get_json()["lines"]
    assert [(line["attempt"], line["level"]) for line in lines[:2]] == [(1, "WARNING"), (1, "stdout")]
    second = client.get(f"/tasks/{task.id}/logs?attempt=2").get_json()["lines"]
    assert second == lines[3:]
    assert client.get(f"/tasks/{task.id}/logs?after={lines[4]['id']}").get_json()["lines"] == lines[5:]
    assert client.get("/tasks/nope/logs").status_code == 404


def test_a_stream_goes_on_after_what_utf_8_cannot_say(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("generic", {})
    redis.hset(f"rq:job:{task.id}", "tq:progress", r'{"done": 1, "total": 2, "message": "\ud800", "at": ""}')
    events = follow(client, task.id)
    assert next(events)[2]["progress"]["message"] == "?"
