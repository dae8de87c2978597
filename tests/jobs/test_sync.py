"""The sync job: real HTTP feeds into a real SQLite and a real PostgreSQL."""

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from jobs._table import transaction
from jobs.sync import SyncSettings
from taskqueue import PermanentFailure
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import AddressRefused, InvalidSetting, RetryLater
from tests.conftest import ROOT
from tests.jobs.conftest import Feed, counts, rows

PEOPLE = [{"id": 1, "name": "Ada", "born": "1815-12-10"}, {"id": 2, "name": "Grace", "born": "1906-12-09"}]


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


@pytest.mark.parametrize("what", ["DELETE FROM people", "DELETE FROM people WHERE id = '1'"])
def test_a_table_that_lost_rows_by_hand_is_filled_again(feed: Feed, database: sa.Engine, what: str) -> None:
    feed.answer(PEOPLE, ETag='"v1"')
    counts(feed)
    with database.begin() as db:
        db.exec_driver_sql(what)
    counts(feed)
    assert len(rows(database)) == 2
    assert counts(feed)["not_modified"]


def test_a_table_with_another_key_is_filled_again(feed: Feed, database: sa.Engine) -> None:
    feed.answer(PEOPLE, ETag='"v1"')
    counts(feed)
    with database.begin() as db:
        db.exec_driver_sql("DROP TABLE people")
        db.exec_driver_sql("CREATE TABLE people (name TEXT PRIMARY KEY, id TEXT)")
    assert counts(feed, key="name")["inserted"] == 2


def test_the_last_success_that_an_older_version_noted_is_read_and_written(feed: Feed, database: sa.Engine) -> None:
    with database.begin() as db:
        db.exec_driver_sql(
            "CREATE TABLE _taskqueue_sync (source TEXT, table_name TEXT, etag TEXT, last_modified TEXT,"
            " synced_at TEXT, PRIMARY KEY (source, table_name))"
        )
        db.exec_driver_sql("CREATE TABLE people (id TEXT PRIMARY KEY)")
        db.execute(
            sa.text("INSERT INTO _taskqueue_sync VALUES (:url, 'people', '\"v1\"', NULL, '')"), {"url": feed.url}
        )
    feed.answer(PEOPLE, ETag='"v1"')
    assert counts(feed)["inserted"] == 2
    assert counts(feed)["not_modified"]


def test_a_feed_that_another_sync_wrote_meanwhile_is_fetched_again(feed: Feed, database: sa.Engine) -> None:
    feed.answer([{"id": 1, "name": "new"}])
    stale = json.dumps([{"id": 1, "name": "old"}]).encode()

    def another_sync() -> None:
        feed.before_answering = lambda: None
        counts(feed)

    feed.before_answering, feed.first_body = another_sync, stale
    counts(feed)
    assert rows(database) == [{"id": "1", "name": "new"}]


def test_names_of_columns_are_what_the_feed_says(feed: Feed, database: sa.Engine) -> None:
    names = ["Variant SKU", "Größe", "first-name", "Discount %", "price (€)", "a:b", "order", "数量"]
    feed.answer([dict.fromkeys(names, "x")])
    assert counts(feed, key="Variant SKU")["inserted"] == 1
    feed.answer([dict.fromkeys([*names, "late: 100 %"], "x")])
    assert counts(feed, key="Variant SKU")["updated"] == 1
    assert rows(database) == [dict.fromkeys([*names, "late: 100 %"], "x")]


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


@pytest.mark.parametrize("apart", [1, 600])  # in one batch, and in two
def test_a_key_that_comes_twice_is_an_error_that_names_both_rows(
    feed: Feed, database: sa.Engine, apart: int
) -> None:
    others = [{"id": number, "name": "x"} for number in range(2, 1 + apart)]
    feed.answer([{"id": 1, "name": "old"}, *others, {"id": 1, "name": "new"}])
    with pytest.raises(PermanentFailure, match=f"Rows 1 and {1 + apart} of the feed have the same 'id'") as raised:
        counts(feed)
    assert "new" not in str(raised.value)
    assert sa.inspect(database).get_table_names() == []  # not even the new table


