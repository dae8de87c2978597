"""What RQ offers for its jobs, with our worker: each as RQ's documents have it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError
from rq.group import Group
from rq.job import Dependency, Job
from rq.rate_limit import RateLimit
from rq.repeat import Repeat
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.tasks.changes import changes_channel
from taskqueue.worker.worker import Worker
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until, until_it_runs

Start = Callable[..., RunningWorker]
RQ = str(Path(sys.executable).parent / "rq")
GENERIC, FAILS, COUNTED = (f"taskqueue.call.{name}" for name in ("generic", "hopeless", "counted"))


@pytest.fixture
def jobs(redis: Redis) -> Queue:
    """RQ's own view of a queue."""
    return Queue("default", connection=redis, serializer=JSONSerializer)


def called(redis: Redis) -> list[str]:
    """Return the notes of the callbacks in tests/sample_jobs."""
    return [line.decode() for line in redis.lrange("test:called", 0, -1)]


def test_callbacks_that_are_registered_are_called(
    start: Start, queue: TaskQueue, jobs: Queue, redis: Redis
) -> None:
    start()
    notes = {
        f"on_{end}": f"jobs.samples.note_{note}"
        for end, note in (("success", "success"), ("failure", "failure"), ("stopped", "stop"))
    }

    callbacks = {when: Callback(name) for when, name in notes.items()}
    good = jobs.enqueue(GENERIC, kwargs={"a": 1}, **callbacks)
    bad = jobs.enqueue(FAILS, **callbacks)
    dead = jobs.enqueue("taskqueue.call.exit", kwargs={"code": 3}, **callbacks)
    until(queue, dead.id, "failed")
    wait_until(lambda: len(called(redis)) == 3, what="three callbacks")  # a process of its own calls the third
    stopped = jobs.enqueue("taskqueue.call.long", kwargs={"seconds": 60}, **callbacks)
    until(queue, stopped.id, "processing")
    send_stop_job_command(redis, stopped.id, JSONSerializer)
    wait_until(lambda: len(called(redis)) == 4, what="four callbacks")
    assert called(redis) == [
        f"{good.id} has returned {{'a': 1}}",
        f"{bad.id} has raised PermanentFailure",
        f"{dead.id} has raised WorkHorseDied",
        f"{stopped.id} was stopped",
    ]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("with_callback", [False, True])
def test_a_job_that_rq_cancels_in_its_first_moments_stays_canceled(
    start: Start, queue: TaskQueue, jobs: Queue, redis: Redis, fails: bool, with_callback: bool
) -> None:
    done = Callback("jobs.samples.note_success") if with_callback else None
    canceled = jobs.enqueue("taskqueue.call.cancels_itself", kwargs={"fails": fails}, on_success=done)
    after = jobs.enqueue(GENERIC)
    start()
    until(queue, after.id, "complete")
    wait_until(lambda: registries_of(redis, canceled.id) == ["canceled"], what="its lease to end")
    assert queue.get(canceled.id).status == "canceled"


def test_a_dependent_runs_when_what_it_waits_for_is_done(start: Start, queue: TaskQueue, jobs: Queue) -> None:
    first = jobs.enqueue(GENERIC, a=1)
    second = jobs.enqueue(GENERIC, depends_on=first)
    assert second.get_status() == "deferred"
    start()
    until(queue, second.id, "complete")
    assert queue.get(first.id).result == {"a": 1}


def test_a_dependent_of_a_failure_runs_only_if_it_says_so(start: Start, queue: TaskQueue, jobs: Queue) -> None:
    first = jobs.enqueue(FAILS)
    waits = jobs.enqueue(GENERIC, depends_on=first)
    runs = jobs.enqueue(GENERIC, depends_on=Dependency(first, allow_failure=True))
    start()
    until(queue, runs.id, "complete")
    assert (queue.get(first.id).status, waits.get_status()) == ("failed", "deferred")


