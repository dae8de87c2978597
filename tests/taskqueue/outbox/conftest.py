"""Databases with an outbox: SQLite, and real servers of PostgreSQL and MariaDB."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from redis import Redis

from taskqueue import outbox
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.outbox.database import outbox_engine
from taskqueue.outbox.relay import Relay
from taskqueue.outbox.rows import Rows
from taskqueue.outbox.schema import own_table
from taskqueue.settings import Settings
from tests.conftest import START_SECONDS, free_port, missing, wait_until
from tests.jobs.conftest import postgres  # noqa: F401  a fixture

LOCK = ("tq:outbox:relay:test", "token")
TABLE = own_table("taskqueue_outbox")


@pytest.fixture(scope="session")
def mariadb(lasting_folder: Path) -> Iterator[str]:
    """A real MariaDB of our own; its address without a database's name."""
    server = shutil.which("mariadbd") or shutil.which("mysqld")
    if not server or not shutil.which("mariadb-install-db"):
        missing("MariaDB (apt-get install mariadb-server)")
    port, folder = free_port(), lasting_folder / "mariadb"
    folder.mkdir()
    lasting_folder.chmod(0o755)
    user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "mysql", "mysql")
        user = ["--user=mysql"]
    install = ["mariadb-install-db", "--no-defaults", *user, f"--datadir={folder}/data", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
    options = [f"--datadir={folder}/data", f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/s"]
    options += [f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "--no-defaults", *user, *options], stdout=log, stderr=log)
    wait_until(lambda: answers_at(port), START_SECONDS, what="MariaDB")
    yield f"mysql://root@127.0.0.1:{port}"
    process.terminate()
    process.wait(START_SECONDS)


def answers_at(port: int) -> bool:
    """Return whether a server listens."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def empty_database(server: str, name: str) -> str:
    """Create an empty database on a server, and return its URL."""
    is_postgresql = server.startswith("postgresql")
    admin = outbox_engine(f"{server}/{'postgres' if is_postgresql else ''}")
    force = " WITH (FORCE)" if is_postgresql else ""  # a relay that was just killed may still have its session
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}{force}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return f"{server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    fixture = "postgres" if request.param == "postgresql" else "mariadb"
    return empty_database(request.getfixturevalue(fixture), "shop")


@pytest.fixture
def engine(database_url: str, env: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """The application's own engine; the database has the table of the outbox, and `customers`."""
    engine = sa.create_engine(outbox_engine(database_url).url)
    metadata = sa.MetaData()
    outbox.table(metadata)
    sa.Table("customers", metadata, sa.Column("email", sa.String(100), primary_key=True))
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def relay(
    engine: sa.Engine, database_url: str, redis: Redis, settings: Settings, job_types: JobTypes
) -> Iterator[Callable[..., Relay]]:
    """Make a relay of the database's outbox, which has the lock."""
    own = outbox_engine(database_url)

    def make(**options: float) -> Relay:
        redis.set(*LOCK)
        return Relay(Rows(own, TABLE), redis, settings, job_types, LOCK, **options)

    yield make
    own.dispose()


def move_all(relay: Relay) -> None:
    """Make one pass over the outbox."""
    last = 0
    while last := relay.move(last):
        pass


def waiting(engine: sa.Engine) -> list[str]:
    """Return the ids in the outbox, in their order."""
    with engine.connect() as db:
        return list(db.scalars(sa.select(TABLE.c.id).order_by(TABLE.c.number)))


def queued(redis: Redis, queue: str = "default") -> list[str]:
    """Return the ids in a queue, the first one to be taken first."""
    return [task_id.decode() for task_id in redis.lrange(f"rq:queue:{queue}", 0, -1)]
