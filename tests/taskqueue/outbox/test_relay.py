"""The relay queues what is committed, in order, once; what it cannot queue is set aside and blocks nothing."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from taskqueue import outbox
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import RelayReplaced
from taskqueue.outbox import rows
from taskqueue.outbox.relay import Relay
from tests.sample_jobs import samples
from tests.taskqueue.outbox.conftest import LOCK, TABLE, move_all, queued, waiting

MakeRelay = Callable[..., Relay]

pytestmark = pytest.mark.usefixtures("job_types")


def submit(engine: sa.Engine, count: int = 1) -> list[str]:
    with engine.begin() as connection:
        return [task.id for task in outbox.submit_many(connection, [samples.flaky.task(0) for _ in range(count)])]


def edit(engine: sa.Engine, task_id: str, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(TABLE).where(TABLE.c.id == task_id).values(values))


def reasons(engine: sa.Engine) -> dict[str, str]:
    with engine.connect() as connection:
        query = sa.select(TABLE.c.id, TABLE.c.set_aside).where(TABLE.c.set_aside.is_not(None))
        return {row.id: row.set_aside for row in connection.execute(query)}


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_transaction_that_commits_late_is_not_overlooked(
    engine: sa.Engine, redis: Redis, relay: MakeRelay
) -> None:
    """Its rows have lower numbers than those that were queued before."""
    relaying = relay()
    with engine.connect() as early, early.begin():
        late = outbox.submit(early, samples.flaky, 0).id
        (first,) = submit(engine)
        move_all(relaying)
        assert queued(redis, "high") == [first]
    move_all(relaying)
    assert queued(redis, "high") == [first, late]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_task_is_as_old_as_it_is_whatever_the_time_zone_of_the_database(
    engine: sa.Engine, redis: Redis, relay: MakeRelay
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER DATABASE shop SET timezone = 'Asia/Tokyo'")
    engine.dispose()  # a session keeps the zone that it began with
    (task_id,) = submit(engine)
    move_all(relay())
    created = redis.hget(f"rq:job:{task_id}", "created_at") or b""
    assert abs(datetime.fromisoformat(created.decode()) - datetime.now(UTC)) < timedelta(hours=1)


def test_a_batch_is_one_round_trip(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    submit(engine, 300)
    relaying = relay()
    redis.config_resetstat()
    move_all(relaying)
    calls = redis.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 300
    assert calls["cmdstat_zrem"]["calls"] == 1
    assert "cmdstat_script|load" in calls


def test_a_batch_has_a_limited_size(
    engine: sa.Engine, redis: Redis, relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 30)
    ids = submit(engine, 100)
    relaying = relay()
    first = relaying.move()
    assert 0 < len(queued(redis, "high")) < 10
    assert relaying.move(first) > first
    move_all(relaying)
    assert queued(redis, "high") == ids


def test_a_job_that_has_run_and_expired_is_not_queued_again(
    engine: sa.Engine, redis: Redis, relay: MakeRelay
) -> None:
    """The relay was killed after Redis had the task and before the row was deleted."""
    (task_id,) = submit(engine)
    redis.zadd("tq:outbox:sent", {task_id: 1_800_000_000})  # enqueue.lua writes it in one step with the job
    move_all(relay())
    assert queued(redis, "high") == []
    assert waiting(engine) == []
    assert redis.zcard("tq:outbox:sent") == 0


def test_a_duplicate_counts_as_queued(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    with engine.begin() as connection:
        first = outbox.submit(connection, samples.flaky.options(dedupe="ada"), 0)
        outbox.submit(connection, samples.flaky.options(dedupe="ada"), 0)
    move_all(relay())
    assert queued(redis, "high") == [first.id]
    assert waiting(engine) == []
    assert redis.zcard("tq:outbox:sent") == 0


def test_a_relay_that_has_lost_its_lock_queues_nothing(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    submit(engine)
    relaying = relay()
    redis.set(LOCK[0], "another")
    with pytest.raises(RelayReplaced):
        relaying.move()
    redis.delete(LOCK[0])
    with pytest.raises(RelayReplaced):
        relaying.move()
    assert redis.keys("rq:*") == []
    assert len(waiting(engine)) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task_type": "forgotten"}, "There is no task type 'forgotten'."),
        ({"payload": '{"failures": "many"}'}, "The payload does not fit 'flaky'"),
        ({"options": '{"queue": "nowhere"}'}, "There is no queue 'nowhere'."),
        ({"options": '{"depends_on": ["gone"]}'}, "depends_on: there is no task 'gone'."),
    ],
)
def test_a_task_that_cannot_be_queued_waits_for_newer_code_and_is_then_set_aside(
    engine: sa.Engine,
    redis: Redis,
    relay: MakeRelay,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    reason: str,
) -> None:
    poison, good = submit(engine, 2)
    edit(engine, poison, **changes)
    patient = relay()
    with caplog.at_level(logging.WARNING):
        move_all(patient)
        move_all(patient)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert queued(redis, "high") == [good]
    assert waiting(engine) == [poison]
    assert reasons(engine) == {}
    move_all(relay(patience_seconds=0))
    assert reasons(engine)[poison].startswith(reason)
    caplog.clear()
    move_all(relay(patience_seconds=0))
    assert caplog.records == []
    edit(engine, poison, task_type="flaky", payload='{"failures": 0}', options="{}", set_aside=None)
    move_all(relay())
    assert queued(redis, "high") == [good, poison]


@pytest.mark.parametrize("changes", [{"payload": "{"}, {"options": '{"delay": "soon"}'}, {"options": "[1]"}])
def test_a_row_that_cannot_be_read_is_set_aside_at_once(
    engine: sa.Engine, redis: Redis, relay: MakeRelay, changes: dict[str, str]
) -> None:
    poison, good = submit(engine, 2)
    edit(engine, poison, **changes)
    move_all(relay())
    assert queued(redis, "high") == [good]
    assert reasons(engine)[poison].startswith("It cannot be read: ")


def test_what_redis_refuses_keeps_nothing_else_from_its_queue(
    engine: sa.Engine, redis: Redis, queue: TaskQueue, relay: MakeRelay
) -> None:
    with engine.begin() as connection:
        outbox.submit(connection, samples.flaky, 0)
        low = outbox.submit(connection, samples.flaky.options(queue="low"), 0)
    redis.set("rq:queue:high", "no list")
    relaying = relay()
    move_all(relaying)
    assert "WRONGTYPE" in relaying.refused
    assert queued(redis, "low") == [low.id]
    assert redis.zcard("tq:outbox:sent") == 0
    redis.delete("rq:queue:high")
    move_all(relaying)
    assert waiting(engine) == []