def test_jobs_of_a_group(start: Start, queue: TaskQueue, jobs: Queue, redis: Redis) -> None:
    group = Group.create(connection=redis)
    members = group.enqueue_many(jobs, [Queue.prepare_data(COUNTED) for _ in range(3)])
    start()
    for job in members:
        until(queue, job.id, "complete")
    assert redis.scard(Group.get_key(group.name)) == 3


def test_a_job_that_repeats(start: Start, queue: TaskQueue, jobs: Queue, redis: Redis) -> None:
    start()
    job = jobs.enqueue(COUNTED, repeat=Repeat(times=3, interval=[0, 1]))
    wait_until(lambda: redis.get(f"test:runs:{job.id}") == b"4", what="the run and its repeats")
    until(queue, job.id, "complete")


def test_a_rate_limit_holds_over_all_workers(start: Start, queue: TaskQueue, jobs: Queue, redis: Redis) -> None:
    start()
    start()
    limit = RateLimit("one at a time", concurrency=1)
    limited = [jobs.enqueue("taskqueue.call.long", kwargs={"seconds": 0.3}, rate_limit=limit) for _ in range(4)]
    most = 0

    def all_done() -> bool:
        nonlocal most
        most = max(most, int(redis.zcard("rq:wip:default")))
        return int(redis.zcard("rq:finished:default")) == len(limited)

    wait_until(all_done, what="the limited jobs")
    assert most == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_a_canceled_run_gives_its_place_of_a_rate_limit_to_the_next(
    start: Start, queue: TaskQueue, jobs: Queue, redis: Redis, at_once: bool
) -> None:
    start()
    limit = RateLimit("one at a time", concurrency=1)
    with redis.pubsub() as changes:
        changes.subscribe(changes_channel("first"))
        changes.get_message(timeout=SLACK)  # the subscription
        first = jobs.enqueue("taskqueue.call.long", kwargs={"seconds": 60}, rate_limit=limit, job_id="first")
        second = jobs.enqueue(GENERIC, rate_limit=limit)
        # A claim publishes this, before the work-horse has read its answer.
        wait_until(lambda: changes.get_message(timeout=0.01), what="the job to be claimed")
        if not at_once:
            wait_until(lambda: redis.exists("test:runs:first"), what="the job to run")
        Job.fetch(first.id, connection=redis, serializer=JSONSerializer).cancel()
    until(queue, second.id, "complete")
    assert first.get_status() == "canceled"


def test_a_worker_can_be_registered_before_it_works(redis: Redis) -> None:
    worker = Worker(["default"], name="early", connection=redis)
    worker.register_birth()
    assert redis.exists("rq:worker:early")


def test_a_unique_job_is_queued_once(start: Start, queue: TaskQueue, jobs: Queue, redis: Redis) -> None:

    job = jobs.enqueue(COUNTED, job_id="report-7", unique=True)
    with pytest.raises(DuplicateJobError):
        jobs.enqueue(COUNTED, job_id="report-7", unique=True)
    start()
    until(queue, job.id, "complete")
    assert redis.get("test:runs:report-7") == b"1"


def test_enqueue_in_and_enqueue_at_need_no_scheduler_beside_it(
    start: Start, queue: TaskQueue, jobs: Queue, redis: Redis
) -> None:
    soon = jobs.enqueue_in(timedelta(seconds=1), GENERIC)
    at = jobs.enqueue_at(datetime.now(UTC) + timedelta(seconds=1), GENERIC)
    assert {soon.get_status(), at.get_status()} == {"scheduled"}
    start()
    for job in (soon, at):
        until(queue, job.id, "complete")


@pytest.fixture
def stock_worker(project: Path, server: RedisServer, tmp_path: Path) -> Iterator[None]:
    """A stock `rq worker`, with RQ's scheduler, on the same queues."""
    with (tmp_path / "stock.log").open("w") as log:
        process = subprocess.Popen(
            [RQ, "worker", "-S", "json", "--with-scheduler", "-u", server.url, "high", "default", "low"],
            cwd=project, stdout=log, stderr=log,
        )  # fmt: skip
    yield
    process.terminate()
    process.wait(20)


