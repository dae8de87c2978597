"""The counts of runs reach Redis while a long job runs."""

from collections.abc import Callable

from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import SLACK, wait_until
from tests.taskqueue.worker.stage import RunningWorker, until


def test_counts_reach_redis_while_a_long_job_runs(
    start: Callable[..., RunningWorker], queue: TaskQueue, redis: Redis
) -> None:
    start("--grace-seconds", "0")
    first, long = queue.submit("chatty", {"words": "x"}), queue.submit("long", {"seconds": 60})
    until(queue, long.id, "processing")
    wait_until(lambda: redis.hget("tq:totals", "chatty:finished") == b"1", 7 * SLACK, what="the counts")
    assert queue.get(first.id).status == "complete"
    assert queue.get(long.id).status == "processing"
