"""Schedules that are due, fired on a real Redis: once, and as their overlap and catch-up say."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from redis import Redis
from rq.job import Job

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule import Schedule
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.worker.maintenance.schedule_runner import ScheduleRunner


@pytest.fixture
def schedules(redis: Redis, queue: TaskQueue) -> Schedules:
    return Schedules(redis, queue.submissions, queue.job_types)


@pytest.fixture
def firing(redis: Redis, queue: TaskQueue) -> ScheduleRunner:
    return ScheduleRunner(redis, queue.settings, queue.job_types)


def hourly(**fields: object) -> Schedule:
    return Schedule.model_validate({"task_type": "generic", "interval": 3600} | fields)


def make_due(redis: Redis, name: str, seconds_ago: float = 1) -> None:
    """Let it have been due so many seconds ago, and each hour before and since."""
    due = time.time() - seconds_ago
    redis.hset(f"tq:schedule:{name}", mapping={"next_run": due, "updated_at": due - 3600})
    redis.zadd("tq:schedules", {name: due})


def waiting(redis: Redis) -> list[str]:
    return [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]


def test_a_schedule_that_is_due_runs_and_is_due_again_an_interval_later(
    redis: Redis, queue: TaskQueue, schedules: Schedules, firing: ScheduleRunner
) -> None:
    schedules.put("hourly", hourly(payload={"a": 1}, tags=["x"], attempts=7))
    firing.run()
    assert waiting(redis) == []
    make_due(redis, "hourly")
    firing.run()
    firing.run()
    (task_id,) = waiting(redis)
    task = queue.get(task_id)
    assert (task.payload, task.tags, task.attempts) == ({"a": 1}, ("x", "schedule:hourly"), 7)
    kept = schedules.get("hourly")
    assert (kept.runs, kept.skipped, kept.last_task, kept.last_run) == (1, 0, task_id, task.created_at)
    assert kept.next_run
    assert 3590 < kept.next_run.timestamp() - time.time() <= 3600


def test_however_many_workers_look_it_runs_once(redis: Redis, queue: TaskQueue, schedules: Schedules) -> None:
    names = [f"s{number}" for number in range(10)]
    for name in names:
        schedules.put(name, hourly())
        make_due(redis, name)
    together = Barrier(8)

    def look(_: int) -> None:
        firing = ScheduleRunner(redis, queue.settings, queue.job_types)
        together.wait(10)
        firing.run()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(look, range(8)))
    assert len(waiting(redis)) == len(names)
    assert [schedules.get(name).runs for name in names] == [1] * len(names)


@pytest.mark.parametrize("status", ["queued", "started", "scheduled"])
def test_while_the_last_run_goes_on_the_next_is_skipped(
    redis: Redis, schedules: Schedules, firing: ScheduleRunner, status: str
) -> None:
    schedules.put("hourly", hourly())
    first = schedules.run("hourly")
    redis.hset(Job.key_for(first.id), "status", status)
    make_due(redis, "hourly")
    firing.run()
    assert (waiting(redis), schedules.get("hourly").skipped) == ([first.id], 1)
    redis.hset(Job.key_for(first.id), "status", "failed")
    make_due(redis, "hourly")
    firing.run()
    assert len(waiting(redis)) == 2


def test_runs_may_queue_up(redis: Redis, schedules: Schedules, firing: ScheduleRunner) -> None:
    schedules.put("hourly", hourly(overlap="queue"))
    for _ in range(3):
        make_due(redis, "hourly")
        firing.run()
    assert len(waiting(redis)) == 3


def test_the_next_run_may_replace_the_last(
    redis: Redis, queue: TaskQueue, schedules: Schedules, firing: ScheduleRunner
) -> None:
    schedules.put("hourly", hourly(overlap="replace"))
    first = schedules.run("hourly")
    make_due(redis, "hourly")
    firing.run()
    assert queue.get(first.id).status == "canceled"
    second = schedules.get("hourly").last_task
    assert waiting(redis) == [second]
    redis.hset(Job.key_for(str(second)), "status", "started")
    make_due(redis, "hourly")
    firing.run()
    assert redis.hget(Job.key_for(str(second)), "tq:cancel") == b"1"  # its worker stops it
    assert schedules.get("hourly").last_task != second


@pytest.mark.parametrize(
    ("fields", "runs", "skipped"),
    [
        ({"catch_up": "skip"}, 0, 6),
        ({"catch_up": "once"}, 1, 0),
        ({"catch_up": "all", "overlap": "queue"}, 6, 0),
        ({"catch_up": "all"}, 1, 5),  # the second would overlap the first
    ],
)
def test_what_was_missed_is_caught_up_or_skipped(
    redis: Redis, schedules: Schedules, firing: ScheduleRunner, fields: dict[str, object], runs: int, skipped: int
) -> None:
    schedules.put("hourly", hourly(**fields))
    make_due(redis, "hourly", seconds_ago=5 * 3600 + 600)
    firing.run()
    assert len(waiting(redis)) == runs
    kept = schedules.get("hourly")
    assert (kept.runs, kept.next_run is not None and kept.next_run.timestamp() > time.time()) == (runs, True)
    if fields["catch_up"] != "skip":
        assert kept.skipped == skipped


def test_a_paused_schedule_is_not_fired_and_makes_up_for_nothing(
    redis: Redis, schedules: Schedules, firing: ScheduleRunner
) -> None:
    schedules.put("hourly", hourly(catch_up="all"))
    assert schedules.pause("hourly").paused
    redis.hset("tq:schedule:hourly", "updated_at", time.time() - 10 * 3600)
    firing.run()
    resumed = schedules.resume("hourly")
    assert resumed.next_run
    assert resumed.next_run.timestamp() > time.time()
    firing.run()
    assert waiting(redis) == []


def test_a_job_type_that_is_gone_is_told_and_is_no_end(
    redis: Redis, queue: TaskQueue, schedules: Schedules, job_types: JobTypes
) -> None:
    schedules.put("hourly", hourly())
    make_due(redis, "hourly")
    ScheduleRunner(redis, queue.settings, JobTypes()).run()
    kept = schedules.get("hourly")
    assert kept.error
    assert "There is no task type 'generic'" in kept.error
    make_due(redis, "hourly")
    ScheduleRunner(redis, queue.settings, job_types).run()
    assert (schedules.get("hourly").error, len(waiting(redis))) == (None, 1)


def test_a_schedule_that_cannot_be_read_holds_up_nobody(
    redis: Redis, schedules: Schedules, firing: ScheduleRunner, caplog: pytest.LogCaptureFixture
) -> None:
    schedules.put("a", hourly())
    schedules.put("b", hourly())
    make_due(redis, "a", seconds_ago=2)
    make_due(redis, "b")
    redis.hset("tq:schedule:a", "schedule", '{"interval": "soon"}')
    firing.run()
    assert len(waiting(redis)) == 1
    assert "Schedule a cannot be read, and is paused" in caplog.text
    assert redis.zscore("tq:schedules", "a") == float("inf")


def test_a_worker_fires_what_is_due(
    redis: Redis, queue: TaskQueue, schedules: Schedules, work: Callable[..., str]
) -> None:
    schedules.put("hourly", hourly())
    make_due(redis, "hourly")
    log = work()
    task_id = schedules.get("hourly").last_task
    assert task_id
    assert f"Schedule hourly: task {task_id} is queued" in log
    assert queue.get(task_id).status == "complete"
