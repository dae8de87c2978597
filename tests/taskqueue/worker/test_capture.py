"""What a job says is kept beside it, attempt by attempt."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.keys import log_key
from taskqueue.tasks.log_lines import MAX_LINES, read_lines
from tests.conftest import RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]


def test_what_a_job_logs_and_prints_is_kept_for_each_attempt(queue: TaskQueue, redis: Redis, start: Start) -> None:
    start()
    task = queue.submit("talkative", {})
    until(queue, task.id, "complete")
    said = [(line.attempt, line.level, line.line) for line in read_lines(redis, task.id)]
    assert said == [
        (1, "WARNING", "run 1"),
        (1, "stdout", "printed 1"),
        (1, "stderr", "no end of line"),
        (2, "WARNING", "run 2"),
        (2, "stdout", "printed 2"),
        (2, "stderr", "no end of line"),
    ]
    assert 0 < redis.ttl(log_key(task.id)) <= redis.ttl(f"rq:job:{task.id}")


def test_a_line_can_be_read_while_the_job_runs(queue: TaskQueue, redis: Redis, start: Start) -> None:
    start("--grace-seconds", "0")
    task = queue.submit("talkative", {"pause": 60})
    wait_until(lambda: read_lines(redis, task.id), what="the first line")
    assert queue.get(task.id).status == "processing"


def test_a_silent_job_leaves_no_log(queue: TaskQueue, redis: Redis, start: Start) -> None:
    start()
    task = queue.submit("week", {"of": "2026-11-23"})
    until(queue, task.id, "complete")
    assert not redis.exists(log_key(task.id))


def test_a_job_that_says_too_much_keeps_its_last_lines(queue: TaskQueue, redis: Redis, start: Start) -> None:
    start()
    task = queue.submit("verbose", {"lines": 3000})
    until(queue, task.id, "complete")
    lines = read_lines(redis, task.id)
    assert lines[-1].line.startswith("line 2999")
    assert len(lines) < MAX_LINES + 100


def message(queue: TaskQueue, task_id: str) -> str | None:
    progress = queue.get(task_id).progress
    return progress and progress["message"]


def test_the_latest_progress_is_seen_while_the_job_goes_on(queue: TaskQueue, start: Start) -> None:
    start("--grace-seconds", "0")
    task = queue.submit("phases", {"pause": 60})
    wait_until(lambda: message(queue, task.id) == "second", what="the second phase")
    assert queue.get(task.id).status == "processing"


def test_the_latest_progress_stays_when_the_job_fails(queue: TaskQueue, start: Start) -> None:
    start()
    task = queue.submit("phases", {"fails": True})
    until(queue, task.id, "failed")
    assert message(queue, task.id) == "second"


def test_progress_does_not_wait_for_a_redis_that_is_away(
    queue: TaskQueue, start: Start, server: RedisServer, tmp_path: Path
) -> None:
    start()
    task = queue.submit("tells_until", {"file": str(tmp_path / "end")})
    wait_until(lambda: queue.get(task.id).progress, what="progress")
    absent_from = time.monotonic()
    server.stop()
    time.sleep(2)  # the absence itself, which nothing announces
    server.start()
    absence = time.monotonic() - absent_from
    before = queue.get(task.id).progress
    wait_until(lambda: queue.get(task.id).progress != before, what="progress after it")
    (tmp_path / "end").touch()
    until(queue, task.id, "complete")
    assert queue.get(task.id).result < absence / 2


def test_a_thread_of_a_job_speaks_for_it(queue: TaskQueue, start: Start) -> None:
    worker = start()
    task = queue.submit("threaded", {})
    until(queue, task.id, "complete")
    assert (queue.get(task.id).result, message(queue, task.id)) == (task.id, "in a thread")
    assert f"[threaded {task.id[:8]}] in a thread" in worker.log


def test_a_child_process_of_a_job_tells_its_progress(queue: TaskQueue, start: Start) -> None:
    start()
    task = queue.submit("forking", {})
    until(queue, task.id, "complete")
    assert message(queue, task.id) == "in a child"


def test_a_job_for_whose_end_others_wait_keeps_its_progress(queue: TaskQueue, start: Start) -> None:
    task = queue.submit("phases", {})
    queue.submit("generic", {}, SubmitOptions(depends_on=[task.id]))
    start()
    until(queue, task.id, "complete")
    wait_until(lambda: message(queue, task.id) == "second", what="the second phase")


@pytest.mark.parametrize(
    "how", ["dictConfig", "own handler", "no root", "disable", "level", "clear", "basicConfig"]
)
def test_a_job_that_configures_logging_silences_nothing_else(
    queue: TaskQueue, redis: Redis, start: Start, how: str
) -> None:
    worker = start()
    first = queue.submit("sets-up-logging", {"how": how})
    until(queue, first.id, "failed")
    for _ in range(2):
        task = queue.submit("talkative", {})
        until(queue, task.id, "complete")
        lines = [line.line for line in read_lines(redis, task.id) if line.level == "WARNING"]
        assert lines == ["run 1", "run 2"]
        worker.wait_for_line(f"Task {task.id} complete")
        assert sum("run 1" in line for line in worker.log.splitlines() if task.id[:8] in line) == 1
    assert f"Task {first.id} failed for good (attempt 1 of 1): ValueError: after {how}" in worker.log
