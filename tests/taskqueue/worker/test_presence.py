"""What others see of a worker: its release and memory, and its begin and end in the record of changes."""

import signal
from collections.abc import Callable

from redis import Redis

from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.telemetry.changes import Changes
from tests.conftest import wait_until
from tests.taskqueue.worker.stage import RunningWorker


def recorded(redis: Redis) -> list[tuple[str, str]]:
    entries, _ = Changes(redis).page(100)
    return [(change.what, change.target) for change in reversed(entries)]


def test_a_worker_tells_its_release_and_memory_and_its_begin_and_end(
    start: Callable[..., RunningWorker], redis: Redis
) -> None:
    worker = start("--name", "one", RELEASE="v42")
    state = ClusterState(redis, ("high", "default", "low"))
    wait_until(lambda: state.workers()[0].memory_bytes, what="the worker to tell its memory")
    (view,) = state.workers()
    assert view.release == "v42"
    assert 10 * 2**20 < (view.memory_bytes or 0) < 500 * 2**20
    worker.stop()
    assert recorded(redis) == [("release-started", "v42"), ("worker-started", "one"), ("worker-stopped", "one")]
    start("--name", "two", RELEASE="v42").stop()
    assert recorded(redis)[3:] == [("worker-started", "two"), ("worker-stopped", "two")]


def test_a_worker_that_was_killed_is_recorded_as_lost(start: Callable[..., RunningWorker], redis: Redis) -> None:
    lost = start("--name", "lost")
    start("--name", "other")
    lost.send_signal(signal.SIGKILL)
    lost.process.wait()
    wait_until(lambda: ("worker-lost", "lost") in recorded(redis), what="the record of the lost worker")


def test_the_memory_brings_no_forgotten_worker_back(start: Callable[..., RunningWorker], redis: Redis) -> None:
    start("--name", "one")
    state = ClusterState(redis, ())
    redis.delete("rq:worker:one")
    wait_until(lambda: (view := state.worker("one")) and view.pid, what="the worker to register again")
