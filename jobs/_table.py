"""Writes the table of `sync`: rows into SQLite or PostgreSQL, and what was fetched last."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from jobs._feed import Row
from taskqueue import PermanentFailure, progress
from taskqueue.run.outbound import Response

MAX_COLUMNS = 500  # PostgreSQL allows 1,600
BATCH_ROWS = 250
STATEMENT_VALUES = 30_000  # SQLite allows 32,766 values in a statement
SQLITE_WAIT_SECONDS = 60  # for another sync that writes the same file
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_state = sa.Table(
    "_taskqueue_sync",
    sa.MetaData(),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("etag", sa.Text),
    sa.Column("last_modified", sa.Text),
    sa.Column("synced_at", sa.Text),
)
"""The last success of each feed, written in the transaction of the data, so that the two cannot disagree."""


@dataclass
class SyncResult:
    """How many rows of the feed were written. `not_modified`: the feed has not changed since the last success."""

    not_modified: bool = False
    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@contextmanager
def transaction(url: sa.URL) -> Iterator[sa.Connection]:
    """Open one transaction. Raises `PermanentFailure` if the database refuses for good; it names no values."""
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        options["connect_args"] = {"timeout": SQLITE_WAIT_SECONDS, "isolation_level": None}
    engine = sa.create_engine(url, hide_parameters=True, poolclass=sa.pool.NullPool, **options)
    try:
        if engine.dialect.name == "sqlite":
            # Python's driver would begin only at the first write, and never for CREATE TABLE.
            sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as db:
            yield db
    except (DataError, IntegrityError, ProgrammingError) as error:
        raise PermanentFailure(f"The database refused: {error.orig}") from error
    finally:
        engine.dispose()


class Target:
    """The table that a feed is written to."""

    def __init__(self, db: sa.Connection, name: str, key: str) -> None:
        """Raises `PermanentFailure` for a table in which `key` is not unique."""
        self._db = db
        self._key = key
        if db.dialect.name == "postgresql":  # two syncs of one table run one after the other
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"taskqueue.sync.{name}"))))
        inspector = sa.inspect(db)
        self.exists = inspector.has_table(name)
        if self.exists:
            self._check_unique(inspector, name)
            self._table = sa.Table(name, sa.MetaData(), autoload_with=db)
        else:
            self._table = sa.Table(name, sa.MetaData(), sa.Column(key, sa.Text, primary_key=True))

    def _check_unique(self, inspector: sa.Inspector, name: str) -> None:
        unique = [
            inspector.get_pk_constraint(name)["constrained_columns"],
            *(constraint["column_names"] for constraint in inspector.get_unique_constraints(name)),
            *(index["column_names"] for index in inspector.get_indexes(name) if index["unique"]),
        ]
        if [self._key] not in unique:
            raise PermanentFailure(
                f"In the table {name!r} the column {self._key!r} is not unique, so it cannot identify a row:"
                " make it the primary key, or give it a unique index."
            )

    def upsert(self, rows: Iterator[Row]) -> SyncResult:
        """Insert new rows, update rows that differ, and return how many of each there were."""
        result = SyncResult()
        while batch := list(islice(rows, BATCH_ROWS)):
            self._add_columns(batch, result.fetched)
            by_key = {
                row[self._key]: row
                for number, feed_row in enumerate(batch, result.fetched + 1)
                for row in [self._typed(feed_row, number)]
            }
            stored = self._stored(list(by_key))
            differing = [row for key, row in by_key.items() if not _contains(stored.get(key), row)]
            self._write(differing)
            result.fetched += len(batch)
            result.inserted += len(by_key.keys() - stored.keys())
            result.updated += len([row for row in differing if row[self._key] in stored])
            result.unchanged += len(batch) - len(differing)
            progress(result.fetched, None, f"{result.fetched:,} rows")
        if not self.exists and not result.fetched:
            self._table.create(self._db)  # an empty feed makes an empty table
        return result

    def _add_columns(self, batch: Sequence[Row], before: int) -> None:
        names = dict.fromkeys(name for row in batch for name in row)
        existing = {column.name.lower(): column.name for column in self._table.columns}
        for name in names:
            if existing.get(name.lower()) == name:
                continue
            if not NAME.fullmatch(name) or name.lower() in existing:
                where = f"within rows {before + 1} to {before + len(batch)}"
                raise PermanentFailure(
                    f"A field has the name {name[:80]!r} ({where}); a column's name is letters, digits and _,"
                    " and no two names may differ only in upper and lower case."
                )
            if len(existing) >= MAX_COLUMNS:
                raise PermanentFailure(f"The feed has more than {MAX_COLUMNS} different fields.")
            column: sa.Column[Any] = sa.Column(name, sa.Text)
            self._table.append_column(column)
            existing[name.lower()] = name
            if self.exists:
                added = sa.schema.CreateColumn(self._table.columns[name]).compile(dialect=self._db.dialect)
                quoted = self._db.dialect.identifier_preparer.format_table(self._table)
                self._db.exec_driver_sql(f"ALTER TABLE {quoted} ADD COLUMN {added}")
        if not self.exists:
            self._table.create(self._db)
            self.exists = True

    def _typed(self, row: Row, number: int) -> Row:
        """Return the row with its values in the types of the table's columns."""
        if row.get(self._key) in (None, ""):
            raise PermanentFailure(f"Row {number} has no {self._key!r}.")
        typed = {}
        for name, value in row.items():
            try:
                typed[name] = None if value is None else _value(value, self._table.columns[name].type)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise PermanentFailure(f"Row {number}: {name!r} does not fit its column: {error}") from error
        return typed

    def _stored(self, keys: Sequence[Any]) -> dict[Any, Row]:
        """Return the stored rows with these keys."""
        column = self._table.columns[self._key]
        rows = self._db.execute(sa.select(self._table).where(column.in_(keys))).mappings()
        return {row[self._key]: dict(row) for row in rows}

    def _write(self, rows: Iterable[Row]) -> None:
        # Rows with the same fields share a statement: nearly always that is one statement for all rows.
        by_fields: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            by_fields.setdefault(tuple(sorted(row)), []).append(row)
        insert = sqlite.insert if self._db.dialect.name == "sqlite" else postgresql.insert
        for fields, alike in by_fields.items():
            others = [name for name in fields if name != self._key]
            size = STATEMENT_VALUES // len(fields)
            for start in range(0, len(alike), size):
                statement = insert(self._table).values(alike[start : start + size])
                if others:
                    set_ = {name: statement.excluded[name] for name in others}
                    statement = statement.on_conflict_do_update(index_elements=[self._key], set_=set_)
                else:
                    statement = statement.on_conflict_do_nothing(index_elements=[self._key])
                self._db.execute(statement)


