"""RQ's own tools on our jobs: what the README shows, as it is written there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue

RQ = str(Path(sys.executable).parent / "rq")
STOCK_WORKER = (RQ, "worker", "-S", "json", "--burst", "high", "default", "low")

Work = Callable[..., str]


@pytest.fixture
def rq(env: pytest.MonkeyPatch, project: Path) -> Callable[..., str]:
    """Run the `rq` command against the test's Redis; its output is returned."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [RQ, *arguments],
            cwd=project,
            env=os.environ | {"RQ_REDIS_URL": os.environ["TASK_QUEUE_URL"]},
            timeout=30,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.stdout

    return run


@pytest.fixture
def stock_work(env: pytest.MonkeyPatch, work: Work) -> Work:
    """Run a stock `rq worker` until the queues are empty."""
    env.setenv("RQ_REDIS_URL", os.environ["TASK_QUEUE_URL"])
    return lambda: work(command=STOCK_WORKER)


def test_a_stock_worker_runs_the_same_jobs(queue: TaskQueue, stock_work: Work) -> None:
    task = queue.submit("week", {"of": "2026-11-23"})
    stock_work()
    read = queue.get(task.id)
    assert (read.status, read.attempt) == ("complete", 1)
    assert read.result == {"first": "2026-11-23", "last": "2026-11-29"}


def test_a_stock_worker_tries_again_and_gives_up_as_ours_does(queue: TaskQueue, stock_work: Work) -> None:
    flaky, hopeless = queue.submit("flaky", {"failures": 1}), queue.submit("hopeless", {})
    stock_work()
    assert (queue.get(flaky.id).status, queue.get(flaky.id).attempt) == ("complete", 2)
    assert (queue.get(hopeless.id).status, queue.get(hopeless.id).attempt) == ("failed", 1)


def test_rq_info_shows_the_queues(queue: TaskQueue, rq: Callable[..., str]) -> None:
    queue.submit("generic", {})
    assert "default" in rq("info")


def test_rq_requeue_sends_failures_again(queue: TaskQueue, rq: Callable[..., str], work: Work) -> None:
    task = queue.submit("flaky", {"failures": 4}, SubmitOptions(queue="default"))
    work()
    assert queue.get(task.id).status == "failed"
    rq("requeue", "--all", "--queue", "default")
    assert queue.get(task.id).status == "queued"
    work()
    assert (queue.get(task.id).status, queue.get(task.id).result) == ("complete", 5)


def test_rq_enqueue_by_hand_is_run(queue: TaskQueue, redis: Redis, rq: Callable[..., str], work: Work) -> None:
    rq("enqueue", "-S", "json", "jobs.generic.generic", "a=1")
    (task_id,) = redis.lrange("rq:queue:default", 0, -1)
    work()
    assert queue.get(task_id.decode()).result == {"a": "1"}
