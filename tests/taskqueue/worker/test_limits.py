"""At most so many jobs of a type run, and begin in a time, across all workers."""

import os
import signal
import time
from collections.abc import Callable
from itertools import accumulate

from redis import Redis
from redis.client import Monitor

from taskqueue.control.operations import Operations
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.limits import Limits, declare, held_position, limit_usage
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.tasks.listing import Listing
from taskqueue.tasks.task_filter import TaskFilter
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]
TWO = Limits(concurrency=2)
END = "the-end-of-the-test"


def notes(redis: Redis, name: str) -> list[tuple[float, dict[str, str]]]:
    """Return the notes of the jobs: the time in seconds, and the text."""
    return [
        (int(at.partition(b"-")[0]) / 1000, {key.decode(): value.decode() for key, value in fields.items()})
        for at, fields in redis.xrange(f"test:{name}")
    ]


def most_at_a_time(redis: Redis) -> int:
    return max(accumulate(int(fields["change"]) for _, fields in notes(redis, "two-at-a-time")))


def claims(monitor: Monitor) -> list[tuple[float, str]]:
    """When each job was claimed, by Redis's clock, and its id: a job's own note may be much later."""
    claimed = []
    for command in monitor.listen():
        name, key, *values = [*command["command"].split(" "), ""]
        if name == "ECHO" and key == END:
            break
        if name == "ZADD" and key.startswith("rq:wip:") and values[0] != "XX":
            claimed.append((float(command["time"]), values[1].partition(":")[0]))
    return claimed


def submit_two(queue: TaskQueue, count: int, seconds: float) -> list[str]:
    return [queue.submit("two-at-a-time", {"seconds": seconds, "number": number}).id for number in range(count)]


def test_no_more_run_at_the_same_time_than_may_and_they_begin_in_their_order(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer
) -> None:
    tasks = submit_two(queue, 12, 0.1)
    with Redis.from_url(server.url, socket_timeout=None).monitor() as monitor:
        for _ in range(2):
            start("--horses", "3")
        for task in tasks:
            until(queue, task, "complete")
        redis.echo(END)
        assert [task for _, task in claims(monitor)] == tasks
    assert most_at_a_time(redis) == 2
    assert limit_usage(redis, "two-at-a-time", TWO).running == 0
    assert set(redis.scan_iter("tq:limit:*")) == {b"tq:limit:two-at-a-time", b"tq:limit:three-a-second"}


def test_other_jobs_are_not_held_up_and_no_worker_asks_again_and_again(
    start: Start, queue: TaskQueue, redis: Redis, figure: Figure
) -> None:
    start("--horses", "4", "--grace-seconds", "0")
    tasks = submit_two(queue, 30, 60)
    other = queue.submit("generic", {})
    seconds = until(queue, other.id, "complete", seconds=2 * SLACK)
    figure("a job type is at its limit: a job of another type is complete", seconds)
    wait_until(
        lambda: limit_usage(redis, "two-at-a-time", TWO).held == 28, 2 * SLACK, what="the others to be held"
    )
    held = queue.get(tasks[5])
    assert (held.status, held.held_by_limit, registries_of(redis, held.id)) == ("queued", True, [])
    assert held_position(redis, "two-at-a-time", held.id) == 3
    settings = queue.settings
    explained = Explainer(redis, queue, ClusterState(redis, settings.queues), settings).explain(held.id)
    assert (explained.ahead, [reason.code for reason in explained.reasons]) == (3, ["concurrency"])
    found = Listing(redis, settings.queues).page(TaskFilter(status=("queued",)), 50).tasks
    assert {task.id for task in found} == {task for task in tasks if queue.get(task).status == "queued"}
    assert not queue.get(tasks[0]).held_by_limit
    before, began = redis.info("commandstats")["cmdstat_evalsha"]["calls"], time.monotonic()
    time.sleep(1)
    calls = redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls / (time.monotonic() - began) < 30


def test_the_place_of_a_horse_that_dies_goes_to_the_next(start: Start, queue: TaskQueue, redis: Redis) -> None:
    worker = start("--horses", "2", "--grace-seconds", "0")
    first, second = submit_two(queue, 2, 60)
    wait_until(lambda: len(notes(redis, "two-at-a-time")) == 2, what="both to begin")
    third = queue.submit("two-at-a-time", {}).id
    for horse in worker.horses():
        os.kill(horse, signal.SIGKILL)
    # Each is retried, but the third was before them.
    until(queue, third, "complete", seconds=10 * SLACK)
    assert {queue.get(task).attempt for task in (first, second)} <= {1, 2}


