"""The feeds of the sync job: their formats, dialects and faults."""

import gzip
import json

import pytest
import sqlalchemy as sa

from taskqueue import PermanentFailure
from tests.jobs.conftest import Feed, counts, rows

PEOPLE = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]


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

    def test_an_empty_feed_is_a_feed(self, feed: Feed, database: sa.Engine) -> None:
        feed.answer([])
        assert counts(feed)["fetched"] == 0
        assert rows(database) == []
