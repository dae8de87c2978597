"""Claims that wait in Redis: one job wakes one process, and a job that a bell has taken is never lost."""

import socket
import threading
from collections.abc import Callable

from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.connection import connect_for_requests
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.settle_and_claim import Answer, SettleAndClaim
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

QUEUES = ["high", "default", "low"]
IDLE_WORKERS = 5


class Waiting:
    """One idle worker, as Redis sees it."""

    def __init__(self, redis: Redis, number: int) -> None:
        self.answer: Answer | None = None
        self.claim = f"{number:032x}"
        self.interrupt, self._interrupted = socket.socketpair()
        self._name = f"worker-{number}"
        settle_and_claim = SettleAndClaim(redis, self._name, QUEUES, 10)
        settle_and_claim()  # Redis has the script
        self._armed = ArmedClaim(connect_for_requests(redis), settle_and_claim, QUEUES, f"t{number}")
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        self._armed.arm(self.claim, ())
        self.answer = self._armed.wait(self._interrupted)
        self._armed.disarm()
        self._armed.close()

    def stop(self) -> None:
        self.interrupt.send(b"w")
        self._thread.join()
        self.interrupt.close()
        self._interrupted.close()


def blocked(redis: Redis) -> int:
    return int(redis.info("clients")["blocked_clients"])


def test_one_job_wakes_one_of_many_idle_workers(queue: TaskQueue, redis: Redis) -> None:
    workers = [Waiting(redis, number) for number in range(IDLE_WORKERS)]
    wait_until(lambda: blocked(redis) == IDLE_WORKERS * len(QUEUES), what="all to wait")
    task = queue.submit("generic", {})
    wait_until(lambda: any(worker.answer for worker in workers), what="the job to be claimed")
    for worker in workers:
        worker.stop()
    (answer,) = [worker.answer for worker in workers if worker.answer]
    assert [claimed.id for claimed in answer.jobs] == [task.id]
    assert answer.jobs[0].fields[b"tq:attempts"]
    assert queue.get(task.id).status == "processing"
    assert redis.llen("rq:queue:default") == redis.llen("tq:bell:default") == 0


def test_a_claim_that_nobody_waits_for_any_more_takes_nothing(queue: TaskQueue, redis: Redis) -> None:
    settle_and_claim = SettleAndClaim(redis, "one", QUEUES, 10)
    first, second = queue.submit("generic", {}), queue.submit("generic", {})
    redis.lmove("rq:queue:default", "tq:bell:default", "LEFT", "RIGHT")
    assert settle_and_claim(claim="@token").claim == "disarmed"
    assert redis.lrange("rq:queue:default", 0, -1) == [first.id.encode(), second.id.encode()]


def test_a_job_that_a_bell_has_taken_before_redis_stopped_is_put_back(
    start: Callable[..., RunningWorker], queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("generic", {})
    redis.lmove("rq:queue:default", "tq:bell:default", "LEFT", "RIGHT")
    start()
    until(queue, task.id, "complete")


def test_an_idle_worker_runs_the_jobs_of_all_its_queues(
    start: Callable[..., RunningWorker], queue: TaskQueue, redis: Redis
) -> None:
    worker = start("--horses", "2")
    for _ in range(20):
        for job_type, payload in (("week", {"of": "2026-11-23"}), ("generic", {}), ("flaky", {"failures": 0})):
            until(queue, queue.submit(job_type, payload).id, "complete")
    worker.wait_for_line("complete in", 60)
    assert "dropped" not in worker.log
    assert redis.zcard("rq:wip:default") == 0
