"""A job from submit to result without a server or a process: fakeredis, and RQ's worker that does not fork."""

import asyncio
import signal

import fakeredis
import pytest
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.hooks import event_loop
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.run.files import open_files
from taskqueue.settings import Settings
from taskqueue.tasks.task import Task
from taskqueue.worker.job import RegisteredJob


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis(server: fakeredis.FakeServer) -> Redis:
    """A Redis inside this process."""
    return fakeredis.FakeRedis(server=server)


@pytest.fixture
def queue(redis: Redis, job_types: JobTypes) -> TaskQueue:
    return TaskQueue(redis, Settings(), job_types)


def run(queue: TaskQueue, redis: Redis, job_type: str, **payload: object) -> Task:
    """Submit a task, run all waiting jobs, and return the task."""
    task = queue.submit(job_type, payload)
    names = list(queue.settings.queues)
    SimpleWorker(names, connection=redis, job_class=RegisteredJob, serializer=JSONSerializer).work(burst=True)
    return queue.get(task.id)


def test_a_task_goes_all_the_way(queue: TaskQueue, redis: Redis) -> None:
    task = run(queue, redis, "week", of="2026-11-23")
    assert (task.status, task.attempt, task.result["last"]) == ("complete", 1, "2026-11-29")


def test_a_failure_is_tried_again_until_it_succeeds(queue: TaskQueue, redis: Redis) -> None:
    task = run(queue, redis, "flaky", failures=2)
    assert (task.status, task.attempt, task.result) == ("complete", 3, 3)


def test_progress_is_kept(queue: TaskQueue, redis: Redis) -> None:
    progress = run(queue, redis, "steps", count=7).progress
    assert progress
    assert (progress["done"], progress["total"]) == (7, 7)


def test_a_file_is_kept(redis: Redis) -> None:
    store = open_files(Settings(), redis)
    assert store.read(store.write(b"hello").filename)[1] == b"hello"


def test_without_redis_nothing_is_queued(queue: TaskQueue, server: fakeredis.FakeServer) -> None:
    server.connected = False
    with pytest.raises(QueueUnavailable, match="Redis did not answer") as refused:
        queue.submit("generic", {})
    assert refused.value.task_id


@pytest.mark.parametrize("name", ["self", "cls", "arguments", "payload", "model_extra", "_job_type", "args", "/"])
def test_a_payload_may_have_a_field_of_any_name(queue: TaskQueue, redis: Redis, name: str) -> None:
    task = queue.submit("generic", {name: 1})
    assert (task.status, task.payload) == ("queued", {name: 1})
    SimpleWorker(["default"], connection=redis, job_class=RegisteredJob, serializer=JSONSerializer).work(
        burst=True
    )
    assert queue.get(task.id).result == {name: 1}


def test_coroutines_of_one_process_share_an_event_loop() -> None:
    loops = {id(event_loop.run(_running_loop())) for _ in range(3)}
    assert len(loops) == 1  # so a client that belongs to the loop of its first use works again


def test_a_coroutine_that_is_interrupted_ends_and_leaves_the_loop_usable() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("ended")

    def expire(number: int, frame: object) -> None:
        raise JobTimeoutException("too long")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(JobTimeoutException):
            event_loop.run(wait())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ended == ["ended"]
    assert event_loop.run(_running_loop())


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
