"""Fixtures of the worker's tests: a Redis that a test may take away, and workers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_worker
from tests.conftest import RedisServer
from tests.taskqueue.worker.stage import Proxy, RunningWorker, stop_workers


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    return own_redis


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def start(project: Path, tmp_path: Path, server: RedisServer) -> Iterator[Callable[..., RunningWorker]]:
    """Start workers, which are stopped at the end of the test."""
    started: list[RunningWorker] = []

    def start_worker(*options: str, url: str = server.url, **variables: str) -> RunningWorker:
        log = tmp_path / f"worker-{len(started)}.log"
        log.touch()
        started.append(RunningWorker(project, log, url, *options, **variables))
        started[-1].wait_until_it_works()
        return started[-1]

    yield start_worker
    stop_workers(started)


@pytest.fixture
def queue(server: RedisServer, job_types: JobTypes) -> Iterator[TaskQueue]:
    with connect_for_worker(server.url) as connection:
        yield TaskQueue(connection, Settings(redis_url=server.url), job_types)


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    with connect_for_worker(server.url) as connection:
        yield connection
