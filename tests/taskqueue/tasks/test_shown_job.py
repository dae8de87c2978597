"""A job that is only looked at has the same values as RQ's own."""

import zlib

import pytest
from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from taskqueue.tasks.shown_job import ShownJob

DATA = b'["taskqueue.call.generic", null, [], {"a": 1}]'
PLAIN = {
    b"data": DATA,
    b"created_at": b"2026-11-24T10:43:05.120000Z",
    b"origin": b"default",
    b"status": b"queued",
    b"timeout": b"180",
}
SHOWN = (
    "id",
    "key",
    "origin",
    "created_at",
    "started_at",
    "ended_at",
    "worker_name",
    "_dependency_ids",
    "func_name",
)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {b"data": zlib.compress(DATA)},
        {b"status": b"started", b"started_at": b"2026-11-24T10:43:06.000001Z", b"worker_name": b"w1"},
        {b"status": b"finished", b"started_at": b"2026-11-24T10:43:06Z", b"ended_at": b"2026-11-24T10:43:07Z"},
        {b"started_at": b"", b"ended_at": b"", b"worker_name": b"", b"dependency_ids": b"", b"status": b""},
        {b"dependency_id": b"a", b"dependency_ids": b'["a", "b"]'},
        {b"dependency_id": b"a"},
        {b"origin": "größe".encode()},
    ],
)
def test_it_has_the_values_of_rqs_own_job(redis: Redis, more: dict[bytes, bytes]) -> None:
    ours, rqs = ShownJob("a-1", redis), Job("a-1", connection=redis, serializer=JSONSerializer)
    for job in (ours, rqs):
        job.restore(PLAIN | more)
    for name in SHOWN:
        assert getattr(ours, name) == getattr(rqs, name), name
    assert (ours.kwargs, ours.get_status(refresh=False)) == (rqs.kwargs, rqs.get_status(refresh=False))


@pytest.mark.parametrize(
    "wrong", [{b"created_at": b"yesterday"}, {b"created_at": b"2026-99-24T10:43:05.120000Z"}, {b"status": b"odd"}]
)
def test_it_refuses_what_rq_refuses(redis: Redis, wrong: dict[bytes, bytes]) -> None:
    for job in (ShownJob("a-1", redis), Job("a-1", connection=redis, serializer=JSONSerializer)):
        with pytest.raises(ValueError, match=r"match|month|valid"):
            job.restore(PLAIN | wrong)


def test_it_has_an_id_of_rq(redis: Redis) -> None:
    with pytest.raises(ValueError, match="Job ID"):
        ShownJob("no id", redis)
