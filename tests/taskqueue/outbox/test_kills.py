"""The relay is killed at every line of its code, and each task is queued once all the same."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from taskqueue import outbox
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.outbox import relay as relay_module
from taskqueue.outbox import rows as rows_module
from taskqueue.outbox.database import outbox_engine
from taskqueue.outbox.relay import Relay
from taskqueue.outbox.rows import Rows
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_bulk
from tests.sample_jobs import samples
from tests.taskqueue.outbox.conftest import LOCK, TABLE, move_all, queued, waiting

FILES = {relay_module.__file__, rows_module.__file__}

pytestmark = [
    pytest.mark.usefixtures("job_types"),
    # Python 3.12 warns of a fork beside threads; this process has none that holds a lock.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def die_at(step: int) -> Callable[[FrameType, str, Any], Any]:
    """Return a trace function that kills this process before so many lines of the relay have run."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def relays_until(step: int, make: Callable[[], Relay]) -> bool:
    """Relay in a process that is killed at this line; return whether it came to its end before."""
    pid = os.fork()
    if not pid:
        relay = make()
        sys.settrace(die_at(step))
        move_all(relay)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def run_and_forget(redis: Redis) -> Iterator[str]:
    """Yield what is queued, as a job that runs at once and expires at once: the worst case."""
    for task_id in queued(redis, "high"):
        redis.delete("rq:queue:high", f"rq:job:{task_id}", f"rq:results:{task_id}")
        yield task_id


@pytest.mark.parametrize(
    "database_url", ["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.slow)], indirect=True
)
def test_a_relay_that_is_killed_at_any_line_loses_nothing_and_queues_nothing_twice(
    engine: sa.Engine, database_url: str, redis: Redis, settings: Settings, job_types: JobTypes
) -> None:
    def make(own: sa.Engine | None = None) -> Relay:
        rows = Rows(own or outbox_engine(database_url), TABLE)
        return Relay(rows, connect_for_bulk(settings.redis_url), settings, job_types, LOCK)

    redis.set(*LOCK)
    own = outbox_engine(database_url)
    again = make(own)
    submitted, ran, step, has_ended = [], [], 0, False
    while not has_ended:
        step += 1
        with engine.begin() as connection:
            tasks = outbox.submit_many(connection, [samples.flaky.task(0) for _ in range(2)])
        submitted += [task.id for task in tasks]
        has_ended = relays_until(step, make)
        ran += run_and_forget(redis)
        # The next relay goes on where this one was killed, with what was left and no new rows.
        move_all(again)
        ran += run_and_forget(redis)
        assert waiting(engine) == []
        assert redis.zcard("tq:outbox:sent") <= 2 * step
    own.dispose()
    assert step > 40
    assert ran == submitted
