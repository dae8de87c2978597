"""`GET /tasks/<id>/explain`: each thing that can be so."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from rq.suspension import resume, suspend

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import registered
from taskqueue.settings import Settings
from taskqueue.store.hosts import Host, Hosts
from tests.taskqueue.web.conftest import problem
from tests.taskqueue.worker.stage import RunningWorker, until


@pytest.fixture
def worker(redis: Redis, settings: Settings, project: Path, tmp_path: Path) -> Iterator[RunningWorker]:
    worker = RunningWorker(project, tmp_path / "log", settings.redis_url)
    worker.wait_until_it_works()
    yield worker
    worker.process.kill()
    worker.process.wait()


def explain(client: FlaskClient, task_id: str) -> tuple[list[str], dict[str, Any]]:
    """The codes, and all of it."""
    told = client.get(f"/tasks/{task_id}/explain").get_json()
    assert all(reason["message"] for reason in told["reasons"])
    return [reason["code"] for reason in told["reasons"]], told


def test_what_waits_without_a_worker(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    queue.submit("generic", {}, SubmitOptions(queue="high"))
    task = queue.submit("generic", {})
    suspend(redis)
    redis.sadd("tq:paused", "default")
    codes, told = explain(client, task.id)
    assert codes == ["suspended", "queue-paused", "no-worker"]
    assert (told["status"], told["ahead"], told["seconds"]) == ("queued", 1, None)
    resume(redis)


@pytest.mark.usefixtures("worker")
def test_what_waits_behind_others(client: FlaskClient, queue: TaskQueue) -> None:
    done = queue.submit("generic", {})
    until(queue, done.id, "complete")
    running = queue.submit("long", {"seconds": 30})
    until(queue, running.id, "processing")
    first, second = queue.submit("generic", {}), queue.submit("generic", {})
    assert explain(client, running.id)[0] == ["runs"]
    assert explain(client, first.id)[0] == ["next"]
    codes, told = explain(client, second.id)
    assert (codes, told["ahead"], told["seconds"]) == (["behind"], 1, 60.0)  # one has ended in the last minute
    assert explain(client, done.id)[0] == ["complete"]


def test_the_last_worker_was_killed(
    client: FlaskClient, queue: TaskQueue, redis: Redis, worker: RunningWorker
) -> None:
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    worker.process.kill()
    worker.process.wait()
    (view,) = client.get("/workers").get_json()["workers"]
    redis.expire(f"rq:worker:{view['name']}", 75)  # 15 s later
    codes, told = explain(client, task.id)
    assert codes == ["worker-lost", "no-worker"]
    assert (
        f"has been silent since {view['last_heartbeat']}: it was killed, ran out of memory or was cut off."
        " Another worker takes its tasks over as soon as one can." in told["reasons"][0]["message"]
    )
    assert client.get("/workers").get_json()["workers"] == [view | {"state": "lost"}]
    assert client.get("/queues").get_json()["queues"][1]["workers"] == 0
    redis.delete(f"rq:worker:{view['name']}")
    assert explain(client, task.id)[0] == ["worker-lost", "no-worker"]


def test_what_waits_for_its_time_or_for_others(
    client: FlaskClient, queue: TaskQueue, redis: Redis, work: Callable[..., str]
) -> None:
    delayed = queue.submit("generic", {}, SubmitOptions(delay=60))
    retried, failed = queue.submit("later", {}), queue.submit("hopeless", {})
    child = queue.submit("generic", {}, SubmitOptions(depends_on=(failed.id, delayed.id)))
    work()
    assert explain(client, delayed.id)[0] == ["delayed", "no-scheduler"]
    codes, told = explain(client, retried.id)
    assert codes[0] == "waits-for-retry"
    assert "come back in an hour" in told["reasons"][0]["message"]
    assert explain(client, child.id)[0] == ["parent-failed", "waits-for-parent"]
    redis.delete(f"rq:job:{failed.id}")
    assert explain(client, child.id)[0] == ["parent-gone", "waits-for-parent"]


@pytest.mark.parametrize("has_code", [True, False])  # an older version, or a stock worker, stores no code
def test_how_it_ended(
    client: FlaskClient, queue: TaskQueue, redis: Redis, work: Callable[..., str], has_code: bool
) -> None:
    hopeless, crash = queue.submit("hopeless", {}), queue.submit("crash", {})
    slow, in_c = queue.submit("slow", {"seconds": 3}), queue.submit("busy_in_c", {})
    canceled = queue.submit("generic", {})
    client.post(f"/tasks/{canceled.id}/cancel")
    expired = queue.submit("generic", {}, SubmitOptions(expires_in=0.001))
    work()
    for task in (hopeless, crash, slow, in_c):
        assert redis.hexists(f"rq:job:{task.id}", "tq:reason")
        if not has_code:
            redis.hdel(f"rq:job:{task.id}", "tq:reason")
    assert explain(client, hopeless.id)[0] == ["error", "permanent", "can-be-sent-again"]
    assert explain(client, crash.id)[0] == ["poison", "no-attempts-left", "can-be-sent-again"]
    for task in (slow, in_c):
        assert explain(client, task.id)[0] == ["timeout", "no-attempts-left", "can-be-sent-again"]
    assert explain(client, canceled.id)[0] == ["canceled"]
    assert explain(client, expired.id)[0] == ["expired"]


def test_its_type_is_gone(
    client: FlaskClient, queue: TaskQueue, work: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = queue.submit("hopeless", {})
    work()
    monkeypatch.delitem(registered, "hopeless")
    codes, told = explain(client, task.id)
    assert codes == ["error", "permanent", "unknown-task-type"]
    assert told["reasons"][-1]["message"].startswith("There is no task type 'hopeless' any more: ")


def test_an_unknown_task_is_a_404(client: FlaskClient) -> None:
    assert problem(client.get("/tasks/nope/explain"), 404)["type"] == "urn:problem:unknown-task"


def test_what_waits_for_a_host_says_which_and_why(client: FlaskClient, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("generic", {}, SubmitOptions(delay=60))
    host = Host("mail", "smtp.example", 25)
    redis.hset(f"rq:job:{task.id}", "tq:put_off", f"1764064800 1 {host.member}")
    Hosts(redis).failed(host, 0, "did not answer in 10 s")
    codes, told = explain(client, task.id)
    assert codes == ["waits-for-host", "no-scheduler"]
    message = told["reasons"][0]["message"]
    assert re.fullmatch(
        r"The mail server smtp\.example:25 did not answer in 10 s at 20\S+Z; next try in [1-5] s\."
        r" It has waited since 2025-11-25T10:00:00\.000Z, no attempt used\.",
        message,
    ), message
    Hosts(redis).answered(host)
    message = explain(client, task.id)[1]["reasons"][0]["message"]
    assert message.startswith("It waited for the mail server smtp.example:25, which may be asked again;")
    redis.hset(f"rq:job:{task.id}", "tq:put_off", "1764064800 1 callback-place")
    assert explain(client, task.id)[0][0] == "waits-for-horse"
    for other in (
        "1764064800 2 mail:smtp.example:25",
        "rubbish",
        "1 1 rubbish",
    ):
        redis.hset(f"rq:job:{task.id}", "tq:put_off", other)
        assert explain(client, task.id)[0][0] == "delayed"
