"""Workers that are stopped, jobs that are stopped or cancelled, and time limits that nobody keeps by himself."""

import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.connection import connect_for_requests
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, is_gone, places_of, registries_of, until, until_it_runs

Start = Callable[..., RunningWorker]


def test_a_running_job_has_its_grace_time(start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path) -> None:
    worker = start()
    task = queue.submit("held", {"file": str(tmp_path / "go")})
    until_it_runs(redis, task.id)
    worker.process.terminate()
    worker.wait_for_line("Stopping")
    (tmp_path / "go").touch()
    assert worker.process.wait(20) == 0
    assert queue.get(task.id).status == "complete"


def test_after_the_grace_time_a_job_is_put_back_to_the_front_and_no_attempt_is_used(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    worker = start("--grace-seconds", "0")
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    queue.submit("generic", {})
    worker.process.terminate()
    figure("SIGTERM after the grace time: the job is back at the front", until(queue, task.id, "queued"))
    assert worker.process.wait(20) == 0
    read = queue.get(task.id)
    assert (read.status, read.attempt, read.errors) == ("queued", 0, ())
    assert redis.lindex("rq:queue:default", 0) == task.id.encode()
    assert registries_of(redis, task.id) == ["queued"]


def test_a_signal_to_the_whole_group_ends_no_job(
    start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    """systemd sends a signal so, and so does `kill` with a process group."""
    worker = start()
    task = queue.submit("held", {"file": str(tmp_path / "go")}, SubmitOptions(attempts=1))
    until_it_runs(redis, task.id)
    worker.send_signal(signal.SIGTERM)
    worker.wait_for_line("Stopping")
    (tmp_path / "go").touch()
    assert worker.process.wait(20) == 0
    assert queue.get(task.id).status == "complete"


@pytest.mark.slow
def test_a_rolling_restart_under_load_loses_and_fails_nothing(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer
) -> None:
    workers = [start("--grace-seconds", "1") for _ in range(3)]
    tasks: list[str] = []
    ends = threading.Event()

    def feed() -> None:
        with connect_for_requests(server.url) as connection:
            to = TaskQueue(connection, queue.settings, queue.job_types)
            began = time.monotonic()
            while not ends.is_set():
                job = ("long", {"seconds": 3}) if len(tasks) % 1000 == 999 else ("counted", {})
                tasks.append(to.submit(*job, SubmitOptions(attempts=1)).id)
                time.sleep(max(0.0, began + len(tasks) / 500 - time.monotonic()))

    feeder = threading.Thread(target=feed)
    feeder.start()
    for index, worker in enumerate(workers):
        time.sleep(3)  # the load itself
        worker.process.terminate()
        assert worker.process.wait(20) == 0
        workers[index] = start("--grace-seconds", "5")
    time.sleep(2)
    ends.set()
    feeder.join()
    assert len(tasks) > 3000
    wait_until(lambda: redis.zcard("rq:finished:default") == len(tasks), 60, what="all jobs")
    assert redis.zcard("rq:failed:default") == 0
    assert set(map(tuple, places_of(redis, *tasks).values())) == {("finished",)}
    assert {int(redis.hget(Job.key_for(task), "tq:attempt")) for task in tasks} == {1}


def test_a_running_job_is_stopped_by_rqs_own_command(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    start()
    task = queue.submit("long", {"seconds": 30})
    until(queue, task.id, "processing")
    send_stop_job_command(redis, task.id, JSONSerializer)
    seconds = until(queue, task.id, "canceled")
    figure("RQ's stop command: the job is stopped", seconds)
    assert seconds < 1 * SLACK
    assert registries_of(redis, task.id) == ["failed"]  # RQ keeps stopped jobs there
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def rq_job(redis: Redis, task_id: str) -> Job:
    return Job.fetch(task_id, connection=redis, serializer=JSONSerializer)


def test_a_queued_job_that_is_canceled_does_not_run(start: Start, queue: TaskQueue, redis: Redis) -> None:
    task, after = queue.submit("counted", {}), queue.submit("generic", {})
    rq_job(redis, task.id).cancel()
    start()
    until(queue, after.id, "complete")
    assert (queue.get(task.id).status, redis.get(f"test:runs:{task.id}")) == ("canceled", None)
    assert registries_of(redis, task.id) == ["canceled"]


def test_an_id_that_is_canceled_and_still_in_its_queue_does_not_run(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    task, after = queue.submit("counted", {}), queue.submit("generic", {})
    rq_job(redis, task.id).cancel()
    redis.lpush("rq:queue:default", task.id)
    start()
    until(queue, after.id, "complete")
    assert redis.get(f"test:runs:{task.id}") is None
    assert registries_of(redis, task.id) == ["canceled"]


def test_a_scheduled_job_that_is_canceled_does_not_run(start: Start, queue: TaskQueue, redis: Redis) -> None:
    start()
    task = queue.submit("later", {})
    until(queue, task.id, "scheduled")
    rq_job(redis, task.id).cancel()
    assert queue.get(task.id).status == "canceled"
    assert registries_of(redis, task.id) == ["canceled"]


def test_a_running_job_that_is_canceled_is_ended_at_the_next_heartbeat(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 30})
    until_it_runs(redis, task.id)
    (horse,) = worker.horses()
    rq_job(redis, task.id).cancel()
    canceled_at = time.monotonic()
    wait_until(lambda: is_gone(horse), 5 * SLACK, what="the horse to be ended")
    figure("RQ's job.cancel() of a running job: its horse is ended", time.monotonic() - canceled_at)
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")
    assert queue.get(task.id).status == "canceled"
    assert registries_of(redis, task.id) == ["canceled"]


def test_a_job_that_is_deleted_while_it_runs_does_not_come_back(
    start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    worker = start()
    task = queue.submit("held", {"file": str(tmp_path / "go")})
    until_it_runs(redis, task.id)
    rq_job(redis, task.id).delete()
    (tmp_path / "go").touch()
    wait_until(lambda: "dropped: finished" in worker.log, what="the result to be dropped")
    assert not redis.exists(Job.key_for(task.id))
    assert registries_of(redis, task.id) == []


def test_what_does_not_end_at_its_time_limit_is_killed_with_its_children(
    start: Start, queue: TaskQueue, tmp_path: Path, figure: Figure
) -> None:
    start()
    child_file = tmp_path / "child"
    task = queue.submit("stubborn", {"child_file": str(child_file)})
    until(queue, task.id, "processing", "failed")
    seconds = until(queue, task.id, "failed") - 1
    figure("time limit swallowed, a child left behind: both ended after the limit", seconds)
    assert seconds < 2 * SLACK
    error = queue.get(task.id).error
    assert error
    assert "did not end at its time limit" in error.message
    wait_until(lambda: is_gone(int(child_file.read_text())), 2 * SLACK, what="the child to end")


def test_what_loops_in_c_code_is_killed_at_its_time_limit(start: Start, queue: TaskQueue, figure: Figure) -> None:
    start()
    task = queue.submit("busy_in_c", {})
    until(queue, task.id, "processing", "failed")
    seconds = until(queue, task.id, "failed") - 1
    figure("loop in C code: ended after the limit", seconds)
    assert seconds < 2 * SLACK
    error = queue.get(task.id).error
    assert error
    assert re.search("did not end at its time limit", error.message)


def test_a_worker_is_stopped_at_once_while_redis_is_away(
    start: Start, queue: TaskQueue, server: RedisServer
) -> None:
    worker = start()
    until(queue, queue.submit("generic", {}).id, "complete")
    server.stop()
    wait_until(lambda: "does not answer" in worker.log, what="the worker to miss Redis")
    worker.process.terminate()
    assert worker.process.wait(10) == 0
