"""The values of feeds in the types of a table of one's own: exact, or an error with a name."""

from typing import Any

import pytest
import sqlalchemy as sa

from taskqueue import PermanentFailure
from taskqueue.enqueue.queue import TaskQueue
from tests.jobs.conftest import Feed, counts

on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def make_table(database: sa.Engine, kind: str) -> None:
    with database.begin() as db:
        db.exec_driver_sql(f"CREATE TABLE people (id TEXT PRIMARY KEY, v {kind})")


def stored(database: sa.Engine, what: str = "v") -> list[Any]:
    with database.connect() as db:
        return list(db.execute(sa.text(f"SELECT {what} FROM people ORDER BY id")).scalars())


def csv_of(value: str) -> bytes:
    return f'id,v\n1,"{value.replace(chr(34), chr(34) * 2)}"\n'.encode()


@on_postgresql
@pytest.mark.parametrize(
    ("kind", "json", "shown"),
    [
        ("text[]", '["a", "b, c"]', '{a,"b, c"}'),
        ("integer[]", "[1, 2.0]", "{1,2}"),
        ("integer[][]", "[[1, 2], [3, 4]]", "{{1,2},{3,4}}"),
        ("numeric[]", "[1.50, null]", "{1.50,NULL}"),
        ("text[]", '"{a,b}"', "{a,b}"),
        ("jsonb", '{"p": 1.5, "q": ["ü", null]}', '{"p": 1.5, "q": ["ü", null]}'),
        ("jsonb", '{"p": 12345678901234567890.123456789}', '{"p": 12345678901234567890.123456789}'),
        ("jsonb", '"text"', '"text"'),
        ("json", '{"p":1.5}', '{"p": 1.5}'),
        ("time", '"08:00"', "08:00:00"),
        ("time", '"08:00+02:00"', "06:00:00"),
        ("timetz", '"08:00+02:00"', "08:00:00+02"),
        ("inet", '"10.0.0.1"', "10.0.0.1/32"),
        ("interval", '"1 day"', "1 day"),
        ("bytea", '"abc"', "\\x616263"),
        ("macaddr", '"08:00:2b:01:02:03"', "08:00:2b:01:02:03"),
        ("point", '"(1,2)"', "(1,2)"),
        ("xml", '"<a/>"', "<a/>"),
        ("int4range", '"[1,5)"', "[1,5)"),
        ("tsvector", '"a b"', "'a' 'b'"),
        ("money", "1.5", "$1.50"),
        ("bit(3)", '"101"', "101"),
        ("uuid", '"A0EEBC999C0B4EF8BB6D6BB9BD380A11"', "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("integer", "1.0", "1"),
        ("integer", "1E+3", "1000"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("numeric", "12345678901234567890.10", "12345678901234567890.10"),
        ("numeric(10,2)", "1.500", "1.50"),
        ("numeric", '"NaN"', "NaN"),
        ("double precision", "0.1", "0.1"),
        ("real", "0.1", "0.1"),
        ("char(5)", '"ab"', "ab"),
        ("varchar(5)", '"abcde"', "abcde"),
        ("boolean", "true", "true"),
        ("date", '"2024-05-01"', "2024-05-01"),
        ("timestamp", '"2024-05-01T10:00:00+02:00"', "2024-05-01 08:00:00"),
        ("timestamp(3)", '"2024-05-01T10:00:00.120Z"', "2024-05-01 10:00:00.12"),
    ],
)
def test_every_type_is_exact_and_unchanged_the_second_time(
    feed: Feed, database: sa.Engine, kind: str, json: str, shown: str
) -> None:
    make_table(database, kind)
    feed.answer(f'[{{"id": "1", "v": {json}}}]'.encode())
    assert counts(feed)["inserted"] == 1
    assert stored(database, "v::text") == [shown]
    assert counts(feed)["unchanged"] == 1


@on_postgresql
def test_a_composite_type_an_enum_and_a_domain_are_read(feed: Feed, database: sa.Engine) -> None:
    with database.begin() as db:
        db.exec_driver_sql("CREATE TYPE place AS (city text, zip int)")
        db.exec_driver_sql("CREATE TYPE mood AS ENUM ('good', 'bad')")
        db.exec_driver_sql("CREATE DOMAIN small AS int CHECK (VALUE < 10)")
        db.exec_driver_sql("CREATE TABLE people (id TEXT PRIMARY KEY, v place, m mood, s small)")
    feed.answer([{"id": "1", "v": {"city": "Köln", "zip": 50667}, "m": "good", "s": 3}])
    assert counts(feed)["inserted"] == 1
    assert stored(database, "concat(v, m, s)") == ["(Köln,50667)good3"]
    assert counts(feed)["unchanged"] == 1


@on_postgresql
def test_a_time_keeps_its_instant_where_the_column_has_a_zone(feed: Feed, database: sa.Engine) -> None:
    make_table(database, "timestamptz")
    feed.answer(csv_of("2024-05-01T10:00:00+02:00"), "text/csv")
    counts(feed)
    assert stored(database, "v AT TIME ZONE 'UTC' || ''") == ["2024-05-01 08:00:00"]
    assert counts(feed)["unchanged"] == 1


@on_sqlite
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("JSON", '{"p": 1.50}', '{"p": 1.50}'),
        ("TIME", "08:00", "08:00:00.000000"),
        ("TIMESTAMP", "2024-05-01T10:00:00+02:00", "2024-05-01 08:00:00.000000"),
        ("NUMERIC", "1.5", 1.5),
        ("INTEGER", "1.0", 1),
        ("FLOAT", "3", 3.0),
        ("BLOB", "abc", b"abc"),
        ("", "abc", "abc"),
        ("BOOLEAN", "T", 1),
        ("DATE", "2024-05-01", "2024-05-01"),
    ],
)
def test_every_type_of_sqlite_too(feed: Feed, database: sa.Engine, kind: str, value: str, expected: Any) -> None:
    make_table(database, kind)
    feed.answer(csv_of(value), "text/csv")
    assert counts(feed)["inserted"] == 1
    assert stored(database) == [expected]
    assert counts(feed)["unchanged"] == 1


