"""What a job costs of Redis, counted by Redis itself."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.client import Monitor

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from tests.conftest import RedisServer
from tests.taskqueue.worker.stage import RunningWorker

JOBS = 100
BESIDES = 4  # to load the script, to find the queues empty, and to end
END = "the end of the test"


def requests(monitor: Monitor) -> Iterator[dict[str, Any]]:
    """Yield the commands of clients, without those of scripts, until END."""
    for command in monitor.listen():
        if END in command["command"]:
            return
        if command["client_type"] != "lua":
            yield command


@pytest.mark.parametrize(("job_type", "payload"), [("week", {"of": "2026-11-23"}), ("steps", {"count": 3})])
def test_in_the_steady_state_a_job_costs_one_round_trip(
    start: Callable[..., RunningWorker],
    queue: TaskQueue,
    redis: Redis,
    server: RedisServer,
    job_type: str,
    payload: dict[str, Any],
) -> None:
    """Also a job that reports its progress. A job with one attempt is never in a group, which costs less."""
    for _ in range(JOBS):
        queue.submit(job_type, payload, SubmitOptions(queue="low", attempts=1))
    with Redis.from_url(server.url, socket_timeout=None).monitor() as monitor:
        worker = start("--burst")
        assert worker.process.wait(30) == 0
        redis.echo(END)
        sent = [(command["client_port"], command["command"]) for command in requests(monitor)]
    assert redis.zcard("rq:finished:low") == JOBS
    ((horse, _),) = Counter(port for port, command in sent if "rq:queue:high" in command).most_common(1)
    commands = [command for port, command in sent if port == horse]
    began = next(number for number, command in enumerate(commands) if "rq:queue:high" in command)
    assert JOBS < len(commands[began:]) <= JOBS + BESIDES
    assert all("rq:queue:high" in command for command in commands[began:])
