"""One host that hangs or is away holds up no task but those that need it: real servers, real workers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from redis import Redis

from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.store.keys import job_key
from taskqueue.worker.decision import HOST_SECONDS
from tests.conftest import SLACK, free_port, wait_until
from tests.taskqueue.worker.stage import RunningWorker, registries_of, until

Start = Callable[..., RunningWorker]
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
MAY_REACH = {"OUTBOUND_ALLOW": "127.0.0.1"}


class Silent:
    """A server that accepts, and never answers."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self.asked_at: list[float] = []  # seconds since 1970
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self.asked_at.append(time.time())
                self.connections.append(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Callable[[], Silent]]:
    """Start servers that never answer; they are closed at the end of the test."""
    started: list[Silent] = []

    def start_one() -> Silent:
        started.append(Silent())
        return started[-1]

    yield start_one
    for server in started:
        server.close()


@contextmanager
def answering(port: int, answer: bytes, asked: list[bytes] | None = None) -> Iterator[socket.socket]:
    """Start a server that sends this to each client; with `asked`, it first reads a request and notes it there."""
    with socket.create_server(("127.0.0.1", port), backlog=200) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        if asked is not None:
                            asked.append(connection.recv(65536))
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener


def reasons(queue: TaskQueue, redis: Redis, task_id: str) -> list[tuple[str, str]]:
    explainer = Explainer(redis, queue, ClusterState(redis, queue.settings.queues), queue.settings)
    return [(reason.code, reason.message) for reason in explainer.explain(task_id).reasons]


def make_due(redis: Redis, *task_ids: str) -> None:
    redis.zadd("rq:scheduled:default", dict.fromkeys(task_ids, 1))


def end_pause(redis: Redis, port: int) -> None:
    redis.hset(f"tq:host:other:127.0.0.1:{port}", "until", 1)


def test_tasks_for_a_host_that_is_away_wait_for_it_and_use_no_attempt(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    port = free_port()
    worker = start()
    tasks = [queue.submit("asks", {"port": port}).id for _ in range(10)]
    until(queue, tasks[-1], "scheduled")
    assert [queue.get(task).attempt for task in tasks[1:]] == [0] * 9
    assert [queue.get(task).errors for task in tasks[1:]] == [()] * 9
    assert sum(len(queue.get(task).errors) for task in tasks) == 1
    ((code, message),) = reasons(queue, redis, tasks[1])
    assert code == "waits-for-host"
    assert message.startswith(f"The host 127.0.0.1:{port} refused the connection at 20")
    assert "; next try in " in message
    assert message.endswith("Z, no attempt used.")
    assert worker.log.count("no task asks it for 5 s") == 1

    with answering(port, b"hello"):
        end_pause(redis, port)
        make_due(redis, tasks[1])
        until(queue, tasks[1], "complete")
        assert (queue.get(tasks[1]).result, queue.get(tasks[1]).attempt) == ("hello", 1)
        assert redis.keys("tq:host*") == []
        make_due(redis, *(set(tasks) - {tasks[1]}))
        for task in tasks:
            until(queue, task, "complete")
    assert [registries_of(redis, task) for task in tasks] == [["finished"]] * 10


def test_an_attempt_that_has_waited_for_an_hour_fails_and_says_why(
    start: Start, queue: TaskQueue, redis: Redis
) -> None:
    port = free_port()
    worker = start()
    tasks = [queue.submit("asks", {"port": port}, SubmitOptions(attempts=1)).id for _ in range(2)]
    until(queue, tasks[1], "scheduled")
    member = f"other:127.0.0.1:{port}"
    redis.hset(f"tq:host:{member}", "until", time.time() + 60)
    redis.hset(job_key(tasks[1]), "tq:put_off", f"{time.time() - HOST_SECONDS:.0f} 1 {member}")
    make_due(redis, tasks[1])
    until(queue, tasks[1], "failed")
    error = queue.get(tasks[1]).error
    assert error
    assert error.type == "taskqueue.errors.HostPaused"
    assert error.message.startswith(f"The host 127.0.0.1:{port} refused the connection at 20")
    assert error.message.endswith("The task has waited for it for an hour.")
    assert f"Traceback of task {tasks[1]}" not in worker.log


def test_a_receiver_that_hangs_holds_up_no_other_callback_and_no_task(
    start: Start, queue: TaskQueue, redis: Redis, silent: Callable[[], Silent]
) -> None:
    hanging = silent()
    start("--horses", "3", "--io-slots", "0", **MAY_REACH)
    tasks = [queue.submit("generic", {}, SubmitOptions(callback_url=hanging.url)) for _ in range(20)]
    wait_until(lambda: len(hanging.connections) == 2, what="two callbacks to hang")
    for name in ("high", "default", "low"):
        assert until(queue, queue.submit("generic", {}, SubmitOptions(queue=name)).id, "complete") < 2 * SLACK
    callbacks = [f"{task.id}-callback-1" for task in tasks]
    assert sum(queue.get(callback).attempt for callback in callbacks) == 2
    assert len(hanging.connections) == 2, "callbacks leave one horse free"
    assert any(reasons(queue, redis, callback)[0][0] == "waits-for-horse" for callback in callbacks)

    # After ten seconds they have failed. From then on one callback asks at a time, and others have a place.
    wait_until(lambda: redis.exists(f"tq:host:callback:127.0.0.1:{hanging.port}"), 30, what="the first failure")
    with answering(0, NO_CONTENT, []) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}/"
        for _ in range(3):
            task = queue.submit("generic", {}, SubmitOptions(callback_url=url))
            assert until(queue, task.id, "complete") < 2 * SLACK
            assert until(queue, f"{task.id}-callback-1", "complete") < 5 * SLACK
            redis.hset(f"tq:host:callback:127.0.0.1:{hanging.port}", "until", 1)
    assert len(hanging.connections) <= 4