def test_offsets_become_utc_in_a_column_without_a_zone(feed: Feed, database: sa.Engine) -> None:
    make_table(database, "TIMESTAMP")
    feed.answer(b"id,v\n1,2024-05-01T10:00:00+02:00\n2,2024-05-01T10:00:00Z\n3,2024-05-01T10:00:00\n", "text/csv")
    assert counts(feed)["inserted"] == 3
    assert [str(value)[:19] for value in stored(database)] == [
        "2024-05-01 08:00:00",
        "2024-05-01 10:00:00",
        "2024-05-01 10:00:00",
    ]
    assert counts(feed)["unchanged"] == 3


def test_json_of_a_csv_feed_is_no_string(feed: Feed, database: sa.Engine) -> None:
    make_table(database, "JSON")
    feed.answer(csv_of('{"p": 1.5}'), "text/csv")
    counts(feed)
    assert stored(database) in ([{"p": 1.5}], ['{"p": 1.5}'])  # PostgreSQL's driver decodes it
    assert counts(feed)["unchanged"] == 1


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("INTEGER", "1.5", "it is not a whole number"),
        ("INTEGER", "1_000", "it is not a number"),
        ("INTEGER", "1,50", "a number with a comma, not a point"),
        ("INTEGER", "1E+999999", "it is not a number"),
        ("INTEGER", "9" * 30, ""),
        ("NUMERIC(10,2)", "1,50", "a number with a comma, not a point"),
        ("DOUBLE PRECISION", "9007199254740993", "more digits than the column can hold"),
        ("DOUBLE PRECISION", "1e400", "more digits than the column can hold"),
        ("BOOLEAN", "maybe", "neither true nor false"),
        ("DATE", "2024-05-01T10:00:00", "it is not a date"),
        ("DATE", "01.05.2024", "it is not a date"),
        ("TIMESTAMP", "2024-05-01T10:00:00.1234567", "more digits than the column can hold"),
        ("TIMESTAMP", "yesterday", "it is not a timestamp"),
        ("TIMESTAMP", "0001-01-01T00:00:00+05:00", "it is not a timestamp"),
        ("JSON", "{p: 1}", "it is not JSON"),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_named_by_row_and_column_only(
    feed: Feed, database: sa.Engine, kind: str, value: str, reason: str
) -> None:
    make_table(database, kind)
    feed.answer(b"id,v\n1,\n" + csv_of(value).partition(b"\n")[2].replace(b"1,", b"2,", 1), "text/csv")
    with pytest.raises(
        PermanentFailure, match=rf"Row 2: 'v' does not fit its column \(.*\): .*{reason}"
    ) as raised:
        counts(feed)
    assert value not in str(raised.value)
    assert stored(database) == []


