"""Tasks that are submitted in a transaction exist if it commits, and only then."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from redis import Redis
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from taskqueue import outbox
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidOptions, InvalidPayload, NotRelayed, UnknownQueue
from taskqueue.outbox.relay import Relay
from taskqueue.telemetry.trace import Trace, current_trace
from tests.sample_jobs import samples
from tests.taskqueue.outbox.conftest import TABLE, move_all, queued, waiting

MakeRelay = Callable[..., Relay]


@pytest.mark.usefixtures("job_types")
def test_a_task_is_queued_after_the_commit_with_its_payload_and_options(
    engine: sa.Engine, redis: Redis, queue: TaskQueue, relay: MakeRelay
) -> None:
    with Session(engine) as session, session.begin():
        handle = outbox.submit(session, samples.flaky.options(tags=["a"], attempts=2, timeout=7), failures=0)
        with pytest.raises(NotRelayed, match="waits in the outbox"):
            handle.status()
    assert redis.keys("rq:*") == []
    assert waiting(engine) == [handle.id]
    move_all(relay())
    task = queue.get(handle.id)
    assert (task.type, task.status, task.payload, task.tags, task.attempts) == (
        "flaky", "queued", {"failures": 0}, ("a",), 2,
    )  # fmt: skip
    assert queued(redis, "high") == [handle.id]
    assert handle.status() == "queued"
    assert waiting(engine) == []
    assert redis.zcard("tq:outbox:sent") == 0


def test_after_a_rollback_nothing_is_queued(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    with Session(engine) as session:
        outbox.submit(session, samples.flaky, failures=0)
        session.rollback()
    move_all(relay())
    assert redis.keys("rq:*") == []


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: samples.flaky.task("many"), InvalidPayload),  # type: ignore[arg-type]
        (lambda: samples.flaky.options(queue="nowhere").task(1), UnknownQueue),
        (lambda: samples.flaky.options(delay=-1).task(1), InvalidOptions),
    ],
)
def test_a_wrong_task_is_refused_before_anything_is_written(
    engine: sa.Engine, make: Callable[[], object], error: type[Exception]
) -> None:
    with Session(engine) as session, session.begin():
        with pytest.raises(error):
            outbox.submit_many(session, [samples.flaky.task(1), make()])  # type: ignore[list-item]
        assert session.execute(sa.select(sa.func.count()).select_from(TABLE)).scalar_one() == 0


def test_many_tasks_are_queued_in_their_order(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    with engine.begin() as connection:
        handles = outbox.submit_many(connection, [samples.flaky.task(0) for _ in range(1200)])
    move_all(relay())
    assert queued(redis, "high") == [handle.id for handle in handles]


def test_a_scoped_session_and_one_transaction_with_the_application(
    engine: sa.Engine, redis: Redis, relay: MakeRelay
) -> None:
    sessions = scoped_session(sessionmaker(engine))
    sessions.execute(sa.text("INSERT INTO customers VALUES ('ada@example.com')"))
    handle = outbox.submit(sessions, samples.flaky, 0)
    sessions.commit()
    sessions.execute(sa.text("INSERT INTO customers VALUES ('grace@example.com')"))
    outbox.submit(sessions, samples.flaky, 0)
    with pytest.raises(sa.exc.IntegrityError):
        sessions.execute(sa.text("INSERT INTO customers VALUES ('ada@example.com')"))
    sessions.rollback()
    sessions.remove()
    move_all(relay())
    assert queued(redis, "high") == [handle.id]


def test_times_count_from_the_submission(
    engine: sa.Engine, redis: Redis, queue: TaskQueue, relay: MakeRelay
) -> None:
    before = datetime.now(UTC)
    at = before + timedelta(hours=2)
    with engine.begin() as connection:
        delayed = outbox.submit(connection, samples.flaky.options(delay=60, expires_in=90), 0)
        timed = outbox.submit(connection, samples.flaky.options(at=at), 0)
    move_all(relay())
    task = queue.get(delayed.id)
    assert task.scheduled_for
    assert abs(task.scheduled_for - task.created_at - timedelta(seconds=60)) < timedelta(milliseconds=2)
    assert before <= task.created_at <= datetime.now(UTC)
    assert task.expires_at
    assert abs(task.expires_at - task.created_at - timedelta(seconds=90)) < timedelta(milliseconds=2)
    due = queue.get(timed.id).scheduled_for
    assert due
    assert abs(due - at) < timedelta(milliseconds=2)


def test_a_task_depends_on_one_of_the_same_transaction(
    engine: sa.Engine, queue: TaskQueue, relay: MakeRelay
) -> None:
    with engine.begin() as connection:
        first = outbox.submit(connection, samples.flaky, 0)
        second = outbox.submit(connection, samples.flaky.options(depends_on=[first]), 0)
    move_all(relay())
    assert [queue.get(first.id).status, queue.get(second.id).status] == ["queued", "deferred"]


def test_a_task_has_the_trace_of_its_request(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    current_trace.set(Trace("request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    with engine.begin() as connection:
        handle = outbox.submit(connection, samples.flaky, 0)
    current_trace.set(None)
    move_all(relay())
    trace = redis.hget(f"rq:job:{handle.id}", "tq:trace")
    assert trace == b"request-1 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def _submit_in_an_async_session(engine: sa.Engine, driver: str) -> str:
    url = engine.url.set(drivername=f"{engine.dialect.name}+{driver}")
    async_engine = create_async_engine(url)
    async with AsyncSession(async_engine) as session, session.begin():
        handle = await outbox.asubmit(session, samples.flaky, 0)
        with pytest.raises(NotRelayed):
            await handle.astatus()
    async with async_engine.begin() as connection:
        await outbox.asubmit_many(connection, [samples.flaky.task(0)])
        await connection.rollback()
    await async_engine.dispose()
    return handle.id


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_an_async_session(engine: sa.Engine, redis: Redis, relay: MakeRelay) -> None:
    driver = "aiosqlite" if engine.dialect.name == "sqlite" else "psycopg"
    task_id = asyncio.run(_submit_in_an_async_session(engine, driver))
    move_all(relay())
    assert queued(redis, "high") == [task_id]


def test_a_result_is_waited_for_from_before_the_relay(
    engine: sa.Engine, redis: Redis, relay: MakeRelay, work: Callable[..., str]
) -> None:
    with engine.begin() as connection:
        handle = outbox.submit(connection, samples.flaky, 0)
    with pytest.raises(NotRelayed):
        handle.result(timeout=0.1)
    move_all(relay())
    work()
    assert handle.result(timeout=5) == 1
    redis.delete(f"rq:job:{handle.id}")
    with pytest.raises(Exception, match="It may have expired"):
        handle.status()
