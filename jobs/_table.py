"""Writes the table of `sync`: rows into SQLite or PostgreSQL."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError, SAWarning, StatementError
from sqlalchemy.ext.compiler import compiles

from jobs._feed import Row
from jobs._feed_keys import FeedKeys
from jobs._values import DoesNotFit, as_json, for_column, kind_of
from taskqueue import PermanentFailure, progress

MAX_COLUMNS = 500  # PostgreSQL allows 1,600
MAX_NAME_BYTES = 63  # PostgreSQL cuts off what is longer
BATCH_ROWS = 250
SQLITE_WAIT_SECONDS = 60  # for another sync that writes the same file


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
    else:
        # PgBouncer gives each transaction another connection, which does not know the prepared statements.
        url = url.difference_update_query(["prepare_threshold"])
        options["connect_args"] = {"prepare_threshold": None}
    engine = sa.create_engine(url, hide_parameters=True, poolclass=sa.pool.NullPool, **options)
    try:
        if engine.dialect.name == "sqlite":
            # Python's driver would begin only at the first write, and never for CREATE TABLE.
            sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as db:
            yield db
    except (OperationalError, InterfaceError, InternalError):
        raise  # the database is away or busy
    except StatementError as error:
        # Without its cause, which PostgreSQL gives with the row's values.
        raise PermanentFailure(f"The database refused: {_without_values(error.orig)}") from None
    finally:
        engine.dispose()


def _without_values(error: BaseException | None) -> str:
    """Return the database's reason without a value of the row. It may name columns and constraints."""
    diagnosis = getattr(error, "diag", None)
    if diagnosis is None:
        return str(error)
    if (diagnosis.sqlstate or "").startswith("22"):  # about a value: the message shows it
        return re.sub(r"(?<=.)(?=[A-Z])", " ", type(error).__name__).lower()
    return str(diagnosis.message_primary)


