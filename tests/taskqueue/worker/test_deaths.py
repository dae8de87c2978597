"""Horses and workers that are killed: what they ran is settled, or runs elsewhere, and says what happened."""

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, is_gone, places_of, registries_of, until, until_it_runs

Start = Callable[..., RunningWorker]
QUEUES = ("high", "default", "low")
MEMORY_LIMIT_MIB = 200


@pytest.mark.parametrize(
    ("job_type", "payload", "words"),
    [
        ("crash", {}, "killed by SIGKILL (signal 9)"),
        ("exit", {"code": 0}, "exit code 0"),
        ("segfault", {}, "killed by SIGSEGV (signal 11)"),
    ],
)
def test_a_work_horse_that_dies_is_settled_within_a_second(
    start: Start,
    queue: TaskQueue,
    redis: Redis,
    figure: Figure,
    job_type: str,
    payload: dict[str, int],
    words: str,
) -> None:
    worker = start()
    task = queue.submit(job_type, payload)
    wait_until(lambda: "Processing" in worker.log, what="the job to begin")
    seconds = until(queue, task.id, "failed")
    figure(f"horse ends ({words}): its job is settled", seconds)
    assert seconds < 1 * SLACK
    error = queue.get(task.id).error
    assert error
    assert words in error.message
    assert re.search(r"it had used up to \d+ MiB", error.message)
    assert registries_of(redis, task.id) == ["failed"]
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def test_the_error_of_a_dead_horse_has_the_last_line_of_its_job(start: Start, queue: TaskQueue) -> None:
    start()
    task = queue.submit("crash", {"last_words": "page 3 of 7"})
    until(queue, task.id, "failed")
    for error in queue.get(task.id).errors:
        assert error.message.endswith("The last line that its job logged: page 3 of 7")


def test_a_job_that_ends_its_horse_each_time_is_named_a_poison_job(start: Start, queue: TaskQueue) -> None:
    start()
    task = queue.submit("crash", {})
    until(queue, task.id, "failed")
    first, last = queue.get(task.id).errors
    assert "Poison" not in first.message
    assert last.message.startswith("Poison job: each of its 2 attempts ended its work-horse.")


