"""`watch` prints the same over Redis and over HTTP, also where the connection breaks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from taskqueue.cli.by_http import HttpOperations
from taskqueue.cli.by_redis import RedisOperations
from taskqueue.cli.operations import Operations
from taskqueue.client import Client
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.tasks.log_lines import LogLine, write_lines
from tests.conftest import wait_until
from tests.taskqueue.cli.stage import SECRET, Run, breaking
from tests.taskqueue.worker.stage import RunningWorker

LINES = ["run 1", "printed 1", "no end of line", "run 2", "printed 2", "no end of line"]


def over_http(url: str) -> HttpOperations:
    return HttpOperations(Client(url, key=SECRET, retry_seconds=0))


@pytest.fixture(params=["redis", "http"])
def operations(request: pytest.FixtureRequest, settings: Settings, job_types: JobTypes) -> Operations:
    if request.param == "redis":
        return RedisOperations(settings, job_types)
    return over_http(request.getfixturevalue("api"))


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client that has lost its connection connect again at once."""
    monkeypatch.setattr("taskqueue.web.api.events.RECONNECT_MILLISECONDS", 0)


def test_what_happens_is_told_as_it_happens(
    operations: Operations, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("talkative", {"pause": 0.5})
    seen = []
    with ThreadPoolExecutor(1) as pool:
        for event, row in operations.follow(task.id):
            if not seen:
                pool.submit(work)
            seen.append((event, row["line"] if event == "log" else row["status"]))
    assert (seen[0], seen[-1]) == (("status", "queued"), ("status", "complete"))
    assert [what for event, what in seen if event == "log"] == LINES
    assert seen.index(("status", "processing")) < seen.index(("log", "run 1"))


@pytest.mark.usefixtures("soon_again")
def test_a_long_task_is_followed_beyond_the_end_of_a_stream(
    operations: Operations, queue: TaskQueue, work: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.monitor.events.MAX_STREAM_SECONDS", 0.1)
    task = queue.submit("talkative", {"pause": 0.5})
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        seen = list(operations.follow(task.id))
    assert [row["line"] for event, row in seen if event == "log"] == LINES
    assert seen[-1][1]["status"] == "complete"


def test_over_http_it_looks_as_over_redis(
    here: Run, api: str, env: pytest.MonkeyPatch, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("talkative", {})
    work()
    over_redis = here("watch", task.id)
    env.setenv("TASK_QUEUE_KEY", SECRET)
    over_http = here("--url", api, "watch", task.id)
    assert over_http == over_redis
    assert over_http.out.startswith("  WARNING run 1\n  stdout  printed 1\n  stderr  no end of line\n")
    assert f"{task.id}  talkative  complete\n" in over_http.out


def test_progress_is_a_bar(run: Run, worker: Callable[[], RunningWorker]) -> None:
    worker()
    shown = run("submit", "steps", '{"count": 1, "pause": 1}', "--watch").out
    assert f"steps processing [{'#' * 30}] 1/1 step 1\n" in shown


def test_a_program_is_told_the_end_alone(run: Run, queue: TaskQueue, work: Callable[..., str]) -> None:
    task = queue.submit("chatty", {"words": "hello"})
    work()
    done = run("--json", "watch", task.id)
    assert (done.code, done.out.count("\n"), '"status": "complete"' in done.out) == (0, 1, True)


def test_a_task_that_is_deleted_meanwhile_is_told(operations: Operations, queue: TaskQueue, redis: Redis) -> None:
    task = queue.submit("generic", {})
    events = operations.follow(task.id)
    assert next(events)[0] == "status"
    redis.delete(f"rq:job:{task.id}")
    with pytest.raises(UnknownTask, match="There is no task"):
        next(events)


@pytest.mark.usefixtures("soon_again")
def test_where_the_connection_breaks_nothing_is_missed_or_told_twice(
    api: str, queue: TaskQueue, work: Callable[..., str]
) -> None:
    task = queue.submit("talkative", {})
    work()
    whole = list(over_http(api).follow(task.id))
    plan = [400, None, 100_000]  # in the middle of an event; a proxy whose web server is away; all the rest
    with breaking(api, plan) as (proxy, received):
        assert list(over_http(proxy).follow(task.id)) == whole
    assert received[0] == ""
    assert received[1] == received[2] != ""


@pytest.mark.usefixtures("soon_again")
def test_a_web_server_that_stays_away_is_told(
    here: Run, api: str, env: pytest.MonkeyPatch, queue: TaskQueue, work: Callable[..., str]
) -> None:
    env.setenv("TASK_QUEUE_KEY", SECRET)
    env.setattr("taskqueue.client.following.OUTAGE_SECONDS", 0.3)
    task = queue.submit("generic", {})
    work()
    with breaking(api, [60]) as (proxy, received):
        done = here("--url", proxy, "watch", task.id)
    assert (done.code, len(received) > 2) == (2, True)
    assert done.err.endswith("answers 502, but is not this API. Start the web server behind it.\n")


def test_a_job_cannot_give_commands_to_the_terminal(
    run: Run, queue: TaskQueue, redis: Redis, work: Callable[..., str]
) -> None:
    task = queue.submit("chatty", {"words": "hello"})
    work()
    write_lines(redis, task.id, 1, [LogLine(0, "INFO", "\033]0;pwned\007")], ttl=60)
    done = run("watch", task.id)
    assert "\033" not in done.out
    assert "\N{REPLACEMENT CHARACTER}]0;pwned\N{REPLACEMENT CHARACTER}" in done.out


def test_while_a_task_waits_the_reason_is_shown(
    run: Run, queue: TaskQueue, redis: Redis, work: Callable[..., str]
) -> None:
    task = queue.submit("generic", {})

    def work_when_it_is_followed() -> None:
        wait_until(lambda: redis.pubsub_numsub(f"tq:task:{task.id}")[0][1], what="the subscription")
        work()  # a worker takes a second to start

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_when_it_is_followed)
        done = run("watch", task.id)
        working.result()
    assert done.out.startswith("generic queued\ngeneric queued: No worker takes tasks from the queue 'default'.")
    assert (done.code, f"{task.id}  generic  complete" in done.out) == (0, True)