class Target:
    """The table that a feed is written to."""

    def __init__(self, db: sa.Connection, name: str, key: str) -> None:
        """Read the table's columns; `name` may be `schema.table`.

        Raises `PermanentFailure` for a table in which `key` is not unique.
        """
        self._db = db
        self._key = key
        self._is_sqlite = db.dialect.name == "sqlite"
        schema, _, table = name.rpartition(".")
        if schema and self._is_sqlite and schema != "main":
            raise PermanentFailure(f"SQLite has no schemas: write the table {table!r} without {schema!r}.")
        if not self._is_sqlite:  # two syncs of one table run one after the other
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"taskqueue.sync.{table}"))))
        metadata = sa.MetaData(schema=schema or None)
        inspector = sa.inspect(db)
        self.exists = inspector.has_table(table, metadata.schema)
        if self.exists:
            self._check_unique(inspector, table, metadata.schema)
            with warnings.catch_warnings():  # of a type that SQLAlchemy does not know: the database does
                warnings.simplefilter("ignore", SAWarning)
                self._table = sa.Table(table, metadata, autoload_with=db)
        else:
            self._table = sa.Table(table, metadata, sa.Column(key, sa.Text, primary_key=True))

    def _check_unique(self, inspector: sa.Inspector, name: str, schema: str | None) -> None:
        unique = [
            inspector.get_pk_constraint(name, schema)["constrained_columns"],
            *(constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema)),
            *(index["column_names"] for index in inspector.get_indexes(name, schema) if index["unique"]),
        ]
        if [self._key] not in unique:
            raise PermanentFailure(
                f"In the table {name!r} the column {self._key!r} is not unique, so it cannot identify a row:"
                " make it the primary key, or give it a unique index."
            )

    def count(self) -> int:
        """Return how many rows the table has."""
        return int(self._db.execute(sa.select(sa.func.count()).select_from(self._table)).scalar_one())

    def upsert(self, rows: Iterator[Row], *, untyped: bool) -> SyncResult:
        """Insert new rows, update rows that differ, and return how many of each there were.

        `untyped`: the feed is CSV, so every value is text. Raises `PermanentFailure` for a row that is no good.
        """
        result = SyncResult()
        with FeedKeys(self._key, self._table.columns[self._key].type) as keys:
            while batch := list(islice(rows, BATCH_ROWS)):
                first = result.fetched + 1
                for number, row in enumerate(batch, first):
                    if row.get(self._key) in (None, ""):
                        raise PermanentFailure(f"Row {number} has no {self._key!r}.{self._other_case(row)}")
                self._add_columns(batch, result.fetched)
                typed = (
                    (number, self._typed(row, number, untyped=untyped)) for number, row in enumerate(batch, first)
                )
                updated, inserted = self._write(keys.first_ones(typed))
                result.fetched += len(batch)
                result.inserted += inserted
                result.updated += updated
                result.unchanged += len(batch) - updated - inserted
                progress(result.fetched, None, f"{result.fetched:,} rows")
        if not self.exists and not result.fetched:
            self._table.create(self._db)  # an empty feed makes an empty table
        return result

    def _other_case(self, row: Row) -> str:
        alike = [name for name in row if name != self._key and name.lower() == self._key.lower()]
        return f" It has {alike[0]!r}." if alike else ""

    def _add_columns(self, batch: Sequence[Row], before: int) -> None:
        names = dict.fromkeys(name for row in batch for name in row)
        existing = {column.name.lower(): column.name for column in self._table.columns}
        for name in names:
            if existing.get(name.lower()) == name:
                continue
            if not _may_be_created(name) or name.lower() in existing:
                where = f"within rows {before + 1} to {before + len(batch)}"
                raise PermanentFailure(
                    f"A field has the name {name[:80]!r} ({where}); a column's name is letters, digits and _, or"
                    f" blanks and signs other than quotation marks and semicolons between them, at most"
                    f" {MAX_NAME_BYTES} bytes, and no two names may differ only in upper and lower case."
                )
            if len(existing) >= MAX_COLUMNS:
                raise PermanentFailure(f"The feed has more than {MAX_COLUMNS} different fields.")
            self._table.append_column(sa.Column(name, sa.Text))
            existing[name.lower()] = name
            if self.exists:
                self._db.execute(_AddColumn(self._table.columns[name]))
        if not self.exists:
            self._table.create(self._db)
            self.exists = True

    def _typed(self, row: Row, number: int, *, untyped: bool) -> Row:
        """Return the row with its values in the types of the table's columns."""
        typed = {}
        for name, value in row.items():
            kind = self._table.columns[name].type
            try:
                typed[name] = for_column(value, kind, sqlite=self._is_sqlite, untyped=untyped)
            except DoesNotFit as error:
                raise self._does_not_fit(number, name, value, str(error)) from None
        if typed[self._key] is None:
            raise PermanentFailure(f"Row {number} has no {self._key!r}.")
        return typed

    def _does_not_fit(self, number: int, name: str, value: Any, reason: str) -> PermanentFailure:
        kind = self._table.columns[name].type
        shown = "" if isinstance(kind, sa.types.NullType) else f" ({kind.compile(self._db.dialect)})"
        what = f"Row {number}: {name!r} does not fit its column{shown}"
        return PermanentFailure(f"{what}: {kind_of(value)}; {reason}.")

    def _write(self, rows: Any) -> tuple[int, int]:
        """Write rows with their numbers, and return how many were updated and inserted."""
        # Rows with the same fields share a statement: nearly always that is one statement for all rows.
        by_fields: dict[tuple[str, ...], list[tuple[int, Row]]] = {}
        for number, row in rows:
            by_fields.setdefault(tuple(sorted(row)), []).append((number, row))
        counts = [self._write_alike(fields, alike) for fields, alike in by_fields.items()]
        return sum(updated for updated, _ in counts), sum(inserted for _, inserted in counts)

    def _write_alike(self, fields: tuple[str, ...], rows: list[tuple[int, Row]]) -> tuple[int, int]:
        """Update the stored rows that differ, then insert the others: a row need not have all NOT NULL columns."""
        feed, parameters = self._feed(fields, [row for _, row in rows])
        columns = self._table.columns
        is_stored = columns[self._key] == feed.c[self._key]
        others = [name for name in fields if name != self._key]
        # Both sides are compared as the database stores them, because it rounds and pads.
        differ = [self._stored(columns[name]).is_distinct_from(self._stored(feed.c[name])) for name in others]
        update = sa.update(self._table).values({name: feed.c[name] for name in others})
        update = update.where(is_stored, sa.or_(sa.false(), *differ))
        new = sa.select(feed).where(~sa.exists().where(is_stored))
        try:
            with self._db.begin_nested():
                updated = self._db.execute(update, parameters).rowcount if others else 0
                insert = self._insert(list(fields), others, new).execution_options(preserve_rowcount=True)
                inserted = self._db.execute(insert, parameters).rowcount
        except DataError:
            self._name_the_value(rows)
            raise
        return updated, inserted

    def _feed(self, fields: Sequence[str], rows: list[Row]) -> tuple[sa.FromClause, Any]:
        """Return rows as a table of a statement, and the statement's parameters."""
        if self._is_sqlite:
            parameters = [{f"f{n}": row[name] for n, name in enumerate(fields)} for row in rows]
            values = [sa.bindparam(f"f{n}", type_=sa.types.NullType()) for n in range(len(fields))]
            labels = (value.label(name) for value, name in zip(values, fields, strict=True))
            return sa.select(*labels).subquery("feed"), parameters
        # The database reads all values from one JSON text, each as the type of its column.
        table = self._db.dialect.identifier_preparer.format_table(self._table)
        document = sa.cast(sa.bindparam("rows", type_=sa.Text), sa.JSON)
        function = sa.func.json_populate_recordset(sa.literal_column(f"NULL::{table}"), document)
        columns = (sa.column(name, self._table.columns[name].type) for name in fields)
        return function.table_valued(*columns, name="feed"), {"rows": as_json(rows)}

    def _stored(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # Not every type of PostgreSQL has an equality (json, xml, point), but every one has a text.
        return column if self._is_sqlite else sa.cast(column, sa.Text)

    def _insert(self, fields: list[str], others: list[str], new: sa.Select[Any]) -> sa.Insert:
        if self._is_sqlite:  # nobody else writes during the transaction
            return sa.insert(self._table).from_select(fields, new)
        insert = postgresql.insert(self._table).from_select(fields, new)
        if not others:
            return insert.on_conflict_do_nothing(index_elements=[self._key])
        set_ = {name: insert.excluded[name] for name in others}
        return insert.on_conflict_do_update(index_elements=[self._key], set_=set_)

    def _name_the_value(self, rows: list[tuple[int, Row]]) -> None:
        """Raise `PermanentFailure` with the row and the column of the first value that the database refuses."""
        for number, row in rows:
            if self._refusal(row) is None:
                continue
            for name, value in row.items():
                if refusal := self._refusal({name: value}):
                    raise self._does_not_fit(number, name, value, refusal)

    def _refusal(self, row: Row) -> str | None:
        feed, parameters = self._feed(list(row), [row])
        try:
            with self._db.begin_nested():
                self._db.execute(sa.select(*(self._stored(column) for column in feed.c)), parameters)
        except DataError as error:
            return _without_values(error.orig)
        return None


class _AddColumn(sa.schema.ExecutableDDLElement):
    """ALTER TABLE … ADD COLUMN."""

    def __init__(self, column: sa.Column[Any]) -> None:
        self.column = column


@compiles(_AddColumn)
def _add_column(element: _AddColumn, compiler: Any, **_: Any) -> str:
    table = compiler.preparer.format_table(element.column.table)
    return f"ALTER TABLE {table} ADD COLUMN {compiler.get_column_specification(element.column)}"


def _may_be_created(name: str) -> bool:
    """Return whether a column may get a name: it is quoted, but a name that looks like an attack is refused."""
    is_clean = name.isprintable() and name == name.strip() and not re.search(r"[\"'`;\\]|--", name)
    return is_clean and 0 < len(name.encode()) <= MAX_NAME_BYTES