def test_on_a_worker_with_one_horse_callbacks_let_other_tasks_pass(
    start: Start, queue: TaskQueue, redis: Redis, silent: Callable[[], Silent]
) -> None:
    hanging = silent()
    operations = Operations(redis, 1000)
    for _ in range(3):  # a task that is canceled has its callback queued at once
        task = queue.submit("generic", {}, SubmitOptions(callback_url=hanging.url))
        operations.cancel(task.id)
    others = [queue.submit("generic", {}, SubmitOptions(queue=name)).id for name in ("default", "low")]
    start("--io-slots", "0", **MAY_REACH)
    for other in others:
        assert until(queue, other, "complete") < 5 * SLACK
    wait_until(lambda: hanging.connections, what="a callback, when no other task waits")
    ended_at = [queue.get(other).ended_at for other in others]
    assert max(at.timestamp() for at in ended_at if at) <= hanging.asked_at[0]


def test_quick_callbacks_are_not_slowed_down_by_their_places(start: Start, queue: TaskQueue, redis: Redis) -> None:
    asked: list[bytes] = []
    with answering(0, NO_CONTENT, asked) as receiver:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
        for _ in range(100):
            queue.submit("generic", {}, SubmitOptions(callback_url=url))
        start("--horses", "2", "--io-slots", "0", **MAY_REACH)
        began = time.monotonic()
        wait_until(lambda: len(asked) == 100, what="100 callbacks")
        assert time.monotonic() - began < 10 * SLACK


def test_a_horse_that_dies_in_a_callback_leaves_its_place(
    start: Start, queue: TaskQueue, redis: Redis, silent: Callable[[], Silent]
) -> None:
    hanging = silent()
    worker = start("--horses", "2", "--io-slots", "0", **MAY_REACH)
    first = queue.submit("generic", {}, SubmitOptions(callback_url=hanging.url)).id
    wait_until(lambda: hanging.connections, what="the callback to hang")
    Operations(redis, 1000).cancel(f"{first}-callback-1")  # its horse is killed
    until(queue, f"{first}-callback-1", "canceled")
    queue.submit("generic", {}, SubmitOptions(callback_url=hanging.url))
    wait_until(lambda: len(hanging.connections) == 2, what="the next callback")
    assert worker.lives


def test_retry_later_delays_the_next_attempt(start: Start, queue: TaskQueue) -> None:
    start()
    task = queue.submit("busy", {"seconds": 120})
    until(queue, task.id, "scheduled")
    waiting = queue.get(task.id)
    assert waiting.attempt == 1
    assert waiting.scheduled_for
    assert waiting.error
    assert waiting.error.message == "the other side is busy (429)"
    assert 110 < waiting.scheduled_for.timestamp() - time.time() <= 121
