"""The sync job: real HTTP feeds into a real SQLite and a real PostgreSQL."""

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.sync import SyncSettings, sync_table
from taskqueue import PermanentFailure
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import AddressRefused, InvalidSetting
from tests.conftest import ROOT, free_port, missing

PEOPLE = [{"id": 1, "name": "Ada", "born": "1815-12-10"}, {"id": 2, "name": "Grace", "born": "1906-12-09"}]


@dataclass
class Feed:
    """A feed that a test changes as it goes: its body, its headers, its status; and what it was asked."""

    url: str = ""
    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    asked: list[dict[str, str]] = field(default_factory=list)
    big_rows: int = 0  # for /big: so many rows are made as they are sent

    def answer(self, rows: Any, content_type: str = "application/json", **headers: str) -> None:
        self.body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
        self.headers = {"Content-Type": content_type} | headers


def handler(feed: Feed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            feed.asked.append(dict(self.headers.items()))
            if self.path == "/big":
                self.send_response(200)
                self.send_header("Content-Type", "text/csv")
                self.end_headers()
                self.wfile.write(b"id,text\n")
                for start in range(0, feed.big_rows, 1000):
                    lines = (f"{number},{'x' * 500}\n" for number in range(start, start + 1000))
                    self.wfile.write("".join(lines).encode())
                return
            known = feed.headers.get("ETag")
            if known and self.headers.get("If-None-Match") == known:
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(feed.status)
            for name, value in ({"Content-Length": str(len(feed.body))} | feed.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(feed.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def feed() -> Iterator[Feed]:
    feed = Feed()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(feed))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    feed.url = f"http://127.0.0.1:{server.server_address[1]}/feed"
    yield feed
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def postgres(lasting_folder: Path) -> Iterator[str]:
    """A real PostgreSQL of our own; its address without a database's name."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(installed[-1]) if installed else shutil.which("initdb")
    if not initdb:
        missing("PostgreSQL (apt-get install postgresql)")
    programs, port = Path(initdb).parent, free_port()
    folder = lasting_folder / "postgres"
    folder.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # it does not run as root
        shutil.chown(folder, "postgres", "postgres")
        lasting_folder.chmod(0o755)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    run(str(programs / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "test", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(programs / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", options, "start")
    yield f"postgresql://test@127.0.0.1:{port}"
    run(str(programs / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, env: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """An empty database, which SYNC_DATABASE_URL names; feeds of this machine are allowed."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new/sync.db"
    else:
        server = request.getfixturevalue("postgres")
        admin = sa.create_engine(f"{server}/postgres".replace("postgresql:", "postgresql+psycopg:"))
        name = f"test_{tmp_path.name}".lower()[:60].replace("-", "_").replace("[", "_").replace("]", "_")
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}"')
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        admin.dispose()
        url = f"{server}/{name}"
    env.setenv("SYNC_DATABASE_URL", url)
    env.setenv("OUTBOUND_ALLOW", "127.0.0.1")
    engine = sa.create_engine(SyncSettings.read(os.environ).database_url, poolclass=sa.pool.NullPool)
    (tmp_path / "new").mkdir()
    yield engine
    engine.dispose()


def rows(database: sa.Engine, table: str = "people") -> list[dict[str, Any]]:
    with database.connect() as db:
        rows = db.execute(sa.text(f'SELECT * FROM "{table}" ORDER BY 1')).mappings()
        return [dict(row) for row in rows]


def counts(feed: Feed, **options: Any) -> dict[str, Any]:
    return asdict(sync_table(feed.url, options.pop("table", "people"), options.pop("key", "id"), **options))


def test_a_feed_becomes_a_table(feed: Feed, database: sa.Engine) -> None:
    feed.answer(PEOPLE)
    assert counts(feed) == {"not_modified": False, "fetched": 2, "inserted": 2, "updated": 0, "unchanged": 0}
    assert rows(database) == [
        {"id": "1", "name": "Ada", "born": "1815-12-10"},
        {"id": "2", "name": "Grace", "born": "1906-12-09"},
    ]


def test_a_second_run_changes_what_differs(feed: Feed, database: sa.Engine) -> None:
    feed.answer(PEOPLE)
    counts(feed)
    feed.answer([PEOPLE[0], {"id": 2, "name": "Grace Hopper", "born": "1906-12-09"}, {"id": 3, "name": "Alan"}])
    assert counts(feed) == {"not_modified": False, "fetched": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    assert [row["name"] for row in rows(database)] == ["Ada", "Grace Hopper", "Alan"]


def test_a_feed_that_has_not_changed_is_not_sent_again(feed: Feed, database: sa.Engine) -> None:
    stamp = "Tue, 24 Nov 2026 10:00:00 GMT"
    feed.answer(PEOPLE, ETag='"v1"', **{"Last-Modified": stamp})
    counts(feed)
    assert counts(feed) == {"not_modified": True, "fetched": 0, "inserted": 0, "updated": 0, "unchanged": 0}
    assert (feed.asked[1]["If-None-Match"], feed.asked[1]["If-Modified-Since"]) == ('"v1"', stamp)
    feed.answer(PEOPLE[:1], ETag='"v2"')
    assert counts(feed)["fetched"] == 1


def test_a_table_that_was_dropped_is_filled_again(feed: Feed, database: sa.Engine) -> None:
    feed.answer(PEOPLE, ETag='"v1"')
    counts(feed)
    with database.begin() as db:
        db.execute(sa.text("DROP TABLE people"))
    assert counts(feed)["inserted"] == 2


def test_a_failure_in_the_middle_leaves_the_table_as_it_was(feed: Feed, database: sa.Engine) -> None:
    feed.answer(PEOPLE, ETag='"v1"')
    counts(feed)
    many = [{"id": number, "name": "new"} for number in range(1, 1000)]
    feed.answer([*many, {"name": "no id"}], ETag='"v2"')
    with pytest.raises(PermanentFailure, match="Row 1000 has no 'id'"):
        counts(feed)
    assert [row["name"] for row in rows(database)] == ["Ada", "Grace"]
    feed.answer(PEOPLE, ETag='"v1"')
    assert counts(feed)["not_modified"]


def test_the_first_run_that_fails_leaves_nothing(feed: Feed, database: sa.Engine) -> None:
    feed.answer(b'[{"id": 1}, {"id": 2}')
    with pytest.raises(PermanentFailure, match="the feed is not valid JSON"):
        counts(feed)
    assert sa.inspect(database).get_table_names() == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'\xef\xbb\xbfid,name\r\n1,"Ada, Countess\nof Lovelace"\r\n2,\r\n', "text/csv; charset=utf-8"),
        (b'{"id": 1, "name": "Ada, Countess\\nof Lovelace"}\n\n{"id": "2", "name": ""}', "application/x-ndjson"),
        (b'[{"id": 1, "name": "Ada, Countess\\nof Lovelace"}, {"id": "2", "name": ""}]', "application/json"),
    ],
)
def test_every_format_gives_the_same_rows(feed: Feed, database: sa.Engine, body: bytes, content_type: str) -> None:
    feed.answer(body, content_type)
    counts(feed)
    assert rows(database) == [{"id": "1", "name": "Ada, Countess\nof Lovelace"}, {"id": "2", "name": ""}]


