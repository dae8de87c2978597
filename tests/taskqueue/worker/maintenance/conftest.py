"""Fixtures of the chores' tests."""

import pytest

from tests.conftest import RedisServer
from tests.taskqueue.worker.stage import emptied


@pytest.fixture
def server(shared_redis: RedisServer) -> RedisServer:
    """The Redis of the whole session: these tests leave it running."""
    return emptied(shared_redis)
