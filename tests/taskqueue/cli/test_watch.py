"""`watch` prints the same over Redis and over HTTP, also where the connection breaks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.cli.by_http import HttpOperations
from taskqueue.cli.by_redis import RedisOperations
from taskqueue.cli.operations import Operations
from taskqueue.client import Client
from taskqueue.control.operations import Operations as TaskOperations
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import UnknownTask
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.tasks.log_lines import LogLine, write_lines
from tests.conftest import START_SECONDS, wait_until
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


@contextmanager
def shown_by(project: Path, file: Path, *arguments: str, code: int = 0) -> Iterator[Callable[[], str]]:
    """Run a command as a process that ends with `code`; yield a function that returns its output until now."""
    command = [sys.executable, "-m", "taskqueue", *arguments]
    with file.open("w") as out:
        process = subprocess.Popen(command, cwd=project, stdout=out)
    try:
        yield file.read_text
        assert process.wait(START_SECONDS) == code
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("run")
def test_progress_is_a_bar(
    queue: TaskQueue, redis: Redis, worker: Callable[[], RunningWorker], project: Path, tmp_path: Path
) -> None:
    worker()
    submit = ("submit", "steps", '{"count": 1, "pause": 60}', "--watch")
    with shown_by(project, tmp_path / "shown", *submit, code=1) as shown:
        line = f"steps processing [{'#' * 30}] 1/1 step 1\n"
        wait_until(lambda: line in shown(), what="the bar")
        (task_id,) = redis.zrange("tq:index", 0, -1)
        TaskOperations(redis, 60).cancel(task_id.decode())


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
    env.setattr("taskqueue.client.following.OUTAGE_SECONDS", 1.5)
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


@pytest.mark.usefixtures("run")
def test_while_a_task_waits_the_reason_is_shown(
    queue: TaskQueue, work: Callable[..., str], project: Path, tmp_path: Path
) -> None:
    task = queue.submit("generic", {})
    with shown_by(project, tmp_path / "shown", "watch", task.id) as shown:
        wait_until(lambda: "No worker takes" in shown(), what="the reason")
        work()
    reason = "generic queued: No worker takes tasks from the queue 'default'."
    assert shown().startswith(f"generic queued\n{reason}")
    assert f"{task.id}  generic  complete" in shown()
