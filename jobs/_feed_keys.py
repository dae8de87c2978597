"""Finds keys that appear twice in a feed, in limited memory."""

import sqlite3
from collections.abc import Iterable
from decimal import Context, Decimal
from hashlib import blake2b
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from jobs._feed import Row
from jobs._values import MAX_DIGITS, as_json
from taskqueue import PermanentFailure

DIGEST_BYTES = 16  # two of a billion rows have one digest with a probability of 10**-21
CACHE_KIB = 8 * 1024
EXACT = Context(prec=2 * MAX_DIGITS)


class FeedKeys:
    """The keys of the rows that have been read, in a temporary file: a feed may have millions."""

    def __init__(self, name: str, kind: sa.types.TypeEngine[Any]) -> None:
        self._name = name
        self._kind = kind
        self._db = sqlite3.connect("", isolation_level=None)  # a file that SQLite deletes
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, number INTEGER, row BLOB) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def first_ones(self, rows: Iterable[tuple[int, Row]]) -> list[tuple[int, Row]]:
        """Note rows with their numbers, and return those without the rows that repeat an earlier one exactly.

        A row that appears twice loses nothing: pages of an export overlap. Raises `PermanentFailure` for two rows
        that differ and have one key, because nobody can know which of them is right.
        """
        rows = list(rows)
        noted = [
            (_digest(self._text(row[self._name])), number, _digest(repr(sorted(row.items()))))
            for number, row in rows
        ]
        new = self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", noted).rowcount
        if new == len(rows):
            return rows
        return [row for row, note in zip(rows, noted, strict=True) if self._is_first(*note)]

    def _is_first(self, key: bytes, number: int, content: bytes) -> bool:
        seen = self._db.execute("SELECT number, row = ? FROM seen WHERE key = ?", (content, key))
        first, same = seen.fetchone()
        if not same:
            raise PermanentFailure(
                f"Rows {first:,} and {number:,} of the feed have the same {self._name!r}, which must identify a"
                " row. Nothing of the feed was written."
            )
        return bool(first == number)

    def _text(self, key: Any) -> str:
        """Return a text that is the same for all values that the column takes for the same key."""
        match key:
            case Decimal():
                return str(key.normalize(EXACT))
            case list() | dict():
                return as_json(key)
            case str() if isinstance(self._kind, postgresql.CITEXT):
                return key.lower()
            case str() if isinstance(self._kind, sa.CHAR):
                return key.rstrip(" ")
        return str(key)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
