"""The counts by minute and hour, on a real Redis."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from flask.testing import FlaskClient
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.series import EVENTS, Point, Series, add_to_minute
from taskqueue.telemetry.totals import Totals
from taskqueue.worker.maintenance.minute_roller import MinuteRoller

MINUTE = 60


def minutes_ago(minutes: int) -> int:
    return int(time.time()) // MINUTE - minutes


def total(points: list[Point], event: str) -> int:
    return sum(getattr(point, event) for point in points)


def test_a_submitted_task_is_counted_by_type_and_queue(redis: Redis, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    queue.submit("generic", {}, SubmitOptions(queue="low", delay=60))
    table = Series(redis).read("hour")
    assert total(table.points(), "submitted") == 2
    assert total(table.points(queue="low"), "submitted") == 1
    assert (table.job_types(), table.queues()) == (["generic"], ["default", "low"])
    key = redis.keys("tq:minute:*")[0]
    assert 0 < redis.ttl(key) <= 6 * 3600


def test_the_same_task_sent_twice_is_counted_once(redis: Redis, queue: TaskQueue) -> None:
    submission = queue.submissions.prepare(queue.job_types.find("generic"), {}, SubmitOptions())
    queue.submissions.send(submission)
    queue.submissions.send(submission)
    assert total(Series(redis).read("hour").points(), "submitted") == 1


def test_the_tasks_of_a_batch_are_counted(redis: Redis, client: FlaskClient) -> None:
    generic = {"task_type": "generic", "payload": {}}
    answer = client.post("/tasks/bulk", json=[generic, generic, generic | {"tags": ["x"]}])
    assert answer.status_code == 202
    assert total(Series(redis).read("hour").points(), "submitted") == 3


def test_a_key_of_another_type_keeps_no_task_from_its_queue(redis: Redis, queue: TaskQueue) -> None:
    for minute in (minutes_ago(0), minutes_ago(-1)):
        redis.set(f"tq:minute:{minute}", "rubbish")
    task = queue.submit("generic", {})
    assert queue.get(task.id).status == "queued"
    assert total(Series(redis).read("hour").points(), "submitted") == 0


def test_a_worker_adds_each_count_once(redis: Redis, queue: TaskQueue) -> None:
    tally = Tally()
    totals = Totals(redis)
    tally.add_wait("generic", 0.25, "high")
    tally.add("generic", "finished", 1.5, "high")
    totals.add(tally)
    totals.add(tally)
    tally.add("generic", "retried", 0.5, "high")
    totals.add(tally)
    points = [
        point for point in Series(redis).read("hour").points() if point.begun or point.complete or point.retried
    ]
    assert (total(points, "begun"), total(points, "complete"), total(points, "retried")) == (1, 1, 1)
    (wait,) = {point.wait_seconds for point in points} - {None}
    assert wait == 0.25


def test_the_counts_of_a_horse_reach_the_worker_whole(redis: Redis, queue: TaskQueue) -> None:
    horse, worker = Tally(), Tally()
    horse.add("generic", "failed", 0.1, "low")
    horse.add("no such type", "failed", 0.1, "low")
    line = horse.take()
    assert not horse.series
    worker.merge(line)
    assert worker.series["generic:low:failed"] == worker.series["unknown:low:failed"] == 1


def test_a_minute_that_is_over_is_added_to_its_hour_once(redis: Redis) -> None:
    minute = minutes_ago(10)
    redis.hset(f"tq:minute:{minute}", mapping={"email:high:finished": 7, "email:high:run_ms": 70})
    redis.set("tq:rolled", minute - 1)
    for _ in range(2):  # two workers, or one that asks again
        MinuteRoller(redis).run()
    hour = f"tq:hour:{minute // 60}"
    assert redis.hgetall(hour) == {b"email:high:finished": b"7", b"email:high:run_ms": b"70"}
    assert redis.ttl(hour) > 7 * 86_400
    day = Series(redis).read("day")
    assert total(day.points(), "complete") == 7


def test_after_an_absence_of_all_workers_what_is_kept_is_added(redis: Redis) -> None:
    minute = minutes_ago(200)
    redis.hset(f"tq:minute:{minute}", "email:high:finished", 3)
    redis.set("tq:rolled", minute - 100_000)
    roller = MinuteRoller(redis)
    for _ in range(10):
        roller.run()
    assert redis.hget(f"tq:hour:{minute // 60}", "email:high:finished") == b"3"
    assert int(redis.get("tq:rolled") or 0) >= minutes_ago(3)


def test_the_day_has_what_no_worker_has_added_yet(redis: Redis) -> None:
    add_to_minute(redis, {"email:high:submitted": 5})
    redis.set("tq:rolled", minutes_ago(3))
    points = Series(redis).read("day").points()
    assert total(points, "submitted") == 5
    assert len(points) == 24


def test_the_last_point_is_the_present_minute(redis: Redis) -> None:
    points = Series(redis).read("hour").points()
    assert len(points) == 60
    assert datetime.now(UTC) - points[-1].at < timedelta(minutes=1, seconds=5)
    assert all(later.at - earlier.at == timedelta(minutes=1) for earlier, later in pairwise(points))


def test_what_cannot_change_is_read_once(redis: Redis) -> None:
    minute = minutes_ago(30)
    redis.hset(f"tq:minute:{minute}", "email:high:submitted", 2)
    series = Series(redis)
    assert total(series.read("hour").points(), "submitted") == 2
    redis.delete(f"tq:minute:{minute}")
    add_to_minute(redis, {"email:high:submitted": 1})
    assert total(series.read("hour").points(), "submitted") == 3


def test_each_outcome_of_a_run_is_an_event() -> None:
    assert {"finished", "failed", "retried", "stopped", "returned"} < set(EVENTS)
