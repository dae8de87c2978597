"""Tasks that are canceled or deleted while workers are at them, and queues that are paused."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import WrongStatus
from tests.conftest import SLACK, Figure, wait_until
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until, until_it_runs

Start = Callable[..., RunningWorker]


@pytest.fixture
def operations(redis: Redis) -> Operations:
    return Operations(redis, 1000)


@pytest.fixture
def pauses(redis: Redis, queue: TaskQueue) -> Pauses:
    return Pauses(redis, queue.settings)


def test_a_running_task_is_stopped_within_a_second(
    start: Start, queue: TaskQueue, redis: Redis, operations: Operations, figure: Figure
) -> None:
    worker = start("--grace-seconds", "0")
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    assert operations.cancel(task.id) == "stopping"
    seconds = until(queue, task.id, "canceled")
    figure("a running job is canceled: it is stopped", seconds)
    assert seconds < 1 * SLACK
    assert registries_of(redis, task.id) == ["canceled"]
    assert redis.hget(f"rq:job:{task.id}", "tq:cancel") is None
    worker.wait_for_line(f"Task {task.id} canceled while it ran")
    operations.requeue(task.id)
    until(queue, task.id, "processing")
    assert queue.get(task.id).attempt == 1


def test_a_running_task_is_stopped_though_its_worker_did_not_hear_the_command(
    start: Start, queue: TaskQueue, redis: Redis, operations: Operations, figure: Figure
) -> None:
    start()
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    redis.hset(f"rq:job:{task.id}", "tq:cancel", 1)  # the command is lost
    seconds = until(queue, task.id, "canceled")
    figure("a running job is canceled, and the command is lost: it is stopped", seconds)
    assert seconds < 2 * SLACK  # by the next heartbeat
    assert registries_of(redis, task.id) == ["canceled"]


def test_a_task_that_is_to_be_stopped_makes_no_other_attempt_when_its_horse_dies(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 30})
    until_it_runs(redis, task.id)
    redis.hset(f"rq:job:{task.id}", "tq:cancel", 1)
    for horse in worker.horses():
        os.kill(horse, signal.SIGKILL)
    until(queue, task.id, "canceled")
    assert registries_of(redis, task.id) == ["canceled"]
    assert redis.get(f"test:runs:{task.id}") == b"1"


def test_a_running_task_is_not_deleted(start: Start, queue: TaskQueue, operations: Operations) -> None:
    start()
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    with pytest.raises(WrongStatus, match="processing"):
        operations.delete(task.id)
    operations.cancel(task.id)
    until(queue, task.id, "canceled")
    operations.delete(task.id)


def test_tasks_that_are_canceled_at_any_moment_end_once(
    start: Start, queue: TaskQueue, redis: Redis, operations: Operations
) -> None:
    """Also while a horse claims a task, begins it, or stores its outcome."""
    start("--horses", "2")
    chance = random.Random(2)
    tasks = [queue.submit("long", {"seconds": chance.choice((0, 0, 0.02, 5))}).id for _ in range(60)]
    end = time.monotonic() + 60 * SLACK
    stopped, open_tasks = 0, list(tasks)
    while open_tasks and time.monotonic() < end:
        task = chance.choice(open_tasks[:4])
        try:
            stopped += operations.cancel(task) == "stopping"
        except WrongStatus:
            open_tasks.remove(task)
        time.sleep(chance.uniform(0, 0.02))
    assert {queue.get(task).status for task in tasks} <= {"complete", "canceled"}
    for task in tasks:
        assert registries_of(redis, task) == ["finished" if queue.get(task).status == "complete" else "canceled"]
        assert int(redis.get(f"test:runs:{task}") or 0) <= 1
    assert redis.keys("rq:wip:*") == []
    assert stopped > 5


def script_calls(redis: Redis) -> int:
    return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])


def test_nothing_is_taken_from_a_paused_queue_until_it_is_resumed(
    start: Start, queue: TaskQueue, redis: Redis, pauses: Pauses, figure: Figure
) -> None:
    start()
    pauses.pause("default")
    held = [queue.submit("generic", {}).id for _ in range(3)]
    other = queue.submit("generic", {}, SubmitOptions(queue="low"))
    until(queue, other.id, "complete")
    time.sleep(1)  # the worker sees the pause
    before, began = script_calls(redis), time.monotonic()
    time.sleep(1)
    # The worker looks for due and for lost jobs; its horses do not claim in a busy loop.
    assert (script_calls(redis) - before) / (time.monotonic() - began) < 30
    assert redis.llen("rq:queue:default") == 3
    pauses.resume("default")
    seconds = max(until(queue, task, "complete") for task in held)
    figure("a queue is resumed: its jobs are complete", seconds)
    assert seconds < 1.5 * SLACK


def test_what_runs_goes_on_when_its_queue_is_paused(
    start: Start, queue: TaskQueue, redis: Redis, pauses: Pauses, tmp_path: Path
) -> None:
    start()
    task = queue.submit("held", {"file": str(tmp_path / "go")})
    until_it_runs(redis, task.id)
    pauses.pause("default")
    (tmp_path / "go").touch()
    until(queue, task.id, "complete")


def test_a_burst_leaves_what_is_paused(start: Start, queue: TaskQueue, redis: Redis, pauses: Pauses) -> None:
    pauses.pause("default")
    queue.submit("generic", {})
    after = queue.submit("generic", {}, SubmitOptions(queue="low"))
    worker = start("--burst")
    wait_until(lambda: not worker.lives, what="the end of the burst")
    assert (redis.llen("rq:queue:default"), queue.get(after.id).status) == (1, "complete")