def test_a_row_that_comes_twice_loses_nothing(feed: Feed, database: sa.Engine) -> None:
    rows_of_feed = [{"id": number, "name": f"name {number}"} for number in range(1, 401)]
    feed.answer([*rows_of_feed, *rows_of_feed[::-1]])
    assert counts(feed) == {"not_modified": False, "fetched": 800, "inserted": 400, "updated": 0, "unchanged": 400}
    feed.answer([*rows_of_feed[:2], {"name": "name 1", "id": 1}])  # in another order it is the same row
    assert counts(feed)["unchanged"] == 3


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("INTEGER", "1", "1.0"),
        ("NUMERIC(8,2)", "1.5", "1.50"),
        ("DATE", "2024-05-01", "20240501"),
        ("TIMESTAMP", "2024-05-01T10:00:00+02:00", "2024-05-01 08:00:00"),
    ],
)
def test_keys_are_compared_as_the_table_takes_them(
    feed: Feed, database: sa.Engine, kind: str, first: str, second: str
) -> None:
    with database.begin() as db:
        db.exec_driver_sql(f"CREATE TABLE people (id {kind} PRIMARY KEY, name TEXT)")
    feed.answer([{"id": first, "name": "a"}, {"id": second, "name": "b"}])
    with pytest.raises(PermanentFailure, match="Rows 1 and 2 of the feed have the same 'id'"):
        counts(feed)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("UUID", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("CHAR(5)", "ab", "ab   "),
        ("CITEXT", "Ada", "ADA"),
    ],
)
def test_keys_are_compared_as_postgresql_takes_them(
    feed: Feed, database: sa.Engine, kind: str, first: str, second: str
) -> None:
    with database.begin() as db:
        db.exec_driver_sql("CREATE EXTENSION citext")
    test_keys_are_compared_as_the_table_takes_them(feed, database, kind, first, second)


def test_a_table_may_be_named_with_its_schema(feed: Feed, database: sa.Engine) -> None:
    schema = "main" if database.dialect.name == "sqlite" else "Shop"
    if schema == "Shop":
        with database.begin() as db:
            db.exec_driver_sql('CREATE SCHEMA "Shop"')
            db.exec_driver_sql("CREATE TABLE people (other TEXT)")  # in the schema public
    feed.answer(PEOPLE)
    assert counts(feed, table=f"{schema}.people")["inserted"] == 2
    feed.answer([{"id": 1, "name": "Ada", "late": "x"}])
    assert counts(feed, table=f"{schema}.people")["updated"] == 1
    with database.connect() as db:
        assert db.execute(sa.text(f'SELECT count(late) FROM "{schema}".people')).scalar() == 1


@pytest.mark.parametrize(
    "table", ["nowhere.people", "pg_catalog.people", "information_schema.people", "main.pg_x"]
)
def test_a_schema_that_cannot_be_is_a_permanent_failure(feed: Feed, database: sa.Engine, table: str) -> None:
    feed.answer(PEOPLE)
    with pytest.raises(PermanentFailure, match=r"has no schemas|does not exist|reserved name"):
        counts(feed, table=table)


def test_hostile_names_are_refused(feed: Feed, database: sa.Engine, queue: TaskQueue) -> None:
    from taskqueue.errors import InvalidPayload

    for table in ('people"; DROP TABLE x; --', "a b", "", "x" * 64, "a.b.c", ".people", "people.", 'a".people'):
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


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("after", "seconds"), [("120", 120), ("999999", 8 * 3600)])
def test_a_feed_that_says_when_to_come_back_is_left_alone_until_then(
    feed: Feed, database: sa.Engine, status: int, after: str, seconds: int
) -> None:
    feed.status, feed.headers = status, {"Retry-After": after}
    with pytest.raises(RetryLater, match=f"The feed answered {status}") as raised:
        counts(feed)
    assert raised.value.seconds == seconds


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestOnSQLite:
    """What does not depend on the database."""

    def test_other_programs_write_while_a_slow_feed_comes(self, feed: Feed, database: sa.Engine) -> None:
        def write() -> None:
            with database.begin() as db:
                db.exec_driver_sql("CREATE TABLE mine (x)")

        feed.answer(PEOPLE)
        feed.before_answering = write
        assert counts(feed)["inserted"] == 2

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
def test_no_statement_is_prepared_because_pgbouncer_would_not_know_it(feed: Feed, database: sa.Engine) -> None:
    with transaction(database.url.update_query_dict({"prepare_threshold": "0"})) as db:
        for _ in range(10):
            db.execute(sa.text("SELECT :value"), {"value": 1})
        assert db.execute(sa.text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0


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
