"""Copies a feed (JSON, NDJSON or CSV) into a table of a database, if the feed has changed."""

import logging
import os
import re
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Annotated, Self

import sqlalchemy as sa
from pydantic import Field

from jobs._feed import Format, charset_of, format_of, rows_of
from jobs._last_success import last_success, note_success
from jobs._table import SyncResult, Target, transaction
from taskqueue import PermanentFailure, job
from taskqueue.errors import InvalidSetting, RetryLater
from taskqueue.run.outbound import OutboundSettings, Response, get, retry_after
from taskqueue.settings import Environment, text

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 600
# For all that is fetched in one attempt. It may end 35 s late (5 s to connect and 30 s without a byte, see
# run/outbound.py), and writing must end before TIMEOUT_SECONDS, too: a job that is stopped there cannot say why.
FETCH_SECONDS = TIMEOUT_SECONDS - 120
MAX_FEED_BYTES = 1024**3  # after decompression; a feed waits on the disk, so this limits time and disk, not memory
ROUNDS = 3  # if other syncs of the same feed come in between
RETRIED_STATUSES = (408, 425, 429)  # besides 5xx

# "products", or with its schema "shop.products"
TableName = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}$")]
RESERVED = re.compile(r"(?i)(^|\.)(_taskqueue|sqlite_|pg_)|^information_schema\.")
FieldName = Annotated[str, Field(min_length=1, max_length=63)]
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


@dataclass(frozen=True, kw_only=True)
class SyncSettings:
    """Where feeds may come from, and the database that they go to."""

    database_url: sa.URL
    outbound: OutboundSettings

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read SYNC_DATABASE_URL and OUTBOUND_ALLOW. Raises `InvalidSetting`."""
        try:
            url = sa.make_url(text(env, "SYNC_DATABASE_URL", "sqlite:///var/sync.db"))
        except sa.exc.ArgumentError:
            raise InvalidSetting(
                "SYNC_DATABASE_URL is not a database URL, such as sqlite:///var/sync.db"
            ) from None
        backend = url.drivername.partition("+")[0]
        if backend not in DRIVERS:
            raise InvalidSetting(
                f"SYNC_DATABASE_URL must start with sqlite:/// or postgresql://, got {backend}://…"
            )
        return cls(database_url=url.set(drivername=DRIVERS[backend]), outbound=OutboundSettings.read(env))


@job(
    "sync",
    queue="low",
    attempts=5,
    timeout=TIMEOUT_SECONDS,
    retry_delay=30,
    max_retry_delay=3600,
    settings=SyncSettings.read,
)
def sync_table(
    source: Annotated[str, Field(pattern=r"^https?://", max_length=2000)],
    table: TableName,
    key: FieldName,
    format: Format | None = None,  # noqa: A002  the field's name
) -> SyncResult:
    """Fetch a feed of rows and bring a table of the database up to date, in one transaction.

    `key` names the field that identifies a row: two different rows with one key fail the task, and nothing is
    written. A JSON feed is an array of objects, an NDJSON feed has one object
    on each line, a CSV feed has its names in the first line; without `format` the answer's media type or the URL's
    ending decides. A missing table or column is created, with columns of text: nested values are stored as JSON.
    In a table that you made, values are converted to the types of its columns; a time with an offset becomes UTC
    in a column without one; a value that its column cannot hold exactly fails the task. Rows that have left the
    feed, and fields that a row does not have, stay unchanged.
    """
    if RESERVED.search(table):
        raise PermanentFailure(f"The table {table!r} has a reserved name; choose another.")
    settings = SyncSettings.read(os.environ)
    deadline = time.monotonic() + FETCH_SECONDS
    for _ in range(ROUNDS):
        result = _fetch_and_write(settings, source, table, key, format, deadline)
        if result is not None:
            log.info("Synced %s: %s", table, asdict(result))
            return result
    raise ConnectionError(f"Other syncs of this feed wrote {table!r} while it was fetched")


def _fetch_and_write(
    settings: SyncSettings, source: str, table: str, key: str, kind: Format | None, deadline: float
) -> SyncResult | None:
    """Bring the table up to date; return None if another sync of the feed has done that since the fetch began.

    No transaction is open while the feed comes: a slow server would keep other programs from writing.
    """
    with transaction(settings.database_url) as db:
        last = last_success(db, source, table, key, Target(db, table, key))
    with (
        get(
            source,
            settings=settings.outbound,
            limit_bytes=MAX_FEED_BYTES,
            limit_seconds=deadline - time.monotonic(),
            headers=last.headers,
            kind="feed",
        ) as answer,
        tempfile.TemporaryFile() as content,
    ):
        if answer.status == 304:
            return SyncResult(not_modified=True)
        _check_status(answer)
        kind = kind or format_of(answer)
        charset = charset_of(answer)
        for chunk in answer.chunks():
            content.write(chunk)
        content.seek(0)
        with transaction(settings.database_url) as db:
            target = Target(db, table, key)
            if last_success(db, source, table, key, target).synced_at != last.synced_at:
                return None  # perhaps with a newer version of the feed
            feed = rows_of(content, kind, charset=charset, key=key, limit_bytes=MAX_FEED_BYTES)
            with closing(feed) as rows:
                result = target.upsert(rows, untyped=kind == "csv")
            note_success(db, source, table, key, target, answer)
    return result


def _check_status(answer: Response) -> None:
    if answer.status == 200:
        return
    message = f"The feed answered {answer.status}"
    if answer.status >= 500 or answer.status in RETRIED_STATUSES:
        seconds = retry_after(answer.headers)
        raise RetryLater(message, seconds=seconds) if seconds else ConnectionError(message)
    raise PermanentFailure(f"{message}; another attempt will not help.")