def _contains(stored: Row | None, row: Row) -> bool:
    return stored is not None and all(stored[name] == value for name, value in row.items())


def _value(value: Any, kind: sa.types.TypeEngine[Any]) -> Any:
    """Return a value of the feed in the type of its column. Raises ValueError, TypeError, ArithmeticError."""
    if isinstance(kind, sa.JSON):
        return value
    as_text = value if isinstance(value, str) else _as_json(value)
    match kind:
        case sa.String():
            return as_text
        case _ if as_text == "":
            return None  # CSV has no other null
        case sa.Boolean():
            return _boolean(as_text)
        case sa.DateTime():
            return datetime.fromisoformat(as_text)
    return kind.python_type.fromisoformat(as_text) if isinstance(kind, sa.Date) else kind.python_type(as_text)


def _boolean(as_text: str) -> bool:
    try:
        return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[as_text.lower()]
    except KeyError:
        raise ValueError(f"{as_text[:40]!r} is neither true nor false") from None


def _as_json(value: Any) -> str:
    if isinstance(value, Decimal):  # ijson reads numbers with a fraction as Decimal
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=float)


# What was fetched last, so that the server need not send an unchanged feed again (RFC 9110, 13.1).


def last_success(db: sa.Connection, source: str, table: str) -> dict[str, str]:
    """Return the request headers that ask for the feed only if it has changed; none before the first success."""
    if not sa.inspect(db).has_table(_state.name):
        return {}
    last = db.execute(
        sa.select(_state.c.etag, _state.c.last_modified).where(
            _state.c.source == source, _state.c.table_name == table
        )
    ).one_or_none()
    if last is None:
        return {}
    headers = {"If-None-Match": last.etag, "If-Modified-Since": last.last_modified}
    return {name: value for name, value in headers.items() if value}


def note_success(db: sa.Connection, source: str, table: str, answer: Response) -> None:
    """Store what the server said about the version of the feed that was fetched."""
    _state.create(db, checkfirst=True)
    insert = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    facts = {
        "etag": answer.headers.get("ETag"),
        "last_modified": answer.headers.get("Last-Modified"),
        "synced_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    statement = insert(_state).values(source=source, table_name=table, **facts)
    db.execute(statement.on_conflict_do_update(index_elements=["source", "table_name"], set_=facts))
