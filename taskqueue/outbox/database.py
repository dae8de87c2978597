"""The relay's way to the application's database: PostgreSQL, SQLite and MySQL, each by its driver."""

import importlib
import time
from typing import Any

import sqlalchemy as sa

from taskqueue.errors import InvalidSetting
from taskqueue.settings.outbox import DRIVERS

CONNECT_SECONDS = 5
SILENT_SECONDS = 15  # a server that has not answered for so long is given up
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.02, 0.5  # between two looks, where nobody announces a commit

OPTIONS: dict[str, dict[str, Any]] = {
    "postgresql": {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "taskqueue relay",
        "prepare_threshold": None,  # PgBouncer, pooling by transaction, knows no prepared statements
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
    },
    "mysql": {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENT_SECONDS, "write_timeout": SILENT_SECONDS},
    "sqlite": {"timeout": SILENT_SECONDS},  # how long it waits for another writer
}


def outbox_engine(url: str) -> sa.Engine:
    """Return an engine for one thread of a relay, which connects at its first use and commits each statement.

    Drivers for asyncio are replaced by those of `DRIVERS`. Raises `InvalidSetting` if the driver is missing.
    """
    parsed = sa.make_url(url)
    backend = parsed.drivername.partition("+")[0]
    driver = DRIVERS[backend]
    try:
        if driver:
            importlib.import_module(driver)
        dialect = {"postgres": "postgresql", "mariadb": "mysql"}.get(backend, backend)
        return sa.create_engine(
            parsed.set(drivername=f"{dialect}+{driver}" if driver else dialect),
            connect_args=OPTIONS[dialect],
            isolation_level="AUTOCOMMIT",  # each statement of a relay is a transaction: one round trip
            pool_size=1,
            max_overflow=1,
        )
    except ImportError:
        raise InvalidSetting(f"OUTBOX_DATABASE_URL needs the package {driver!r}: pip install {driver}") from None


class Polling:
    """Waits for the next look at the table: at first not for long, then longer and longer."""

    def __init__(self) -> None:
        self._pause = FIRST_POLL_SECONDS

    def wait(self, *, was_empty: bool, at_most: float) -> None:
        """Wait until the next look; `was_empty`: the last one has found nothing."""
        self._pause = min(self._pause * 1.5, LONGEST_POLL_SECONDS) if was_empty else FIRST_POLL_SECONDS
        time.sleep(min(self._pause, at_most))

    def close(self) -> None:
        """Do nothing: there is no connection."""


class Listening:
    """Waits until PostgreSQL announces a commit (LISTEN), so that a task waits for milliseconds only.

    An announcement can be missed: PgBouncer, pooling by transaction, passes none on. So it never waits for long.
    """

    def __init__(self, engine: sa.Engine, channel: str) -> None:
        self._connection = engine.connect()
        quoted = self._connection.dialect.identifier_preparer.quote_identifier(channel)
        self._connection.exec_driver_sql(f"LISTEN {quoted}")
        self._driver: Any = self._connection.connection.driver_connection

    def wait(self, *, was_empty: bool, at_most: float) -> None:
        """Return at a commit; `was_empty` does not matter. Raises the driver's errors."""
        if list(self._driver.notifies(timeout=at_most, stop_after=1)):
            list(self._driver.notifies(timeout=0))  # the rows of all that are here are found by one look

    def close(self) -> None:
        """Close the connection."""
        self._connection.invalidate()
        self._connection.close()


def doorbell(engine: sa.Engine, table_name: str) -> Polling | Listening:
    """Return what waits for commits in this database. Raises the driver's errors."""
    return Listening(engine, table_name) if engine.dialect.name == "postgresql" else Polling()
