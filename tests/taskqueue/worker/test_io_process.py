"""Jobs that wait share the I/O process: with all that holds for a job in a horse, and with faults of their own."""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import SLACK, Figure, wait_until
from tests.taskqueue.worker.stage import (
    STOP_SECONDS,
    RunningWorker,
    is_gone,
    places_of,
    registries_of,
    until,
    until_it_runs,
)

Start = Callable[..., RunningWorker]
BLOCKS = "blocks the event loop"
BOTH = pytest.mark.parametrize("job_type", ["nap", "wait"])  # a function in a thread, and a coroutine


def attempts_of(queue: TaskQueue, task_id: str) -> int:
    """Return how many attempts of a task have begun."""
    return queue.get(task_id).attempt


def lines_of(redis: Redis, task_id: str) -> list[str]:
    """Return the stored log lines of a task."""
    return [entry[b"line"].decode() for _, entry in redis.xrange(f"tq:logs:{task_id}")]


def own_lines(redis: Redis, task_id: str) -> list[str]:
    """Return what a task has logged and printed itself: on a busy machine the event loop may stop for a while."""
    return [line for line in lines_of(redis, task_id) if BLOCKS not in line]


def io_process(worker: RunningWorker, queue: TaskQueue) -> int:
    """Return the id of the I/O process, which the first io_bound job starts."""
    horses = set(worker.horses())
    first = queue.submit("nap", {})
    until(queue, first.id, "complete")
    (pid,) = set(worker.horses()) - horses
    return pid


@BOTH
def test_jobs_that_wait_run_at_once(start: Start, queue: TaskQueue, job_type: str) -> None:
    worker = start()
    io_process(worker, queue)
    began = time.monotonic()
    tasks = [queue.submit(job_type, {"seconds": 0.5}) for _ in range(40)]
    for task in tasks:
        until(queue, task.id, "complete")
    assert time.monotonic() - began < 2 * SLACK
    assert all(queue.get(task.id).result == task.id for task in tasks)  # each sees itself as the current task


@BOTH
def test_each_run_has_its_own_log_and_progress(
    start: Start, queue: TaskQueue, redis: Redis, job_type: str
) -> None:
    start()
    tasks = {queue.submit(job_type, {"seconds": 0.3, "words": f"words {n}"}).id: n for n in range(10)}
    for task_id, number in tasks.items():
        until(queue, task_id, "complete")
        lines = own_lines(redis, task_id)
        assert lines == [f"words {number}", f"words {number} printed"]
        progress = queue.get(task_id).progress
        assert progress
        assert progress["message"] == f"words {number}"


def test_the_threads_and_tasks_of_a_run_belong_to_it(start: Start, queue: TaskQueue, redis: Redis) -> None:
    start()
    tasks = [queue.submit("branches", {}) for _ in range(5)]
    for task in tasks:
        until(queue, task.id, "complete")
        assert queue.get(task.id).result == [task.id] * 4
        lines = own_lines(redis, task.id)
        assert sorted(lines) == sorted(["in a thread", "in a pool", "in a task", "in asyncio's thread"])


@BOTH
def test_the_time_limit_ends_a_run_and_no_other(start: Start, queue: TaskQueue, job_type: str) -> None:
    worker = start()
    pid = io_process(worker, queue)
    other = queue.submit(job_type, {"seconds": 4})
    task = queue.submit(
        "patient" if job_type == "wait" else "busy_thread", {}, SubmitOptions(timeout=1, attempts=1)
    )
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    assert error.type.endswith("JobTimeoutException")
    assert "Task exceeded maximum timeout value (1 seconds)" in error.message
    until(queue, other.id, "complete")
    assert attempts_of(queue, other.id) == 1
    assert not is_gone(pid)


@pytest.mark.parametrize(
    ("job_type", "what"), [("swallowing_thread", "a thread"), ("swallowing_coroutine", "a coroutine")]
)
def test_a_run_that_swallows_its_limit_is_left_behind(
    start: Start, queue: TaskQueue, figure: Figure, tmp_path: Path, job_type: str, what: str
) -> None:
    worker = start()
    pid = io_process(worker, queue)
    other = queue.submit("held_nap", {"file": str(tmp_path / "go")})
    task = queue.submit(job_type, {}, SubmitOptions(timeout=1, attempts=1))
    figure(f"I/O process: {what} swallows its limit: settled after it", until(queue, task.id, "failed") - 1)
    error = queue.get(task.id).error
    assert error
    assert "left behind" in error.message
    # Another process takes what comes, beside the one that ends.
    wait_until(lambda: "is replaced" in worker.log, what="the process to retire")
    after = queue.submit("nap", {})
    until(queue, after.id, "complete")
    assert queue.get(other.id).status == "processing"
    (tmp_path / "go").touch()
    until(queue, other.id, "complete")
    assert attempts_of(queue, other.id) == 1
    wait_until(lambda: is_gone(pid), what="the old process to end")


