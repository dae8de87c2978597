"""Writes tasks into the outbox, in the transaction of the caller: they exist if it commits, and only then."""

from collections.abc import Iterable
from typing import Any, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from taskqueue.direct.by_redis import ByRedis, current
from taskqueue.direct.handle import TaskHandle
from taskqueue.direct.job_function import NewTask
from taskqueue.direct.options import read_options
from taskqueue.enqueue.job_fields import payload_text
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.submission import trace_text
from taskqueue.outbox.following import handle_of
from taskqueue.outbox.schema import own_table
from taskqueue.telemetry.spans import attribute

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Database = Session | scoped_session[Session] | sa.Connection
AsyncDatabase = AsyncSession | AsyncConnection


class Submittable(Protocol[P, R_co]):
    """A job, with or without options: `send_email`, `send_email.options(delay=60)`."""

    def task(self, *args: P.args, **kwargs: P.kwargs) -> NewTask[R_co]:
        """Return a task with these arguments that is not queued yet."""


def submit(database: Database, job: Submittable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
    """Submit a task in a transaction: a worker's relay queues it after the commit; after a rollback nobody does.

        outbox.submit(session, send_email, to="ada@example.com")
        outbox.submit(session, send_email.options(delay=60), to="ada@example.com")

    database: The session or the connection of SQLAlchemy whose transaction it is.
    job: The job, with its options if it has some. Its arguments follow.

    The task is validated as by `send_email.submit`, and written as one row: one statement, no call to Redis. The
    handle knows the task's id at once; `result()` also waits for the commit.

    Raises `InvalidPayload`, `InvalidOptions`, `UnknownQueue`, and then nothing is written; SQLAlchemy's errors.
    """
    return submit_many(database, [job.task(*args, **kwargs)])[0]


def submit_many(database: Database, tasks: Iterable[NewTask[R]]) -> list[TaskHandle[R]]:
    """Submit many tasks in a transaction, as `submit` does, with one statement. They are queued in this order.

        outbox.submit_many(session, [send_email.task(to=address) for address in addresses])

    Raises what `submit` raises, and then nothing is written.
    """
    by_redis, new_tasks = current(), list(tasks)
    rows = [_row(by_redis, task) for task in new_tasks]
    if rows:
        database.execute(_insertion(database, by_redis.settings.outbox_table), rows if len(rows) > 1 else rows[0])
    return [handle_of(by_redis, row["id"], task.job_type) for row, task in zip(rows, new_tasks, strict=True)]


async def asubmit(
    database: AsyncDatabase, job: Submittable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> TaskHandle[R]:
    """Submit a task in the transaction of an async session or connection, as `submit` does."""
    return (await asubmit_many(database, [job.task(*args, **kwargs)]))[0]


async def asubmit_many(database: AsyncDatabase, tasks: Iterable[NewTask[R]]) -> list[TaskHandle[R]]:
    """Submit many tasks in the transaction of an async session or connection, as `submit_many` does."""
    return await database.run_sync(submit_many, list(tasks))


def _row(by_redis: ByRedis, task: NewTask[Any]) -> dict[str, Any]:
    """Return the row of a task that is valid now. Raises `InvalidPayload`, `InvalidOptions`, `UnknownQueue`."""
    options = read_options(SubmitOptions, task.options)
    text = payload_text(task.job_type.name, task.payload)
    by_redis.check_size(task.job_type.name, text)
    with by_redis.queue.span(task.job_type):
        submission = by_redis.queue.submissions.prepare(task.job_type, task.payload, options, text=text)
        attribute("task.id", submission.id)
        return {
            "id": submission.id,
            "task_type": task.job_type.name,
            "payload": text,
            "options": options.model_dump_json(exclude_unset=True),
            "trace": trace_text(),
            "created_at": submission.created_at,
        }


def _insertion(database: Database, table_name: str) -> sa.Insert | sa.sql.dml.ReturningInsert[Any]:
    """Return the statement that writes rows. PostgreSQL announces them with the commit, in the same round trip."""
    table = own_table(table_name)
    bind = database if isinstance(database, sa.Connection) else database.get_bind(clause=table)
    if bind.dialect.name == "postgresql":
        return sa.insert(table).returning(sa.func.pg_notify(table_name, ""))
    return sa.insert(table)
