"""gunicorn as the image starts it: a request that waits delays no other."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.tasks.changes import publish_change
from tests.conftest import SLACK, Figure, RedisServer, wait_until
from tests.deploy.conftest import Web

STREAMS = 100  # more than any sensible number of threads


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    """A connection to a Redis that a test may freeze."""
    with connect_for_requests(own_redis.url) as connection:
        yield connection


@pytest.fixture
def web(own_redis: RedisServer, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("TASK_QUEUE_URL", own_redis.url)
    monkeypatch.setenv("WEB_PROCESSES", "1")
    server = Web(project, log_file=tmp_path / "web.log")
    wait_until(server.answers, what="the web server")
    yield server
    own_redis.send_signal(signal.SIGCONT)
    server.stop()


@pytest.fixture
def task_id(redis: Redis, own_redis: RedisServer, job_types: JobTypes) -> str:
    return TaskQueue(redis, Settings(redis_url=own_redis.url), job_types).submit("generic", {}).id


Open = Callable[[str], HTTPResponse]


@pytest.fixture
def follow(web: Web) -> Iterator[Open]:
    """Open an event stream of a task, and read its first event."""
    with ExitStack() as stack:

        def open_stream(task_id: str) -> HTTPResponse:
            connection = HTTPConnection("127.0.0.1", web.port, timeout=20)
            stack.callback(connection.close)
            connection.request("GET", f"/tasks/{task_id}/events")
            response = connection.getresponse()
            assert next_event(response) == b"event: status\n"
            return response

        yield open_stream


def next_event(response: HTTPResponse) -> bytes:
    """Return the line that names the next event; b"" at the end of the stream."""
    return next((line for line in response if line.startswith(b"event: ")), b"")


def test_a_process_prepares_the_console_before_anybody_looks(web: Web, redis: Redis) -> None:
    wait_until(lambda: "cmdstat_zcard" in redis.info("commandstats"), what="the look at the failures")


def test_many_streams_leave_room_for_requests_and_all_hear_what_happens(
    web: Web, redis: Redis, task_id: str, follow: Open
) -> None:
    streams = [follow(task_id) for _ in range(STREAMS)]
    assert web.answers()
    redis.hset(f"rq:job:{task_id}", "tq:progress", '{"done": 1, "total": 2, "message": "", "at": ""}')
    publish_change(redis, task_id, "progress")
    assert [next_event(stream) for stream in streams] == [b"event: progress\n"] * STREAMS


def test_streams_end_when_the_server_stops(web: Web, task_id: str, follow: Open) -> None:
    stream = follow(task_id)
    began = time.monotonic()
    web.process.terminate()
    assert next_event(stream) == b""
    web.process.wait(40)
    assert time.monotonic() - began < 24  # it would wait 25 seconds for a stream that does not end


def test_requests_that_wait_for_a_redis_that_hangs_hold_up_no_health_check(
    web: Web, own_redis: RedisServer, task_id: str, figure: Figure
) -> None:
    own_redis.send_signal(signal.SIGSTOP)
    waiting = [HTTPConnection("127.0.0.1", web.port, timeout=20) for _ in range(STREAMS)]
    for connection in waiting:
        connection.request("GET", f"/tasks/{task_id}")
    began = time.monotonic()
    assert web.answers()
    seconds = time.monotonic() - began
    figure(f"{STREAMS} requests wait for a Redis that hangs: /healthz answers", seconds)
    assert seconds < 1 * SLACK  # each of the others waits for 5 seconds
    for connection in waiting:
        with closing(connection), connection.getresponse() as response:
            assert response.status == 503


@pytest.mark.parametrize("processes", [1, 2])
def test_it_stops_at_once_though_its_processes_have_only_begun(
    project: Path, tmp_path: Path, env: pytest.MonkeyPatch, processes: int
) -> None:
    starting = Web(project, log_file=tmp_path / "web.log")
    try:
        # The processes log this before they have signal handlers of their own.
        wait_until(lambda: starting.log().count("Booting worker") >= processes, what="the processes")
        starting.process.terminate()
        assert starting.process.wait(24) == 0  # running requests are given 25 s
    finally:
        starting.process.kill()
        starting.process.wait()


@pytest.mark.parametrize("prefix", ["/jobs", "/jobs/"])
def test_under_script_name_probes_need_no_prefix(
    project: Path, tmp_path: Path, env: pytest.MonkeyPatch, prefix: str
) -> None:
    env.setenv("SCRIPT_NAME", prefix)
    server = Web(project, log_file=tmp_path / "web.log")
    try:
        wait_until(server.answers, what="the web server")  # without the prefix
        assert server.get("/readyz") == server.get("/jobs/readyz") == {"status": "ok"}
        assert server.get("/jobs/")["docs"] == "/jobs/docs"
        assert server.get("/")["docs"] == "/docs"
        assert server.get("/jobsx/readyz")["status"] == server.get("/readyzjobs/")["status"] == 404
    finally:
        server.stop()
    assert "Traceback" not in server.log()


def test_the_image_listens_to_ipv4_and_ipv6(project: Path, tmp_path: Path, env: pytest.MonkeyPatch) -> None:
    env.setenv("WEB_PROCESSES", "1")
    server = Web(project, log_file=tmp_path / "web.log", host="[::]")
    try:
        wait_until(server.answers, what="the web server, by IPv4")
        if socket.has_dualstack_ipv6():
            with closing(HTTPConnection("::1", server.port, timeout=10)) as connection:
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == 200
    finally:
        server.stop()


WITHOUT_IPV6 = """
import runpy, socket
addresses = runpy.run_path("taskqueue/web/gunicorn_conf.py")["addresses"]
def refuse(*_, **__): raise OSError(97, "Address family not supported by protocol")
socket.socket = refuse
print(addresses("[::]:8000"), addresses("127.0.0.1:8000"))
"""


def test_a_machine_without_ipv6_gets_ipv4(project: Path, env: pytest.MonkeyPatch) -> None:
    """In a process of its own, because gunicorn's settings patch the modules of theirs."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_IPV6], cwd=project, text=True, check=True, stdout=subprocess.PIPE
    )
    assert done.stdout == "['0.0.0.0:8000'] ['127.0.0.1:8000']\n"
