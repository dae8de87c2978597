"""`/queues` and `/workers`."""

from collections.abc import Callable
from pathlib import Path

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.settings import Settings
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker, until


def test_the_queues_tell_what_waits(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    queue.submit("generic", {})
    queue.submit("generic", {}, SubmitOptions(delay=60))
    redis.sadd("tq:paused", "low")
    high, default, low = client.get("/queues").get_json()["queues"]
    assert [view["name"] for view in (high, default, low)] == ["high", "default", "low"]
    assert (default["tasks"]["queued"], default["tasks"]["scheduled"], default["workers"]) == (1, 1, 0)
    assert default["oldest_waiting_seconds"] >= 0
    assert (high["paused"], low["paused"]) == (False, True)


def test_tasks_that_a_limit_holds_are_counted(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    redis.sadd("tq:limits", "two-at-a-time")  # as a worker does when it starts
    tasks = [queue.submit("two-at-a-time", {}, SubmitOptions(queue=name)).id for name in ("low", "low", "high")]
    redis.delete("rq:queue:low", "rq:queue:high")
    redis.rpush("tq:limit:two-at-a-time:held", *tasks)
    high, default, low = client.get("/queues").get_json()["queues"]
    assert [view["tasks"]["held"] for view in (high, default, low)] == [1, 0, 2]
    metrics = client.get("/metrics").get_data(as_text=True)
    assert 'taskqueue_tasks{queue="low",status="held"} 2.0' in metrics


def test_a_worker_tells_what_it_runs(
    client: FlaskClient, queue: TaskQueue, settings: Settings, project: Path, tmp_path: Path
) -> None:
    assert client.get("/workers").get_json() == {"workers": []}
    worker = RunningWorker(project, tmp_path / "log", settings.redis_url)
    try:
        task = queue.submit("long", {"seconds": 20})
        until(queue, task.id, "processing")
        asked: Callable[[], object] = lambda: client.get("/workers").get_json()["workers"][0]["tasks"]  # noqa: E731
        wait_until(lambda: asked() == [task.id], what="the worker to tell its task")
        (view,) = client.get("/workers").get_json()["workers"]
        assert (view["queues"], view["pid"], view["horses"]) == (["high", "default", "low"], worker.process.pid, 1)
        assert client.get("/queues").get_json()["queues"][1]["workers"] == 1
    finally:
        worker.process.kill()
        worker.process.wait()
