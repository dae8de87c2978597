"""A right of the Redis user goes away while the worker works: it says so, forks no storm, and goes on later."""

import time
from collections.abc import Callable
from http.client import HTTPConnection

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import RedisServer, free_port, wait_until
from tests.taskqueue.worker.stage import RunningWorker, until

Start = Callable[..., RunningWorker]


def readiness(port: int) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("right", ["&*", "+evalsha", "+hset"])
def test_a_right_that_goes_and_comes_back(
    start: Start, queue: TaskQueue, redis: Redis, server: RedisServer, right: str
) -> None:
    redis.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all")
    port = free_port()
    worker = start("--port", str(port), url=server.url.replace("redis://", "redis://app:pw@"))
    wait_until(lambda: readiness(port)[0] == 200, what="the worker to be ready")
    taken = "resetchannels" if right == "&*" else right.replace("+", "-")
    redis.execute_command("ACL", "SETUSER", "app", taken)
    began = time.monotonic()
    forks = set(worker.horses())
    task = queue.submit("generic", {})

    def is_unready() -> bool:
        forks.update(worker.horses())
        return readiness(port)[0] == 503

    wait_until(is_unready, what="the worker to be unready")
    while time.monotonic() < began + 5:
        is_unready()
    assert worker.lives
    passed = time.monotonic() - began
    assert len(forks) <= 3 + passed, "no more than about one fork in a second"
    assert worker.log.count("\n") < 8 * passed, worker.log
    assert "Traceback" not in worker.log
    redis.execute_command("ACL", "SETUSER", "app", right)
    until(queue, task.id, "complete")
    after = queue.submit("generic", {})
    until(queue, after.id, "complete")
    wait_until(lambda: readiness(port)[0] == 200, what="the worker to be ready again")
