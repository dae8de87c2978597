"""Claims that wait in Redis: one job wakes one process, and a job that a bell has taken is never lost."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.connection import connect_for_requests
from taskqueue.worker.armed_claim import ArmedClaim
from taskqueue.worker.settle_and_claim import Claimed, Kind, SettleAndClaim
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

QUEUES = ["high", "default", "low"]
IDLE_WORKERS = 5
LEASE_SECONDS = 10


class Waiting:
    """One idle worker, as Redis sees it."""

    def __init__(self, redis: Redis, number: int) -> None:
        self.claimed: Claimed | None = None
        self.claim = f"{number:032x}"
        self.interrupt, self._interrupted = socket.socketpair()
        self._name = f"worker-{number}"
        settle_and_claim = SettleAndClaim(redis, self._name, QUEUES, 10)
        settle_and_claim()  # Redis has the script
        self._armed = ArmedClaim(connect_for_requests(redis), settle_and_claim.claimant, QUEUES, f"t{number}")
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        self._armed.arm(self.claim, ())
        self.claimed = self._armed.wait(self._interrupted)
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
    wait_until(lambda: any(worker.claimed for worker in workers), what="the job to be claimed")
    for worker in workers:
        worker.stop()
    (claimed,) = [worker.claimed for worker in workers if worker.claimed]
    assert claimed.id == task.id
    assert claimed.fields[b"tq:attempts"]
    assert queue.get(task.id).status == "processing"
    assert redis.llen("rq:queue:default") == redis.llen("tq:bell:default") == 0


class Process:
    """One process with nothing to do, in this process of the test."""

    def __init__(self, redis: Redis, kind: Kind = "any", release: str | None = None) -> None:
        self.claim = "c" * 32
        self.settle_and_claim = SettleAndClaim(
            redis, "one", QUEUES, LEASE_SECONDS, kind=kind, io_types=["hopeless"], release=release
        )
        claimant = self.settle_and_claim.claimant
        self.armed = ArmedClaim(connect_for_requests(redis), claimant, QUEUES, "token")
        self.interrupt, self._interrupted = socket.socketpair()

    def arm(self) -> None:
        self.armed.arm(self.claim, ())

    def wait(self) -> Claimed | None:
        """Return what it gets, or None if it must look itself."""
        return self.armed.wait(self._interrupted)

    def look(self) -> Claimed | None:
        """Return what it gets when it looks itself."""
        jobs = self.settle_and_claim(claim=self.claim, was_armed=True).jobs
        return jobs[0] if jobs else None

    def close(self) -> None:
        self.armed.close()
        self.interrupt.close()
        self._interrupted.close()


@pytest.fixture
def process(redis: Redis) -> Iterator[Process]:
    process = Process(redis)
    yield process
    process.close()


def stored(redis: Redis, task_id: str) -> str:
    """Return all that Redis holds, without the task's id and the times."""
    values: dict[str, object] = {}
    for key in map(bytes.decode, redis.scan_iter()):
        match redis.type(key):
            case b"hash":
                values[key] = sorted(redis.hgetall(key).items())
            case b"list":
                values[key] = redis.lrange(key, 0, -1)
            case b"zset":
                values[key] = redis.zrange(key, 0, -1)
            case b"set":
                values[key] = redis.smembers(key)
    text = repr(sorted(values.items())).replace(task_id, "<id>")
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?|[\d.]{8,}", "<time>", text)


@pytest.mark.parametrize("release", [None, "v7"])
@pytest.mark.parametrize("by_rq", [False, True])
def test_a_job_that_was_waited_for_is_claimed_as_any_other(
    queue: TaskQueue, redis: Redis, release: str | None, by_rq: bool
) -> None:
    outcomes = []
    for waits in (True, False):
        redis.flushall()
        process = Process(redis, release=release)
        if waits:
            process.arm()
        if by_rq:
            rq_queue = Queue("default", connection=redis, serializer=JSONSerializer)
            task_id = rq_queue.enqueue("taskqueue.call.generic", ttl=600).id
        else:
            task_id = queue.submit("brief", {"file": "x"}).id
        claimed = process.wait() if waits else process.look()
        assert claimed
        assert (claimed.id, claimed.execution) == (task_id, process.claim)
        assert redis.ttl(f"rq:job:{task_id}") == -1
        lease = redis.zscore("rq:wip:default", f"{task_id}:{process.claim}") or 0
        assert LEASE_SECONDS - 5 < lease - time.time() < LEASE_SECONDS + 1
        outcomes.append((claimed.fields.keys(), stored(redis, task_id)))
        process.close()
    assert outcomes[0] == outcomes[1]


def changed(queue: TaskQueue, redis: Redis, field: str, value: str | None) -> str:
    task = queue.submit("generic", {}).id
    if value is None:
        redis.hdel(f"rq:job:{task}", field)
    else:
        redis.hset(f"rq:job:{task}", field, value)
    return task


def paused(queue: TaskQueue, redis: Redis) -> str:
    redis.sadd("tq:paused", "type:generic")
    return queue.submit("generic", {}).id


def suspended(queue: TaskQueue, redis: Redis) -> str:
    redis.set("rq:suspended", 1)
    return queue.submit("generic", {}).id


def gone(queue: TaskQueue, redis: Redis) -> str:
    task = queue.submit("generic", {}).id
    redis.delete(f"rq:job:{task}")
    return task