def test_the_format_can_be_said(feed: Feed, database: sa.Engine) -> None:
    feed.answer(b"id\n1\n", "text/plain")
    with pytest.raises(PermanentFailure, match=r"unknown \(text/plain\): set format to json, ndjson or csv"):
        counts(feed)
    assert counts(feed, format="csv")["inserted"] == 1


def test_a_compressed_feed_is_read(feed: Feed, database: sa.Engine) -> None:
    feed.answer(gzip.compress(json.dumps(PEOPLE).encode()), **{"Content-Encoding": "gzip"})
    assert counts(feed)["inserted"] == 2


def test_no_value_is_lost(feed: Feed, database: sa.Engine) -> None:
    feed.answer(
        b'[{"id": 1, "price": 12345678901234567890.10, "on": true, "tags": ["a", {"b": 1.5}], "none": null},'
        b' {"id": 2, "price": "free", "late": "x"}]'
    )
    counts(feed)
    first, second = rows(database)
    assert (first["price"], first["on"], first["none"]) == ("12345678901234567890.10", "true", None)
    assert json.loads(first["tags"]) == ["a", {"b": 1.5}]
    assert (second["price"], second["late"], second["on"]) == ("free", "x", None)


def test_a_table_of_ones_own_keeps_its_types(feed: Feed, database: sa.Engine) -> None:
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE people (id INTEGER PRIMARY KEY, born DATE, height FLOAT, alive BOOLEAN)"))
    feed.answer(b"id,born,height,alive\n1,1815-12-10,1.6,false\n2,,,\n", "text/csv")
    assert counts(feed)["inserted"] == 2
    assert counts(feed)["unchanged"] == 2
    with database.connect() as db:
        stored = db.execute(sa.select(sa.Table("people", sa.MetaData(), autoload_with=db))).all()
    assert [tuple(map(str, row)) for row in stored] == [
        ("1", "1815-12-10", "1.6", "False"),
        ("2", "None", "None", "None"),
    ]
    feed.answer([{"id": 3, "height": "tall"}])
    with pytest.raises(PermanentFailure, match="Row 1: 'height' does not fit its column"):
        counts(feed)


def test_a_table_without_a_unique_key_is_refused_with_the_fix(feed: Feed, database: sa.Engine) -> None:
    with database.begin() as db:
        db.execute(sa.text("CREATE TABLE people (id INTEGER, name TEXT)"))
    feed.answer(PEOPLE)
    with pytest.raises(PermanentFailure, match="make it the primary key, or give it a unique index"):
        counts(feed)


def test_a_key_that_comes_twice_is_one_row_with_the_last_values(feed: Feed, database: sa.Engine) -> None:
    feed.answer([{"id": 1, "name": "old"}, {"id": 1, "name": "new"}])
    assert counts(feed)["fetched"] == 2
    assert rows(database) == [{"id": "1", "name": "new"}]


