"""The script of a worker, called as its processes call it: several outcomes and claims at once, kinds of jobs."""

import time
from collections.abc import Callable, Sequence

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from taskqueue.control.operations import Operations
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.hooks import registry as hooks
from taskqueue.jobtypes.limits import Limits
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.store.keys import job_key
from taskqueue.telemetry.counters import Tally
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.by_rq import ByRQ
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.job import RegisteredJob
from taskqueue.worker.settle_and_claim import Answer, Outcome, SettleAndClaim
from taskqueue.worker.settles_by_rq import SettlesByRQ
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import places_of

CALL = "c" * 24
SHORT = ",week:900,"


@pytest.fixture
def call(redis: Redis) -> SettleAndClaim:
    return SettleAndClaim(redis, "one", ["high", "default", "low"], 10)


@pytest.fixture
def of_kind(redis: Redis) -> Callable[..., SettleAndClaim]:
    def make(kind: str) -> SettleAndClaim:
        return SettleAndClaim(redis, "one", ["high", "default", "low"], 10, kind=kind, io_types={"chatty"})  # type: ignore[arg-type]

    return make


def submit(queue: TaskQueue, count: int, options: SubmitOptions | None = None) -> list[str]:
    chosen = options or SubmitOptions(queue="low")
    return [queue.submit("week", {"of": "2026-11-23"}, chosen).id for _ in range(count)]


def ids(answer: Answer) -> list[str]:
    return [claimed.id for claimed in answer.jobs]


def finished(answer: Answer, origin: str = "low") -> Sequence[Outcome]:
    now = time.time()
    return [
        Outcome("finished", claimed.id, claimed.execution, origin, "week", now, now, ttl=100)
        for claimed in answer.jobs
    ]


def test_a_group_is_short_and_leaves_the_others_their_part(call: SettleAndClaim, queue: TaskQueue) -> None:
    tasks = submit(queue, 64)
    assert ids(call(claim=CALL + "1", most=8, short=SHORT)) == tasks[:5]  # 5 ms of work
    assert ids(call(claim=CALL + "2", most=8, short=",week:100,")) == tasks[5:12]  # an eighth of 59
    assert ids(call(claim=CALL + "3", most=8, short=",other:1,")) == tasks[12:13]
    assert ids(call(claim=CALL + "4")) == tasks[13:14]


def test_a_group_ends_before_a_job_that_must_be_alone(
    call: SettleAndClaim, queue: TaskQueue, redis: Redis
) -> None:
    first = submit(queue, 2)
    last_attempt = submit(queue, 1, SubmitOptions(queue="low", attempts=1))
    alone, others = submit(queue, 1), submit(queue, 60)
    redis.hset(job_key(alone[0]), "tq:alone", 1)
    claims = [ids(call(claim=f"{CALL}{number}", most=8, short=",week:1,")) for number in range(4)]
    assert claims == [first, last_attempt, alone, others[:7]]


def test_a_call_that_is_sent_again_gives_the_same_jobs(call: SettleAndClaim, queue: TaskQueue) -> None:
    submit(queue, 64)
    first = call(claim=CALL + "1", most=8, short=SHORT)
    again = call(claim=CALL + "1", most=8, short=SHORT, was_armed=True)
    assert sorted(ids(again)) == sorted(ids(first))
    assert {claimed.fields[b"tq:attempt"] for claimed in again.jobs} == {b"0"}
    # The id of another call, though the first one begins with it.
    assert ids(call(claim=CALL, most=8, short=SHORT, was_armed=True)) != ids(first)


def test_several_jobs_are_settled_at_once(call: SettleAndClaim, queue: TaskQueue, redis: Redis) -> None:
    tasks = submit(queue, 64)
    outcomes = finished(call(claim=CALL + "1", most=8, short=SHORT))
    Operations(redis, failure_ttl_seconds=100).cancel(outcomes[1].job)
    redis.zrem("rq:wip:low", f"{outcomes[2].job}:{outcomes[2].execution}")  # its lease was lost
    assert call(outcomes).settled == ["yes", "yes", "lost", "yes", "yes"]
    assert call(outcomes, was_armed=True).settled == ["yes", "yes", "lost", "yes", "yes"]
    places = places_of(redis, *tasks[:5])
    assert [places[task] for task in tasks[:5]] == [["finished"], ["finished"], [], ["finished"], ["finished"]]
    assert redis.xlen(f"rq:results:{tasks[0]}") == 1


