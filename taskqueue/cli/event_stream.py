"""Reads Server-Sent Events (WHATWG HTML, section 9.2)."""

import time
from collections.abc import Iterable, Iterator

MAX_RETRY_SECONDS = 30.0


class EventStream:
    """A reader of events that go on over several connections."""

    def __init__(self) -> None:
        self.last_id = ""  # the next connection asks for the events after this one
        self.retry_seconds = 2.0  # until the next connection; the server may set it
        self.received_at: float | None = None  # when bytes last came, on the monotonic clock

    def read(self, chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
        """Yield the name and the data of each event that one connection delivers completely."""
        name, data, last_id = "", list[str](), self.last_id
        for line in self._lines(chunks):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match field:
                case "" if not line:
                    if data:
                        self.last_id = last_id
                        yield name, "\n".join(data)
                    name, data = "", []
                case "event":
                    name = value
                case "data":
                    data.append(value)
                case "id":
                    last_id = value
                case "retry" if value.isdecimal():
                    self.retry_seconds = min(int(value) / 1000, MAX_RETRY_SECONDS)

    def _lines(self, chunks: Iterable[bytes]) -> Iterator[str]:
        incomplete = b""
        for chunk in chunks:
            self.received_at = time.monotonic()
            *lines, incomplete = (incomplete + chunk).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode(errors="replace")
