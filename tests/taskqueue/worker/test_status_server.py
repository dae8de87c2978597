"""A worker's `/healthz`, `/readyz` and `/metrics`: what they say, and when."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from rq.suspension import resume, suspend

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_worker
from taskqueue.worker import status_server
from tests.conftest import START_SECONDS, RedisServer, free_port, wait_until


def get(port: int, address: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", address)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Watched:
    """A real worker with a status port."""

    def __init__(self, project: Path, log: Path, url: str, *options: str) -> None:
        self.port = free_port()
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "worker.py", "--horses", "2", "--port", str(self.port), *options],
                cwd=project,
                env=os.environ | {"TASK_QUEUE_URL": url},
                stderr=out,
            )

    def get(self, address: str) -> tuple[int, str]:
        return get(self.port, address)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def children(self) -> list[int]:
        """Return the ids of the status server and then the work-horses."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def status(self, address: str) -> int:
        with suppress(OSError, http.client.HTTPException):
            return self.get(address)[0]
        return 0

    def is_ready(self) -> bool:
        return self.status("/readyz") == 200

    def metric(self, name: str) -> float | None:
        """Return the value of a line of /metrics, named with its labels."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(40)


@pytest.fixture
def watch(project: Path, tmp_path: Path, own_redis: RedisServer) -> Iterator[Callable[..., Watched]]:
    """Start a worker with a status port, which is stopped at the end of the test."""
    started: list[Watched] = []

    def start(*options: str) -> Watched:
        started.append(Watched(project, tmp_path / f"worker-{len(started)}.log", own_redis.url, *options))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


Watch = Callable[..., Watched]


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    with connect_for_worker(own_redis.url) as connection:
        yield connection


@pytest.fixture
def queue(redis: Redis, own_redis: RedisServer, job_types: JobTypes) -> TaskQueue:
    return TaskQueue(redis, Settings(redis_url=own_redis.url), job_types)


def test_a_worker_that_claims_jobs_is_alive_and_ready(watch: Watch) -> None:
    worker = watch()
    wait_until(worker.is_ready, what="the worker to be ready")
    assert worker.get("/healthz") == (200, "ok\n")
    assert worker.get("/")[0] == 404


def test_the_metrics_count_what_the_horses_have_run(watch: Watch, queue: TaskQueue) -> None:
    worker = watch()
    queue.submit("flaky", {"failures": 2})
    queue.submit("hopeless", {})
    ended = (
        'taskqueue_worker_attempts_total{outcome="complete",type="flaky"}',
        'taskqueue_worker_attempts_total{outcome="failed",type="hopeless"}',
    )
    wait_until(
        lambda: worker.is_ready() and all(worker.metric(name) for name in ended), what="the tasks to be counted"
    )
    assert worker.metric('taskqueue_worker_attempts_total{outcome="retried",type="flaky"}') == 2
    assert worker.metric('taskqueue_worker_attempts_total{outcome="failed",type="hopeless"}') == 1
    assert worker.metric('taskqueue_worker_attempt_seconds_count{type="flaky"}') == 3
    assert worker.metric('taskqueue_worker_wait_seconds_count{type="flaky"}') == 3
    assert worker.metric('taskqueue_worker_wait_seconds_bucket{le="+Inf",type="hopeless"}') == 1
    assert worker.metric("taskqueue_worker_horses") == 2
    assert worker.metric("taskqueue_worker_scheduler") == 1


def test_what_is_no_job_type_makes_no_metrics_of_its_own(watch: Watch, queue: TaskQueue, redis: Redis) -> None:
    worker = watch()
    task = queue.submit("generic", {})
    redis.hset(f"rq:job:{task.id}", "data", '["evil\\"} 1", null, [], {}]')
    wait_until(
        lambda: (
            worker.is_ready() and worker.metric('taskqueue_worker_attempts_total{outcome="failed",type="unknown"}')
        ),
        what="the job to be counted",
    )
    assert "evil" not in worker.get("/metrics")[1]


def test_a_worker_without_redis_is_alive_and_not_ready(watch: Watch, own_redis: RedisServer) -> None:
    own_redis.stop()
    worker = watch()
    wait_until(lambda: worker.status("/healthz") == 200, what="the worker to start")
    assert worker.get("/readyz") == (503, "The worker waits for Redis to answer.\n")
    own_redis.start()
    wait_until(worker.is_ready, what="the worker to be ready")
    own_redis.stop()
    wait_until(lambda: worker.get("/readyz") == (503, "Redis does not answer.\n"), what="the worker to miss Redis")
    assert worker.status("/healthz") == 200
    own_redis.start()
    wait_until(worker.is_ready, seconds=30, what="the worker to be ready again")


def test_while_rq_suspend_holds_it_is_not_ready(watch: Watch, redis: Redis) -> None:
    suspend(redis)
    worker = watch()
    wait_until(
        lambda: worker.status("/readyz") == 503 and "suspend" in worker.get("/readyz")[1], what="that it says so"
    )
    resume(redis)
    wait_until(worker.is_ready, what="the worker to be ready")


def test_a_worker_that_is_stopping_says_so_until_its_job_has_ended(
    watch: Watch, queue: TaskQueue, tmp_path: Path
) -> None:
    worker = watch()
    task = queue.submit("held", {"file": str(tmp_path / "go")})
    wait_until(lambda: queue.get(task.id).status == "processing", what="the job to begin")
    wait_until(worker.is_ready, what="the worker to say so")
    worker.process.terminate()
    wait_until(lambda: worker.status("/readyz") == 503, what="that it says so")
    assert worker.get("/readyz")[1] == "The worker is stopping.\n"
    (tmp_path / "go").touch()
    assert worker.process.wait(20) == 0
    assert queue.get(task.id).status == "complete"
    assert worker.status("/healthz") == 0


def test_a_loop_that_stands_still_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "SILENT_SECONDS", 0.5)
    port = free_port()
    server = status_server.StatusServer(port)
    server.keep()
    try:
        wait_until(lambda: get(port, "/healthz")[0] == 503, what="the silence to be noticed")
        assert "has hung for" in get(port, "/healthz")[1]
        server.status.note_loop()
        assert get(port, "/healthz")[0] == 200
    finally:
        server.stop()


def test_a_frozen_worker_gets_an_answer_all_the_same(watch: Watch) -> None:
    worker = watch()
    wait_until(worker.is_ready, what="the worker to be ready")
    worker.process.send_signal(signal.SIGSTOP)
    assert worker.metric("taskqueue_worker_loop_silent_seconds") is not None


def test_it_is_started_again_when_it_has_died_and_ends_with_its_worker(watch: Watch) -> None:
    worker = watch()
    wait_until(worker.is_ready, what="the worker to be ready")
    os.kill(worker.children()[0], signal.SIGKILL)
    wait_until(worker.is_ready, what="another one")
    worker.process.kill()
    wait_until(lambda: not worker.listens(), what="its end")


def test_no_work_horse_holds_its_port(watch: Watch) -> None:
    worker = watch()
    wait_until(worker.is_ready, what="the worker to be ready")
    wait_until(lambda: len(worker.children()) == 3, what="its processes")
    worker.process.send_signal(signal.SIGSTOP)  # so it starts no other status server
    assert len(worker.children()) == 3
    os.kill(worker.children()[0], signal.SIGKILL)
    wait_until(lambda: not worker.listens(), what="the port to be free")


def test_a_port_that_is_taken_stops_the_start(watch: Watch) -> None:
    with socket.create_server(("", free_port())) as other:
        worker = watch("--port", str(other.getsockname()[1]))
        assert worker.process.wait(START_SECONDS) == 2
    assert "WORKER_PORT: port" in worker.log.read_text()


def test_a_request_that_never_ends_holds_up_nobody(watch: Watch) -> None:
    worker = watch()
    wait_until(worker.is_ready, what="the worker to be ready")
    with socket.create_connection(("127.0.0.1", worker.port), 5) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        assert worker.get("/healthz")[0] == 200
