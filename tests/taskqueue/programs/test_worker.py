"""`python worker.py`: its start, its help, its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from tests.conftest import RedisServer, free_port, wait_until

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def project(whole_project: Path) -> Path:
    """The worker has all job types: some have settings of their own."""
    return whole_project


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a worker with these variables; its log goes to `tmp_path/log`."""
    started: list[subprocess.Popen[str]] = []

    def start_worker(*options: str, **variables: str) -> subprocess.Popen[str]:
        with (tmp_path / "log").open("w") as log:
            command = [sys.executable, "worker.py", *options]
            process = subprocess.Popen(command, cwd=project, env=os.environ | variables, stderr=log, text=True)
        started.append(process)
        return process

    yield start_worker
    for process in started:
        process.kill()
        process.wait()


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "log").read_text()


def test_help_tells_the_options() -> None:
    done = subprocess.run([sys.executable, "worker.py", "--help"], capture_output=True, text=True, check=True)
    assert {"--queues", "--burst", "--name"} <= set(done.stdout.replace(",", " ").split())
    assert "TASK_QUEUE_URL" in done.stdout


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({"RESULT_TTL_SECONDS": "soon"}, [], "RESULT_TTL_SECONDS must be a whole number of seconds, got 'soon'"),
        ({"SMTP_URL": "mail.example.com"}, [], "SMTP_URL must start with smtp:// or smtps://"),
        ({}, ["--queues", "high,"], "--queues must be names with commas between them"),
    ],
)
def test_a_bad_setting_stops_the_start_by_name(
    start: Start, tmp_path: Path, variables: dict[str, str], options: list[str], message: str
) -> None:
    assert start(*options, **variables).wait(20) == 2
    assert f"worker.py: {message}" in log_of(tmp_path)


def test_a_redis_that_refuses_the_address_stops_the_start(
    shared_redis: RedisServer, start: Start, tmp_path: Path
) -> None:
    assert start(TASK_QUEUE_URL=shared_redis.url.replace("/0", "/99")).wait(20) == 2
    assert log_of(tmp_path) == "worker.py: TASK_QUEUE_URL: Redis refused: DB index is out of range\n"


def test_a_worker_waits_for_a_redis_that_comes_late(
    own_redis: RedisServer, start: Start, tmp_path: Path, job_types: JobTypes
) -> None:
    own_redis.stop()
    start(TASK_QUEUE_URL=own_redis.url)
    wait_until(lambda: "Redis does not answer yet" in log_of(tmp_path), what="the worker to say that it waits")
    own_redis.start()
    with connect_for_requests(own_redis.url) as connection:
        queue = TaskQueue(connection, Settings(redis_url=own_redis.url), job_types)
        task = queue.submit("generic", {})
        wait_until(lambda: queue.get(task.id).status == "complete", what="the task")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_when_it_is_asked(
    redis: Redis, settings: Settings, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    worker = start(TASK_QUEUE_URL=settings.redis_url)
    wait_until(lambda: redis.scard("rq:workers") == 1, what="the worker")
    worker.send_signal(number)
    assert worker.wait(20) == 0
    assert "has stopped" in log_of(tmp_path)
    assert redis.scard("rq:workers") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_the_worker_forks_ends_it(project: Path, number: signal.Signals) -> None:
    """It forks the process that serves its status, and then waits for a Redis that never comes."""
    program = (
        "import os, sys, taskqueue.programs.worker as worker;"
        f"os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), {number.value}));"
        f"sys.exit(worker.main(['--port', '{free_port()}']))"
    )
    env = os.environ | {"TASK_QUEUE_URL": f"redis://127.0.0.1:{free_port()}/0"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=env, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_that_is_asked_to_stop_finishes_its_job(
    queue: TaskQueue, settings: Settings, start: Start
) -> None:
    task = queue.submit("slow", {"seconds": 0.7})
    worker = start(TASK_QUEUE_URL=settings.redis_url)
    wait_until(lambda: queue.get(task.id).status == "processing", what="the job to begin")
    worker.terminate()
    assert worker.wait(10) == 0
    assert queue.get(task.id).status == "complete"