def test_a_job_that_is_given_back_keeps_its_place(start: Start, queue: TaskQueue, redis: Redis) -> None:
    worker = start("--horses", "3", "--grace-seconds", "0")
    tasks = submit_two(queue, 4, 60)
    wait_until(lambda: limit_usage(redis, "two-at-a-time", TWO).held == 2, what="two to be held")
    running = {task for task in tasks if queue.get(task).status == "processing"}
    worker.process.terminate()
    assert worker.process.wait(20) == 0
    assert {task.decode() for task in redis.lrange("rq:queue:default", 0, -1)} == running
    assert limit_usage(redis, "two-at-a-time", TWO).running == 0
    start("--horses", "3", "--grace-seconds", "0")
    wait_until(lambda: limit_usage(redis, "two-at-a-time", TWO).running == 2, what="two to run")
    assert {task for task in tasks if queue.get(task).status == "processing"} == running


def test_a_held_task_can_be_canceled_and_deleted(start: Start, queue: TaskQueue, redis: Redis) -> None:
    start("--horses", "3", "--grace-seconds", "0")
    tasks = submit_two(queue, 5, 60)
    wait_until(lambda: limit_usage(redis, "two-at-a-time", TWO).held == 3, what="three to be held")
    first, second, third = (task.decode() for task in redis.lrange("tq:limit:two-at-a-time:held", 0, -1))
    operations = Operations(redis, 1000)
    assert operations.cancel(first) == "canceled"
    operations.delete(second)
    assert limit_usage(redis, "two-at-a-time", TWO).held == 1
    running = next(task for task in tasks if queue.get(task).status == "processing")
    operations.cancel(running)
    until(queue, third, "processing")
    assert queue.get(first).status == "canceled"


def test_what_rqs_own_code_settles_gives_its_place_back(start: Start, queue: TaskQueue) -> None:
    tasks = submit_two(queue, 5, 0)
    after = [queue.submit("generic", {}, SubmitOptions(depends_on=(task,))).id for task in tasks]
    start("--horses", "3")
    for task in (*tasks, *after):
        until(queue, task, "complete")


def test_no_more_begin_in_a_time_than_may_and_they_begin_in_their_order(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer
) -> None:
    for _ in range(2):
        start()
    with Redis.from_url(server.url, socket_timeout=None).monitor() as monitor:
        tasks = [queue.submit("three-a-second", {"number": number}).id for number in range(7)]
        for task in tasks:
            until(queue, task, "complete")
        redis.echo(END)
        claimed = claims(monitor)
    assert [task for _, task in claimed] == tasks
    times = [at for at, _ in claimed]
    assert all(later - earlier >= 1 for earlier, later in zip(times, times[3:], strict=False))
    assert times[-1] - times[0] < 6 * SLACK


def test_a_limit_that_is_taken_away_lets_all_go_on(
    start: Start, queue: TaskQueue, redis: Redis, job_types: JobTypes
) -> None:
    start("--horses", "4", "--grace-seconds", "0")
    submit_two(queue, 4, 60)
    wait_until(lambda: limit_usage(redis, "two-at-a-time", TWO).held == 2, what="two to be held")
    declare(redis, {"two-at-a-time": job_types["generic"]})  # as newer code does
    wait_until(lambda: redis.zcard("rq:wip:default") == 4, what="all to run")


def test_a_paused_type_waits_through_restarts_and_goes_on_within_a_second(
    start: Start, queue: TaskQueue, redis: Redis, job_types: JobTypes
) -> None:
    control = TypeControl(redis, job_types)
    control.pause("generic")
    start()
    tasks = [queue.submit("generic", {}).id for _ in range(3)]
    until(queue, queue.submit("week", {"of": "2026-11-23"}).id, "complete")
    start()
    until(queue, queue.submit("week", {"of": "2026-11-23"}, SubmitOptions(queue="low")).id, "complete")
    assert [queue.get(task).status for task in tasks] == ["queued"] * 3
    control.resume("generic")
    wait_until(
        lambda: all(queue.get(task).status == "complete" for task in tasks), SLACK, what="the tasks to be complete"
    )


def test_a_rate_that_is_changed_while_jobs_run_holds_within_a_second(
    start: Start, queue: TaskQueue, redis: Redis, job_types: JobTypes
) -> None:
    start()
    until(queue, queue.submit("generic", {}).id, "complete")
    control = TypeControl(redis, job_types)
    control.change("generic", Limits(rate="1/hour"))
    tasks = [queue.submit("generic", {}).id for _ in range(3)]
    wait_until(lambda: control.of("generic").held == 2, SLACK, what="two to be held")
    assert queue.get(tasks[1]).held_by_limit
    control.reset("generic")
    wait_until(
        lambda: all(queue.get(task).status == "complete" for task in tasks), SLACK, what="the tasks to be complete"
    )
