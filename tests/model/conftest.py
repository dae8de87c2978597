"""The engine that the model is compared with."""

import pytest
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from tests.conftest import RedisServer
from tests.model.driver import Engine
from tests.model.driver import job_types as types_of_the_model


@pytest.fixture
def engine(redis: Redis, shared_redis: RedisServer, job_types: JobTypes) -> Engine:
    return Engine(redis, shared_redis.url, types_of_the_model(job_types))