def test_a_job_that_uses_too_much_memory_is_killed_and_says_how_much(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    worker = start("--horses", "2", "--horse-memory", str(MEMORY_LIMIT_MIB))
    beside = queue.submit("long", {"seconds": 3})
    until(queue, beside.id, "processing")
    task = queue.submit("hungry", {"mib": 2 * MEMORY_LIMIT_MIB, "seconds": 60})
    small = queue.submit("hungry", {"mib": 20, "seconds": 1})
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    used = re.search(r"It used (\d+) MiB of memory, the limit is 200 MiB \(HORSE_MEMORY_MIB\)", error.message)
    assert used, error.message
    assert int(used[1]) > MEMORY_LIMIT_MIB
    assert queue.get(task.id).reason == "horse-died"
    assert registries_of(redis, task.id) == ["failed"]
    for other in (beside, small):
        until(queue, other.id, "complete")
        assert queue.get(other.id).attempt == 1
    assert worker.lives


def test_a_childs_memory_counts_as_its_jobs(start: Start, queue: TaskQueue) -> None:
    start("--horse-memory", str(MEMORY_LIMIT_MIB))
    task = queue.submit("hungry_child", {"mib": 2 * MEMORY_LIMIT_MIB})
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    assert "the limit is 200 MiB" in error.message


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group with a memory limit: Linux kills a process in it that wants more."""
    root = Path("/sys/fs/cgroup")
    version_1 = (root / "memory").is_dir()
    group = (root / "memory" if version_1 else root) / f"taskqueue-test-{os.getpid()}"
    try:
        group.mkdir()
        limit = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / limit).write_text(str(MEMORY_LIMIT_MIB << 20))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"this user makes no control groups: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="the group's processes to end")
    group.rmdir()


def test_a_horse_that_linux_kills_for_its_memory_is_settled_within_a_second(
    start: Start, queue: TaskQueue, figure: Figure, memory_group: Path
) -> None:
    worker = start()
    wait_until(worker.horses, what="its horse")
    (horse,) = worker.horses()
    (memory_group / "cgroup.procs").write_text(str(horse))
    task = queue.submit("hungry", {"mib": 2 * MEMORY_LIMIT_MIB})
    wait_until(lambda: is_gone(horse), what="the horse to be killed")
    seconds = until(queue, task.id, "failed")
    figure("horse ends (out of memory): its job is settled", seconds)
    assert seconds < 1 * SLACK
    error = queue.get(task.id).error
    assert error
    assert "killed by SIGKILL" in error.message
    used = re.search(r"up to (\d+) MiB", error.message)
    assert used
    assert MEMORY_LIMIT_MIB / 2 < int(used[1]) < 2 * MEMORY_LIMIT_MIB
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def test_jobs_of_an_io_process_that_linux_kills_for_its_memory_run_alone(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure, memory_group: Path, tmp_path: Path
) -> None:
    worker = start()
    horses = set(worker.horses())
    until(queue, queue.submit("nap", {}).id, "complete")
    (process,) = set(worker.horses()) - horses
    (memory_group / "cgroup.procs").write_text(str(process))
    others = [queue.submit("held_nap", {"file": str(tmp_path / "go")}).id for _ in range(5)]
    for other in others:
        until_it_runs(redis, other)
    hungry = queue.submit("io_hungry", {"mib": 2 * MEMORY_LIMIT_MIB})
    wait_until(lambda: is_gone(process), what="the I/O process to be killed")
    (tmp_path / "go").touch()
    figure("I/O process ends (out of memory): its jobs have all ended", until(queue, hungry.id, "complete"))
    for other in others:
        until(queue, other, "complete", seconds=60)
        assert queue.get(other).attempt == 1


@pytest.mark.parametrize(
    ("jobs", "kills", "with_workers"),
    [(2000, 100, False), pytest.param(30_000, 1000, True, marks=pytest.mark.slow)],
)
def test_no_job_is_lost_by_kills_at_any_moment(
    start: Start, queue: TaskQueue, redis: Redis, jobs: int, kills: int, with_workers: bool
) -> None:
    chance = random.Random(1)

    def submit(count: int) -> list[str]:
        return [queue.submit("counted", {}, SubmitOptions(queue=chance.choice(QUEUES))).id for _ in range(count)]

    tasks = submit(jobs)
    workers = [start(), start()]
    killed = 0
    while killed < kills:
        index = chance.randrange(len(workers))
        if with_workers and chance.random() < 0.02:
            workers[index].process.kill()
            killed += 1
            workers[index] = start()
        for horse in workers[index].horses():
            with suppress(ProcessLookupError):
                os.kill(horse, signal.SIGKILL)
                killed += 1
        time.sleep(chance.uniform(0, 0.03))
        if not any(redis.llen(f"rq:queue:{name}") for name in QUEUES):  # the workers were faster: submit more
            tasks += submit(200)
    wait_until(
        lambda: sum(int(redis.zcard(f"rq:finished:{name}")) for name in QUEUES) == len(tasks),
        seconds=120,
        what="all jobs to be complete",
    )
    runs = redis.mget(f"test:runs:{task}" for task in tasks)
    assert None not in runs  # each ran at least once
    assert set(map(tuple, places_of(redis, *tasks).values())) == {("finished",)}


def holder_of(queue: TaskQueue, redis: Redis, task_id: str, workers: dict[str, RunningWorker]) -> RunningWorker:
    """Wait until a task runs, and return its worker."""
    until_it_runs(redis, task_id)
    return workers[queue.get(task_id).worker or ""]


def test_a_worker_that_is_killed_takes_its_horses_along_and_its_job_runs_elsewhere(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    workers = {name: start("--name", name) for name in ("one", "two")}
    task = queue.submit("long", {"seconds": 2})
    first = holder_of(queue, redis, task.id, workers)
    (horse,) = first.horses()
    first.process.kill()
    killed_at = time.monotonic()
    wait_until(lambda: is_gone(horse), 2 * SLACK, what="the horse to die with its worker")
    wait_until(lambda: queue.get(task.id).attempt == 2, what="the second attempt")
    seconds = time.monotonic() - killed_at
    figure("worker is killed: its job runs elsewhere", seconds)
    assert seconds < 15 * SLACK
    until(queue, task.id, "complete")
    done = queue.get(task.id)
    assert (done.result, done.attempt, done.attempts, len(done.errors)) == (2, 2, 3, 1)
    assert registries_of(redis, task.id) == ["finished"]


@pytest.mark.slow  # it takes 11 seconds to notice a worker's death, three times
def test_a_job_that_kills_its_worker_each_time_is_named_a_poison_job_and_the_queue_moves_on(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    workers = [start(), start(), start(), start()]
    task = queue.submit("deadly", {})
    until(queue, task.id, "failed", seconds=90)
    read = queue.get(task.id)
    assert (read.attempt, [worker.lives for worker in workers].count(True)) == (3, 1)
    assert read.error
    assert read.error.message.startswith("Poison job: each of its 3 attempts ended its work-horse.")
    assert registries_of(redis, task.id) == ["failed"]
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")


def test_a_worker_that_was_frozen_cannot_overwrite_the_newer_result(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    workers = {name: start("--name", name) for name in ("one", "two")}
    task = queue.submit("long", {"seconds": 2})
    frozen = holder_of(queue, redis, task.id, workers)
    frozen.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    wait_until(lambda: queue.get(task.id).attempt == 2, what="the second attempt")
    figure("worker is frozen: its job runs elsewhere", time.monotonic() - frozen_at)
    until(queue, task.id, "complete")
    newer = queue.get(task.id)
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: "dropped: finished" in frozen.log, what="the stale result")
    assert queue.get(task.id) == newer
    assert registries_of(redis, task.id) == ["finished"]


def test_what_a_horse_left_that_died_while_redis_was_away_is_told_when_redis_is_back(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer
) -> None:
    worker = start()
    task = queue.submit("long", {"seconds": 60}, SubmitOptions(attempts=1))
    until_it_runs(redis, task.id)
    (horse,) = worker.horses()
    server.stop()
    os.kill(horse, signal.SIGKILL)
    wait_until(lambda: is_gone(horse), what="the horse to end")
    server.start()
    until(queue, task.id, "failed")
    error = queue.get(task.id).error
    assert error
    assert "killed by SIGKILL" in error.message
