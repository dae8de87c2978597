"""The chores need no Redis of their own, unlike the worker's other tests."""

from collections.abc import Iterator

import pytest
from redis import Redis

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from tests.conftest import RedisServer


@pytest.fixture
def redis(shared_redis: RedisServer) -> Iterator[Redis]:
    """A connection to an empty Redis."""
    with connect_for_requests(shared_redis.url) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def queue(redis: Redis, settings: Settings, job_types: JobTypes) -> TaskQueue:
    return TaskQueue(redis, settings, job_types)
