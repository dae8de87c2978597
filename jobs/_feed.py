"""Reads the feeds of `sync`: bytes become rows, one at a time, in limited memory."""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Generator, Iterator
from decimal import Decimal
from email.message import Message
from pathlib import Path
from typing import IO, Any, Literal, cast
from urllib.parse import urlsplit

import ijson

from taskqueue import PermanentFailure
from taskqueue.run.outbound import Response

MAX_ROW_BYTES = 256 * 1024  # `sync` has a batch of rows in memory
CHUNK_BYTES = 64 * 1024

Row = dict[str, Any]
Format = Literal["json", "ndjson", "csv"]
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "text/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "text/csv": "csv",
    "text/x-csv": "csv",
    "application/csv": "csv",
    "application/vnd.ms-excel": "csv",
    "text/tab-separated-values": "csv",
}
ENDINGS: dict[str, Format] = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
}
WEB_PAGES = ("text/html", "application/xhtml+xml")
DELIMITERS = ",;\t|"
# UTF-32 comes first: its mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
GZIP_MARK = b"\x1f\x8b"
BROKEN = (ijson.JSONError, csv.Error, ValueError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error)


def format_of(answer: Response) -> Format:
    """Return the format of a feed by its media type or the ending of its URL. Raises `PermanentFailure`."""
    media_type = _content_type(answer).get_content_type() if answer.headers.get("Content-Type") else ""
    if media_type in WEB_PAGES:
        raise PermanentFailure(f"The answer is a web page ({media_type}), not a feed: perhaps it needs a login.")
    kind = MEDIA_TYPES.get(media_type) or ("json" if media_type.endswith("+json") else None)
    return kind or format_of_name(urlsplit(answer.url).path, media_type)


def format_of_name(name: str, media_type: str = "") -> Format:
    """Return the format of a feed by the ending of its name. Raises `PermanentFailure`."""
    kind = ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix)
    if kind is None:
        raise PermanentFailure(
            f"The feed's format is unknown ({media_type or 'no media type'}): set format to json, ndjson or csv."
        )
    return kind


def charset_of(answer: Response) -> str:
    """Return the character set that the answer declares; UTF-8 without one. Raises `PermanentFailure`."""
    charset = _content_type(answer).get_content_charset("utf-8")
    try:
        "".encode(charset)
    except (LookupError, ValueError):
        raise PermanentFailure(f"The feed's charset {charset[:40]!r} is unknown.") from None
    return charset


def _content_type(answer: Response) -> Message:
    header = Message()
    header["Content-Type"] = answer.headers.get("Content-Type", "")
    return header


def rows_of(content: IO[bytes], kind: Format, *, charset: str, key: str, limit_bytes: int) -> Generator[Row]:
    """Yield the rows of a feed from its file. Raises `PermanentFailure` with the number of a row that is no good.

    `key` is a field that a CSV feed must have in its first line. A byte order mark wins over `charset`. A gzip
    file is unpacked, up to `limit_bytes`.
    """
    number = 0
    try:
        with _text(content, charset, limit_bytes) as text:
            for number, row in enumerate(_csv_rows(text, key) if kind == "csv" else PARSERS[kind](text), 1):
                if not isinstance(row, dict):
                    raise PermanentFailure(f"Row {number} is not an object with named fields.")
                yield row
    except BROKEN as error:
        # The second line of a message of ijson is a part of the feed.
        reason = re.split(r"\n|\\n", str(error).removeprefix("b'"))[0]
        raise PermanentFailure(f"After row {number} the feed is not valid {kind.upper()}: {reason}") from None


def _text(content: IO[bytes], charset: str, limit_bytes: int) -> io.TextIOWrapper:
    """Return the feed as text, whose lines end in LF, CR LF or CR."""
    if _begins_with(content, GZIP_MARK):
        content = cast(IO[bytes], _Unpacked(content, limit_bytes))
    marked = [encoding for mark, encoding in BYTE_ORDER_MARKS.items() if _begins_with(content, mark)]
    return io.TextIOWrapper(content, encoding=marked[0] if marked else charset, newline="")


def _begins_with(content: IO[bytes], mark: bytes) -> bool:
    begins = content.read(len(mark)) == mark
    content.seek(0)
    return begins


class _Unpacked(gzip.GzipFile):
    """A file that is unpacked as it is read. Raises `PermanentFailure` after too many bytes."""

    def __init__(self, packed: IO[bytes], limit_bytes: int) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._limit_bytes = limit_bytes

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, piece: bytes) -> bytes:
        if self.tell() > self._limit_bytes:
            raise PermanentFailure(f"The feed has more than {self._limit_bytes:,} bytes when it is unpacked.")
        return piece


