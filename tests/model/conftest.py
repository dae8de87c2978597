"""The engine that the model is compared with: nothing in it is left to chance or to the clock."""

import hashlib
import os

import pytest
from redis import Redis

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.worker import leases, settle_and_claim
from tests.conftest import RedisServer
from tests.model.driver import LEASE_SECONDS, Engine
from tests.model.driver import job_types as types_of_the_model

A_PART, ALL = "GROUP_PART = 8 ", "GROUP_PART = 1 "  # of what waits: so that groups need no long queues


@pytest.fixture
def engine(
    redis: Redis, shared_redis: RedisServer, job_types: JobTypes, monkeypatch: pytest.MonkeyPatch
) -> Engine:
    assert settle_and_claim.SCRIPT.count(A_PART) == 1
    script = settle_and_claim.SCRIPT.replace(A_PART, ALL)
    monkeypatch.setattr(settle_and_claim, "SCRIPT", script)
    monkeypatch.setattr(settle_and_claim, "WHOLE", ("EVAL", script))
    digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(settle_and_claim, "BY_DIGEST", ("EVALSHA", digest))
    engine = Engine(redis, shared_redis.url, types_of_the_model(job_types))
    monkeypatch.setattr(os, "urandom", engine.chance.randbytes)  # uuid4() takes its bytes from it
    monkeypatch.setattr(settle_and_claim, "FIRST_WAIT_SECONDS", 0.0)  # from a lost answer to the same call again
    monkeypatch.setattr(leases, "LEASE_SECONDS", LEASE_SECONDS)
    return engine
