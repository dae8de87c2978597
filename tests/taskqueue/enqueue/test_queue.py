"""Submitting a task and reading it back, on a real Redis."""

import json
import re
from collections.abc import Callable

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload, QueueUnavailable, UnknownJobType, UnknownQueue, UnknownTask


def commands(redis: Redis, act: Callable[[], object]) -> list[str]:
    """The names of the commands that clients (not scripts) send to Redis while `act` runs."""
    act()  # connects, loads the script
    with redis.monitor() as monitor:
        redis.echo("begin")
        act()
        redis.echo("end")
        seen: list[str] = []
        for command in monitor.listen():
            command_words = command["command"].split(" ")
            if command_words[0] == "ECHO" and command_words[1] == "end":
                return seen[seen.index("ECHO") + 1 :]
            if command["client_type"] != "lua":
                seen.append(command_words[0])
    raise AssertionError("the monitor ended")


def test_a_submitted_task_is_queued_as_rqs_own_job(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("flaky", {"failures": 0})
    job = Job.fetch(task.id, connection=redis, serializer=JSONSerializer)
    assert job.func_name == "taskqueue.call.flaky"
    assert (list(job.args), job.kwargs) == ([], {"failures": 0})
    assert (job.origin, job.get_status(), job.timeout) == ("high", JobStatus.QUEUED, 180)
    assert (job.result_ttl, job.failure_ttl) == (86_400, 30 * 86_400)
    assert (job.retries_left, job.retry_intervals) == (3, [0, 0, 0])
    assert Queue("high", connection=redis, serializer=JSONSerializer).job_ids == [task.id]
    assert [q.name for q in Queue.all(connection=redis)] == ["high"]


def test_the_hash_has_no_field_that_rq_writes_otherwise(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("flaky", {"failures": 0})
    ours = redis.hgetall(Job.key_for(task.id))
    theirs = Job.fetch(task.id, connection=redis, serializer=JSONSerializer).to_dict()
    for field, value in ours.items():
        name = field.decode()
        if name.startswith("tq:") or name == "data":
            continue
        expected = theirs[name]
        assert value.decode() == str(expected.value if isinstance(expected, JobStatus) else expected), name


def test_a_large_payload_is_compressed_as_rq_does(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {"text": "x" * 100_000})
    assert redis.hstrlen(Job.key_for(task.id), "data") < 1000
    assert queue.get(task.id).payload == {"text": "x" * 100_000}


def test_what_is_submitted_can_be_read(queue: TaskQueue) -> None:
    task = queue.submit("week", {"of": "2026-11-23"})
    read = queue.get(task.id)
    assert read == task
    assert (read.status, read.attempt, read.attempts, read.queue) == ("queued", 0, 3, "low")


def test_the_queue_can_be_chosen(queue: TaskQueue) -> None:
    assert queue.get(queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(queue="high")).id).queue == "high"


def test_attempts_and_timeout_can_be_said(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(attempts=7, timeout=5))
    assert queue.get(task.id).attempts == 7
    job = Job.fetch(task.id, connection=redis, serializer=JSONSerializer)
    assert (job.timeout, job.retries_left, len(job.retry_intervals or [])) == (5, 6, 6)


def test_a_task_is_found_by_its_type_its_tags_and_its_time(redis: Redis, queue: TaskQueue) -> None:
    first = queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(tags=("customer:7", "blue")))
    second = queue.submit("generic", {}, SubmitOptions(tags=("blue",)))
    ids = [first.id.encode(), second.id.encode()]
    assert redis.zrange("tq:index", 0, -1) == redis.zrange("tq:index:tag:blue", 0, -1) == ids
    assert redis.zrange("tq:index:type:week", 0, -1) == redis.zrange("tq:index:tag:customer:7", 0, -1) == ids[:1]
    assert redis.zscore("tq:index", first.id) == pytest.approx(first.created_at.timestamp() * 1e6, abs=2)
    assert queue.get(first.id).tags == ("customer:7", "blue")


