"""The code that is stored for why a task failed or was stopped."""

from collections.abc import Callable

from redis import Redis
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]
ONCE = SubmitOptions(attempts=1)


def test_each_way_to_fail_stores_its_code(start: Start, queue: TaskQueue, redis: Redis) -> None:
    tasks = {
        queue.submit("flaky", {"failures": 9}, ONCE).id: "error",
        queue.submit("hopeless", {}).id: "permanent",
        queue.submit("slow", {"seconds": 30}).id: "timeout",
        queue.submit("busy_in_c", {}).id: "timeout",
        queue.submit("crash", {}).id: "poison",
        queue.submit("crash", {}, ONCE).id: "horse-died",
        (unreadable := queue.submit("generic", {}).id): "unreadable",
        (with_dependent := queue.submit("flaky", {"failures": 9}, ONCE).id): "error",
    }
    redis.hset(Job.key_for(unreadable), "timeout", "long")
    queue.submit("generic", {}, SubmitOptions(depends_on=(with_dependent,)))  # so RQ's own code settles it
    start("--horses", "4")
    for task_id in tasks:
        until(queue, task_id, "failed")
    assert {task_id: queue.get(task_id).reason for task_id in tasks} == tasks


def test_a_task_that_is_stopped_stores_its_code(start: Start, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("long", {"seconds": 60})
    start()
    until(queue, task.id, "processing")
    send_stop_job_command(redis, task.id, JSONSerializer)
    until(queue, task.id, "canceled")
    assert queue.get(task.id).reason == "stopped"


def test_a_task_that_is_sent_again_has_no_code_until_it_fails_again(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    worker = start()
    by_us, by_rq = queue.submit("flaky", {"failures": 1}, ONCE), queue.submit("flaky", {"failures": 1}, ONCE)
    until(queue, by_us.id, "failed")
    until(queue, by_rq.id, "failed")
    worker.stop()
    Operations(redis, 60).requeue(by_us.id)
    Job.fetch(by_rq.id, redis, JSONSerializer).requeue()
    assert not redis.hexists(Job.key_for(by_us.id), "tq:reason")
    start()
    for task in (by_us, by_rq):
        until(queue, task.id, "complete")
        assert not redis.hexists(Job.key_for(task.id), "tq:reason")


def test_a_job_whose_id_is_a_word_of_the_script_runs(start: Start, queue: TaskQueue, redis: Redis) -> None:
    jobs = Queue("default", connection=redis, serializer=JSONSerializer)
    for word in ("suspended", "empty", "skipped", "claimed"):
        jobs.enqueue("taskqueue.call.generic", job_id=word, kwargs={"a": word})
    start()
    for word in ("suspended", "empty", "skipped", "claimed"):
        until(queue, word, "complete")
        assert queue.get(word).result == {"a": word}
