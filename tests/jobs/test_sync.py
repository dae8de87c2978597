"""The sync job: real HTTP feeds into a real SQLite and a real PostgreSQL."""

import csv
import gzip
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
from jobs.sync import SyncSettings, sync_table
from taskqueue import PermanentFailure, files
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import AddressRefused, InvalidSetting
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


def test_an_uploaded_feed_is_read_without_a_network(database: sa.Engine) -> None:
    stored = files().write(b"id,name\n1,Ada\n2,Grace\n", "people.csv")
    assert sync_table(stored.filename, "people", "id").inserted == 2
    renamed = files().write(b'[{"id": "2", "name": "Grace Hopper"}]', "people")
    assert sync_table(renamed.filename, "people", "id", format="json").updated == 1
    assert [row["name"] for row in rows(database)] == ["Ada", "Grace Hopper"]
    with pytest.raises(PermanentFailure, match="format is unknown"):
        sync_table(renamed.filename, "people", "id")
    with pytest.raises(PermanentFailure, match="There is no file"):
        sync_table("0000000000000000-gone.csv", "people", "id")


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
            (b'[{"id": 1}, {"id": 2, "id": 3}]', "application/json", "The field 'id' appears twice in one object"),
            (b'{"id": 1, "a": {"b": 1, "b": 2}}', "application/x-ndjson", "The field 'b' appears twice in one"),
            (b'{"id": NaN}', "application/x-ndjson", "NaN is no number in JSON"),
            (
                b"id,price,name,price\n1,10,a,20\n",
                "text/csv",
                r"'price' appears twice in the first line \(columns 2, 4",
            ),
            (b"id,id,name\n1,2,a\n", "text/csv", "'id' appears twice in the first line"),
            (b"id,,name\n1,2,a\n", "text/csv", r"A field has no name in the first line \(column 2\)"),
            (b"id,name,\n1,2,a\n", "text/csv", "Line 2 has a value in a column without a name"),
            (b"ID,name\n1,2\n", "text/csv", "There is no field 'id' in the first line; there is 'ID'"),
            (b'[{"ID": 1}]', "application/json", r"Row 1 has no 'id'\. It has 'ID'"),
            (b"<html>please log in</html>", "text/csv", "There is no field 'id' in the first line"),
            (b"words", "text/csv", "There is no field 'id' in the first line"),
            (b"", "text/csv", "There is no field 'id' in the first line"),
            (b"id,name\n", "text/html; charset=utf-8", "is a web page"),
            (b"id,name\n1,2\n", "text/csv; charset=klingon", "charset 'klingon' is unknown"),
            (b"id,name\n1,2\n", "text/csv; charset=hex", "charset 'hex' is unknown"),
            (b'id,name\n1, "a, b"\n', "text/csv", "2 has 3 fields; .* A blank stands before a quotation mark"),
            (b"id,'a;b'\n1,2\n", "text/csv", "A field has the name"),
            (b"id," + b"x" * 64 + b"\n1,2\n", "text/csv", "A field has the name"),
            (gzip.compress(b"id\n1\n" * 100, mtime=0)[:-20], "text/csv", "the feed is not valid CSV"),
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
        assert sa.inspect(database).get_table_names() == []

    def test_an_error_shows_no_part_of_the_feed(self, feed: Feed, database: sa.Engine) -> None:
        feed.answer(b'[{"id": secret}]')
        with pytest.raises(PermanentFailure, match="After row 0 the feed is not valid JSON") as raised:
            counts(feed)
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"id;name\n1;M\xc3\xbcller\n", "text/csv"),
            (b"id\tname\n1\tM\xc3\xbcller\n", "text/csv"),
            (b"id\tname\n1\tM\xc3\xbcller\n", "text/tab-separated-values"),
            (b"id|name\n1|M\xc3\xbcller\n", "text/csv"),
            (b'"id";"name"\r\n"1";"M\xc3\xbcller"\r\n', "text/csv"),
            (b"id,name\n1,M\xfcller\n", "text/csv; charset=iso-8859-1"),
            (b"id;name\n1;M\xfcller\n", 'text/csv; charset="windows-1252"'),
            ("id,name\n1,Müller\n".encode("utf-16"), "text/csv"),
            ("id\tname\n1\tMüller\n".encode("utf-16"), "text/csv; charset=utf-16"),
            ("id,name\n1,Müller\n".encode("utf-16-be"), "text/csv; charset=utf-16be"),
            ("\ufeffid,name\n1,Müller\n".encode(), "text/csv; charset=iso-8859-1"),
            (b"sep=;\r\nid;name\r\n1;M\xc3\xbcller\r\n", "text/csv"),
            (b"\xef\xbb\xbfsep=;\r\nid;name\r\n1;M\xc3\xbcller\r\n", "text/csv"),
            (b"id,name\r1,M\xc3\xbcller\r", "text/csv"),
            (b"id,name\n1,M\xc3\xbcller\n,\n , \n\n", "text/csv"),
            (b" id , name ,\n1,M\xc3\xbcller,\n", "text/csv"),
            (b"id,name\n1,M\xc3\xbcller\n", "application/csv"),
            (b"id,name\n1,M\xc3\xbcller\n", "application/vnd.ms-excel"),
            (gzip.compress("id,name\n1,Müller\n".encode(), mtime=0), "text/csv"),
            (gzip.compress('[{"id": 1, "name": "Müller"}]'.encode(), mtime=0), "application/json"),
            ('\ufeff[{"id": 1, "name": "Müller"}]'.encode(), "application/json"),
            ('[{"id": 1, "name": "Müller"}]'.encode("utf-16"), "text/json"),
            ('[{"id": 1, "name": "Müller"}]'.encode(), "application/hal+json"),
            ('\ufeff{"id": 1, "name": "Müller"}\r\n'.encode(), "application/ndjson"),
        ],
    )
    def test_dialects_and_character_sets_give_the_same_rows(
        self, feed: Feed, database: sa.Engine, body: bytes, content_type: str
    ) -> None:
        feed.answer(body, content_type)
        assert counts(feed)["inserted"] == 1
        assert rows(database) == [{"id": "1", "name": "Müller"}]

    @pytest.mark.parametrize(("ending", "body"), [("csv", b"id\n1\n"), ("json", b'[{"id": 1}]')])
    def test_the_ending_before_gz_is_the_format(
        self, feed: Feed, database: sa.Engine, ending: str, body: bytes
    ) -> None:
        feed.answer(gzip.compress(body, mtime=0), "application/gzip")
        feed.url += f".{ending}.gz"
        assert counts(feed)["inserted"] == 1

    def test_an_unpacked_feed_is_bounded(self, feed: Feed, database: sa.Engine, env: pytest.MonkeyPatch) -> None:
        env.setattr("jobs.sync.MAX_FEED_BYTES", 100_000)
        feed.answer(gzip.compress(b"id\n" + b"1\n" * 100_000, mtime=0), "text/csv")
        with pytest.raises(PermanentFailure, match="more than 100,000 bytes when it is unpacked"):
            counts(feed)

    def test_numbers_of_ndjson_keep_their_digits(self, feed: Feed, database: sa.Engine) -> None:
        feed.answer(b'{"id": 1, "price": 12345678901234567890.10}', "application/x-ndjson")
        counts(feed)
        assert rows(database) == [{"id": "1", "price": "12345678901234567890.10"}]

    def test_other_programs_write_while_a_slow_feed_comes(self, feed: Feed, database: sa.Engine) -> None:
        def write() -> None:
            with database.begin() as db:
                db.exec_driver_sql("CREATE TABLE mine (x)")

        feed.answer(PEOPLE)
        feed.before_answering = write
        assert counts(feed)["inserted"] == 2

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
