"""The rows of an outbox, as its relay reads, deletes and sets them aside."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

FEW_ROWS = 20  # are read by one query, whatever their size: mostly there is one
MAX_ROWS = 500  # of one batch, which is one round trip to Redis
MAX_BYTES = 8 * 1024 * 1024  # of the payloads of one batch, but for its last one
MAX_REASON = 2000  # characters


class Row(NamedTuple):
    """A task that waits in an outbox."""

    number: int
    id: str
    task_type: str
    payload: str  # JSON
    options: str  # JSON
    trace: str
    created_at: datetime


class Lag(NamedTuple):
    """What an outbox holds."""

    waiting: int
    oldest: datetime | None  # when the oldest of the waiting tasks was submitted
    set_aside: int


class Rows:
    """The rows of one outbox. Each statement commits by itself; each method raises SQLAlchemy's errors."""

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self._engine = engine
        self._table = table

    def after(self, number: int) -> list[Row]:
        """Return the next batch of committed rows after this number, in their order."""
        column = self._table.c
        waiting = sa.and_(column.number > number, column.set_aside.is_(None))
        query = sa.select(*(column[name] for name in Row._fields)).where(waiting).order_by(column.number)
        with self._engine.connect() as db:
            rows = [Row(*row) for row in db.execute(query.limit(FEW_ROWS))]
            if len(rows) == FEW_ROWS:  # there may be many: how many of them are not too much at once?
                sizes = sa.select(column.number, sa.func.length(column.payload)).where(waiting)
                last = _last_that_fits(db.execute(sizes.order_by(column.number).limit(MAX_ROWS)))
                rows = [Row(*row) for row in db.execute(query.where(column.number <= last).limit(MAX_ROWS))]
        return rows

    def delete(self, rows: Sequence[Row]) -> None:
        """Delete rows."""
        with self._engine.connect() as db:
            db.execute(sa.delete(self._table).where(*self._are(rows)))

    def set_aside(self, row: Row, reason: str) -> None:
        """Keep a row that cannot be queued, with the reason, out of the way of the others."""
        with self._engine.connect() as db:
            db.execute(sa.update(self._table).where(*self._are([row])).values(set_aside=reason[:MAX_REASON]))

    def lag(self) -> Lag:
        """Count what the outbox holds."""
        column = self._table.c
        waits = column.set_aside.is_(None)
        query = sa.select(
            sa.func.count(), sa.func.count(column.set_aside), sa.func.min(sa.case((waits, column.created_at)))
        )
        with self._engine.connect() as db:
            everything, aside, oldest = db.execute(query.select_from(self._table)).one()
        return Lag(everything - aside, aware(oldest) if oldest else None, aside)

    def _are(self, rows: Sequence[Row]) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        # Both: an old MySQL gives a number again after a restart.
        column = self._table.c
        return column.number.in_([row.number for row in rows]), column.id.in_([row.id for row in rows])


def _last_that_fits(sizes: Iterable[Sequence[int]]) -> int:
    """Return the number of the last of these rows, of which all together have MAX_BYTES or a little more."""
    last, total = 0, 0
    for number, size in sizes:
        last, total = number, total + size
        if total > MAX_BYTES:
            break
    return last


def aware(time: Any) -> datetime:
    """Return a time in UTC: SQLite and MySQL keep no zone, PostgreSQL answers in that of the session."""
    moment: datetime = time
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
