"""A task's callback_url is told of its end, by a job of its own: a real receiver, real workers."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest
from redis import Redis
from standardwebhooks import Webhook

from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import system
from taskqueue.tasks.task import Task
from taskqueue.telemetry.trace import Trace, current_trace
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]
SECRET = base64.b64encode(b"0123456789abcdef01234567").decode()
MAY_REACH = {"OUTBOUND_ALLOW": "127.0.0.1", "CALLBACK_SIGNING": f"whsec_{SECRET}"}


class Call(NamedTuple):
    """A request that the receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Receiver:
    """Stores all requests, and answers with the statuses that the test sets."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[int] = []  # then 204
        self.retry_after = ""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.calls.append(Call(self.path, headers, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                if receiver.retry_after:
                    self.send_header("Retry-After", receiver.retry_after)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        serve, options = self._server.serve_forever, {"poll_interval": 0.02}
        threading.Thread(target=serve, kwargs=options, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def ends(queue: TaskQueue, task_id: str, status: str, number: int = 1) -> Task:
    """Wait until so many callbacks of a task have this status; return the last one."""

    def last() -> Task | None:
        callbacks = queue.get(task_id).callbacks
        return callbacks[-1] if len(callbacks) == number else None

    wait_until(lambda: (found := last()) and found.status == status, what=f"the callback to be {status}")
    found = last()
    assert found
    return found


@pytest.mark.parametrize(
    ("job_type", "status", "more"),
    [
        ("generic", "complete", {"result": {"a": 1}}),
        ("hopeless", "failed", {"attempt": 1}),
        ("crash", "failed", {"attempt": 2}),  # the worker settles it for its dead horse
    ],
)
def test_it_is_told_and_signed(
    start: Start, queue: TaskQueue, receiver: Receiver, job_type: str, status: str, more: dict[str, Any]
) -> None:
    start(**MAY_REACH)
    payload = {"a": 1} if job_type == "generic" else {}
    task = queue.submit(job_type, payload, SubmitOptions(callback_url=f"{receiver.url}/done?key=1"))
    callback = ends(queue, task.id, "complete")
    assert (callback.id, callback.type, callback.result) == (
        f"{task.id}-callback-1",
        "tq-callback",
        {"status": 204},
    )
    (call,) = receiver.calls
    assert (call.path, call.headers["content-type"]) == ("/done?key=1", "application/json")
    message = call.message
    assert (message["type"], message["data"]["id"]) == (f"task.{status}", task.id)
    assert message["timestamp"] == message["data"]["ended_at"]
    assert message["data"].items() >= more.items()
    assert b"Traceback" not in call.body
    assert Webhook(f"whsec_{SECRET}").verify(call.body, dict(call.headers)) == message
    assert call.headers["webhook-id"] == callback.id


def test_without_a_key_it_goes_out_unsigned_and_the_log_says_so_once(
    start: Start, queue: TaskQueue, receiver: Receiver
) -> None:
    worker = start(OUTBOUND_ALLOW="127.0.0.1")
    for _ in range(2):
        ends(queue, queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url)).id, "complete")
    assert ["webhook-signature" in call.headers for call in receiver.calls] == [False, False]
    assert worker.log.count("CALLBACK_SIGNING is not set") == 1


def test_it_belongs_to_the_trace_of_the_request(start: Start, queue: TaskQueue, receiver: Receiver) -> None:
    start(**MAY_REACH)
    trace = Trace("request", f"00-{'a' * 32}-{'b' * 16}-01")
    token = current_trace.set(trace)
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    current_trace.reset(token)
    ends(queue, task.id, "complete")
    assert receiver.calls[0].headers["traceparent"].split("-")[1] == trace.trace_id


def test_what_is_retried_is_told_once_at_its_end(start: Start, queue: TaskQueue, receiver: Receiver) -> None:
    start(**MAY_REACH)
    task = queue.submit("flaky", {"failures": 2}, SubmitOptions(callback_url=receiver.url))
    ends(queue, task.id, "complete")
    assert [call.message["type"] for call in receiver.calls] == ["task.complete"]


def test_a_canceled_task_is_told_and_sent_again_is_told_again(
    start: Start, queue: TaskQueue, receiver: Receiver, redis: Redis
) -> None:
    operations = Operations(redis, 1000)
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    operations.cancel(task.id)
    start(**MAY_REACH)
    ends(queue, task.id, "complete")
    operations.requeue(task.id)
    ends(queue, task.id, "complete", number=2)
    assert [call.message["type"] for call in receiver.calls] == ["task.canceled", "task.complete"]


def test_a_running_task_that_is_canceled_is_told(
    start: Start, queue: TaskQueue, receiver: Receiver, redis: Redis
) -> None:
    start(**MAY_REACH)
    task = queue.submit("long", {"seconds": 60}, SubmitOptions(callback_url=receiver.url))
    until(queue, task.id, "processing")
    Operations(redis, 1000).cancel(task.id)
    ends(queue, task.id, "complete")
    assert [call.message["type"] for call in receiver.calls] == ["task.canceled"]


def test_it_is_tried_over_most_of_a_day_and_not_longer_than_the_task_is_kept() -> None:
    discover()
    callback = system["tq-callback"]
    for _ in range(20):
        assert 16 * 3600 < sum(callback.retry_delays.seconds(callback.attempts - 1)) < 25 * 3600


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_what_is_no_success_is_tried_again_and_says_why(
    start: Start, queue: TaskQueue, receiver: Receiver, redis: Redis, answer: int
) -> None:
    receiver.answers = [answer]
    start(**MAY_REACH)
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    waiting = ends(queue, task.id, "scheduled")
    assert waiting.error
    assert (waiting.error.message, waiting.attempt, waiting.attempts) == (
        f"The receiver answered {answer}.",
        1,
        15,
    )
    redis.zadd("rq:scheduled:default", {waiting.id: 1})  # it is due
    ends(queue, task.id, "complete")
    first, second = receiver.calls
    assert (first.path, second.path) == ("/", "/")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_receiver_that_says_when_to_come_back_is_left_alone_until_then(
    start: Start, queue: TaskQueue, receiver: Receiver
) -> None:
    receiver.answers, receiver.retry_after = [503], "120"
    start(**MAY_REACH)
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    waiting = ends(queue, task.id, "scheduled")
    assert waiting.error
    assert waiting.error.message == "The receiver answered 503."
    assert waiting.scheduled_for
    assert 110 < waiting.scheduled_for.timestamp() - time.time() <= 121


def test_a_receiver_that_wants_no_more_is_left_alone(start: Start, queue: TaskQueue, receiver: Receiver) -> None:
    receiver.answers = [410]
    start(**MAY_REACH)
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    assert ends(queue, task.id, "failed").attempt == 1


def test_a_private_address_is_not_called(start: Start, queue: TaskQueue, receiver: Receiver) -> None:
    start()
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    error = ends(queue, task.id, "failed").error
    assert error
    assert "is not a public address" in error.message
    assert (receiver.calls, queue.get(task.id).status) == ([], "complete")


def test_what_rqs_own_code_settles_is_told(start: Start, queue: TaskQueue, receiver: Receiver) -> None:
    start(**MAY_REACH)
    task = queue.submit("long", {"seconds": 0.5}, SubmitOptions(callback_url=receiver.url))
    queue.submit("generic", {}, SubmitOptions(depends_on=(task.id,)))
    ends(queue, task.id, "complete")
    assert len(receiver.calls) == 1


def test_an_end_that_nobody_has_seen_is_found(
    start: Start, queue: TaskQueue, receiver: Receiver, redis: Redis
) -> None:
    """A stock `rq worker` leaves a task so, or ours when it dies right after RQ's own code."""
    task = queue.submit("generic", {}, SubmitOptions(callback_url=receiver.url))
    redis.lrem("rq:queue:default", 0, task.id)
    redis.hset(f"rq:job:{task.id}", mapping={"status": "finished", "ended_at": "2026-11-25T00:00:00.000000Z"})
    start(**MAY_REACH)
    ends(queue, task.id, "complete")
    assert redis.zcard("tq:callbacks:owed") == 0


def test_no_callback_is_lost_or_doubled_by_horses_that_are_killed(
    start: Start, queue: TaskQueue, receiver: Receiver, redis: Redis
) -> None:
    worker = start("--horses", "2", **MAY_REACH)
    tasks = [queue.submit("counted", {}, SubmitOptions(callback_url=receiver.url)).id for _ in range(40)]
    for _ in range(10):
        for horse in worker.horses()[:1]:
            os.kill(horse, signal.SIGKILL)
        time.sleep(0.05)
    for task in tasks:
        wait_until(lambda task=task: queue.get(task).callbacks, what="the callback")
    # Nothing waits or runs that could queue another one.
    wait_until(lambda: not redis.exists("rq:queue:default", "rq:wip:default"), what="the callbacks to be made")
    assert {len(queue.get(task).callbacks) for task in tasks} == {1}
