"""Reads the feeds of `sync`: bytes become rows, one at a time, in limited memory."""

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import ijson
from pydantic_core import from_json

from taskqueue import PermanentFailure
from taskqueue.run.outbound import Response

MAX_ROW_BYTES = 256 * 1024  # `sync` has a batch of rows in memory

Row = dict[str, Any]
Format = Literal["json", "ndjson", "csv"]
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
}
ENDINGS: dict[str, Format] = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}


def format_of(answer: Response) -> Format:
    """Return the format of a feed by its media type or the ending of its URL. Raises `PermanentFailure`."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    kind = MEDIA_TYPES.get(media_type) or ENDINGS.get(Path(urlsplit(answer.url).path).suffix.lower())
    if kind is None:
        raise PermanentFailure(
            f"The feed's format is unknown ({media_type or 'no media type'}): set format to json, ndjson or csv."
        )
    return kind


def rows_of(answer: Response, kind: Format) -> Iterator[Row]:
    """Yield the feed's rows. Raises `PermanentFailure` with the number of the row that cannot be read."""
    parse = {"json": _json_rows, "ndjson": _ndjson_rows, "csv": _csv_rows}[kind]
    number = 0
    try:
        for number, row in enumerate(parse(answer.chunks()), 1):
            if not isinstance(row, dict):
                raise PermanentFailure(f"Row {number} is not an object with named fields.")
            yield row
    except (ijson.JSONError, csv.Error, ValueError) as error:
        raise PermanentFailure(f"After row {number} the feed is not valid {kind.upper()}: {error}") from error


def _json_rows(chunks: Iterator[bytes]) -> Iterator[Any]:
    reader = _Reader(chunks)
    for row in ijson.items(reader, "item"):
        reader.since_last_row = 0
        yield row
    if reader.first_byte != b"[":
        raise PermanentFailure("A JSON feed must be an array of objects: [{…}, {…}].")


class _Reader:
    """Makes the chunks a file that ijson can read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.since_last_row = 0  # bytes
        self.first_byte = b""

    def read(self, size: int) -> bytes:
        if size == 0:  # ijson reads nothing first, to see whether the file has bytes or text
            return b""
        chunk = next(self._chunks, b"")
        self.first_byte = self.first_byte or chunk.lstrip()[:1]
        self.since_last_row += len(chunk)
        if self.since_last_row > MAX_ROW_BYTES + 2 * len(chunk):
            raise PermanentFailure(f"A row has more than {MAX_ROW_BYTES:,} bytes.")
        return chunk


def _ndjson_rows(chunks: Iterator[bytes]) -> Iterator[Any]:
    return (from_json(line) for line in _lines(chunks) if line.strip())


def _csv_rows(chunks: Iterator[bytes]) -> Iterator[Any]:
    csv.field_size_limit(MAX_ROW_BYTES)
    rows = csv.reader(_lines(chunks), strict=True)
    names = next(rows, [])
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise PermanentFailure(f"Line {rows.line_num} has {len(row)} fields; the first line has {len(names)}.")
        yield dict(zip(names, row, strict=True))


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines with their line ends. Raises `PermanentFailure` for a line that is too long."""
    rest = ""
    for piece in codecs.iterdecode(chunks, "utf-8-sig"):
        *lines, rest = (rest + piece).split("\n")
        if len(rest) > MAX_ROW_BYTES:
            raise PermanentFailure(f"A line has more than {MAX_ROW_BYTES:,} characters.")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest
