"""Canceling, requeuing and deleting tasks that wait or have ended, on a real Redis."""

from collections.abc import Callable

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.rate_limit import RateLimit
from rq.serializers import JSONSerializer

from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask, WrongStatus
from tests.taskqueue.worker.stage import registries_of

Work = Callable[..., str]
TTL = 1000


@pytest.fixture
def operations(redis: Redis) -> Operations:
    return Operations(redis, TTL)


class TestCancel:
    @pytest.mark.parametrize(
        "options",
        [SubmitOptions(), SubmitOptions(delay=60), SubmitOptions(depends_on=("parent",))],
        ids=["queued", "scheduled", "deferred"],
    )
    def test_what_waits_is_gone_at_once(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work, options: SubmitOptions
    ) -> None:
        redis.hset("rq:job:parent", mapping={"status": "scheduled", "data": "[]"})
        task = queue.submit("counted", {}, options)
        assert operations.cancel(task.id) == "canceled"
        assert registries_of(redis, task.id) == ["canceled"]
        read = queue.get(task.id)
        assert (read.status, read.attempt, read.error) == ("canceled", 0, None)
        assert read.ended_at
        assert TTL - 10 < redis.ttl(f"rq:job:{task.id}") <= TTL
        work()
        assert redis.get(f"test:runs:{task.id}") is None

    def test_what_has_ended_stays_as_it_is(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        done, failed, canceled = (queue.submit(name, {}) for name in ("generic", "hopeless", "generic"))
        operations.cancel(canceled.id)
        work()
        for task, status, registry in (
            (done, "complete", "finished"),
            (failed, "failed", "failed"),
            (canceled, "canceled", "canceled"),
        ):
            with pytest.raises(WrongStatus, match=rf"{status}\. Only a task that has not ended"):
                operations.cancel(task.id)
            assert registries_of(redis, task.id) == [registry]

    def test_a_task_that_waits_for_its_next_attempt_makes_none(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        task = queue.submit("later", {})
        work()
        assert operations.cancel(task.id) == "canceled"
        assert registries_of(redis, task.id) == ["canceled"]
        assert (queue.get(task.id).status, len(queue.get(task.id).errors)) == ("canceled", 1)

    def test_what_depends_on_it_stays_deferred_until_it_is_sent_again_and_completes(
        self, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        parent = queue.submit("generic", {})
        child = queue.submit("generic", {}, SubmitOptions(depends_on=(parent.id,), allow_failure=True))
        operations.cancel(parent.id)
        work()
        assert queue.get(child.id).status == "deferred"
        operations.requeue(parent.id)
        work()
        assert (queue.get(parent.id).status, queue.get(child.id).status) == ("complete", "complete")

    def test_old_entries_leave_the_registry_with_their_jobs(
        self, redis: Redis, queue: TaskQueue, operations: Operations
    ) -> None:
        task = queue.submit("generic", {})
        redis.zadd("rq:canceled:default", {"expired": 1, "kept": 1})
        redis.hset("rq:job:kept", "data", "[]")
        operations.cancel(task.id)
        assert set(redis.zrange("rq:canceled:default", 0, -1)) == {b"kept", task.id.encode()}

    def test_the_place_under_a_limit_of_rqs_goes_to_the_next(self, redis: Redis, operations: Operations) -> None:
        rq = Queue("default", connection=redis, serializer=JSONSerializer)
        first, second = (
            rq.enqueue("taskqueue.call.generic", rate_limit=RateLimit("one", concurrency=1)) for _ in range(2)
        )
        operations.cancel(first.id)
        assert rq.job_ids == [second.id]

    @pytest.mark.parametrize("task_id", ["unknown", "a:b", "", "x" * 500])
    def test_of_nothing(self, operations: Operations, task_id: str) -> None:
        for act in (operations.cancel, operations.requeue, operations.delete):
            with pytest.raises(UnknownTask):
                act(task_id)


class TestRequeue:
    def test_a_failed_task_has_all_its_attempts_again(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        task = queue.submit("flaky", {"failures": 6})  # of 4 attempts
        work()
        operations.requeue(task.id)
        assert registries_of(redis, task.id) == ["queued"]
        waiting = queue.get(task.id)
        assert (waiting.status, waiting.attempt, waiting.attempts) == ("queued", 0, 4)
        assert redis.ttl(f"rq:job:{task.id}") == redis.ttl(f"rq:results:{task.id}") == -1
        work()
        done = queue.get(task.id)
        assert (done.status, done.result, done.attempt, done.attempts, len(done.errors)) == (
            "complete",
            7,
            3,
            4,
            6,
        )

    def test_a_canceled_task_is_sent_again(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        task = queue.submit("generic", {})
        operations.cancel(task.id)
        operations.requeue(task.id)
        assert registries_of(redis, task.id) == ["queued"]
        work()
        assert queue.get(task.id).status == "complete"

    def test_a_task_that_had_expired_may_run_now(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        task = queue.submit("generic", {}, SubmitOptions(expires_in=60))
        redis.hset(f"rq:job:{task.id}", "tq:expires_at", 1)
        work()
        assert queue.get(task.id).status == "canceled"
        operations.requeue(task.id)
        work()
        assert queue.get(task.id).status == "complete"

    def test_a_task_that_was_canceled_while_it_waited_for_another_waits_again(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        parent = queue.submit("counted", {})
        child = queue.submit("counted", {}, SubmitOptions(depends_on=(parent.id,)))
        operations.cancel(child.id)
        operations.requeue(child.id)
        assert registries_of(redis, child.id) == ["deferred"]
        work()
        assert redis.mget(f"test:runs:{parent.id}", f"test:runs:{child.id}") == [b"1", b"1"]

    def test_a_task_that_was_sent_again_is_not_sent_a_second_time_by_what_it_waited_for(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        parent = queue.submit("counted", {})
        child = queue.submit("counted", {}, SubmitOptions(depends_on=(parent.id,)))
        operations.cancel(child.id)
        work()
        operations.requeue(child.id)
        assert registries_of(redis, child.id) == ["queued"]
        work()
        assert redis.get(f"test:runs:{child.id}") == b"1"

    def test_only_what_has_failed_or_was_canceled(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        task = queue.submit("generic", {})
        with pytest.raises(WrongStatus, match=r"queued\. Only a failed or canceled"):
            operations.requeue(task.id)
        assert redis.llen("rq:queue:default") == 1
        work()
        with pytest.raises(WrongStatus, match=r"complete\. Only a failed or canceled"):
            operations.requeue(task.id)

    def test_a_job_under_a_limit_of_rqs_is_left_to_rq(self, redis: Redis, operations: Operations) -> None:
        rq = Queue("default", connection=redis, serializer=JSONSerializer)
        limit = RateLimit("one", concurrency=1)
        holder, failed = (rq.enqueue("taskqueue.call.generic", rate_limit=limit) for _ in range(2))
        redis.zrem("rq:rl:one:rate_limited", failed.id)
        redis.hset(failed.key, "status", "failed")
        redis.zadd("rq:failed:default", {failed.id: 10**10})
        operations.requeue(failed.id)
        assert (Job.fetch(failed.id, redis, JSONSerializer).get_status(), rq.job_ids) == (
            "rate_limited",
            [holder.id],
        )


class TestDelete:
    def test_nothing_is_left_of_a_task(
        self, redis: Redis, queue: TaskQueue, operations: Operations, work: Work
    ) -> None:
        options = SubmitOptions(tags=("blue", "customer:7"))
        tasks = [queue.submit(name, {}, options) for name in ("generic", "hopeless", "later")]
        work()
        tasks += [queue.submit("generic", {}, options) for _ in range(2)]
        tasks.append(queue.submit("generic", {}, SubmitOptions(delay=60)))
        tasks.append(queue.submit("generic", {}, SubmitOptions(depends_on=(tasks[-1].id,))))
        operations.cancel(tasks[4].id)
        for task in tasks:
            redis.xadd(f"tq:logs:{task.id}", {"line": "said"})
        for task in reversed(tasks):
            operations.delete(task.id)
            with pytest.raises(UnknownTask):
                queue.get(task.id)
        left = {key for key in redis.scan_iter() if key.startswith((b"rq:", b"tq:index", b"tq:logs"))}
        assert {key for key in left if not key.startswith(b"rq:worker:")} == {b"rq:queues", b"tq:index:tags"}
