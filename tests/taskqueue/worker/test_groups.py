"""Groups of short jobs: claimed and settled together, and still as exact as single jobs when something dies."""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.keys import decoded, job_key
from tests.conftest import ROOT, SLACK, Figure, project_with_samples, wait_until
from tests.taskqueue.worker.stage import RunningWorker, places_of, until

Start = Callable[..., RunningWorker]
FIRST = 40  # jobs, after which a horse knows that the type is short
EVERY = 37
# Of a project whose limits are 20 times as long: a slow or busy machine forms groups with these, too.
LONGER = {
    "worker/short_types.py": ("SHORT_SECONDS = 0.001", "SHORT_SECONDS = 0.02"),
    "worker/horse.py": ("\nGROUP_SECONDS = 0.005", "\nGROUP_SECONDS = 0.1"),
    "worker/horse_process.py": ("LONG_IN_GROUP_SECONDS = 0.025", "LONG_IN_GROUP_SECONDS = 0.5"),
    "store/lua/claim_group.lua": ("GROUP_MICROSECONDS = 5000", "GROUP_MICROSECONDS = 100000"),
}


@pytest.fixture(scope="module")
def project(lasting_folder: Path) -> Path:
    """The project's folder with the limits of LONGER."""
    folder = project_with_samples(lasting_folder / "longer-groups", "generic.py")
    package = folder / "taskqueue"
    package.unlink()
    shutil.copytree(ROOT / "taskqueue", package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (limit, longer) in LONGER.items():
        text = (package / name).read_text()
        assert text.count(limit) == 1
        (package / name).write_text(text.replace(limit, longer))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def submit(queue: TaskQueue, file: Path, acts: list[str], options: SubmitOptions = DEFAULT_OPTIONS) -> list[str]:
    return [queue.submit("brief", {"file": str(file), "act": act}, options).id for act in acts]


def calls(redis: Redis) -> int:
    """Return how often the workers have called their script."""
    return int(redis.info("commandstats")["cmdstat_evalsha"]["calls"])


def complete(redis: Redis, count: int, seconds: float = 60) -> None:
    wait_until(lambda: redis.zcard("rq:finished:default") >= count, seconds, what="the jobs to be complete")


def test_short_jobs_share_round_trips(start: Start, queue: TaskQueue, redis: Redis, file: Path) -> None:
    tasks: list[str] = []
    for _ in range(20):  # a busy machine interrupts runs, which are not short then
        tasks += submit(queue, file, [""] * 400)
        redis.config_resetstat()
        start("--burst").process.wait(30 * SLACK)
        if calls(redis) < 400 * 0.6:
            break
    else:
        pytest.fail("no round trips were shared")
    assert Counter(file.read_text().split()) == dict.fromkeys(tasks, 1)
    read = queue.get(tasks[-1])
    assert (read.status, read.attempt, read.result) == ("complete", 1, None)
    assert redis.zcard("rq:wip:default") == 0


def test_a_job_with_one_attempt_is_claimed_alone(start: Start, queue: TaskQueue, redis: Redis, file: Path) -> None:
    tasks = submit(queue, file, [""] * 200, SubmitOptions(attempts=1))
    redis.config_resetstat()
    start()
    complete(redis, len(tasks))
    assert calls(redis) >= len(tasks)


def test_a_horse_that_dies_in_a_group_leaves_each_job_as_it_was(
    start: Start, queue: TaskQueue, redis: Redis, file: Path, figure: Figure
) -> None:
    acts = [""] * FIRST + ["kill the horse" if number % EVERY == 0 else "" for number in range(1, 400)]
    tasks = submit(queue, file, acts)
    start()
    began = time.monotonic()
    complete(redis, len(tasks))
    seconds = (time.monotonic() - began) / sum(map(bool, acts))
    figure("horse is killed in a group of short jobs: seconds for each death, with the jobs between", seconds)
    deadly = {task for task, act in zip(tasks, acts, strict=True) if act}
    assert Counter(file.read_text().split()) == {task: 2 if task in deadly else 1 for task in tasks}
    for task in tasks:
        read = queue.get(task)
        assert (read.attempt, len(read.errors)) == ((2, 1) if task in deadly else (1, 0))
    assert set(map(tuple, places_of(redis, *tasks).values())) == {("finished",)}


def test_a_worker_that_dies_in_a_group_uses_no_attempts_of_its_jobs(
    start: Start, queue: TaskQueue, redis: Redis, file: Path, figure: Figure
) -> None:
    acts = [""] * 199 + ["kill the worker"] * 1000
    tasks = submit(queue, file, acts)
    worker = start()
    assert worker.process.wait(30 * SLACK) < 0
    killed_at = time.monotonic()
    held = [member.decode().partition(":")[0] for member in redis.zrange("rq:wip:default", 0, -1)]
    assert 1 < len(held) <= 8
    start()
    complete(redis, len(tasks))
    figure("worker is killed in a group of short jobs: all have run elsewhere", time.monotonic() - killed_at)
    runs = Counter(file.read_text().split())
    assert all(runs[task] == 1 for task in tasks if task not in held)
    assert all(1 <= runs[task] <= 2 for task in held)
    assert runs[decoded(redis.get("test:killed"))] == 2
    assert {(queue.get(task).attempt, len(queue.get(task).errors)) for task in tasks} == {(1, 0)}
    assert all(redis.hget(job_key(task), "tq:alone") == b"1" for task in held)


def test_jobs_do_not_wait_behind_one_of_their_group_that_takes_long(
    start: Start, queue: TaskQueue, redis: Redis, file: Path
) -> None:
    acts = [""] * 199 + ["wait"] + [""] * 200
    tasks = submit(queue, file, acts)
    start("--horses", "2")
    complete(redis, len(tasks) - 1)
    assert queue.get(tasks[199]).status == "processing"
    assert {queue.get(task).attempt for task in tasks} == {1}
    Path(f"{file}.go").touch()
    until(queue, tasks[199], "complete")
    assert Counter(file.read_text().split()) == dict.fromkeys(tasks, 1)
