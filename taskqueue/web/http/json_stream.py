"""Reads JSON objects from a stream one by one: the items of an array, or one object a line (NDJSON).

So memory holds one item and not the whole body.
"""

import codecs
import gc
import json
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

from taskqueue.errors import InvalidJson
from taskqueue.jobtypes.signature import Json

CHUNK_BYTES = 64 * 1024
HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
SPACE = re.compile(r"[ \t\r\n]*")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_decoder = json.JSONDecoder(parse_constant=_no_number)


def _decode(text: str, start: int) -> tuple[Json, int]:
    """Return the value that begins at `start`, and where it ends.

    JSON makes no garbage in cycles. Python would look for some all the same, and an item of 260,000 lists would
    take 0.36 seconds instead of 0.04, in which the process answers nobody else.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return _decoder.raw_decode(text, start)
    finally:
        if collects:
            gc.enable()


class JsonStream:
    """The objects of a stream; iterate over it once."""

    def __init__(self, read: Callable[[int], bytes], max_item_characters: int) -> None:
        self._read = read
        self._limit = max_item_characters
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()  # a byte order mark is ignored
        self._text, self._at = "", 0  # what has been read, and how much of it is used
        self._ended = False
        self._count = 0

    def __iter__(self) -> Iterator[Json]:
        """Yield each object. Raises `InvalidJson`, with the number of the item that is not valid."""
        if self._next() != "[":
            while self._next():
                yield self._object()
            return
        self._at += 1
        if self._next() != "]":
            yield self._object()
            while self._next() == ",":
                self._at += 1
                self._next()
                yield self._object()
        if self._next() != "]":
            raise self._invalid("expected , or ]")
        self._at += 1
        if self._next():
            raise self._invalid("there is more after the end of the array")

    def _next(self) -> str:
        """Return the next character that is not white space; "" at the end."""
        while True:
            space = SPACE.match(self._text, self._at)
            assert space  # noqa: S101  it also matches no characters at all
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def _object(self) -> Json:
        if self._next() != "{":
            raise self._invalid("each item must be a JSON object")
        while True:
            try:
                value, end = _decode(self._text, self._at)
                if HALF_A_CHARACTER.search(self._text, self._at, end):
                    json.dumps(value, ensure_ascii=False).encode()  # raises where the other half is missing
                self._at = end
            except (ValueError, RecursionError) as error:
                # Only the rest of the item shows whether it is wrong or only incomplete.
                if self._ended or isinstance(error, RecursionError):
                    raise self._invalid("it is not JSON, or nested too deep") from None
                if len(self._text) - self._at > self._limit:
                    raise self._invalid(f"it is longer than {self._limit:,} characters, or not JSON") from None
                self._more(len(self._text) - self._at)
            else:
                self._count += 1
                return value

    def _more(self, at_least: int = 0) -> None:
        """Read on: twice as much for an item that was cut off, lest a long one be parsed again and again."""
        chunk = self._read(max(CHUNK_BYTES, at_least))
        self._ended = not chunk
        try:
            text = self._decoder.decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise self._invalid("the body is not UTF-8") from None
        self._text, self._at = self._text[self._at :] + text, 0

    def _invalid(self, what: str) -> InvalidJson:
        return InvalidJson(f"Item {self._count}: {what}.")