@pytest.mark.parametrize(
    ("job_type", "what"),
    [("patient", "a coroutine"), ("busy_thread", "a thread"), ("deaf_thread", "a thread in one long step")],
)
def test_a_run_is_canceled_within_a_second(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure, job_type: str, what: str
) -> None:
    worker = start()
    io_process(worker, queue)
    other = queue.submit("nap", {"seconds": 3})
    task = queue.submit(job_type, {})
    until(queue, task.id, "processing")
    wait_until(lambda: f"{task.id}" in worker.log, what="the job to begin")
    Operations(redis, 3600).cancel(task.id)
    seconds = until(queue, task.id, "canceled")
    figure(f"I/O process: {what} is canceled: it is stopped", seconds)
    assert seconds < 1 * SLACK
    until(queue, other.id, "complete")
    assert attempts_of(queue, other.id) == 1


def test_a_coroutine_that_blocks_the_loop_is_named(start: Start, queue: TaskQueue, redis: Redis) -> None:
    worker = start()
    task = queue.submit("blocking", {"seconds": 1.5})
    until(queue, task.id, "complete")
    named = rf"Task {task.id} \(blocking\) blocks the event loop .* for \d\.\d s so far, at .*waiting\.py:\d+"
    wait_until(lambda: re.search(named, worker.log), what="the log line")
    assert any(BLOCKS in line for line in lines_of(redis, task.id))


def test_a_blocked_loop_is_broken_at_the_time_limit(start: Start, queue: TaskQueue, figure: Figure) -> None:
    worker = start()
    pid = io_process(worker, queue)
    task = queue.submit("blocking", {"seconds": 60}, SubmitOptions(timeout=1, attempts=1))
    other = queue.submit("wait", {"seconds": 0.1})
    figure("I/O process, event loop blocked: settled after the limit", until(queue, task.id, "failed") - 1)
    error = queue.get(task.id).error
    assert error
    assert error.type.endswith("JobTimeoutException")
    until(queue, other.id, "complete")
    assert attempts_of(queue, other.id) == 1
    assert not is_gone(pid)


def test_coroutines_behind_a_loop_that_stays_blocked_run_elsewhere(start: Start, queue: TaskQueue) -> None:
    worker = start()
    pid = io_process(worker, queue)
    others = [queue.submit("wait", {"seconds": 3}) for _ in range(3)]
    for other in others:
        until(queue, other.id, "processing")
    task = queue.submit("swallowing_blocker", {}, SubmitOptions(timeout=1, attempts=1))
    until(queue, task.id, "failed")
    for other in others:
        until(queue, other.id, "complete")
        assert attempts_of(queue, other.id) == 1
    wait_until(lambda: is_gone(pid), what="the old process to end")


def test_a_client_made_at_import_works_in_every_run(start: Start, queue: TaskQueue, redis: Redis) -> None:
    for options in (("--io-slots", "0"), ()):
        worker = start(
            *options, SAMPLE_REDIS=f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
        )
        for _ in range(4):
            task = queue.submit("pings", {}, SubmitOptions(attempts=1))
            until(queue, task.id, "complete", "failed")
            assert queue.get(task.id).status == "complete"
        worker.stop()


def test_when_the_process_dies_its_jobs_run_alone_and_no_attempt_is_used(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure, tmp_path: Path
) -> None:
    worker = start()
    pid = io_process(worker, queue)
    file = tmp_path / "go"
    tasks = [queue.submit("held_nap", {"file": str(file)}).id for _ in range(5)]
    tasks += [queue.submit("held_wait", {"file": str(file)}).id for _ in range(5)]
    for task_id in tasks:
        until_it_runs(redis, task_id)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: any(redis.hget(f"rq:job:{task_id}", "tq:alone") == b"1" for task_id in tasks), what="the marks"
    )
    figure("I/O process killed: its jobs are put back", time.monotonic() - began)
    file.touch()
    for task_id in tasks:
        until(queue, task_id, "complete", seconds=60)
        assert attempts_of(queue, task_id) == 1
        assert registries_of(redis, task_id) == ["finished"]


