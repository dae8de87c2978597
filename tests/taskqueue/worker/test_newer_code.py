"""A roll-out: a job that this worker does not know yet is left to one that does, for a bounded time."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq.job import Job

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload, PayloadError, PermanentFailure, UnknownJobType
from taskqueue.jobtypes.signature import NO_SUCH_FIELD
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.worker.decision import NEWER_CODE_SECONDS, is_unknown_here, postponed_seconds
from tests.conftest import RedisServer, project_with_samples, wait_until
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]

NEWER = '''"""A job type of the next release."""

from taskqueue import job


@job("tomorrow")
def tomorrow(locale: str = "en") -> str:
    """Return the locale."""
    return locale
'''


def submit(queue: TaskQueue, redis: Redis, job_type: str, payload: object, **options: int) -> str:
    """Queue a job as a newer web server would, and return its id."""
    task = queue.submit("generic", {}, SubmitOptions(**options))
    data = json.dumps([f"taskqueue.call.{job_type}", None, [], payload])
    redis.hset(Job.key_for(task.id), "data", data)
    return task.id


def test_a_type_of_newer_code_waits_for_a_worker_that_knows_it(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer, tmp_path: Path
) -> None:
    task = submit(queue, redis, "tomorrow", {"locale": "de"}, attempts=1)
    old = start()
    until(queue, task, "scheduled")
    waiting = queue.get(task)
    assert (waiting.attempt, waiting.error and waiting.error.type) == (0, "taskqueue.errors.UnknownJobType")
    explainer = Explainer(redis, queue, ClusterState(redis, queue.settings.queues), queue.settings)
    assert [reason.code for reason in explainer.explain(task).reasons] == ["waits-for-newer-code"]
    folder = project_with_samples(tmp_path / "newer", "generic.py")
    (folder / "jobs" / "tomorrow.py").write_text(NEWER)
    newer = RunningWorker(folder, tmp_path / "newer.log", server.url)
    try:
        newer.wait_until_it_works()
        old.stop()
        until(queue, task, "complete")
    finally:
        newer.stop()
    done = queue.get(task)
    assert (done.result, done.attempt, registries_of(redis, task)) == ("de", 1, ["finished"])
    assert old.log.count(f"Task {task} is left to a worker with newer code") == 1
    assert "failed" not in old.log


def test_a_field_of_newer_code_waits_and_fails_after_the_bound(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    task = submit(queue, redis, "week", {"of": "2026-11-23", "locale": "de"}, attempts=1)
    start()
    until(queue, task, "scheduled")
    assert queue.get(task).attempt == 0
    redis.hset(Job.key_for(task), "tq:unknown_since", time.time() - NEWER_CODE_SECONDS)
    redis.zadd("rq:scheduled:default", {task: 0})
    until(queue, task, "failed")
    error = queue.get(task).error
    assert error
    assert f"/locale: {NO_SUCH_FIELD}" in error.message
    wait_until(lambda: registries_of(redis, task) == ["failed"], what="the failure")


def test_what_is_unknown_here_and_what_is_not() -> None:
    def from_payload(job_type: str, message: str) -> PermanentFailure:
        error = PermanentFailure("no")
        error.__cause__ = InvalidPayload(job_type, [PayloadError("/x", message)])
        return error

    assert is_unknown_here(UnknownJobType("a", []), "a")
    assert not is_unknown_here(UnknownJobType("b", []), "a")  # the job has submitted a task of another type
    assert is_unknown_here(from_payload("a", NO_SUCH_FIELD), "a")
    assert not is_unknown_here(from_payload("a", "This field is required"), "a")
    assert not is_unknown_here(from_payload("b", NO_SUCH_FIELD), "a")
    assert not is_unknown_here(ValueError("no"), "a")


@pytest.mark.parametrize(
    ("age", "seconds"), [(None, 5), (0, 5), (40, 10), (300, 30), (599, 30), (600, 0), (-50, 5)]
)
def test_a_job_is_tried_ever_more_rarely_until_the_bound(age: float | None, seconds: int) -> None:
    assert postponed_seconds(0 if age is None else 10_000 - age, 10_000) == seconds
