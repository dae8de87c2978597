"""The table of the outbox by Alembic, up and down, and as values for each dialect."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from redis import Redis
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from taskqueue import outbox
from taskqueue.errors import InvalidSetting
from taskqueue.outbox.database import outbox_engine
from taskqueue.outbox.relay import Relay
from tests.sample_jobs import samples
from tests.taskqueue.outbox.conftest import TABLE, move_all, queued

ENV = """
from alembic import context
import sqlalchemy as sa
from taskqueue import outbox
from taskqueue.errors import InvalidSetting
from taskqueue.outbox.database import outbox_engine

metadata = sa.MetaData()
outbox.table(metadata)
url = context.config.get_main_option("sqlalchemy.url")
if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = outbox_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
"""
REVISION = """
from alembic import op
from taskqueue import outbox

revision, down_revision = "1", None

def upgrade():
    outbox.create_table(op)

def downgrade():
    outbox.drop_table(op)
"""


@pytest.fixture
def alembic(tmp_path: Path, database_url: str) -> Config:
    """An Alembic environment, as `alembic init` makes one, with no revisions."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "script.py.mako").write_text(
        "from alembic import op\nimport sqlalchemy as sa\n${imports if imports else ''}\n"
        "revision, down_revision = ${repr(up_revision)}, ${repr(down_revision)}\n"
        "def upgrade():\n    ${upgrades if upgrades else 'pass'}\n"
        "def downgrade():\n    ${downgrades if downgrades else 'pass'}\n"
    )
    config = Config(output_buffer=io.StringIO())
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", database_url)
    return config


def tables(database_url: str) -> set[str]:
    engine = outbox_engine(database_url)
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_a_migration_goes_up_and_down(
    alembic: Config, database_url: str, tmp_path: Path, request: pytest.FixtureRequest, redis: Redis
) -> None:
    (tmp_path / "migrations" / "versions" / "1.py").write_text(REVISION)
    command.upgrade(alembic, "head")
    command.check(alembic)  # autogenerate finds no difference to the table of the metadata
    engine = sa.create_engine(outbox_engine(database_url).url)
    request.getfixturevalue("job_types")
    request.getfixturevalue("env")
    with engine.begin() as connection:
        handle = outbox.submit(connection, samples.flaky, 0)
    make: Callable[[], Relay] = request.getfixturevalue("relay")
    move_all(make())
    assert queued(redis, "high") == [handle.id]
    engine.dispose()
    command.downgrade(alembic, "base")
    assert "taskqueue_outbox" not in tables(database_url)


def test_autogenerate_makes_the_same_table(alembic: Config, database_url: str) -> None:
    command.revision(alembic, autogenerate=True)
    command.upgrade(alembic, "head")
    assert "taskqueue_outbox" in tables(database_url)
    command.check(alembic)
    command.downgrade(alembic, "base")
    assert "taskqueue_outbox" not in tables(database_url)


def test_a_migration_is_written_as_sql(alembic: Config, tmp_path: Path) -> None:
    (tmp_path / "migrations" / "versions" / "1.py").write_text(REVISION)
    command.upgrade(alembic, "head", sql=True)
    assert "CREATE TABLE taskqueue_outbox" in alembic.output_buffer.getvalue()


def test_the_table_of_each_dialect() -> None:
    def columns(dialect: sa.Dialect) -> dict[str, str]:
        return {column.name: column.type.compile(dialect) for column in TABLE.columns}

    texts = ("payload", "options", "set_aside")
    of_mysql, of_postgresql, of_sqlite = map(columns, (mysql.dialect(), postgresql.dialect(), sqlite.dialect()))
    assert {of_mysql[name] for name in texts} == {"LONGTEXT"}
    assert (of_mysql["number"], of_mysql["created_at"]) == ("BIGINT", "DATETIME(6)")
    assert (of_postgresql["number"], of_postgresql["created_at"]) == ("BIGINT", "TIMESTAMP WITH TIME ZONE")
    assert of_sqlite["number"] == "INTEGER"
    assert "AUTOINCREMENT" in str(CreateTable(TABLE).compile(dialect=sqlite.dialect()))


def test_the_table_has_another_name_and_a_schema() -> None:
    metadata = sa.MetaData()
    table = outbox.table(metadata, "app.tasks_to_send")
    assert (table.schema, table.name) == ("app", "tasks_to_send")
    assert outbox.table(metadata, "app.tasks_to_send") is table


def test_the_rest_of_the_library_does_not_import_sqlalchemy() -> None:
    program = (
        "import sys, taskqueue.worker.worker, taskqueue.web, taskqueue.cli.parser, taskqueue.direct.by_name,"
        " taskqueue.outbox; assert not {'sqlalchemy', 'psycopg', 'pymysql'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(InvalidSetting, match="pip install pymysql"):
        outbox_engine("mysql+aiomysql://db/shop")