def test_hostile_names_are_refused(feed: Feed, database: sa.Engine, queue: TaskQueue) -> None:
    from taskqueue.errors import InvalidPayload

    for table in ('people"; DROP TABLE x; --', "a b", "", "x" * 64):
        with pytest.raises(InvalidPayload):
            queue.submit("sync", {"source": feed.url, "table": table, "key": "id"})
    feed.answer([{"id": 1, 'a" TEXT); --': 1}])
    with pytest.raises(PermanentFailure, match="a column's name is letters, digits and _"):
        counts(feed)
    with pytest.raises(PermanentFailure, match="reserved name"):
        counts(feed, table="_taskqueue_sync")


@pytest.mark.parametrize("status", [404, 410, 401, 403, 400])
def test_a_feed_that_is_gone_is_a_permanent_failure(feed: Feed, database: sa.Engine, status: int) -> None:
    feed.status = status
    with pytest.raises(PermanentFailure, match=f"The feed answered {status}"):
        counts(feed)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_feed_that_is_away_is_tried_again(feed: Feed, database: sa.Engine, status: int) -> None:
    feed.status = status
    with pytest.raises(ConnectionError, match=f"The feed answered {status}"):
        counts(feed)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestOnSQLite:
    """What does not depend on the database."""

    @pytest.mark.parametrize(
        ("body", "content_type", "message"),
        [
            (b'{"items": []}', "application/json", "must be an array of objects"),
            (b"[1, 2]", "application/json", "Row 1 is not an object"),
            (b"<html>", "application/json", "the feed is not valid JSON"),
            (b'{"id": 1}\n{"id": ', "application/x-ndjson", "After row 1 the feed is not valid NDJSON"),
            (b"id,name\n1,Ada\n2\n", "text/csv", "Line 3 has 1 fields; the first line has 2"),
            (b"id\n\xff\n", "text/csv", "the feed is not valid CSV"),
            (b'id\n"' + b"x" * 400_000, "text/csv", "more than 262,144"),
            (b'[{"id": "' + b"x" * 2_000_000 + b'"}]', "application/json", "A row has more than 262,144 bytes"),
            (
                json.dumps([{f"c{n}": n for n in range(600)} | {"id": 1}]).encode(),
                "application/json",
                "more than 500",
            ),
        ],
    )
    def test_a_broken_feed_is_a_permanent_failure_in_plain_words(
        self, feed: Feed, database: sa.Engine, body: bytes, content_type: str, message: str
    ) -> None:
        feed.answer(body, content_type)
        with pytest.raises(PermanentFailure, match=message):
            counts(feed)

    def test_an_empty_feed_is_a_feed(self, feed: Feed, database: sa.Engine) -> None:
        feed.answer([])
        assert counts(feed)["fetched"] == 0
        assert rows(database) == []

    def test_this_machine_is_refused_unless_it_is_allowed(
        self, feed: Feed, database: sa.Engine, env: pytest.MonkeyPatch
    ) -> None:
        env.delenv("OUTBOUND_ALLOW")
        with pytest.raises(AddressRefused, match="OUTBOUND_ALLOW"):
            counts(feed)
        assert feed.asked == []

    def test_it_runs_in_a_worker_with_progress(
        self, feed: Feed, database: sa.Engine, queue: TaskQueue, work: Callable[..., str]
    ) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([["id", "name"], *([number, "x"] for number in range(1200))])
        feed.answer(text.getvalue().encode(), "text/csv")
        task = queue.submit("sync", {"source": feed.url, "table": "people", "key": "id"})
        work()
        read = queue.get(task.id)
        assert (read.status, read.queue) == ("complete", "low"), read.error
        assert read.result["inserted"] == 1200
        assert read.progress
        assert read.progress["message"].endswith("rows")

    def test_memory_does_not_grow_with_the_feed(self, feed: Feed, database: sa.Engine) -> None:
        """50 MB of rows, in a process whose memory is measured at its highest."""
        code = (
            "import resource, sys; from jobs.sync import sync_table\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"source = {feed.url!r}.replace('/feed', '/big')\n"
            "before = peak(); result = sync_table(source, 'big', 'id')\n"
            "print(result.inserted, (peak() - before) // 1024)"
        )
        feed.big_rows = 100_000
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        inserted, grown_mib = map(int, done.stdout.split())
        assert inserted == 100_000
        assert grown_mib < 40


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_syncs_of_one_table_at_the_same_time_are_safe(feed: Feed, database: sa.Engine) -> None:
    feed.answer([{"id": number, "name": "x"} for number in range(3000)])
    results: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: results.append(counts(feed))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result["inserted"] for result in results) == [0, 3000]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mysql://db/x", "must start with sqlite:/// or postgresql://, got mysql"),
        ("hunter2", "is not a database URL"),
    ],
)
def test_a_bad_database_url_is_refused_by_name(value: str, message: str) -> None:
    with pytest.raises(InvalidSetting, match=f"SYNC_DATABASE_URL {message}") as raised:
        SyncSettings.read({"SYNC_DATABASE_URL": value})
    assert "hunter2" not in str(raised.value)
