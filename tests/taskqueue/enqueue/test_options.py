"""The options of a task: what they do in Redis and in a worker, and which ones are refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.registry import DeferredJobRegistry, ScheduledJobRegistry
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownParent
from tests.conftest import wait_until

Work = Callable[..., str]


def waiting(redis: Redis, name: str = "default") -> list[str]:
    return Queue(name, connection=redis, serializer=JSONSerializer).job_ids


def test_a_delayed_task_waits_in_rqs_scheduled_registry(redis: Redis, queue: TaskQueue, work: Work) -> None:
    task = queue.submit("generic", {}, SubmitOptions(delay=3600))
    read = queue.get(task.id)
    assert (task.status, read.status) == ("scheduled", "scheduled")
    assert task.scheduled_for
    assert read.scheduled_for == pytest.approx(task.created_at + timedelta(hours=1), abs=timedelta(milliseconds=2))
    assert ScheduledJobRegistry("default", connection=redis).get_job_ids() == [task.id]
    work()
    assert queue.get(task.id).status == "scheduled"
    redis.zadd("rq:scheduled:default", {task.id: 1})  # its time has come
    work()
    assert queue.get(task.id).status == "complete"


def test_a_task_may_wait_for_a_moment(queue: TaskQueue) -> None:
    at = datetime(2026, 11, 24, 10, 43, 5, tzinfo=UTC) + timedelta(days=365 * 3)
    with pytest.raises(ValidationError, match="more than a year away"):
        SubmitOptions(at=at)
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    assert queue.get(queue.submit("generic", {}, SubmitOptions(at=soon)).id).scheduled_for == soon


def test_a_moment_that_has_passed_is_now(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {}, SubmitOptions(at=datetime.now(UTC) - timedelta(days=1)))
    assert (task.status, waiting(redis)) == ("queued", [task.id])


def test_a_task_at_the_front_is_before_those_that_wait(redis: Redis, queue: TaskQueue) -> None:
    first = queue.submit("generic", {})
    urgent = queue.submit("generic", {}, SubmitOptions(priority="front"))
    assert waiting(redis) == [urgent.id, first.id]


def test_a_delayed_task_at_the_front_goes_there_when_it_is_due(queue: TaskQueue, redis: Redis, work: Work) -> None:
    first = queue.submit("generic", {})
    urgent = queue.submit("generic", {}, SubmitOptions(priority="front", delay=60))
    redis.zadd("rq:scheduled:default", {urgent.id: 1})
    log = work()
    assert log.index(f"task {urgent.id}") < log.index(f"task {first.id}")


def test_a_task_that_has_not_begun_in_time_is_dropped_and_says_so(
    redis: Redis, queue: TaskQueue, work: Work
) -> None:
    late = queue.submit("counted", {}, SubmitOptions(expires_in=0.001))
    good = queue.submit("counted", {}, SubmitOptions(expires_in=3600))
    wait_until(lambda: queue.get(late.id).status == "canceled", what="the task to expire")
    work()
    dropped = queue.get(late.id)
    assert (dropped.status, dropped.attempt, dropped.errors) == ("canceled", 0, ())
    assert dropped.error
    assert dropped.error.type == "Expired"
    assert "It had not begun by" in dropped.error.message
    assert redis.get(f"test:runs:{late.id}") is None
    assert Job.fetch(late.id, connection=redis, serializer=JSONSerializer).is_canceled
    assert redis.ttl(Job.key_for(late.id)) > 0
    assert queue.get(good.id).status == "complete"


def test_a_task_that_has_begun_in_time_is_tried_again_later(queue: TaskQueue, redis: Redis, work: Work) -> None:
    task = queue.submit("later", {}, SubmitOptions(expires_in=3600))
    work()
    assert queue.get(task.id).attempt == 1
    redis.hset(Job.key_for(task.id), "tq:expires_at", "1")
    redis.zadd("rq:scheduled:default", {task.id: 1})
    work()
    assert (queue.get(task.id).status, queue.get(task.id).attempt) == ("failed", 2)


def test_a_task_waits_for_those_that_it_depends_on(redis: Redis, queue: TaskQueue, work: Work) -> None:
    parents = [queue.submit("generic", {}), queue.submit("week", {"of": "2026-11-23"})]
    child = queue.submit("generic", {}, SubmitOptions(queue="high", depends_on=[task.id for task in parents]))
    assert (child.status, queue.get(child.id).depends_on) == ("deferred", tuple(task.id for task in parents))
    assert DeferredJobRegistry("high", connection=redis).get_job_ids() == [child.id]
    log = work()
    assert queue.get(child.id).status == "complete"
    assert all(log.index(f"Task {task.id} complete") < log.index(f"task {child.id}") for task in parents)


def test_rqs_own_code_reads_the_dependencies(redis: Redis, queue: TaskQueue) -> None:
    parent = queue.submit("generic", {})
    child = queue.submit("generic", {}, SubmitOptions(depends_on=(parent.id,), allow_failure=True))
    job = Job.fetch(child.id, connection=redis, serializer=JSONSerializer)
    assert (job.dependency_ids, job._dependency_ids) == ([parent.id], [parent.id])
    assert job.allow_dependency_failures is True
    assert Job.fetch(parent.id, connection=redis, serializer=JSONSerializer).dependent_ids == [child.id]


def test_a_parent_that_has_ended_already_is_waited_for_no_more(queue: TaskQueue, work: Work) -> None:
    parent = queue.submit("generic", {})
    work()
    child = queue.submit("generic", {}, SubmitOptions(depends_on=(parent.id,)))
    assert child.status == "queued"
    work()
    assert queue.get(child.id).status == "complete"


def test_a_parent_that_failed_counts_only_where_that_is_allowed(queue: TaskQueue, work: Work) -> None:
    running = queue.submit("hopeless", {})
    strict = queue.submit("generic", {}, SubmitOptions(depends_on=(running.id,)))
    lenient = queue.submit("generic", {}, SubmitOptions(depends_on=(running.id,), allow_failure=True))
    work()
    assert (queue.get(strict.id).status, queue.get(lenient.id).status) == ("deferred", "complete")
    answer = queue.accept("generic", {}, SubmitOptions(depends_on=(running.id,)))
    assert (answer.task.status, answer.blocked_by) == ("deferred", running.id)
    assert (
        queue.submit("generic", {}, SubmitOptions(depends_on=(running.id,), allow_failure=True)).status == "queued"
    )


def test_an_unknown_parent_is_refused_and_nothing_is_queued(redis: Redis, queue: TaskQueue) -> None:
    with pytest.raises(UnknownParent, match="no task 'nope'"):
        queue.submit("generic", {}, SubmitOptions(depends_on=("nope",), dedupe="x", tags=("a",)))
    assert redis.dbsize() == 0


def test_while_a_task_waits_or_runs_its_duplicate_is_the_same(queue: TaskQueue, redis: Redis, work: Work) -> None:
    nightly = SubmitOptions(dedupe="nightly")
    first = queue.submit("generic", {"night": 1}, nightly)
    again = queue.accept("generic", {"night": 2}, nightly)
    assert (again.outcome, again.task) == ("duplicate", first)
    assert queue.submit("steps", {"count": 1}, nightly).id != first.id  # another job type's keys are its own
    redis.hset(Job.key_for(first.id), "status", "started")
    assert queue.submit("generic", {}, nightly).id == first.id
    redis.hset(Job.key_for(first.id), "status", "queued")
    work()
    assert queue.submit("generic", {}, nightly).id != first.id


def test_an_expired_task_stands_in_nobodys_way(queue: TaskQueue) -> None:
    options = SubmitOptions(dedupe="nightly", expires_in=0.001)
    first = queue.submit("generic", {}, options)
    wait_until(lambda: queue.submit("generic", {}, options).id != first.id, 5, "the duplicate to be taken")


@pytest.mark.parametrize(
    ("options", "field", "what"),
    [
        ({"delay": -1}, "delay", "greater than or equal to 0"),
        ({"delay": 1e9}, "delay", "less than or equal to"),
        ({"delay": "nan"}, "delay", "less than or equal to"),
        ({"delay": 5, "at": "2026-11-24T10:43:05Z"}, "at", "give one of them"),
        ({"at": "next week"}, "at", "RFC 3339"),
        ({"at": "1700000000"}, "at", "RFC 3339"),
        ({"at": "2026-11-24T10:43:05"}, "at", "timezone"),
        ({"delay": 9, "expires_in": 5}, "delay", "would expire"),
        ({"delay": 9, "depends_on": "a"}, "depends_on", "not for both"),
        ({"depends_on": "a:b"}, "depends_on", "pattern"),
        ({"depends_on": ",".join(f"t{n}" for n in range(101))}, "depends_on", "at most 100"),
        ({"allow_failure": True}, "allow_failure", "depends_on, which is missing"),
        ({"dedupe": ""}, "dedupe", "at least 1"),
        ({"priority": "back"}, "priority", "'front'"),
        ({"callback_url": "ftp://example.com"}, "callback_url", "https://"),
        ({"callback_url": "https://user:pw@example.com"}, "callback_url", "no user, password"),
        ({"expires_in": 0}, "expires_in", "greater than 0"),
        ({"dealy": 1}, "dealy", "not permitted"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], field: str, what: str) -> None:
    with pytest.raises(ValidationError, match=what) as raised:
        SubmitOptions.model_validate(options)
    assert raised.value.errors()[0]["loc"][0] == field


def test_an_unencoded_plus_in_a_time_is_understood() -> None:
    assert SubmitOptions(at="2026-11-24T10:43:05 01:00").at == SubmitOptions(at="2026-11-24T09:43:05Z").at  # type: ignore[arg-type]


def test_a_callback_url_is_kept(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {}, SubmitOptions(callback_url="https://example.com/hook?x=1"))
    assert redis.hget(Job.key_for(task.id), "tq:callback_url") == b"https://example.com/hook?x=1"
