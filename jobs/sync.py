"""Copies a feed (JSON, NDJSON or CSV) into a table of a database, if the feed has changed."""

import logging
import os
import re
from dataclasses import asdict, dataclass
from typing import Annotated, Self

import sqlalchemy as sa
from pydantic import Field

from jobs._feed import Format, format_of, rows_of
from jobs._table import SyncResult, Target, last_success, note_success, transaction
from taskqueue import PermanentFailure, job
from taskqueue.errors import InvalidSetting
from taskqueue.run.outbound import OutboundSettings, Response, get
from taskqueue.settings import Environment, text

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 600
FETCH_SECONDS = TIMEOUT_SECONDS - 30  # the rest is for the last batch and the commit
MAX_FEED_BYTES = 1024**3  # after decompression; a feed is streamed, so this limits time and disk, not memory
RETRIED_STATUSES = (408, 425, 429)  # besides 5xx

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
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
    table: Name,
    key: Name,
    format: Format | None = None,  # noqa: A002  the field's name
) -> SyncResult:
    """Fetch a feed of rows and bring a table of the database up to date, in one transaction.

    `key` names the field that identifies a row. A JSON feed is an array of objects, an NDJSON feed has one object
    on each line, a CSV feed has its names in the first line; without `format` the answer's media type or the URL's
    ending decides. A missing table or column is created, with columns of text: nested values are stored as JSON.
    In a table that you made, values are converted to the types of its columns. Rows that have left the feed,
    and fields that a row does not have, stay unchanged.
    """
    if re.match(r"(?i)_taskqueue|sqlite_|pg_", table):
        raise PermanentFailure(f"The table {table!r} has a reserved name; choose another.")
    settings = SyncSettings.read(os.environ)
    with transaction(settings.database_url) as db:
        target = Target(db, table, key)
        known = last_success(db, source, table) if target.exists else {}
        with get(
            source,
            settings=settings.outbound,
            limit_bytes=MAX_FEED_BYTES,
            limit_seconds=FETCH_SECONDS,
            headers=known,
        ) as answer:
            if answer.status == 304:
                log.info("%s has not changed since the last sync", table)
                return SyncResult(not_modified=True)
            _check_status(answer)
            result = target.upsert(rows_of(answer, format or format_of(answer)))
        note_success(db, source, table, answer)
    log.info("Synced %s: %s", table, asdict(result))
    return result


def _check_status(answer: Response) -> None:
    if answer.status == 200:
        return
    message = f"The feed answered {answer.status}"
    if answer.status >= 500 or answer.status in RETRIED_STATUSES:
        raise ConnectionError(message)
    raise PermanentFailure(f"{message}; another attempt will not help.")