def test_a_job_that_ends_the_process_is_found_among_innocents(
    start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    worker = start()
    pid = io_process(worker, queue)
    innocents = [queue.submit("held_nap", {"file": str(tmp_path / "go")}) for _ in range(5)]
    for innocent in innocents:
        until_it_runs(redis, innocent.id)
    poison = queue.submit("io_crash", {})
    wait_until(lambda: is_gone(pid), what="the I/O process to end")
    (tmp_path / "go").touch()
    until(queue, poison.id, "failed", seconds=60)
    error = queue.get(poison.id).error
    assert error
    assert error.message.startswith("Poison job: each of its 2 attempts ended its work-horse.")
    for innocent in innocents:
        until(queue, innocent.id, "complete", seconds=60)
        assert attempts_of(queue, innocent.id) == 1


def test_the_only_job_of_a_process_that_dies_is_known(start: Start, queue: TaskQueue) -> None:
    start()
    task = queue.submit("io_crash", {}, SubmitOptions(attempts=1))
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    assert "I/O process terminated unexpectedly; killed by SIGKILL (signal 9)" in error.message


def test_at_sigterm_what_ends_in_the_grace_time_is_settled_and_the_rest_is_put_back(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure, tmp_path: Path
) -> None:
    worker = start("--grace-seconds", "3")
    io_process(worker, queue)
    short, long = (
        [
            queue.submit(job_type, {"file": str(tmp_path / name)}).id
            for job_type in ("held_nap", "held_wait")
            for _ in range(25)
        ]
        for name in ("short", "long")
    )
    for task_id in short + long:
        until_it_runs(redis, task_id)
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_line("Stopping")
    (tmp_path / "short").touch()
    worker.process.wait(STOP_SECONDS)
    seconds = time.monotonic() - began - 3
    figure("SIGTERM with 100 jobs in the I/O process: the worker has ended, after the grace time", seconds)
    assert all(queue.get(task_id).status == "complete" for task_id in short)
    assert all(queue.get(task_id).status == "queued" for task_id in long)
    assert all(redis.hget(f"rq:job:{task_id}", "tq:attempt") == b"0" for task_id in long)
    waiting = [job_id.decode() for job_id in redis.lrange("rq:queue:default", 0, -1)]
    assert waiting == sorted(waiting, key=(short + long).index)  # in the order in which they had begun
    (tmp_path / "long").touch()
    start()
    for task_id in long:
        until(queue, task_id, "complete")
        assert attempts_of(queue, task_id) == 1


def test_c_code_that_holds_pythons_lock_is_ended_after_its_time_limit(
    start: Start, queue: TaskQueue, figure: Figure
) -> None:
    start()
    others = [queue.submit("nap", {"seconds": 2}), queue.submit("wait", {"seconds": 2})]
    for other in others:
        until(queue, other.id, "processing")
    task = queue.submit("io_busy_in_c", {})
    seconds = until(queue, task.id, "failed") - 1
    figure("I/O process frozen by C code: the job is settled after its limit", seconds)
    error = queue.get(task.id).error
    assert error
    assert "did not end at its time limit" in error.message
    for other in others:
        until(queue, other.id, "complete")
        assert attempts_of(queue, other.id) == 1


def test_workers_are_restarted_in_turn_with_a_hundred_jobs_in_flight(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    workers = [start(), start()]
    pauses = Pauses(redis, queue.settings)
    began = time.monotonic()
    tasks: list[str] = []
    for index in range(2):
        pauses.pause("default")  # else the first have ended before the last are submitted, on a slow machine
        tasks += [queue.submit("nap" if number % 2 else "wait", {"seconds": 1.5}).id for number in range(200)]
        pauses.resume("default")
        wait_until(lambda: redis.zcard("rq:wip:default") >= 100, what="the jobs to run")
        workers[index].process.terminate()
        workers[index].process.wait(STOP_SECONDS)
        workers[index] = start()
    for task in tasks:
        until(queue, task, "complete")
        assert attempts_of(queue, task) == 1
    seconds = time.monotonic() - began
    figure("two workers restarted in turn, each with 100 jobs of 1.5 s in flight: all 400 are complete", seconds)


def test_an_ordinary_job_does_not_wait_for_jobs_that_wait(
    start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    worker = start("--io-slots", "5", "--grace-seconds", "0")
    io_process(worker, queue)
    tasks = [queue.submit("held_nap", {"file": str(tmp_path / "go")}).id for _ in range(20)]
    wait_until(lambda: redis.zcard("rq:wip:default") == 5, what="the slots to be full")
    time_of = []
    for _ in range(10):
        ordinary = queue.submit("chatty", {"words": "x"})
        time_of.append(until(queue, ordinary.id, "complete"))
    assert sorted(time_of)[5] < 0.3 * SLACK
    assert sum(queue.get(task_id).status == "complete" for task_id in tasks) == 0


def test_jobs_that_wait_do_not_wait_for_an_ordinary_job(start: Start, queue: TaskQueue, redis: Redis) -> None:
    start("--grace-seconds", "0")
    ordinary = [queue.submit("long", {"seconds": 60}) for _ in range(3)]
    until_it_runs(redis, ordinary[0].id)
    task = queue.submit("nap", {})
    assert until(queue, task.id, "complete") < 1 * SLACK
    assert queue.get(ordinary[2].id).status == "queued"


def test_the_limits_of_a_type_hold(start: Start, queue: TaskQueue, redis: Redis) -> None:
    redis.hset("tq:limit:naps", "concurrency", 2)  # as the start of a worker writes it for a type
    tasks = [queue.submit("counted_nap", {}) for _ in range(10)]
    for task in tasks:
        redis.hset(f"rq:job:{task.id}", "tq:limited", "naps")
    start()
    for task in tasks:
        until(queue, task.id, "complete")
    assert int(redis.get("test:most") or 0) == 2


def test_a_job_that_needs_rqs_code_runs_in_a_horse(start: Start, queue: TaskQueue, redis: Redis) -> None:
    worker = start()
    io_process(worker, queue)
    job = Queue("default", connection=redis, serializer=JSONSerializer).enqueue(
        "taskqueue.call.nap", on_success=Callback("jobs.samples.note_success")
    )
    until(queue, job.id, "complete")
    assert redis.hget(f"rq:job:{job.id}", "tq:alone") == b"1"


def test_a_process_that_grows_is_replaced(start: Start, queue: TaskQueue) -> None:
    worker = start("--max-horse-memory", "150")
    pid = io_process(worker, queue)
    task = queue.submit("io_hungry", {"mib": 150})
    until(queue, task.id, "complete")
    wait_until(lambda: is_gone(pid), what="the process to be replaced")
    after = queue.submit("nap", {})
    until(queue, after.id, "complete")


def test_the_process_ends_with_its_parent(start: Start, queue: TaskQueue) -> None:
    worker = start()
    pid = io_process(worker, queue)
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: is_gone(pid), what="the I/O process to end")


def test_without_slots_everything_runs_in_horses(start: Start, queue: TaskQueue) -> None:
    worker = start("--io-slots", "0")
    horses = worker.horses()
    for job_type in ("nap", "wait"):
        task = queue.submit(job_type, {})
        until(queue, task.id, "complete")
        assert queue.get(task.id).result == task.id
    assert worker.horses() == horses


@pytest.mark.parametrize(("jobs", "kills"), [(1500, 20), pytest.param(20_000, 200, marks=pytest.mark.slow)])
def test_no_job_is_lost_by_kills_at_any_moment(
    start: Start, queue: TaskQueue, redis: Redis, jobs: int, kills: int
) -> None:
    tasks = [queue.submit("io_counted" if n % 2 else "aio_counted", {}).id for n in range(jobs)]
    worker = start()
    for _ in range(kills):
        for pid in worker.horses():
            if b"io-" in b"".join(map(_names, Path(f"/proc/{pid}/task").glob("*/comm"))):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        if not redis.llen("rq:queue:default"):
            tasks += [queue.submit("io_counted", {}).id for _ in range(200)]
    wait_until(lambda: redis.zcard("rq:finished:default") == len(tasks), 120, what="all jobs to be complete")
    assert None not in redis.mget(f"test:runs:{task}" for task in tasks)
    assert set(map(tuple, places_of(redis, *tasks).values())) == {("finished",)}
    assert all(attempts_of(queue, task) <= 2 for task in tasks[::50])


def _names(file: Path) -> bytes:
    with suppress(OSError):
        return file.read_bytes()
    return b""
