"""Jobs that a real worker runs, as a process of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.tasks.task import Task
from tests.conftest import RedisServer
from tests.taskqueue.worker.stage import emptied

Work = Callable[..., str]


@pytest.fixture
def server(shared_redis: RedisServer) -> RedisServer:
    """The Redis of the whole session: these tests leave it running."""
    return emptied(shared_redis)


@pytest.fixture
def run(queue: TaskQueue, work: Work) -> Callable[..., tuple[Task, str]]:
    """Submit one task, let a worker empty the queues, and return the task and the log."""

    def submit_and_work(job_type: str, **payload: object) -> tuple[Task, str]:
        task = queue.submit(job_type, payload)
        log = work()
        return queue.get(task.id), log

    return submit_and_work


Run = Callable[..., tuple[Task, str]]


def test_a_finished_task_returns_its_result(run: Run) -> None:
    task, log = run("generic", a=1, b=["x", None])
    assert (task.status, task.result, task.attempt) == ("complete", {"a": 1, "b": ["x", None]}, 1)
    assert task.started_at
    assert task.ended_at
    assert task.created_at <= task.started_at <= task.ended_at
    assert f"Processing generic task {task.id}…" in log
    assert re.search(rf"Task {task.id} complete in \d\.\d\d s", log)


def test_the_log_does_not_have_the_payload(run: Run) -> None:
    _, log = run("generic", password="hunter2")
    assert "hunter2" not in log


def test_a_line_that_a_job_logs_names_its_task(run: Run) -> None:
    task, log = run("chatty", words="abc")
    assert f"[chatty {task.id[:8]}] halfway, 3 letters" in log


def test_a_payload_reaches_the_function_as_its_types_and_the_result_comes_back_as_json(run: Run) -> None:
    task, _ = run("week", of="2026-11-23", weeks=2)
    assert task.result == {"first": "2026-11-23", "last": "2026-12-06"}


def test_a_coroutine_function_is_run(run: Run) -> None:
    assert run("double", number=21)[0].result == 42


def test_a_failure_is_tried_again_and_each_error_is_kept(run: Run) -> None:
    task, log = run("flaky", failures=2)
    assert (task.status, task.result, task.attempt, task.attempts) == ("complete", 3, 3, 4)
    assert task.error is None
    assert [error.message for error in task.errors] == ["the line is down, run 1", "the line is down, run 2"]
    assert task.errors[0].type == "ConnectionError"
    assert "samples.py" in task.errors[0].traceback
    assert (
        f"Task {task.id} failed (attempt 1 of 4): ConnectionError: the line is down, run 1; next attempt now"
        in log
    )
    assert f"Processing flaky task {task.id}… (attempt 3 of 4)" in log


def test_a_task_out_of_attempts_rests_in_the_failed_registry(run: Run, redis: Redis) -> None:
    task, log = run("flaky", failures=99)
    assert (task.status, task.attempt, len(task.errors)) == ("failed", 4, 4)
    assert task.error
    assert (task.error.type, task.error.message) == ("ConnectionError", "the line is down, run 4")
    assert Queue("high", connection=redis).failed_job_registry.get_job_ids() == [task.id]
    assert f"Task {task.id} failed for good (attempt 4 of 4): ConnectionError: the line is down, run 4" in log


def test_the_next_attempt_is_told(run: Run) -> None:
    task, log = run("later")
    assert (task.status, task.attempt, task.attempts) == ("scheduled", 1, 2)
    assert task.error
    assert task.error.message == "come back in an hour"
    assert task.scheduled_for
    assert 2300 < (task.scheduled_for - task.error.at).total_seconds() <= 3601
    assert re.search(r"next attempt in (0:\d\d|1:00):\d\d", log)


def test_a_due_attempt_is_made_by_the_next_worker(run: Run, redis: Redis, queue: TaskQueue, work: Work) -> None:
    task, _ = run("later")
    redis.zadd("rq:scheduled:default", {task.id: 1})  # it is due
    work()
    assert queue.get(task.id).attempt == 2


def test_a_permanent_failure_is_not_tried_again(run: Run) -> None:
    task, log = run("hopeless")
    assert (task.status, task.attempt, task.attempts, len(task.errors)) == ("failed", 1, 5, 1)
    assert task.error
    assert (task.error.type, task.error.message) == (
        "taskqueue.errors.PermanentFailure",
        "the page is gone (410)",
    )
    assert "failed for good (attempt 1 of 5): PermanentFailure: the page is gone (410)" in log
    assert "Traceback" not in log


def test_a_work_horse_that_dies_is_an_attempt_that_failed(run: Run) -> None:
    task, log = run("crash")
    assert (task.status, task.attempt, len(task.errors)) == ("failed", 2, 2)
    assert task.error
    assert task.error.type == "WorkHorseTerminated"
    assert "signal 9" in task.error.message
    assert "failed (attempt 1 of 2): WorkHorseTerminated: Work-horse terminated unexpectedly" in log


def test_a_job_that_takes_too_long_is_ended(run: Run) -> None:
    task, _ = run("slow", seconds=30)
    assert task.status == "failed"
    assert task.error
    assert task.error.type == "rq.timeouts.JobTimeoutException"


def test_progress_is_told_and_stays(run: Run) -> None:
    task, _ = run("steps", count=200)
    assert task.progress
    assert (task.progress["done"], task.progress["total"], task.progress["message"]) == (200, 200, "step 200")


def test_what_a_job_prints_are_whole_lines_between_those_of_the_log(run: Run) -> None:
    _, log = run("talkative")
    assert {"printed 1", "printed 2", "no end of line"} <= set(log.splitlines())


def test_what_a_job_prints_is_json_where_the_log_is(run: Run, env: pytest.MonkeyPatch) -> None:
    env.setenv("LOG_FORMAT", "json")
    task, log = run("talkative")
    lines = [json.loads(line) for line in log.splitlines()]
    printed = [line for line in lines if line["level"] in ("stdout", "stderr")]
    assert sorted((line["level"], line["message"], line["attempt"]) for line in printed) == [
        ("stderr", "no end of line", 1),
        ("stderr", "no end of line", 2),
        ("stdout", "printed 1", 1),
        ("stdout", "printed 2", 2),
    ]
    assert {(line["task_id"], line["task_type"]) for line in printed} == {(task.id, "talkative")}


def test_a_job_cannot_take_the_streams_from_the_next(queue: TaskQueue, work: Work) -> None:
    queue.submit("rude", {})
    task = queue.submit("talkative", {})
    assert {"printed 1", "printed 2"} <= set(work().splitlines())
    assert [error.message for error in queue.get(task.id).errors] == ["once more"]


def test_a_result_that_json_cannot_say_is_a_failure_that_says_so(run: Run) -> None:
    task, _ = run("opaque")
    assert (task.status, task.attempt) == ("failed", 1)
    assert task.error
    assert "samples.opaque returned a value that has no JSON form" in task.error.message


def test_a_result_that_is_too_large_is_a_failure_that_says_so(run: Run) -> None:
    task, _ = run("large", size=2**20)
    assert (task.status, task.attempt) == ("failed", 1)
    assert task.error
    assert "more than 1,048,576 bytes (MAX_RESULT_BYTES)" in task.error.message


def test_queues_are_worked_in_their_order(queue: TaskQueue, work: Work) -> None:
    for name in ("low", "default", "high"):
        queue.submit("chatty", {"words": "x"}, SubmitOptions(queue=name))
    first, second, third = re.findall(r"Processing chatty task (\S+)…", work())
    assert [queue.get(task).queue for task in (first, second, third)] == ["high", "default", "low"]


def test_the_queues_of_a_worker_can_be_chosen(queue: TaskQueue, work: Work) -> None:
    low, high = (queue.submit("generic", {}, SubmitOptions(queue=name)) for name in ("low", "high"))
    work("--queues", "low")
    assert [queue.get(task.id).status for task in (low, high)] == ["complete", "queued"]


def test_results_and_failures_live_as_long_as_the_settings_say(
    run: Run, redis: Redis, env: pytest.MonkeyPatch
) -> None:
    done, _ = run("generic")
    failed, _ = run("hopeless")
    for key in (Job.key_for(done.id), f"rq:results:{done.id}"):
        assert 86_000 < redis.ttl(key) <= 86_400
    assert 2_591_000 < redis.ttl(f"rq:results:{failed.id}") <= 2_592_000


class TestHostileRedis:
    """A program that can write to Redis cannot make a worker call anything but a job type."""

    @pytest.mark.parametrize(
        "function", ["os.system", "builtins.eval", "taskqueue.call.nope", "tests.sample_jobs.samples.time.sleep"]
    )
    def test_a_function_that_is_no_job_type_is_not_run(
        self, redis: Redis, queue: TaskQueue, work: Work, function: str, tmp_path: Path
    ) -> None:
        proof = tmp_path / "ran"
        theirs = Queue("default", connection=redis, serializer=JSONSerializer).enqueue(function, f"touch {proof}")
        work()
        task = queue.get(theirs.id)
        assert task.status == "failed"
        assert task.error
        assert task.error.message.startswith("There is no task type")
        assert not proof.exists()

    def test_a_callback_is_not_run(self, redis: Redis, queue: TaskQueue, work: Work) -> None:
        theirs = Queue("default", connection=redis, serializer=JSONSerializer).enqueue(
            "taskqueue.call.generic", on_success=Callback("os.getcwd"), on_failure=Callback("os.getcwd")
        )
        work()
        task = queue.get(theirs.id)
        assert task.status == "failed"
        assert task.error
        assert "callback 'os.getcwd'" in task.error.message

    def test_pickle_is_not_read(self, redis: Redis, queue: TaskQueue, work: Work) -> None:
        theirs = Queue("default", connection=redis).enqueue("os.getcwd")
        work()
        assert queue.get(theirs.id).status == "failed"

    def test_a_payload_is_validated_again_in_the_worker(self, redis: Redis, queue: TaskQueue, work: Work) -> None:
        task = queue.submit("week", {"of": "2026-11-23"})
        data = json.dumps(["taskqueue.call.week", None, [], {"of": "soon", "evil": "hunter2"}])
        redis.hset(Job.key_for(task.id), "data", data)
        log = work()
        read = queue.get(task.id)
        assert (read.status, read.attempt) == ("failed", 1)
        assert read.error
        assert "/evil: There is no such field" in read.error.message
        assert "hunter2" not in log

    def test_the_function_can_be_named_by_its_path(self, redis: Redis, queue: TaskQueue, work: Work) -> None:
        jobs = Queue("default", connection=redis, serializer=JSONSerializer)
        theirs = jobs.enqueue("jobs.generic.generic", a=1)
        work()
        assert queue.get(theirs.id).result == {"a": 1}