class _Fields(dict[str, Any]):
    """An object of a feed. It notes a field that it has already: ijson cannot pass on an exception."""

    def __init__(self, twice: list[str]) -> None:
        super().__init__()
        self._twice = twice

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self:
            self._twice.append(name)
        super().__setitem__(name, value)


def _check_once(twice: list[str]) -> None:
    if twice:
        raise PermanentFailure(f"The field {twice[0][:80]!r} appears twice in one object.")


def _json_rows(text: io.TextIOWrapper) -> Iterator[Any]:
    reader = _Reader(text)
    twice = list[str]()
    for row in ijson.items(reader, "item", map_type=lambda: _Fields(twice)):
        _check_once(twice)
        reader.since_last_row = 0
        yield row
    if reader.first_character != "[":
        raise PermanentFailure("A JSON feed must be an array of objects: [{…}, {…}].")


class _Reader:
    """Makes the text a file that ijson can read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.since_last_row = 0  # bytes
        self.first_character = ""

    def read(self, size: int) -> bytes:
        if size == 0:  # ijson reads nothing first, to see whether the file has bytes or text
            return b""
        characters = self._text.read(CHUNK_BYTES)
        self.first_character = self.first_character or characters.lstrip()[:1]
        chunk = characters.encode()
        self.since_last_row += len(chunk)
        if self.since_last_row > MAX_ROW_BYTES + 2 * len(chunk):
            raise PermanentFailure(f"A row has more than {MAX_ROW_BYTES:,} bytes.")
        return chunk


def _ndjson_rows(text: io.TextIOWrapper) -> Iterator[Any]:
    for line in _lines(text):
        if line.strip():
            yield json.loads(line, object_pairs_hook=_fields, parse_float=Decimal, parse_constant=_refuse_constant)


PARSERS = {"json": _json_rows, "ndjson": _ndjson_rows}


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_once([name for name, count in Counter(name for name, _ in pairs).items() if count > 1])
    return dict(pairs)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _csv_rows(text: io.TextIOWrapper, key: str) -> Iterator[Any]:
    csv.field_size_limit(MAX_ROW_BYTES)
    lines = _lines(text)
    header, delimiter, before = _header(lines, key)
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()  # Excel writes columns that have been emptied
    _check_names(names, key)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    for row in rows:
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            raise PermanentFailure(
                f"Line {before + rows.line_num} has {len(row)} fields; the first line has {len(header)}."
                + (" A blank stands before a quotation mark." if any(f.startswith(' "') for f in row) else "")
            )
        if any(field.strip() for field in row[len(names) :]):
            raise PermanentFailure(f"Line {before + rows.line_num} has a value in a column without a name.")
        yield dict(zip(names, row[: len(names)], strict=True))


def _header(lines: Iterator[str], key: str) -> tuple[list[str], str, int]:
    """Return the names in the first line, the delimiter, and how many lines were read.

    The delimiter is what Excel's `sep=` declares, or the one that makes `key` a name.
    """
    line, read = next(lines, ""), 1
    declared = re.fullmatch(r'"?sep=(.)"?\s*', line)
    if declared:
        line, read = next(lines, ""), 2
    while line.count('"') % 2 and len(line) <= MAX_ROW_BYTES and (more := next(lines, "")):
        line, read = line + more, read + 1
    headers = {}
    for delimiter in declared[1] if declared else DELIMITERS:
        try:
            headers[delimiter] = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:  # of quotation marks that belong to another delimiter
            headers[delimiter] = []
        if key in (name.strip() for name in headers[delimiter]):
            return headers[delimiter], delimiter, read
    # No delimiter makes the key a field: the error shows what most fields make of the line.
    delimiter = max(headers, key=lambda delimiter: len(headers[delimiter]))
    return headers[delimiter], delimiter, read


def _check_names(names: list[str], key: str) -> None:
    if key not in names:
        alike = [name for name in names if name.lower() == key.lower()]
        there = f"there is {alike[0]!r}" if alike else "is it a CSV feed?"
        raise PermanentFailure(f"There is no field {key!r} in the first line; {there}")
    for name, count in Counter(names).items():
        if count > 1:
            where = [number for number, each in enumerate(names, 1) if each == name]
            what = f"The field {name[:80]!r} appears twice" if name else "A field has no name"
            raise PermanentFailure(f"{what} in the first line (columns {', '.join(map(str, where))}).")
    if "" in names:
        raise PermanentFailure(f"A field has no name in the first line (column {names.index('') + 1}).")


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines with their line ends. Raises `PermanentFailure` for a line that is too long."""
    while line := text.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES:
            raise PermanentFailure(f"A line has more than {MAX_ROW_BYTES:,} characters.")
        yield line
