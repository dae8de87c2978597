"""What `explain` says about tasks that wait for others: positions and counts, in singular and plural."""

import pytest
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer, Explanation
from taskqueue.settings import Settings
from taskqueue.store.keys import PAUSED, held_key, limit_key

LIMITED = "two-at-a-time"


@pytest.fixture
def explainer(redis: Redis, queue: TaskQueue, settings: Settings) -> Explainer:
    return Explainer(redis, queue, ClusterState(redis, settings.queues), settings)


@pytest.fixture
def worker(redis: Redis) -> Worker:
    """A worker that is registered for all queues, and takes nothing."""
    worker = Worker(["high", "default", "low"], connection=redis, serializer=JSONSerializer)
    worker.register_birth()
    return worker


def hold(redis: Redis, queue: TaskQueue, count: int) -> list[str]:
    """Submit tasks of a limited type, and hold them back as the worker's script does."""
    ids = [queue.submit(LIMITED, {}).id for _ in range(count)]
    for task_id in ids:
        redis.lrem("rq:queue:default", 1, task_id)
        redis.rpush(held_key(LIMITED), task_id)
        redis.hset(f"rq:job:{task_id}", "status", "rate_limited")
    return ids


def run(redis: Redis, count: int) -> None:
    redis.delete(f"{limit_key(LIMITED)}:running")
    redis.sadd(f"{limit_key(LIMITED)}:running", *(f"job-{number}:1" for number in range(count)))


def codes(explanation: Explanation) -> list[str]:
    return [reason.code for reason in explanation.reasons]


@pytest.mark.usefixtures("worker")
def test_how_many_tasks_are_ahead(explainer: Explainer, queue: TaskQueue) -> None:
    first, second, third = (queue.submit("generic", {}).id for _ in range(3))
    messages = [explainer.explain(task_id).reasons[0].message for task_id in (first, second, third)]
    assert [message.partition(";")[0] for message in messages] == [
        "No task is ahead of it",
        "1 task is ahead of it, and 1 worker takes tasks from its queue 'default'",
        "2 tasks are ahead of it, and 1 worker takes tasks from its queue 'default'",
    ]


@pytest.mark.usefixtures("worker")
def test_a_held_task_is_promised_nothing_that_nobody_knows(
    explainer: Explainer, queue: TaskQueue, redis: Redis
) -> None:
    first, second, third = hold(redis, queue, 3)
    run(redis, 1)  # of two: a place is free, and the next look of a worker gives it away
    explanations = [explainer.explain(task_id) for task_id in (first, second, third)]
    assert [codes(explanation) for explanation in explanations] == [["limit"]] * 3
    assert [explanation.ahead for explanation in explanations] == [0, 1, 2]
    running = "A limit of its type holds it; 1 task of its type is running (concurrency=2)"
    assert [explanation.reasons[0].message for explanation in explanations] == [
        f"{running}; no held task is ahead of it.",
        f"{running}; 1 held task is ahead of it.",
        f"{running}; 2 held tasks are ahead of it.",
    ]


@pytest.mark.usefixtures("worker")
def test_a_held_task_waits_for_those_that_run(explainer: Explainer, queue: TaskQueue, redis: Redis) -> None:
    _, second = hold(redis, queue, 2)
    run(redis, 2)
    explanation = explainer.explain(second)
    assert codes(explanation) == ["concurrency"]
    assert explanation.reasons[0].message == (
        "2 tasks of its type are running, and no more may run at a time (concurrency=2);"
        " 1 held task is ahead of it."
    )


def test_a_held_task_needs_a_worker_and_an_open_queue_too(
    explainer: Explainer, queue: TaskQueue, redis: Redis
) -> None:
    (task_id,) = hold(redis, queue, 1)
    redis.sadd(PAUSED, "default")
    assert codes(explainer.explain(task_id)) == ["queue-paused", "no-worker", "limit"]


@pytest.mark.usefixtures("worker")
def test_where_the_position_is_not_found_it_is_not_guessed(
    explainer: Explainer, queue: TaskQueue, redis: Redis
) -> None:
    task = queue.submit("generic", {})
    redis.delete("rq:queue:default")  # a worker is just taking it
    explanation = explainer.explain(task.id)
    assert (codes(explanation), explanation.ahead) == (["place-unknown"], None)


@pytest.mark.usefixtures("worker")
def test_a_queued_task_that_could_not_begin_because_of_a_limit_says_so(
    explainer: Explainer, queue: TaskQueue, redis: Redis
) -> None:
    run(redis, 1)
    first, second, third = (queue.submit(LIMITED, {}).id for _ in range(3))
    assert codes(explainer.explain(first)) == ["next"]
    explanation = explainer.explain(third)
    assert codes(explanation) == ["concurrency"]
    assert "1 task of its type is running, and no more may run at a time (concurrency=2);" in words(explanation)
    assert words(explanation).endswith("2 tasks of its type are ahead of it.")
    assert explanation.seconds is None
    run(redis, 2)
    assert codes(explainer.explain(first)) == ["concurrency"]
    assert codes(explainer.explain(second)) == ["concurrency"]


def words(explanation: Explanation) -> str:
    return " ".join(reason.message for reason in explanation.reasons)
