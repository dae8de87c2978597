"""JSON objects from a stream, however the stream is cut into pieces."""

import json
from io import BytesIO

import pytest

from taskqueue.errors import InvalidJson
from taskqueue.web.http.json_stream import CHUNK_BYTES, JsonStream

OBJECTS = [{"a": 1, "b": "ü😀\n]},{", "c": [{"d": [1.5, None, True]}]}, {}, {"long": "x" * 5000}]


def read(body: bytes, piece: int = 10**9, limit: int = 10_000) -> list[object]:
    stream = BytesIO(body)
    return list(JsonStream(lambda size: stream.read(min(piece, size)), limit))


@pytest.mark.parametrize("piece", [1, 2, 7, 1000, 10**9])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_array_and_lines_are_read_alike(piece: int, ascii_only: bool) -> None:
    array = json.dumps(OBJECTS, ensure_ascii=ascii_only)
    lines = "".join(json.dumps(one, ensure_ascii=ascii_only) + "\r\n" for one in OBJECTS)
    assert read(f" \n{array}\t ".encode(), piece) == read(lines.encode(), piece) == OBJECTS
    assert read(f"\ufeff{array}".encode(), piece) == read(f"\ufeff{lines}".encode(), piece) == OBJECTS


@pytest.mark.parametrize("body", [b"", b" ", b"[]", b" [ ] "])
def test_nothing_is_no_object(body: bytes) -> None:
    assert read(body) == []


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"[{}", "Item 1: expected"),
        (b"[{},]", "Item 1: each item must be"),
        (b"[{} {}]", "Item 1: expected"),
        (b"[{}] x", "after the end of the array"),
        (b"[1]", "Item 0: each item must be a JSON object"),
        (b"[[{}]]", "Item 0: each item"),
        (b'{"a": 1}\n[2]', "Item 1: each item"),
        (b'{"a": NaN}', "Item 0: it is not JSON"),
        (b'{"a": "\\ud83d"}', "Item 0: it is not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        ("\ufeff\ufeff{}".encode(), "Item 0: each item"),
        (b'{"a": ' + b"[" * 9_000, "Item 0: it is not JSON, or nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Item 0: it is not JSON"),
        (b'{"a": "' + b"x" * 200_000, "longer than 10,000 characters"),
    ],
)
@pytest.mark.parametrize("piece", [100, 10**9])
def test_what_is_wrong_is_named(body: bytes, what: str, piece: int) -> None:
    with pytest.raises(InvalidJson, match=what):
        read(body, piece)


def test_an_item_is_given_before_the_rest_is_read() -> None:
    stream = BytesIO(json.dumps([{"n": n, "text": "x" * 1000} for n in range(10_000)]).encode())
    items = iter(JsonStream(stream.read, 10_000))
    assert next(items)["n"] == 0
    assert stream.tell() == CHUNK_BYTES
    assert sum(1 for _ in items) == 9_999