@on_postgresql
@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("smallint", "70000", "numeric value out of range"),
        ("numeric(10,2)", "1.005", "more than 2 digits after the point"),
        ("numeric(4,2)", "12345.5", "numeric value out of range"),
        ("real", "16777217", "more digits"),
        ("varchar(3)", "secret", "string data right truncation"),
        ("timestamp(0)", "2024-05-01T10:00:00.5", "more digits"),
        ("inet", "secret", "invalid text representation"),
        ("integer[]", "secret", "invalid text representation"),
    ],
)
def test_a_value_that_postgresql_refuses_is_named_by_row_and_column_only(
    feed: Feed, database: sa.Engine, kind: str, value: str, reason: str
) -> None:
    make_table(database, kind)
    feed.answer(b"id,v\n0,\n" + csv_of(value).partition(b"\n")[2], "text/csv")
    with pytest.raises(PermanentFailure, match=rf"Row 2: 'v' does not fit its column \(.*{reason}") as raised:
        counts(feed)
    assert value not in str(raised.value)


@on_sqlite
@pytest.mark.parametrize(("kind", "value"), [("NUMERIC", "nan"), ("NUMERIC", "12345678901234567890.10")])
def test_sqlite_stores_no_number_as_another(feed: Feed, database: sa.Engine, kind: str, value: str) -> None:
    make_table(database, kind)
    feed.answer(csv_of(value), "text/csv")
    with pytest.raises(PermanentFailure, match="Row 1: 'v' does not fit its column"):
        counts(feed)


def test_a_row_is_updated_though_the_feed_lacks_a_not_null_column(feed: Feed, database: sa.Engine) -> None:
    with database.begin() as db:
        db.exec_driver_sql("CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT NOT NULL, price NUMERIC)")
        db.exec_driver_sql("INSERT INTO people VALUES ('1', 'geheim', 1)")
    feed.answer([{"id": "1", "price": 2}])
    assert counts(feed)["updated"] == 1
    assert stored(database, "name") == ["geheim"]
    assert stored(database, "price") == [2]
    feed.answer([{"id": "1", "price": 3}, {"id": "2", "price": 2}])
    with pytest.raises(PermanentFailure, match=r"The database refused: .*name") as raised:
        counts(feed)
    assert "geheim" not in str(raised.value)
    assert stored(database, "price") == [2]


def test_an_error_of_the_database_shows_no_value(
    feed: Feed, database: sa.Engine, queue: TaskQueue, work: Any
) -> None:
    with database.begin() as db:
        db.exec_driver_sql("CREATE TABLE people (id TEXT PRIMARY KEY, email TEXT UNIQUE)")
        db.exec_driver_sql("INSERT INTO people VALUES ('1', 'ada@example.com')")
    feed.answer([{"id": "2", "email": "ada@example.com"}])
    task = queue.submit("sync", {"source": feed.url, "table": "people", "key": "id"})
    log = work()
    read = queue.get(task.id)
    assert (read.status, read.attempt) == ("failed", 1)
    assert "email" in str(read.error)
    assert "ada@example.com" not in log + str(read.error) + str(read.errors)
