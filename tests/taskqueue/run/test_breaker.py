"""What counts as a failure of a host, and what a job sees while nobody asks it."""

import asyncio
import errno
import logging
import smtplib
import socket
import threading
from collections.abc import Iterator

import pytest
import urllib3
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import HostPaused, PermanentFailure
from taskqueue.run.breaker import check, reaching
from taskqueue.run.outbound import OutboundSettings, get, post
from taskqueue.store.connection import connect_for_worker
from taskqueue.tasks.running import set_running_job
from taskqueue.worker.job import RegisteredJob
from tests.conftest import free_port

LOCAL = OutboundSettings.read({"OUTBOUND_ALLOW": "127.0.0.1"})


@pytest.fixture
def in_a_job(queue: TaskQueue, redis: Redis) -> Iterator[None]:
    """The test is the code of a job that our worker runs."""
    task = queue.submit("generic", {})
    set_running_job(RegisteredJob.fetch(task.id, redis, JSONSerializer))
    yield
    set_running_job(None)


def caused(outer: Exception, cause: BaseException) -> Exception:
    outer.__cause__ = cause
    return outer


FAILURES = {
    "did not answer in time": TimeoutError("timed out"),
    "refused the connection": caused(ConnectionError("no"), ConnectionRefusedError()),
    "has a name that cannot be resolved": caused(ConnectionError("no"), socket.gaierror()),
    "is on a network that cannot be reached": OSError(errno.EHOSTUNREACH, "no route"),
}


@pytest.mark.usefixtures("in_a_job")
class TestInAJob:
    @pytest.mark.parametrize("why", FAILURES)
    def test_a_host_that_cannot_be_reached_is_left_alone(self, why: str) -> None:
        with pytest.raises(type(FAILURES[why])), reaching("ldap.example", 636):
            raise FAILURES[why]
        with pytest.raises(HostPaused) as raised, reaching("ldap.example", 636):
            pytest.fail("the block runs")
        assert str(raised.value).startswith(f"The host ldap.example:636 {why} at 20")
        assert str(raised.value).endswith("; next try in 5 s.")
        assert raised.value.host == "other:ldap.example:636"
        assert 4 < raised.value.seconds <= 6.25
        with pytest.raises(HostPaused):
            check("LDAP.example", 636)

    @pytest.mark.parametrize(
        "error",
        [
            PermanentFailure("no such user"),
            smtplib.SMTPResponseException(451, "later"),
            ConnectionResetError("one odd message must not stop all others"),
            JobTimeoutException("a client gave the task too little time"),
            ValueError("a bug"),
        ],
    )
    def test_what_is_no_fault_of_the_host_changes_nothing(self, error: Exception, redis: Redis) -> None:
        with pytest.raises(type(error)), reaching("ldap.example", 636):
            raise error
        check("ldap.example", 636)
        assert redis.keys("tq:host*") == []

    def test_a_host_that_answers_again_is_asked_by_all(self, redis: Redis) -> None:
        with pytest.raises(TimeoutError), reaching("ldap.example", 636):
            raise TimeoutError
        redis.hset("tq:host:other:ldap.example:636", "until", 1)
        with reaching("ldap.example", 636):
            with pytest.raises(HostPaused, match="one task is asking again") as raised:
                check("ldap.example", 636)
            assert 2 <= raised.value.seconds <= 10
        check("ldap.example", 636)

    @pytest.mark.parametrize(
        "error",
        [JobTimeoutException("too little time"), HostPaused("B", 9, "other:b:1"), asyncio.CancelledError()],
    )
    def test_a_job_that_is_interrupted_says_nothing_of_a_host_that_has_failed(
        self, redis: Redis, error: BaseException
    ) -> None:
        with pytest.raises(TimeoutError), reaching("ldap.example", 636):
            raise TimeoutError
        redis.hset("tq:host:other:ldap.example:636", "until", 1)
        with pytest.raises(type(error)), reaching("ldap.example", 636):
            raise error
        with pytest.raises(HostPaused, match="one task is asking again"):
            check("ldap.example", 636)

    def test_a_coroutine_may_await_in_the_block(self) -> None:
        async def ask() -> str:
            with reaching("ldap.example", 636):
                await asyncio.sleep(0)
                return "answer"

        assert asyncio.run(ask()) == "answer"

    def test_get_and_post_are_kept_from_a_host_that_refuses_and_no_secret_is_kept(
        self, redis: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        port = free_port()
        url = f"http://127.0.0.1:{port}/hook/hunter2?token=hunter2"
        with pytest.raises(ConnectionError):
            post(url, b"", settings=LOCAL, headers={}, kind="callback")
        with pytest.raises(HostPaused, match=f"The receiver of callbacks 127.0.0.1:{port} refused the connection"):
            post(url, b"", settings=LOCAL, headers={}, kind="callback")
        feed = {"settings": LOCAL, "limit_bytes": 9, "limit_seconds": 9, "kind": "feed"}
        with pytest.raises(ConnectionError), get(url, **feed):
            pass
        with pytest.raises(HostPaused) as raised, get(url, **feed):
            pass
        kept = {key: redis.hgetall(key) for key in redis.keys("tq:host:*")}
        assert sorted(kept) == [
            f"tq:host:callback:127.0.0.1:{port}".encode(),
            f"tq:host:feed:127.0.0.1:{port}".encode(),
        ]
        assert "hunter2" not in f"{kept} {raised.value} {caplog.text}"

    def test_a_name_that_cannot_be_resolved_is_a_failure(self) -> None:
        def resolve(host: str, port: int) -> list[str]:
            raise caused(ConnectionError("cannot be resolved"), socket.gaierror())

        for error in (ConnectionError, HostPaused):
            with pytest.raises(error):
                post("http://hooks.example/", b"", settings=LOCAL, headers={}, resolve=resolve)

    def test_a_feed_that_stops_in_the_middle_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("taskqueue.run.outbound.READ_TIMEOUT_SECONDS", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            options = {"settings": LOCAL, "limit_bytes": 1000, "limit_seconds": 9, "kind": "feed"}
            connections = []

            def serve() -> None:
                connection, _ = server.accept()
                connections.append(connection)
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(ConnectionError, match="broke off"), get(url, **options) as answer:
                list(answer.chunks())
            thread.join()
            with pytest.raises(HostPaused), get(url, **options):
                pass
            connections[0].close()


def test_outside_a_worker_the_block_runs(redis: Redis) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError), reaching("ldap.example", 636):
            raise TimeoutError
    assert redis.keys("tq:host*") == []


def test_in_a_stock_rq_worker_which_cannot_put_off_the_block_runs(redis: Redis) -> None:
    set_running_job(Job.create("taskqueue.call.generic", connection=redis, serializer=JSONSerializer))
    try:
        test_outside_a_worker_the_block_runs(redis)
    finally:
        set_running_job(None)


def test_while_redis_is_away_the_block_runs() -> None:
    connection = connect_for_worker(f"redis://127.0.0.1:{free_port()}/0")
    set_running_job(
        RegisteredJob.create("taskqueue.call.generic", connection=connection, serializer=JSONSerializer)
    )
    try:
        for _ in range(2):
            with pytest.raises(urllib3.exceptions.TimeoutError), reaching("ldap.example", 636):
                raise caused(urllib3.exceptions.TimeoutError(), TimeoutError())
    finally:
        set_running_job(None)