def test_data_of_one_job_that_redis_refuses_leaves_the_others(
    call: SettleAndClaim, queue: TaskQueue, redis: Redis
) -> None:
    tasks = submit(queue, 64)
    outcomes = finished(call(claim=CALL + "1", most=8, short=SHORT))
    redis.set(f"rq:results:{tasks[1]}", "no stream")
    assert call(outcomes).settled == ["yes"] * 5
    assert redis.zcard("rq:finished:low") == 5
    assert [redis.xlen(f"rq:results:{task}") for task in tasks[:5]] == [1] * 5


def test_each_kind_of_process_gets_its_kind_of_jobs_in_their_order(
    of_kind: Callable[..., SettleAndClaim], queue: TaskQueue, redis: Redis
) -> None:
    io, cpu = of_kind("io"), of_kind("cpu")
    options = SubmitOptions(queue="low")
    waiting = [queue.submit("chatty", {"words": "x"}, options).id for _ in range(3)]
    busy = submit(queue, 2)
    by_rq = Queue("low", connection=redis, serializer=JSONSerializer)
    waiting.append(by_rq.enqueue("taskqueue.call.chatty", words="x").id)
    assert ids(cpu(claim=CALL + "1")) == busy[:1]
    assert ids(io(claim=CALL + "2", most=2)) == waiting[:2]
    assert [claimed.execution for claimed in io(claim=CALL + "3", most=9).jobs] == [f"{CALL}3-1", f"{CALL}3-2"]
    assert io(claim=CALL + "4").claim == "others"
    assert ids(cpu(claim=CALL + "5")) == busy[1:]
    assert io(claim=CALL + "6").claim == "empty"


def test_a_process_looks_through_so_many_jobs_of_the_other_kind(
    of_kind: Callable[..., SettleAndClaim], queue: TaskQueue
) -> None:
    for _ in range(10):
        queue.submit("chatty", {"words": "x"}, SubmitOptions(queue="low"))
    (task,) = submit(queue, 1)
    assert of_kind("cpu")(claim=CALL + "1", look=10).claim == "others"
    assert ids(of_kind("cpu")(claim=CALL + "2", look=11)) == [task]


def test_a_run_that_rqs_own_enqueue_queued_counts_for_limits_that_are_set_meanwhile(
    call: SettleAndClaim, queue: TaskQueue, redis: Redis, job_types: JobTypes
) -> None:
    low = Queue("low", connection=redis, serializer=JSONSerializer)
    job = low.enqueue("taskqueue.call.week", of="2026-11-23")
    assert ids(call(claim=CALL + "1")) == [job.id]
    control = TypeControl(redis, job_types)
    control.change("week", Limits(concurrency=1))
    assert control.of("week").running == 1
    (held,) = submit(queue, 1)
    assert ids(call(claim=CALL + "2")) == []
    assert control.of("week").held == 1
    now = time.time()
    call([Outcome("finished", job.id, CALL + "1", "low", "week", now, now, ttl=100)])
    assert ids(call(claim=CALL + "3")) == [held]


def test_a_canceled_run_whose_horse_died_has_not_failed(
    call: SettleAndClaim, queue: TaskQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hooks.failures, "noted", lambda task, error: redis.rpush("test:failed", task.id))
    canceled, failed = submit(queue, 2, SubmitOptions(queue="low", attempts=1))
    worker = SettlesByRQ(["low"], name="one", connection=redis, job_class=RegisteredJob, serializer=JSONSerializer)
    tally = Tally()
    runs = AbandonedRuns(redis, call, ByRQ(worker, redis), 100, tally)
    for number, task in enumerate((canceled, failed)):
        call(claim=f"{CALL}{number}")
        if task == canceled:
            assert Operations(redis, failure_ttl_seconds=100).cancel(task) == "stopping"
        assert runs.settle(task, f"{CALL}{number}", Ending(How.HORSE_DIED, "killed by SIGKILL"))
    assert [queue.get(task).status for task in (canceled, failed)] == ["canceled", "failed"]
    assert dict(tally.by_type["week"].outcomes) == {"stopped": 1, "failed": 1}
    wait_until(lambda: redis.exists("test:failed"), what="the hook of the failed one, whose process came second")
    assert redis.lrange("test:failed", 0, -1) == [failed.encode()]
