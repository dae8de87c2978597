"""What a job says is kept beside it, attempt by attempt."""

from collections.abc import Callable

from redis import Redis

from taskqueue.logs import MAX_LINES, log_key, read_lines
from taskqueue.queue import TaskQueue
from tests.conftest import wait_until
from tests.taskqueue.engine.stage import RunningWorker, until

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
    start()
    task = queue.submit("talkative", {"pause": 1.5})
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