@pytest.mark.usefixtures("stock_worker")
def test_a_stock_worker_serves_the_same_queues(start: Start, queue: TaskQueue, jobs: Queue, redis: Redis) -> None:
    until(queue, queue.submit("generic", {}).id, "complete")  # so the stock worker takes jobs
    start()
    tasks = [queue.submit("long", {"seconds": 0.1}).id for _ in range(20)]
    later = [jobs.enqueue_in(timedelta(seconds=1), COUNTED).id for _ in range(20)]
    wait_until(lambda: redis.zcard("rq:finished:default") == 1 + 40, 60, what="all jobs")
    assert len({queue.get(task).worker for task in tasks}) == 2
    assert set(redis.mget(f"test:runs:{task}" for task in tasks + later)) == {b"1"}


def test_rqs_command_starts_our_worker(project: Path, server: RedisServer, queue: TaskQueue, redis: Redis) -> None:
    task, failing = queue.submit("week", {"of": "2026-11-23"}), queue.submit("flaky", {"failures": 1})
    command = [RQ, "worker", "-w", "taskqueue.worker.worker.Worker", "-u", server.url, "--burst"]
    done = subprocess.run(
        [*command, "high", "default", "low"], cwd=project, timeout=60, capture_output=True, text=True, check=True
    )
    assert queue.get(task.id).status == "complete"
    assert (queue.get(failing.id).status, queue.get(failing.id).attempt) == ("complete", 2)
    assert f"Processing week task {task.id}" in done.stderr + done.stdout
    assert Job.fetch(task.id, connection=redis, serializer=JSONSerializer).return_value()


def test_rq_info_suspend_and_resume(
    start: Start, project: Path, server: RedisServer, queue: TaskQueue, figure: Figure
) -> None:
    def rq(*arguments: str) -> str:
        return subprocess.run(
            [RQ, *arguments, "-u", server.url], cwd=project, timeout=30, capture_output=True, text=True, check=True
        ).stdout

    worker = start("--name", "ours")
    assert "ours" in rq("info")
    rq("suspend")
    task = queue.submit("generic", {})
    wait_until(lambda: "1" in rq("info", "--only-queues"), what="the job that waits")
    assert queue.get(task.id).status == "queued"
    wait_until(lambda: "`rq suspend` holds" in worker.log, what="the log to say so")
    rq("resume")
    seconds = until(queue, task.id, "complete")
    figure("`rq resume`: a job that waited is complete", seconds)
    assert seconds < 3 * SLACK
    wait_until(lambda: "claimed again" in worker.log, what="the log to say so")


@pytest.mark.parametrize(("fails", "status"), [(False, "complete"), (True, "failed")])
def test_a_job_that_saves_itself_while_it_runs(
    start: Start, queue: TaskQueue, redis: Redis, fails: bool, status: str
) -> None:
    start()
    task = queue.submit("saves_itself", {"note": "page 3", "fails": fails})
    until(queue, task.id, status)
    assert Job.fetch(task.id, connection=redis, serializer=JSONSerializer).meta == {"note": "page 3"}


def test_a_job_that_is_saved_by_somebody_else_while_it_runs(
    start: Start, queue: TaskQueue, redis: Redis, tmp_path: Path
) -> None:
    task = queue.submit("held", {"file": str(tmp_path / "go")})
    read_before = Job.fetch(task.id, connection=redis, serializer=JSONSerializer)
    start()
    until_it_runs(redis, task.id)
    read_before.save()
    (tmp_path / "go").touch()
    until(queue, task.id, "complete")
    assert registries_of(redis, task.id) == ["finished"]


def test_a_dependent_that_rq_has_made_ready_and_not_queued_is_queued(
    start: Start, queue: TaskQueue, jobs: Queue, redis: Redis
) -> None:
    """RQ skips a dependent that another parent changes at the same time, and leaves it to its maintenance."""
    job = jobs.enqueue(GENERIC)
    redis.delete("rq:queue:default")
    redis.hset(job.key, "status", "ready_to_enqueue")
    redis.zadd("rq:ready:default", {job.id: 1})
    start()
    until(queue, job.id, "complete")
