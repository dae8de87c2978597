"""The rules of the queue, held against the real scripts on a real Redis by a stateful property test.

`make test` plays a fixed set of examples; `make soak` plays new ones for longer.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from tests.conftest import RedisServer
from tests.model.driver import Engine
from tests.model.driver import job_types as types_of_the_model
from tests.model.rules import QueueMachine

EXAMPLES, STEPS = 100, 40
PHASES = [Phase.generate] + ([] if os.environ.get("MODEL_SHRINKS") == "no" else [Phase.shrink])


@pytest.fixture
def engine(redis: Redis, shared_redis: RedisServer, job_types: JobTypes) -> Engine:
    return Engine(redis, shared_redis.url, types_of_the_model(job_types))


def test_whatever_happens_each_job_is_in_one_place_and_nothing_is_held_by_nobody(engine: Engine) -> None:
    run_state_machine_as_test(
        lambda: QueueMachine(engine),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=PHASES,
        ),
    )  # fmt: skip
