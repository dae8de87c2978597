"""Jobs whose time has come: moved by one worker at a time, by another when that one dies."""

from collections.abc import Callable
from datetime import timedelta

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import SLACK, Figure, wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]


def test_another_worker_takes_over_within_seconds(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    holder = start()
    task = queue.submit("later", {})
    until(queue, task.id, "scheduled")
    start()
    holder.process.kill()
    redis.zadd("rq:scheduled:default", {task.id: 1})  # it is due
    seconds = until(queue, task.id, "failed")
    figure("scheduler's holder is killed: a due job has run elsewhere", seconds)
    assert seconds < 6 * SLACK  # five seconds, and the run
    assert queue.get(task.id).attempt == 2


def test_each_due_job_runs_once_though_the_holder_is_killed(start: Start, queue: TaskQueue, redis: Redis) -> None:
    holder = start("--horses", "1")
    busy = queue.submit("long", {"seconds": 60}, SubmitOptions(attempts=1))  # its only horse is busy
    until(queue, busy.id, "processing")
    start()
    start()
    jobs = Queue("default", connection=redis, serializer=JSONSerializer)
    due = [jobs.enqueue_in(timedelta(seconds=index % 5), "taskqueue.call.counted").id for index in range(200)]
    wait_until(lambda: redis.zcard("rq:finished:default") > 0, what="the first of them")
    holder.process.kill()
    wait_until(lambda: redis.zcard("rq:finished:default") == len(due), what="all that is due")
    assert set(redis.mget(f"test:runs:{task}" for task in due)) == {b"1"}
