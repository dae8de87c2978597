"""A client behind a network that fails: it sends again what is safe to send again, and nothing else."""

import socket
import ssl
import time
from collections.abc import Callable
from http.server import HTTPServer
from pathlib import Path
from threading import Thread, Timer

import pytest
from redis import Redis
from werkzeug.serving import make_server

from taskqueue.client import Client
from taskqueue.errors import ApiRefused, QueueUnavailable, StillProcessing, UnknownTask
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from tests.conftest import SLACK, free_port
from tests.taskqueue.cli.stage import SECRET, Answers, answering
from tests.taskqueue.client.stage import FailingProxy
from tests.taskqueue.store.test_sentinel import write_certificate
from web import create_app

PROBLEM = {"Content-Type": "application/problem+json"}


def problem(kind: str) -> bytes:
    return b'{"type": "urn:problem:%s", "title": "t", "detail": "d", "status": 503}' % kind.encode()


def failing_client(proxy: FailingProxy, retry_seconds: float = 10) -> Client:
    return Client(proxy.url, key=SECRET, retry_seconds=retry_seconds)


def test_a_task_whose_answer_is_lost_is_queued_once(proxy: FailingProxy, redis: Redis) -> None:
    proxy.plan = lambda number: "lose" if number < 2 else "pass"
    with failing_client(proxy) as client:
        handle = client.submit("generic", {"a": 1})
        batch = client.submit_many([{"task_type": "generic"}])
    assert proxy.times("POST", "/tasks") == 3
    assert len({headers["Idempotency-Key"] for _, _, headers in proxy.received[:3]}) == 1
    assert redis.lrange("rq:queue:default", 0, -1) == [handle.id.encode(), batch.tasks[0].id.encode()]


def test_each_submission_has_a_key_of_its_own(proxy: FailingProxy) -> None:
    with failing_client(proxy) as client:
        assert client.submit("generic") != client.submit("generic")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept_to(proxy: FailingProxy, status: int) -> None:
    proxy.plan = lambda number: (
        (status, {**PROBLEM, "Retry-After": "1"}, problem("busy")) if not number else "pass"
    )
    began = time.monotonic()
    with failing_client(proxy) as client:
        client.submit("generic")
        assert time.monotonic() - began >= 1
        assert client.queues()


def test_a_first_request_that_is_still_processed_is_asked_for_again(proxy: FailingProxy) -> None:
    proxy.plan = lambda number: (409, PROBLEM, problem("still-processing")) if not number else "pass"
    with failing_client(proxy) as client:
        client.submit("generic")
    proxy.plan = lambda number: (409, PROBLEM, problem("still-processing"))
    with failing_client(proxy, retry_seconds=0) as client, pytest.raises(StillProcessing):
        client.submit("generic")


def test_the_time_for_retries_is_bounded(proxy: FailingProxy) -> None:
    proxy.plan = lambda number: (503, PROBLEM, problem("queue-unavailable"))
    began = time.monotonic()
    with failing_client(proxy, retry_seconds=3) as client, pytest.raises(QueueUnavailable):
        client.queues()
    assert time.monotonic() - began < 3 * SLACK
    assert len(proxy.received) > 2
    proxy.received.clear()
    proxy.plan = lambda number: (503, {**PROBLEM, "Retry-After": "3600"}, problem("busy"))
    with failing_client(proxy) as client, pytest.raises(ApiRefused):
        client.queues()
    assert len(proxy.received) == 1


def test_what_could_take_effect_twice_is_not_sent_again(proxy: FailingProxy, redis: Redis) -> None:
    with failing_client(proxy) as client:
        handle = client.submit("generic")
        proxy.received.clear()
        proxy.plan = lambda number: "lose"
        with pytest.raises(ApiRefused, match="may have been carried out: check before you send it again"):
            client.cancel(handle.id)
    assert len(proxy.received) == 1
    assert redis.hget(f"rq:job:{handle.id}", "status") == b"canceled"


def test_a_deletion_whose_answer_is_lost_is_a_deletion(proxy: FailingProxy) -> None:
    with failing_client(proxy) as client:
        handle = client.submit("generic")
        handle.cancel()
        first = len(proxy.received)
        proxy.plan = lambda number: "lose" if number == first else "pass"
        client.delete(handle.id)
        assert len(proxy.received) == first + 2
        with pytest.raises(UnknownTask):
            client.delete(handle.id)


def test_a_server_that_starts_late_gets_the_task(settings: Settings, job_types: JobTypes, redis: Redis) -> None:
    port = free_port()
    servers = []

    def start() -> None:
        servers.append(make_server("127.0.0.1", port, create_app(settings, job_types), threaded=True))
        servers[0].serve_forever(poll_interval=0.02)

    timer = Timer(0.5, start)
    timer.start()
    with Client(f"http://127.0.0.1:{port}") as client:
        client.submit("generic")
    servers[0].shutdown()
    servers[0].server_close()
    timer.join()
    assert redis.llen("rq:queue:default") == 1


def test_a_server_that_is_away_is_told_with_the_key_of_the_submission() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retry_seconds=0) as client, pytest.raises(ApiRefused) as error:
        client.submit("generic")
    assert error.value.message == f"{url} does not answer: Connection refused."
    assert (error.value.kind, error.value.status) == ("no-answer", None)


def test_a_server_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        client = Client(url, timeout=0.2, retry_seconds=0)
        with client, pytest.raises(ApiRefused, match="does not answer: timed out") as error:
            client.submit("generic", idempotency_key="mine")
    assert "With the Idempotency-Key mine it takes effect once." in str(error.value)


def test_a_result_survives_a_broken_stream(
    proxy: FailingProxy, work: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskqueue.web.api.events.RECONNECT_MILLISECONDS", 0)
    with failing_client(proxy) as client:
        handle = client.submit("double", {"number": 2})
        work()
        first = len(proxy.received)
        broken = (200, {"Content-Type": "text/event-stream", "Content-Length": "1000"}, b"retry: 0\n\nevent: st")
        away = (502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>")
        proxy.plan = lambda number: {first: broken, first + 1: away}.get(number, "pass")
        assert handle.result(timeout=20) == 4
        assert len(proxy.received) == first + 3


def test_certificates_are_checked(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    class Queues(Answers):
        kind, text = "application/json", '{"queues": []}'

    with HTTPServer(("127.0.0.1", 0), Queues) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"https://127.0.0.1:{server.server_port}"
        began = time.monotonic()
        with Client(url) as client, pytest.raises(ApiRefused, match=r"certificate verify failed: self.signed"):
            client.queues()
        assert time.monotonic() - began < 5  # no other attempt can help
        with Client(url, verify=ssl.create_default_context(cafile=cert)) as client:
            assert client.queues() == ()
        server.shutdown()
        thread.join()


def test_an_older_server_has_fewer_fields_and_a_newer_one_more() -> None:
    class Queues(Answers):
        kind, text = "application/json", '{"queues": [{"name": "a", "paused": false, "tasks": {}, "new": 1}]}'

    with answering(Queues) as url, Client(url) as client:
        (queue,) = client.queues()
        assert (queue.name, queue.workers, queue.json["new"]) == ("a", 0, 1)
        with pytest.raises(ApiRefused, match="answers 200, but is not this API") as error:
            client.failures()
    assert error.value.kind == "not-this-api"


def test_a_redirect_is_not_followed_with_the_key() -> None:
    class Moved(Answers):
        status = 301

    with (
        answering(Moved) as url,
        Client(url, key=SECRET) as client,
        pytest.raises(ApiRefused, match="It redirects"),
    ):
        client.queues()