SPECIAL: dict[str, Callable[[TaskQueue, Redis], str]] = {
    "its type has a limit": lambda queue, redis: queue.submit("two-at-a-time", {}).id,
    "it expires": lambda queue, redis: queue.submit("generic", {}, SubmitOptions(expires_in=60)).id,
    "its type is paused": paused,
    "the worker is suspended": suspended,
    "it has run before": lambda queue, redis: changed(queue, redis, "tq:attempt", "1"),
    "it is to be canceled": lambda queue, redis: changed(queue, redis, "tq:cancel", "1"),
    "another program has moved it": lambda queue, redis: changed(queue, redis, "origin", "elsewhere"),
    "it has no data": lambda queue, redis: changed(queue, redis, "data", None),
    "it is canceled": lambda queue, redis: changed(queue, redis, "status", "canceled"),
    "its hash is gone": gone,
}


@pytest.mark.parametrize("what", SPECIAL)
def test_a_special_job_is_left_to_the_whole_claim(
    process: Process, queue: TaskQueue, redis: Redis, what: str
) -> None:
    job = SPECIAL[what](queue, redis)
    waiting = redis.lrange("rq:queue:default", 0, -1)
    before = redis.hgetall(f"rq:job:{job}")
    process.arm()
    assert process.wait() is None
    assert redis.lrange("rq:queue:default", 0, -1) == waiting
    assert redis.hgetall(f"rq:job:{job}") == before
    assert not redis.exists("tq:bell:default", "rq:wip:default", "rq:worker:one:executions", "tq:armed:token")


def test_a_job_waits_for_those_of_a_more_important_queue(process: Process, queue: TaskQueue, redis: Redis) -> None:
    first, second = queue.submit("flaky", {"failures": 0}), queue.submit("generic", {})
    process.armed.arm(process.claim, {"high"})  # so that the call of the other queue comes first
    assert process.wait() is None
    assert redis.lrange("rq:queue:default", 0, -1) == [second.id.encode()]
    claimed = process.look()
    assert claimed
    assert claimed.id == first.id


def test_a_changed_limit_of_one_type_does_not_slow_the_others(
    process: Process, queue: TaskQueue, redis: Redis
) -> None:
    redis.sadd("tq:paused", "low", "type:flaky", "limits:week")
    process.arm()
    task = queue.submit("generic", {})
    claimed = process.wait()
    assert claimed
    assert claimed.id == task.id


@pytest.mark.parametrize("key", ["rq:wip:default", "rq:worker:one:executions"])
def test_a_job_is_where_it_was_if_redis_refuses_the_claim_halfway(
    process: Process, queue: TaskQueue, redis: Redis, key: str
) -> None:
    redis.set(key, "another type")
    process.arm()
    task = queue.submit("generic", {})
    assert process.wait() is None
    assert redis.lrange("rq:queue:default", 0, -1) == [task.id.encode()]
    assert redis.hget(f"rq:job:{task.id}", "status") == b"queued"
    claimed = process.look()
    assert claimed
    assert (claimed.id, claimed.fields.get(b"tq:attempt", b"0")) == (task.id, b"0")


@pytest.mark.parametrize(("kind", "own", "other"), [("cpu", "generic", "hopeless"), ("io", "hopeless", "generic")])
def test_a_job_of_the_other_kind_is_left_to_the_other_process(
    queue: TaskQueue, redis: Redis, kind: Kind, own: str, other: str
) -> None:
    process = Process(redis, kind)
    process.arm()
    of_the_other_kind = queue.submit(other, {})
    assert process.wait() is None  # the queue rings twice at once, and nobody takes the job
    assert redis.lrange("rq:queue:default", 0, -1) == [of_the_other_kind.id.encode()]
    redis.delete("rq:queue:default")
    process.arm()
    task = queue.submit(own, {})
    claimed = process.wait()
    assert claimed
    assert claimed.id == task.id
    process.close()


def test_a_claim_that_nobody_waits_for_any_more_takes_nothing(
    process: Process, queue: TaskQueue, redis: Redis
) -> None:
    process.arm()
    assert process.armed.disarm()
    first, second = queue.submit("generic", {}), queue.submit("generic", {})
    assert process.wait() is None
    assert redis.lrange("rq:queue:default", 0, -1) == [first.id.encode(), second.id.encode()]
    assert not redis.exists("tq:bell:default")


def test_two_jobs_at_once_wake_two_processes(redis: Redis, queue: TaskQueue) -> None:
    workers = [Waiting(redis, number) for number in range(2)]
    wait_until(lambda: blocked(redis) == 2 * len(QUEUES), what="both to wait")
    with redis.pipeline() as transaction:
        tasks = []
        for number in range(2):
            tasks.append(f"job-{number}")
            transaction.hset(
                f"rq:job:job-{number}",
                mapping={"data": "x", "status": "queued", "origin": "default", "description": "generic"},
            )
            transaction.rpush("rq:queue:default", f"job-{number}")
        transaction.execute()
    wait_until(lambda: all(worker.claimed for worker in workers), what="both jobs to be claimed")
    assert sorted(worker.claimed.id for worker in workers if worker.claimed) == tasks
    for worker in workers:
        worker.stop()


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
    assert "dropped" not in worker.log
    assert redis.zcard("rq:wip:default") == 0
