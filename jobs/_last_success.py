"""Stores what `sync` fetched last, so that the server need not send an unchanged feed again (RFC 9110, 13.1)."""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jobs._table import Target
from taskqueue.run.outbound import Response

_state = sa.Table(
    "_taskqueue_sync",
    sa.MetaData(),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text),
    sa.Column("last_modified", sa.Text),
    sa.Column("synced_at", sa.Text),
    sa.Column("key_name", sa.Text),
    sa.Column("row_count", sa.BigInteger),  # of the whole table, whose rows may come from several feeds
)
"""The last success of each feed, written in the transaction of the data, so that the two cannot disagree."""


@dataclass(frozen=True)
class LastSuccess:
    """The request headers that ask for a feed only if it has changed; and when it was written, "" for never."""

    headers: dict[str, str]
    synced_at: str = ""


def last_success(db: sa.Connection, source: str, table: str, key: str, target: Target) -> LastSuccess:
    """Return the last success of a feed.

    It has no headers if the table has lost rows since then, or has another key: then the whole feed is needed.
    """
    inspector = sa.inspect(db)
    if not inspector.has_table(_state.name):
        return LastSuccess({})
    columns = {column["name"] for column in inspector.get_columns(_state.name)}
    if not columns >= set(_state.c.keys()):  # an older version has made it
        return LastSuccess({})
    of_table = _state.c.table_name == table
    most_rows = db.execute(sa.select(sa.func.max(_state.c.row_count)).where(of_table)).scalar()
    if not target.exists or target.count() < (most_rows or 0):
        db.execute(sa.delete(_state).where(of_table))  # every feed of this table must come again
        return LastSuccess({})
    last = db.execute(sa.select(_state).where(_state.c.source == source, of_table)).one_or_none()
    if last is None:
        return LastSuccess({})
    headers = {"If-None-Match": last.etag, "If-Modified-Since": last.last_modified}
    is_whole = last.key_name == key and last.row_count is not None
    return LastSuccess({name: value for name, value in headers.items() if value and is_whole}, last.synced_at)


def note_success(db: sa.Connection, source: str, table: str, key: str, target: Target, answer: Response) -> None:
    """Store what the server said about the version of the feed that was fetched."""
    _state.create(db, checkfirst=True)
    present = {column["name"] for column in sa.inspect(db).get_columns(_state.name)}
    for name, kind in (("key_name", "TEXT"), ("row_count", "BIGINT")):
        if name not in present:  # an older version has made the table
            db.exec_driver_sql(f"ALTER TABLE {_state.name} ADD COLUMN {name} {kind}")
    insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    facts = {
        "etag": answer.headers.get("ETag"),
        "last_modified": answer.headers.get("Last-Modified"),
        "synced_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "key_name": key,
        "row_count": target.count(),
    }
    statement = insert(_state).values(source=source, table_name=table, **facts)
    db.execute(statement.on_conflict_do_update(index_elements=["source", "table_name"], set_=facts))
