"""The outbox: a table in the application's own database, from which a worker's relay queues tasks."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from taskqueue.errors import InvalidSetting
from taskqueue.settings.variables import Environment, text

OUTBOX_TABLE = "taskqueue_outbox"
DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "sqlite": "", "mysql": "pymysql", "mariadb": "pymysql"}
"""The databases that can have an outbox, each with the driver of its relay."""
TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,54}")


def outbox_url(env: Environment, name: str) -> str | None:
    """Return the URL of the database. Raises `InvalidSetting`, which repeats nothing of it: it has a password."""
    value = text(env, name, None)
    if value is None:
        return None
    scheme, separator, _ = value.partition("://")
    if not separator or scheme.partition("+")[0] not in DRIVERS:
        raise InvalidSetting(
            f"{name} must be the URL of a database of PostgreSQL, SQLite or MySQL:"
            " postgresql://user:password@host/database, sqlite:///file, mysql://…"
        )
    try:
        outbox_name(value, "")
    except ValueError:
        raise InvalidSetting(
            f"{name} is not a URL; in a user or password write / ? # @ as %2F %3F %23 %40"
        ) from None
    return value


def outbox_table(env: Environment, name: str) -> str:
    """Return the name of the table, "tasks_to_send" or "schema.tasks_to_send". Raises `InvalidSetting`."""
    value = text(env, name, OUTBOX_TABLE)
    if not TABLE.fullmatch(value):
        raise InvalidSetting(f"{name} must be a table's name, such as {OUTBOX_TABLE} or app.outbox, got {value!r}")
    return value


def outbox_name(url: str, table: str) -> str:
    """Return the name of an outbox, which all workers with this URL share: server, database and table.

    Raises ValueError if it is no URL.
    """
    parts = urlsplit(url)
    database = unquote(parts.path.removeprefix("/"))
    if parts.scheme.startswith("sqlite"):
        return f"{Path(database).resolve()}:{table}"
    server = (parts.hostname or "localhost") + (f":{parts.port}" if parts.port else "")
    return f"{server}/{database}.{table}"