def test_a_task_that_does_not_fit_is_refused_and_nothing_is_queued(redis: Redis, queue: TaskQueue) -> None:
    with pytest.raises(UnknownJobType):
        queue.submit("wek", {})
    with pytest.raises(UnknownQueue, match=r"no queue 'hihg'. Known: high, default, low"):
        queue.submit("generic", {}, SubmitOptions(queue="hihg"))
    with pytest.raises(InvalidPayload, match="/weeks: Input should be less than or equal to 52"):
        queue.submit("week", {"of": "2026-11-23", "weeks": 53})
    with pytest.raises(InvalidPayload, match="A number in it is too large"):
        queue.submit("generic", {"n": float("inf")})
    assert redis.dbsize() == 0


def test_submitting_is_one_round_trip(redis: Redis, queue: TaskQueue) -> None:
    assert commands(redis, lambda: queue.submit("generic", {})) == ["EVALSHA"]


def test_reading_is_one_round_trip(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {})
    assert commands(redis, lambda: queue.get(task.id)) == ["HGETALL", "XREVRANGE"]


def test_an_enqueue_that_is_sent_twice_queues_one_job(redis: Redis, queue: TaskQueue) -> None:
    """A client sends its command again when the answer was lost."""
    submission = queue.submissions.prepare(queue.job_types["generic"], {}, SubmitOptions(dedupe="nightly"))
    answers = [queue.submissions.send(submission) for _ in range(2)]
    assert answers[0] == answers[1]
    assert redis.llen("rq:queue:default") == 1


def test_the_script_is_loaded_again_after_a_restart_of_redis(redis: Redis, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    redis.script_flush()
    assert queue.get(queue.submit("generic", {}).id).status == "queued"


@pytest.mark.parametrize("task_id", ["nope", "a:b", "", "ü", "x" * 1000, "../../etc", "*"])
def test_an_unknown_id_is_an_unknown_task(queue: TaskQueue, task_id: str) -> None:
    with pytest.raises(UnknownTask):
        queue.get(task_id)


def test_a_full_redis_refuses_with_a_clear_word(redis: Redis, queue: TaskQueue) -> None:
    queue.submit("generic", {})
    redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(QueueUnavailable, match="Redis is full and takes no more"):
            queue.submit("generic", {})
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.llen("rq:queue:default") == 1


def test_a_job_of_another_program_can_be_read_too(redis: Redis, queue: TaskQueue) -> None:
    theirs = Queue("default", connection=redis, serializer=JSONSerializer).enqueue(
        "os.getcwd", retry=Retry(max=2, interval=[1, 2])
    )
    task = queue.get(theirs.id)
    assert (task.type, task.payload, task.status) == ("os.getcwd", None, "queued")


def test_a_job_whose_data_is_no_json_can_be_read_too(redis: Redis, queue: TaskQueue) -> None:
    theirs = Queue("default", connection=redis).enqueue("os.getcwd")  # RQ's default is pickle
    task = queue.get(theirs.id)
    assert (task.type, task.payload, task.status) == ("", None, "queued")


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("created", "queued"),
        ("queued", "queued"),
        ("scheduled", "scheduled"),
        ("deferred", "deferred"),
        ("started", "processing"),
        ("finished", "complete"),
        ("failed", "failed"),
        ("stopped", "canceled"),
        ("canceled", "canceled"),
    ],
)
def test_rqs_status_is_told_in_the_words_of_the_contract(
    redis: Redis, queue: TaskQueue, status: str, word: str
) -> None:
    task = queue.submit("generic", {})
    redis.hset(Job.key_for(task.id), "status", status)
    assert queue.get(task.id).status == word


def test_a_description_does_not_repeat_the_payload(redis: Redis, queue: TaskQueue) -> None:
    task = queue.submit("generic", {"password": "hunter2"})
    raw = redis.hgetall(Job.key_for(task.id))
    data = raw.pop(b"data")
    assert json.loads(data)[3] == {"password": "hunter2"}
    assert not re.search(b"hunter2", b"".join(raw.values()))
