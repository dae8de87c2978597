"""The table of the outbox, for SQLAlchemy's metadata and for a migration of Alembic."""

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from taskqueue.settings import process_settings


def table(metadata: sa.MetaData | None = None, name: str | None = None) -> sa.Table:
    """Return the table of the outbox, in `metadata`: Alembic's autogenerate and `create_all` find it there.

        outbox.table(Base.metadata)

    name: `OUTBOX_TABLE` unless given; "schema.table" names its schema.
    """
    schema, _, own_name = (name or process_settings().outbox_table).rpartition(".")
    metadata = sa.MetaData() if metadata is None else metadata
    known = metadata.tables.get(f"{schema}.{own_name}" if schema else own_name)
    if known is not None:
        return known
    return sa.Table(own_name, metadata, *_columns(), schema=schema or None, sqlite_autoincrement=True)


@cache
def own_table(name: str) -> sa.Table:
    """Return the table of this name, in metadata of its own."""
    return table(name=name)


def create_table(op: Any, name: str | None = None) -> None:
    """Create the table in a migration of Alembic. A later version of the library still makes this form of it.

        def upgrade() -> None:
            outbox.create_table(op)

    op: `alembic.op`. name: `OUTBOX_TABLE` unless given.
    """
    schema, _, own_name = (name or process_settings().outbox_table).rpartition(".")
    op.create_table(own_name, *_columns(), schema=schema or None, sqlite_autoincrement=True)


def drop_table(op: Any, name: str | None = None) -> None:
    """Drop the table in a migration of Alembic, with the tasks that still wait in it."""
    schema, _, own_name = (name or process_settings().outbox_table).rpartition(".")
    op.drop_table(own_name, schema=schema or None)


def _columns() -> list[sa.Column[Any]]:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up an INTEGER only
    text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")  # MySQL's TEXT ends at 64 KiB
    time = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    return [
        sa.Column("number", big, primary_key=True, autoincrement=True),  # the order in which tasks are queued
        sa.Column("id", sa.String(36), nullable=False),  # of the task
        sa.Column("task_type", sa.String(255), nullable=False),
        sa.Column("payload", text, nullable=False),  # JSON
        sa.Column("options", text, nullable=False),  # JSON: those of POST /tasks
        sa.Column("trace", sa.String(255), nullable=False),  # of the request that submitted the task
        sa.Column("created_at", time, nullable=False),  # UTC
        sa.Column("set_aside", text, nullable=True),  # why the task cannot be queued; NULL: it waits
    ]
